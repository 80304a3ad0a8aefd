"""The shim: owns one slot, runs one job after another, and notes each end (docs/stages/run.md).

It is a session leader and subreaper, so nothing of a job escapes it. It outlives cit-run: it then ends its job, notes
the end and goes. What it is told comes as JSON lines on its socket; what it has to say goes back the same way.

A job's record is a directory RECORD: `lock` (held while the job runs), `started`, `pid`, `end`.
SIGTERM to the shim cancels the job: TERM to its group, after a grace KILL to all that descends from it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

GRACE = 5.0  # seconds between TERM and KILL
LINGER = 4.0  # seconds in which all that is left of a job must have died
_PR_SET_CHILD_SUBREAPER = 36


class Order(NamedTuple):
    """One job for a shim: its record, workspace, log, argument vector, environment, time limit in seconds (0: none)."""

    record: str
    workspace: str
    log: str
    argv: list[str]
    environment: dict[str, str]
    limit: float


class Ending(NamedTuple):
    """How a job ended: exit status, signal (0: none), why (empty, time, cancel, lost, exec), times (s), and wait4's figures."""

    record: str
    exit: int
    signal: int
    why: str
    started: float
    ended: float
    usage: dict[str, int]


class Shim:
    """The near end of a shim: its pid and socket, and whether it has a job."""

    def __init__(self) -> None:
        near, far = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(far.detach())
        far.close()
        self.socket = near
        self.buffer = b""
        self.busy = False

    def give(self, order: Order) -> None:
        """Have it run a job."""
        self.socket.sendall(json.dumps(order).encode() + b"\n")
        self.busy = True

    def ended(self) -> Ending | None:
        """What it says, once `socket` is readable; None where it is gone."""
        while b"\n" not in self.buffer:
            try:
                piece = self.socket.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                return None
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.busy = False
        return Ending(*json.loads(line))

    def dismiss(self) -> None:
        """Let it go: it ends when it has no job."""
        self.socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def read_ending(record: Path) -> Ending | None:
    """The end that a shim noted in a record; None where there is none."""
    try:
        return Ending(*json.loads((record / "end").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


# --- the far end: a process of its own ------------------------------------------------------------------------------


def _serve(fd: int) -> NoReturn:
    status = 70
    try:
        os.dup2(fd, 3)
        os.closerange(4, 1 << 16)  # no lock of cit-run's, no other shim's socket
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.set_inheritable(3, False)
        _orders()
        status = 0
    finally:
        os._exit(status)


def _orders() -> None:
    global _cancelled
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, _cancel)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open(3, "rb", closefd=False) as lines:
        for line in lines:
            _cancelled = False
            ending = _run(Order(*json.loads(line)), wake_read)
            try:
                os.write(3, json.dumps(ending).encode() + b"\n")
            except OSError:
                return  # cit-run is gone; the record says it to the next one


_cancelled = False


def _cancel(*_: object) -> None:
    global _cancelled
    _cancelled = True


def _run(order: Order, wake: int) -> Ending:
    record = order.record
    lock = os.open(f"{record}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        os.close(os.open(f"{record}/started", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        os.close(lock)
        return Ending(record, 0, 0, "twice", 0.0, 0.0, {})
    began = time.time()
    try:
        pid = _spawn(order)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        with open(order.log, "a") as log:
            log.write(f"cit-run: cannot start {order.argv[0]}: {error.strerror}\n")
        ending = Ending(record, 127 if missing else 126, 0, "exec", began, time.time(), {})
    else:
        with open(f"{record}/pid", "w") as note:
            note.write(f"{pid} {os.getpid()}\n")
        ending = _watched(order, pid, began, wake)
    beside = f"{record}/.end"
    with open(beside, "w") as note:
        json.dump(ending, note)
    os.rename(beside, f"{record}/end")
    os.close(lock)
    return ending


def _spawn(order: Order) -> int:
    os.chdir(order.workspace)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, order.log, flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    defaults = [signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD]
    argv = order.argv
    try:
        return os.posix_spawn(argv[0], argv, order.environment, file_actions=actions, setsid=True, setsigdef=defaults)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    return os.posix_spawn("/bin/sh", ["/bin/sh", *argv], order.environment, file_actions=actions, setsid=True, setsigdef=defaults)


def _watched(order: Order, pid: int, began: float, wake: int) -> Ending:
    """Wait for the job's own process; at its limit or when cancelled end it; then see that nothing of it is left."""
    why = ""
    end_at = time.monotonic() + order.limit if order.limit else None
    kill_at: float | None = None
    while True:
        ended = os.wait4(pid, os.WNOHANG)
        if ended[0]:
            break
        now = time.monotonic()
        if not why and (_cancelled or (end_at is not None and now >= end_at)):
            why = "cancel" if _cancelled else "time"
            kill_at = now + GRACE
            _signal_group(pid, signal.SIGTERM)
            _signal_group(pid, signal.SIGCONT)
        if kill_at is not None and now >= kill_at:
            _kill_descendants()
            kill_at = now + 0.2
        next_time = kill_at if kill_at is not None else end_at
        select.select([wake], [], [], None if next_time is None else max(0.0, next_time - now))
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        _reap(pid)
    at = time.time()
    _, code, usage = ended
    _bury()
    figures = {
        "user-ms": int(usage.ru_utime * 1000),
        "system-ms": int(usage.ru_stime * 1000),
        "max-rss-kib": usage.ru_maxrss,
        "major-faults": usage.ru_majflt,
        "minor-faults": usage.ru_minflt,
        "inputs": usage.ru_inblock,
        "outputs": usage.ru_oublock,
        "voluntary-switches": usage.ru_nvcsw,
        "involuntary-switches": usage.ru_nivcsw,
    }
    number = os.WTERMSIG(code) if os.WIFSIGNALED(code) else 0
    return Ending(order.record, os.WEXITSTATUS(code) if os.WIFEXITED(code) else 0, number, why, began, at, figures)


def _reap(job: int) -> None:
    """Wait for orphans of the job that have ended, but never for the job itself: its figures are wanted."""
    for pid in _children(os.getpid()):
        if pid != job:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _bury() -> None:
    """Kill and wait for all that is left of the job."""
    until = time.monotonic() + LINGER
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        _kill_descendants()
        time.sleep(0.01)


def _kill_descendants() -> None:
    todo = _children(os.getpid())
    while todo:
        pid = todo.pop()
        todo += _children(pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as stream:
            direct = [int(word) for word in stream.read().split()]
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task") if name != str(pid)]
    except OSError:
        return []
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as stream:
            direct += [int(word) for word in stream.read().split()]
    return direct


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
