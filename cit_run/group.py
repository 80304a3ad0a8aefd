"""A job's own cgroup (v2), where its account has been given a part of the tree: memory and processes are counted and limited by the kernel.

Made before the program starts, entered by the shim for the moment of the start, killed and removed when the job has ended (docs/howto/limits.md).
What the tree does not offer is left out: then the shim watches by itself, and rlimits hold.
Imports next to nothing: it is part of the bare process of a shim (supervise.py), and only of one that has such a tree.
"""

from __future__ import annotations

import os
import time

PATIENCE = 10.0  # seconds in which what was killed must be gone


class Group:
    """The cgroup of one job at `path`; its shim lives in `home`."""

    def __init__(self, path: str, home: str) -> None:
        self.path = path
        self.home = home
        self.holds_memory = False

    def make(self, memory: int, pids: int) -> bool:
        """Make it, with these limits as far as the kernel offers them; whether it is there."""
        try:
            os.mkdir(self.path)
        except FileExistsError:
            pass  # of a shim that was killed before it could remove it
        except OSError:
            return False
        if memory:
            self.holds_memory = self.put("memory.max", memory)
            self.put("memory.swap.max", 0)
            self.put("memory.oom.group", 1)
        if pids:
            self.put("pids.max", pids)
        return True

    def enter(self) -> bool:
        """What is started from here on is of the job."""
        return put(f"{self.path}/cgroup.procs", 0)

    def leave(self) -> None:
        """So much for that: we are not."""
        put(f"{self.home}/cgroup.procs", 0)

    def put(self, name: str, value: int) -> bool:
        return put(f"{self.path}/{name}", value)

    def was_short(self) -> bool:
        """Whether the kernel has ended something here for want of memory."""
        for line in read(f"{self.path}/memory.events").split("\n"):
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.strip() not in ("", "0"):
                return True
        return False

    def kill(self) -> None:
        """End all that is in it, in one step."""
        put(f"{self.path}/cgroup.kill", 1)

    def remove(self) -> bool:
        """It goes when nothing is in it any more; whether it did."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                os.rmdir(self.path)
                return True
            except FileNotFoundError:
                return True
            except OSError:
                if time.monotonic() > until:
                    return False
                self.kill()
                time.sleep(0.005)


def put(path: str, value: int) -> bool:
    """Write a number into a file of the tree, if it is there; whether that was taken."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(file, b"%d\n" % value)
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def read(path: str) -> str:
    """What a file of the tree says; empty where there is none."""
    try:
        with open(path, "rb", 0) as stream:
            return stream.read().decode()
    except OSError:
        return ""
