"""Ends that no builder says, so that the queue says them itself: cancelled or too late before a start, lost after silence, answered by another's run.

Appends: an event, a result, a cit-queue signature. Side effect: the job lies in `done`.
Pages: docs/stages/schedule.md, docs/format/environment-artefact-result.md
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import choose, files
from .cit_format import after, arrays, body, clock, document, home, journal, names, reader, spool, trust, wake
from .cit_format.body import Value
from .cit_format.document import Document
from .cit_format.errors import CitError
from .cit_format.same import Answer

GRACE = "1h"  # of silence, after the latest moment at which a result can be due (queue.toml: grace)
WORDS = {"CANCELLED": "cancelled", "DEADLINE": "deadline", "NODE_FAIL": "lost"}
FIGURES = (
    *("wall-ms", "user-ms", "system-ms", "max-rss-kib", "major-faults", "minor-faults"),
    *("inputs", "outputs", "voluntary-switches", "involuntary-switches"),
)


class End(NamedTuple):
    """What the queue has to say of a document: its file name, final state, why, and as of when (microseconds)."""

    name: str
    state: str
    why: str
    moment: int
    answer: Answer | None = None  # the run of another job is this one's, too,
    exit: int = 0  # which ended so
    signal: int = 0


# --- decisions ----------------------------------------------------------------------------------------------------------


def lost_at(job: dict[str, Value], is_sent: bool, moved: int, grace: int) -> int | None:
    """When silence about an assigned job becomes its end; None: never, as it runs without a time limit. All in microseconds.

    `moved`: when the document came where it is. A builder begins it within `start-within` of receiving it, and in any case
    before it expires; it then has its `time`. Where it never said that it has received it, its expiry is enough.
    """
    limit, expires, within = job.get("time"), job.get("expires"), job.get("start-within")
    if not isinstance(expires, int) or (limit is None and is_sent):
        return None
    if limit is None:
        return expires + grace
    begun = min(expires, moved + clock.duration(str(within))) if is_sent and within is not None else int(expires)
    return begun + clock.duration(str(limit)) + grace


def ended(job: Document, queue: home.Queue, end: End) -> Document:
    """The job with its end in the queue's own words, signed by it."""
    given = trust.assignment(job)
    moment = body.Time(end.moment)
    result = {
        "state": end.state,
        "exit": end.exit,
        "signal": end.signal,
        "attempt": given.attempt if given else 0,
        "task": given.task if given else None,
        "tasks": undealt(job, end.name),
        "started": moment,
        "ended": moment,
        **dict.fromkeys(FIGURES, 0),
        "why": end.why,
    }
    word, detail = ("answered", end.why.removeprefix("answered ")) if end.answer else (WORDS.get(end.state, "published"), end.why)
    event = document.section("event", "tsv", journal.event("schedule", word, detail, end.moment))
    answer = [document.section("answer", "toml", body.toml(end.answer._asdict()))] if end.answer else []
    said = job.extended(event, *answer, document.section("result", "toml", body.toml(result)))
    return home.signed(said, queue.signer, queue.identity, "cit-queue")


def undealt(job: Document, name: str) -> str | None:
    """Which tasks of an array end together, as they were never dealt out; None where it is a job, or one task that was."""
    parts, array = names.parse(name), arrays.of(job)
    return arrays.written(array.left(parts)) if parts is not None and array is not None and parts.task is None else None


# --- the loop -----------------------------------------------------------------------------------------------------------


def finish(queue: home.Queue, state: str, found: list[End]) -> None:
    """`state` -> `done`; what these ends call for, the next attempt and jobs that follow, waits first."""
    if not found:
        return
    moves, new = [], False
    with spool.Claim(queue / state) as claim:
        for end in found:
            raw = claim.take(end.name)
            if raw is None:
                continue  # it moved on meanwhile
            job = ended(reader.parse(raw), queue, end)
            target = done_path(queue, end.name)
            if target.exists():
                claim.drop(end.name)  # its own end came meanwhile
                continue
            new = bool(after.followed(queue, [job], end.moment, names.parse(target.name))) or new
            spool.make_directory(target.parent)
            claim.move(end.name, target.parent, target.name, job.raw)
            moves.append((files.job_of(target.name), end.state, end.why))
        claim.settle()
    queue.note(moves, "schedule")
    if new:
        wake.arrived(queue.path, queue.on_arrival)  # this pass may have seen already what waits


def done_path(queue: home.Queue, name: str) -> Path:
    """Where the document of this file name lies when it is done."""
    parts = names.parse(name)
    assert parts is not None
    return queue / "done" / clock.id_day(parts.id) / str(parts._replace(key=""))


def published(queue: home.Queue, file_names: list[str], now: int) -> list[End]:
    """Which of these jobs in `waiting` their submitters have built themselves: they are first in line, and have ended."""
    first = [name for name in file_names if name.startswith(names.key(names.HIGHEST, 0)[:5])]
    found = []
    for name, job in _jobs(queue, "waiting", first):
        section = job.find("published")
        if section is not None:
            said = section.table()
            state, status = ("FAILED" if said.get("state") == "FAILED" else "COMPLETED"), said.get("exit")
            why = f"built by {job.table('job').get('submitter', '')} on {said.get('host', '')}, not by a builder"
            found.append(End(name, state, why, now, exit=status if isinstance(status, int) else 0))
    return found


def too_late(queue: home.Queue, state: str, file_names: list[str], now: int) -> list[End]:
    """Which of these jobs, in `waiting` or `held`, must not begin any more."""
    found = []
    for name, job in _jobs(queue, state, file_names):
        with contextlib.suppress(CitError):  # a faulty document is named when it is its turn
            why = choose.too_late(choose.wants(job), now)
            if why:
                found.append(End(name, "DEADLINE", why, now))
    return found


def lost(queue: home.Queue, state: str, now: int) -> list[End]:
    """Which documents of `assigned` or `sent` no builder will answer any more."""
    grace = clock.duration(str(queue.settings.get("grace", GRACE)))
    old = []
    for name in spool.listing(queue / state):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(queue / state / name).st_ctime * clock.SECOND + grace < now:
                old.append(name)
    found = []
    for name, job in _jobs(queue, state, old):
        with contextlib.suppress(CitError, FileNotFoundError):
            moved = int(os.stat(queue / state / name).st_ctime * clock.SECOND)
            limit = lost_at(job.table("job"), state == "sent", moved, grace)
            given = trust.assignment(job)
            if limit is not None and limit < now and given is not None:
                found.append(End(name, "NODE_FAIL", f"no word from {given.table['builder']} until {clock.iso(limit)}", limit))
    return found


def forget_ended(queue: home.Queue) -> None:
    """Remove copies from `assigned` and `sent` whose end is in `done`: a carrier was just moving them when it came."""
    for state in ("assigned", "sent"):
        for name in spool.listing(queue / state):
            if names.parse(name):
                with contextlib.suppress(FileNotFoundError):
                    end = done_path(queue, name).read_bytes()
                    if end.startswith((queue / state / name).read_bytes()):
                        os.unlink(queue / state / name)


def _jobs(queue: home.Queue, state: str, file_names: list[str]) -> Iterator[tuple[str, Document]]:
    for name in file_names:
        with contextlib.suppress(FileNotFoundError, CitError):
            job = reader.parse((queue / state / name).read_bytes())
            if job.kind == "job" and names.parse(name):
                yield name, job
