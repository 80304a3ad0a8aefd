"""PROMISES of docs/directories.md: a stage is killed before every call that changes a file; nothing is lost, nothing runs twice.

The job is in exactly one state of its queue after the kill, and after what cron does twice it is done, once.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep import TICK, Machine, Point

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")

PUSH = 'cit-queue -q --to @main < "$HOME/job.cit"'
STRIDE = 31  # of the calls of a longer story, since each takes a second
BEFORE = {"queue": 0, "recover": 0, "schedule": 1, "deliver": 2, "run": 3, "sync": 4}


@pytest.fixture
def machine() -> Iterator[Machine]:
    place = Path(tempfile.mkdtemp(prefix=".cit-sweep-", dir=os.path.expanduser("~")))
    yield Machine(place)
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("stage", ["schedule", "deliver", "run", "sync"])
def test_is_each_job_done_once_after_a_kill_anywhere(machine: Machine, stage: str) -> None:
    machine.sh(f"{PUSH} > /dev/null")
    for line in TICK[: BEFORE[stage]]:
        machine.sh(line)
    machine.keep()
    line = TICK[BEFORE[stage]]
    points = machine.points(line)
    assert len(points) > 5, "the sweep must find calls to kill at"
    for point in points:
        machine.restore()
        machine.killed_at(line, point)
        assert len(machine.queue_copies()) == 1 or sorted(machine.queue_copies()) in (["assigned", "done"], ["done", "sent"]), (
            point,
            machine.copies(),
        )
        machine.tick()
        assert machine.queue_copies() == ["done"], (point, machine.copies())
        assert machine.marks() == 1, (point, machine.marks())
        assert machine.result() == "COMPLETED", point
        assert not machine.left_over(), (point, machine.left_over())


def test_does_a_job_start_once_when_its_shim_is_killed(machine: Machine) -> None:
    """Whoever dies, cit-run, the shim or the job's own shell: the job ran at most once and has one end, that says what is known."""
    machine.sh(f"{PUSH} > /dev/null")
    for line in TICK[: BEFORE["run"]]:
        machine.sh(line)
    machine.keep()
    points = [Point(call, number) for call in ("write", "rename", "openat", "fsync") for number in range(1, 7)]
    for point in points:
        machine.restore()
        machine.killed_at(TICK[BEFORE["run"]], point, children=True)
        machine.tick()
        assert machine.queue_copies() == ["done"], (point, machine.copies())
        assert machine.marks() <= 1, (point, machine.marks())
        assert machine.result() in ("COMPLETED", "FAILED", "NODE_FAIL"), point
        assert machine.result() != "COMPLETED" or machine.marks() == 1, point


def test_is_a_push_lossless_when_the_queue_is_killed_anywhere(machine: Machine) -> None:
    machine.keep()
    for point in machine.points(PUSH):
        machine.restore()
        killed = machine.killed_at(f"{PUSH}", point)
        acknowledged = 'state = "accepted"' in killed.stdout
        assert len(machine.queue_copies()) <= 1, (point, machine.copies())
        if not acknowledged:
            again = machine.sh(PUSH)
            assert 'state = "accepted"' in again.stdout or 'state = "duplicate"' in again.stdout, (point, again)
        machine.sh(TICK[0])
        assert machine.queue_copies() == ["waiting"], (point, machine.copies())
        machine.tick()
        assert machine.queue_copies() == ["done"] and machine.marks() == 1, (point, machine.copies(), machine.marks())


def test_does_recover_carry_on_when_it_is_killed_itself(machine: Machine) -> None:
    machine.keep()
    points = machine.points(PUSH)
    link = next(point for point in points if point.call in ("renameat2", "rename") and point.number >= 1)
    machine.restore()
    machine.killed_at(PUSH, link)
    machine.keep()
    for point in machine.points(TICK[0]):
        machine.restore()
        machine.killed_at(TICK[0], point)
        machine.sh(TICK[0])
        machine.sh(PUSH)
        assert machine.queue_copies() == ["waiting"], (point, machine.copies())


@pytest.mark.parametrize("stage", ["run", "sync"])
def test_starts_are_as_many_as_the_job_allows_with_check_and_attempts(machine: Machine, stage: str) -> None:
    """Asked in vain, then started twice, as its author allows: whoever was killed while it was asked. What follows it comes once."""
    ready, home = machine.home / "ready", machine.home
    asked = f"--attempts 2 --retry-on fail --check 'test -e {ready}' --after failure={home}/next"
    machine.sh(f"cit-trigger -n -J next -- sh -c 'echo next >> {home}/next-marks' > {home}/next")
    machine.sh(f"cit-trigger --name marked {asked} -- sh -c 'echo run >> {home}/marks; exit 3' > {home}/job.cit")
    machine.id = (home / "job.cit").read_text().split()[2]
    with open(home / ".cit/queues/main/queue.toml", "a") as stream:
        stream.write('retry-after = "0s"\n')
    machine.sh(f"{PUSH} > /dev/null")
    for line in TICK[: BEFORE[stage]]:
        machine.sh(line)
    machine.keep()
    line = TICK[BEFORE[stage]]
    for point in machine.points(line)[::STRIDE]:
        machine.restore()
        machine.killed_at(line, point)
        for _ in range(2):
            machine.tick(1)
        assert machine.marks() == 0, point
        ready.touch()
        for each in [*TICK * 4]:
            machine.sh(each, check=False)
        assert machine.marks() == 2, (point, machine.copies())
        assert set(machine.queue_copies()) == {"done"}, (point, machine.copies())
        assert (home / "next-marks").read_text() == "next\n", point


def again(machine: Machine) -> str:
    """Ticks until the job is done, with the wait that lies between two attempts: how its last attempt ended."""
    until = time.monotonic() + 60
    while set(machine.queue_copies()) != {"done"} and time.monotonic() < until:
        machine.tick(rounds=1)
        time.sleep(0.2)
    done = sorted((machine.home / ".cit/queues/main/done").rglob(f"*{machine.id}*.cit"))
    found = re.findall(r'^state = "(\w+)"', done[-1].read_text(), re.M) if done else []
    return found[-1] if found else ""


def test_does_a_job_start_no_oftener_than_it_allows(machine: Machine) -> None:
    """Two starts are allowed, and each fails: whatever is killed at whatever call, there is no third one, and the end is known."""
    retries = machine.home / "retries.cit"
    job = f"cit-trigger --name marked --attempts 2 --retry-on fail --retry-on lost -- sh -c 'echo run >> {machine.home}/marks; exit 1'"
    machine.sh(f"echo 'retry-after = \"1s\"' >> $HOME/.cit/queues/main/queue.toml; {job} > {retries}")
    machine.id = retries.read_text().split()[2]
    machine.sh(f"cit-queue -q --to @main < {retries} > /dev/null")
    for line in TICK[: BEFORE["run"]]:
        machine.sh(line)
    machine.keep()
    assert (again(machine), machine.marks()) == ("FAILED", 2), machine.copies()
    for call, number, children in (("renameat2", 1, False), ("write", 1, True)):
        machine.restore()
        machine.killed_at(TICK[BEFORE["run"]], Point(call, number), children=children)
        assert again(machine) in ("FAILED", "NODE_FAIL"), (call, number, machine.copies())
        assert 1 <= machine.marks() <= 2, (call, number, machine.marks())
        for line in TICK:
            machine.sh(line, check=False)
        assert set(machine.queue_copies()) == {"done"} and machine.marks() <= 2
