"""How a program starts within its limits: processors, nice, its own cgroup where it gets one, the size of files; and what watches the rest.

What it needs for that is imported where a job has such a limit. Imports next to nothing: it is part of the bare process of a shim (supervise.py).
Pages: docs/howto/limits.md
"""

from __future__ import annotations

import os

from . import processes
from .processes import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from .group import Group
    from .guards import Disk, Memory
    from .watching import Job

    Guards = list[Union[Memory, Disk]]
else:
    Guards = list

NICE = next((path for path in ("/usr/bin/nice", "/bin/nice") if os.access(path, os.X_OK)), "")
PRLIMIT = next((path for path in ("/usr/bin/prlimit", "/bin/prlimit") if os.access(path, os.X_OK)), "")
FIRST = "500"  # oom_score_adj of a job that has said what memory it needs: before anything else it is ended where the machine has none left
OURS = "/proc/self/oom_score_adj"

everywhere = os.sched_getaffinity(0)  # the processors that a shim was started with


class Confined:
    """The limits of one job. As a context: what is started in it is held to them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.group: Group | None = None
        self.guards: Guards = []
        self.before: list[str] = []  # programs that set limits, and then become the program
        self.score = ""  # ours, while the job's is another

    def begin(self) -> Guards:
        """The program is about to start: what watches it."""
        job = self.job
        self.before = self.programs()
        if job.group:
            from .group import Group

            group = Group(job.group, job.group_home)
            self.group = group if group.make(job.mem, job.pids) else None
        if job.mem or job.tmp:
            from .guards import Disk, Memory

            if job.mem and not (self.group and self.group.holds_memory):
                self.guards.append(Memory(job.mem))
            if job.tmp:
                self.guards.append(Disk(job.workspace, job.tmp))
        return self.guards

    def programs(self) -> list[str]:
        """nice, and prlimit for the size of files, of which the log is one."""
        job, found = self.job, []
        if job.tmp and PRLIMIT:
            found += [PRLIMIT, f"--fsize={job.tmp + 2 * job.log_limit}", "--"]
        if job.nice and NICE:
            found += [NICE, "-n", str(job.nice), "--"]
        return found

    def __enter__(self) -> None:
        keep_to(self.job.cores)
        if self.job.mem:
            self.score = scored(FIRST)
        if self.group:
            self.group.enter()

    def __exit__(self, *_: object) -> None:
        if self.group:
            self.group.leave()
        if self.score:
            scored(self.score)

    def kill(self) -> None:
        """End all that belongs to the job; at its end too, where that is not said by its descent alone."""
        if self.group:
            self.group.kill()
        processes.signalled(signal.SIGKILL)

    def close(self, failed: int) -> str:
        """All of the job has ended: the limit that the kernel has ended it for, if it has."""
        was_short = bool(self.group and failed and self.group.was_short())
        if self.group:
            self.group.remove()
        for guard in self.guards:
            guard.close()
        self.group, self.before = None, []
        return "memory" if was_short else ""


def scored(score: str) -> str:
    """How soon the kernel ends us, and what is started from here on, where the machine has no memory left: what it was before."""
    try:
        with open(OURS, "r+") as stream:
            before = stream.read().strip()
            stream.write(score)
            return before
    except OSError:
        return ""  # a machine without it


def keep_to(cores: list[int]) -> None:
    """Run on these processors, and what is started from here on too; none: on all that there are."""
    try:
        os.sched_setaffinity(0, cores or everywhere)
    except OSError:
        return  # they were taken from the machine meanwhile: it runs where it can
