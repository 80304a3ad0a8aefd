"""A job that waits for a job lends its slot: one slot is enough, and nobody goes on without one (docs/howto/jobs-that-make-jobs.md)."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_report.cit_format import lent, spool
from tests.int.cit_report.lived import Lived

PATIENCE = 60.0  # seconds


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)


@pytest.fixture
def narrow(tmp_path: Path) -> Lived:
    """A home whose account has one slot."""
    lived = Lived(tmp_path / "ada")
    lived.directory.mkdir()
    lived.run("cit-init")
    lived.run("cit-config", "slots", "1")
    return lived


OUTER, STRANGER = [("outer", "in"), ("outer", "out")], [("stranger", "in"), ("stranger", "out")]


def states(lived: Lived) -> dict[str, str]:
    return {row["name"]: row["state"] for row in lived.rows("cit-ls", "-a")}


def spans(lived: Lived) -> list[tuple[str, str]]:
    """What jobs wrote into the common file: name and word."""
    return [tuple(line.split(" ")) for line in (lived.directory / "said").read_text().splitlines()]  # type: ignore[misc]


def say(lived: Lived, name: str, word: str) -> str:
    return f"echo {name} {word} >> {lived.directory}/said"


def test_a_job_that_pushes_a_job_and_waits_for_it_ends_on_one_slot(narrow: Lived) -> None:
    narrow.push("outer", f"#!/bin/sh\ncit push -J inner --wait -- sh -c 'exit 7'\necho inner $?; {say(narrow, 'outer', 'on')}; exit 3\n")
    narrow.run("cit-wait", "-q", "outer", status=3)
    assert states(narrow) == {"outer": "FAILED", "inner": "FAILED"}
    assert "inner 7\n" in narrow.run("cit-log", "outer")
    assert not list(narrow.path.glob("work/*.run/lent"))
    inner = narrow.objects("cit-show", "inner")[0]
    outer = narrow.objects("cit-show", "outer")[0]
    assert f"parent={outer['id']}" in str(inner["asked"]) and f"chain={outer['id']}" in str(inner["asked"])


def test_three_deep_and_several_at_once(narrow: Lived) -> None:
    third = f"{say(narrow, 'third', 'ran')}"
    (narrow.directory / "second").write_text(
        f"#!/bin/sh\ncit push -q -J third -- sh -c '{third}'; cit push -q -J other -- true\ncit wait third other\n"
    )
    narrow.push("first", f"#!/bin/sh -e\ncit push --wait -J second --script {narrow.directory}/second\n{say(narrow, 'first', 'ended')}\n")
    narrow.run("cit-wait", "-q", "first")
    assert set(states(narrow).values()) == {"COMPLETED"} and len(states(narrow)) == 4
    assert spans(narrow) == [("third", "ran"), ("first", "ended")]


def test_nobody_goes_on_without_a_slot(narrow: Lived) -> None:
    """The inner job has ended, the outer one wants to go on and a stranger to begin: whoever gets the slot first, never two at once."""
    go, seen = narrow.directory / "go", narrow.directory / "seen"
    inner = f"touch {seen}; until test -e {go}; do sleep 0.02; done"
    goes_on = f"{say(narrow, 'outer', 'in')}; sleep 1; {say(narrow, 'outer', 'out')}"
    narrow.push("outer", f"#!/bin/sh\ncit push --wait -J inner -- sh -c '{inner}'\n{goes_on}\n")
    until(seen.exists, "the inner job")
    stranger = f"{say(narrow, 'stranger', 'in')}; sleep 1; {say(narrow, 'stranger', 'out')}"
    narrow.push("stranger", f"#!/bin/sh\n{stranger}\n", "--priority", "9")
    until(lambda: list((narrow.path / "inbox").glob("*stranger.cit")), "the stranger in the inbox")
    (record,) = narrow.path.glob("work/*-outer.run")
    assert (record / "lent").exists()
    go.touch()
    narrow.run("cit-wait", "-q", "outer", "stranger")
    told = spans(narrow)
    assert told in (OUTER + STRANGER, STRANGER + OUTER), "one after the other"


def test_any_returns_with_the_first(narrow: Lived) -> None:
    narrow.run("cit-config", "slots", "2")
    narrow.push("long", "#!/bin/sh\nsleep 60\n")
    narrow.push("short", "#!/bin/sh\nexit 5\n")
    began = time.monotonic()
    narrow.run("cit-wait", "-q", "--any", "long", "short", status=5)
    assert time.monotonic() - began < 50
    narrow.run("cit-cancel", "long")
    narrow.run("cit-wait", "-q", "long", "short", status=143)


def test_a_waiter_that_is_killed_has_lent_nothing(narrow: Lived) -> None:
    """kill -9 of `cit wait`: its job counts again at once, and what it has begun meanwhile ends."""
    inner = f"{say(narrow, 'inner', 'ran')}"
    waits = f"cit wait inner & echo $! > {narrow.directory}/pid; wait $!; sleep 1"
    narrow.push("outer", f"#!/bin/sh\ncit push -q -J inner -H -- sh -c '{inner}'; {waits}; {say(narrow, 'outer', 'on')}\n")
    until(lambda: list(narrow.path.glob("work/*-outer.run/lent")), "the loan")
    waiter = int((narrow.directory / "pid").read_text())
    children = Path(f"/proc/{waiter}/task/{waiter}/children").read_text().split()
    for pid in [waiter, *map(int, children)]:
        os.kill(pid, signal.SIGKILL)
    narrow.run("cit-release", "inner")
    narrow.run("cit-wait", "-q", "outer", "inner")
    assert spans(narrow) == [("outer", "on"), ("inner", "ran")], "there is one slot, and the outer job has it"


def test_a_killed_pass_does_not_strand_who_wants_its_slot(narrow: Lived) -> None:
    """kill -9 of cit-run while a slot is lent: the waiter has a new pass started, which gives it back."""
    go, seen = narrow.directory / "go", narrow.directory / "seen"
    inner = f"touch {seen}; until test -e {go}; do sleep 0.02; done"
    narrow.push("outer", f"#!/bin/sh\ncit push --wait -J inner -- sh -c '{inner}'\n{say(narrow, 'outer', 'on')}\n")
    until(seen.exists, "the inner job")
    holder = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inode = str((narrow.path / "running" / ".lock").stat().st_ino)
    (pid,) = {int(words[4]) for words in holder if words[5].endswith(f":{inode}")}
    os.kill(pid, signal.SIGKILL)
    go.touch()
    until(lambda: (narrow.directory / "said").exists(), "the outer job's end")
    narrow.run("cit-tick", status=None)
    narrow.run("cit-wait", "-q", "outer", "inner")
    assert states(narrow) == {"outer": "COMPLETED", "inner": "COMPLETED"}


def test_a_builder_that_takes_no_job_ahead_takes_one_for_a_lent_slot(narrow: Lived) -> None:
    """The queue does not count a job that waits: else it would never give away what that job waits for."""
    (described,) = (narrow.queue / "builders").glob("*.cit")
    unsigned = described.read_bytes().partition(b"@begin signature")[0]
    for key in (b"slots", b"cpus", b"ahead"):
        unsigned = re.sub(b"^%s = .*$" % key, b"%s = %d" % (key, key != b"ahead"), unsigned, flags=re.M)
    described.write_bytes(narrow.completed("cit-format", "sign", "--ns", "cit-builder", stdin=unsigned).stdout)
    narrow.push("outer", "#!/bin/sh\ncit push --wait -J inner -- true\n")
    narrow.run("cit-wait", "-q", "outer")
    assert narrow.rows("cit-builders")[0]["state"] == "up", "its document counts"


def test_a_job_that_makes_itself_again_comes_to_an_end(narrow: Lived) -> None:
    narrow.run("cit-config", "@main", "chain-most", "3")
    (narrow.directory / "again").write_text(
        f"#!/bin/sh\n{say(narrow, 'again', '$CIT_JOB_ID')}\ncit push --wait -J again --script {narrow.directory}/again\n"
    )
    narrow.push("again", (narrow.directory / "again").read_text())
    first = narrow.objects("cit-ls", "-a")[-1]["id"]
    narrow.run("cit-wait", "-q", str(first), status=65)
    assert len(spans(narrow)) == 4
    log = narrow.run("cit-log", "again")
    assert "comes out of 4 jobs, one inside the other, and 3 may be" in log and "chain-most 6" in log


def test_a_job_does_not_wait_for_itself(narrow: Lived) -> None:
    narrow.run("cit-push", "-J", "self", "--", "cit", "wait")
    narrow.run("cit-wait", "-q", "self", status=2)
    assert "a job that waits for itself" in narrow.run("cit-log", "self")


def test_a_job_that_pushes_and_ends_leaves_a_job_that_runs(narrow: Lived) -> None:
    """What it started is killed with it, also a pass over the queue; its own end has the queue looked at."""
    narrow.push("outer", "#!/bin/sh\ncit push -q -J inner -- true\n")
    until(lambda: states(narrow).get("inner") == "COMPLETED", "the inner job's end")


def test_a_file_that_nobody_has_locked_yet_is_left_alone(tmp_path: Path) -> None:
    """The pass may look between the making of the file and its lock: taken away then, the slot would never be lent."""
    path = tmp_path / lent.FILE
    path.write_bytes(b"back")
    assert not lent.is_lent(str(tmp_path)) and path.exists()
    with spool.Lock(path):
        assert lent.is_lent(str(tmp_path)) and lent.wants_back(str(tmp_path))
    lent.give_back(str(tmp_path))
    assert not path.exists() and not lent.is_lent(str(tmp_path))
