"""A job's secrets are found nowhere else, and not afterwards, however it ends; its log hides them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_run import conceal, secrets
from cit_run.cit_format import body, document, masks
from cit_run.cit_format.document import Document
from cit_run.shim import read_status
from tests.int.cit_run.kit import Bench, killed, until
from tests.int.cit_run.sealed import CANARY, MASK, PRINTS, WAITS, holding, job, link, nothing_left, processes_that_show, send, signed, taken

# --- nowhere else -----------------------------------------------------------------------------------------------------


def test_canary_while_the_job_runs(bench: Bench) -> None:
    """In its own files and in the log, which is hidden when it ends; in no argument, no environment, no record, no document."""
    made = send(bench, job(bench, WAITS))
    started = bench.start()
    until(lambda: bench.runs(made) and CANARY in bench.log(made))
    directory = os.readlink(link(bench, made))
    assert processes_that_show(CANARY.encode(), [os.getpid()]) == []
    named = f"{bench.account.path}/work/{made.id}.a1-job"
    assert sorted(holding(bench.home)) == [f"{named}.log", f"{named}.run/log"] and os.path.samefile(f"{named}.log", f"{named}.run/log")
    (bench.account / "work" / "job" / "0" / "stop").touch()
    assert started.wait(30) == 0
    assert f"it is {MASK}." in bench.log(made)
    nothing_left(bench, directory)


@pytest.mark.parametrize("end", ["success", "failure", "cancel", "time limit", "filter"])
def test_canary_after_the_end(bench: Bench, end: str) -> None:
    scripts = {"success": PRINTS, "filter": PRINTS, "failure": f"{PRINTS}exit 7\n", "cancel": WAITS, "time limit": WAITS}
    made = job(bench, scripts[end])
    if end == "time limit":
        made = limited(bench, made)
    if end == "filter":
        assert bench.filtered(made).returncode == 0
    else:
        made = send(bench, made)
        started = bench.start()
        if end == "cancel":
            until(lambda: bench.runs(made) and CANARY in bench.log(made))
            bench.wish(made, "cancel")
        assert started.wait(30) == 0
        state = {"success": "COMPLETED", "failure": "FAILED", "cancel": "CANCELLED", "time limit": "TIMEOUT"}[end]
        assert bench.result(made)["state"] == state
        assert f"it is {MASK}." in bench.log(made)
    nothing_left(bench)


def limited(bench: Bench, made: Document) -> Document:
    """The same job with a time limit."""
    first = made.sections[0]
    said = {**made.table("job"), "time": "1s"}
    parts = [made.raw[section.start : section.end] for section in made.sections[1:-1]]
    assert first.kind == "job"
    return signed(bench, made, document.section("job", "toml", body.toml(said)), *parts)


@pytest.mark.parametrize("whom", ["shim", "cit-run", "both", "both, and the memory is gone"])
def test_canary_after_a_kill(bench: Bench, whom: str) -> None:
    made = send(bench, job(bench, WAITS))
    started = bench.start()
    until(lambda: bench.runs(made) and CANARY in bench.log(made))
    directory = os.readlink(link(bench, made))
    status = read_status(str(bench.record(made)))
    assert status is not None
    if whom != "shim":
        killed(started.pid)
        started.wait()
    if whom != "cit-run":
        killed(status.shim)
    else:
        (bench.account / "work" / "job" / "0" / "stop").touch()
        until(lambda: "\tended" in (bench.record(made) / "status").read_text(), "the end of the job without cit-run")
        nothing_left(bench, directory)
    if "memory" in whom:  # as after a reboot
        secrets.removed(directory)
    if whom != "shim":
        started = bench.start()
    assert started.wait(30) == 0
    assert bench.result(made)["state"] == ("COMPLETED" if whom == "cit-run" else "NODE_FAIL")
    assert f"it is {MASK}." in bench.log(made)
    nothing_left(bench, directory)


def test_kill_of_a_filter_and_its_shim(bench: Bench) -> None:
    """Nothing lies in `running`; the next pass finds it all the same."""
    made = job(bench, WAITS)
    own = f"{made.id}-{made.name}"
    running = subprocess.Popen(["cit-run"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert running.stdin
    running.stdin.write(made.raw)
    running.stdin.close()
    log, record = bench.account / "work" / f"{own}.log", bench.account / "work" / f"{own}.run"
    until(lambda: log.exists() and CANARY in log.read_text())
    directory, status = os.readlink(bench.account / "work" / ".private" / own), read_status(str(record))
    assert status is not None
    os.kill(status.shim, signal.SIGSTOP)  # or it would clean up when cit-run dies
    killed(running.pid)
    running.wait()
    killed(status.shim)
    os.killpg(int((record / "pid").read_text()), signal.SIGKILL)
    assert os.path.isdir(directory)
    bench.run()
    assert f"it is {MASK}." in log.read_text()
    nothing_left(bench, directory)


def test_killed_before_the_start(bench: Bench) -> None:
    """Laid out, and killed before the order was given: the job begins with secrets laid out anew."""
    made = taken(bench, job(bench, PRINTS))
    bench.record(made).mkdir()
    directory = secrets.handed_over(made, bench.account.path, f"{made.id}.a1-{made.name}")
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED" and f"it is {MASK}." in bench.log(made)
    nothing_left(bench, directory)


def test_killed_at_any_call_while_they_are_laid_out(bench: Bench) -> None:
    """Before each call in turn that makes something: what lies there is found by its link."""
    made = bench.assigned(job(bench, PRINTS, A="1", TOKEN=CANARY))
    own = f"{made.id}.a1-{made.name}"
    bench.record(made).mkdir(parents=True)
    for count in range(20):
        child = os.fork()
        if child == 0:
            dies_at(count)
            secrets.handed_over(made, bench.account.path, own)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if bench.account.path.joinpath("work", ".private").exists():
            assert all(os.path.islink(bench.account / "work" / ".private" / name) for name in secrets.left(bench.account))
        for name in secrets.left(bench.account):
            secrets.clear(bench.account.path, name)
        nothing_left(bench)
        if status == 0:
            break
    assert status == 0 and count >= 6


def dies_at(count: int) -> None:
    """From here on the call of this number that would change a directory or a file kills this process."""
    left = [count]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def instead(*given: object, **named: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*given, **named)

        return instead

    for name in ("symlink", "mkdir", "open", "write"):
        setattr(os, name, counted(getattr(os, name)))


def test_young_and_running_ones_are_left_alone(bench: Bench) -> None:
    """Another cit-run, a filter, may have just laid them out."""
    made = bench.assigned(job(bench, PRINTS))
    own = f"{made.id}.a1-{made.name}"
    bench.record(made).mkdir(parents=True)
    directory = secrets.handed_over(made, bench.account.path, own)
    bench.run()
    assert os.path.isdir(directory)
    os.utime(link(bench, made), (1, 1), follow_symlinks=False)
    bench.run()
    nothing_left(bench, directory)


# --- a job that does not play along -----------------------------------------------------------------------------------


def test_job_that_tampers_with_its_directory(bench: Bench, tmp_path: Path) -> None:
    """A fifo stops nobody, a link leads nowhere, and what it has locked goes too."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").write_text("x")
    script = f'#!/bin/sh\ncd "$CIT_SECRETS"\nmkfifo pipe\nln -s {kept} link\nln -s {kept}/precious p\nmkdir -p a/b; chmod 0 a/b a\nchmod 500 .\n'
    made = send(bench, job(bench, script))
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED" and (kept / "precious").read_text() == "x"
    nothing_left(bench)


