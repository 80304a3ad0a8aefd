"""What of the store stays and what goes: by what refers to it, counted anew from files; and what cit fsck says of the rest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cit_run import naming, referred, store_clean, storing
from cit_run.cit_format import body, document, store
from cit_run.store_clean import Unused
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench

HOUR = 3600.0


@pytest.mark.parametrize(
    ("age", "short", "goes"),
    [
        (24 * HOUR, 0, "old"),
        (10 * HOUR, 0, "old middle"),
        (0.0, 0, "old middle"),
        (24 * HOUR, 150, "old middle"),
        (24 * HOUR, 100, "old"),
        (24 * HOUR, 10**9, "old middle"),
    ],
    ids=["age", "younger", "never-young", "short", "short-and-enough", "short-for-good"],
)
def test_what_nothing_refers_to_goes_by_age_and_room(age: float, short: int, goes: str) -> None:
    found = [Unused("young", 100, 0.5 * HOUR), Unused("middle", 100, 12 * HOUR), Unused("old", 100, 30 * HOUR)]
    assert [each.digest for each in store_clean.chosen(found, age, short)] == goes.split()


def put(bench: Bench, text: str, days: float = 9) -> str:
    """Bytes in the store for so long."""
    folder = str(bench.account / "store")
    with storing.sink(folder) as made:
        made.write(text.encode())
        digest, _ = made.named()
    aged(Path(folder) / digest, days)
    return digest


def aged(path: Path, days: float) -> None:
    moment = path.stat().st_mtime - days * 24 * HOUR
    os.utime(path, (moment, moment))


def left(bench: Bench) -> set[str]:
    return {entry.name for entry in store.files(str(bench.account / "store"))}


def test_only_what_nothing_refers_to_goes(bench: Bench) -> None:
    account = str(bench.account.path)
    done = bench.send("#!/bin/sh\necho kept >a; echo stashed >b; cit stash b\n", document.section("keep", "tsv", body.tsv([["a"]])))
    bench.run()
    kept = {row[0] for section in bench.finished(done).all("artefact") for row in section.rows()} & left(bench)
    assert len(kept) == 2
    needed, noted, named, nobodys, fresh = (put(bench, text) for text in ("needed", "noted", "named", "nobody's", "fresh"))
    bench.give(bench.assigned(bench.job("#!/bin/sh\n", document.section("needs", "tsv", body.tsv([[needed, "6", "x"]])))))
    naming.noted(naming.Job("x", str(bench.record(done))), noted, 5, "x")
    naming.give(str(bench.account / "store"), "lib", "", named, "x@y")
    os.utime(bench.account / "store" / fresh)
    for digest in kept:
        aged(bench.account / "store" / digest, 9)
    assert [each.digest for each in store_clean.clean(account, dry=True)] == [nobodys] and nobodys in left(bench)
    assert [each.digest for each in store_clean.clean(account)] == [nobodys]
    assert left(bench) == {*kept, needed, noted, named, fresh}
    reasons = referred.reasons(account)
    assert reasons[named] == "the name lib" and any(done.id in reasons[digest] for digest in kept)


def test_ended_jobs_can_be_let_go_by_their_age_but_not_what_is_on_its_way(bench: Bench) -> None:
    account = str(bench.account.path)
    done = bench.send("#!/bin/sh\necho kept >a\n", document.section("keep", "tsv", body.tsv([["a"]])))
    bench.run()
    [digest] = left(bench)
    aged(bench.account / "store" / digest, 9)
    day = bench.queue / "done" / "2026-11-23"
    day.mkdir(parents=True)
    os.rename(next((bench.account / "finished").glob("*.cit")), day / f"{done.id}.a1-job.cit")
    assert not list(store_clean.clean(account, dry=True))
    (bench.record(done) / "artefacts").unlink()
    aged(day / f"{done.id}.a1-job.cit", 40)
    since = int((os.stat(account).st_mtime - 30 * 24 * HOUR) * 1_000_000)
    assert [each.digest for each in store_clean.clean(account, since=since)] == [digest]


def test_bytes_put_there_again_are_young_and_a_name_keeps_them(bench: Bench) -> None:
    folder = str(bench.account / "store")
    first, second = put(bench, "first"), put(bench, "second")
    found = store_clean.unused(str(bench.account.path))
    assert {each.digest for each in found} == {first, second}
    put(bench, "first", days=0)
    naming.give(folder, "second", "", second, "x@y")
    assert not any(store_clean.removed(folder, each) for each in found)


def test_history_keeps_the_last_line_of_a_name_and_those_of_bytes_that_are_here(bench: Bench) -> None:
    folder = str(bench.account / "store")
    digests = [put(bench, text) for text in "abc"]
    for digest in digests:
        naming.give(folder, "lib", "", digest, "x@y")
    assert sorted(each.digest for each in store_clean.clean(str(bench.account.path))) == sorted(digests[:2])
    assert [each.sha256 for each in store.history(folder)] == digests[2:] and store.meant(folder, "lib") == digests[2]


def test_what_killed_writers_left_goes_when_it_is_old(bench: Bench) -> None:
    folder = bench.account / "store"
    for name, days in (("old", 2.0), ("new", 0.0)):
        (folder / ".tmp").mkdir(exist_ok=True)
        (folder / ".tmp" / name).write_text("torn")
        aged(folder / ".tmp" / name, days)
    list(store_clean.clean(str(bench.account.path)))
    assert [path.name for path in (folder / ".tmp").iterdir()] == ["new"]
    aged(folder / ".tmp" / "new", 2)
    bench.send("#!/bin/sh\n")
    bench.run()
    assert not list((folder / ".tmp").iterdir()), "a pass does it, too"


def test_fsck_knows_the_store(bench: Bench) -> None:
    folder = bench.account / "store"
    digest, other = put(bench, "a"), put(bench, "b")
    for name in ("lib", "gone", "missing", "other"):
        naming.give(str(folder), name, "", digest, "x@y")

    def said() -> dict[str, str]:
        ended = subprocess.run([CHECKOUT / "bin" / "cit-report", "fsck", "--tsv"], capture_output=True, text=True)
        return {Path(row.split("\t")[0]).name: row.split("\t")[1] for row in ended.stdout.splitlines()[1:] if "/store/" in row}

    assert said() == {}
    (folder / "names" / "gone").unlink()
    (folder / "names" / "gone").symlink_to(f"../{'0' * 64}")
    (folder / "names" / "missing").unlink()
    (folder / "names" / "other").unlink()
    (folder / "names" / "other").symlink_to(f"../{other}")
    (folder / "names" / "a b").symlink_to("../../key")
    (folder / "notes").write_text("x")
    found = said()
    assert "leads to nothing" in found["gone"] and "is missing" in found["missing"] and "says other bytes" in found["other"]
    assert found["a b"] == "no name of the store" and "nothing of cit" in found["notes"] and len(found) == 5
    subprocess.run([CHECKOUT / "bin" / "cit-stash", "--mend"], check=True, capture_output=True)
    assert set(said()) == {"notes"}


def test_names_with_a_key_go_when_nobody_asks_for_them_and_plain_ones_stay(bench: Bench) -> None:
    folder, account = bench.account / "store", str(bench.account.path)
    digests = {name: put(bench, name) for name in ("plain", "wanted", "old")}
    for name, digest in digests.items():
        naming.give(str(folder), name, "" if name == "plain" else "f" * 64, digest, "x@y")
    for link in (folder / "names").iterdir():
        os.utime(link, (1, 1), follow_symlinks=False)
    naming.used(str(folder), "wanted", "f" * 64)
    assert [each.digest for each in store_clean.clean(account, dry=True)] == [digests["old"]] and len(store.names(str(folder))) == 3
    said = subprocess.run([CHECKOUT / "bin" / "cit-clean", "--store", "-n"], capture_output=True, text=True, check=True).stdout
    assert [row.split("\t")[0] for row in said.splitlines()] == [f"store/names/old@{'f' * 64}", f"store/{digests['old']}"]
    assert [each.digest for each in store_clean.clean(account)] == [digests["old"]]
    assert sorted(store.parted(called)[0] for called in store.names(str(folder))) == ["plain", "wanted"]


def test_name_that_is_forgotten_stays_forgotten(bench: Bench) -> None:
    folder = str(bench.account / "store")
    digest = put(bench, "a")
    naming.give(folder, "lib", "", digest, "x@y")
    subprocess.run([CHECKOUT / "bin" / "cit-stash", "--forget", "lib"], check=True)
    assert subprocess.run([CHECKOUT / "bin" / "cit-stash", "-q", "--forget", "lib"], capture_output=True).returncode == 1
    assert store.names(folder) == {} and naming.mended(folder, store.history(folder)) == []
    os.symlink(f"../{digest}", f"{folder}/names/lib")  # as a kill between the line and the link leaves it
    assert naming.mended(folder, store.history(folder)) == ["lib"] and store.names(folder) == {}
    naming.give(folder, "lib", "", digest, "x@y")
    assert store.meant(folder, "lib") == digest


def test_what_tick_does_is_done_once_a_day(bench: Bench) -> None:
    def hour() -> None:
        subprocess.run([CHECKOUT / "bin" / "cit-clean", "--settings"], check=True, capture_output=True)

    first, fresh = put(bench, "first"), put(bench, "fresh", days=0)
    hour()
    assert left(bench) == {fresh} and first != fresh
    second = put(bench, "second")
    hour()
    assert left(bench) == {fresh, second}, "not again on the same day"
    aged(bench.account / "store" / ".cleaned", 1.1)
    hour()
    assert left(bench) == {fresh}
    third = put(bench, "third", days=0.1)
    bench.set(on_end="", keep_free="100000G")
    hour()
    assert third not in left(bench), "at once where the disk is short"
