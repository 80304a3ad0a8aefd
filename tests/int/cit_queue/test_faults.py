"""Acknowledged means on disk, a broken or full disk never eats a job, and a kill at any call leaves nothing half done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cit_format import clock, door, frame, names, reader, spool
from cit_format.document import Document
from cit_queue import incoming, mend, sending
from cit_queue.cit_format import home as own_home
from cit_queue.cit_format import reader as own_reader
from cit_queue.cit_format import spool as own_spool
from cit_queue.intake import Intake
from cit_queue.outbox import Outbox
from cit_queue.places import ANY, Places
from tests.int.cit_format.kills import every_kill
from tests.int.cit_queue.house import ROOT, House, states, tickets

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
CALLS = "write,fsync,syncfs,symlink,rename,renameat2,mkdir,unlink"


def traced(
    house: House, stdin: bytes, *inject: str, calls: str = CALLS, words: tuple[str, ...] = ("--to", "@main")
) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
    """cit-queue under strace: how it ended, and its calls with the paths of their files."""
    trace = house.directory / "trace"
    options = ["-f", "-qq", "-y", "-s", "40", "-o", str(trace), "-e", f"trace={calls}"]
    command = ["strace", *options, *(word for each in inject for word in ("-e", f"inject={each}")), str(ROOT / "bin" / "cit-queue"), *words]
    ended = subprocess.run(command, input=stdin, capture_output=True, env=house.environment, timeout=60, check=False)
    found = [re.sub(r"^\d+ +", "", line) for line in trace.read_text(errors="replace").splitlines()]
    return ended, [line.replace(f"{house.queue.path}/", "") for line in found]


def place_of(calls: list[str], pattern: str) -> int:
    """Where the first call that matches stands; the test fails where there is none."""
    for number, call in enumerate(calls):
        if re.match(pattern, call):
            return number
    raise AssertionError(f"no call matches {pattern}:\n" + "\n".join(calls))


# --- acknowledged means on disk -------------------------------------------------------------------------------------


@needs_strace
def test_file_and_directories_are_synced_before_the_ticket(house: House) -> None:
    house.push(house.job("first"))  # makes the directories of this day
    job = house.job()
    ended, calls = traced(house, job.raw)
    assert states(ended.stdout) == ["accepted"]
    day = clock.id_day(job.id)
    order = [
        rf"write\(\d+<[^>]*waiting/\.tmp/{job.id}>",
        rf"fsync\(\d+<[^>]*waiting/\.tmp/{job.id}>",
        r"fsync\(\d+<[^>]*waiting/\.tmp>",
        rf"symlink\(.*seen/{day}/{job.id}",
        rf"fsync\(\d+<[^>]*seen/{day}>",
        rf"renameat2\(.*waiting/\.tmp/{job.id}\", .*waiting/1000-",
        r"fsync\(\d+<[^>]*waiting>",
        r"write\(1<[^>]*>, \"@cit 1 ",
    ]
    places = [place_of(calls, pattern) for pattern in order]
    assert places == sorted(places), "\n".join(calls)
    named = place_of(calls, order[5])
    synced = {match[1] for match in (re.match(r"fsync\(\d+<([^>]*)>\)", call) for call in calls[named:]) if match}
    assert {path.rpartition("/main/")[2] or path for path in synced} >= {"waiting", "waiting/.tmp"}


def in_this_order(calls: list[str], *patterns: str) -> None:
    """Each pattern matches a call after the one before."""
    at = 0
    for pattern in patterns:
        at += place_of(calls[at:], pattern) + 1


@needs_strace
def test_a_result_is_on_disk_before_its_sent_copy_goes_and_its_ticket_comes(house: House) -> None:
    sent = house.assigned(house.job())
    stream = house.ended(sent).raw
    ended, calls = traced(house, frame.framed(stream, 1), words=("--to", "@main", "--door=put-done"))
    assert b'"accepted"' in ended.stdout
    in_this_order(
        calls,
        r"write\(\d+<[^>]*done/\.tmp/",
        r"fsync\(\d+<[^>]*done/\.tmp/",
        rf"renameat2\(.*done/\.tmp/.*done/{clock.id_day(sent.id)}/{sent.id}\.a1-hello\.cit",
        rf"fsync\(\d+<[^>]*done/{clock.id_day(sent.id)}>",
        r"unlink\(\"sent/",
        r"write\(1<[^>]*>, \"@cit-stream",
    )


@needs_strace
@pytest.mark.parametrize("where", ["outbox", "refused", "control"])
def test_what_is_kept_is_on_disk_before_its_ticket_comes(house: House, where: str) -> None:
    document = {"outbox": house.job(), "refused": house.job(who="eve"), "control": house.control("cancel", clock.new_id())}[where]
    house.set("active", where != "outbox")
    ended, calls = traced(house, document.raw)
    assert len(tickets(ended.stdout)) == 1
    in_this_order(
        calls,
        rf"write\(\d+<[^>]*{where}/\.tmp/",
        rf"fsync\(\d+<[^>]*{where}/\.tmp/",
        rf"renameat2\(.*{where}/\.tmp/.*{where}/.*\.cit",
        rf"fsync\(\d+<[^>]*{where}>",
        r"write\(1<[^>]*>, \"@cit ",
    )


@needs_strace
def test_what_a_killed_put_left_is_made_lasting_before_it_is_named(house: House) -> None:
    job = house.job()
    day = house.queue / "seen" / clock.id_day(job.id)
    (house.queue / "waiting" / ".tmp").mkdir()
    (house.queue / "waiting" / ".tmp" / job.id).write_bytes(job.raw)
    day.mkdir()
    (day / job.id).symlink_to(f"{names.key(0, 1795465571000000)}~{job.digest}")
    _, calls = traced(house, b"", words=("--recover",))
    in_this_order(calls, rf"fsync\(\d+<[^>]*seen/{day.name}>", rf"renameat2\(.*waiting/\.tmp/{job.id}", r"fsync\(\d+<[^>]*waiting>")
    assert house.lying("waiting") == [job.raw]


@needs_strace
def test_a_burst_is_synced_as_one_group(house: House) -> None:
    jobs = [house.job(f"n{number}") for number in range(70)]
    ended, calls = traced(house, b"".join(job.raw for job in jobs))
    assert states(ended.stdout) == ["accepted"] * 70
    assert sum(call.startswith("syncfs(") for call in calls) == 1
    assert not any(re.match(r"fsync\(\d+<[^>]*\.tmp/", call) for call in calls)
    assert place_of(calls, r"syncfs\(") < place_of(calls, r"symlink\(")
    renames = [number for number, call in enumerate(calls) if call.startswith("renameat2(")]
    ticket = place_of(calls, r"write\(1<[^>]*>, \"@cit")
    synced = next(n for n, call in enumerate(calls) if n > renames[-1] and re.match(r"fsync\(\d+<[^>]*waiting>", call))
    assert len(renames) == 70 and renames[-1] < synced < ticket


@needs_strace
@pytest.mark.parametrize("count", [1, 70])
def test_an_fsync_that_fails_is_74_without_a_ticket_and_the_next_push_is_whole(house: House, count: int) -> None:
    jobs = [house.job(f"n{number}") for number in range(count)]
    stream = b"".join(job.raw for job in jobs)
    clean = House(shutil.copytree(house.directory, house.directory.parent / "clean", symlinks=True))
    _, calls = traced(clean, stream)
    syncs = [call for call in calls if re.match(r"(fsync|syncfs)\(", call)]
    assert len(syncs) >= 5
    fsyncs = [call for call in syncs if call.startswith("fsync")]
    for number in range(1, len(fsyncs) + 1):
        other = House(shutil.copytree(house.directory, house.directory.parent / f"n{number}", symlinks=True))
        ended, calls = traced(other, stream, f"fsync:error=EIO:when={number}")
        assert (ended.returncode, ended.stdout) == (74, b""), (number, ended.stderr)
        assert b"cannot sync" in ended.stderr and b"hint: " in ended.stderr
        failed = [call for call in calls if "EIO" in call]
        assert len(failed) == 1, "an fsync that failed is not tried again"
        if ".tmp/" in failed[0]:
            assert other.lying("waiting") == [], "no final name"
        again = other.run("--to", "@main", stdin=stream)
        assert again.returncode == 0 and set(states(again.stdout)) <= {"accepted", "duplicate"}
        assert [reader.parse(raw).id for raw in other.lying("waiting")] == [job.id for job in jobs], number
    if count > 1:  # where the group's sync fails, file by file is tried, and that error is final
        other = House(shutil.copytree(house.directory, house.directory.parent / "group", symlinks=True))
        ended, calls = traced(other, stream, "syncfs:error=EIO", "fsync:error=EIO:when=1")
        assert (ended.returncode, ended.stdout, other.lying("waiting")) == (74, b"", [])


@needs_strace
def test_a_write_that_fails_or_is_short_never_eats_a_job(house: House) -> None:
    job = house.job()
    _, calls = traced(House(shutil.copytree(house.directory, house.directory.parent / "clean", symlinks=True)), job.raw)
    writes = [call for call in calls if call.startswith("write(")]
    number = next(n for n, call in enumerate(writes, 1) if "/.tmp/" in call)
    ended, _ = traced(house, job.raw, f"write:error=ENOSPC:when={number}")
    assert (ended.returncode, ended.stdout) == (74, b"") and b"No space left" in ended.stderr and b"waiting/.tmp" in ended.stderr
    assert house.lying("waiting") == []
    ended, _ = traced(house, job.raw, f"write:retval=0:when={number}", calls="write")
    assert states(ended.stdout) == ["accepted"]
    assert house.lying("waiting")[0].startswith(job.raw)


# --- a disk that is full --------------------------------------------------------------------------------------------


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    at.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(at)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_is_74_what_was_acknowledged_is_there_and_room_heals_it(house: House, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1500k") as disk:
        other = House(shutil.copytree(house.directory, disk / "home", symlinks=True))
        (disk / "ballast").write_bytes(b"x" * (200 << 10))
        jobs = [other.job(f"n{number}") for number in range(1200)]
        stream = b"".join(job.raw for job in jobs)
        ended = other.run("--to", "@main", stdin=stream)
        assert ended.returncode == 74 and b"No space left" in ended.stderr and b"hint: " in ended.stderr, ended.stderr
        said = tickets(ended.stdout)
        lying = {reader.parse(raw).id for raw in other.lying("waiting")}
        assert {each.id for each in said} <= lying and len(lying) < 1200
        (disk / "ballast").unlink()
        for path in (other.queue / "waiting").glob("*.cit"):
            path.unlink()  # they were run
        some = jobs[:10]
        assert set(other.push(*some)) <= {"accepted", "duplicate"}
        assert other.push(other.job("after")) == ["accepted"]


# --- killed before any call that changes the disk -------------------------------------------------------------------


class Fresh:
    """Homes that are all alike, one for each kill."""

    def __init__(self, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.template = template
        self.monkeypatch = monkeypatch
        self.house = House(template)

    def next(self) -> House:
        directory = self.template.parent / "killed"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.template, directory, symlinks=True)
        self.monkeypatch.setenv("HOME", str(directory))
        self.house = House(directory)
        return self.house

    def sweep(self, act: Callable[[House], object], check: Callable[[House], None]) -> None:
        def prepare(_: int) -> Callable[[], object]:
            house = self.next()

            def counted() -> object:
                vars(own_spool)["_libc"] = spool._libc  # the room's own copy is counted too
                return act(house)

            return counted

        points = 0
        for _ in every_kill(prepare):
            check(self.house)
            points += 1
        assert points >= 8
        check(self.house)


@pytest.fixture
def fresh(house: House, monkeypatch: pytest.MonkeyPatch) -> Fresh:
    return Fresh(house.directory, monkeypatch)


def push(documents: list[Document]) -> list[str]:
    """A push within this process: by the room's own copy of cit_format, as it runs."""
    copies = [own_reader.parse(each.raw) for each in documents]
    return [answer.state for answer in Intake(Places("@main")).take(copies)]


