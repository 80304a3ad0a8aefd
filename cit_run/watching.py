"""Running the steps of one job within its bounds: time limit, deadline, cancel, pause.

Imports next to nothing: it is part of the bare process of a shim (supervise.py).
"""

from __future__ import annotations

import errno
import os
import select
import time

from . import processes
from .confining import Confined, Guards
from .flood import Flood
from .processes import Figures, signal
from .status import line, note
from .timing import Times

GRACE = 5.0  # seconds between TERM and KILL
SCARCE = 60.0  # seconds in which a process must have been made
SOCKET = 3  # where orders come from

asked: set[int] = set()  # signals that came since they were last looked at
beat = -1  # readable when a signal has come


class Job:
    """An order, as shim.Order has it."""

    record: str
    workspace: str
    log: str
    directory: str
    remove: list[str]
    before: list[list[str]]
    program: list[str]
    after: list[list[str]]
    always: bool
    environment: dict[str, str]
    limit: float
    deadline: float
    stall: float
    bound: bool
    doubt: float
    conceal: list[str]
    private: list[str]
    check: list[str]
    patience: float
    mem: int
    tmp: int
    log_limit: int
    nice: int
    mask: int
    cores: list[int]
    group: str
    group_home: str
    pids: int

    def __init__(self, order: dict[str, object]) -> None:
        self.__dict__.update(order)


