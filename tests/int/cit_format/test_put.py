"""Putting documents into a spool: once, on disk before it is said, whatever is killed when."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_format import clock, document, names, put
from cit_format.document import Document
from cit_format.put import ACCEPTED, DUPLICATE, REFUSED, Item, Putter
from cit_format.spool import Lock, listing, make_directory
from tests.int.cit_format.jobs import job_like
from tests.int.cit_format.kills import every_kill


class Place:
    """A queue's `waiting` with what belongs to it."""

    def __init__(self, path: Path) -> None:
        self.waiting, self.seen = path / "waiting", path / "seen"
        make_directory(self.waiting)
        self.putter = Putter(self.waiting / ".tmp", self.seen, self.item)

    def item(self, job: Document) -> Item:
        return Item(job.id, job.digest, job.raw, names.FileName(job.id, job.name), str(self.waiting))

    def put(self, *jobs: Document) -> list[str]:
        return [outcome.word for outcome in self.putter.put(self.item(job) for job in jobs)]

    @property
    def temporary(self) -> list[str]:
        return sorted(os.listdir(self.waiting / ".tmp"))

    def contents(self) -> list[bytes]:
        return [(self.waiting / name).read_bytes() for name in listing(self.waiting)]

    def see(self, job: Document, key: str, digest: str = "") -> None:
        """A link in seen as a writer leaves it."""
        make_directory(self.seen / clock.id_day(job.id))
        os.symlink(f"{key}~{digest or job.digest}", self.seen / clock.id_day(job.id) / job.id)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


ONE, TWO = job_like(1), job_like(2)
EDITED = document.new(ONE.name, document.section("note", "text", b"edited\n"), identity=ONE.id)
KEY = names.key(0, 1795465571000000)


def test_the_same_again_is_a_duplicate_and_other_bytes_are_a_replay(place: Place) -> None:
    assert place.put(ONE) == [ACCEPTED]
    assert place.put(ONE) == [DUPLICATE]
    outcome = place.putter.put([place.item(EDITED)])[0]
    assert outcome.word == REFUSED and outcome.error is not None
    assert (outcome.error.status, outcome.error.where) == (77, ONE.label)
    assert place.contents() == [ONE.raw] and place.temporary == []


def test_a_document_that_has_moved_on_is_a_duplicate_still(place: Place) -> None:
    place.put(ONE)
    (place.waiting / listing(place.waiting)[0]).unlink()
    assert place.put(ONE) == [DUPLICATE] and place.contents() == []


def test_the_key_is_told_and_is_in_the_name_and_in_seen(place: Place) -> None:
    outcome = place.putter.put([place.item(ONE)])[0]
    assert listing(place.waiting) == [f"{outcome.key}.{ONE.id}-{ONE.name}.cit"]
    assert os.readlink(place.seen / clock.id_day(ONE.id) / ONE.id) == f"{outcome.key}~{ONE.digest}"
    assert place.putter.put([place.item(ONE)])[0].key == outcome.key


def test_a_group_of_a_thousand_keeps_its_order(place: Place) -> None:
    jobs = [job_like(number) for number in range(1000)]
    assert place.put(*reversed(jobs)) == [ACCEPTED] * 1000
    assert [names.parse(name).id for name in listing(place.waiting)] == [job.id for job in reversed(jobs)]  # type: ignore[union-attr]
    assert place.put(*jobs, job_like(1000)) == [DUPLICATE] * 1000 + [ACCEPTED]
    assert place.temporary == []


def test_a_mark_twice_in_one_group_is_put_once(place: Place) -> None:
    assert place.put(ONE, TWO, ONE, EDITED) == [ACCEPTED, ACCEPTED, DUPLICATE, REFUSED]
    assert place.contents() == [ONE.raw, TWO.raw]


def test_priority_goes_before_arrival(place: Place) -> None:
    urgent = place.item(TWO)._replace(priority=5)
    place.putter.put([place.item(ONE), urgent])
    assert place.contents() == [TWO.raw, ONE.raw]