def in_order(house: House) -> list[str]:
    return [reader.parse(raw).name for raw in house.lying("waiting")]


def outbox(house: House) -> list[str]:
    return [parts.name for parts in spool.documents(house.path / "outbox")]


def test_killed_while_it_keeps_a_job(fresh: Fresh) -> None:
    jobs = [fresh.house.job("a"), fresh.house.job("b")]
    fresh.house.set("active", False)

    def check(house: House) -> None:
        assert set(outbox(house)) <= {"a", "b"} and in_order(house) == []
        assert push(jobs) == ["kept", "kept"] and sorted(outbox(house)) == ["a", "b"]
        house.set("active", True)
        assert push([house.job("c")]) == ["accepted"]
        assert sorted(in_order(house)) == ["a", "b", "c"] and outbox(house) == []

    fresh.sweep(lambda house: push(jobs), check)


def test_killed_while_it_sends_what_was_kept(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [fresh.house.job("a"), fresh.house.job("b")]
    fresh.house.set("active", False)
    push(jobs)
    fresh.house.set("active", True)

    def check(house: House) -> None:
        assert push([house.job("c")]) == ["accepted"]
        assert in_order(house)[-1] == "c" and sorted(in_order(house)) == ["a", "b", "c"]
        assert outbox(house) == [] and len(spool.listing(house.path / "outbox" / "sent")) == 2
        assert not list((house.path / "outbox" / ".claim").glob("[!.]*"))

    fresh.sweep(lambda house: list(sending.send(Outbox(), Places(ANY))), check)


def test_killed_while_a_job_is_put(fresh: Fresh) -> None:
    job, bad, cancel = fresh.house.job("a"), fresh.house.job("bad", who="eve"), fresh.house.control("cancel", clock.new_id())

    def check(house: House) -> None:
        seen = (house.queue / "seen" / clock.id_day(job.id) / job.id).is_symlink()
        mend.whole(own_home.Queue(house.queue.path))
        assert in_order(house) == (["a"] if seen else [])
        assert push([job, bad, cancel])[1] == "refused"
        assert in_order(house) == ["a"] and len(house.refused()) == 1
        assert [path.name for path in (house.queue / "control").glob("*.cit")] == [f"{cancel_target(cancel)}.{cancel.id}.cit"]
        spool_is_clean(house)

    fresh.sweep(lambda house: push([job, bad, cancel]), check)


def cancel_target(cancel: Document) -> str:
    return str(cancel.table("control")["target"])


def spool_is_clean(house: House) -> None:
    """What kills left in .tmp is gone 36 h later, at the next run."""
    for path in house.queue.path.glob("*/.tmp/*"):
        os.utime(path, (0, 0))
    mend.whole(own_home.Queue(house.queue.path))
    assert list(house.queue.path.glob("*/.tmp/*")) == []


def test_killed_while_a_result_comes_home(fresh: Fresh) -> None:
    sent = fresh.house.assigned(fresh.house.job())
    ended = fresh.house.ended(sent)

    def check(house: House) -> None:
        done = [path.read_bytes() for path in (house.queue / "done").glob("*/*.cit")]
        assert done in ([], [ended.raw]) and (done or house.lying("sent") == [sent.raw])
        said = [each.table("ticket")["state"] for each in door.put_done(house.queue, [ended])]
        assert said == ["duplicate" if done else "accepted"]
        assert [path.read_bytes() for path in (house.queue / "done").glob("*/*.cit")] == [ended.raw] and house.lying("sent") == []
        spool_is_clean(house)

    fresh.sweep(lambda house: door.put_done(house.queue, [ended]), check)


def test_killed_while_it_empties_the_drop_box(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "SETTLED", 0)
    jobs = [fresh.house.job("a"), fresh.house.job("b")]
    (fresh.house.queue / "incoming" / "two.cit").write_bytes(jobs[0].raw + jobs[1].raw)

    def check(house: House) -> None:
        for _ in range(2):
            list(incoming.take_in(own_home.Queue(house.queue.path)))
        assert in_order(house) == ["a", "b"] and os.listdir(house.queue / "incoming") == []

    fresh.sweep(lambda house: list(incoming.take_in(own_home.Queue(house.queue.path))), check)


def test_names_that_a_kill_can_leave_are_never_taken_for_documents(house: House) -> None:
    for name in (".tmp", ".claim", ".shelf", ".sequence", ".wake", ".pass"):
        assert names.parse(name) is None
