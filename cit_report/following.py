"""cit log -f: a job's log as it grows, from before its first line to its end (docs/stages/report.md).

How: the kernel tells when the file grows; the job has ended when its record says so, or nothing of it is left. A builder elsewhere is asked
again after 0.2 s, and less and less often while nothing new comes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import far, look, opening, remote, story
from .cit_format import clock, messages, reply
from .cit_format.errors import NOT_FOUND, CitError
from .index import Index
from .look import Seen
from .picking import Wish
from .places import Home
from .watch import Pace, Watch
from .writer import Writer

CHUNK = 1 << 20  # bytes
CUT = 1 << 17  # bytes before its end that are new when a log has become shorter
SOON = 2.0  # seconds in which a job is expected to begin without a word about it


# --- how a job stands -----------------------------------------------------------------------------------------------


def has_ended(job: Seen) -> bool:
    """Whether it prints no more: its record has the end, or the job has gone on."""
    record = job.work(".run")
    return job.state in (*story.FINAL, "REFUSED") or (record is not None and says_the_end(record / "status"))


def says_the_end(status: Path) -> bool:
    """Whether a job's record, written by its shim, tells of its end (docs/stages/run.md)."""
    try:
        return any(line.split("\t")[1:2] == ["ended"] for line in status.read_text(errors="replace").split("\n")[:-1])
    except FileNotFoundError:
        return False


def index_of(log: Path) -> Index:
    """When a log of this account grew."""
    try:
        return Index(Path(f"{str(log)[:-4]}.run", "times").read_bytes())
    except FileNotFoundError:
        return Index()


# --- the loop -------------------------------------------------------------------------------------------------------


def copied(fd: int, writer: Writer) -> None:
    """Write what the log has from here to its present end; of one from which more was cut out than is still to come, the end of it."""
    size = os.fstat(fd).st_size
    if size < os.lseek(fd, 0, os.SEEK_CUR):
        os.lseek(fd, max(0, size - CUT), os.SEEK_SET)
    while piece := os.read(fd, CHUNK):
        writer.write(piece)


def opened(job: Seen, given: str | None, wish: Wish) -> None:
    """Write a log that is for some only, with our own key, or the one in the file `given`."""
    log = job.work(".log.age")
    writer = Writer(None, wish, index_of(log.with_suffix("")) if log else far.index(job))
    opening.write_log(job, given, writer.write)
    writer.write(b"", last=True)


def followed(job: Seen, there: Home, given: str | None, wish: Wish) -> None:
    """Write the log as it grows, from before its first line, until the job has ended."""
    with Watch(sys.stdout.fileno()) as watch:
        watch.add([*([there.account / "work", there.account / "log"] if there.account else []), *(queue / "log" for queue in there.queues)])
        asker = far.asker_for(job)
        job, log = _begun(job, there, watch, asker)
        if log is None and opening.is_for_some(job):  # its builder shows it to nobody before it is sealed
            pace = Pace()
            while not has_ended(job):
                if not far.waited(watch, pace):
                    return
                job = look.one(job.key, there, clock.now(), asker)
        if opening.is_for_some(job) and (log is None or log.suffix == reply.SUFFIX):
            opened(job, given, wish)
            return
        if log is None:
            away = far.place(job)
            assert away is not None
            writer = Writer(None, wish, far.index(job))
            far.followed(job, away, lambda: look.one(job.key, there, clock.now(), asker), has_ended, writer, watch)
            writer.write(b"", last=True)
            return
        watch.add([f"{str(log)[:-4]}.run"])
        writer = Writer(log, wish, index_of(log))
        try:
            fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # sealed just now
            opened(job, given, wish)
            return
        os.lseek(fd, writer.begin(), os.SEEK_SET)
        _here(fd, log, writer, watch, lambda: has_ended(look.one(job.key, there, clock.now())))


def _here(fd: int, log: Path, writer: Writer, watch: Watch, has_gone_on: Callable[[], bool]) -> None:
    """Write an open log as it grows, until its job has ended; 66 where it is removed before."""
    status = Path(f"{str(log)[:-4]}.run", "status")
    writer.is_live()
    while True:
        is_left = os.fstat(fd).st_nlink > 0 or status.exists()
        over = not is_left or says_the_end(status) or has_gone_on()
        copied(fd, writer)
        if over or not watch.wait():
            break
    writer.write(b"", last=True)
    os.close(fd)
    if not is_left:
        raise CitError(NOT_FOUND, "its log was removed while it was followed", f"it was {log}")


def _begun(job: Seen, there: Home, watch: Watch, asker: remote.Asker | None) -> tuple[Seen, Path | None]:
    """The job, and where its log lies, once there is one (None: elsewhere); 66 where the job ended without any."""
    since: float | None = time.monotonic()
    pace = Pace()
    while True:
        log = job.work(".log")
        if log or far.place(job):
            return job, log
        if job.state not in ("PENDING", "HELD", "RUNNING"):
            return job, look.log_of(job)
        if since is not None and time.monotonic() > since + SOON:
            messages.tell("note", f"{job.state}: its log will follow", job.document.label, f"cit why {job.short}")
            since = None
        if asker is None:
            watch.wait()
        else:
            far.waited(watch, pace)
        job = look.one(job.key, there, clock.now(), asker)
