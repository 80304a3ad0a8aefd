"""cit-run as a filter: documents in a pipe, output on a terminal, the job's own status, an end with us (docs/stages/run.md)."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cit_run import attempt, local
from cit_run.cit_format import clock, document, home, keys, reader, trust
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, is_alive, until

RUN = str(CHECKOUT / "bin" / "cit-run")


def test_empty_home(tmp_path: Path) -> None:
    """Three programs, nothing said about directories."""
    line = "cit-trigger --name hello -- echo hi | cit-run | cit-report --json"
    done = subprocess.run(["sh", "-c", line], env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 0 and '"COMPLETED"' in done.stdout and '"hello"' in done.stdout
    (log,) = (tmp_path / ".cit" / "work").glob("*-hello.log")
    assert log.read_text() == "hi\n"


STATUSES = {
    "exit 0": 0,
    "exit 3": 3,
    "exit 75": 75,
    "/dev/null": 126,
    "no-such-program": 127,
    "kill -KILL $$": 137,
    "kill -TERM $$": 143,
}


@pytest.mark.parametrize("script", STATUSES)
def test_status_is_the_job_s_own(bench: Bench, script: str) -> None:
    done = bench.filtered(bench.job(f"#!/bin/sh\n{script}\n"))
    assert (done.returncode, done.stderr) == (STATUSES[script], b"")
    result = reader.parse(done.stdout)
    trust.completed(result, bench.account.signers, clock.now())


def test_time_limit_is_124(bench: Bench) -> None:
    assert bench.filtered(bench.job("#!/bin/sh\nsleep 60\n", time="1s")).returncode == 124


def test_several_jobs(bench: Bench) -> None:
    """All run, in order, in one stream; 1 if one failed; what is refused leaves the others alone."""
    jobs = [bench.job(f"#!/bin/sh\necho {number}\nexit {number}\n") for number in (0, 3, 0)]
    done = bench.filtered(*jobs)
    assert done.returncode == 1
    found = list(reader.documents(reader.reader_of(done.stdout)))
    assert [each.id for each in found if isinstance(each, document.Document)] == [job.id for job in jobs]
    stranger = keys.generate(bench.home / "stranger", "eve@sun")
    other = bench.job("#!/bin/sh\n")
    forged = home.signed(
        document.new("job", *[other.raw[section.start : section.end] for section in other.sections[:2]]), stranger, "eve@sun", "cit-job"
    )
    done = bench.filtered(forged, jobs[0])
    assert done.returncode == 77 and b"error" in done.stderr and reader.parse(done.stdout).id == jobs[0].id


def test_job_of_another_person(bench: Bench) -> None:
    """Listed as a submitter, but not this account itself: only with an assignment."""
    other = keys.generate(bench.home / "other", "ben@sun")
    with open(bench.account.path / "allowed_signers", "a") as stream:
        stream.write(f'ben@sun namespaces="cit-job" {other.public.line}\n')
    mine = bench.job("#!/bin/sh\n", submitter="ben@sun", key=other.public.fingerprint)
    job = home.signed(document.new("job", *[mine.raw[section.start : section.end] for section in mine.sections[:2]]), other, "ben@sun", "cit-job")
    refused = bench.filtered(job)
    assert refused.returncode == 77 and b"jobs of your own" in refused.stderr and refused.stdout == b""
    assert bench.filtered(bench.assigned(job)).returncode == 0


def test_again(bench: Bench) -> None:
    """The same document may be run again by hand; each run has a record of its own, and the log of the first stays."""
    job = bench.job("#!/bin/sh\ndate +%N | tee out\n", document.section("keep", "tsv", b"out\n"))
    for _ in range(2):
        done = bench.filtered(job)
        assert done.returncode == 0
        kept = [row for section in reader.parse(done.stdout).all("artefact") for row in section.rows()]
        assert len(kept) == 2 and kept[0][0] == kept[1][0], "log and file of this run"
    logs = sorted((bench.account / "work").glob("*.log"))
    assert [log.name for log in logs] == [f"{job.id}-job.log", f"{job.id}-job~2.log"] and logs[0].read_text() != logs[1].read_text()
    assert reader.parse((bench.account / "work" / f"{job.id}-job~2.run" / "job.cit").read_bytes()).find("result") is not None


def test_terminal(bench: Bench) -> None:
    """The output as it comes, without what terminals obey, then one line; no document."""
    job = bench.job("#!/bin/sh\nprintf 'one\\033]0;title\\007\\n'\nsleep 0.5\necho two\nexit 4\n", name="shown")
    (bench.home / "job.cit").write_bytes(job.raw)
    near, far = pty.openpty()
    with open(bench.home / "job.cit", "rb") as stream:
        started = subprocess.Popen([RUN], stdin=stream, stdout=far, stderr=far, start_new_session=True)
    os.close(far)
    shown = b""
    while b"one" not in shown:
        shown += os.read(near, 1000)
    assert started.poll() is None, "shown while it runs"
    while True:
        try:
            shown += os.read(near, 1000)
        except OSError:
            break
    assert started.wait(30) == 4
    lines = shown.decode().replace("\r", "").splitlines()
    assert lines[:2] == ["one\\x1b]0;title\\x07", "two"] and "FAILED, exit 4" in lines[2] and len(lines) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_cancels(bench: Bench, tmp_path: Path, number: int) -> None:
    """^C: the job is ended with all that belongs to it, its document is written, no other job begins."""
    first = bench.job(f"#!/bin/sh\nsetsid sleep 300 &\necho $! >{tmp_path}/pid\nsleep 300\n")
    second = bench.job(f"#!/bin/sh\ntouch {tmp_path}/begun\n")
    (tmp_path / "jobs").write_bytes(first.raw + second.raw)
    with open(tmp_path / "jobs", "rb") as stream:
        started = subprocess.Popen([RUN], stdin=stream, stdout=subprocess.PIPE)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    started.send_signal(number)
    out, _ = started.communicate(timeout=30)
    assert started.returncode == 128 + number
    assert reader.parse(out).table("result")["state"] == "CANCELLED"
    assert not is_alive(int((tmp_path / "pid").read_text())) and not (tmp_path / "begun").exists()


def test_killed_filter_takes_its_job_along(bench: Bench, tmp_path: Path) -> None:
    """Nobody would take up its end: a job that is run by hand ends with whoever runs it."""
    (tmp_path / "job").write_bytes(bench.job(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 300\n").raw)
    with open(tmp_path / "job", "rb") as stream:
        started = subprocess.Popen([RUN], stdin=stream, stdout=subprocess.PIPE)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    started.kill()
    started.communicate()
    until(lambda: not is_alive(int((tmp_path / "pid").read_text())), "the job's end")


def test_beside_a_pass(bench: Bench, tmp_path: Path) -> None:
    """Two jobs of one name, one by hand and one in a pass, never share a directory."""
    job = bench.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    started = bench.start("--slots", "1")
    until(lambda: bench.runs(job))
    done = bench.filtered(bench.job("#!/bin/sh\npwd\n"))
    assert done.returncode == 0
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    logs = [log.read_text() for log in (bench.account / "work").glob("*.log")]
    assert sorted(logs) == ["", f"{bench.account.path}/work/job/1\n"]


# (status, of a job) ... -> together
STATUS_TABLE = [
    ([], 0),
    ([(0, True)], 0),
    ([(3, True)], 3),
    ([(77, False)], 77),
    ([(0, True), (0, True)], 0),
    ([(0, True), (3, True)], 1),
    ([(65, True), (0, True)], 1),
    ([(3, True), (77, False)], 77),
    ([(77, False), (3, True)], 77),
    ([(65, False), (74, True), (77, False)], 77),
]


@pytest.mark.parametrize(("said", "wanted"), STATUS_TABLE)
def test_statuses_together(said: list[tuple[int, bool]], wanted: int) -> None:
    assert local.together(said) == wanted


# first line -> argument vector before the script's path
PROGRAMS = {
    b"#!/bin/sh": ["/bin/sh"],
    b"#!/bin/sh -e": ["/bin/sh", "-e"],
    b"#! /usr/bin/env  python3 -u ": ["/usr/bin/env", "python3 -u"],
    b"#!sh": ["./sh"],
    b"#!": ["/bin/sh"],
    b"#!  ": ["/bin/sh"],
    b"echo hi": ["/bin/sh"],
    b"": ["/bin/sh"],
}


@pytest.mark.parametrize("first", PROGRAMS)
def test_program(first: bytes) -> None:
    assert attempt.program(first + b"\necho\n", "/x/script") == [*PROGRAMS[first], "/x/script"]


def test_usage(bench: Bench) -> None:
    """Spools of another account are not ours to work in."""
    for options in (["--to", "finished"], ["--from", "waiting"], ["--from", "inbox", "--to", "/tmp"]):
        done = subprocess.run([RUN, *options], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 2 and "hint: " in done.stderr and done.stdout == ""
    began = time.monotonic()
    assert bench.run("--to", str(bench.account.path / "finished")) == "" and time.monotonic() - began < 20
