"""A pass over a build account: order, arrivals, processors, refusals, wishes, limits before a start (docs/stages/run.md)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cit_run.cit_format import body, document, home, reader, spool
from tests.int.cit_run.kit import Bench, until


def order_of(bench: Bench, file: Path) -> list[str]:
    """What jobs have written into a file, one line each."""
    return file.read_text().split()


def test_order_is_that_of_ls(bench: Bench, tmp_path: Path) -> None:
    """Greater priority first, then the older one; with one slot one after the other."""
    for number, priority in enumerate([0, -5, 7, 0]):
        bench.send(f"#!/bin/sh\necho {number} >>{tmp_path}/order\n", priority=priority)
    bench.run("--slots", "1")
    assert order_of(bench, tmp_path / "order") == ["2", "0", "3", "1"]


def test_arrival_while_a_long_job_runs(bench: Bench, tmp_path: Path) -> None:
    """What arrives meanwhile runs at once in the free slot, its result is finished, and on-end has been started for it."""
    bench.set(on_end=f"ls finished >>{tmp_path}/told")
    slow = bench.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    started = bench.start("--slots", "2")
    until(lambda: bench.runs(slow))
    began = time.monotonic()
    for _ in range(3):
        quick = bench.send("#!/bin/sh\necho quick\n")
        until(lambda quick=quick: any(quick.id in name for name in bench.names("finished")), "the quick job's result")
    assert time.monotonic() - began < 15
    until(lambda: (tmp_path / "told").exists() and quick.id in (tmp_path / "told").read_text(), "on-end")
    assert slow.id in " ".join(bench.names("running"))
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    assert bench.result(slow)["state"] == "COMPLETED"


def test_processors_are_counted(bench: Bench, tmp_path: Path) -> None:
    """A job that wants more of them than are free waits, and what came after it does not overtake it; then all of it runs."""
    bench.set(on_end="", slots=4, cpus=4)
    script = f"#!/bin/sh\nDIR={tmp_path}\ntouch $DIR/on.$CPUS.$$\necho $CPUS:$(ls -d $DIR/on.* | wc -l) >>$DIR/seen\nsleep 0.3\nrm $DIR/on.$CPUS.$$\n"
    for cpus in (1, 4, 1, 1, 1, 1, 9):
        bench.send(script, document.section("env", "tsv", body.tsv([("CPUS", str(cpus))])), cpus=cpus)
    bench.run()
    seen = (tmp_path / "seen").read_text().split()
    assert seen[0] == "1:1" and seen[1] == "4:1" and seen[-1] == "9:1"
    assert sorted(line.split(":")[0] for line in seen[2:6]) == ["1"] * 4 and max(int(line.split(":")[1]) for line in seen[2:6]) > 1


def test_only_one_pass(bench: Bench, tmp_path: Path) -> None:
    """A second one ends at once, and says nothing."""
    job = bench.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    started = bench.start()
    until(lambda: bench.runs(job))
    assert bench.run() == ""
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0


def test_what_is_not_believed(bench: Bench) -> None:
    """Each is refused with why, and the good one beside it runs."""
    good = bench.send("#!/bin/sh\necho good\n")
    inbox = bench.account / "inbox"
    changed = bench.assigned(bench.job("#!/bin/sh\necho stolen\n")).raw.replace(b"echo stolen", b"echo st0len")
    unassigned, no_env = bench.job("#!/bin/sh\n"), bench.assigned(bench.job("#!/bin/sh\n", document.section("env", "tsv", b"A=B\tx\n")))
    outside = bench.assigned(bench.job("#!/bin/sh\n", builddir="../x"))
    other = home.signed(bench.assigned(bench.job("#!/bin/sh\n")), bench.person, home.person(), "cit-job")
    bad = {"changed": changed, "unassigned": unassigned.raw, "env": no_env.raw, "builddir": outside.raw, "cut": other.raw[:-40], "two": good.raw * 2}
    for number, raw in enumerate(bad.values()):
        identity = raw.split()[2].decode()[:-1] + "z"
        (inbox / f"1000-{number:016d}.{identity}-bad.cit").write_bytes(raw)
    said = bench.run(status=77)
    assert bench.log(good) == "good\n" and bench.names("inbox") == bench.names("running") == []
    assert len(spool.listing(bench.account / "refused")) == len(bad)
    kept = [reader.parse((bench.account / "refused" / name).read_bytes()) for name in spool.listing(bench.account / "refused")]
    assert all(row[2] == "refused" for document in kept for row in list(document.all("event"))[-1].rows())
    for what in ("builddir", "env has a row", "no assignment", "not closed", "2 documents"):
        assert what in said
    assert not (bench.account / "work" / "bad").exists()


def test_later_version_stays_in_the_inbox(bench: Bench) -> None:
    """A section that this program does not know in that version: the job is left for one that does; unknown sections are nothing."""
    good = bench.send("#!/bin/sh\n", b"@begin future 9 text\nx\n@end future\n")
    job = bench.assigned(bench.job("#!/bin/sh\ntouch ran\n"))
    name = f"1000-0000000000000001.{job.id}.a1-job.cit"
    (bench.account / "inbox" / name).write_bytes(job.raw.replace(b"@begin script 1 sh", b"@begin script 2 sh"))
    said = bench.run(status=65)
    assert "version" in said and spool.listing(bench.account / "inbox") == [name]
    assert bench.result(good)["state"] == "COMPLETED" and not (bench.account / "refused").exists()


def test_cancel_before_it_begins(bench: Bench) -> None:
    """It ends CANCELLED by the builder's word, without a start; and also while every slot is taken."""
    before = bench.assigned(bench.job("#!/bin/sh\ntouch ran\n", name="before"))
    bench.wish(before, "cancel")
    bench.give(before)
    slow = bench.send("#!/bin/sh\nsleep 60\n", name="slow")
    started = bench.start("--slots", "1")
    until(lambda: bench.runs(slow))
    queued = bench.send("#!/bin/sh\ntouch ran\n", name="queued")
    bench.wish(queued, "cancel")
    until(lambda: len(bench.names("finished")) == 2, "the ends of the cancelled jobs")
    bench.wish(slow, "cancel")
    assert started.wait(30) == 0
    for job in (before, queued):
        assert (bench.result(job)["state"], bench.events(job)) == ("CANCELLED", ["received", "ended"])
        assert home.person() in str(bench.result(job)["why"]) and not (bench.account / "work" / job.name).exists()
    assert not os.listdir(bench.account / "control"), "wishes about jobs that have ended are done with"


