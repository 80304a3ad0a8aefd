"""Kill a stage before each call that changes a file, then let the next run carry on (docs/directories.md).

A template home is laid out once for each stage; every point starts from a copy of it at the same path, since builder
documents name the home. strace kills before the n-th call of a name; the calls are those of one clean run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CALLS = (
    "openat",
    "write",
    "pwrite64",
    "rename",
    "renameat2",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "mkdir",
    "fsync",
    "syncfs",
    "ftruncate",
    "fork",
    "clone",
)
STATES = ("waiting", "held", "assigned", "sent", "done", "refused")
TICK = (
    "cit-queue -q --recover",
    "cit-schedule -q --queue @main --from waiting --to assigned",
    'cit-deliver -q --from "$HOME/.cit/queues/main/assigned"',
    "cit-run -q --from inbox --to finished",
    "cit-sync -q",
)


class Point(NamedTuple):
    """Before the n-th call of this name."""

    call: str
    number: int


class Machine:
    """A home in which nothing starts by itself, and a job that leaves a mark each time it runs."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.template = place / "template"
        self.home.mkdir(parents=True)
        path = f"{ROOT}/bin:/usr/local/bin:/usr/bin:/bin"
        self.environment = {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", "MARKS": str(self.home / "marks")}
        self.sh("cit-trigger -- true > /dev/null 2>&1")
        for file in ("queues/main/queue.toml", "config.toml"):
            with open(self.home / ".cit" / file, "a") as stream:
                stream.write('on-arrival = ""\n' + ('on-end = ""\n' if file == "config.toml" else ""))
        job = f"cit-trigger --name marked -- sh -c 'echo run >> {self.home}/marks; echo hello'"
        self.sh(f"{job} > {self.home}/job.cit")
        self.id = (self.home / "job.cit").read_text().split()[2]

    def sh(self, line: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a line of sh as the user would."""
        ended = subprocess.run(["sh", "-c", line], env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or ended.returncode == 0, (line, ended.returncode, ended.stdout, ended.stderr)
        return ended

    def keep(self) -> None:
        """Remember the home as it is now."""
        shutil.rmtree(self.template, ignore_errors=True)
        shutil.copytree(self.home, self.template, symlinks=True)

    def restore(self) -> None:
        """Back to what was kept."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.template, self.home, symlinks=True)

    def points(self, line: str) -> list[Point]:
        """The calls of a clean run of `line` that change something, after the interpreter's start."""
        trace = self.home.parent / "trace"
        self.sh(f"strace -f -qq -o {trace} -e trace={','.join(CALLS)} sh -c 'exec {line}'", check=False)
        counts: dict[str, int] = {}
        found: list[Point] = []
        main = ""
        begun = False
        for text in trace.read_text(errors="replace").splitlines():
            match = re.match(r"(\d+)\s+(\w+)\((.*)", text)
            if match is None:
                continue
            pid, call, rest = match.groups()
            main = main or pid
            if pid != main:
                continue
            counts[call] = counts.get(call, 0) + 1
            begun = begun or str(self.home) in rest
            if begun and (call != "openat" or "O_CREAT" in rest) and not (call == "write" and rest.startswith("2,")):
                found.append(Point(call, counts[call]))
        return found

    def killed_at(self, line: str, point: Point, children: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `line`, killed before this call; with `children` whichever of its processes comes to it."""
        inject = f"-e trace={point.call} -e inject={point.call}:signal=KILL:when={point.number}"
        follow = "-f" if children else ""
        return self.sh(f"strace {follow} -qq -o /dev/null {inject} sh -c 'exec {line}'", check=False)

    def copies(self) -> list[tuple[str, Path]]:
        """Where the job lies: state and path, claims and account included; `.tmp` is no state."""
        queue, account = self.home / ".cit/queues/main", self.home / ".cit"
        places = [*(queue / state for state in STATES), *(account / state for state in ("inbox", "running", "finished", "refused"))]
        return [
            (directory.name, path)
            for directory in places
            for path in directory.rglob("*.cit")
            if self.id in path.name and not path.name.startswith(".") and ".tmp" not in path.parts
        ]

    def queue_copies(self) -> list[str]:
        """The states of the queue in which the job lies."""
        return [state for state, path in self.copies() if "queues" in path.parts]

    def marks(self) -> int:
        """How often the job ran."""
        path = self.home / "marks"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def tick(self, rounds: int = 2) -> None:
        """What cron would do, until the job is done."""
        for _ in range(rounds):
            if self.queue_copies() == ["done"] and not list((self.home / ".cit/finished").glob("*.cit")):
                break
            for line in TICK:
                self.sh(line, check=False)

    def result(self) -> str:
        """The state of the job in done/; empty where it is not there."""
        for state, path in self.copies():
            if state == "done":
                match = re.search(r'^state = "(\w+)"', path.read_text(), re.M)
                return match[1] if match else "?"
        return ""

    def left_over(self) -> list[Path]:
        """Claims that a kill left and the runs after it did not clean, once those that were just being made are an hour old."""
        young = list((self.home / ".cit").rglob(".claim/.*"))
        for path in young:
            os.utime(path, (time.time() - 7200,) * 2)
        for line in TICK if young else ():
            self.sh(line, check=False)
        return list((self.home / ".cit").rglob(".claim/*"))
