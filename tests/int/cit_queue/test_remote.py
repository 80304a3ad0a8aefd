"""A queue that lies elsewhere: documents are here, on disk, before they go; there once, whatever is cut or killed; in order."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path

import pytest

from cit_format import body, clock, document, home, spool
from cit_format.body import Time
from cit_format.document import Document
from cit_queue.accept import Answer, Arrival
from cit_queue.cit_format import reader as own_reader
from cit_queue.intake import Intake
from cit_queue.places import Places
from cit_queue.remote import answered
from tests.int.cit_queue.elsewhere import Elsewhere
from tests.int.cit_queue.house import House, states, statuses, tickets
from tests.int.cit_queue.test_faults import Fresh


@pytest.fixture
def moon(house: House, first_use: Path, tmp_path: Path) -> Elsewhere:
    shutil.copytree(first_use, tmp_path / "far", symlinks=True)
    far = House(tmp_path / "far")
    shutil.rmtree(far.queue.path)
    far.queue.path.parent.mkdir(exist_ok=True)
    home.make_queue(far.queue.path)
    shutil.copy(house.queue / "allowed_signers", far.queue / "allowed_signers")
    far = House(tmp_path / "far")
    far.set("on-arrival", "")
    return Elsewhere(house, far)


# --- what a ticket is worth ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "state", "why"),
    [
        ({}, "accepted", ""),
        ({"state": "duplicate"}, "duplicate", ""),
        ({"state": "RUNNING"}, "RUNNING", ""),
        ({"received": "sha256:" + "0" * 64}, None, "no ticket came back"),
        ({"state": "kept", "why": "full"}, None, "full"),
        ({"state": "refused", "status": 74, "why": "no space"}, None, "no space"),
        ({"state": "refused", "status": 69}, None, "it is not ready"),
        ({"state": "refused"}, None, "it is not ready"),
        ({"state": ""}, None, "it is not ready"),
        *(({"state": "refused", "status": status, "why": "no"}, "refused", "") for status in (1, 65, 77)),
    ],
)
def test_only_a_ticket_for_these_bytes_that_says_what_became_of_them_counts(
    house: House, changes: dict[str, object], state: str | None, why: str
) -> None:
    job = house.job()
    said = {"state": "accepted", "received": f"sha256:{hashlib.sha256(job.raw).hexdigest()}", "bytes": len(job.raw), **changes}
    ticket = document.new("hello", document.section("ticket", "toml", body.toml(said)), identity=job.id)
    answer, missing = answered(own_reader.parse(job.raw), [own_reader.parse(ticket.raw)])
    assert ((answer.state if answer else None), missing) == (state, why)
    assert answered(own_reader.parse(job.raw), []) == (None, "no ticket came back")


# --- pushing ------------------------------------------------------------------------------------------------------------


def test_a_push_goes_there_and_its_tickets_come_back(moon: Elsewhere) -> None:
    jobs = [moon.job(f"n{number}") for number in range(3)]
    ended = moon.run("cit-queue", "--to", "@moon", stdin=b"".join(job.raw for job in jobs))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert [each.id for each in tickets(ended.stdout)] == [job.id for job in jobs] and states(ended.stdout) == ["accepted"] * 3
    assert moon.there() == moon.outbox("sent") == ["n0", "n1", "n2"] and moon.outbox() == []
    again = moon.run("cit-queue", "--to", "@", stdin=jobs[1].raw)
    assert (again.returncode, states(again.stdout)) == (0, ["duplicate"]), "@ is the queue that the document names"


@pytest.mark.parametrize("fault", ["shut", "cut", "lost"])
def test_what_has_no_ticket_stays_and_goes_first_the_next_time(moon: Elsewhere, fault: str) -> None:
    jobs = [moon.job(f"n{number}") for number in range(4)]
    moon.fault(fault)
    for some in (jobs[:2], jobs[2:3]):
        ended = moon.run("cit-queue", "--to", "@moon", stdin=b"".join(job.raw for job in some))
        assert (ended.returncode, set(states(ended.stdout)) - {"accepted"}) == (75, {"kept"}), ended.stderr
        [line, hint] = [line for line in ended.stderr.decode().splitlines() if " note: " not in line]
        assert "error: queue @moon cannot be had: " in line and hint.startswith("hint: ")
        assert ("no route to host" in line) == (fault == "shut")
    moon.fault()
    ended = moon.run("cit-queue", "--to", "@moon", stdin=jobs[3].raw)
    assert (ended.returncode, states(ended.stdout)) == (0, ["accepted"]), ended.stderr
    assert b"kept before went to their queue now" in ended.stderr
    assert moon.there() == ["n0", "n1", "n2", "n3"] and moon.outbox() == []


def test_a_carrier_that_does_not_read_ends_nobody(moon: Elsewhere) -> None:
    """More than a pipe holds: who writes to a program that has ended is ended itself, unless it looks out."""
    moon.fault("shut")
    jobs = [moon.job(f"n{number}", parent=clock.new_id()) for number in range(200)]
    ended = moon.run("cit-queue", "--to", "@moon", stdin=b"".join(job.raw for job in jobs))
    assert (ended.returncode, states(ended.stdout)) == (75, ["kept"] * 200) and len(moon.outbox()) == 200
    moon.fault()
    assert set(states(moon.run("cit-outbox", "send").stdout)) == {"accepted"} and moon.there() == [job.name for job in jobs]


def test_a_local_push_does_not_wait_for_what_is_kept_for_elsewhere(moon: Elsewhere) -> None:
    moon.fault("shut")
    moon.run("cit-queue", "--to", "@moon", stdin=moon.job("kept").raw)
    moon.fault("late")
    ended = moon.run("cit-queue", "--to", "@main", stdin=moon.near.job("here").raw)
    assert (ended.returncode, states(ended.stdout)) == (0, ["accepted"])
    assert moon.outbox() == ["kept"]


def test_send_resend_and_recover_take_what_is_kept(moon: Elsewhere) -> None:
    moon.fault("shut")
    moon.run("cit-queue", "--to", "@moon", stdin=moon.job("one").raw + moon.job("two").raw)
    ended = moon.run("cit-outbox", "send")
    assert (ended.returncode, states(ended.stdout)) == (75, ["kept"] * 2) and ended.stderr.count(b"cannot be had") == 1
    assert moon.run("cit-outbox", "--tsv").stdout.count(b"\tkept\t") == 2
    moon.fault()
    ended = moon.run("cit-queue", "--recover", "-q", "--queue", "@main")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert moon.there() == ["one", "two"] and moon.outbox() == []
    ended = moon.run("cit-outbox", "resend")
    assert (ended.returncode, states(ended.stdout)) == (0, ["duplicate"] * 2) and moon.there() == ["one", "two"]


def test_a_tick_sends_what_is_kept_and_what_a_killed_push_left(moon: Elsewhere) -> None:
    moon.fault("shut")
    moon.run("cit-queue", "--to", "@moon", stdin=moon.job("one").raw + moon.job("two").raw)
    box = moon.near.path / "outbox"
    dead = box / ".claim" / "sun~1~1"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    for path in box.glob("*.cit"):
        path.rename(dead / path.name)
    ended = moon.run("cit-tick")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b""), "out of reach is no news to cron"
    assert moon.outbox() == ["one", "two"] and not dead.exists()
    moon.fault()
    ended = moon.run("cit-tick")
    assert (ended.returncode, ended.stdout) == (0, b"") and moon.there() == ["one", "two"] and moon.outbox() == []
    assert not (moon.queue / "log").exists(), "a queue elsewhere is looked after there"


def test_what_is_refused_there_leaves_and_is_said(moon: Elsewhere) -> None:
    stranger = moon.near.job("stranger", who="eve", queue=moon.queue.full_name)
    ended = moon.run("cit-queue", "--to", "@moon", stdin=stranger.raw + moon.job("fine").raw)
    assert (ended.returncode, statuses(ended.stdout)) == (77, [77, "accepted"]) and b"is not in" in ended.stderr
    assert moon.outbox() == [] and moon.outbox("sent") == moon.there() == ["fine"]
    assert [each.name for each in moon.far.refused()] == ["stranger"]


def test_what_is_not_for_it_or_for_nobody_is_refused_here(moon: Elsewhere) -> None:
    ended = moon.run("cit-queue", "--to", "@moon", stdin=b"junk\n" + moon.near.job("mine").raw + moon.job("ok").raw)
    assert (ended.returncode, statuses(ended.stdout)) == (77, [65, 77, "accepted"]), ended.stderr
    assert b"it is for queue main@" in ended.stderr and moon.there() == ["ok"]


def test_an_inactive_queue_is_named_as_such(moon: Elsewhere) -> None:
    moon.far.set("active", False)
    ended = moon.run("cit-queue", "--to", "@moon", stdin=moon.job().raw)
    assert (ended.returncode, states(ended.stdout)) == (75, ["kept"])
    assert moon.outbox() == ["hello"]


def test_the_same_document_again_is_kept_once(moon: Elsewhere) -> None:
    moon.fault("shut")
    job = moon.job("once")
    for _ in range(2):
        assert states(moon.run("cit-queue", "--to", "@moon", stdin=job.raw + job.raw).stdout) == ["kept", "kept"]
    assert moon.outbox() == ["once"]
    moon.fault()
    assert states(moon.run("cit-queue", "--to", "@moon", stdin=job.raw).stdout) == ["accepted"] and moon.there() == ["once"]


def test_what_expires_here_is_said_and_leaves(moon: Elsewhere) -> None:
    moon.fault("shut")
    moon.run("cit-queue", "--to", "@moon", stdin=moon.job("late", expires=Time(clock.now() + 90 * clock.SECOND)).raw)
    moon.near.environment["CIT_NOW"] = clock.iso(clock.now() + 2 * clock.MINUTE)
    ended = moon.run("cit-outbox", "send")
    assert ended.returncode == 77 and b"expired" in ended.stderr and moon.outbox() == []


def test_a_replica_takes_what_its_queue_cannot(moon: Elsewhere) -> None:
    """Two doors of one queue: the first does not answer, so the second is tried; jobs name the queue, not the door."""
    shut = moon.near.path / "queues" / "first"
    shutil.copytree(moon.queue.path, shut)
    text = (shut / "queue.toml").read_text().replace(str(moon.far.queue.path), "/nowhere/queue")
    (shut / "queue.toml").write_text(text)
    carrier = Path(moon.near.environment["PATH"].split(":")[0]) / "cit-deliver"
    carrier.write_text(carrier.read_text().replace("case $* in", "case $* in *queues/first*) exit 69 ;; esac\ncase $* in", 1))
    ended = moon.run("cit-queue", "--to", "@first", stdin=moon.job("one").raw)
    assert (ended.returncode, states(ended.stdout)) == (0, ["accepted"]), ended.stderr
    assert moon.there() == ["one"] and moon.outbox() == []


def test_settings_that_lack_a_door_are_said(moon: Elsewhere) -> None:
    job = moon.job()
    (moon.queue / "queue.toml").write_text('name = "main"\nremote = true\n')
    ended = moon.run("cit-queue", "--to", "@moon", stdin=job.raw)
    assert ended.returncode == 78 and b"door and founder" in ended.stderr
    assert states(moon.run("cit-queue", "--to", "@main", stdin=moon.near.job().raw).stdout) == ["accepted"], "others do not mind"


# --- several queues -----------------------------------------------------------------------------------------------------


def pushed_to(moon: Elsewhere, *words: str) -> tuple[str, str]:
    """The queue that cit-trigger signs for, and what it says."""
    made = moon.run("cit-trigger", *words, "--", "true")
    queue = [line.split('"')[1] for line in made.stdout.decode().splitlines() if line.startswith("queue = ")][0]
    return queue, made.stderr.decode()


def asked(moon: Elsewhere) -> int:
    """How often the door was asked anything."""
    log = moon.faults.with_name("fault.log")
    return log.read_text().count("\n") if log.exists() else 0


def test_a_job_that_names_no_queue_yet_goes_to_the_first_that_can_be_had(moon: Elsewhere) -> None:
    (moon.near.path / "config.toml").write_text('on-arrival = ""\nqueues = ["@moon", "@main"]\n')
    assert pushed_to(moon) == (moon.queue.full_name, "") and pushed_to(moon) == (moon.queue.full_name, "")
    assert asked(moon) == 1, "what it said is believed for 10 seconds"
    (moon.queue / ".alive").unlink()
    moon.fault("shut")
    queue, said = pushed_to(moon)
    assert queue == moon.near.queue.full_name and "queue @moon cannot be had (moon: no route to host): this goes to @main" in said
    assert pushed_to(moon)[0] == queue and asked(moon) == 2
    moon.fault()
    moon.far.set("active", False)
    (moon.queue / ".alive").unlink()
    assert "queue @moon is not active: this goes to @main" in pushed_to(moon)[1]
    assert pushed_to(moon, "--queue", "@moon")[0] == moon.queue.full_name, "who names a queue gets it"


def test_a_single_queue_is_not_asked_first(moon: Elsewhere) -> None:
    (moon.near.path / "config.toml").write_text('on-arrival = ""\nqueues = ["@moon"]\n')
    moon.fault("late")
    assert pushed_to(moon) == (moon.queue.full_name, "") and asked(moon) == 0


def test_no_queue_at_all_is_the_first_and_what_is_pushed_is_kept(moon: Elsewhere) -> None:
    (moon.near.path / "config.toml").write_text('on-arrival = ""\nqueues = ["@moon", "@main"]\n')
    moon.fault("shut")
    moon.near.set("active", False)
    ended = moon.run("cit-push", "-q", "--", "true")
    assert ended.returncode == 75 and moon.outbox() == ["true"], ended.stderr
    moon.fault()
    assert moon.run("cit-outbox", "send").returncode == 0 and moon.there() == ["true"]


def test_who_does_not_answer_is_not_waited_for(moon: Elsewhere) -> None:
    (moon.near.path / "config.toml").write_text('on-arrival = ""\nqueues = ["@moon", "@main"]\n')
    moon.fault("late")
    queue, said = pushed_to(moon)
    assert queue == moon.near.queue.full_name and "within 3 s" in said


def test_a_silent_queue_makes_one_push_wait_and_not_the_next(moon: Elsewhere) -> None:
    """For a minute it is not asked by a push, which says so, and what waits is kept; who sends the outbox asks, and an answer ends it."""

    def pushed(name: str) -> tuple[float, str]:
        began = time.monotonic()
        ended = moon.run("cit-queue", "--to", "@moon", stdin=moon.job(name).raw)
        assert (ended.returncode, states(ended.stdout)) == (75, ["kept"]), ended.stderr
        return time.monotonic() - began, ended.stderr.decode()

    moon.fault("silent")
    first = pushed("n0")
    asked = (moon.faults.with_suffix(".log")).read_text()
    again = pushed("n1")
    assert (moon.faults.with_suffix(".log")).read_text() == asked, "nobody was asked"
    assert "no answer" in first[1] and "a push asks again after" in again[1] and first[0] > 2
    moon.fault()
    assert "s ago" in pushed("n2")[1], "also when it is back, until somebody finds that out"
    assert moon.run("cit-outbox", "send").returncode == 0 and moon.there() == ["n0", "n1", "n2"]
    ended = moon.run("cit-queue", "--to", "@moon", stdin=moon.job("n3").raw)
    assert (ended.returncode, states(ended.stdout)) == (0, ["accepted"]) and not (moon.queue / ".silent").exists()
    (moon.queue / ".silent").write_text(f"{clock.iso_ms(clock.now() - clock.MINUTE)}\tno answer\n")
    assert states(moon.run("cit-queue", "--to", "@moon", stdin=moon.job("n4").raw).stdout) == ["accepted"]


# --- killed before any call that changes the disk -----------------------------------------------------------------------

RECEIVER = """#!{python} -SE
# Stands for cit-deliver and the door behind it: keeps each document under its digest, and writes tickets. Quick.
import hashlib, os, re, sys
stream = sys.stdin.buffer.read().split(b"\\n", 1)[1]
for raw in re.split(rb"(?m)^(?=@cit )", stream)[1:]:
    digest, identity = hashlib.sha256(raw).hexdigest(), raw.split()[2].decode()
    state = "duplicate" if os.path.exists(f"{there}/{{identity}}.{{digest}}") else "accepted"
    open(f"{there}/{{identity}}.{{digest}}", "wb").write(raw)
    print(f'@cit 1 {{identity}} x\\n@begin ticket 1 toml\\nstate = "{{state}}"\\nreceived = "sha256:{{digest}}"\\nbytes = 1\\n@end ticket')
