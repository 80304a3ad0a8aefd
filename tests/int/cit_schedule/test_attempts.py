"""Attempts: the next one comes when the job's author allows it, never more often (docs/stages/schedule.md)."""

from __future__ import annotations

import os

import pytest

from cit_schedule import ends
from cit_schedule.cit_format import attempts, body, clock, document, home, journal, names, reader, spool, trust
from cit_schedule.cit_format.body import Time
from cit_schedule.cit_format.document import Document
from tests.int.cit_schedule.conftest import Machine

NOW = clock.parse("2026-11-23T20:30:00Z")


def signature(namespace: str) -> bytes:
    return document.section("signature", "sshsig", b"", by="x@sun", ns=namespace)


def assignment(number: int) -> bytes:
    return document.section("assignment", "toml", body.toml({"attempt": number, "builder": "sun"})) + signature("cit-queue")


def result(state: str, exit_status: int = 0) -> bytes:
    return document.section("result", "toml", body.toml({"state": state, "exit": exit_status})) + signature("cit-result")


def void(namespace: str = "cit-result") -> bytes:
    return document.section("event", "tsv", journal.event("run", "void", "", NOW)) + signature(namespace)


def event(word: str) -> bytes:
    return document.section("event", "tsv", journal.event("run", word, "", NOW))


def job(*parts: bytes, **said: object) -> Document:
    head = document.section(
        "job", "toml", body.toml({"expires": Time(NOW + clock.DAY), **{key.replace("_", "-"): value for key, value in said.items()}})
    )
    return reader.parse(document.new("zlib", head, signature("cit-job")).raw + b"".join(parts))


FAIL = {"attempts": 3, "retry_on": ["fail"]}
AGAIN = {
    "completed": (job(assignment(1), result("COMPLETED"), **FAIL), ""),
    "failed": (job(assignment(1), result("FAILED", 3), **FAIL), "fail"),
    "failed, not allowed twice": (job(assignment(1), result("FAILED", 3), retry_on=["fail"]), ""),
    "failed, no wish": (job(assignment(1), result("FAILED", 3), attempts=3), ""),
    "75 asked for": (job(assignment(1), result("FAILED", 75), attempts=2, retry_on=["75"]), "75"),
    "75 is a failure": (job(assignment(1), result("FAILED", 75), **FAIL), "fail"),
    "another failure is no 75": (job(assignment(1), result("FAILED", 3), attempts=2, retry_on=["75"]), ""),
    "lost": (job(assignment(1), result("NODE_FAIL"), attempts=2, retry_on=["fail", "lost"]), "lost"),
    "lost is no failure": (job(assignment(1), result("NODE_FAIL"), **FAIL), ""),
    "over its time": (job(assignment(1), result("TIMEOUT"), attempts=2, retry_on=["fail", "lost", "75"]), ""),
    "cancelled": (job(assignment(1), result("CANCELLED"), attempts=2, retry_on=["fail", "lost", "75"]), ""),
    "the last attempt": (job(assignment(1), result("FAILED"), assignment(2), result("FAILED"), assignment(3), result("FAILED"), **FAIL), ""),
    "the last but one": (job(assignment(1), result("FAILED"), assignment(2), result("FAILED"), **FAIL), "fail"),
    "under way again": (job(assignment(1), result("FAILED"), assignment(2), **FAIL), ""),
    "void": (job(assignment(1), void()), "void"),
    "begun anew by a cluster": (job(assignment(1), event("restarted"), result("NODE_FAIL"), attempts=2, retry_on=["lost"]), ""),
    "begun anew, and one is left": (job(assignment(1), event("restarted"), result("NODE_FAIL"), attempts=3, retry_on=["lost"]), "lost"),
    "a void by another counts for nothing": (job(assignment(1), void("cit-queue")), ""),
    "a void is no start": (job(assignment(1), void(), assignment(2), result("FAILED"), attempts=2, retry_on=["fail"]), "fail"),
    "starts are counted": (
        job(assignment(1), result("FAILED"), assignment(2), void(), assignment(3), result("FAILED"), attempts=2, retry_on=["fail"]),
        "",
    ),
    "too late": (job(assignment(1), result("FAILED"), deadline=Time(NOW - clock.SECOND), **FAIL), ""),
    "never assigned": (job(result("CANCELLED")), ""),
}


