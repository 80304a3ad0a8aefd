"""A job whose builder is elsewhere, at that builder's read door: whether it runs, and its log from where we have it (docs/stages/report.md)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from . import remote
from .cit_format import ask, body, messages
from .cit_format.errors import NOT_FOUND, CitError
from .index import Index
from .look import Seen
from .watch import Pace, Watch
from .where import Where, where
from .writer import Writer


def place(job: Seen) -> Where | None:
    """The account elsewhere that has the job's files; None where nobody has them yet, or this one. 66, 69 where its door is not to be had."""
    if not list(job.document.all("assignment")):
        return None
    found = where(job)
    return None if job.there.account and found.place == str(job.there.account) else found


def looked_at(job: Seen) -> Seen:
    """The job, RUNNING where its builder shows it so; what its builder does not tell, or cannot now, stays as it was."""
    if job.state != "PENDING" or job.place != "sent":
        return job
    with contextlib.suppress(CitError, IndexError):
        there = place(job)
        name = f"{there.workspace.removeprefix('work/')}.cit" if there else ""
        rows = body.rows(ask.ask(there.place, "ls", "running", seconds=ask.SHORT)) if there else []
        if any(row[1].endswith(f".{name}") for row in rows):
            return job._replace(told={**job.told, "state": "RUNNING"})
    return job


def copied(job: Seen, there: Where, offset: int, write: Callable[[bytes], object], what: str = "") -> int:
    """Write what its log (or `what` lies beside it) has from this byte on; how many bytes it has then. 66 there is none, 69 out of reach."""
    name = there.workspace.removeprefix("work/")
    try:
        for piece in ask.pieces(there.place, "log", name, str(offset), *filter(None, [what])):
            write(piece)
            offset += len(piece)
    except CitError as error:
        what = f"its log is on {there.builder}, at {there.place}: {error.what}"
        raise CitError(
            error.status, what, f"cit log {job.short} asks there again; or, with rights of your own: cit shell {job.short}", job.document.label
        ) from None
    return offset


def noted(job: Seen, there: Where, what: str) -> bytes | None:
    """What else its builder's door gives of a job's record: `times`; None where it gives none, as older builders do not."""
    with contextlib.suppress(CitError):
        return ask.ask(there.place, "log", there.workspace.removeprefix("work/"), "0", what)
    return None


def index(job: Seen) -> Index:
    """When its log grew."""
    there = place(job)
    return Index((there and noted(job, there, "times")) or b"")


def followed(job: Seen, there: Where, again: Callable[[], Seen], has_ended: Callable[[Seen], bool], writer: Writer, watch: Watch) -> None:
    """Write its log as it grows, until the job has ended, or nobody reads it any more. `again` looks at the job once more."""
    offset, pace, told = writer.begin(), Pace(), False
    writer.is_live()
    while True:
        over = has_ended(job)
        try:
            before, offset = offset, copied(job, there, offset, writer.write)
            if offset > before:
                pace.again()
        except CitError as error:
            if over:
                raise
            if error.status != NOT_FOUND and not told:  # not there yet is no news
                told = True
                messages.tell("warning", error.what, error.where, "it goes on when that builder can be had")
        if over or not waited(watch, pace):
            return
        job = again()


def waited(watch: Watch, pace: Pace) -> bool:
    """Wait until it is time to ask again; whether anybody listens still."""
    until = pace()
    while time.monotonic() < until:
        if not watch.wait(until):
            return False
    return True


def asker_for(job: Seen) -> remote.Asker | None:
    """Who asks about a job again and again: nobody where its queue is here."""
    return remote.Asker(patient=True) if remote.of_job(job.copies, job.there) else None
