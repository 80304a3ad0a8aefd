"""What is left of a job whose shim was killed: found and ended, so that nothing runs on unsupervised (docs/stages/run.md).

Its processes are those of the program's session, those that carry the job's own variables, and all that descends from them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from typing import NamedTuple

from .shim import Status

PATIENCE = 5.0  # seconds in which they must have died


class Process(NamedTuple):
    """What /proc says of a process: its parent, session and start time (ticks)."""

    pid: int
    parent: int
    session: int
    start: str
    is_dead: bool


# --- decisions ------------------------------------------------------------------------------------------------------


def belonging(found: list[Process], marked: Collection[int], status: Status) -> set[int]:
    """The pids of a job: `marked` ones, its program's session unless that number is another's by now, and their descendants."""
    by_pid = {process.pid: process for process in found}
    leader = by_pid.get(status.pid)
    session = status.pid if leader is None or leader.start == status.start else 0
    mine = {process.pid for process in found if process.pid in marked or (session and process.session == session)}
    while True:
        more = {process.pid for process in found if process.parent in mine} - mine
        if not more:
            return {pid for pid in mine if not by_pid[pid].is_dead}
        mine |= more


# --- processes ------------------------------------------------------------------------------------------------------


def ended(status: Status, variables: dict[str, str]) -> bool:
    """Kill what is left of a job that was started with these variables; whether nothing of it is left."""
    marks = [f"{name}={value}".encode() for name, value in variables.items()]
    until = time.monotonic() + PATIENCE
    while True:
        found = processes()
        mine = belonging(found, [process.pid for process in found if is_marked(process.pid, marks)], status)
        if not mine:
            return True
        if time.monotonic() > until:
            return False
        for pid in mine:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def processes() -> list[Process]:
    """All processes that this account can see."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stream:
                words = stream.read().rpartition(b")")[2].split()
                found.append(Process(int(entry), int(words[1]), int(words[3]), words[19].decode(), words[0] in (b"Z", b"X")))
    return found


def is_marked(pid: int, marks: list[bytes]) -> bool:
    """Whether a process was started with all of these variables."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            own = stream.read().split(b"\0")
    except OSError:
        return False
    return bool(marks) and all(mark in own for mark in marks)
