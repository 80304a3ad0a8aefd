"""When a job's log grew: `times` in its record, TSV rows of a moment and of how many bytes the log had by then (docs/stages/run.md).

    2026-11-23T20:26:14.530Z  118        what stands before byte 118, and not before the row above, was printed by then

The job writes into its log itself; nobody stands between. It is opened by a second name in the record, so that the kernel tells of each
change there (dnotify): while nothing is printed nothing wakes us, while something is we look ten times a second, and less often in a long job.
The file in which a job writes its own events lies there too, and its growth is noted alike, in `events.times`.
Imports next to nothing: it is part of the bare process of a shim (supervise.py).
"""

from __future__ import annotations

import fcntl
import os
import time

from .status import note, stamp

OFTEN = 0.1  # seconds between two looks at a log that grows
PART = 3600  # and no more often than this part of the time for which the program runs
LOG = "log"  # its second name


class Growth:
    """One file, and the index of it that is written."""

    def __init__(self, path: str, index: str) -> None:
        self.path = path
        self.index = index
        self.size = 0
        self.fd = -1

    def seen(self) -> bool:
        """Whether it has grown since the last look; it is noted then."""
        try:
            size = os.stat(self.path).st_size
        except OSError:
            return False
        if size == self.size:
            return False
        self.size = size
        try:
            if self.fd < 0:
                self.fd = os.open(self.index, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            note(self.fd, f"{stamp()}\t{size}\n")
        except OSError:
            return True  # a full disk does not change what is done
        return True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Times:
    """The indexes of one job. `due` is when to look again (monotonic; 0: when the kernel tells that there is something new)."""

    def __init__(self, log: str, record: str) -> None:
        self.log = log
        self.record = record
        self.files = [Growth(log, f"{record}/times"), Growth(f"{record}/events", f"{record}/events.times")]
        self.began = time.monotonic()
        self.due = 0.0
        self.directory = -1
        self.is_told = False  # whether the kernel tells of the next change

    def opened(self) -> str:
        """By which name the log is to be opened: a second one in the record, as long as the job runs. Where it cannot have two, its own."""
        try:
            os.close(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
            self.closed()
            os.link(self.log, f"{self.record}/{LOG}")
            return f"{self.record}/{LOG}"
        except OSError:
            return self.log

    def closed(self) -> None:
        """It has one name again."""
        try:
            os.unlink(f"{self.record}/{LOG}")
        except OSError:
            return  # it had no other

    def listen(self) -> None:
        """Be told of the next change, once."""
        try:
            if self.directory < 0:
                self.directory = os.open(self.record, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.fcntl(self.directory, fcntl.F_NOTIFY, fcntl.DN_MODIFY)
        except OSError:
            return  # a file system without it
        self.due, self.is_told = 0.0, True
        if self.grown():
            self.due = self.next()

    def look(self, told: bool, now: float) -> None:
        """See what is new, if we were told so, or it is time to."""
        if not told and not (self.due and now >= self.due):
            return
        self.is_told = False
        if self.grown():
            self.due = self.next()
        else:
            self.listen()

    def next(self) -> float:
        now = time.monotonic()
        return now + max(OFTEN, (now - self.began) / PART)

    def grown(self) -> bool:
        """Whether anything has grown since the last look."""
        return sum(each.seen() for each in self.files) > 0

    def close(self) -> None:
        """The last look, when nothing prints any more."""
        self.grown()
        self.closed()
        for each in self.files:
            each.close()
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1
        self.due = 0.0
