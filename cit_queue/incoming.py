"""incoming/: the drop box of a queue, for accounts of its host (docs/stages/queue.md, docs/directories.md).

    NAME.cit    a stream of documents

It is opened so that no link, fifo or device is followed, read up to a limit, and what is accepted is written anew. So nothing
that another account can still change becomes part of the queue. A file that changed a moment ago may still be growing: it is
left to the next pass. Once all of it has its answer on disk, the file is removed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import accept
from .cit_format import home, messages, put, reader, spool
from .cit_format.errors import DATA, CitError
from .cit_format.reader import Faulty

LIMIT = 256 << 20  # bytes of a dropped file
SETTLED = 5  # seconds without a change, after which a file is taken for whole


class Dropped(NamedTuple):
    """An open file of the drop box, its name, and what fstat says of it."""

    fd: int
    name: str
    status: os.stat_result


def opened(directory: int, name: str) -> Dropped:
    """Open a dropped file carefully; 65 for what is no regular file of its own or too large."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CitError(DATA, f"cannot be opened: {error.strerror}", "drop a file that the queue's account can read", name) from None
    status = os.fstat(fd)
    what = ""
    if not stat.S_ISREG(status.st_mode):
        what = "no regular file"
    elif status.st_nlink != 1:
        what = "a hard link to another file"
    elif status.st_size > LIMIT:
        what = f"over {LIMIT >> 20} MiB"
    if what:
        os.close(fd)
        raise CitError(DATA, what, "drop a file of your own: write it under a name with a dot before it, then rename it", name)
    return Dropped(fd, name, status)


def owner(status: os.stat_result) -> str:
    """The name of the account whose file it is."""
    try:
        return pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return str(status.st_uid)


def take_in(queue: home.Queue) -> Iterator[accept.Answer]:
    """Take in what lies in the drop box, file by file."""
    names = spool.listing(queue / "incoming")
    if not names:
        return
    directory = os.open(queue / "incoming", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            try:
                if time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_ctime >= SETTLED:
                    yield from _file(queue, directory, name)
            except FileNotFoundError:
                continue  # its owner took it back, or another run was quicker
    finally:
        os.close(directory)


def _file(queue: home.Queue, directory: int, name: str) -> Iterator[accept.Answer]:
    try:
        dropped = opened(directory, name)
    except CitError as error:
        messages.complain(error)
        queue.note([(name, "refused", error.what)], "queue")
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
        return
    try:
        remark = f", dropped by {owner(dropped.status)}"
        arrivals: list[accept.Arrival] = []
        answers: list[accept.Answer] = []
        size = 0
        for arrival in reader.documents(_limited(dropped.fd)):
            arrivals.append(arrival)
            size += arrival.size if isinstance(arrival, Faulty) else len(arrival.raw)
            if len(arrivals) >= put.GROUP_DOCUMENTS or size >= put.GROUP_BYTES:
                answers += accept.take_in(arrivals, queue, remark)
                arrivals, size = [], 0
        answers += accept.take_in(arrivals, queue, remark)
        _remove(directory, dropped)
        yield from answers
    finally:
        os.close(dropped.fd)


def _limited(fd: int) -> Callable[[int], bytes]:
    """A `read` that ends at the limit, however the file grows."""
    left = LIMIT

    def read(size: int) -> bytes:
        nonlocal left
        piece = os.read(fd, min(size, left))
        left -= len(piece)
        return piece

    return read


def _remove(directory: int, dropped: Dropped) -> None:
    """Remove the file that was read; another one that was put in its place meanwhile stays."""
    with contextlib.suppress(FileNotFoundError):
        now = os.stat(dropped.name, dir_fd=directory, follow_symlinks=False)
        if (now.st_dev, now.st_ino) == (dropped.status.st_dev, dropped.status.st_ino):
            os.unlink(dropped.name, dir_fd=directory)
            os.fsync(directory)
