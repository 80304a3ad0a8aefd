"""Passes over a trigger list: no change is lost or fires twice, whatever is killed, whoever else is at work (docs/howto/trigger-lists.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_format import reader
from cit_trigger import lists
from tests.int.cit_format.kills import every_kill
from tests.int.cit_trigger.desk import BIN, Desk, documents
from tests.int.cit_trigger.lister import OUT, List, changed


@pytest.fixture
def listed(desk: Desk, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> List:
    return List(desk, monkeypatch, capfdbinary)


def test_what_no_queue_has_is_written_again_byte_for_byte(desk: Desk, listed: List) -> None:
    """cit-queue died, the pipe broke, the disk was full: until the queue or the outbox have it."""
    listed.write(OUT)
    changed(listed, "1")
    assert listed.fire() == []
    changed(listed, "2")
    (job,) = listed.fire()
    (again,) = listed.fire()
    assert again.raw == job.raw and len(listed.unsent) == 1
    changed(listed, "3")
    first, second = listed.fire()
    assert first.raw == job.raw and second.id != job.id
    desk.run("cit-queue", "--to", "@main", stdin=first.raw)
    (left,) = listed.fire()
    assert left.raw == second.raw and len(listed.unsent) == 1
    (desk.home / ".cit/outbox").mkdir(exist_ok=True)
    (desk.home / ".cit/outbox" / f"1000-0000000000000001.{second.id}-out.cit").write_bytes(second.raw)
    assert listed.fire() == [] and listed.unsent == []


def test_what_was_refused_is_not_written_again(desk: Desk, listed: List) -> None:
    listed.write(OUT)
    changed(listed, "1")
    listed.fire()
    changed(listed, "2")
    (job,) = listed.fire()
    (desk.home / ".cit/queues/main/allowed_signers").write_text("")
    desk.run("cit-queue", "--to", "@main", stdin=job.raw, status=77)
    assert listed.fire() == [] and listed.unsent == []


def test_what_expires_is_given_up_with_a_word(listed: List) -> None:
    listed.write("time * * * * * => -J soon --expires 1h -- true\n")
    assert listed.fire(CIT_NOW="2026-11-23T20:26:11Z") == []
    (job,) = listed.fire(CIT_NOW="2026-11-23T20:27:00Z")
    jobs = listed.fire(CIT_NOW="2026-11-23T21:27:01Z")
    assert job.id not in [each.id for each in jobs] and "no queue took it before it expired" in listed.said


def test_killed_anywhere_each_change_is_one_job(desk: Desk, listed: List, tmp_path: Path) -> None:
    """kill -9 before every change of the disk: after the next pass the jobs that came out, by their bytes, are one for each change."""
    text = "output cat one => -J one -- true\noutput cat two => -J two -- true\n"
    out = tmp_path / "out"

    def prepare(number: int) -> Callable[[], object]:
        listed.file = desk.here / str(number) / "night.triggers"
        listed.file.parent.mkdir()
        listed.write(text)
        for state in ("1\n", "2\n"):
            if state == "2\n":
                assert listed.fire() == []
            for name in ("one", "two"):
                (listed.file.parent / name).write_text(state)
        out.unlink(missing_ok=True)

        def act() -> None:
            fd = os.open(out, os.O_WRONLY | os.O_CREAT)
            os.dup2(fd, 1)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            lists.fired(listed.file, None, None, dry=False)

        return act

    for number in every_kill(prepare):
        came = documents(out.read_bytes()) if out.exists() else []
        after = listed.fire()
        jobs = {job.raw for job in [*came, *after]}
        assert sorted(reader.parse(raw).name for raw in jobs) == ["one", "two"], f"killed before change {number}"
        assert {job.name for job in after} == {"one", "two"} and len(listed.unsent) == 2


def test_two_passes_at_once(desk: Desk, listed: List) -> None:
    """The second one ends at once and says nothing; another list is not kept waiting."""
    listed.write("output sh -c 'touch begun; while [ ! -e go ]; do sleep 0.05; done' => -J slow -- true\n")
    running = subprocess.Popen([BIN / "cit-trigger", "--list", listed.file], env=desk.environment, cwd=desk.here, stdout=subprocess.PIPE)
    while not (desk.here / "begun").exists():
        assert running.poll() is None
    said = listed.apart()
    assert (said.stdout, said.stderr, running.poll()) == (b"", b"", None)
    listed.file = desk.here / "other.triggers"
    assert listed.write("every 1m => -- true\n").fire() == [] and len(listed.rows) == 1 and running.poll() is None
    (desk.here / "go").touch()
    assert running.communicate(timeout=60) == (b"", None) and running.returncode == 0


def test_as_cron_starts_it(desk: Desk, listed: List) -> None:
    """An empty environment, a full path, from elsewhere; the jobs go straight into the queue, each once."""
    listed.write("repo ../zlib.git => -J zlib -- true\n")
    desk.tree(remote="zlib.git")
    line = f"{BIN}/cit-trigger --list {listed.file} | {BIN}/cit-queue --to @"
    environment = {"HOME": str(desk.home), "CIT_USER": "ada", "CIT_HOST": "sun"}
    for count in (1, 0):
        done = subprocess.run(["/bin/sh", "-c", line], env=environment, cwd="/", capture_output=True)
        assert done.stdout.count(b"accepted") == count and b"error" not in done.stderr, done
    assert listed.unsent == []


def test_a_tick_looks_at_the_lists_of_the_home(desk: Desk, listed: List) -> None:
    """Those whose names end in .triggers; what is wrong in one is told, once, and the other one fires."""
    place = desk.home / ".cit" / "triggers"
    place.mkdir()
    desk.tree(remote="zlib.git")
    for name, text in (("a.triggers", "nonsense\n"), ("b.triggers", "repo ../../zlib.git => -J zlib -- true\n"), ("c.off", "x\n")):
        (place / name).write_text(text)
    for told in (1, 0):
        said = desk.run("cit-tick").stderr.decode()
        assert said.count("a.triggers: line 1: error: no => in it") == said.count("error") == told, said
        waiting = [path for state in ("waiting", "assigned", "sent") for path in (desk.home / ".cit/queues/main" / state).glob("*-zlib.cit")]
        assert len(waiting) == 1
    desk.run("cit-fsck")


def test_n_says_what_would_fire_and_changes_nothing(listed: List) -> None:
    changed(listed, "1")
    listed.write(OUT).fire()
    changed(listed, "2")
    before = listed.rows
    for _ in range(2):
        listed.fire(dry=True)
        said = listed.said.split("\t")
        assert said[:2] == ["1", "output cat state"] and "->" in said[2] and said[3] == "-J out -- true\n"
    assert listed.rows == before and listed.unsent == []
    assert len(listed.fire()) == 1


def test_options_that_do_not_go_with_it(desk: Desk, listed: List) -> None:
    listed.write("")
    for more in (["--name", "x"], ["--repo=x"], ["--", "true"]):
        desk.refused("--list", str(listed.file), *more, status=2)
    desk.refused("--list", str(desk.here / "none"), status=66)
    listed.file.chmod(0o664)
    desk.refused("--list", str(listed.file), status=78)