def test_wish_of_another_has_no_power(bench: Bench, tmp_path: Path) -> None:
    """A control document that is not honoured: wrong key, or bytes that were changed."""
    job = bench.assigned(bench.job("#!/bin/sh\nsleep 0.2\necho ran\n"))
    bench.wish(job, "cancel")
    (name,) = os.listdir(bench.account / "control")
    path = bench.account / "control" / name
    path.write_bytes(path.read_bytes().replace(b'action = "cancel"', b'action = "cancel" '))
    bench.give(job)
    bench.run()
    assert bench.log(job) == "ran\n"


def test_hold_before_it_begins(bench: Bench) -> None:
    """A held job stays in the inbox and does not keep the pass; released, it runs."""
    held = bench.assigned(bench.job("#!/bin/sh\necho ran\n"))
    bench.wish(held, "hold")
    bench.give(held)
    other = bench.send("#!/bin/sh\n")
    bench.run()
    assert bench.result(other)["state"] == "COMPLETED" and len(bench.names("inbox")) == 1
    bench.wish(held, "release")
    bench.run()
    assert bench.log(held) == "ran\n"


def test_start_within(bench: Bench, tmp_path: Path) -> None:
    """What has not begun in time is given back by a signed void, also while every slot is taken; its time counts from receipt."""
    slow = bench.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    waits = bench.send("#!/bin/sh\ntouch ran\n", name="waits", start_within="2s")
    started = bench.start("--slots", "1")
    until(lambda: bench.names("finished"), "the void")
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    void = bench.finished(waits)
    assert void.find("result") is None and bench.events(waits) == ["received", "void"]
    assert not (bench.account / "work" / "waits").exists() and bench.result(slow)["state"] == "COMPLETED"


def test_log_of_moves(bench: Bench) -> None:
    """log/DAY.tsv tells each move, with what a board wants to know."""
    job = bench.send("#!/bin/sh\nexit 3\n", cpus=1)
    bench.run()
    lines = [line.split("\t") for log in (bench.account / "log").glob("*.tsv") for line in log.read_text().splitlines()]
    mine = [(line[2], line[3], line[6]) for line in lines if line[0] == f"{job.id}.a1-job"]
    assert [word for _, word, _ in mine] == ["received", "started", "FAILED"]
    assert mine[1][2] == "work/job/0, cpus 1" and mine[2][2].startswith("FAILED, exit 3, 0.")
    assert [row[2] for section in bench.finished(job).all("event") for row in section.rows()][-3:] == ["received", "started", "ended"]


def test_environment_says_where_it_ran(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\n", document.section("env", "tsv", body.tsv([("MODE", "debug")])), builddir="out/debug")
    bench.run()
    section = bench.finished(job).find("environment")
    assert section is not None
    rows = dict(section.rows())
    assert rows["MODE"] == "debug" and rows["cwd"].endswith("work/job/0/out/debug") and {"host", "system", "cpus", "cit", "PATH"} <= set(rows)
    assert bench.result(job)["state"] == "COMPLETED"


def test_nothing_to_do(bench: Bench) -> None:
    assert bench.run() == ""
