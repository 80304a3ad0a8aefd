"""cit play: the recorded terminal of a job again, as fast as it was or faster; in a pipe what it showed as text.

Reads: work/COPY-NAME.cast of this account, else by the read door of the job's builder; sealed, it is opened with your key; or a file FILE.cast.
Writes: on a terminal what of it passes (vt.py), in a pipe plain text, with --tsv a row each. Exits: 0; 65 no recording; 66 none is there; 69, 77.
Pages: docs/howto/watch-it-run.md
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, Optional

import typer

from . import far, look, opening, places, recording, remote, vt
from .cit_format import body, clock, messages, parts, reply
from .cit_format.errors import NOT_FOUND, OK, USAGE, CitError
from .look import Seen
from .where import Where

SUFFIX = ".cast"


# --- where it lies --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(wanted: str, queue: str | None, key: str | None) -> Iterator[IO[bytes]]:
    """A recording, from its first line on: a file, or that of a job. 66, 69, 77."""
    if wanted.endswith(SUFFIX) and os.path.isfile(wanted):
        with open(wanted, "rb") as stream:
            yield stream
        return
    with contextlib.ExitStack() as stack:
        job = look.one(wanted, places.here(queue), clock.now(), remote.Asker())
        source = _here(job, stack)
        if source is None:
            away = _away(job)
            source = stack.enter_context(TemporaryFile())
            far.copied(job, away, 0, source.write, "cast")
            source.seek(0)
        if opening.is_sealed(source):
            by = opening.key(job.document, "its recording", reply.of_log(reply.rows(job.document)), key)
            source = stack.enter_context(opening.opened(source, by))
        yield source


def _here(job: Seen, stack: contextlib.ExitStack) -> IO[bytes] | None:
    """The recording in this account, sealed or not."""
    for path in (job.work(SUFFIX), job.work(f"{SUFFIX}{reply.SUFFIX}")):
        with contextlib.suppress(OSError):
            return stack.enter_context(_plain(parts.plain(str(path or ""), os.O_RDONLY)))
    return None


def _away(job: Seen) -> Where:
    """Whose door gives it; 66 where nobody has it."""
    away = None if job.log else far.place(job)
    if away is None:
        said = "it has none: it asked for no terminal" if job.document.table("job").get("tty") is not True else "it is not here"
        raise CitError(NOT_FOUND, f"no recording: {said}", f"cit push --tty; what it printed: cit log {job.short}", job.document.label)
    return away


@contextlib.contextmanager
def _plain(fd: int) -> Iterator[IO[bytes]]:
    with open(fd, "rb") as stream:
        yield stream


# --- what is shown --------------------------------------------------------------------------------------------------


def played(source: IO[bytes], shape: recording.Shape, speed: float, idle: float | None) -> None:
    """On a terminal, in its own time."""
    columns, rows = shutil.get_terminal_size()
    if columns < shape.columns or rows < shape.rows:
        messages.tell(
            "note", f"it was recorded with {shape.columns}x{shape.rows}, this terminal has {columns}x{rows}", hint="a larger one shows all of it"
        )
    passing = vt.Passing()
    try:
        for pause, text in recording.paced(recording.shown(source), speed, idle):
            if pause > 0:
                sys.stdout.flush()
                time.sleep(pause)
            sys.stdout.write(passing(text))
    finally:
        sys.stdout.write(passing.ending())
        sys.stdout.flush()


def listed(source: IO[bytes]) -> None:
    """A row each: milliseconds since the begin, and the words."""
    sys.stdout.write("ms\ttext\n")
    for moment, text in recording.shown(source):
        sys.stdout.write(body.row(str(int(moment * 1000)), vt.words(text)).decode())


def told(source: IO[bytes]) -> None:
    """As text alone."""
    held, passing = "", vt.Passing()
    for _, text in recording.shown(source):
        lines, newline, held = (held + passing(text)).rpartition("\n")
        sys.stdout.write(vt.words(lines + newline))
    sys.stdout.write(vt.words(held))


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    job: str = typer.Argument("last", metavar="[JOB|FILE.cast]", help="A piece of an ID, a name, `last`, or a recording"),
    speed: float = typer.Option(1.0, "--speed", min=0.01, max=1000, help="So many times as fast"),
    idle: Optional[str] = typer.Option(None, "--idle", metavar="DURATION", help="No pause longer than this, as 2s"),
    tsv: bool = typer.Option(False, "--tsv", help="A row each: milliseconds, text"),
    key: Optional[str] = typer.Option(None, "-i", "--key", metavar="FILE", help="The private key that opens a sealed recording; else your own"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where the job is looked up: @NAME or a directory"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The recorded terminal of a job again."""
    messages.set_up("cit-play", quiet)
    try:
        longest = clock.duration(idle) / clock.SECOND if idle else None
    except CitError as error:
        raise CitError(USAGE, f"--idle: {error.what}", error.hint) from None
    with opened(job, queue, key) as source:
        shape = recording.head(source.readline(recording.LONGEST))
        if tsv:
            listed(source)
        elif sys.stdout.isatty():
            played(source, shape, speed, longest)
        else:
            told(source)
    return OK
