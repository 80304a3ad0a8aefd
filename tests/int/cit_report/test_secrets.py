"""What is shown of a running job's log has no secret in it, here and through the door."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CANARY = f"canary-{os.urandom(6).hex()}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a job in it that has printed its secret, and runs until the file `stop` is there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(f"{CANARY}\n")
    (tmp_path / "token").chmod(0o600)
    script = 'printf "it is %s" "$(cut -c 1-9 "$CIT_SECRETS/TOKEN")"; sleep 0.2; cut -c 10- "$CIT_SECRETS/TOKEN"'
    script += f"; until [ -e {tmp_path}/stop ]; do sleep 0.05; done"
    run("cit", "push", "-J", "job", "--no-source", "--secret", f"TOKEN=@{tmp_path}/token", "--", "sh", "-c", script)
    until(lambda: any(CANARY in log.read_text() for log in (tmp_path / ".cit/work").glob("*.log")))
    yield tmp_path
    (tmp_path / "stop").touch()


def run(*command: str, status: int = 0) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    assert ended.returncode == status, ended.stderr
    return ended.stdout


def until(true: object) -> None:
    end = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_log_of_a_running_job(home: Path) -> None:
    """`cit log`, `cit log -f` from before the end on, the door's `log` from any byte on; afterwards the log itself is hidden."""
    assert run("cit", "log", "job") == "it is ***\n"
    assert f"it is {'*' * len(CANARY)}" in run("cit", "why", "job")
    [log] = (home / ".cit/work").glob("*.log")
    for offset in (0, 3, 8, 14):
        answer = run("cit-queue", "--door", f"log {log.name[: -len('.log')]} {offset}")
        assert answer == f"it is {'*' * len(CANARY)}\n"[offset:]
    followed = subprocess.Popen(["cit", "log", "-f", "job"], stdout=subprocess.PIPE)
    (home / "stop").touch()
    shown, _ = followed.communicate(timeout=30)
    assert shown in (b"it is ***\n", f"it is {'*' * len(CANARY)}\n".encode())
    run("cit", "wait", "job")
    assert log.read_text() == f"it is {'*' * len(CANARY)}\n"
    for view in (["log", "job"], ["show", "job"], ["why", "job"], ["show", "--raw", "job"], ["trace", "job"]):
        assert CANARY not in run("cit", *view)
