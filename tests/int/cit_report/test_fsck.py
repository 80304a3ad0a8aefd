"""fsck finds what docs/directories.md has no place for, mends what has one answer, and makes the log anew."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from cit_format import document
from cit_format.reader import parse
from tests.int.cit_report.lived import Lived


def findings(lived: Lived) -> dict[str, str]:
    """By file name, what is wrong."""
    rows = lived.rows("cit-fsck", "-n", status=None)
    return {os.path.basename(row["path"]): row["what"] for row in rows}


def held(lived: Lived) -> Path:
    return next((lived.queue / "held").glob("*.cit"))


def test_a_home_with_a_history_is_in_order(history: Lived) -> None:
    assert history.run("cit-fsck", "-n") == "path\twhat\tmend\n"


def test_strangers_and_faulty_documents(copied: Lived) -> None:
    (copied.queue / "waiting" / "notes.txt").write_text("x")
    (copied.queue / "thing").mkdir()
    (copied.path / "thing").mkdir()
    name = held(copied).name.replace("kept", "torn")
    (copied.queue / "held" / name).write_bytes(held(copied).read_bytes()[:-20])
    found = findings(copied)
    assert found.pop("thing") == "nothing of cit has this name here"
    assert found.pop("notes.txt") == "no document's name"
    assert found.pop(name).startswith("does not parse: ")
    assert not found
    assert copied.completed("cit-fsck", "-n").returncode == 1


@pytest.mark.parametrize(
    ("move", "what"),
    [
        (lambda path, queue: path.rename(path.with_name(path.name.replace("kept", "other"))), "-kept inside"),
        (lambda path, queue: path.rename(queue / "sent" / path.name), "assigned to nobody"),
        (lambda path, queue: path.rename(path.with_name(path.name.partition(".")[2])), "no place in the order"),
        (lambda path, queue: next(queue.glob("seen/*")).joinpath(path.name[22:48]).unlink(), "not in seen"),
    ],
)
def test_documents_in_the_wrong_place(copied: Lived, move: object, what: str) -> None:
    move(held(copied), copied.queue)  # type: ignore[operator]
    [found] = findings(copied).values()
    assert what in found


def test_ended_jobs_lie_in_the_day_of_their_id(copied: Lived) -> None:
    done = next((copied.queue / "done").glob("[0-9]*"))
    done.rename(done.with_name("2001-01-01"))
    found = findings(copied)
    assert len(found) == 5 and all("the day in its ID" in what for what in found.values())


def test_what_a_killed_process_held_goes_back(copied: Lived) -> None:
    claim = copied.queue / "held" / ".claim" / "sun~99999~1"
    claim.mkdir(parents=True)
    (claim / "lock").touch()
    job = held(copied)
    job.rename(claim / job.name)
    stale = copied.queue / "waiting" / ".tmp" / "01kax0m2ht8f0v3q6s9y2c4e7g"
    stale.write_text("torn")
    os.utime(stale, (time.time() - 37 * 3600,) * 2)
    assert set(findings(copied)) == {claim.name, stale.name}
    assert "kept" in copied.run("cit-ls", "-s", "HELD"), "a claimed job is seen where it was"
    assert copied.run("cit-fsck") == "path\twhat\tmend\n"
    assert job.exists() and not claim.exists() and not stale.exists()


def test_a_prefix_gives_way_and_forks_stay(copied: Lived) -> None:
    done = Path(copied.run("cit-show", "--path", "good").strip())
    job = parse(done.read_bytes())
    before_run = job.raw[: next(section for section in job.sections if section.kind == "event" and section.number > 6).start]
    copy = copied.queue / "sent" / f"1000-1795465572031000.{done.name}"
    copy.write_bytes(before_run)
    assert findings(copied) == {copy.name: "a shorter copy of what is in done"}
    assert copied.completed("cit-fsck").stderr.endswith(f"removed {copy}\n".encode()) and not copy.exists()
    copy.write_bytes(before_run + document.section("note", "text", b"another way\n"))
    assert "they fork" in findings(copied)[copy.name]
    copied.run("cit-fsck", status=1)
    assert copy.exists() and done.exists()


def test_the_log_can_be_made_anew(copied: Lived) -> None:
    copied.run("cit-pause", "-m", "a new\tdisk", "@main")
    before = copied.rows("cit-ls", "--all")
    for log in copied.queue.glob("log/*.tsv"):
        log.write_text("".join(line for line in log.read_text().splitlines(True) if line.startswith("-\t")))
    for log in copied.path.glob("log/*.tsv"):
        log.unlink()
    copied.run("cit-fsck", "--rebuild-log")
    keys = ("id", "name", "state", "queue", "builder", "submitter", "path")
    after = copied.rows("cit-ls", "--all")
    assert sorted([row[key] for key in keys] for row in after) == sorted([row[key] for key in keys] for row in before)
    text = "".join(log.read_text() for log in copied.queue.glob("log/*.tsv"))
    assert text.count("\tpaused\t") == 1 and text.count("\taccepted\t") == 7
    assert {row["name"] for row in copied.rows("cit-ls")} == {row["name"] for row in before}, "what ended lately is told by the log"


def test_nothing_is_changed_where_a_look_is_wanted(copied: Lived, tmp_path: Path) -> None:
    (copied.queue / "waiting" / "notes.txt").write_text("x")
    shutil.copytree(copied.queue, tmp_path / "before", symlinks=True)
    copied.run("cit-fsck", "-n", status=1)
    same = os.popen(f"diff -r --no-dereference {tmp_path}/before {copied.queue}").read()
    assert same == ""
