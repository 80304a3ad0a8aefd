"""cit log: what a job printed, its secrets as ***; -f follows it and ends when the job does.

Reads: work/COPY-NAME.log of this account; else what the read door of the job's builder gives of it. A sealed log, COPY-NAME.log.age, is opened.
Writes: the log, uncut byte for byte in a pipe; on a terminal without what terminals obey.
Exits: 0; 66 no such job, or no log; 69 its builder cannot be had; 77 it is sealed to others (docs/messages.md).
How: the kernel tells when the file grows; the job has ended when its record says so. Colours are taken out, a CR before a newline too.
A builder elsewhere is asked again after 0.2 s, and less and less often while nothing new comes.
Pages: docs/stages/report.md
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import time
from pathlib import Path
from typing import Optional

import typer

from . import far, look, opening, places, remote, story
from .cit_format import clock, masks, messages, reply
from .cit_format.errors import OK, CitError
from .look import Seen
from .places import Home
from .watch import Pace, Watch

CHUNK = 1 << 20  # bytes
SOON = 2.0  # seconds in which a job is expected to begin without a word about it
_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]|\r(?=\n)")
_UNFINISHED = re.compile(r"(?:\r|\x1b\[?[0-9;]*)\Z")


# --- decisions ------------------------------------------------------------------------------------------------------


class Cleaner:
    """Bytes of a log, piece by piece, as text for a terminal: no control but tab and newline, no colours."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.held = ""

    def __call__(self, piece: bytes, last: bool = False) -> str:
        text = self.held + self.decoder.decode(piece, last)
        cut = None if last else _UNFINISHED.search(text)
        text, self.held = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
        return messages.clean(_COLOUR.sub("", text))


# --- the loop -------------------------------------------------------------------------------------------------------


class Writer:
    """Writes pieces of a log to stdout, without the secrets of its job, cleaned where it is a terminal.

    Made before the log is read; None: what its builder's door gives has none.
    """

    def __init__(self, log: Path | None) -> None:
        self.mask = masks.Mask(masks.known(str(log)) if log else [])
        self.cleaner = Cleaner() if sys.stdout.isatty() else None

    def write(self, piece: bytes, last: bool = False) -> None:
        out = sys.stdout.buffer
        shown = self.mask(piece, last)
        out.write(self.cleaner(shown, last).encode() if self.cleaner else shown)
        out.flush()


def copied(fd: int, writer: Writer) -> None:
    """Write what the log has from here to its present end."""
    while piece := os.read(fd, CHUNK):
        writer.write(piece)


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


def opened(job: Seen, given: str | None) -> None:
    """Write a log that is for some only, with our own key, or the one in the file `given`."""
    writer = Writer(None)
    opening.write_log(job, given, writer.write)
    writer.write(b"", last=True)


def followed(job: Seen, there: Home, given: str | None) -> None:
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
                job = look.one(job.document.id, there, clock.now(), asker)
        if opening.is_for_some(job) and (log is None or log.suffix == reply.SUFFIX):
            opened(job, given)
            return
        if log is None:
            away, writer = far.place(job), Writer(None)
            assert away is not None
            far.followed(job, away, lambda: look.one(job.document.id, there, clock.now(), asker), has_ended, writer.write, watch)
            writer.write(b"", last=True)
            return
        record = Path(f"{str(log)[:-4]}.run")
        watch.add([record])
        writer = Writer(log)
        try:
            fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # sealed just now
            opened(job, given)
            return
        over = False
        while not over:
            over = says_the_end(record / "status") or has_ended(look.one(job.document.id, there, clock.now()))
            copied(fd, writer)
            over = over or not watch.wait()
        writer.write(b"", last=True)
        os.close(fd)


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
        job = look.one(job.document.id, there, clock.now(), asker)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    job: Optional[str] = typer.Argument(None, metavar="[JOB]", help="A piece of an ID, a name, or `last`; without any, last"),
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on as it grows, until the job has ended"),
    path: bool = typer.Option(False, "--path", help="Only where the log lies"),
    key: Optional[str] = typer.Option(None, "-i", "--key", metavar="FILE", help="The private key that opens a sealed log; else your own"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """What a job printed."""
    messages.set_up("cit-log", quiet)
    there = places.here(queue)
    wanted = look.one(job or "last", there, clock.now(), None if path else remote.Asker())
    if path:
        print(look.log_of(wanted))
        return OK
    if follow and not has_ended(wanted):
        followed(wanted, there, key)
        return OK
    if not wanted.work(".log") and opening.is_for_some(wanted):
        opened(wanted, key)
        return OK
    away = None if wanted.work(".log") else far.place(wanted)
    if away:
        writer = Writer(None)
        far.copied(wanted, away, 0, writer.write)
        writer.write(b"", last=True)
        return OK
    log = look.log_of(wanted)
    writer = Writer(log)
    try:
        fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CitError(66, "its log is gone", "cit clean, or a later build in its place, removed it", wanted.document.label) from None
    copied(fd, writer)
    writer.write(b"", last=True)
    return OK
