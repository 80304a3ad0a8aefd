"""A pass that deals out an array is killed; in the end each of its tasks has run, once (docs/stages/schedule.md).

Every call inside a pass is tried in tests/int/cit_schedule/test_arrays.py; here some of them, with whole programs, to the tasks' ends.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep import TICK, Machine

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")

SCHEDULE = TICK[1]
SOME = 4


@pytest.fixture
def machine() -> Iterator[Machine]:
    place = Path(tempfile.mkdtemp(prefix=".cit-sweep-", dir=os.path.expanduser("~")))
    yield Machine(place)
    shutil.rmtree(place, ignore_errors=True)


def test_is_each_task_run_once_though_its_dealer_is_killed(machine: Machine) -> None:
    job = f"cit-trigger --name marked -a 1-5%4 -- sh -c 'echo $CIT_TASK >> {machine.home}/marks'"
    machine.sh(f"{job} | cit-queue -q --to @main > /dev/null")
    machine.keep()
    points = [point for point in machine.points(SCHEDULE) if point.call in ("rename", "renameat2", "unlink", "fsync", "write")]
    assert len(points) > 3 * SOME, "the sweep must find calls to kill at"
    for point in points[:: len(points) // SOME]:
        machine.restore()
        machine.killed_at(SCHEDULE, point)
        for line in TICK * 3:
            machine.sh(line, check=False)
            if sorted((machine.home / "marks").read_text().split() if (machine.home / "marks").exists() else []) == list("12345"):
                break
        for line in TICK:
            machine.sh(line, check=False)
        assert sorted((machine.home / "marks").read_text().split()) == list("12345"), point
        assert not list((machine.home / ".cit/queues/main/waiting").glob("*.cit")) and not machine.left_over(), point
