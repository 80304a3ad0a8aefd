"""What a trigger list looks at: each change fires one job, once; broken, slow and nasty lines (docs/howto/trigger-lists.md)."""

from __future__ import annotations

import os
import shlex
import socket
import time

import pytest

from cit_format import body, clock, home, triggers
from cit_format.document import section
from cit_trigger import looks
from tests.int.cit_trigger.desk import NASTY, Desk
from tests.int.cit_trigger.lister import OUT, List, changed, script, settled, words


@pytest.fixture
def listed(desk: Desk, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> List:
    return List(desk, monkeypatch, capfdbinary)


# --- what is looked at ----------------------------------------------------------------------------------------------


def test_a_repository(desk: Desk, listed: List) -> None:
    """The commit there is new to a new line; then each other one, once, with its source at that commit."""
    tree = desk.tree(remote="zlib.git")
    first = desk.git("rev-parse", "HEAD", at=tree)
    listed.write("repo ../zlib.git main => -J zlib -- make {}\n")
    (job,) = listed.queued()
    assert job.name == "zlib" and script(job).endswith(f"make {first}\n") and job.table("job")["same"] == "mine"
    (source,) = [row for each in job.all("source") for row in each.rows()]
    assert source[1:4] == [str(desk.home / "zlib.git"), first, first]
    assert listed.queued() == []
    second = desk.commit(tree, **{"main.c": "int x;\n"})
    desk.git("push", "-q", at=tree)
    assert [script(job).split()[-1] for job in listed.queued()] == [second]
    desk.git("push", "-q", "-f", "origin", f"{first}:main", at=tree)
    assert [script(job).split()[-1] for job in listed.queued()] == [first], "what it was before is a change too"
    assert listed.queued() == []


def test_what_has_changed_runs_though_an_equal_job_has_run(desk: Desk, listed: List) -> None:
    """A call or another repository says nothing of the change; but the commit that was seen is the change itself."""
    desk.tree(remote="zlib.git")
    lines = ["-J own -- true", "-J call --call docs", "-J both --call docs --same no", "-J plain -- true"]
    lines.append(f"-J other --repo {desk.home}/zlib.git -- true")
    listed.write("".join(f"{'every 1h' if line[3] == 'p' else 'repo ../zlib.git'} => {line}\n" for line in lines))
    listed.queued(CIT_NOW="2026-11-23T20:00:00Z")
    (desk.here / "night.triggers.fired").unlink()
    jobs = {job.name: job.table("job") for moment in ("20:00:01", "21:00:01") for job in listed.queued(CIT_NOW=f"2026-11-23T{moment}Z")}
    assert {name: (said.get("same"), said.get("fresh")) for name, said in jobs.items()} == {
        "own": ("mine", None),
        "call": ("mine", True),
        "both": (None, None),
        "other": ("mine", True),
        "plain": (None, None),
    }


def test_files(desk: Desk, listed: List) -> None:
    """Those that lie there are known; a new one, and one with other content, each fire one job; a touch, a removal and a half-written one do not."""
    place = desk.here / "in"
    settled(place / "old.csv", "old")
    listed.write("file in/*.csv => -J import -- ./import {}\n")
    assert listed.queued() == []
    nasty = ["a b", "$(touch gone)", "-n", "two\nlines", "ä€😀", "{}"]
    for name in nasty:
        settled(place / f"{name}.csv", name)
    (place / "half.csv").write_text("half")
    assert sorted(words(job)[-1] for job in listed.queued()) == sorted(str(place / f"{name}.csv") for name in nasty)
    assert listed.queued() == []
    os.utime(place / "old.csv", (time.time() - 30, time.time() - 30))
    (place / "a b.csv").unlink()
    assert listed.queued() == []
    settled(place / "old.csv", "new")
    settled(place / "half.csv", "half")
    assert sorted(words(job)[-1] for job in listed.queued()) == [str(place / "half.csv"), str(place / "old.csv")]


def test_ends_of_jobs(desk: Desk, listed: List) -> None:
    """Of one's own jobs, in the states that are named; each end once, also when its document has been removed."""
    queue = home.Queue(desk.home / ".cit/queues/main")
    listed.write("job zlib FAILED => -J sorry -- ./mail {}\njob zlib by=anyone => -J any -- true\n")
    raw = desk.one("-J", "zlib", "--", "true").raw

    def ended(name: str, state: str, by: str = "ada@sun") -> str:
        identity = clock.new_id()
        head, _, rest = raw.replace(b'submitter = "ada@sun"', f'submitter = "{by}"'.encode()).partition(b"\n")
        place = queue / "done" / clock.id_day(identity) / f"{identity}.a1-{name}.cit"
        place.parent.mkdir(exist_ok=True)
        end = section("result", "toml", body.toml({"state": state, "exit": 3, "signal": 0, "attempt": 1}))
        place.write_bytes(f"@cit 1 {identity} {name}\n".encode() + rest + end)
        return identity

    ended("zlib", "FAILED")
    assert listed.queued() == []
    failed, good, other = ended("zlib", "FAILED"), ended("zlib", "COMPLETED"), ended("zlib", "FAILED", "ben@sun")
    ended("other-zlib", "FAILED")
    jobs = listed.queued()
    assert [(job.table("job")["parent"], words(job)[-1]) for job in jobs if job.name == "sorry"] == [(failed, failed)]
    assert sorted(str(job.table("job")["parent"]) for job in jobs if job.name == "any") == sorted([failed, good, other])
    (path,) = (queue / "done").glob(f"*/{failed}*")
    kept = path.read_bytes()
    path.unlink()
    assert listed.queued() == []
    path.write_bytes(kept)
    assert listed.queued() == []


def test_times(listed: List) -> None:
    """From the first look on; what was missed while the machine was off comes once."""
    listed.write("time 0 3 * * * => -J night -- true\nevery 1h => -J hour -- true\ntime 30 3 * * * Europe/Berlin => -J morning -- true\n")

    def at(moment: str) -> list[str]:
        return sorted(job.name for job in listed.queued(CIT_NOW=f"2026-11-{moment}Z"))

    assert at("23T20:26:11") == []
    assert at("23T20:30:00") == []
    assert at("23T21:26:11") == ["hour"] and at("23T21:26:12") == []
    assert at("24T02:59:59") == ["hour", "morning"]
    assert at("24T03:00:00") == ["night"] and at("24T03:00:59") == []
    assert at("28T12:00:00") == ["hour", "morning", "night"], "each once, for four days"
    (row,) = [row for row in listed.rows if row[0] == "time 0 3 * * *"]
    assert row[2] == "2026-11-28T03:00:00Z" and len(row[5]) == 26
    assert at("27T12:00:00") == [], "a clock that is set back fires nothing again"
    assert at("29T03:00:00") == ["hour", "morning", "night"]


def test_outputs(desk: Desk, listed: List) -> None:
    """What a program prints, and only where it ends well; its first line goes into the job as one word."""
    (desk.here / "state").write_text("0 one\n")
    listed.write("output sh -c 'read s w <state; echo \"$w\"; exit $s' => -J out -- echo {}\n")
    assert listed.queued() == []
    for text in ("$(touch gone)", "it's -- => {}"):
        (desk.here / "state").write_text(f"0 {text}\n")
        assert [words(job) for job in listed.queued()] == [["echo", text]]
    (desk.here / "state").write_text("1 broken\n")
    assert listed.queued(status=69) == []
    (desk.here / "state").write_text("0 it's -- => {}\n")
    assert listed.queued() == []


# --- lines that are broken, off, slow -------------------------------------------------------------------------------


def test_a_broken_line_stops_no_other(listed: List) -> None:
    """65 with its number, told once as long as it is the same; what fails while a job is made is tried again."""
    changed(listed, "1")
    broken = f"nonsense\n{OUT}output cat state => --time 5 -- true\n#{OUT}"
    listed.write(broken).fire(status=65)
    changed(listed, "2")
    assert [job.name for job in listed.fire(status=65)] == ["out"]
    assert "night.triggers: line 3: error: --time: 5 of what?" in listed.said and "line 1" not in listed.said
    assert len(listed.fire(status=65)) == 1 and listed.said == "", "told already"
    assert b"line 1: error: no => in it" in listed.apart("-v", status=65).stderr
    listed.write(broken.replace("--time 5", "-J mended --time 5m").replace("nonsense\n", ""))
    assert sorted(job.name for job in listed.fire()) == ["mended", "out"], "the change was not forgotten"
    listed.write("#" + listed.file.read_text().replace("\n", "\n#"))
    assert sorted(job.name for job in listed.fire()) == ["mended", "out"], "no queue has them yet"
    assert listed.rows == []


NOTHING = ["=> -- true", "repo => -- true", "repo a b c => -- true", "file => -- true", "job UP => -- true", "job a DONE => -- true", "x => -- true"]
NOTHING += ["job => -- true", "output => -- true", "every => -- true", "every 5s => -- true", "time 1 2 3 => -- true"]
NOTHING += ["time @daily Nowhere => -- true"]
NOTHING += [f"every 1m => {push}" for push in ("", "--", "-J x", "-n -- true", "--each - -- true", "--sign x", "--list=x -- true", "'a")]
RIGHT = ["every 1m => --call zlib version=1", "file 'a b' => --script x", "job a.b FAILED by=ada@sun => -- x '=>' -n"]
RIGHT += ["time @daily Europe/Berlin => -- x"]


def test_lines_that_mean_nothing() -> None:
    found = list(triggers.lines("\n".join([*NOTHING, "", " # off", *RIGHT])))
    faults = [each for each in found if isinstance(each, triggers.Fault)]
    assert [each.text for each in faults] == NOTHING and {each.error.status for each in faults} == {65}
    assert [each.error.where for each in faults] == [f"line {number}" for number in range(1, len(NOTHING) + 1)]
    assert len(found) == len(NOTHING) + len(RIGHT)


def test_a_slow_repository_holds_up_nobody_for_ever(desk: Desk, listed: List, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers, programs that never end or never stop printing: given up, told once, and the others fire."""
    monkeypatch.setattr(looks, "SECONDS", 1)
    changed(listed, "1")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        repo = f"repo git://127.0.0.1:{deaf.getsockname()[1]}/x => -- true\n"
        listed.write(f"{repo}output sh -c 'sleep 99 & sleep 99' => -- true\noutput yes => -- true\n{OUT}")
        assert listed.fire(status=69) == [] and listed.said.count("error") == 3
        changed(listed, "2")
        assert [job.name for job in listed.fire(status=69)] == ["out"] and listed.said == ""
    assert {row[0].split()[0] for row in listed.rows if row[1] == "!"} == {"repo", "output"}


def test_nasty_strings_stay_words(desk: Desk, listed: List) -> None:
    """In a line's command, and as what `{}` stands for: the job gets the very words."""
    strings = [text for text in NASTY if text and "\n" not in text and "\udcff" not in text]
    changed(listed, "1")
    listed.write(f"output cat state => -J x -- echo {shlex.join(strings)}\n").fire()
    changed(listed, "$(touch gone)")
    (job,) = listed.fire()
    assert words(job)[1:] == [text.replace("{}", "$(touch gone)") for text in strings] and not (desk.here / "gone").exists()
