"""Nothing of a job outlives it: not after its own end, not ten seconds after it was cancelled; other jobs run on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.int.cit_run.kit import Bench, is_alive, until

# Each leaves processes behind in its own way, and notes their pids in the file that $MARK names.
LEFT_BEHIND = {
    "background": "sleep 300 & echo $! >>$MARK",
    "nohup": "nohup sleep 300 >/dev/null & echo $! >>$MARK",
    "setsid": "setsid sh -c 'echo $$ >>$MARK; exec sleep 300' &",
    "double fork": "(setsid sh -c 'echo $$ >>$MARK; sleep 300 & echo $! >>$MARK; wait' &) ",
    "ignores TERM": "sh -c 'trap \"\" TERM HUP INT; echo $$ >>$MARK; while :; do sleep 1; done' &",
    "stopped": "sh -c 'echo $$ >>$MARK; kill -STOP $$; sleep 300' &",
    "clean environment": "env -i setsid sleep 300 & echo $! >>$MARK",
}
FORK_LOOP = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    until = time.time() + 60
    while time.time() < until:           # a new session and a new process each time, the old one ends
        if os.fork():
            os._exit(0)
        os.setsid()
        with open(os.environ["MARK"] + ".new", "w") as note:
            note.write(str(os.getpid()))
        os.rename(os.environ["MARK"] + ".new", os.environ["MARK"] + ".loop")  # killed anywhere, it says one pid
    os._exit(0)
"""


def script(mark: Path, then: str) -> str:
    return f"#!/bin/sh\nexport MARK={mark}\n" + "\n".join(LEFT_BEHIND.values()) + f"\n{then}\n"


def marked(mark: Path) -> list[int]:
    """The pids that a job has noted, once all are there."""
    count = len(LEFT_BEHIND) + 1  # the double fork notes two
    until(lambda: mark.exists() and len(mark.read_text().split()) == count, "the marks of a job's processes")
    return [int(word) for word in mark.read_text().split()]


def test_nothing_is_left_at_a_normal_end(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job = bench.send(script(mark, f"while [ $(wc -l <$MARK) -lt {len(LEFT_BEHIND) + 1} ]; do sleep 0.01; done; exit 3"))
    bench.run()
    assert bench.result(job)["exit"] == 3
    assert [pid for pid in marked(mark) if is_alive(pid)] == []


@pytest.mark.parametrize("then", ["trap '' TERM; while :; do sleep 1; done", "exec sleep 300"], ids=["ignores TERM", "sleeps"])
def test_nothing_is_left_after_cancel(bench: Bench, tmp_path: Path, then: str) -> None:
    """Ten seconds after the wish nothing is alive, and the job beside it has not noticed."""
    mark = tmp_path / "mark"
    job, other = bench.send(script(mark, then)), bench.send("#!/bin/sh\nsleep 1\necho unharmed\n", name="other")
    started = bench.start("--slots", "2")
    pids = marked(mark)
    assert all(is_alive(pid) for pid in pids)
    began = time.monotonic()
    bench.wish(job, "cancel")
    until(lambda: bench.names("finished") and not any(is_alive(pid) for pid in pids), "the end of a cancelled job")
    assert time.monotonic() - began < 10
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "CANCELLED" and "cancelled" in str(bench.result(job)["why"])
    assert (bench.result(other)["state"], bench.log(other)) == ("COMPLETED", "unharmed\n")


def test_fork_loop_is_caught(bench: Bench, tmp_path: Path) -> None:
    """A process that lives for a moment, and is another one in a session of its own by then."""
    (tmp_path / "loop.py").write_text(FORK_LOOP)
    job = bench.send(f"#!/bin/sh\nexport MARK={tmp_path}/mark\npython3 {tmp_path}/loop.py\nuntil [ -s $MARK.loop ]; do sleep 0.01; done\n")
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED"
    last = (tmp_path / "mark.loop").read_text()
    time.sleep(0.1)
    assert (tmp_path / "mark.loop").read_text() == last and not is_alive(int(last))


def test_job_cannot_speak_for_its_shim(bench: Bench) -> None:
    """No descriptor of the shim's is open in a job, and what it writes into its record changes nothing of its end while it runs."""
    forged = "2026-11-24T00:00:00.000Z\\tended\\texit 0\\tsignal 0\\twall-ms 1\\n"
    job = bench.send(f"#!/bin/sh\nfor fd in 3 4 5 6 7 8 9; do printf '{forged}' >&$fd; done 2>/dev/null\nexit 5\n")
    bench.run()
    assert bench.result(job)["exit"] == 5


def test_pause(bench: Bench, tmp_path: Path) -> None:
    """hold stops a running job with all that belongs to it, release lets it go on; the time limit does not run meanwhile."""
    beat = tmp_path / "beat"
    job = bench.send(f"#!/bin/sh\nsetsid sh -c 'while [ ! -e {tmp_path}/stop ]; do echo x >>{beat}; sleep 0.02; done' &\nwait\n", time="4s")
    started = bench.start()
    until(lambda: beat.exists() and beat.stat().st_size > 4)
    bench.wish(job, "hold")
    until(lambda: "\tpaused" in (bench.record(job) / "status").read_text())
    before = beat.stat().st_size
    time.sleep(0.5)
    assert beat.stat().st_size == before
    bench.wish(job, "release")
    until(lambda: beat.stat().st_size > before)
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "COMPLETED"


def test_cancel_of_a_paused_job(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\ntrap 'echo asked; exit 1' TERM\nwhile :; do sleep 0.05; done\n")
    started = bench.start()
    until(lambda: bench.runs(job))
    bench.wish(job, "hold")
    until(lambda: "\tpaused" in (bench.record(job) / "status").read_text())
    bench.wish(job, "cancel")
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "CANCELLED" and bench.log(job).endswith("asked\n")


def test_zombies_of_a_job_are_waited_for(bench: Bench) -> None:
    """A job that loses children by the hundred does not fill the table of processes."""
    job = bench.send("#!/bin/sh\ni=0; while [ $i -lt 100 ]; do (true &) ; i=$((i+1)); done\nsleep 0.3\nps -o stat= --ppid $PPID | grep -c Z\ntrue\n")
    bench.run()
    assert bench.log(job) == "0\n" and os.path.exists("/proc")
