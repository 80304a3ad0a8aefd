"""`cit wait` inside a job lends the job's slot while it waits, and takes one back before it goes on (docs/howto/jobs-that-make-jobs.md).

Reads: CIT_WORKSPACE, whose `.cit` leads to the job's record. Writes: `lent` in the record, locked as long as this process waits, and
`inbox/.lent`, made anew, by which the kernel tells the pass of cit-run. That pass removes `lent` when there is a slot again.
How: only a job that lies in `running` of this account has a slot to lend, and only where cit-run itself has the slots. One waiter of a job lends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path

from .cit_format import home, lent, names, spool, wake

LOCKING = 0.1  # seconds in which the lock is tried: cit-run looks at it for moments
LONGEST = 0.25  # seconds between looks whether the slot is there
PASS = 5.0  # seconds after which a pass is started, in case there is none


class Loan:
    """The slot of the job around us, lent from `begin` to `end`; without a job around us, or one that has no slot, nothing happens."""

    def __init__(self, account: Path | None, environment: Mapping[str, str]) -> None:
        self.account = account
        self.record = record_of(account, environment) if account else ""
        self.fd = -1

    def begin(self) -> bool:
        """Lend it, unless it is lent already, by us or another waiter of this job; whether it was lent now."""
        if not self.record or self.fd >= 0:
            return False
        path = f"{self.record}/{lent.FILE}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not locked(fd, path):
            os.close(fd)
            return False
        os.ftruncate(fd, 0)  # what a dead waiter had wished
        self.fd = fd
        self.tell()
        return True

    def end(self) -> None:
        """Take one back: return when cit-run has given it."""
        if self.fd < 0:
            return
        os.pwrite(self.fd, lent.BACK, 0)
        self.tell()
        pause, start = 0.01, time.monotonic() + PASS
        while os.fstat(self.fd).st_nlink:
            time.sleep(pause)
            pause = min(LONGEST, pause * 1.5)
            if time.monotonic() > start and self.account:
                account = home.Account(self.account)
                wake.arrived(account.path, account.on_arrival)
                self.tell()
                start = time.monotonic() + PASS
        os.close(self.fd)
        self.fd = -1

    def tell(self) -> None:
        """Have the pass of cit-run look: it is told of every new name in the inbox."""
        name = f"{self.account}/inbox/.{lent.FILE}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def __enter__(self) -> Loan:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def record_of(account: Path, environment: Mapping[str, str]) -> str:
    """The record of the job around us; empty where there is none with a slot in this account."""
    job, workspace = environment.get("CIT_JOB_ID", ""), environment.get("CIT_WORKSPACE", "")
    if not job or not workspace or home.Account(account).settings.get("kind", "cit") != "cit":
        return ""
    record = os.path.realpath(f"{workspace}/.cit")
    own = os.path.basename(record)[: -len(".run")]
    if os.path.dirname(record) != os.path.realpath(account / "work") or not record.endswith(".run") or not own.startswith(job):
        return ""
    running = (parts for parts in map(names.parse, spool.listing(account / "running")) if parts)
    return record if any(f"{parts.copy}-{parts.name}" == own for parts in running) else ""


def locked(fd: int, path: str) -> bool:
    """Lock the file that lies there; false where somebody else has it."""
    end = time.monotonic() + LOCKING
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == os.fstat(fd).st_ino:
            return True
    return False
