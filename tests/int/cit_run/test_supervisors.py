"""Supervisors are light: little memory, no wake-up while nothing happens, and 200 at once are no trouble (docs/stages/run.md, The shim)."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from cit_run.shim import read_status
from tests.int.cit_run.kit import Bench, is_alive, until

MOST = 4096  # KiB
COUNT = 200


def shims(bench: Bench) -> list[int]:
    """The pids of all that watch a job that runs."""
    found = [read_status(str(path.parent)) for path in (bench.account / "work").glob("*.run/pid")]
    return [status.shim for status in found if status]


def proportional(pid: int) -> int:
    """KiB of memory, what is shared in shares."""
    found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found
    return int(found[1])


def switches(pid: int) -> tuple[str, ...]:
    """How often a process was on a processor."""
    return tuple(re.findall(r"ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))


def test_two_hundred_sleeping_jobs(bench: Bench, tmp_path: Path) -> None:
    """Each costs at most 4 MB of its own, none wakes up, nor does the pass; all end when they are told to."""
    bench.set(on_end="", cpus=COUNT)
    bench.send("#!/bin/sh\n", name="first")  # so that what is compiled once is compiled
    bench.run()
    os.mkfifo(tmp_path / "gate")
    bench.give(*[bench.assigned(bench.job(f"#!/bin/sh\nread x <{tmp_path}/gate\n", name=f"sleeps{number}")) for number in range(COUNT)])
    started = bench.start("--slots", str(COUNT))
    until(lambda: len(list((bench.account / "work").glob("*-sleeps*.run/pid"))) == COUNT, "200 jobs that run", patience=120)
    watching = [pid for pid in shims(bench) if is_alive(pid)]
    assert len(watching) == COUNT
    time.sleep(2)
    before = {pid: switches(pid) for pid in [*watching, started.pid]}
    time.sleep(2)
    assert {pid: switches(pid) for pid in before} == before, "somebody wakes up although nothing happens"
    memory = [proportional(pid) for pid in watching]
    assert max(memory) <= MOST, sorted(memory)[-5:]
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    os.write(gate, b"\n" * COUNT)
    assert started.wait(120) == 0
    os.close(gate)
    assert len(bench.names("finished")) == COUNT + 1 and not [pid for pid in watching if is_alive(pid)]


def test_one_sleeping_job_with_limits(bench: Bench) -> None:
    """One that is watched for its memory wakes its shim by the timer of that alone, and costs no more."""
    bench.send("#!/bin/sh\nexit 0\n", name="first", mem="4G", time="1h", stall="1h")
    bench.run()
    job = bench.send("#!/bin/sh\nexec sleep 300\n", mem="4G", time="1h", stall="1h")
    started = bench.start()
    until(lambda: bench.runs(job))
    status = read_status(str(bench.record(job)))
    assert status is not None
    time.sleep(1)
    before = int(switches(status.shim)[0])
    time.sleep(4)
    after, memory = int(switches(status.shim)[0]), proportional(status.shim)
    bench.wish(job, "cancel")
    assert started.wait(30) == 0
    assert 0 < after - before <= 6, "once a second, where much memory is left"
    assert memory <= MOST and not is_alive(status.shim)
