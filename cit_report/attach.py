"""cit attach: the terminal of a running job, as it is now and as it goes on; in your own job you type into it. ^] ends it, never the job.

Reads: the socket `tty` in the job's record, on the machine that runs it (bin/cit-attach goes there by ssh). Writes: what passes (vt.py).
Exits: 0; 66 no such job, or it has no terminal (any more); 69 where its terminal is on another machine (docs/messages.md).
Pages: docs/howto/watch-it-run.md
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import typer

from . import look, places, remote, vt
from .cit_format import clock, home, messages, names
from .cit_format.errors import NOT_FOUND, OK, UNREACHABLE, CitError

DETACH = b"\x1d"  # ^]
LEAVE = (DETACH, b"\x03", b"q")  # whoever only watches needs no other key
NAME = "tty"  # the socket in the record


# --- the far end ----------------------------------------------------------------------------------------------------


def connected(record: Path) -> socket.socket:
    """The terminal of a running job; 66 where it has none. By way of the open directory: a socket's path may not be long."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(record, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            made.connect(f"/proc/self/fd/{directory}/{NAME}")
        finally:
            os.close(directory)
    except OSError:
        made.close()
        raise CitError(
            NOT_FOUND, "it has no terminal now", "a job has one while it runs, if it was pushed with --tty; cit play shows it again"
        ) from None
    return made


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Each key as it is pressed, and nothing echoed; put back afterwards."""
    import termios
    import tty

    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def attached(terminal: socket.socket, keys: bool) -> bool:
    """Show the terminal until it ends (True) or somebody leaves it; `keys` go in."""
    passing, decoder = vt.Passing(keys), codecs.getincrementaldecoder("utf-8")("replace")
    with contextlib.suppress(ConnectionError):
        terminal.sendall(b"keys\n" if keys else b"watch\n")
    is_shown = sys.stdout.isatty()
    listening: list[socket.socket | int] = [terminal, *([0] if sys.stdin.isatty() else [])]
    try:
        while True:
            found, _, _ = select.select(listening, [], [])
            if 0 in found and _left(os.read(0, 4096), keys, terminal):
                return False
            if terminal in found:
                piece = _heard(terminal)
                text = decoder.decode(piece, not piece)
                sys.stdout.write(passing(text) if is_shown else vt.words(text))
                sys.stdout.flush()
                if not piece:
                    return True
    finally:
        sys.stdout.write(passing.ending() if is_shown else "")
        sys.stdout.flush()


def _heard(terminal: socket.socket) -> bytes:
    """What the terminal shows; nothing when it has ended."""
    try:
        return terminal.recv(65536)
    except ConnectionError:
        return b""


def _left(typed: bytes, keys: bool, terminal: socket.socket) -> bool:
    """Whether what was typed means to leave; what stands before it, and may, goes in."""
    if not keys:
        return any(key in typed for key in LEAVE) or not typed
    before, found, _ = typed.partition(DETACH)
    with contextlib.suppress(ConnectionError):  # it has ended, and what it showed last is read yet
        terminal.sendall(before)
    return bool(found) or not typed


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    job: str = typer.Argument("last", metavar="[JOB]", help="A piece of an ID, a name, or `last`"),
    watch: bool = typer.Option(False, "--watch", help="Only look, in your own job too"),
    there: Optional[str] = typer.Option(None, "--there", metavar="COPY-NAME", hidden=True, help="The job as this account calls it"),
    keys: bool = typer.Option(False, "--keys", hidden=True, help="With --there: it is one's own"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    owner: bool = typer.Option(False, "--owner", hidden=True, help="Only say whether it is one's own"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The terminal of a running job; ^] leaves it."""
    messages.set_up("cit-attach", quiet)
    if there is not None:
        if names.parse(f"{there}.cit") is None:
            raise CitError(NOT_FOUND, f"no job {there[:80]!r}", "it is called as in work/, from the ID to the name")
        record, label = home.path() / "work" / f"{there}.run", there
    else:
        found = look.one(job, places.here(queue), clock.now(), remote.Asker())
        keys, label = found.document.table("job").get("submitter") in _me(found) and not watch, found.document.label
        if owner:
            print("keys" if keys else "watch")
            return OK
        here = found.work(".run")
        if here is None:
            raise CitError(UNREACHABLE, "its terminal is on the machine that runs it", f"cit attach {found.short}", label)
        record = here
    terminal = connected(record)
    columns, rows = shutil.get_terminal_size()
    leave = "^]" if keys else "q, ^C or ^]"
    messages.tell("note", f"{'your keys go in' if keys else 'you only watch'}; {leave} leaves it, and the job goes on", label)
    with raw(0):
        is_over = attached(terminal, keys)
    messages.tell("note", "it has ended" if is_over else "you left it; it goes on", label)
    return OK


def _me(found: look.Seen) -> set[str]:
    """Who we are: here, and as the job's queue knows us."""
    known = {home.person()}
    known |= {str(home.Queue(queue).settings.get("person", "")) for queue in found.there.queues}
    return known - {""}
