"""What nobody tells a shim of: the memory and the disk that its job takes, looked at on a timer, where the job says a limit (docs/howto/limits.md).

Reads: /proc of all that descends from the shim; of the workspace what du(1) says, asked only when so much of the disk was taken meanwhile that
it may matter. What looking costs is bounded: it takes a twentieth of the time at most.
Imports next to nothing: it is part of the bare process of a shim (supervise.py), and only of one whose job has such a limit.
"""

from __future__ import annotations

import os
import time

from . import processes

PAGE = os.sysconf("SC_PAGE_SIZE")
GROWTH = 1 << 30  # bytes a second that memory is thought to grow by
OFTEN, SELDOM = 0.1, 1.0  # seconds between two looks
IDLE = 60.0  # seconds after which a workspace is measured although the disk says that nothing was written
SHARE = 20  # looking takes one part in so many of the time
DU = next((path for path in ("/usr/bin/du", "/bin/du") if os.access(path, os.X_OK)), "")


# --- decisions ------------------------------------------------------------------------------------------------------


def pause(room: int, cost: float) -> float:
    """Seconds until memory is looked at again, when so many bytes are left and a look takes so many seconds."""
    return max(SHARE * cost, min(SELDOM, max(OFTEN, room / GROWTH)))


def is_worth(written: int, room: int, since: float, cost: float) -> bool:
    """Whether to measure a workspace again: since it was measured, as many seconds ago, its disk has taken so many bytes."""
    return since >= SHARE * cost and (written >= room or since >= IDLE)


# --- memory ---------------------------------------------------------------------------------------------------------


class Memory:
    """The memory of all processes of a job together; `why` when it is more than they may have, `over` how much."""

    why = "memory"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.due = 0.0
        self.over = 0

    def look(self, now: float) -> bool:
        """Whether it is too much, looked at where that is due."""
        if now < self.due:
            return False
        pids = processes.descendants()
        taken = sum(resident(pid) for pid in pids)
        if taken > self.limit:  # what processes share was counted once for each of them
            taken = sum(proportional(pid) for pid in pids)
        self.due = now + pause(self.limit - taken, time.monotonic() - now)
        self.over = taken
        return taken > self.limit

    def close(self) -> None:
        """Nothing is open."""


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb", 0) as stream:
            return int(stream.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """The same, of pages that it shares with others only its share."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb", 0) as stream:
            for line in stream.read().split(b"\n"):
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return resident(pid)


# --- disk -----------------------------------------------------------------------------------------------------------


class Disk:
    """What a workspace takes of its disk."""

    why = "tmp"

    def __init__(self, workspace: str, limit: int) -> None:
        self.workspace = workspace
        self.limit = limit
        self.due = 0.0
        self.over = 0
        self.began = 0.0  # when it was measured last
        self.cost = 0.0  # how long that took
        self.free = 0  # bytes free on the disk at that moment
        self.said = -1  # what du says comes from here; -1: it does not run

    def look(self, now: float) -> bool:
        """Whether it is too much; measured where that is due, which ends later."""
        if self.said >= 0:
            self.heard(now)
        elif now >= self.due:
            self.due = now + SELDOM
            if not self.began or is_worth(self.free - free(self.workspace), self.limit - self.over, now - self.began, self.cost):
                self.measure(now)
        return self.over > self.limit

    def measure(self, now: float) -> None:
        """Have du add it up: it needs little memory, however deep and full a directory is."""
        if not DU:
            return
        self.free, self.began = free(self.workspace), now
        self.said, writing = os.pipe()
        os.set_blocking(self.said, False)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),  # what vanishes meanwhile is no news
            (os.POSIX_SPAWN_DUP2, writing, 1),
        ]
        try:
            os.posix_spawn(DU, [DU, "-skx", self.workspace], {"LC_ALL": "C"}, file_actions=actions, setpgroup=0)
        except OSError:
            self.close()
        os.close(writing)

    def heard(self, now: float) -> None:
        """Take note of what du says, once it does."""
        try:
            words = os.read(self.said, 4096).split()
        except BlockingIOError:
            return
        self.close()
        self.cost = now - self.began
        if words and words[0].isdigit():
            self.over = int(words[0]) << 10

    def close(self) -> None:
        """Listen no more."""
        if self.said >= 0:
            os.close(self.said)
            self.said = -1


def free(path: str) -> int:
    """Bytes that are free on the disk where a directory lies; none where it is gone."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize
