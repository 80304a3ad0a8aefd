"""A person changes a failed workspace by hand and has the job run on in it (docs/howto/restart-and-publish.md). Real git, real jobs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from cit_format.document import Document
from cit_format.reader import parse
from tests.int.cit_report.lived import Lived

MAKE = "all: out other\nout: in.txt\n\tgrep good in.txt >out\nother:\n\techo other built >>built; touch other\n"


class Home(Lived):
    """A home with a git tree in it, and a job of it that failed."""

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@sun")
        return subprocess.run(["git", *who, *words], cwd=self.directory / "tree", check=True, capture_output=True, text=True).stdout

    def pushed(self, *options: str) -> str:
        """The ID of a job that builds the tree."""
        self.completed("sh", "-c", 'cd tree && exec cit-push -q --wait --name tree "$@" -- make -s', "sh", *options)
        return self.run("cit-show", "--id", "last").strip()

    def workspace(self, job: str) -> Path:
        [link] = (self.path / "work").glob(f"{job}.a1-tree")
        return link.resolve()

    def document(self, job: str) -> Document:
        return parse(self.run("cit-show", "--raw", job).encode())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    tree = home.directory / "tree"
    tree.mkdir(parents=True)
    home.run("cit-init")
    (tree / "Makefile").write_text(MAKE)
    (tree / "in.txt").write_text("bad\n")
    (tree / ".gitignore").write_text("out\nother\nbuilt\n")
    home.git("init", "-q", "-b", "main")
    home.git("add", "-A")
    home.git("commit", "-q", "-m", "as it began")
    return home


def rows(document: Document) -> dict[str, str]:
    section = document.find("environment")
    assert section is not None
    return {row[0]: row[1] for row in section.rows()}


def test_a_changed_workspace_runs_on(home: Home) -> None:
    """The new job runs in the same directory, upon what was built; the change is signed, and shown first everywhere."""
    job = home.pushed("--hold-on-failure", "1h", "--export", "MODE=debug", "--keep", "out")
    place = home.workspace(job)
    assert (home.document(job).table("result")["state"], (place / "out").exists()) == ("FAILED", True)
    (place / "other").touch()  # of the build, not of git: no change
    (place / "out").unlink()
    (place / "in.txt").write_text("good\n")
    (place / "notes").write_text("new by hand\n")
    shown = home.run("cit-restart", "-n", job)
    assert "-bad\n+good\n" in shown and "+new by hand\n" in shown and "@begin" not in shown
    assert home.completed("cit-restart", "--wait", job).returncode == 0
    new = home.run("cit-show", "--id", "last").strip()
    document, old = home.document(new), home.document(job)
    said = document.table("job")
    assert (said["parent"], said["restart"], said["builder"]) == (job, f"{job}.a1", old.table("assignment")["builder"])
    assert new != job and document.table("result")["state"] == "COMPLETED" and home.workspace(new) == place
    change = document.find("change")
    assert change is not None and change.attributes["files"] == "2" and change.attributes["lines"] == "3"
    for kind in ("script", "source", "env", "keep"):
        mine, theirs = document.find(kind), old.find(kind)
        assert mine is not None and theirs is not None and mine.body() == theirs.body()
    assert rows(document)["workspace"] == "restart" and rows(document)["workspace why"].startswith(f"in that of {job}.a1-tree, changed by hand")
    assert (place / "built").exists() is False and (place / "out").read_text() == "good\n"
    first = f"changed 2 files, 3 lines upon {change.attributes['base'][:10]}"
    assert " ".join(home.run("cit-show", "--table", new).splitlines()[0].split()) == first
    assert home.run("cit-why", new).startswith("changed: 2 files, 3 lines upon ")
    assert " tree* " in home.run("cit-ls", "--table") and "tree*" in home.run("cit-report", "--table", new)
    assert home.completed("cit-trace", new).returncode == 0


def test_a_restart_of_a_restart_has_all_changes(home: Home) -> None:
    job = home.pushed()
    (home.workspace(job) / "in.txt").write_text("still bad\n")
    assert home.completed("cit-restart", "--wait", job).returncode == 2
    second = home.run("cit-show", "--id", "last").strip()
    place = home.workspace(second)
    (place / "in.txt").write_text("good\n")
    (place / "Makefile").write_text(MAKE + "# by hand\n")
    assert home.completed("cit-restart", "--wait", "last").returncode == 0
    change = home.document("last").find("change")
    assert change is not None and change.attributes["files"] == "2" and b"still bad" not in change.body()
    assert home.document("last").table("job")["restart"] == f"{second}.a1"


def test_what_was_changed_since_is_not_run(home: Home) -> None:
    """The signed change is what is run: a workspace that is another by then ends the job before it begins."""
    job = home.pushed()
    place = home.workspace(job)
    (place / "in.txt").write_text("good\n")
    home.run("cit-pause", "@main")
    home.run("cit-restart", job)
    (place / "in.txt").write_text("good, and more\n")
    home.run("cit-resume", "@main")
    assert home.completed("cit-wait", "last").returncode == 125
    result = home.document("last").table("result")
    assert "the workspace is not as it was when the restart was asked for" in str(result["why"])
    assert (place / "in.txt").read_text() == "good, and more\n", "it is the author's still"
    assert home.completed("cit-restart", "--wait", "last").returncode == 0


def test_a_workspace_that_another_build_has(home: Home) -> None:
    (home.path / "config.toml").write_text("slots = 1\n")
    job = home.pushed()
    (home.directory / "tree" / "in.txt").write_text("good\n")
    home.git("commit", "-q", "-a", "-m", "good")
    home.pushed()
    said = home.completed("cit-restart", job)
    assert said.returncode == 66 and b"is gone" in said.stderr


def test_a_small_change_is_first_in_line(home: Home) -> None:
    """Where the queue says so: first in waiting, and first in the builder's inbox."""
    (home.path / "config.toml").write_text("slots = 1\n")
    queue = home.queue / "queue.toml"
    queue.write_text(queue.read_text() + 'small-change = "20 lines"\n')
    job = home.pushed()
    (home.workspace(job) / "in.txt").write_text("good\n")
    home.run("cit-pause", "@main")
    for name in ("one", "two"):
        home.push(name, "#!/bin/sh\n", "--priority", "10")
    home.run("cit-restart", job)
    waiting = sorted(name for name in os.listdir(home.queue / "waiting") if name.endswith(".cit"))
    assert [name.partition("-tree.cit")[1] != "" for name in waiting] == [True, False, False] and waiting[0].startswith("0001-")
    home.run("cit-resume", "@main")
    assert home.completed("cit-wait", "last").returncode == 0
    assert home.document("last").table("assignment")["priority"] == 999


def test_no_restart_of_what_runs(home: Home) -> None:
    job = home.push("runs", "#!/bin/sh\nsleep 60\n", "--export", "A=b")
    until = time.monotonic() + 60
    while home.run("cit-show", "--tsv", job).count("\nstate\tRUNNING\n") == 0:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert home.completed("cit-restart", job).returncode == 75
    home.run("cit-cancel", job)
