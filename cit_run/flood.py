"""Keeps a job's log within its limit: of a longer one the first half stays, the middle is cut out, the last lines follow (docs/howto/limits.md).

The job writes into its log itself, at its end, wherever that is: so it may be made shorter at any time. While nothing is printed nobody looks.
Imports next to nothing: it is part of the bare process of a shim (supervise.py).
"""

from __future__ import annotations

import os
import stat

from . import processes

SPEED = 2 << 30  # bytes a second that a log is thought to grow by
OFTEN, SELDOM = 0.02, 1.0  # seconds between two looks
TAIL = 1 << 16  # bytes before the end that are kept in any case
LINE = 1 << 12  # bytes in which the last newline of the first half is looked for


def pause(room: int) -> float:
    """Seconds until a growing log is looked at again, when it may have so many bytes more."""
    return min(SELDOM, max(OFTEN, room / SPEED))


def notice(cut: int) -> bytes:
    """The line in place of what is cut out."""
    return b"\ncit-run: %d MiB of output cut out here (log-limit)\n" % (cut >> 20)


class Flood:
    """One log. `due` is when to look again (monotonic; 0: when the kernel tells that it grows); `cut` how many bytes of it are gone."""

    def __init__(self, log: str, limit: int) -> None:
        self.log = log
        self.limit = limit
        self.due = 0.0
        self.cut = 0
        self.middle = 0  # where it is cut

    def look(self, now: float, is_told: bool) -> None:
        """See to it that the log is not too long; `is_told`: the kernel will tell when it grows."""
        if not self.limit:
            return
        try:
            size = os.stat(self.log).st_size
        except OSError:
            return
        if size > self.limit:
            self.shorten()
            size = self.limit // 2
        self.due = 0.0 if is_told else now + pause(self.limit - size)

    def shorten(self) -> None:
        """Cut out the middle, while all of the job stands still: nothing of what it prints goes with it."""
        stopped = processes.halted()
        try:
            fd = os.open(self.log, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    self.cut_out(fd)
            finally:
                os.close(fd)
        except OSError:
            return  # no log any more, or a full disk: what was cut out has made room
        finally:
            for pid in stopped:
                processes.told(pid, processes.signal.SIGCONT)

    def cut_out(self, fd: int) -> None:
        """What lies between the first half and the last lines."""
        if not self.middle:
            self.middle = self.limit // 2
            before = os.pread(fd, min(LINE, self.middle), max(0, self.middle - LINE))
            self.middle -= len(before) - 1 - before.rfind(b"\n") if b"\n" in before else 0
        size = os.fstat(fd).st_size
        last = min(TAIL, self.limit // 4)
        tail = os.pread(fd, last, size - last)
        tail = tail[tail.find(b"\n") + 1 :]
        told = len(notice(self.cut)) if self.cut else 0  # ours, from the last time
        self.cut += size - self.middle - len(tail) - told
        os.ftruncate(fd, self.middle)
        self.appended(notice(self.cut) + tail)

    def appended(self, text: bytes) -> None:
        """Put this at the end, as the job does: what it prints meanwhile is not written over."""
        fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while text:
                text = text[os.write(fd, text) :]
        finally:
            os.close(fd)
