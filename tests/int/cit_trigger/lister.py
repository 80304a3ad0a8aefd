"""A trigger list of a person, its passes, and what the jobs of it run."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cit_format import body, clock
from cit_format.document import Document
from cit_trigger import lists
from tests.int.cit_trigger.desk import Desk, documents

OUT = "output cat state => -J out -- true\n"


class List:
    """A trigger list of a person, looked at in this process unless `apart`."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self.desk, self.monkeypatch, self.capture = desk, monkeypatch, capture
        self.file = desk.here / "night.triggers"
        self.said = ""
        for name, value in desk.environment.items():
            monkeypatch.setenv(name, value)

    def write(self, text: str) -> List:
        self.file.write_text(text)
        return self

    def fire(self, status: int = 0, dry: bool = False, **more: str) -> list[Document]:
        """A pass whose jobs go nowhere."""
        self.capture.readouterr()
        with self.monkeypatch.context() as for_now:
            for name, value in more.items():
                for_now.setenv(name, value)
            assert lists.fired(self.file, None, None, dry) == status, self.capture.readouterr().err
        out, err = self.capture.readouterr()
        self.said = err.decode() + (out.decode() if dry else "")
        return [] if dry else documents(out)

    def queued(self, status: int = 0, **more: str) -> list[Document]:
        """A pass whose jobs the queue has seen afterwards."""
        jobs = self.fire(status, **more)
        for job in jobs:
            self.seen(job)
        return jobs

    def seen(self, job: Document) -> None:
        place = self.desk.home / ".cit/queues/main/seen" / clock.id_day(job.id)
        place.mkdir(exist_ok=True)
        (place / job.id).symlink_to("x")

    def apart(self, *options: str, status: int = 0) -> subprocess.CompletedProcess[bytes]:
        """A pass as it is started by people and cron."""
        return self.desk.run("cit-trigger", "--list", str(self.file), *options, status=status)

    @property
    def rows(self) -> list[list[str]]:
        """What is remembered."""
        lines = (self.file.parent / f"{self.file.name}.fired").read_bytes().splitlines(True)
        return body.rows(b"".join(line for line in lines if not line.startswith(b"#")))

    @property
    def unsent(self) -> list[Path]:
        return sorted((self.file.parent / f"{self.file.name}.unsent").glob("*.cit"))


def script(job: Document) -> str:
    found = job.find("script")
    assert found is not None
    return found.body().decode()


def words(job: Document) -> list[str]:
    """The words that a job's script becomes, as sh reads them."""
    show = "import sys; print(repr(sys.argv[1:]))"
    program = script(job).replace("exec ", f"exec {shlex.quote(sys.executable)} -c {shlex.quote(show)} ", 1)
    ended = subprocess.run(["sh", "-c", program], capture_output=True)
    found = ast.literal_eval(ended.stdout.decode())
    assert isinstance(found, list)
    return found


def settled(path: Path, text: str) -> None:
    """A file that was written a while ago."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - 60 - len(text), time.time() - 60 - len(text)))


def changed(listed: List, text: str) -> None:
    """What `OUT` looks at says something else."""
    (listed.desk.here / "state").write_text(f"{text}\n")
