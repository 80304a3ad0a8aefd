"""cit-sync: what has ended goes home by cit-deliver; silent and quick where nothing has (docs/stages/sync.md)."""

from __future__ import annotations

import os
import subprocess
import sys

from cit_run.cit_format import spool
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, until

SYNC = str(CHECKOUT / "bin" / "cit-sync")


def test_nothing_to_carry(bench: Bench) -> None:
    """Not even cit-deliver is started then."""
    done = subprocess.run([SYNC], capture_output=True, env={**os.environ, "PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_results_go_home(bench: Bench) -> None:
    """finished -> the queue's done; again it is nothing."""
    job = bench.assigned(bench.job("#!/bin/sh\nexit 3\n"))
    (bench.queue / "sent" / f"1000-0000000000000001.{job.id}.a1-job.cit").write_bytes(job.raw)
    bench.give(job)
    bench.run()
    for _ in range(2):
        done = subprocess.run([SYNC, "-q"], capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert spool.listing(bench.account / "finished") == []
    assert [path.name for path in (bench.queue / "done").rglob("*.cit")] == [f"{job.id}.a1-job.cit"]


def test_no_carrier(bench: Bench) -> None:
    """Results stay where they are until there is one."""
    bench.send("#!/bin/sh\n")
    bench.run()
    alone = [sys.executable, "-c", "from cit_run.sync import run; run()"]  # bin/ would put itself on PATH
    done = subprocess.run(alone, capture_output=True, text=True, cwd=CHECKOUT, env={**os.environ, "PATH": "/usr/bin:/bin"})
    assert done.returncode == 78 and "cit-deliver" in done.stderr and "hint: " in done.stderr
    assert len(bench.names("finished")) == 1


def test_the_end_of_a_job_wakes_it(bench: Bench) -> None:
    """on-end, in the account's directory, without anybody waiting for it."""
    bench.set()
    job = bench.assigned(bench.job("#!/bin/sh\n"))
    (bench.queue / "sent" / f"1000-0000000000000001.{job.id}.a1-job.cit").write_bytes(job.raw)
    bench.give(job)
    bench.run()
    until(lambda: list((bench.queue / "done").rglob(f"*{job.id}*.cit")), "the result at home")
    bench.set(on_end="pwd >told")
    bench.send("#!/bin/sh\n")
    bench.run()
    until(lambda: (bench.account / "told").exists())
    until(lambda: (bench.account / "told").read_text() == f"{bench.account.path}\n")
