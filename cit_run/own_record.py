"""What a job leaves in its record besides its log: its own events, its parts and their logs (docs/howto/logs-and-parts.md).

    events, events.times       lines of the job itself, and when they came
    parts.tsv, parts/          its parts, as cit-part noted them, and the logs that some have of their own

A job may have put anything there: only plain files are read, no link is followed, what a list names is looked for below `parts` alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import conceal, public
from .cit_format import clock, own_events, parts
from .cit_format.errors import CitError
from .removal import removed

if TYPE_CHECKING:
    from .cit_format.document import Document
    from .cit_format.own_events import Event
    from .workspace import Place

MOST = 1000  # logs of parts that are artefacts
NAMES = (parts.LIST, own_events.FILE, f"{own_events.FILE}.times", parts.FOLDER)


def variables(place: Place) -> dict[str, str]:
    """What a job finds set, to leave something."""
    return {"CIT_LOG": place.log, "CIT_EVENTS": f"{place.record}/{own_events.FILE}", "CIT_PARTS": place.record}


def said(job: Document, place: Place) -> list[Event]:
    """The rows that a job's document gets of it; none where its log is for some only, or outsiders see another view of it."""
    from .cit_format import reply

    if reply.of_log(reply.rows(job)) or public.is_wanted(place.record):
        return []
    own = parts.content(f"{place.record}/{own_events.FILE}", own_events.LIMIT)
    times = parts.content(f"{place.record}/{own_events.FILE}.times", own_events.LIMIT)
    return [*own_events.events(own, growth(times)), *own_events.of_parts(parts.read(place.record))]


def growth(times: bytes) -> list[tuple[int, int]]:
    """The rows of an index: moments, and how many bytes there were by then."""
    found = []
    for line in times.decode("ascii", "replace").split("\n")[:-1]:
        moment, _, size = line.partition("\t")
        with contextlib.suppress(CitError, ValueError):
            found.append((clock.parse(moment), int(size)))
    return found


def logs(record: str) -> Iterator[str]:
    """The logs that parts have of their own, as paths below `parts`."""
    yield from parts.files(parts.read(record))[:MOST]


def concealed(log: str, sought: list[bytes]) -> None:
    """Put asterisks where secrets stand, in a job's log and in all of this."""
    record = f"{log[: -len('.log')]}.run"
    for path in logs(record):
        with contextlib.suppress(OSError):
            conceal.hide(parts.opened(record, path, os.O_RDWR), sought)
    conceal.conceal(log, sought)
    for name in (parts.LIST, own_events.FILE):
        conceal.conceal(f"{record}/{name}", sought)


def cleared(record: str) -> None:
    """Remove all of it: the log is for some only."""
    for name in NAMES:
        removed(f"{record}/{name}")
