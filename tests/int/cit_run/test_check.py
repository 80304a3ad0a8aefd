"""A job's check says on the builder whether it may begin; where not, the assignment is void and no start (docs/howto/try-again.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_run.cit_format import attempts, clock, home
from tests.int.cit_run.kit import Bench, is_alive, killed, until


def rows(bench: Bench, job: object) -> dict[str, str]:
    """What the builder's events say, by word."""
    return {row[2]: row[5] for section in bench.finished(job).all("event") for row in section.rows() if row[1] == "run"}  # type: ignore[arg-type]


def test_a_check_that_says_yes_is_followed_by_the_job(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\ncat made\n", check="echo here > made; echo asked in $PWD; pwd -P >&2")
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED" and bench.log(job).endswith("here\n"), "same directory, one log"


def test_a_check_that_says_no_gives_the_job_back_without_a_start(bench: Bench) -> None:
    mark = bench.home / "mark"
    job = bench.send(f"#!/bin/sh\necho x >> {mark}\n", check="echo no libz yet; exit 4", attempts=1)
    bench.run()
    said, done = rows(bench, job), bench.finished(job)
    assert said["unready"] == said["void"] == "check said no: status 4: no libz yet" and "started" not in said
    assert done.find("result") is None and not mark.exists() and bench.log(job) == "no libz yet\n"
    assert attempts.again(done, clock.now()) == "void" and attempts.starts(done, 1) == 0


ENDS = {
    "by a signal": ("kill -9 $$", "signal 9"),
    "no such program": ("nosuchprogram", "status 127"),
    "over its time": ("sleep 60", "signal 15"),
}


@pytest.mark.parametrize("end", ENDS)
def test_any_end_but_zero_is_a_no(bench: Bench, end: str) -> None:
    check, told = ENDS[end]
    job = bench.send("#!/bin/sh\ntrue\n", check=check, time="1s")
    bench.run()
    assert rows(bench, job)["void"].startswith(f"check said no: {told}")


def test_it_is_asked_where_the_program_starts_with_its_variables(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\n. ./said; echo $CIT_JOB_ID $PWD\n", check="echo echo $CIT_JOB_ID $PWD > said", builddir="sub")
    bench.run()
    first, second = bench.log(job).splitlines()
    assert first == second and first.endswith("/sub") and first.startswith(job.id)


def test_a_cancel_ends_a_job_that_is_being_checked(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\ntrue\n", check="sleep 60 & echo $! > pid; wait")
    running = bench.start()
    pid = bench.account / "work" / "job" / "0" / "pid"
    until(lambda: pid.exists() and pid.read_text().strip(), "the check")
    bench.wish(job, "cancel")
    running.communicate(timeout=30)
    assert bench.result(job)["state"] == "CANCELLED" and not is_alive(int(pid.read_text()))


def test_a_killed_pass_leaves_what_the_check_said(bench: Bench, tmp_path: Path) -> None:
    """kill -9 of cit-run while a check is asked: the next pass reads the answer, and asks nothing twice."""
    mark = tmp_path / "asked"
    job = bench.send("#!/bin/sh\ntrue\n", check=f"echo x >> {mark}; sleep 1; exit 1")
    running = bench.start()
    until(mark.exists, "the check")
    killed(running.pid)
    running.wait()
    until(lambda: "ended" in (bench.record(job) / "status").read_text(), "the end of the check")
    bench.run()
    assert "void" in rows(bench, job) and mark.read_text() == "x\n"


def test_an_incremental_job_keeps_its_directory_over_a_no(bench: Bench) -> None:
    """What was built stays to be built upon; a directory in which nothing was built is none of a build that succeeded."""
    first = bench.send("#!/bin/sh\necho built > made\n", workspace="incremental")
    bench.run()
    assert bench.result(first)["state"] == "COMPLETED"
    bench.send("#!/bin/sh\ntrue\n", workspace="incremental", check="false")
    bench.run()
    last = bench.send("#!/bin/sh\ncat made\n", workspace="incremental")
    bench.run()
    assert bench.log(last).splitlines()[1:] == ["built"]


def test_where_jobs_run_as_other_accounts_there_is_no_check(bench: Bench) -> None:
    """Said at once, rather than begun unasked."""
    bench.set(on_end="", run_as=[f"{home.person()}=nobody"])
    job = bench.send("#!/bin/sh\ntrue\n", check="true")
    assert "a check is not possible where jobs run as other accounts" in bench.run(status=65)
    assert [name.partition("-")[0] for name in bench.names("refused")] == [job.id]
