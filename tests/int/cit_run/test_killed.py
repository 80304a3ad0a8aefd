"""kill -9 of cit-run, of a shim, of both; a machine that went down: the end is known, or told to be unknown; no job begins twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cit_run import leftovers, recovery
from cit_run.cit_format.document import Document
from cit_run.leftovers import Process
from cit_run.shim import Status, read_status
from tests.int.cit_run.kit import Bench, is_alive, killed, until


def shim_of(bench: Bench, job: Document) -> int:
    """The pid of a job's shim, once the job runs."""
    until(lambda: bench.runs(job))
    status = read_status(str(bench.record(job)))
    assert status is not None
    return status.shim


@pytest.mark.parametrize("again", [0.0, 0.8], ids=["next pass while it runs", "next pass when it has ended"])
def test_end_survives_cit_run(bench: Bench, tmp_path: Path, again: float) -> None:
    """cit-run is killed while a job runs: the job goes on, its exit status is what it was, and it runs once."""
    job = bench.send(f"#!/bin/sh\necho ran >>{tmp_path}/mark\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\nexit 7\n")
    started = bench.start()
    until(lambda: bench.runs(job))
    killed(started.pid)
    started.wait()
    if again:
        (tmp_path / "stop").touch()
        until(lambda: "\tended" in (bench.record(job) / "status").read_text(), "the end of the job without cit-run")
        bench.run()
    else:
        second = bench.start()
        late = bench.send("#!/bin/sh\n", name="late")
        until(lambda: any(late.id in name for name in bench.names("finished")), "a job beside the adopted one")
        (tmp_path / "stop").touch()
        assert second.wait(30) == 0
    assert (bench.result(job)["state"], bench.result(job)["exit"]) == ("FAILED", 7)
    assert (tmp_path / "mark").read_text() == "ran\n"


def test_adopted_job_obeys(bench: Bench) -> None:
    """A wish reaches a job whose shim a pass before us had started."""
    job = bench.send("#!/bin/sh\nsleep 60\n")
    started = bench.start()
    until(lambda: bench.runs(job))
    killed(started.pid)
    started.wait()
    second = bench.start()
    bench.wish(job, "cancel")
    assert second.wait(30) == 0
    assert bench.result(job)["state"] == "CANCELLED"


@pytest.mark.parametrize("whom", ["shim", "shim and cit-run"])
def test_shim_is_killed(bench: Bench, tmp_path: Path, whom: str) -> None:
    """Nothing of the job runs on, it is NODE_FAIL with why, and is not begun again; the job beside it is not harmed."""
    inner = f"setsid sh -c 'echo $$ >>{tmp_path}/pids; exec sleep 300'"
    job = bench.send(f"#!/bin/sh\necho $$ >>{tmp_path}/pids\n{inner} &\nenv -i sleep 300 &\necho $! >>{tmp_path}/pids\nsleep 300\n")
    other = bench.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n", name="other")
    started = bench.start("--slots", "2")
    shim = shim_of(bench, job)
    until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 3)
    until(lambda: bench.runs(other))
    if whom == "shim and cit-run":
        killed(started.pid)
        started.wait()
    killed(shim)
    if whom == "shim and cit-run":
        started = bench.start()
    until(lambda: bench.names("finished"), "the end of a job that has lost its shim")
    assert [pid for pid in (tmp_path / "pids").read_text().split() if is_alive(int(pid))] == []
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    result = bench.result(job)
    assert (result["state"], result["wall-ms"]) == ("NODE_FAIL", 0) and "supervisor was killed" in str(result["why"])
    assert bench.events(job) == ["received", "started", "ended"]
    assert bench.result(other)["state"] == "COMPLETED"
    bench.run()
    assert len((tmp_path / "pids").read_text().split()) == 3


def test_shim_is_killed_before_the_pid_is_noted(bench: Bench, tmp_path: Path) -> None:
    """Between start and note there is a moment; a job that got so far is found by its variables."""
    mark = tmp_path / "pid"
    job = bench.send(f"#!/bin/sh\nkill -KILL $PPID\necho $$ >{mark}\nexec sleep 300\n")
    bench.run()
    assert bench.result(job)["state"] == "NODE_FAIL"
    assert not mark.exists() or not is_alive(int(mark.read_text()))


def test_shim_is_killed_while_idle(bench: Bench, tmp_path: Path) -> None:
    """The next job gets a new one."""
    slow = bench.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    quick = bench.send("#!/bin/sh\n", name="quick")
    started = bench.start("--slots", "2")
    until(lambda: len(bench.names("finished")) == 1)
    idle = read_status(str(bench.record(quick)))
    assert idle is not None
    os.kill(idle.shim, signal.SIGKILL)
    time.sleep(0.1)
    third = bench.send("#!/bin/sh\nexit 4\n", name="third")
    until(lambda: any(third.id in name for name in bench.names("finished")), "the job after a dead shim")
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    assert bench.result(third)["exit"] == 4 and bench.result(slow)["state"] == "COMPLETED"


