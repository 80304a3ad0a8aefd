"""Cleaning as people, jobs and cron start it (docs/howto/workspaces.md, docs/directories.md)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.int.cit_report.lived import Lived


@pytest.fixture
def home(tmp_path: Path) -> Lived:
    home = Lived(tmp_path / "home")
    home.directory.mkdir()
    home.run("cit-init")
    for name, options in (("held", ["--hold-on-failure", "1h"]), ("old", [])):
        home.completed("cit-wait", home.push(name, "#!/bin/sh\ntouch file; exit 3\n", *options))
    return home


def workspaces(home: Lived) -> set[str]:
    """The names of jobs whose workspaces have something in them."""
    return {path.parent.parent.name for path in home.path.glob("work/*/*/file")}


def test_by_name_and_by_a_job(home: Lived) -> None:
    """A held one goes where it is named; a job cleans for its account, never where it runs itself."""
    assert workspaces(home) == {"held", "old"}
    said = home.run("cit-clean", "-n", "--older", "0s", "held").splitlines()
    assert [line.split("\t")[0] for line in said] == ["work/held/0", "work/old/0"] and workspaces(home) == {"held", "old"}
    script = "#!/bin/sh\ntouch file; cit clean --count 0; ls\n"
    job = home.push("cleaner", script)
    assert home.completed("cit-wait", job).returncode == 0
    log = home.run("cit-log", job).splitlines()
    assert [line.split("\t")[0] for line in log] == ["work/old/0", "file"] and workspaces(home) == {"held", "cleaner"}
    assert home.run("cit-clean", "held").startswith("work/held/0\t")
    assert workspaces(home) == {"cleaner"} and home.completed("cit-shell", "held", "--", "true").returncode == 66
    assert home.run("cit-log", "held") == ""
    assert home.completed("cit-fsck", "-n").returncode == 0


def test_by_cron(home: Lived) -> None:
    """Each hour, silently: workspaces as config.toml says; marks and refused documents by their age; never what has ended."""
    done = sorted(path.name for path in home.queue.glob("done/*/*.cit"))
    marks = [*home.queue.glob("seen/*/*"), *home.path.glob("seen/*/*")]
    assert len(marks) == 4 and len(done) == 2
    for mark in marks:
        os.utime(mark, (time.time() - 62 * 86400,) * 2, follow_symlinks=False)
    home.run("cit-config", "keep-count", "0")
    assert home.run("cit-tick") == "" and workspaces(home) == {"held"}
    assert not [mark for mark in marks if os.path.lexists(mark)]
    assert sorted(path.name for path in home.queue.glob("done/*/*.cit")) == done
    home.completed("cit-wait", home.push("more", "#!/bin/sh\ntouch file\n"))
    assert home.run("cit-tick") == "" and workspaces(home) == {"held", "more"}, "an hour has not passed"
    os.utime(home.path / ".cleaned", (time.time() - 3700,) * 2)
    assert home.run("cit-tick") == "" and workspaces(home) == {"held"}
    assert b"not in seen" in home.completed("cit-fsck", "-n").stdout, "that has not expired: only a clock can make it so"
    assert home.completed("cit-fsck", "-n", CIT_NOW="2096-01-01T00:00:00Z").stdout.count(b"not in seen") == 0
