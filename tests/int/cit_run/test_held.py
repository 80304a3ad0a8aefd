"""Failed workspaces that stay for their author, and a shell in them as the job ran (docs/howto/workspaces.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cit_run import held
from cit_run.cit_format import body, clock, document
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CitError
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, until


def place(bench: Bench, job: Document) -> Path:
    return (bench.account / "work" / f"{job.id}.a1-job").resolve()


def test_a_held_workspace_is_nobody_else_s(bench: Bench) -> None:
    """With one slot only: others get another directory, until the hold is over."""
    failed = bench.send("#!/bin/sh\necho by hand >file; exit 3\n", hold_on_failure="1h")
    bench.run("--slots", "1")
    others = [bench.send("#!/bin/sh\nexit 1\n") for _ in range(2)]
    bench.run("--slots", "1")
    assert (place(bench, failed) / "file").read_text() == "by hand\n"
    assert all(place(bench, other) != place(bench, failed) for other in others)
    (bench.record(failed) / held.HOLD).unlink()  # as cit clean does where the job is named
    until(lambda: place(bench, failed).exists())
    last = [bench.send("#!/bin/sh\nexit 1\n") for _ in range(2)]
    bench.run("--slots", "1")
    assert not (bench.account / "work" / f"{failed.id}.a1-job").exists() and last


def test_a_hold_ends_by_itself_and_only_failures_are_held(bench: Bench) -> None:
    bench.set(on_end="", hold_most="1s")
    failed = bench.send("#!/bin/sh\nexit 3\n", hold_on_failure="9d")
    bench.run("--slots", "1")
    ended = clock.now()
    assert held.until(str(bench.record(failed)), ended) == ended + clock.SECOND, "the account grants no more"
    good = bench.send("#!/bin/sh\n", hold_on_failure="1h", name="good")
    bench.run("--slots", "1")
    again = bench.send("#!/bin/sh\n", name="good")
    bench.run("--slots", "1")
    assert (bench.account / "work" / f"{again.id}.a1-good").resolve().name == "0" and bench.result(good)["state"] == "COMPLETED"


def test_settings() -> None:
    assert held.file(0, {}) == {} and held.file(clock.HOUR, {}) == {held.HOLD: b"3600000000\n"}
    assert held.file(9 * clock.DAY, {held.MOST: "2d"}) == {held.HOLD: b"172800000000\n"}
    with pytest.raises(CitError):
        held.file(1, {held.MOST: "often"})


def shell(bench: Bench, job: Document, *command: str) -> subprocess.CompletedProcess[str]:
    words = [str(CHECKOUT / "bin" / "cit-run"), "--shell", f"{job.id}.a1-job", *(["--", *command] if command else [])]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_a_shell_as_the_job_ran(bench: Bench) -> None:
    """The job's variables and nothing of ours, and its directory."""
    env = document.section("env", "tsv", body.tsv([("MODE", "a b'c"), ("PATH", "/usr/bin:/bin")]))
    script = "#!/bin/sh\nenv -u PWD -u OLDPWD -u _ -u SHLVL | LC_ALL=C sort; pwd\nexit 3\n"
    job = bench.send(script, env, builddir="deep/er")
    bench.run()
    said = shell(bench, job, "sh", "-c", script.split("\n", 1)[1])
    lines = [line for line in said.stdout.splitlines() if not line.startswith(("TERM=", "COLORTERM=", "SSH_", "DISPLAY="))]
    ours = ("CIT_EVENTS=", "CIT_LOG=", "CIT_PARTS=")  # by which a job tells of itself: it has ended
    assert lines == [line for line in bench.log(job).splitlines() if not line.startswith(ours)] and said.returncode == 3
    assert "MODE=a b'c" in lines and lines[-1].endswith("/work/job/0/deep/er")
    plain = bench.send("#!/bin/sh\nexit 3\n")
    bench.run()
    assert f"CIT_JOB_ID={plain.id}" in shell(bench, plain, "env").stdout


def test_no_shell(bench: Bench) -> None:
    job = bench.job("#!/bin/sh\n")
    assert shell(bench, job, "true").returncode == 66
    gone = subprocess.run([CHECKOUT / "bin" / "cit-run", "--shell", "../../etc"], capture_output=True)
    assert gone.returncode == 66
    assert subprocess.run([CHECKOUT / "bin" / "cit-run", "--", "true"], capture_output=True).returncode == 2
