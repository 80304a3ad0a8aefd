"""A job that waits for other jobs lends its slot meanwhile (docs/howto/jobs-that-make-jobs.md).

Reads: `lent` in a job's record, made and locked by the `cit wait` inside that job as long as it waits; `back` in it: it wants a slot again.
How: while the lock is held the job counts neither as a slot nor with its processors. To give the slot back is to remove the file, which
cit-run alone does: so nobody goes on without one. A waiter that was killed holds no lock, and its job has its slot again at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from . import names, spool

FILE = "lent"
BACK = b"back"


def is_lent(record: str) -> bool:
    """Whether the slot of the job with this record is lent. A file that nobody has locked means nothing: its waiter is dead, or just coming."""
    try:
        fd = os.open(f"{record}/{FILE}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def lent_here(account: Path) -> set[str]:
    """The jobs (`COPY-NAME`) of a build account whose slots are lent."""
    running = (parts for parts in map(names.parse, spool.listing(account / "running")) if parts)
    return {own for own in (f"{parts.copy}-{parts.name}" for parts in running) if is_lent(f"{account}/work/{own}.run")}


def wants_back(record: str) -> bool:
    """Whether it is to have its slot again."""
    try:
        with open(f"{record}/{FILE}", "rb") as stream:
            return stream.read(len(BACK)) == BACK
    except OSError:
        return False


def give_back(record: str) -> None:
    """Give the slot back: its waiter goes on."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{record}/{FILE}")


def is_there(record: str) -> bool:
    """Whether a waiter has come, without a look at who that is."""
    return os.path.exists(f"{record}/{FILE}")
