"""Trigger lists: each change fires one job, once, whatever is killed; broken and slow lines are their own affair (docs/howto/trigger-lists.md)."""

from __future__ import annotations

import ast
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_format import body, clock, home, reader, triggers
from cit_format.document import Document, section
from cit_trigger import lists, looks
from tests.int.cit_format.kills import every_kill
from tests.int.cit_trigger.desk import BIN, NASTY, Desk, documents


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


@pytest.fixture
def listed(desk: Desk, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> List:
    return List(desk, monkeypatch, capfdbinary)


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


# --- once, and not lost ---------------------------------------------------------------------------------------------

OUT = "output cat state => -J out -- true\n"


def changed(listed: List, text: str) -> None:
    """What `OUT` looks at says something else."""
    (listed.desk.here / "state").write_text(f"{text}\n")


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


def test_options_that_do_not_go_with_it(desk: Desk, listed: List) -> None:
    listed.write("")
    for more in (["--name", "x"], ["--repo=x"], ["--", "true"]):
        desk.refused("--list", str(listed.file), *more, status=2)
    desk.refused("--list", str(desk.here / "none"), status=66)
    listed.file.chmod(0o664)
    desk.refused("--list", str(listed.file), status=78)


def test_nasty_strings_stay_words(desk: Desk, listed: List) -> None:
    """In a line's command, and as what `{}` stands for: the job gets the very words."""
    strings = [text for text in NASTY if text and "\n" not in text and "\udcff" not in text]
    changed(listed, "1")
    listed.write(f"output cat state => -J x -- echo {shlex.join(strings)}\n").fire()
    changed(listed, "$(touch gone)")
    (job,) = listed.fire()
    assert words(job)[1:] == [text.replace("{}", "$(touch gone)") for text in strings] and not (desk.here / "gone").exists()
