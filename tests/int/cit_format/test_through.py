"""`cit-format through`: foreign filters between spools. Nothing is lost, whatever they do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cit_format import body, document, home, keys, reader, through, trust
from cit_format.body import Time
from cit_format.document import Document, section
from cit_format.spool import listing
from tests.int.cit_format.jobs import NOW, Yard, job_like
from tests.int.cit_format.test_program import run, said

MARK = "@begin event 1 tsv\\nmarked\\n@end event"
# A filter in three lines of awk: it appends to each document.
APPENDS = f'awk \'/^@cit / && n++ {{ print "{MARK}" }} {{ print }} END {{ if (n) print "{MARK}" }}\''
EVENT = b"@begin event 1 tsv\nmarked\n@end event\n"


class Spools:
    """Two spools and what lies in them."""

    def __init__(self, path: Path, count: int) -> None:
        self.source, self.target = path / "from", path / "to"
        self.source.mkdir()
        self.target.mkdir()
        self.jobs = [job_like(number) for number in range(count)]
        for number, job in enumerate(self.jobs):
            (self.source / f"{number:04d}.cit").write_bytes(job.raw)

    def through(self, program: str, *options: object) -> subprocess.CompletedProcess[bytes]:
        return run("through", "--from", self.source, "--to", self.target, *options, "--", "sh", "-c", program)

    @property
    def untouched(self) -> bool:
        """Whether all documents are where they were, as they were, and no claim is left."""
        there = [(self.source / name).read_bytes() for name in listing(self.source)]
        return there == [job.raw for job in self.jobs] and listing(self.target) == [] and os.listdir(self.source / ".claim") == []


@pytest.fixture
def spools(tmp_path: Path) -> Spools:
    return Spools(tmp_path, 5)


def test_what_the_program_appended_to_moves_and_nothing_else(spools: Spools) -> None:
    """A filter that marks the second and fourth document."""
    program = f"awk '/^@cit / {{ if (n == 2 || n == 4) print \"{MARK}\"; n++ }} {{ print }}'"
    assert spools.through(program).returncode == 0
    assert listing(spools.source) == ["0000.cit", "0002.cit", "0004.cit"]
    assert [(spools.target / name).read_bytes() for name in listing(spools.target)] == [spools.jobs[1].raw + EVENT, spools.jobs[3].raw + EVENT]
    assert os.listdir(spools.source / ".claim") == []


def test_an_empty_spool_starts_no_program(spools: Spools, tmp_path: Path) -> None:
    for name in listing(spools.source):
        (spools.source / name).unlink()
    assert spools.through(f"touch {tmp_path}/started").returncode == 0 and not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    "program, status, what",
    [
        ("cat; exit 3", 3, "sh ended with status 3"),
        (f"{APPENDS}; exit 1", 1, "sh ended with status 1"),
        (f"{APPENDS}; kill -9 $$", 75, "sh was ended by signal 9"),
        ("exit 0", 0, None),
        ("head -c 10 > /dev/null", 0, None),
        ("cat", 0, None),
        ("sed 's/hello/hallo/'", 65, "the program changed what it was given"),
        ("sed '1d'", 65, "a line that begins no document"),
        ("head -c 200", 65, None),
        ("cat; echo '@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g stranger'", 65, "the program wrote a document that it was not given"),
        (f"{APPENDS} | tee /dev/stderr | cat - /dev/null; exit 9", 9, "sh ended with status 9"),
    ],
)
def test_everything_is_back_whatever_the_program_does(spools: Spools, program: str, status: int, what: str | None) -> None:
    done = spools.through(program)
    assert done.returncode == status and spools.untouched, done.stderr
    assert what is None or any(what in line for line in said(done)), said(done)


def test_a_document_twice_stays_and_the_others_go_on(spools: Spools) -> None:
    done = spools.through(f"{APPENDS} > out; cat out; head -n 7 out; rm out")
    assert done.returncode == 65 and any("wrote this document twice" in line for line in said(done))
    assert listing(spools.source) == ["0000.cit"] and len(listing(spools.target)) == 4


def test_a_document_that_does_not_parse_stays_where_it_is(spools: Spools) -> None:
    (spools.source / "0002.cit").write_bytes(b"hello\n")
    assert spools.through(APPENDS).returncode == 65
    assert listing(spools.source) == ["0002.cit"] and len(listing(spools.target)) == 4


def test_a_program_that_cannot_be_started_is_configuration(spools: Spools) -> None:
    done = run("through", "--from", spools.source, "--to", spools.target, "--", "./no-such-program", "--with", "-o")
    assert done.returncode == 78 and spools.untouched


def test_look_ahead_bounds_a_pass(spools: Spools) -> None:
    assert spools.through(APPENDS, "--look-ahead", 2).returncode == 0
    assert listing(spools.target) == ["0000.cit", "0001.cit"]


def test_a_stream_larger_than_any_pipe_passes_both_ways(tmp_path: Path) -> None:
    spools = Spools(tmp_path, 0)
    spools.jobs = [job_like(number, b"x" * 70_000 + b"\n") for number in range(30)]
    for number, job in enumerate(spools.jobs):
        (spools.source / f"{number:04d}.cit").write_bytes(job.raw)
    assert spools.through(APPENDS).returncode == 0
    assert [(spools.target / name).read_bytes() for name in listing(spools.target)] == [job.raw + EVENT for job in spools.jobs]


def test_spools_that_are_missing_or_the_same_are_told(spools: Spools, tmp_path: Path) -> None:
    assert run("through", "--from", tmp_path / "missing", "--to", spools.target, "--", "cat").returncode == 78
    assert run("through", "--from", spools.source, "--to", spools.source, "--", "cat").returncode == 2


def test_after_a_kill_the_next_pass_finds_everything(spools: Spools, tmp_path: Path) -> None:
    words = ["through", "--from", str(spools.source), "--to", str(spools.target), "--", "sh", "-c", f"touch {tmp_path}/runs; sleep 60"]
    process = subprocess.Popen([sys.executable, "-m", "cit_format", *words], start_new_session=True, env={**os.environ, "CIT_HOST": "sun"})
    while not (tmp_path / "runs").exists():
        time.sleep(0.01)
    assert listing(spools.source) == []
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert spools.through(APPENDS).returncode == 0
    assert listing(spools.source) == [] and len(listing(spools.target)) == 5


# As a scheduler

PAGE = Path(__file__).resolve().parents[3] / "docs/replace-a-stage.md"


@pytest.fixture
def queue(tmp_path: Path, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> home.Queue:
    """A queue with a builder of two slots, one of which is taken, and three jobs that wait."""
    monkeypatch.setenv("CIT_HOST", "sun")
    made = home.make_queue(tmp_path / "queues/main")
    (made / "allowed_signers").write_text(yard.allowed + f'queue@sun namespaces="cit-queue" {made.signer.public.line}\n')
    (made / "allowed_signers").chmod(0o600)
    (made / "builders/sun.cit").write_bytes(builder(yard, "builder@sun", "sun", slots=2).raw)
    (made / "builders/eve.cit").write_bytes(builder(yard, "eve@sun", "eve", slots=99).raw)
    yard.queue, theirs = made.full_name, yard.queue
    for number in range(3):
        job = yard.job(identity=job_like(number).id)
        (made / "waiting" / f"1000-{number:016d}.{job.id}-{job.name}.cit").write_bytes(job.raw)
    busy = yard.assigned(yard.job(identity=job_like(9).id))
    (made / "sent" / f"1000-0000000000000009.{busy.id}.a1-{busy.name}.cit").write_bytes(busy.raw)
    yard.queue = theirs
    return made


def builder(yard: Yard, who: str, name: str, slots: int) -> Document:
    said: dict[str, object] = {"name": name, "account": who, "host": "moon", "key": yard.keys[who].public.fingerprint}
    described = document.new(name, section("builder", "toml", body.toml({**said, "slots": slots, "state": "up", "created": Time(NOW)})))
    return yard.signed(described, who, "cit-builder")


def test_the_scheduler_of_the_page(queue: home.Queue, tmp_path: Path, yard: Yard) -> None:
    """Builders come before the jobs, with their load; what was assigned is believed by the builder, and the log says so."""
    script = re.search(r"^```sh\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert script
    (tmp_path / "mine").write_text(script[1])
    (tmp_path / "mine").chmod(0o755)
    words = ["through", "--queue", queue.path, "--from", "waiting", "--to", "assigned", "--", tmp_path / "mine"]
    done = run(*words, TMPDIR=str(tmp_path), KEY=str(queue / "key"))
    assert done.returncode == 0 and any("eve.cit: " in line and "is not in" in line for line in said(done)), done.stderr
    assert len(listing(queue / "waiting")) == 2, "one slot was free"
    (name,) = listing(queue / "assigned")
    assert name == f"1000-{0:016d}.{job_like(0).id}.a1-zlib.cit"
    assigned = reader.parse((queue / "assigned" / name).read_bytes())
    _, given = trust.assigned(assigned, queue.signers, yard.keys["builder@sun"].public.fingerprint, NOW)
    assert given.table["builder"] == "sun"
    (line,) = [line.split("\t") for line in (queue / "log/2026-11-23.tsv").read_text().splitlines()]
    assert (line[0], line[2], line[3], line[6]) == (f"{job_like(0).id}.a1-zlib", "mine", "assigned", "sun")


def test_what_a_scheduler_reads(queue: home.Queue, tmp_path: Path, yard: Yard) -> None:
    """Only the builder that the queue's list believes, what it was given, and what it said that it offers."""
    load = section("load", "toml", body.toml({"time": Time(NOW), "load": "0.5", "running": 1, "waiting": 0}))
    offered = section("interface", "tsv", body.row("-", "interface", "-", "-", "-", "-", "Builds."), name="zlib")
    beat = builder(yard, "builder@sun", "sun", slots=2).extended(load, section("jobs", "tsv", b""), offered)
    (queue / "builders/.load").mkdir()
    (queue / "builders/.load/sun.cit").write_bytes(yard.signed(beat, "builder@sun", "cit-builder").raw)
    run("through", "--queue", queue.path, "--from", "waiting", "--to", "assigned", "--", "sh", "-c", f"tee {tmp_path}/stream")
    documents = [item for item in reader.documents(reader.reader_of((tmp_path / "stream").read_bytes())) if isinstance(item, Document)]
    assert [item.kind for item in documents] == ["builder", "job", "job", "job"]
    assert documents[0].table("load") == {"time": NOW, "running": 1, "waiting": 0}
    assert [documents[0].raw[each.start : each.end] for each in documents[0].all("interface")] == [offered]
    assert len(listing(queue / "waiting")) == 3, "builders that come back are no jobs"


def test_the_key_of_the_queue_signs(queue: home.Queue) -> None:
    assert keys.load(queue / "key").public.fingerprint == queue.fingerprint


def test_an_array_is_not_to_be_assigned() -> None:
    identity = "01kax0m2ht8f0v3q6s9y2c4e7g"
    job = document.new("many", section("job", "toml", body.toml({"array": "1-3"})), identity=identity)
    said = {"queue": "q", "epoch": 1, "attempt": 2, "builder": "moon", "task": 2}
    assigned = job.extended(section("assignment", "toml", body.toml(said)))
    for name, status in ((f"{identity}-many.cit", 65), (f"{identity}_2..3-many.cit", 65), (f"{identity}_2.a2-many.cit", 0)):
        longer, worst = through.sorted_out(iter([assigned]), [through.Taken(name, job)], set())
        assert (list(longer), worst) == ([] if status else [name], status)