"""


@pytest.mark.parametrize("when", ["first", "after others were kept"])
def test_killed_at_any_call_a_push_is_here_or_there_and_a_retry_leaves_it_once(house: House, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    moon = Elsewhere(house, house)
    fresh = Fresh(house.directory, monkeypatch)
    there = house.directory / "there"
    there.mkdir()
    carrier = house.directory / "bin" / "cit-deliver"
    (moon.queue / "queue.toml").write_text((moon.queue / "queue.toml").read_text().replace(house.queue.fingerprint, "SHA256:founder"))
    jobs = [house.job(name, queue="main@SHA256:founder") for name in "abc"]
    kept = jobs[:1] if when != "first" else []
    carrier.write_text("#!/bin/sh\nexit 69\n")
    monkeypatch.setenv("PATH", f"{carrier.parent}:{house.environment['PATH']}")
    assert [answer.state for answer in pushed(kept)] == ["kept"] * len(kept)
    carrier.write_text(RECEIVER.format(python=sys.executable, there=house.directory.parent / "killed" / "there"))
    new = jobs[len(kept) :]

    def check(near: House) -> None:
        here = {path.read_bytes() for path in (near.path / "outbox").rglob("*.cit") if ".tmp" not in path.parts}
        for path in (near.directory / "there").iterdir():
            assert path.read_bytes() in here, "what is there is known here: in the outbox, a claim on it, or sent/"
        assert {job.raw for job in kept} <= here
        assert {answer.state for answer in pushed(new)} <= {"accepted", "duplicate"}
        assert sorted(path.read_bytes() for path in (near.directory / "there").iterdir()) == sorted(job.raw for job in jobs)
        assert [parts.name for parts in spool.documents(near.path / "outbox")] == [] and not list((near.path / "outbox" / ".claim").glob("[!.]*"))

    fresh.sweep(lambda near: pushed(new), check)


def pushed(documents: list[Document]) -> list[Answer]:
    """A push within this process: by the room's own copy of cit_format, as it runs."""
    copies: list[Arrival] = [own_reader.parse(each.raw) for each in documents]
    return Intake(Places("@moon")).take(copies) if copies else []
