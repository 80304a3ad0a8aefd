"""Attempts of a job: how the last one ended, and whether the job's author wants another (docs/stages/schedule.md).

An attempt that has ended stays in `done` as `ID.aN-NAME.cit`. Where another is due, the same bytes are put into `waiting`
as `ID.a(N+1)-NAME.cit`, remembered in `seen` under that mark: so it comes once, whoever is killed and however often the
same end is handed over. What is to wait until then lies in `held` (backoff.py).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import clock, names, put, reader, trust
from .document import Document, Section
from .errors import CitError

if TYPE_CHECKING:
    from .home import Queue

KEPT = 2  # ends of a job whose check said no that stay in `done`


def ending(job: Document) -> Section | None:
    """What ended the last attempt: its `result`, or the `event` with a builder's `void`; None while it is under way.

    Of a job that was never assigned: the result that the queue wrote. Unverified: what a queue keeps in `done` is.
    """
    last = max((section.number for section in job.all("assignment")), default=0)
    later = [section for section in job.sections if section.number > last]
    ends = [section for section in later if section.kind == "result" or is_void(job, section)]
    return ends[-1] if ends else None


def again(job: Document, now: int) -> str:
    """Why another attempt is due after the last one's end: `void`, or the end that `retry-on` names; empty where none is.

    A void was no start. After the deadline or expiry nothing is begun. Errors: 65 where the document says what it cannot.
    """
    end, given = ending(job), trust.assignment(job)
    if end is None or given is None:
        return ""
    if end.kind == "event":
        return "void"
    said = job.table("job")
    limits = [limit for limit in (said.get("deadline"), said.get("expires")) if isinstance(limit, int)]
    allowed, wanted = said.get("attempts", 1), said.get("retry-on", [])
    if not isinstance(allowed, int) or not isinstance(wanted, list) or starts(job, given.attempt) >= allowed or any(limit < now for limit in limits):
        return ""
    causes = causes_of(end)
    return next((str(cause) for cause in wanted if cause in causes), "")


def starts(job: Document, number: int) -> int:
    """How often a job was begun by its first `number` assignments: less those without a start, more where a builder's cluster began it anew."""
    return number - sum(is_void(job, section) - len(_rows(job, section, "restarted")) for section in job.sections)


def causes_of(result: Section) -> tuple[str, ...]:
    """The words of `retry-on` that fit a result: fail, 75 (which is a failure too), lost."""
    said = result.table()
    if said.get("state") == "NODE_FAIL":
        return ("lost",)
    if said.get("state") == "FAILED":
        return ("75", "fail") if said.get("exit") == 75 else ("fail",)
    return ()


def is_void(job: Document, section: Section) -> bool:
    """Whether a section is a builder's word that an attempt was not begun."""
    return bool(_rows(job, section, "void"))


def is_unready(job: Document, section: Section) -> bool:
    """Whether a section is a builder's word that the job's own check said: not yet. Such an attempt is void, too."""
    return bool(_rows(job, section, "unready"))


def _rows(job: Document, section: Section, word: str) -> list[list[str]]:
    """The events of this word that a builder tells in a section."""
    found = [row for row in section.rows() if row[2:3] == [word] and row[1] != "job"] if section.kind == "event" else []
    speaking = next((other for other in job.all("signature") if other.number > section.number), None) if found else None
    return found if speaking is not None and speaking.attributes.get("ns") == "cit-result" else []


def put_again(queue: Queue, ended: Iterable[Document], now: int) -> list[Document]:
    """Put those of these ended jobs into `waiting` for which another attempt is due; those that are new there.

    To be called with what `done` has or is about to get, before the sender may forget it.
    """
    due = [(job, cause) for job, cause in ((job, again(job, now)) for job in ended) if cause]
    if not due:
        return []
    putter = put.Putter(queue / "waiting" / ".tmp", queue / "seen", lambda job: next_item(queue, job, now))
    outcomes = putter.put([next_item(queue, job, now) for job, _ in due])
    fresh = [(job, cause) for (job, cause), outcome in zip(due, outcomes) if outcome.word == put.ACCEPTED]
    queue.note([(_name(job), "again", cause) for job, cause in fresh], "schedule")
    for job, _ in fresh:
        _trim(queue, job)
    return [job for job, _ in fresh]


def _trim(queue: Queue, job: Document) -> None:
    """Of a job whose check says no again and again the last two ends stay: each begins with all of the one before."""
    end, given = ending(job), trust.assignment(job)
    if end is None or given is None or given.attempt <= KEPT or not is_unready(job, end):
        return
    name = names.FileName(job.id, job.name, "", given.task, given.attempt - KEPT)
    path = queue / "done" / clock.id_day(job.id) / str(name)
    with contextlib.suppress(FileNotFoundError, CitError):
        before = path.read_bytes()
        last = ending(reader.parse(before))
        if last is not None and last.kind == "event" and job.raw.startswith(before):
            path.unlink()


def next_item(queue: Queue, job: Document, now: int) -> put.Item:
    """An ended job as it is put into `waiting` for its next attempt, or into `held` until that is due."""
    from . import backoff

    given = trust.assignment(job)
    assert given is not None
    name = names.FileName(job.id, job.name, "", given.task, given.attempt + 1)
    priority = job.table("job").get("priority", 0)
    digest = hashlib.sha256(job.raw).hexdigest()
    moment = backoff.due(job, queue.settings, now)
    if moment:
        return put.Item(name.copy, digest, job.raw, name, f"{queue.path}/held", 0, moment)
    return put.Item(name.copy, digest, job.raw, name, f"{queue.path}/waiting", priority if isinstance(priority, int) else 0)


def _name(job: Document) -> str:
    given = trust.assignment(job)
    assert given is not None
    return f"{names.FileName(job.id, job.name, '', given.task, given.attempt).copy}-{job.name}"