def test_reboot(bench: Bench, tmp_path: Path) -> None:
    """After the machine went down nothing in `running` is begun: a mark that is missing may have been lost with the disk's cache."""
    started = bench.start()
    started.wait(30)
    job = bench.send(f"#!/bin/sh\necho ran >>{tmp_path}/mark\n")
    (name,) = [path.name for path in (bench.account / "inbox").glob("*.cit")]
    os.rename(bench.account / "inbox" / name, bench.account / "running" / name)
    (bench.account / "running" / ".boot").write_text("another boot\n")
    waits = bench.send("#!/bin/sh\n", name="waits")
    bench.run()
    assert bench.result(job)["state"] == "NODE_FAIL" and not (tmp_path / "mark").exists()
    assert bench.events(job) == ["received", "ended"]
    assert bench.result(waits)["state"] == "COMPLETED", "what lay in the inbox was not begun before"


def test_not_begun_is_begun(bench: Bench) -> None:
    """In `running` since a pass that was killed before it gave the job to a shim: it begins now."""
    bench.run()
    job = bench.send("#!/bin/sh\necho ran\n")
    (name,) = [path.name for path in (bench.account / "inbox").glob("*.cit")]
    os.rename(bench.account / "inbox" / name, bench.account / "running" / name)
    bench.run()
    assert bench.log(job) == "ran\n"


def test_stopped_shim_is_alive(bench: Bench, tmp_path: Path) -> None:
    """A process that does not answer has not died: its lock is held. The next pass has it go on."""
    job = bench.send("#!/bin/sh\nsleep 0.3\nexit 6\n")
    started = bench.start()
    shim = shim_of(bench, job)
    os.kill(shim, signal.SIGSTOP)
    killed(started.pid)
    started.wait()
    time.sleep(1)
    assert recovery.standing(str(bench.record(job))) == "running"
    bench.run()
    assert bench.result(job)["exit"] == 6


def test_who_belongs_to_a_job() -> None:
    """Its session, unless that number is another's by now; its marked processes; all that descends from them; no dead ones."""
    status = Status(shim=10, pid=20, start="500")
    leader = Process(20, 10, 20, "500", False)
    others = [
        Process(21, 1, 20, "600", False),
        Process(30, 21, 30, "700", False),
        Process(40, 1, 40, "800", False),
        Process(41, 40, 41, "900", True),
        Process(50, 1, 50, "100", False),
    ]
    assert leftovers.belonging([leader, *others], [], status) == {20, 21, 30}
    assert leftovers.belonging(others, [], status) == {21, 30}, "the leader has ended, its session has not"
    assert leftovers.belonging([leader._replace(start="9999"), *others], [40], status) == {40}, "the pid is another's"
    assert leftovers.belonging(others, [40], Status(shim=10)) == {40}


def test_disk_is_full(bench: Bench, tmp_path: Path) -> None:
    """A record that cannot be written: the job is not begun and not lost, cit-run says 74; with room again it runs."""
    if os.getuid():
        pytest.skip("mounts need root")
    small = tmp_path / "small"
    small.mkdir()
    job = bench.send("#!/bin/sh\necho ran\n")
    work = bench.account / "work"
    script = f"mount -t tmpfs -o size=16k,nr_inodes=9 tmpfs {work} && exec cit-run --from inbox"
    full = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    if "permission" in full.stderr.lower() or "unshare" in full.stderr:
        pytest.skip("no mounts here")
    assert full.returncode == 74 and "Traceback" not in full.stderr, full.stderr
    assert bench.names("finished") == []
    bench.run()
    assert bench.log(job) == "ran\n"


HOLDS = "import fcntl, os, sys, time; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"


def test_death_is_proved_by_the_lock_alone(bench: Bench, tmp_path: Path) -> None:
    """A shim whose pid is a living process's by now is dead; one of another pid namespace, stopped, and silent for hours, is alive."""
    record = tmp_path / "record"
    record.mkdir()
    (record / "status").write_text(f"2026-11-24T00:00:00.000Z\tstarted\tshim {os.getpid()}\n")
    assert recovery.standing(str(record)) == "lost", "that number is ours"
    (record / "status").write_text("2026-11-24T00:00:00.000Z\tstarted\tshim 1\n")
    assert recovery.standing(str(record)) == "lost", "that process is there always"
    inside = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", HOLDS, str(record / "status")]
    holder = subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert holder.stdout is not None
    if holder.stdout.readline() != b"held\n":
        pytest.skip("no pid namespace can be made here")
    try:
        os.utime(record / "status", (time.time() - 5 * 3600,) * 2)
        assert recovery.standing(str(record)) == "running"
        for child in Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGSTOP)
        assert recovery.standing(str(record)) == "running"
    finally:
        holder.kill()
        holder.wait()
    until(lambda: recovery.standing(str(record)) == "lost", "the death of who held the lock")
