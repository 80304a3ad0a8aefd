"""The share of one submitter in a queue: how many of their jobs may wait, so that nobody fills it alone (docs/stages/queue.md).

What is over it is kept by its sender and tried again; a job that is here already is not counted twice.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Union

from .cit_format import clock, glance, home, spool, ticket
from .cit_format.document import Document
from .cit_format.errors import CONFIG, LATER, CitError
from .cit_format.reader import Faulty

WAITING = ("waiting", "held")
MOST = 20_000  # jobs of one submitter, where queue.toml says nothing


def most(queue: home.Queue) -> int:
    """How many jobs of one submitter may wait; 78 where queue.toml says no number."""
    number = queue.settings.get("door-waiting", MOST)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise CitError(CONFIG, f"door-waiting = {number}", "a number of jobs, from 1")
    return number


def kept_out(queue: home.Queue, group: Sequence[Union[Document, Faulty]]) -> dict[int, Document]:
    """The tickets (`kept`) of those new jobs in a group, by number, whose submitters have their share in the queue already."""
    limit = most(queue)
    files = [(state, name) for state in WAITING for name in spool.listing(queue / state)]
    if len(files) + len(group) <= limit:
        return {}  # nobody can be over it
    has: Counter[str] = Counter()
    for state, name in files:
        with contextlib.suppress(FileNotFoundError):
            has[glance.at(queue / state / name).text("submitter")] += 1
    found: dict[int, Document] = {}
    for number, arrival in enumerate(group):
        if not isinstance(arrival, Document) or arrival.kind != "job" or os.path.lexists(queue / "seen" / clock.id_day(arrival.id) / arrival.id):
            continue
        who = glance.of(arrival.raw).text("submitter")
        has[who] += 1
        if has[who] > limit:
            error = CitError(LATER, f"{limit} jobs of {who[:100]} wait here already", "it is tried again when some have started", arrival.label)
            found[number] = ticket.ticket(arrival.id, arrival.name, arrival.raw, "kept", error)
    return found
