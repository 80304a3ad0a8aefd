"""cit push: both stages at once, one line a job, the status of what went wrong; in a git tree with its source; --wait with the job's own."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.int.cit_trigger.desk import Desk, documents, rows


def waiting(desk: Desk) -> list[str]:
    """IDs of the jobs that wait, in order."""
    return [path.name.partition(".")[2][:26] for path in sorted((desk.home / ".cit/queues/main/waiting").glob("*.cit"))]


def pushed(desk: Desk, *argv: str, at: Path | None = None, stdin: bytes = b"", status: int = 0, **more: str) -> list[list[str]]:
    """What cit push says of each job in a pipe: ID, name, state."""
    said = desk.run("cit", "push", *argv, at=at, stdin=stdin, status=status, **more).stdout.decode()
    return [line.split("\t") for line in said.split("\n")[:-1]]


def on_a_terminal(desk: Desk, *argv: str) -> str:
    """What cit push shows on a terminal."""
    return desk.run("script", "-qec", shlex.join(["cit", "push", *argv]), "/dev/null").stdout.decode()


def replaced(desk: Desk, name: str, text: str) -> str:
    """PATH on which a stage is replaced by a shell script."""
    programs = desk.home / "programs"
    programs.mkdir(exist_ok=True)
    (programs / name).write_text(f"#!/bin/sh\n{text}\n")
    (programs / name).chmod(0o755)
    return f"{programs}:{desk.environment['PATH']}"


# --- one line a job -------------------------------------------------------------------------------------------------


def test_job_is_in_the_queue_when_push_says_so(desk: Desk) -> None:
    ((identity, name, state),) = pushed(desk, "-J", "zlib-nightly", "--", "make", "check")
    assert (name, state, waiting(desk)) == ("zlib-nightly", "accepted", [identity])
    assert (desk.home / ".cit/last").read_text() == f"{identity} zlib-nightly\n"


def test_several_jobs_are_a_line_each_and_last_is_the_last(desk: Desk) -> None:
    lines = pushed(desk, "--each", "-", "--", "build-{}", stdin=b"a\nb\nc\n")
    assert [(name, state) for _, name, state in lines] == [("build-a", "accepted"), ("build-b", "accepted"), ("build-c", "accepted")]
    assert waiting(desk) == [identity for identity, _, _ in lines]
    assert (desk.home / ".cit/last").read_text() == f"{lines[-1][0]} build-c\n"


def test_people_are_told_in_words(desk: Desk) -> None:
    said = on_a_terminal(desk, "-J", "zlib-nightly", "--", "true")
    assert said == f"job {waiting(desk)[0][20:]} zlib-nightly queued at @main\r\n"
    desk.run("cit-init", "@lab")
    for queue in ("@lab", str(desk.home / ".cit/queues/lab")):
        assert re.fullmatch(r"job \w{6} true queued at @lab\r\n", on_a_terminal(desk, "--queue", queue, "--", "true"))
    (desk.home / ".cit/config.toml").write_text('queues = ["@lab", "@main"]\n')
    assert re.fullmatch(r"job \w{6} true queued\r\n", on_a_terminal(desk, "--", "true"))
    seen = desk.home / ".cit/queues/lab/seen"
    assert (len(waiting(desk)), len([path for path in seen.rglob("*") if path.is_symlink()])) == (1, 3)


def test_dry_run_queues_nothing(desk: Desk) -> None:
    (unsigned,) = documents(desk.run("cit", "push", "-n", "--", "true").stdout)
    assert unsigned.find("signature") is None and waiting(desk) == []


def test_document_by_hand_is_pushed_once(desk: Desk) -> None:
    """The same bytes again are the same job; the same ID with other bytes is none."""
    unsigned = desk.run("cit", "push", "-n", "--", "true").stdout
    (desk.here / "job.cit").write_bytes(unsigned)
    states = [pushed(desk, "--sign", "job.cit")[0][2] for _ in range(2)]
    states += [pushed(desk, "--sign", stdin=unsigned.replace(b"exec true", b"exec false"), status=77)[0][2]]
    assert states == ["accepted", "duplicate", "refused"] and len(waiting(desk)) == 1


def test_help_says_what_push_and_trigger_take(desk: Desk) -> None:
    said = desk.run("cit", "push", "--help").stdout.decode()
    assert said.startswith("cit-push: ") and "--follow" in said and "\n  --each FILE|-" in said


# --- what went wrong ------------------------------------------------------------------------------------------------


def test_status_is_that_of_the_stage_that_failed(desk: Desk) -> None:
    """And each fault is said once."""
    for argv, status in ((["-t", "30", "--", "true"], 2), (["make"], 2), ([], 2), (["--queue", "@gone", "--", "true"], 66)):
        ended = desk.run("cit", "push", *argv, status=status)
        assert (ended.stdout, ended.stderr.count(b"error: ")) == (b"", 1)
    assert waiting(desk) == [] and not (desk.home / ".cit/last").exists()


def test_worst_of_both_stages_counts(desk: Desk) -> None:
    broken = replaced(desk, "cit-queue", "cat >/dev/null; exit 74")
    desk.run("cit", "push", "--sign", stdin=b"no document\n", status=74, PATH=broken)
    desk.run("cit", "push", "--", "true", status=74, PATH=broken)
    killed = replaced(desk, "cit-queue", "kill -9 $$")
    desk.run("cit", "push", "--", "true", status=137, PATH=killed)


def test_refused_job_is_shown_and_is_not_the_last(desk: Desk) -> None:
    (desk.home / ".cit/queues/main/allowed_signers").write_text("")
    ended = desk.run("cit", "push", "--wait", "--", "true", status=77)
    assert ended.stdout.endswith(b"\ttrue\trefused\n") and b"error: " in ended.stderr
    assert not (desk.home / ".cit/last").exists()


def test_queue_that_takes_nothing_now_keeps_no_one_waiting(desk: Desk) -> None:
    settings = desk.home / ".cit/queues/main/queue.toml"
    settings.write_text(settings.read_text().replace("active = true", "active = false"))
    ((identity, _, state),) = pushed(desk, "--wait", "--", "true", status=75)
    assert state == "kept" and (desk.home / ".cit/last").read_text() == f"{identity} true\n"


# --- git trees ------------------------------------------------------------------------------------------------------


def queued(desk: Desk, *argv: str, at: Path, stdin: bytes = b"") -> list[str]:
    """The sections that cit push sends from here, beyond job, script and signature."""
    ((identity, _, _),) = pushed(desk, *argv, at=at, stdin=stdin)
    (path,) = (desk.home / ".cit/queues/main/waiting").glob(f"*{identity}*")
    (job,) = documents(path.read_bytes())
    first = job.find("signature")
    assert first
    return [section.kind for section in job.sections[: first.number - 1] if section.kind not in ("job", "script")]


def test_in_a_git_tree_its_source_goes_along(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    (top / "a/b").mkdir(parents=True)
    (top / "main.c").write_text("changed\n")
    assert queued(desk, "--", "make", at=top) == ["source"]
    assert queued(desk, "--", "make", at=top / "a/b") == ["source"]
    assert queued(desk, "--dirty", "--", "make", at=top) == ["source", "change"]
    assert queued(desk, "--no-source", "--", "make", at=top) == []
    assert queued(desk, "--repo", str(desk.home / "remote.git"), "--", "make", at=top) == ["source"]
    unsigned = desk.run("cit", "push", "-n", "--no-source", "--", "true").stdout
    assert queued(desk, "--sign", at=top, stdin=unsigned) == []
    assert queued(desk, "--", "make", at=desk.here) == []
    assert queued(desk, "--source=tree", "--", "make", "--no-source", "--repo", at=desk.here) == ["source"]


def test_words_of_the_command_are_nobody_elses(desk: Desk) -> None:
    words = ["--wait", "-f", "-n", "--queue", "@gone", "--help", "--", "$(x)", ""]
    pushed(desk, "--", "echo", *words)
    (path,) = (desk.home / ".cit/queues/main/waiting").glob("*.cit")
    (job,) = documents(path.read_bytes())
    script = job.find("script")
    assert script and shlex.split(script.body().decode().split("\n")[1]) == ["exec", "echo", *words]


# --- until the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("exit 3", 3), ("kill -9 $$", 137), ("exec not-there", 127)])
def test_wait_exits_as_the_job_did(lively: Desk, command: str, status: int) -> None:
    ended = lively.run("cit", "push", "--wait", "--", "sh", "-c", command, status=status)
    assert ended.stdout.endswith(b"\tsh\taccepted\n")


def test_follow_shows_the_log_and_exits_as_the_job_did(lively: Desk) -> None:
    ended = lively.run("cit", "push", "-f", "-J", "followed", "--", "sh", "-c", "echo one; sleep 0.3; echo two; exit 4", status=4)
    assert ended.stdout == b"one\ntwo\n" and b"\tfollowed\taccepted\n" in ended.stderr


def test_of_several_the_worst_end_counts(lively: Desk) -> None:
    lines = pushed(lively, "--wait", "--each", "-", "--", "sh", "-c", stdin=b"true\nexit 5\ntrue\n", status=5)
    assert len(lines) == 3


def test_pushed_tree_is_there_for_the_job(lively: Desk) -> None:
    """With the commit that no remote has, the change that no commit has, in the directory where the person was."""
    top = lively.tree("project $(x)", remote="project.git")
    lively.commit(top, **{"src/part.c": "committed\n"})
    (top / "src/part.c").write_text("changed\n")
    said = lively.run("cit", "push", "--dirty", "-f", "-J", "tree", "--", "sh", "-c", "cat part.c; git status --porcelain", at=top / "src").stdout
    assert said.endswith(b"\nchanged\nM  src/part.c\n")
    commit = lively.git("rev-parse", "HEAD", at=top)
    path = lively.run("cit-show", "--path", "tree").stdout.decode().strip()
    (job,) = documents(Path(path).read_bytes())
    assert ["source .", commit] in rows(job, "environment") and rows(job, "source")[0][3] == commit


def test_source_that_cannot_be_had_fails_the_job_and_says_why(lively: Desk) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    lively.run("cit", "push", "-q", "--wait", "-J", "lost", "--repo", str(lively.home / "gone.git"), "--ref", commit, "--", "true", status=125)
    path = lively.run("cit-show", "--path", "lost").stdout.decode().strip()
    result = documents(Path(path).read_bytes())[0].table("result")
    assert (result["state"], result["exit"]) == ("FAILED", 125)
    assert result["why"] == f"source: cannot fetch from {lively.home}/gone.git"
    assert b"git says why in the log" in lively.run("cit-log", "lost").stdout


def test_job_can_push_a_job_of_its_tree(lively: Desk) -> None:
    top = lively.tree("twice")
    script = "cit push -q --wait --no-source -J inner -- true && cit push -q -J again -- cat main.c"
    lively.run("cit", "push", "-f", "-J", "outer", "--", "sh", "-c", script, at=top)
    lively.run("cit-wait", "again")
    assert lively.run("cit-log", "again").stdout.endswith(b"int main;\n")


def test_no_python_is_started_but_the_stages(desk: Desk) -> None:
    """The two stages, and nothing else that takes its time to start."""
    if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode:
        pytest.skip("strace is not installed")
    desk.run("strace", "-ff", "-qq", "-e", "trace=execve", "-o", str(desk.home / "trace"), "cit-push", "--", "true")
    traces = "".join(path.read_text() for path in desk.home.glob("trace.*"))
    started = re.findall(r'execve\("([^"]+)".* = 0', traces)
    assert sum("python" in path for path in started) == 2, started
    assert len(started) <= 8, started
