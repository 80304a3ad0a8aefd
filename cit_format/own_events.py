"""What a job itself says happened: lines that it appends to the file CIT_EVENTS, and its parts, as rows of `event` (docs/format/event.md). Pure.

    tests 14 passed, 2 failed        word, then the rest for people

Rows of the stage `job` are said by the job and decide nothing; words that count when a stage says them are no words of a job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import clock, messages
from .parts import FAILED, Run

STAGE = "job"
FILE = "events"  # in the record; beside it `events.times`, as `times` of the log
WORD = re.compile(r"[a-z][a-z0-9-]{0,31}")
NOT_ITS_OWN = frozenset(
    [
        "accepted",
        "refused",
        "assigned",
        "received",
        "started",
        "restarted",
        "ended",
        "lost",
        "void",
        "unready",
        "cancelled",
        "deadline",
        "held",
        "released",
        "retried",
    ]
)
NOTE, PART = "note", "part"
ROWS = 1000  # of each kind in a document
NAMED = 200  # letters of a part's name in a row
LONGEST = 1000  # letters of a line
LIMIT = 1 << 18  # bytes that are read


class Event(NamedTuple):
    """One line: when it was seen (microseconds; None: not known), its word, and the rest."""

    moment: int | None
    word: str
    detail: str


def events(text: bytes, times: Sequence[tuple[int, int]] = ()) -> list[Event]:
    """The lines of a job's file, without anything that a terminal obeys; `times`: a moment and how many bytes it had by then, in order."""
    found, at, rows = [], 0, list(times)
    for raw in text[:LIMIT].split(b"\n")[:-1]:
        while rows and rows[0][1] <= at:
            rows.pop(0)
        at += len(raw) + 1
        line = messages.clean(raw.decode("utf-8", "replace").replace("\t", " ").strip())[:LONGEST]
        word, _, rest = line.partition(" ")
        if not line:
            continue
        if not WORD.fullmatch(word) or word in NOT_ITS_OWN or word == PART:
            word, rest = NOTE, line
        found.append(Event(rows[0][0] if rows else None, word, rest.strip()))
        if len(found) > ROWS:
            return [*found[: ROWS - 1], Event(found[-1].moment, NOTE, "and more, which are not kept")]
    return found


def of_parts(found: Iterable[Run]) -> list[Event]:
    """A row for each run of a part that has ended; where they are too many, those that failed and then those that took longest, in order."""
    ended = [run for run in found if run.ended is not None]
    if len(ended) > ROWS:
        first = sorted(ended, key=lambda run: (run.state != FAILED, run.began - (run.ended or 0)))[: ROWS - 1]
        kept = set(map(id, first))
        rest = Event(ended[-1].ended, NOTE, f"and {len(ended) - len(first)} runs of parts more")
        return [*(part_event(run) for run in ended if id(run) in kept), rest]
    return [part_event(run) for run in ended]


def part_event(run: Run) -> Event:
    """`a/b, exit 2, 1.2s`."""
    how = f"signal {run.signal}" if run.signal else f"exit {run.exit}"
    name = run.name if len(run.name) <= NAMED else f"{run.name[: NAMED - 3]}..."
    return Event(run.ended, PART, f"{name}, {how}, {clock.duration_text((run.ended or run.began) - run.began)}")
