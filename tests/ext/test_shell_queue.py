"""cit-queue in POSIX sh: the contract under two shells, syncs and kills, both queues at one directory, and through to done/.

Pages: docs/stages/conformance.md, docs/howto/write-a-stage-in-shell.md
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONFORM = CHECKOUT / "tests/conformance/cit-conform"
QUEUE = CHECKOUT / "cit_queue/sh/cit-queue"
SKIP = CHECKOUT / "cit_queue/sh/skip"
CASES = CHECKOUT / "tests/vectors/stages/queue"
HOWTO = CHECKOUT / "docs/howto/write-a-stage-in-shell.md"
TOOLS = ["awk", "sed", "grep", "head", "tail", "od", "tr", "mktemp", "base64", "rm", "sh", "cat", "date", "sync", "ln", "readlink", "stat"]
TOOLS += ["find", "cut", "sha256sum", "wc", "cmp", "mkdir", "mv", "id", "uname", "dirname"]


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def assert_conforms(queue: str, *cases: str, path: str = os.environ["PATH"]) -> None:
    command = [sys.executable, str(CONFORM), "--stage", "queue", "--cmd", queue, "--skip", str(SKIP), *cases]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    failures = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
    assert done.returncode == 0, "see docs/stages/conformance.md\n" + "\n".join(failures[:20]) + done.stderr


def test_every_case_under_dash() -> None:
    needs("dash", "ssh-keygen", "flock")
    assert_conforms(f"dash {QUEUE}")


WHERE_SHELLS_DIFFER = ["accepted-[qtu]*", "crash-*", "duplicate*", "filter*", "frame-c*", "hostile*", "nul", "on-arrival", "replay", "torn*", "two*"]


def test_under_busybox(tmp_path: Path) -> None:
    """Its shell and its tools, mawk where busybox's awk is not."""
    needs("busybox", "ssh-keygen", "flock")
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(str(shutil.which("busybox")))
    assert_conforms(f"busybox sh {QUEUE}", *WHERE_SHELLS_DIFFER, path=f"{tmp_path}:{os.environ['PATH']}")


# --- durable before it is said --------------------------------------------------------------------------------------