def listen() -> None:
    """From here on signals are noted in `asked`, and `beat` tells of them."""
    global beat
    beat, writing = os.pipe()
    os.set_blocking(beat, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGIO):
        signal.signal(number, lambda number, _: asked.add(number))
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class Watch:
    """Runs the steps of one job, one after the other, within its bounds; `why` says which bound ended it."""

    def __init__(self, job: Job, status: int) -> None:
        self.job = job
        self.status = status
        self.why = ""
        self.bounded = True
        self.end_at = 0.0  # monotonic; 0: no limit
        self.kill_at = 0.0
        self.stall = 0.0  # seconds of silence; 0: any
        self.stirred = 0.0  # when it printed, began or went on, as far as is known (monotonic)
        self.printed = 0.0  # the time of its log then
        self.looked = 0.0  # when that was looked at (monotonic)
        self.paused_at = 0.0
        self.times = Times(job.log, job.record)
        self.flood = Flood(job.log, job.log_limit)
        self.confined = Confined(job)
        self.guards = Guards()

    def begin(self) -> None:
        """The limits of the program count from here."""
        self.guards = self.confined.begin()
        self.stall = self.job.stall
        self.stirred = time.monotonic()
        self.end_at = time.monotonic() + self.job.limit if self.job.limit else 0.0

    def ask(self) -> tuple[int, int]:
        """Run the job's check, which has a limit of its own: exit status and signal. It says no by any end but 0; `why` is check then."""
        self.end_at = time.monotonic() + self.job.patience
        exit_status, number, _ = self.step(self.job.check, self.job.directory)
        self.end_at = 0.0
        if (exit_status or number or self.why) and self.why not in ("cancel", "deadline"):
            self.why = "check"
        return exit_status, number

    def step(self, argv: list[str], directory: str, note_pid: bool = False) -> tuple[int, int, Figures]:
        """Run one process to its end: exit status, signal, figures. 127 or 126 where it cannot be started."""
        if self.bounded:
            self.decide(time.monotonic())
            if self.why:
                return 0, 0, []
        try:
            pid = self.started(argv, directory, self.times.opened() if self.bounded else self.job.log)
        except OSError as error:
            self.log(f"cit-run: cannot start {argv[0]}: {error.strerror}\n")
            self.why = "exec"
            return (127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126), 0, []
        if note_pid:
            self.pid_noted(pid)
        if self.bounded:
            self.times.listen()
        while True:
            ended = processes.reaped(pid)
            if ended:
                return ended
            self.look(pid)

    def doubted(self) -> None:
        """The program failed. Who ends all processes of a job, one after the other, may reach us only now: then that was why."""
        until = time.monotonic() + self.job.doubt
        while not self.why and (left := until - time.monotonic()) > 0:
            if select.select([beat], [], [], left)[0]:
                os.read(beat, 4096)
            if signal.SIGTERM in asked:
                self.why = "cancel"

    def started(self, argv: list[str], directory: str, log: str) -> int:
        """Start a process within the limits. Where none can be made, as when another job of the account makes too many, it is tried for a while."""
        until = time.monotonic() + SCARCE
        while True:
            try:
                with self.confined:
                    return processes.spawned([*self.confined.before, *argv], directory, log, self.job.environment, argv[0])
            except OSError as error:
                if error.errno != errno.EAGAIN or time.monotonic() > until or (self.bounded and signal.SIGTERM in asked):
                    raise
            time.sleep(0.2)

    def log(self, text: str) -> None:
        """A line of ours in the job's log."""
        try:
            log = os.open(self.job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(log, text.encode())
            os.close(log)
        except OSError:
            return  # a full disk does not change what is done

    def silence(self) -> float:
        """Seconds since the program printed anything, began or went on after a pause."""
        now, printed = time.monotonic(), max(changed(self.job.log), newest(f"{self.job.record}/parts"))
        if printed != self.printed:  # between our last look and now; a clock that was set meanwhile cannot make it earlier or later
            self.printed = printed
            self.stirred = now - min(max(0.0, time.time() - printed), now - max(self.looked, self.stirred))
        self.looked = now
        return now - self.stirred

    def pid_noted(self, pid: int) -> None:
        """`pid` for people, and in `status` with the start time, which tells it from a later process of this number."""
        try:
            note(self.status, line("running", pid=pid, start=processes.start_time(pid)))
            fd = os.open(f"{self.job.record}/pid", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            os.write(fd, b"%d\n" % pid)
            os.close(fd)
        except OSError:
            return  # the lock says that it runs; it is found by its environment

    def look(self, pid: int) -> None:
        """Wait for a signal or the next bound, and do what it asks for."""
        if self.bounded:
            self.decide(time.monotonic(), pid)
        listen = [beat, SOCKET] if self.job.bound and self.bounded and not self.why else [beat]
        found, _, _ = select.select(listen, [], [], self.patience() if self.bounded else None)
        if SOCKET in found:
            asked.add(signal.SIGTERM)  # whoever wanted this job is gone
        if beat in found:
            os.read(beat, 4096)
        if self.bounded:
            now = time.monotonic()
            self.times.look(signal.SIGIO in asked, now)
            asked.discard(signal.SIGIO)
            self.flood.look(now, self.times.is_told)

    def patience(self) -> float | None:
        """Seconds until the next bound; None where there is none."""
        now = time.monotonic()
        if self.why:
            return max(0.0, min(self.kill_at, self.flood.due or self.kill_at) - now)
        waits = [self.end_at - now] if self.end_at and not self.paused_at else []
        if self.times.due:
            waits.append(self.times.due - now)
        if self.flood.due:
            waits.append(self.flood.due - now)
        if self.stall and not self.paused_at:
            waits.append(self.stall - self.silence())
        if self.job.deadline:
            waits.append(self.job.deadline - time.time())
        if self.guards and not self.paused_at:
            waits += [guard.due - now for guard in self.guards]
        return max(0.0, min(waits)) if waits else None

    def decide(self, now: float, pid: int = 0) -> None:
        """Do what signals ask for, and see whether a bound is reached; `pid` leads the group of the present step."""
        if signal.SIGUSR1 in asked and not self.paused_at and not self.why:
            self.paused_at = now
            processes.signalled(signal.SIGSTOP)
            self.tell("paused")
        if (signal.SIGUSR2 in asked or signal.SIGTERM in asked) and self.paused_at:
            self.end_at += now - self.paused_at if self.end_at else 0.0
            self.paused_at, self.stirred = 0.0, now
            processes.signalled(signal.SIGCONT)
            self.tell("resumed")
        if not self.why:
            if signal.SIGTERM in asked:
                self.why = "cancel"
            elif self.job.deadline and time.time() >= self.job.deadline:
                self.why = "deadline"
            elif self.end_at and not self.paused_at and now >= self.end_at:
                self.why = "time"
            elif self.stall and not self.paused_at and self.silence() >= self.stall:
                self.why = "stall"
            elif pid and not self.paused_at:
                self.why = next((guard.why for guard in self.guards if guard.look(now)), "")
            if self.why == "memory":  # while it is asked to end it would take more
                self.confined.kill()
                self.kill_at = now + 0.1
            elif self.why and pid:
                self.kill_at = now + GRACE
                processes.group_signalled(pid, signal.SIGTERM)
                processes.signalled(signal.SIGCONT)
        elif now >= self.kill_at:
            self.confined.kill()
            self.kill_at = now + 0.1
        asked.difference_update((signal.SIGUSR1, signal.SIGUSR2))

    def over(self) -> dict[str, int]:
        """Figures of the limit that was reached."""
        found = {"over": guard.over for guard in self.guards if guard.why == self.why}  # noqa: B035 (one of them at most)
        return {**found, "cut": self.flood.cut} if self.flood.cut else found

    def tell(self, word: str) -> None:
        try:
            note(self.status, line(word))
        except OSError:
            return  # a full disk does not change what is done


def changed(path: str) -> float:
    """When a file was written last; 0 where there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def newest(directory: str) -> float:
    """The same of the logs that parts of a job have of their own."""
    if not changed(directory):
        return 0.0
    return max((changed(f"{folder}/{file}") for folder, _, files in os.walk(directory) for file in files), default=0.0)