@pytest.mark.parametrize("case", AGAIN)
def test_again(case: str) -> None:
    ended, cause = AGAIN[case]
    assert attempts.again(ended, NOW) == cause


HOUR = clock.HOUR
LOST_AT = {
    "no time limit": ({}, True, None),
    "no time limit, and never handed over as far as is known": ({}, False, NOW + 24 * HOUR + HOUR),
    "a time limit": ({"time": "2h"}, True, NOW + 24 * HOUR + 2 * HOUR + HOUR),
    "start-within": ({"time": "2h", "start-within": "30m"}, True, NOW + HOUR // 2 + 2 * HOUR + HOUR),
    "start-within beyond expiry": ({"time": "2h", "start-within": "9d"}, True, NOW + 24 * HOUR + 2 * HOUR + HOUR),
    "not handed over yet": ({"time": "2h", "start-within": "30m"}, False, NOW + 24 * HOUR + 2 * HOUR + HOUR),
}


@pytest.mark.parametrize("case", LOST_AT)
def test_lost_at(case: str) -> None:
    said, is_sent, expected = LOST_AT[case]
    assert ends.lost_at({"expires": Time(NOW + clock.DAY), **said}, is_sent, NOW, HOUR) == expected


# --- the whole way ------------------------------------------------------------------------------------------------------


def marks(machine: Machine) -> int:
    path = machine.place / "marks"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize(("exit_status", "cause"), [(3, "fail"), (75, "75")])
def test_a_failed_job_runs_as_often_as_it_allows(machine: Machine, exit_status: int, cause: str) -> None:
    (identity,) = machine.push(f"--attempts 3 --retry-on {cause}", f"echo x >> {machine.place}/marks; exit {exit_status}")
    machine.tick()
    assert sorted(machine.where(identity)) == [f"done/{identity}.a1-sh.cit", f"waiting/{identity}.a2-sh.cit"]
    machine.tick(4)
    assert sorted(machine.where(identity)) == [f"done/{identity}.a{n}-sh.cit" for n in (1, 2, 3)]
    assert marks(machine) == 3 and [row[6] for row in machine.log("again")] == [cause, cause]
    last = max((machine.queue / "done").rglob("*.cit"), key=os.path.getsize)
    account = machine.account
    states = [section.table()["state"] for section in reader.parse(last.read_bytes()).all("result")]
    assert states == ["FAILED"] * 3 and ".a3-" in last.name, "the last copy tells of all attempts"
    trust.completed(reader.parse(last.read_bytes()), account.signers, clock.now())


def test_a_job_that_succeeds_at_last_is_not_run_again(machine: Machine) -> None:
    (identity,) = machine.push(
        "--attempts 5 --retry-on fail", f"echo x >> {machine.place}/marks; test -s {machine.place}/ok || ! echo > {machine.place}/ok"
    )
    machine.tick(4)
    assert marks(machine) == 2 and sorted(machine.where(identity)) == [f"done/{identity}.a{n}-sh.cit" for n in (1, 2)]


def test_the_same_end_handed_over_again_starts_nothing(machine: Machine) -> None:
    (identity,) = machine.push("--attempts 9 --retry-on fail", f"echo x >> {machine.place}/marks; false")
    for line in ("cit-schedule -q --from waiting", "cit-deliver -q --from assigned", "cit-run -q --from inbox --to finished"):
        machine.sh(line)
    (name,) = spool.listing(machine.account / "finished")
    ended = (machine.account / "finished" / name).read_bytes()
    for _ in range(3):
        (machine.account / "finished" / name).write_bytes(ended)
        assert machine.sh("cit-deliver -q --from finished").returncode == 0
    assert sorted(machine.where(identity)) == [f"done/{identity}.a1-sh.cit", f"waiting/{identity}.a2-sh.cit"]
    machine.schedule()
    (machine.account / "finished" / name).write_bytes(ended)
    machine.sh("cit-deliver -q --from finished")
    assert sorted(machine.where(identity)) == [f"assigned/{identity}.a2-sh.cit", f"done/{identity}.a1-sh.cit"]


def test_a_cancel_ends_what_waits_for_its_next_attempt(machine: Machine) -> None:
    (identity,) = machine.push("--attempts 9 --retry-on fail", "false")
    machine.tick()
    assert machine.sh(f"cit-cancel {identity}").returncode == 0
    machine.tick(2)
    assert sorted(machine.where(identity)) == [f"done/{identity}.a{n}-sh.cit" for n in (1, 2)]
    job = reader.parse(max((machine.queue / "done").rglob("*.cit"), key=os.path.getsize).read_bytes())
    assert [section.table()["state"] for section in job.all("result")] == ["FAILED", "CANCELLED"]


def test_silence_becomes_lost(machine: Machine) -> None:
    machine.set("queue.toml", 'grace = "1s"')
    again, once, endless = (
        machine.push("-t 1h --expires 2h --attempts 2 --retry-on lost")[0],
        machine.push("-t 1h --expires 2h")[0],
        machine.push()[0],
    )
    machine.schedule()
    for path in (machine.queue / "assigned").glob("*.cit"):
        path.rename(machine.queue / "sent" / path.name)  # carried to a builder that died
    machine.schedule(later=2 * HOUR)
    assert machine.states(once) == ["sent"], "it may still end in time"
    machine.schedule(later=3 * HOUR + 2 * clock.MINUTE)
    assert machine.where(once) == [f"done/{once}.a1-sh.cit"] and machine.states(endless) == ["sent"]
    lost = machine.document(once, "done")
    assert lost.table("result")["state"] == "NODE_FAIL" and "no word from" in str(lost.table("result")["why"])
    assert sorted(machine.states(again)) == ["done"], "it has expired meanwhile, so nothing is begun"


def test_a_lost_attempt_is_followed_by_the_next_one(machine: Machine) -> None:
    machine.set("queue.toml", 'grace = "1s"')
    (identity,) = machine.push("-t 1h --attempts 2 --retry-on lost")
    path = machine.file(identity, "waiting")
    job = reader.parse(path.read_bytes())
    machine.schedule()
    assert ends.lost_at({**job.table("job"), "start-within": "1h"}, True, clock.now(), 0) is not None
    sent = machine.queue / "sent" / machine.file(identity, "assigned").name
    machine.file(identity, "assigned").rename(sent)
    lost = ends.End(sent.name, "NODE_FAIL", "no word", clock.now())
    ends.finish(machine.queue, "sent", [lost])
    assert sorted(machine.where(identity)) == [f"done/{identity}.a1-sh.cit", f"waiting/{identity}.a2-sh.cit"]
    machine.tick(2)
    assert sorted(machine.where(identity)) == [f"done/{identity}.a{n}-sh.cit" for n in (1, 2)]
    (path,) = (machine.queue / "done").rglob(f"{identity}.a2-*.cit")
    assert reader.parse(path.read_bytes()).sections[-2].table()["state"] == "COMPLETED"


def test_a_job_that_is_given_back_goes_elsewhere_or_rests(machine: Machine) -> None:
    machine.only("sun")
    (identity,) = machine.push("", f"echo x >> {machine.place}/marks")
    machine.sh("cit-schedule -q --from waiting; cit-deliver -q --from assigned")
    (name,) = spool.listing(machine.account / "inbox")
    given = reader.parse((machine.account / "inbox" / name).read_bytes())
    account = machine.account
    said = given.extended(document.section("event", "tsv", journal.event("run", "void", "declined")))
    (account / "finished" / name).write_bytes(home.signed(said, account.signer, account.identity, "cit-result").raw)
    (account / "inbox" / name).unlink()
    machine.sh("cit-deliver -q --from finished")
    assert sorted(machine.where(identity)) == [f"done/{identity}.a1-sh.cit", f"waiting/{identity}.a2-sh.cit"]
    machine.schedule()
    assert "waiting" in machine.states(identity), "the builder that gave it back rests"
    assert "gave it back at" in machine.sh(f"cit-schedule --explain {identity}").stdout
    machine.builder("moon")
    machine.tick()
    assert marks(machine) == 1 and sorted(machine.where(identity)) == [f"done/{identity}.a{n}-sh.cit" for n in (1, 2)]
    assert names.parse(f"{identity}.a2-sh.cit")
