"""The near end of a shim: cit-run starts it, gives it orders and hears of ends (docs/stages/run.md).

The far end (supervise.py) is a process of its own that outlives cit-run. What it notes in a job's record is read here too.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import socket
import sys
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from .cit_format import clock
from .cit_format.errors import CitError

MOST = 1 << 16  # bytes of a status that are looked at

_PR_SET_CHILD_SUBREAPER = 36
_FAR = "import sys; sys.path.append({!r}); from {}.supervise import serve; serve()"


class Order(NamedTuple):
    """One job for a shim."""

    record: str  # directory
    workspace: str  # directory
    log: str  # file
    directory: str  # where the program starts
    remove: list[str]  # old directories that go first
    before: list[list[str]]  # argument vectors run first, each of which must end with 0
    program: list[str]
    after: list[list[str]]  # run when nothing of the job is left
    always: bool  # after is wanted even where the log is small
    environment: dict[str, str]
    limit: float = 0.0  # seconds, 0: none
    deadline: float = 0.0  # seconds since 1970, 0: none
    stall: float = 0.0  # seconds of a silent log, 0: any
    bound: bool = False  # the job ends with cit-run
    doubt: float = 0.0  # seconds in which who fails may yet turn out to have been ended with us
    conceal: list[str] = []  # the step that hides its secrets in the log, where it has some
    private: list[str] = []  # paths that are removed after that
    check: list[str] = []  # asked before the program, where it starts: not ready where it does not end with 0
    patience: float = 0.0  # seconds that it may take
    mem: int = 0  # bytes of memory, 0: any
    tmp: int = 0  # bytes that the workspace may take, 0: any
    log_limit: int = 0  # bytes of a log, 0: any
    nice: int = 0
    mask: int = 0o022  # umask
    cores: list[int] = []  # the processors that it keeps to; none: all that there are
    group: str = ""  # directory of its own cgroup, where it gets one
    group_home: str = ""  # and of that in which its shim lives
    pids: int = 0  # processes in it


class Ending(NamedTuple):
    """How a job ended: exit status, signal (0: none), why, the program's start and end (microseconds), and wait4's figures.

    why: empty, or time, stall, deadline, cancel, memory, tmp, exec (not started), before (a step before it failed), check (it said that the
    job is not ready), lost (its shim was killed), unready (never begun, for want of disk space).
    """

    exit: int
    signal: int
    why: str
    started: int
    ended: int
    usage: dict[str, int]


class Status(NamedTuple):
    """What a record's `status` says: its shim's pid, when it began (microseconds), the program's pid and start time, and the end."""

    shim: int = 0
    begun: int = 0
    pid: int = 0
    start: str = ""
    ending: Ending | None = None
    cores: tuple[int, ...] = ()


def read_status(record: str) -> Status | None:
    """What a job's record says; None where no shim has begun it. A job can write there: what is no line of ours says nothing."""
    try:
        fd = os.open(f"{record}/status", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        lines = os.read(fd, MOST).decode("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return None
    finally:
        os.close(fd)
    found = Status()
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, CitError):
            found = noted(found, line)
    return found if lines else None


def noted(so_far: Status, line: str) -> Status:
    """The status with one line more; ValueError, KeyError or CitError where it is none."""
    fields = line.split("\t")
    said = dict(field.partition(" ")[::2] for field in fields[2:])
    if fields[1:2] == ["started"] and not so_far.shim:
        cores = tuple(int(core) for core in said.get("cores", "").split(",") if core)
        return so_far._replace(shim=int(said["shim"]), begun=clock.parse(fields[0]), cores=cores)
    if fields[1:2] == ["running"]:
        return so_far._replace(pid=int(said["pid"]), start=said.get("start", ""))
    if fields[1:2] == ["ended"]:
        return so_far._replace(ending=ending(line))
    return so_far


def is_running(record: str) -> bool:
    """Whether a living shim has this job under way: it holds the lock."""
    try:
        fd = os.open(f"{record}/status", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def ending(line: str) -> Ending:
    """The end that a line of `status` tells."""
    time, word, *fields = line.rstrip("\n").split("\t")
    said = dict(field.partition(" ")[::2] for field in fields)
    why = said.pop("why", "") if word == "ended" else word
    at = clock.parse(time)
    wall = int(said.pop("wall-ms", "0"))
    exit_status, number = int(said.pop("exit", "0")), int(said.pop("signal", "0"))
    figures = {} if word == "unready" else {key: int(value) for key, value in said.items()}
    return Ending(exit_status, number, why, at - wall * 1000, at, figures)


class Shim:
    """A shim of ours: its pid and its socket."""

    def __init__(self, rlimits: Mapping[str, int]) -> None:
        near, far = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            _become(far.fileno(), rlimits)
        far.close()
        self.socket = near
        self.buffer = b""

    def give(self, order: Order) -> None:
        """Have it run a job. BrokenPipeError where it is gone."""
        raw = marshal.dumps(order._asdict())
        self.socket.sendall(b"%08d" % len(raw) + raw, socket.MSG_NOSIGNAL)

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
        return ending(line.decode())

    def dismiss(self) -> None:
        """Let it go: it ends when it has no job."""
        self.socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def hold(rlimits: Mapping[str, int]) -> None:
    """Hold this process, and all that it starts, to these limits, and to lower ones where it is held to such already."""
    import resource

    for name, wanted in rlimits.items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (most, most))


def _become(fd: int, rlimits: Mapping[str, int]) -> NoReturn:
    """In the forked child: become the far end, with its socket as descriptor 3 and nothing else of ours."""
    import ctypes

    try:
        hold(rlimits)
        os.dup2(fd, 3)  # inheritable
        os.closerange(4, 1 << 16)
        os.setsid()
        # Kept across exec: what a job's processes leave behind becomes the child of the shim.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _FAR.format(here, __package__)])
    finally:
        os._exit(70)
