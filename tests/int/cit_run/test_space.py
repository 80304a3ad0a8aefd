"""cit clean: which workspaces go, which never do, and what goes by its age (docs/howto/workspaces.md, docs/directories.md)."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from cit_run import cleaning, space
from cit_run.cit_format import aging, body, clock
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CitError
from cit_run.space import Left, Wish
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, until

# What is there (name, slot, ended, size), what is wished, what of the disk is free -> the slots that go, in order
LEFTS = [("a", 0, 5, 10), ("a", 1, 3, 10), ("b", 0, 9, 30), ("b", 1, 4, 10)]
CHOICES = {
    "nothing is wished": (Wish(), 0, []),
    "age": (Wish(before=5), 0, ["a/1", "b/1"]),
    "a number of each": (Wish(most=1), 0, ["a/1", "b/1"]),
    "none of each": (Wish(most=0), 0, ["a/1", "b/1", "a/0", "b/0"]),
    "size": (Wish(size=45), 0, ["a/1", "b/1"]),
    "size, all": (Wish(size=0), 0, ["a/1", "b/1", "a/0", "b/0"]),
    "enough is free": (Wish(keep_free=100), 100, []),
    "too little is free": (Wish(keep_free=100), 85, ["a/1", "b/1"]),
    "down to": (Wish(keep_free=100, down_to=115), 85, ["a/1", "b/1", "a/0"]),
    "down to, but enough is free": (Wish(keep_free=80, down_to=115), 85, []),
    "a job": (Wish(named=frozenset(["j-b0"])), 0, ["b/0"]),
    "several": (Wish(before=4, most=1), 0, ["a/1", "b/1"]),
}


@pytest.mark.parametrize("what", CHOICES)
def test_choice(what: str) -> None:
    wish, free, wanted = CHOICES[what]
    found = [Left(f"j-{name}{number}", f"/w/{name}", number, ended, size) for name, number, ended, size in LEFTS]
    assert [left.path.removeprefix("work/") for left in space.chosen(found, wish, free)] == wanted


def clean(*options: str, status: int = 0) -> list[list[str]]:
    done = subprocess.run([CHECKOUT / "bin" / "cit-run", "clean", *options], capture_output=True, timeout=60)
    assert done.returncode == status, done.stderr
    return body.rows(done.stdout)


def place(bench: Bench, job: Document) -> Path:
    return bench.account / "work" / f"{job.id}.a1-{job.name}"


def test_never_a_running_or_a_held_one(bench: Bench, tmp_path: Path) -> None:
    """All that ended goes, whatever else is there; -n only says so; a held one goes where it is named."""
    good = bench.send("#!/bin/sh\ndd if=/dev/zero of=file bs=100k count=1 2>&1\n", name="good", workspace="incremental")
    held = bench.send("#!/bin/sh\ntouch file; exit 1\n", name="held", hold_on_failure="1h")
    failed = bench.send("#!/bin/sh\nmkdir deep; chmod 0 deep; touch file; exit 1\n", name="failed")
    empty = bench.send("#!/bin/sh\n", name="empty")
    bench.run()
    running = bench.send(f"#!/bin/sh\ntouch file; until [ -e {tmp_path}/stop ]; do sleep 0.05; done; cat file\n", name="running")
    started = bench.start()
    until(lambda: bench.runs(running))
    said = clean("-n", "--count", "0")
    assert sorted(row[0] for row in said) == ["work/failed/0", "work/good/0"] and all((place(bench, job) / "file").exists() for job in (good, failed))
    assert next(int(row[1]) for row in said if row[0] == "work/good/0") >= 100 << 10
    assert clean("--count", "0") == said and clean("--count", "0") == []
    assert not place(bench, good).exists() and not place(bench, failed).exists() and bench.log(good) and place(bench, empty).exists()
    assert (place(bench, held) / "file").exists() and (place(bench, running) / "file").exists()
    assert not (bench.record(good) / "left").exists(), "nobody builds upon what is gone"
    assert clean("-n", f"{held.id}.a1-held")[0][0] == "work/held/0" and (place(bench, held) / "file").exists()
    assert clean(f"{held.id}.a1-held", f"{running.id}.a1-running")[0][0] == "work/held/0"
    assert not place(bench, held).exists() and (place(bench, running) / "file").exists()
    (tmp_path / "stop").touch()
    assert started.wait(60) == 0 and bench.result(running)["state"] == "COMPLETED"
    again = bench.send("#!/bin/sh\nls -A; pwd\n", name="held")
    bench.run()
    assert bench.log(again) == f".cit\n{bench.account.path}/work/held/0\n"


def test_logs_and_records(bench: Bench) -> None:
    """They go when they are old, the job has gone home, and its workspace is another's."""
    first = bench.send("#!/bin/sh\necho one\n")
    bench.run("--slots", "1")
    second = bench.send("#!/bin/sh\necho two\n")
    bench.run("--slots", "1")
    assert clean("--logs", "0s") == [], "their results have not gone home"
    for name in os.listdir(bench.account / "finished"):
        if name.endswith(".cit"):
            (bench.account / "finished" / name).unlink()
    assert [row[0] for row in clean("-n", "--logs", "0s")] == [f"work/{first.id}.a1-job.log"] and bench.log(first) == "one\n"
    assert len(clean("--logs", "0s")) == 1 and clean("--logs", "1h") == []
    assert not bench.record(first).exists() and bench.log(second) == "two\n" and bench.record(second).exists()


def test_settings(bench: Bench) -> None:
    now = clock.now()
    assert cleaning.by_settings({}, now) == Wish(before=now - 30 * clock.DAY, logs_before=now - 365 * clock.DAY)
    said = {"keep-age": "never", "keep-count": 2, "keep-size": "1G", "keep-free": "2G", "keep-free-to": "3G", "keep-logs": "never"}
    assert cleaning.by_settings(said, now) == Wish(0, 2, 1 << 30, 2 << 30, 3 << 30)
    with pytest.raises(CitError):
        cleaning.by_settings({"keep-age": "often"}, now)
    bench.set(on_end="", keep_count=0)
    bench.send("#!/bin/sh\ntouch file\n")
    bench.run()
    assert [row[0] for row in clean("--settings")] == ["work/job/0"]
    assert clean(status=2) == []


def test_aging(tmp_path: Path) -> None:
    """Marks in seen go by their own age, whatever day they stand under; what is younger stays; done/ is not looked at."""
    now = clock.now()
    for path, days in {"seen/2020-01-01/young": 60, "seen/2020-01-01/old": 62, "seen/2026-11-01/old": 62, "refused/old.cit": 91}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink("KEY~SHA256", tmp_path / path)
        os.utime(tmp_path / path, (time.time() - days * 86400,) * 2, follow_symlinks=False)
    (tmp_path / "refused" / "young.cit").touch()
    gone = ["seen/2020-01-01/old", "seen/2026-11-01/old", "refused/old.cit"]
    assert [each[0] for each in aging.aged(tmp_path, {}, now, dry=True)] == gone
    assert [each[0] for each in aging.aged(tmp_path, {"keep-refused": "never"}, now)] == gone[:2]
    assert [each[0] for each in aging.aged(tmp_path, {}, now)] == gone[2:]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["2020-01-01", "refused", "seen", "young", "young.cit"]
