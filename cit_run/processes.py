"""Processes below a shim: started, waited for, signalled, and none of them missed.

Imports next to nothing: it is part of the bare process of a shim (supervise.py).
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
else:
    try:
        import _signal as signal  # what is built in: signal itself brings enum, a fifth of a shim's memory
    except ImportError:
        import signal

LINGER = 10.0  # seconds in which all that is left of a job must have died
STILL = 0.5  # seconds that a process is given to come out of the kernel
SIGNALS = [number for number in range(1, 32) if number not in (signal.SIGKILL, signal.SIGSTOP)]
PIDS = 1 << 22  # no pid is greater
MINE = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
# setsid(1), where it and the kernel's lists of children are there.
HELPER = next((path for path in ("/usr/bin/setsid", "/bin/setsid") if os.access(path, os.X_OK) and os.path.exists(MINE)), "")

Figures = list[tuple[str, int]]  # of wait4, named as in a result


def spawned(argv: list[str], directory: str, log: str, environment: dict[str, str], program: str) -> int:
    """Start a process as leader of a session of its own; its pid. It becomes our child when setsid(1) has ended. `program` is what `argv` is to
    run in the end."""
    os.chdir(directory)
    if not os.access(program, os.X_OK):
        raise OSError(errno.EACCES if os.path.exists(program) else errno.ENOENT, "no such program, or not to be run")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if not HELPER:
        return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True, setsigdef=SIGNALS, setsigmask=[])
    helper = os.posix_spawn(
        HELPER, ["setsid", *argv], environment, file_actions=actions, setpgroup=0, setsigdef=SIGNALS, setsigmask=[]
    )  # leader of a group: so setsid forks
    _, ended = os.waitpid(helper, 0)
    born = listed(MINE)
    if ended or not born:
        raise OSError(errno.EAGAIN, "no process can be made")
    return min(born, key=lambda pid: (pid - helper) % PIDS)  # pids count up: the first one after setsid's is the program


def reaped(pid: int) -> tuple[int, int, Figures] | None:
    """Wait for all that has ended; how `pid` did, if it is among it."""
    found = None
    while True:
        try:
            ended, code, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not ended:
            return found
        if ended == pid:
            figures = [
                ("user-ms", int(usage.ru_utime * 1000)),
                ("system-ms", int(usage.ru_stime * 1000)),
                ("max-rss-kib", usage.ru_maxrss),
                ("major-faults", usage.ru_majflt),
                ("minor-faults", usage.ru_minflt),
                ("inputs", usage.ru_inblock),
                ("outputs", usage.ru_oublock),
                ("voluntary-switches", usage.ru_nvcsw),
                ("involuntary-switches", usage.ru_nivcsw),
            ]
            signalled_by = os.WTERMSIG(code) if os.WIFSIGNALED(code) else 0
            found = (os.WEXITSTATUS(code) if os.WIFEXITED(code) else 0, signalled_by, figures)


def buried() -> bool:
    """Kill and wait for all that is left below us; whether nothing is."""
    until = time.monotonic() + LINGER
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return True
        signalled(signal.SIGKILL)
        time.sleep(0.001)
    return False


def signalled(number: int) -> None:
    """Send a signal to all that descends from us, and to their groups: a group gets it at once, however quickly it forks."""
    mine = os.getpgrp()
    todo = children(os.getpid())
    while todo:
        pid = todo.pop()
        try:
            group = os.getpgid(pid)
            if group != mine:
                os.killpg(group, number)
            os.kill(pid, number)
        except OSError:
            pass  # it has just ended
        todo += children(pid)


def descendants() -> list[int]:
    """All that descends from us: what a job consists of."""
    found: list[int] = []
    todo = children(os.getpid())
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def halted() -> list[int]:
    """Have all that descends from us stand still, as soon as it is out of the kernel: what did not before."""
    found: list[int] = []
    until = time.monotonic() + STILL
    while True:
        moving = [pid for pid in descendants() if state(pid) not in "TtZX"]
        if not moving or time.monotonic() > until:
            return found
        for pid in moving:
            if pid not in found:
                found.append(pid)
                told(pid, signal.SIGSTOP)
        time.sleep(0.001)


def told(pid: int, number: int) -> None:
    """Send a signal to one process."""
    try:
        os.kill(pid, number)
    except OSError:
        return  # it has just ended


def state(pid: int) -> str:
    """The letter that the kernel has for what a process does; Z where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as stream:
            return stream.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return "Z"


def group_signalled(pid: int, number: int) -> None:
    """Send a signal to the group that a process leads."""
    try:
        os.killpg(pid, number)
    except OSError:
        return  # it has just ended


def children(pid: int) -> list[int]:
    """The processes that `pid` or one of its threads has started, or was given when their parents ended."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has just ended
    return [child for thread in threads for child in listed(f"/proc/{pid}/task/{thread}/children")]


def listed(path: str) -> list[int]:
    """The pids in one of the kernel's lists; none where its thread has just ended."""
    try:
        with open(path, "rb", 0) as stream:
            return [int(word) for word in stream.read().split()]
    except OSError:
        return []


def start_time(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""
