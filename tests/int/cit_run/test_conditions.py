"""A job begins when the machine is idle enough and has the disk that it asks for; until then it rests, and others go on (docs/howto/limits.md)."""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from cit_run import conditions
from cit_run.attempt import attempt_of
from cit_run.cit_format import body, clock, heartbeat, home, reader, spool
from cit_run.conditions import Conditions, Need, against, hidden
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, until

REASONS = {
    "nothing asked": (Need(), 99.0, math.inf, 0, ""),
    "at both limits": (Need(1.5), 1.5, 1.5, 0, ""),
    "above the job's": (Need(1.5), 1.51, math.inf, 0, "load 1.51, the job wants at most 1.5"),
    "above the builder's": (Need(8), 6.5, 6, 0, "load 6.50, the limit of this builder is 6"),
    "disk enough": (Need(disk=1 << 30), 0, math.inf, 1 << 30, ""),
    "too little disk": (Need(disk=1 << 30), 0, math.inf, 1 << 20, "1.0G of disk wanted, 1.0M left"),
}


@pytest.mark.parametrize("what", REASONS)
def test_why_it_does_not_begin(what: str) -> None:
    wanted, load, limit, free, expected = REASONS[what]
    assert against(wanted, load, limit, free) == expected


def test_what_has_just_begun_counts() -> None:
    """The average of a minute does not show it yet: else all jobs of an idle machine would begin at once."""
    assert hidden([]) == 0.0 and hidden([(4, 0.0)]) == 4.0
    assert 1.4 < hidden([(4, 60.0)]) < 1.5 and hidden([(4, 600.0)]) < 0.001


def test_load(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rests goes when the load has sunk so far as it wants; nobody looks more often than the kernel counts."""
    loads = [9.0]
    monkeypatch.setattr(os, "getloadavg", lambda: (loads[0], 0.0, 0.0))
    found = Conditions(bench.account)
    assert found.limit == math.inf and found.pause() == math.inf
    polite, politer, other = (
        attempt_of(f"{number}.cit", bench.job("", **said), 0) for number, said in enumerate(({"load_limit": "4"}, {"load_limit": "1"}, {}))
    )  # type: ignore[arg-type]
    assert found.rest(polite, []) == "load 9.00, the job wants at most 4" and found.rest(politer, []) and not found.rest(other, [])
    assert 4.0 < found.pause() <= conditions.LOOK and not found.look(["0.cit", "1.cit"], [])
    assert found.is_news("a", "load 9.00, x") and not found.is_news("a", "load 8.12, x") and found.is_news("a", "1.0G of disk wanted, x")
    loads[0], found.next = 3.0, 0.5
    assert found.look(["0.cit", "1.cit"], []) and list(found.resting) == ["1.cit"]
    loads[0], found.next = 0.5, 0.5
    assert not found.look(["1.cit"], [(2, 1.0)]), "it would be too much with what has just begun"
    found.next = 0.5
    assert found.look(["1.cit"], []) and found.pause() == math.inf
    found.rest(politer, [(2, 0.0)])
    found.next = 0.5
    assert found.look([], []) and not found.resting, "one that is not there any more"


def test_polite_job_rests_and_is_given_back(bench: Bench) -> None:
    """It does not keep a slot, others go on, the log says why once; after start-within it is the queue's again. A pass waits for it."""
    polite = bench.send("#!/bin/sh\n", name="polite", load_limit="-1", start_within="3s")
    other = bench.send("#!/bin/sh\necho ran\n", name="other")
    began = time.monotonic()
    bench.run("--slots", "1")
    assert time.monotonic() - began > 2
    assert (bench.log(other), bench.events(polite)) == ("ran\n", ["received", "void"])
    log = next((bench.account / "log").glob("*.tsv")).read_text()
    waits = [line.split("\t") for line in log.splitlines() if "\twaits\t" in line]
    assert len(waits) == 1 and waits[0][0].startswith(polite.id) and waits[0][6].endswith("the job wants at most -1"), waits


def test_polite_job_is_cancelled(bench: Bench) -> None:
    """While it rests it is in the inbox, where cit why finds the reason; and it hears what is wished."""
    job = bench.send("#!/bin/sh\n", load_limit="-1")
    started = bench.start()
    log = bench.account / "log" / f"{clock.day(clock.now())}.tsv"
    until(lambda: log.exists() and "\twaits\t" in log.read_text(), "the reason in the log")
    until(lambda: any(job.id in name for name in bench.names("inbox")))
    why = subprocess.run([CHECKOUT / "bin" / "cit", "why", job.id], capture_output=True, text=True)
    assert re.search(r"waits in the inbox of \S+ until it may begin: load [\d.]+, the job wants at most -1", " ".join(why.stdout.split())), why
    bench.wish(job, "cancel")
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "CANCELLED"


def test_builder_has_a_limit_of_its_own(bench: Bench) -> None:
    """The owner's document says it, and the builder looks itself, whoever gave it the job."""
    described = heartbeat.described(bench.account)
    text = described.raw[: described.find("signature").start].decode().replace("@end builder\n", 'load-limit = "-0.5"\n@end builder\n')  # type: ignore[union-attr]
    signed = home.signed(reader.parse(text.encode()), bench.account.signer, bench.account.identity, "cit-builder")
    (bench.account / "builder.cit").write_bytes(signed.raw)
    job = bench.send("#!/bin/sh\n", start_within="2s")
    bench.run()
    assert bench.events(job) == ["received", "void"]


def test_disk(bench: Bench, tmp_path: Path) -> None:
    """A job that asks for more disk than is left waits, and begins when there is room."""
    if os.getuid():
        pytest.skip("mounts need root")
    work = bench.account / "work"
    job = bench.send("#!/bin/sh\necho ran\n", tmp="20M")
    script = f"mount -t tmpfs -o size=30m tmpfs {work} && head -c 20000000 /dev/zero >{work}/filler && exec cit-run --from inbox"
    started = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stderr=subprocess.PIPE)
    log = bench.account / "log" / f"{clock.day(clock.now())}.tsv"
    until(lambda: started.poll() is not None or (log.exists() and "\twaits\t" in log.read_text()), "the reason in the log")
    if started.returncode is not None and b"unshare" in (started.stderr.read() if started.stderr else b""):
        pytest.skip("no mounts here")
    assert "20M of disk wanted" in log.read_text()
    os.unlink(f"/proc/{started.pid}/root{work}/filler")
    assert started.wait(60) == 0
    assert bench.result(job)["state"] == "COMPLETED"
    assert spool.listing(bench.account / "inbox") == []


def test_by_hand_too(bench: Bench) -> None:
    """cit-run as a filter waits, says so, and gives up at the deadline of the job."""
    job = bench.job("#!/bin/sh\n", load_limit="-1", deadline=body.Time(clock.now() + 2 * clock.SECOND))
    ended = bench.filtered(job)
    assert ended.returncode == 124 and b"the job wants at most -1" in ended.stderr and b'state = "DEADLINE"' in ended.stdout


@pytest.mark.parametrize("said", ["high", "nan", ""])
def test_load_that_is_none(bench: Bench, said: str) -> None:
    bench.send("#!/bin/sh\n", load_limit=said)
    assert "load-limit" in bench.run(status=65)
