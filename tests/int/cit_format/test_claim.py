"""Claims: each document has one owner, and the death of an owner is known by its lock alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_format import document, reader, spool
from cit_format.spool import Claim, listing, recover
from tests.int.cit_format.jobs import job_like
from tests.int.cit_format.kills import every_kill

EVENT = document.section("event", "text", b"more\n")
TAKER = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from cit_format.spool import Claim, listing
with Claim(Path(sys.argv[1])) as claim:
    for name in listing(claim.spool):
        claim.take(name)
    print("taken", flush=True)
    time.sleep(60)
"""


def filled(place: Path, count: int) -> Path:
    """A spool `waiting` with so many documents, and `assigned` beside it."""
    for name in ("waiting", "assigned"):
        (place / name).mkdir(parents=True)
    for number in range(count):
        (place / "waiting" / f"{number:03d}.cit").write_bytes(job_like(number).raw)
    return place / "waiting"


def taker(waiting: Path) -> subprocess.Popen[bytes]:
    """A process that has taken all documents and waits."""
    process = subprocess.Popen([sys.executable, "-c", TAKER, str(waiting)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"taken\n"
    return process


def _race(waiting: Path, report: Path) -> None:
    won = []
    with Claim(waiting) as claim:
        for name in listing(waiting):
            if claim.take(name) is not None:
                won.append(name)
                claim.move(name, waiting.parent / "assigned")
        claim.settle()
    report.write_text("\n".join(won))


def test_eight_processes_take_three_hundred_documents_each_once(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 300)
    racers = [multiprocessing.Process(target=_race, args=(waiting, tmp_path / f"r{number}")) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    won = [name for number in range(8) for name in (tmp_path / f"r{number}").read_text().split()]
    assert len(won) == len(set(won)) == 300
    assert len(listing(tmp_path / "assigned")) == 300 and listing(waiting) == []
    assert os.listdir(waiting / ".claim") == []


def test_the_claim_of_a_killed_process_is_given_back(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 3)
    process = taker(waiting)
    assert listing(waiting) == [] and recover(waiting) == 0
    process.kill()
    process.wait()
    assert recover(waiting) == 3
    assert listing(waiting) == ["000.cit", "001.cit", "002.cit"] and os.listdir(waiting / ".claim") == []
    assert (waiting / "001.cit").read_bytes() == job_like(1).raw


def test_the_claim_of_a_stopped_process_is_its_own(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 3)
    process = taker(waiting)
    try:
        process.send_signal(signal.SIGSTOP)
        assert recover(waiting) == 0 and listing(waiting) == []
    finally:
        process.kill()
        process.wait()


def test_who_lives_is_known_by_the_lock_alone_whatever_pid_or_age_it_has(tmp_path: Path) -> None:
    """A process of another pid namespace is the pid 1 of that, and its claim is hours old: it lives. After its death pid 1 lives here still."""
    waiting = filled(tmp_path, 3)
    inside = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", TAKER, str(waiting)]
    process = subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"taken\n":
        pytest.skip("no pid namespace can be made here")
    try:
        (claim,) = (waiting / ".claim").iterdir()
        assert claim.name.split("~")[1] == "1"
        for path in (claim, claim / "lock"):
            os.utime(path, (time.time() - 5 * 3600,) * 2)
        assert recover(waiting) == 0 and listing(waiting) == []
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while recover(waiting) == 0:  # what unshare started dies a moment later
        assert time.monotonic() < deadline
    assert len(listing(waiting)) == 3


def test_a_living_process_of_the_same_pid_does_not_keep_a_dead_claim(tmp_path: Path) -> None:
    """Pids come again; the lock does not."""
    waiting = filled(tmp_path, 1)
    dead = waiting / ".claim" / f"{spool.host()}~{os.getpid()}~1"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    os.rename(waiting / "000.cit", dead / "000.cit")
    assert recover(waiting) == 1 and listing(waiting) == ["000.cit"] and not dead.exists()


def test_a_claim_of_another_host_is_left_alone(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 1)
    foreign = waiting / ".claim" / "moon~17~1"
    foreign.mkdir(parents=True)
    os.rename(waiting / "000.cit", foreign / "000.cit")
    assert recover(waiting) == 0 and foreign.exists()


def test_a_claim_that_was_never_shown_is_removed_after_an_hour(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 0)
    hidden = waiting / ".claim" / f".{spool.host()}~17~1"
    hidden.mkdir(parents=True)
    recover(waiting)
    assert hidden.exists(), "it may be in the making"
    os.utime(hidden, (time.time() - 3700,) * 2)
    recover(waiting)
    assert not hidden.exists()


def test_what_is_not_moved_goes_back_also_after_an_error(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 3)
    with pytest.raises(ZeroDivisionError), Claim(waiting) as claim:
        assert claim.take("000.cit") == job_like(0).raw
        assert claim.take("001.cit") is not None and claim.take("missing.cit") is None
        claim.back("001.cit")
        assert listing(waiting) == ["001.cit", "002.cit"]
        raise ZeroDivisionError
    assert len(listing(waiting)) == 3 and os.listdir(waiting / ".claim") == []


def test_a_rename_that_happened_and_was_reported_as_an_error_is_a_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = filled(tmp_path, 1)
    real = os.rename

    def lying(source: Path, target: Path) -> None:
        real(source, target)
        raise FileNotFoundError(2, "No such file or directory")

    with Claim(waiting) as claim:
        monkeypatch.setattr(os, "rename", lying)
        assert claim.take("000.cit") == job_like(0).raw
        monkeypatch.undo()
    assert listing(waiting) == ["000.cit"]


def test_settling_moves_the_longer_document_under_its_new_name(tmp_path: Path) -> None:
    waiting, assigned = filled(tmp_path, 2), tmp_path / "assigned"
    with Claim(waiting) as claim:
        for name in listing(waiting):
            claim.take(name)
        claim.move("000.cit", assigned, "000.a1.cit", job_like(0).raw + EVENT)
        claim.move("001.cit", assigned)
        assert listing(assigned) == []
        claim.settle()
    assert listing(assigned) == ["000.a1.cit", "001.cit"] and listing(waiting) == []
    assert (assigned / "000.a1.cit").read_bytes() == job_like(0).raw + EVENT
    assert os.listdir(waiting / ".claim") == [] and os.listdir(assigned) == listing(assigned)


def _grow(waiting: Path) -> None:
    with Claim(waiting) as claim:
        for number, name in enumerate(listing(waiting)):
            raw = claim.take(name)
            assert raw is not None
            if number < 3:
                claim.move(name, waiting.parent / "assigned", f"{number:03d}.a1.cit", raw + EVENT)
        claim.settle()


def test_whatever_is_killed_each_document_is_in_one_place_and_whole(tmp_path: Path) -> None:
    """Short in `waiting` or long in `assigned`, never the other way round, and nothing is left in between."""

    def prepare(number: int) -> Callable[[], object]:
        waiting = filled(tmp_path / str(number), 4)
        return lambda: _grow(waiting)

    moved = set()
    for number in every_kill(prepare):
        waiting, assigned = tmp_path / str(number) / "waiting", tmp_path / str(number) / "assigned"
        recover(waiting)
        assert not os.path.isdir(waiting / ".claim") or [e for e in os.listdir(waiting / ".claim") if e[0] != "."] == []
        short = {reader.parse((waiting / name).read_bytes()).raw for name in listing(waiting)}
        long = {reader.parse((assigned / name).read_bytes()).raw for name in listing(assigned)}
        everything = {job_like(each).raw for each in range(4)}
        assert short | {raw[: -len(EVENT)] for raw in long} == everything and len(short) + len(long) == 4
        assert all(raw.endswith(EVENT) for raw in long) and short <= everything
        assert len(long) in (0, 3), "moves are decided together"
        moved.add(len(long))
    assert moved == {0, 3}


def test_two_recoveries_at_once_do_what_one_does(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 50)
    process = taker(waiting)
    process.kill()
    process.wait()
    helpers = [multiprocessing.Process(target=recover, args=(waiting,)) for _ in range(4)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join(60)
    assert [helper.exitcode for helper in helpers] == [0] * 4
    assert len(listing(waiting)) == 50


@pytest.mark.parametrize("claimed, waiting_has, stays", [(b"abc", b"ab", b"abc"), (b"ab", b"abc", b"abc"), (b"abc", b"abc", b"abc")])
def test_of_two_copies_of_one_name_the_longer_stays(tmp_path: Path, claimed: bytes, waiting_has: bytes, stays: bytes) -> None:
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim/a.cit").write_bytes(claimed)
    (tmp_path / "a.cit").write_bytes(waiting_has)
    spool.give_back(tmp_path / "claim/a.cit", tmp_path)
    assert (tmp_path / "a.cit").read_bytes() == stays and os.listdir(tmp_path / "claim") == []


def test_two_copies_that_differ_are_both_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim/a.cit").write_bytes(b"abcd")
    (tmp_path / "a.cit").write_bytes(b"abx")
    spool.give_back(tmp_path / "claim/a.cit", tmp_path)
    assert (tmp_path / "a.cit").read_bytes() == b"abx" and listing(tmp_path) == ["a.cit"]
    assert [path.read_bytes() for path in tmp_path.glob("a.cit.fork-*")] == [b"abcd"]
    assert "a.cit: error: two copies of a document differ" in capsys.readouterr().err


def test_an_error_among_decided_moves_leaves_them_to_the_next_pass(tmp_path: Path) -> None:
    """A name in `assigned` is taken by what is no copy; what was decided before and after it is still done."""
    waiting, assigned = filled(tmp_path, 3), tmp_path / "assigned"
    (assigned / "001.cit").write_bytes(b"something else")
    with pytest.raises(FileExistsError), Claim(waiting) as claim:
        for name in listing(waiting):
            raw = claim.take(name)
            assert raw is not None
            claim.move(name, assigned, grown=raw + EVENT)
        claim.settle()
    assert listing(waiting) == [], "nothing that grew goes back"
    assert recover(waiting) == 2
    assert listing(assigned) == ["000.cit", "001.cit", "002.cit"] and len(list(assigned.glob("001.cit.fork-*"))) == 1