def test_sequences_never_go_back_though_the_clock_does(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment, job in (("2038-01-19T03:14:08Z", ONE), ("2026-11-23T20:26:11Z", TWO), ("2026-11-23T20:26:11Z", job_like(3))):
        monkeypatch.setenv("CIT_NOW", moment)
        place.put(job)
    assert place.contents() == [ONE.raw, TWO.raw, job_like(3).raw]


# What a killed writer leaves, as docs/directories.md lists it.


def test_bytes_and_seen_are_finished_with_the_key_of_seen(place: Place) -> None:
    make_directory(place.waiting / ".tmp")
    (place.waiting / ".tmp" / ONE.id).write_bytes(ONE.raw)
    place.see(ONE, KEY)
    assert place.putter.recover() == 1
    assert listing(place.waiting) == [f"{KEY}.{ONE.id}-{ONE.name}.cit"] and place.temporary == []
    assert place.put(ONE) == [DUPLICATE]


def test_bytes_and_seen_are_finished_by_who_sends_again(place: Place) -> None:
    make_directory(place.waiting / ".tmp")
    (place.waiting / ".tmp" / ONE.id).write_bytes(ONE.raw)
    place.see(ONE, KEY)
    assert place.put(ONE) == [DUPLICATE]
    assert listing(place.waiting) == [f"{KEY}.{ONE.id}-{ONE.name}.cit"] and place.temporary == []


def test_bytes_without_seen_have_no_power(place: Place) -> None:
    make_directory(place.waiting / ".tmp")
    (place.waiting / ".tmp" / ONE.id).write_bytes(EDITED.raw[:40])
    assert place.putter.recover() == 0 and listing(place.waiting) == []
    assert place.put(ONE) == [ACCEPTED] and place.contents() == [ONE.raw]


def test_bytes_that_are_not_what_seen_says_are_not_taken(place: Place) -> None:
    make_directory(place.waiting / ".tmp")
    (place.waiting / ".tmp" / ONE.id).write_bytes(EDITED.raw)
    place.see(ONE, KEY)
    assert place.putter.recover() == 0 and listing(place.waiting) == []
    assert place.put(ONE) == [DUPLICATE], "seen without bytes: the document has been here"
    assert place.put(EDITED) == [REFUSED] and listing(place.waiting) == []


def test_both_names_of_a_kill_between_link_and_unlink_become_one(place: Place) -> None:
    place.put(ONE)
    name = listing(place.waiting)[0]
    (place.waiting / ".tmp" / ONE.id).write_bytes(ONE.raw)
    assert place.putter.recover() == 1
    assert listing(place.waiting) == [name] and place.temporary == []


def test_recovery_leaves_a_living_writer_alone(place: Place) -> None:
    make_directory(place.waiting / ".tmp")
    (place.waiting / ".tmp" / ONE.id).write_bytes(ONE.raw)
    place.see(ONE, KEY)
    with Lock(place.waiting / ".tmp" / ONE.id):
        assert place.putter.recover() == 0
    assert place.temporary == [ONE.id]
    assert Place(place.waiting.parent / "empty").putter.recover() == 0


@pytest.mark.parametrize("count", [1, 3])
def test_whatever_is_killed_one_retry_puts_each_exactly_once(tmp_path: Path, count: int) -> None:
    jobs = [job_like(number) for number in range(count)]

    def prepare(number: int) -> Callable[[], object]:
        one = Place(tmp_path / str(number))
        return lambda: one.put(*jobs)

    for number in every_kill(prepare):
        killed = Place(tmp_path / str(number))
        assert all(raw in [job.raw for job in jobs] for raw in killed.contents()), "a final name holds a whole document"
        before = listing(killed.waiting)
        killed.put(*jobs)
        assert sorted(killed.contents()) == sorted(job.raw for job in jobs) and killed.temporary == []
        assert set(before) <= set(listing(killed.waiting)), "names stay"


def test_recovery_alone_finishes_what_was_seen(tmp_path: Path) -> None:
    def prepare(number: int) -> Callable[[], object]:
        one = Place(tmp_path / str(number))
        return lambda: one.put(ONE)

    for number in every_kill(prepare):
        killed = Place(tmp_path / str(number))
        killed.putter.recover()
        seen = os.path.lexists(killed.seen / clock.id_day(ONE.id) / ONE.id)
        assert killed.contents() == ([ONE.raw] if seen else [])


def _put_all(path: Path, numbers: range, report: Path) -> None:
    report.write_text("\n".join(Place(path).put(*map(job_like, numbers))))


def test_writers_of_the_same_documents_put_each_once(tmp_path: Path) -> None:
    orders = [range(40), range(39, -1, -1), range(0, 40, 2), range(20, 40)]
    writers = [multiprocessing.Process(target=_put_all, args=(tmp_path, order, tmp_path / f"r{at}")) for at, order in enumerate(orders)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    words = [(tmp_path / f"r{at}").read_text().split() for at in range(len(orders))]
    assert sum(each.count(ACCEPTED) for each in words) == 40 and not any(REFUSED in each for each in words)
    assert sorted(Place(tmp_path).contents()) == sorted(job_like(number).raw for number in range(40))


def test_a_file_that_cannot_be_synced_gets_no_name_and_no_ticket(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fail_on_files(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(ONE.id):
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail_on_files)
    with pytest.raises(Exception, match="cannot sync"):
        place.put(ONE)
    assert listing(place.waiting) == [] and not list(place.seen.glob("*/*"))
    monkeypatch.undo()
    assert place.put(ONE) == [ACCEPTED]


def test_each_directory_is_synced_before_it_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of syncs and names is the promise: contents, then seen, then the name, then the answer."""
    place.put(TWO)  # directories are there
    steps: list[str] = []
    real_fsync, real_symlink, real_rename = os.fsync, os.symlink, put.rename_new

    def fsync(fd: int) -> None:
        steps.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "symlink", lambda *words: (steps.append("see"), real_symlink(*words)))
    monkeypatch.setattr(put, "rename_new", lambda *words: (steps.append("name"), real_rename(*words)))
    place.put(ONE)
    day = clock.id_day(ONE.id)
    assert steps[:5] == [f"sync {ONE.id}", "sync .tmp", "see", f"sync {day}", "name"]
    assert sorted(steps[5:]) == ["sync .tmp", "sync waiting"]
