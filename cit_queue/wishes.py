"""Taking in control documents: who may wish, whether it is too late, and keeping the wish (docs/format/control.md).

Applying it is for those who own the job: cit-schedule and cit-run look into control/ before every move.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Union

from .cit_format import arrays, clock, control, home, names, reader, shelf, spool
from .cit_format.control import Wish
from .cit_format.document import Document
from .cit_format.errors import DENIED, NO, NOT_FOUND, CitError
from .cit_format.put import ACCEPTED, DUPLICATE

ON_ITS_WAY = ("waiting", "held", "assigned", "sent")
KEY = 22  # letters of KEY and its dot, with which names in these states begin


class Copy(NamedTuple):
    """One copy of a job: the state in which it lies, its name taken apart, its path."""

    state: str
    name: names.FileName
    path: Path


# --- decisions ------------------------------------------------------------------------------------------------------


def is_too_late(asked: Wish, copies: Iterable[Copy]) -> bool:
    """Whether all that the wish is about has ended. What is not assigned yet has no attempt; a wish about any attempt may mean it."""
    ended = False
    for copy in copies:
        if copy.state == "done":
            ended = ended or is_about(asked, copy.name)
        elif is_about(asked, copy.name._replace(attempt=copy.name.attempt or asked.attempt)):
            return False
    return ended


def is_about(asked: Wish, name: names.FileName) -> bool:
    """Whether a wish is about the copy of this name: of an array about its task, or one of those that it stands for."""
    return asked.attempt in (None, name.attempt) and (asked.task is None or name.concerns(asked.task))


# --- one group ------------------------------------------------------------------------------------------------------


def keep(queue: home.Queue, wishes: Sequence[tuple[Document, Wish]]) -> list[Union[str, CitError]]:
    """Keep verified wishes in control/, on disk when this returns: accepted or duplicate for each, or why it has no power (1, 77)."""
    found = copies(queue, {asked.target for _, asked in wishes})
    answers: list[Union[str, CitError]] = [objection(document, asked, found[asked.target]) or ACCEPTED for document, asked in wishes]
    kept = [number for number, answer in enumerate(answers) if answer == ACCEPTED]
    files = [(f"{queue.path}/control/{wishes[number][1].file_name}", wishes[number][0].raw) for number in kept]
    for number, outcome in zip(kept, shelf.shelve(queue / "control" / ".tmp", files)):
        if outcome == shelf.FORK:
            hint = "a replay or an edited copy; make it anew"
            answers[number] = CitError(DENIED, "this ID was here before with other bytes", hint, wishes[number][0].label)
        elif outcome != shelf.NEW:
            answers[number] = DUPLICATE
    return answers


def objection(document: Document, asked: Wish, found: list[Copy]) -> CitError | None:
    """Why the wish has no power over the job as it lies here; a job that is not here (yet) is judged by those who move it."""
    if asked.action != "note" and is_too_late(asked, found):
        return CitError(NO, f"too late: {asked.target[-6:]} has ended", "`cit show` tells how; `cit requeue` makes it a new job", document.label)
    for copy in found:
        with contextlib.suppress(FileNotFoundError, CitError):  # it moves on meanwhile: those who move it look at the wish
            job = reader.parse(copy.path.read_bytes())
            array = arrays.of(job)
            if array and asked.task is not None and not array.has(asked.task):
                return CitError(
                    NOT_FOUND, f"{asked.target[-6:]} has no task {asked.task}", f"its tasks are {job.table('job')['array']}", document.label
                )
            if not control.is_honoured(asked, job):
                hint = "ask its submitter, or have your key allowed for cit-control"
                return CitError(DENIED, f"{asked.target[-6:]} is another's job", hint, document.label)
            break
    return None


def copies(queue: home.Queue, targets: set[str]) -> dict[str, list[Copy]]:
    """Where the copies of these jobs lie, the last state first."""
    found: dict[str, list[Copy]] = {target: [] for target in targets}
    days = {f"done/{clock.id_day(target)}" for target in targets}
    for state in (*days, *reversed(ON_ITS_WAY)):
        at = 0 if state in days else KEY
        for name in spool.listing(queue / state):
            if name[at : at + 26] in targets:
                parts = names.parse(name)
                if parts:
                    found[parts.id].append(Copy(state.partition("/")[0], parts, queue / state / name))
    return found