def test_job_that_puts_a_link_in_place_of_its_log(bench: Bench, tmp_path: Path) -> None:
    """What the link leads to is not written to."""
    precious = tmp_path / "precious"
    precious.write_text(CANARY)
    made = send(bench, job(bench, f"#!/bin/sh\nlog=$(readlink /proc/$$/fd/1)\nrm $log\nln -s {precious} $log\n"))
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED" and precious.read_text() == CANARY


# --- hidden in logs ---------------------------------------------------------------------------------------------------


def test_log_is_hidden_before_its_digest_is_taken(bench: Bench) -> None:
    made = send(bench, job(bench, PRINTS))
    bench.run()
    log = bench.account / "work" / f"{made.id}.a1-job.log"
    digest = subprocess.run(["sha256sum", log], capture_output=True, check=True, text=True).stdout.split()[0]
    artefact = bench.finished(made).find("artefact")
    assert artefact and artefact.rows()[0][:2] == [digest, str(log.stat().st_size)]


def test_lines_and_short_ones(bench: Bench) -> None:
    """Of several lines each is hidden, but not those of three bytes."""
    made = send(bench, job(bench, '#!/bin/sh\ncat "$CIT_SECRETS/TOKEN"\n', TOKEN="first line\nabc\n  indented\n"))
    bench.run()
    assert bench.log(made) == "**********\nabc\n  ********\n"


def test_large_log_is_hidden_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across the pieces in which it is gone over."""
    monkeypatch.setattr(conceal, "PIECE", 64)
    log = tmp_path / "log"
    text = b"".join(b"%d " % number + (b"hunter2", b"swordfish")[number % 2] + b" and more\n" for number in range(400))
    log.write_bytes(text)
    sought = masks.values([b"hunter2\nswordfish"])
    conceal.conceal(str(log), sought)
    assert log.read_bytes() == masks.hidden(text, sought) == text.replace(b"hunter2", b"*" * 7).replace(b"swordfish", b"*" * 9)
    assert len(log.read_bytes()) == len(text)


def test_terminal_of_a_filter_is_masked(bench: Bench) -> None:
    """cit-run on a terminal shows the log as it grows."""
    made = bench.home / "made.cit"
    made.write_bytes(job(bench, f"{PRINTS}sleep 0.3\n").raw)  # as long as it runs; afterwards the log itself is hidden
    shown = subprocess.run(["script", "-qefc", f"cit-run < {made}", "/dev/null"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30).stdout
    assert b"it is ***." in shown and CANARY.encode() not in shown
