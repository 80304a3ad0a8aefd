"""When a job's log grew: noted by its shim, which nobody wakes while nothing is printed."""

from __future__ import annotations

import os
from pathlib import Path

from cit_format import clock
from tests.int.cit_run.kit import Bench, until

LOOKS = "/proc/{}/status"


def rows(record: Path) -> list[tuple[int, int]]:
    """Moments and sizes."""
    return [(clock.parse(time), int(size)) for time, size in (line.split("\t") for line in (record / "times").read_text().splitlines())]


def test_each_piece_of_output_has_its_time(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\necho one\nsleep 0.5\necho two >&2\nsleep 0.5\nprintf three\n")
    bench.run()
    assert bench.log(job) == "one\ntwo\nthree"
    found = rows(bench.record(job))
    assert [size for _, size in found] == [4, 8, 13]
    assert all(after - before > 0.4 * clock.SECOND for (before, _), (after, _) in zip(found, found[1:]))
    assert os.stat(bench.record(job).with_suffix(".log")).st_nlink == 1, "the log has one name"


def test_a_job_that_prints_nothing_has_no_index(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\ntrue\n")
    bench.run()
    assert not (bench.record(job) / "times").exists()


def test_a_flood_has_few_rows(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\ni=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done\n")
    bench.run()
    found = rows(bench.record(job))
    seconds = (found[-1][0] - found[0][0]) / clock.SECOND
    assert found[-1][1] == len(bench.log(job)) and len(found) <= 3 + seconds * 10


def test_a_silent_job_wakes_nobody(bench: Bench) -> None:
    """What has begun to print and is silent again costs its shim nothing: no switch in two seconds."""
    job = bench.send("#!/bin/sh\necho begun\nexec sleep 60\n")
    started = bench.start()
    until(lambda: bench.runs(job) and (bench.record(job) / "times").exists())
    shim = (bench.record(job) / "status").read_text().split("shim ")[1].split("\n")[0]

    def switches() -> int:
        lines = Path(LOOKS.format(shim)).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

    seen: list[int] = []
    until(lambda: seen.append(switches()) or len(seen) > 400 and seen[-1] == seen[-400], "rest")  # type: ignore[func-returns-value]
    bench.wish(job, "cancel")
    started.communicate(timeout=60)