class Home:
    """A home with the queue of the vectors; the sync(1) on its PATH does what `step` says before it syncs."""

    def __init__(self, directory: Path, step: str = "") -> None:
        self.path = directory / "home"
        shutil.copytree(CASES / "in", self.path)
        for path in self.path.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        self.queue = self.path / "queues/lab"
        tools = directory / "tools"
        tools.mkdir()
        (tools / "sync").write_text(f'#!/bin/sh\nQ="{self.queue}"\n{step}\ncd /\nexec {shutil.which("sync")} "$@"\n')
        (tools / "sync").chmod(0o755)
        pinned = dict(line.split("=", 1) for line in (CASES / "env").read_text().splitlines())
        self.env = {**os.environ, **pinned, "CIT_HOME": str(self.path), "HOME": str(self.path), "PATH": f"{tools}:{os.environ['PATH']}"}

    def run(self, stdin: bytes, queue: Path = QUEUE, **env: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run([queue, "--to", "@lab"], input=stdin, capture_output=True, env={**self.env, **env})
        return done.returncode, done.stdout, done.stderr

    def waiting(self) -> list[str]:
        return sorted(path.name for path in (self.queue / "waiting").glob("*.cit"))


JOB = (CASES / "accepted/stdin").read_bytes()
JOBS = [*re.findall(rb"(?ms)^@cit .*?(?=^@cit |\Z)", (CASES / "faulty-first-of-three/stdin").read_bytes())[1:], JOB]


def test_each_step_is_on_disk_before_the_next(tmp_path: Path) -> None:
    """At each sync: what is synced, and what is there already."""
    look = """cd "$Q" || exit
for path; do printf "%s " "${path#$Q/}"; done >> ../../steps
find waiting seen ! -type d ! -name ".*" | sort | xargs echo : >> ../../steps"""
    home = Home(tmp_path, look)
    assert home.run(JOB)[0] == 0
    identity = JOB.split()[2].decode()
    (name,) = home.waiting()
    mark, seen, final = f"waiting/.tmp/{identity}", f"seen/2026-11-23/{identity}", f"waiting/{name}"
    steps = [line.partition(" :") for line in (home.path / "steps").read_text().splitlines()]
    putting = [(synced.split(), there.split()) for synced, _, there in steps if identity in there][:3]
    assert putting == [
        ([mark, "waiting/.tmp"], [mark]),
        (["seen/2026-11-23"], sorted([seen, mark])),
        (["waiting", "waiting/.tmp"], sorted([seen, final])),
    ]


@pytest.mark.parametrize("nth", range(1, 8))
def test_a_sync_that_fails_is_no_ticket(nth: int, tmp_path: Path) -> None:
    count = 'echo >> "$CIT_HOME/count"; [ "$(wc -l < "$CIT_HOME/count")" != "$FAIL" ] || exit 1'
    home = Home(tmp_path, count)
    status, tickets, said = home.run(JOB, FAIL=str(nth))
    syncs = (home.path / "count").read_text().count("\n")
    if syncs < nth:
        assert (status, syncs) == (0, nth - 1) and nth > 4, "every sync has been tried"
        return
    assert (status, tickets) == (74, b"") and b"cannot sync" in said
    assert home.run(JOB, FAIL="0")[0] == 0  # its sender tries again
    assert len(home.waiting()) == 1


@pytest.mark.parametrize("nth", range(1, 8))
def test_killed_at_a_sync_and_sent_again(nth: int, tmp_path: Path) -> None:
    """The job is there once, whichever step was the last one."""
    kill = 'echo >> "$CIT_HOME/count"; [ "$(wc -l < "$CIT_HOME/count")" != "$FAIL" ] || kill -9 "$PPID"'
    home = Home(tmp_path, kill)
    status, tickets, _ = home.run(JOB, FAIL=str(nth))
    if status == 0:
        assert nth > 4, "every sync has been tried"
        return
    assert (status, tickets) == (-9, b"")
    status, tickets, said = home.run(JOB, FAIL="0")
    assert status == 0, said
    assert len(home.waiting()) == 1 and b"accepted" in tickets or b"duplicate" in tickets
    assert not list((home.queue / "waiting/.tmp").iterdir())
    assert (home.queue / "waiting" / home.waiting()[0]).read_bytes().startswith(JOB)


def test_both_queues_at_one_directory(tmp_path: Path) -> None:
    """In sh and in Python, at the same time, each with all documents: each document is accepted once, and KEYs differ."""
    home = Home(tmp_path)
    stream = b"".join(JOBS)
    processes = [
        subprocess.Popen([queue, "--to", "@lab"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=home.env)
        for queue in (QUEUE, CHECKOUT / "bin/cit-queue", QUEUE)
    ]
    tickets = b"".join(process.communicate(stream)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (tickets.count(b'"accepted"'), tickets.count(b'"duplicate"')) == (3, 6)
    assert len({name[:21] for name in home.waiting()}) == 3


def test_what_it_does_not_know_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for words, status, said in [(["--door=ls"], 2, "no option"), (["--to"], 2, "needs a queue"), (["--to", "@nowhere"], 66, "no queue")]:
        done = subprocess.run([QUEUE, *words], input="", capture_output=True, text=True, env=home.env)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    speaks = subprocess.run([QUEUE, "--speaks"], capture_output=True, text=True).stdout.splitlines()
    assert speaks == sorted(speaks) and "reads\tjob\t1" in speaks
    assert "Usage: cit-queue" in subprocess.run([QUEUE, "--help"], capture_output=True, text=True).stdout


def test_settings_that_others_can_write_are_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.queue / "allowed_signers").chmod(0o666)
    status, tickets, said = home.run(JOB)
    assert (status, tickets) == (78, b"") and b"others can write it" in said


# --- in its place ---------------------------------------------------------------------------------------------------


def example(name: str) -> str:
    """A program that stands on the page."""
    found = re.search(rf"(?ms)^```sh name={name}\n(.*?)^```$", HOWTO.read_text())
    assert found
    return found[1]


def ended(home: Path, seconds: float = 20) -> list[Path]:
    """What lies in done/, once something does."""
    for _ in range(int(seconds * 20)):
        done = sorted((home / ".cit/queues/main/done").glob("*/*.cit"))
        if done:
            return done
        time.sleep(0.05)
    return []


def shell(home: Path, script: str, *folders: Path) -> str:
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    done = subprocess.run(["sh", "-ec", script], env={"HOME": str(home), "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_job_through_the_queue_in_shell(tmp_path: Path) -> None:
    tickets = shell(tmp_path, "cit-trigger --name hello -- echo hi | cit-queue --to @main", QUEUE.parent)
    assert 'state = "accepted"' in tickets
    (done,) = ended(tmp_path)
    assert 'state = "COMPLETED"' in done.read_text()


def test_queue_and_scheduler_in_shell(tmp_path: Path) -> None:
    """No Python looks at the job between trigger and delivery, but to move what the scheduler appended to."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "schedule").write_text(example("schedule"))
    (tools / "schedule").chmod(0o755)
    shell(tmp_path, "cd ~; cit-trigger --name hello -- echo hi > hello.cit", QUEUE.parent)
    settings = tmp_path / ".cit/queues/main/queue.toml"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith("on-arrival")]
    schedule = f"CIT_SH='{CHECKOUT}/cit_format/sh/cit.sh' cit-format through --from waiting --to assigned -- schedule ."
    lines.append(f'on-arrival = "{schedule} && cit-deliver -q --from assigned --to sent"')
    settings.write_text("\n".join(lines) + "\n")
    shell(tmp_path, "cit-queue --to @main < ~/hello.cit", tools, QUEUE.parent)
    (done,) = ended(tmp_path)
    text = done.read_text()
    assert "slot 1 of" in text and 'state = "COMPLETED"' in text


def test_the_scheduler_on_the_page_leaves_alone_what_it_does_not_understand(tmp_path: Path) -> None:
    (tmp_path / "schedule").write_text(example("schedule"))
    jobs = shell(tmp_path, "cit-trigger --name big --mem 4G -- true; cit-trigger --name small -- true")
    queue = tmp_path / ".cit/queues/main"
    builder = next((queue / "builders").glob("*.cit")).read_text()
    env = {"PATH": os.environ["PATH"], "CIT_SH": str(CHECKOUT / "cit_format/sh/cit.sh")}
    done = subprocess.run(["sh", tmp_path / "schedule", queue], input=builder + jobs, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert re.findall("(?m)^@cit 1 [^ ]* (.*)$", done.stdout) == ["small"]
