"""cit-schedule between spools and as a filter: real queue, real documents, real processes (docs/stages/schedule.md)."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from cit_schedule import alone, notes, turn
from cit_schedule.cit_format import builders, clock, names, reader, spool, trust
from cit_schedule.cit_format.errors import LATER, CitError
from tests.int.cit_schedule.conftest import ROOT, SCHEDULE, Machine


def assigned_to(machine: Machine, identity: str) -> str:
    given = trust.assignment(machine.document(identity, "assigned"))
    assert given is not None
    return str(given.table["builder"])


# --- assigning ----------------------------------------------------------------------------------------------------------


def test_a_job_gets_an_assignment_that_its_builder_believes(machine: Machine) -> None:
    (identity,) = machine.push()
    before = machine.file(identity, "waiting").read_bytes()
    assert machine.schedule().stderr == ""
    job = machine.document(identity, "assigned")
    assert machine.where(identity) == [f"assigned/{identity}.a1-sh.cit"] and job.raw.startswith(before)
    account = machine.account
    _, given = trust.assigned(job, account.signers, account.signer.public.fingerprint, clock.now())
    assert given.attempt == 1 and given.table["weighed"] == [
        f"{given.table['builder']}: chosen: 0 of {given.table['weighed'][0].split()[4]} slots busy"
    ]  # type: ignore[index]
    assert [row[6] for row in machine.log("assigned")] == [given.table["builder"]]


def test_the_order_is_that_of_ls(machine: Machine) -> None:
    machine.only("sun", slots=1)
    later, sooner, soonest = machine.push()[0], machine.push("--priority 5")[0], machine.push("--priority 6")[0]
    for expected in (soonest, sooner, later):
        machine.schedule()
        (name,) = spool.listing(machine.queue / "assigned")
        assert expected in name
        (machine.queue / "assigned" / name).unlink()


def test_builders_get_what_they_can_hold(machine: Machine) -> None:
    machine.only("sun", slots=1, ahead=1)
    machine.builder("moon", slots=3)
    jobs = machine.push(count=7)
    machine.schedule()
    assert Counter(assigned_to(machine, job) for job in jobs[:5]) == {"sun": 2, "moon": 3}
    assert [machine.states(job) for job in jobs[5:]] == [["waiting"], ["waiting"]]
    (machine.queue / "assigned" / machine.file(jobs[0], "assigned").name).rename(machine.queue / "sent" / "x.cit")
    machine.schedule()
    assert machine.states(jobs[5]) == ["waiting"], "what is sent still counts"


@pytest.mark.parametrize(
    ("options", "given", "why"),
    [
        ("-c 9", {}, "9 cpus wanted, has 4"),
        ("--mem 9G", {}, "9.0G of memory wanted, has 8.0G"),
        ("--tmp 200G", {}, "200G of disk wanted, has 100G"),
        ("-C gpu", {"tags": ["gcc"]}, "has no tag gpu"),
        ("-w moon", {}, "the job wants builder moon"),
    ],
)
def test_what_no_builder_can_take_waits_and_is_said_once(machine: Machine, options: str, given: dict[str, object], why: str) -> None:
    machine.only("sun", **given)
    (identity,) = machine.push(options)
    (other,) = machine.push()
    first = machine.sh(SCHEDULE.replace(" -q", ""))
    assert f"warning: no builder can take it: sun: never: {why}" in first.stderr and first.returncode == 0
    assert machine.sh(SCHEDULE.replace(" -q", "")).stderr == ""
    assert [row[6] for row in machine.log("waits")] == [f"sun: never: {why}"]
    assert machine.states(identity) == ["waiting"] and machine.states(other) == ["assigned"], "it does not stop the others"
    assert machine.sh(f"cit-schedule --explain {identity}").stdout == f"sun: never: {why}\n"
    machine.builder("moon", cpus=16, mem="64G", tmp="1T", tags=["gpu"])
    machine.schedule()
    assert assigned_to(machine, identity) == "moon", "another builder is asked"


def test_jobs_that_nobody_can_ever_take_do_not_use_up_the_look_ahead(machine: Machine) -> None:
    machine.only("sun", slots=1)
    machine.push("-w moon", count=5)
    (identity,) = machine.push()
    machine.sh(f"{SCHEDULE} --look-ahead 3")
    assert machine.states(identity) == ["waiting"]
    for _ in range(2):
        machine.sh(f"{SCHEDULE} --look-ahead 3")
    assert machine.states(identity) == ["assigned"]


def test_a_job_that_wants_much_is_not_overtaken_for_ever(machine: Machine) -> None:
    machine.only("sun", slots=4)
    (first,), (big,), (small,) = machine.push("-c 1"), machine.push("-c 4"), machine.push("-c 1")
    machine.builder("sun", slots=4, state="drain")
    machine.schedule(later=2 * clock.HOUR)  # with nobody to take them they have waited for two hours
    machine.builder("sun", slots=4)
    machine.schedule(later=2 * clock.HOUR)
    assert [machine.states(job) for job in (first, big, small)] == [["assigned"], ["waiting"], ["waiting"]]
    said = machine.sh(f"cit-schedule --explain {small}", later=2 * clock.HOUR).stdout
    assert re.fullmatch(rf"1 job is before it\nsun: kept free for {big[-6:]}-sh, which waits since 20\S+Z\n", said)
    assert "\nsun: chosen" in machine.sh(f"cit-schedule --explain {small}").stdout
    machine.schedule()
    assert [machine.states(job) for job in (big, small)] == [["waiting"], ["assigned"]], "at first smaller ones go before it"


def test_a_builder_of_this_machine_gets_jobs_of_those_alone_whom_its_account_believes(machine: Machine) -> None:
    """Let into the queue, and not into the account: else it would be given the job, and refuse it."""
    (identity,) = machine.push()
    me = machine.document(identity, "waiting").table("job")["submitter"]
    own = machine.account / "allowed_signers"
    listed = own.read_text()
    own.write_text(listed.replace(f"{me} ", "ben@moon "))
    machine.schedule()
    assert machine.states(identity) == ["waiting"]
    assert f": never: takes no jobs of {me}\n" in machine.sh(f"cit-schedule --explain {identity}").stdout
    own.write_text(listed)
    machine.schedule(later=clock.HOUR)
    assert machine.states(identity) == ["assigned"]


def test_who_may_what_is_built_and_when(machine: Machine) -> None:
    (identity,) = machine.push("-J zlib")
    me = machine.document(identity, "waiting").table("job")["submitter"]
    machine.only("ben", users=["ben@moon"])
    machine.builder("curl", can_build=["curl"])
    machine.builder("night", users=[me], can_build=["curl", "zlib"], hours="00:00-00:01")
    machine.schedule(later=0)
    noon = {"CIT_NOW": clock.day(clock.now() + clock.DAY) + "T12:00:00Z"}
    said = machine.sh(f"cit-schedule --explain {identity}", **noon).stdout
    assert said == f"ben: never: takes no jobs of {me}\ncurl: never: does not build zlib\nnight: begins jobs 00:00-00:01 UTC only\n"
    machine.sh(SCHEDULE, **noon)
    assert machine.states(identity) == ["waiting"] and machine.log("waits") == []
    machine.sh(SCHEDULE, **{"CIT_NOW": clock.day(clock.now() + clock.DAY) + "T00:00:30Z"})
    assert assigned_to(machine, identity) == "night"


def test_a_drained_or_unknown_builder_gets_nothing(machine: Machine) -> None:
    machine.only("sun", state="drain")
    forged = machine.builder("moon")
    path = machine.queue / "builders" / f"{forged.id}-moon.cit"
    path.write_bytes(forged.raw.replace(b"slots = 2", b"slots = 9"))
    (identity,) = machine.push()
    done = machine.schedule()
    assert done.returncode == 77 and "error:" in done.stderr and machine.states(identity) == ["waiting"]
    path.unlink()
    assert machine.schedule().returncode == 0
    assert machine.sh(f"cit-schedule --explain {identity}").stdout == "sun: takes no new jobs (drain)\n"
    machine.builder("sun", created=clock.parse("2026-01-01T00:00:00Z") and None)  # without `created` it is the older one
    assert machine.schedule().returncode == 0 and machine.states(identity) == ["waiting"]


def test_a_builder_rests_above_its_load_limit(machine: Machine) -> None:
    machine.only("sun", host=spool.host(), load_limit="-1.0")
    (identity,) = machine.push()
    machine.schedule()
    assert machine.states(identity) == ["waiting"] and "its limit is -1" in machine.sh(f"cit-schedule --explain {identity}").stdout


def test_an_inactive_queue_assigns_nothing(machine: Machine) -> None:
    (identity,) = machine.push()
    text = (machine.queue / "queue.toml").read_text()
    (machine.queue / "queue.toml").write_text(text.replace("active = true", "active = false"))
    assert machine.schedule().returncode == 0 and machine.states(identity) == ["waiting"]


# --- what is faulty -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "what"),
    [
        ((b"@end job", b"@end jab"), 65, "closed as jab"),
        ((b"\ncpus = 3", b'\nmem = "much"'), 65, "is no size"),
        ((b'\nqueue = "main@', b'\nqueue = "other@'), 77, "the job is for queue other@"),
    ],
)
def test_a_faulty_document_is_set_aside_and_the_others_go_on(machine: Machine, change: tuple[bytes, bytes], status: int, what: str) -> None:
    (bad,) = machine.push("-c 3")
    (good,) = machine.push()
    machine.only("sun")
    path = machine.file(bad, "waiting")
    path.write_bytes(path.read_bytes().replace(*change))
    done = machine.schedule()
    assert (done.returncode, what in done.stderr) == (status, True), done.stderr
    assert machine.states(good) == ["assigned"] and not path.exists()
    (kept,) = (machine.queue / "refused").glob("*.cit")
    assert what in kept.read_text() and f"{status} " in kept.read_text()
    assert machine.schedule().returncode == 0


def test_a_document_of_a_later_version_stays_where_it_is(machine: Machine) -> None:
    (identity,) = machine.push()
    path = machine.file(identity, "waiting")
    path.write_bytes(path.read_bytes().replace(b"@begin job 1 ", b"@begin job 2 "))
    for _ in range(2):
        assert machine.schedule().returncode == 0
    assert machine.states(identity) == ["waiting"] and len(machine.log("waits")) == 1


def test_a_deadline_or_expiry_that_passes_in_the_queue_ends_the_job(machine: Machine) -> None:
    machine.only("sun", slots=1)
    due, expired, held, fine = (machine.push(options)[0] for options in ("--deadline now+1h", "--expires 1h", "-H --deadline now+1h", ""))
    machine.only("sun", state="drain")  # nobody takes anything: the clock is looked at all the same
    machine.schedule(later=2 * clock.HOUR)
    for identity, why in ((due, "deadline at "), (expired, "expired at "), (held, "deadline at ")):
        assert machine.where(identity) == [f"done/{identity}-sh.cit"]
        job = machine.document(identity, "done")
        result = job.table("result")
        assert result["state"] == "DEADLINE" and str(result["why"]).startswith(why) and result["attempt"] == 0
        assert trust.verified(job, list(job.all("signature"))[-1], "cit-queue", machine.queue.signers, clock.now()).fingerprint
    assert machine.states(fine) == ["waiting"]


def test_a_job_past_its_deadline_is_never_assigned(machine: Machine) -> None:
    (identity,) = machine.push("--deadline now+1h")
    (machine.queue / "waiting" / ".notes").write_text(f"looked\t{clock.iso(clock.now() + 2 * clock.HOUR)}\nbuilders\t\n")
    machine.schedule(later=2 * clock.HOUR)
    assert machine.states(identity) == ["done"]


def test_begin_times(machine: Machine) -> None:
    early, late = machine.push("-b now+1h")[0], machine.push("-b now+3h")[0]
    machine.schedule()
    assert machine.states(early) == ["held"] and machine.states(late) == ["held"]
    assert machine.sh(f"cit-schedule --explain {late}").stdout.startswith("held until 2")
    machine.schedule(later=2 * clock.HOUR)
    assert machine.states(early) == ["assigned"] and machine.states(late) == ["held"]
    assert int(machine.file(early, "assigned").name[5:21]) <= clock.now() + clock.HOUR, "its turn counts from its begin time"


# --- several at once, foreign programs ----------------------------------------------------------------------------------


def test_sixteen_schedulers_assign_each_of_3000_jobs_once_and_overbook_nobody(machine: Machine) -> None:
    machine.only("sun", slots=1000, cpus=1000)
    machine.builder("moon", slots=1500, cpus=1500, ahead=100)
    jobs = machine.push(count=3000)
    command = ["sh", "-c", SCHEDULE]
    running = [subprocess.Popen(command, env=machine.environment, stderr=subprocess.PIPE) for _ in range(16)]
    assert {(each.communicate()[1], each.returncode) for each in running} <= {(b"", 0), (b"", LATER)}
    lying = {state: [names.parse(name) for name in spool.listing(machine.queue / state)] for state in ("waiting", "assigned")}
    assert sorted(parts.id for found in lying.values() for parts in found if parts) == sorted(jobs)
    assert {parts.attempt for parts in lying["assigned"] if parts} == {1}
    taken = [builders.brief(path)[0] for path in (machine.queue / "assigned").glob("*.cit")]
    assert Counter(taken) == {"sun": 1000, "moon": 1600} and len(lying["waiting"]) == 400
    once = [path.read_bytes().count(b"\n@begin assignment ") for path in (machine.queue / "assigned").glob("*.cit")]
    assert set(once) == {1}


def test_a_pass_waits_for_the_one_before_it_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "PATIENCE", 0.1)
    lock = spool.Lock(tmp_path / ".schedule")
    with lock, pytest.raises(CitError, match="another pass is at work") as error, alone.alone(tmp_path / ".schedule"):
        pass
    assert error.value.status == LATER
    monkeypatch.setattr(alone, "PATIENCE", 30.0)
    holder = subprocess.Popen(["flock", str(tmp_path / ".schedule"), "sleep", "0.3"])
    while not spool.is_held(tmp_path / ".schedule"):
        assert holder.poll() is None
    with alone.alone(tmp_path / ".schedule"):
        assert holder.wait() == 0


def test_another_program_chooses_when_queue_toml_names_one(machine: Machine) -> None:
    held, waiting = machine.push("-H")[0], machine.push()[0]
    machine.set("queue.toml", 'program-schedule = "./mine | tee $HOME/seen"')
    mine = machine.queue / "mine"
    mine.write_text("#!/bin/sh\nexec cit-schedule --queue @main\n")
    mine.chmod(0o755)
    machine.schedule()
    assert machine.states(waiting) == ["assigned"] and machine.states(held) == ["held"]
    passed = (machine.place / "seen").read_text()
    assert re.findall(r"^@begin (builder|load|job|assignment) ", passed, re.M) == ["builder", "load", "job", "assignment"]


def test_as_a_filter_jobs_that_get_none_pass_unchanged(machine: Machine) -> None:
    sun, moon = machine.builder("sun", slots=1), machine.builder("moon", slots=1, tags=["gcc"])
    jobs = machine.sh("for o in -Cgcc -Cgcc '-w sun' -H '-b now+1h' ''; do cit-trigger $o -- true; done").stdout.encode()
    done = machine.sh("cit-schedule", stdin=sun.raw + moon.raw + b"@cit 1 oops\n" + jobs)
    assert done.returncode == 65 and "error" in done.stderr
    documents = list(reader.documents(reader.reader_of(done.stdout.encode())))
    given = [trust.assignment(each) for each in documents]  # type: ignore[arg-type]
    assert [each.table["builder"] if each else None for each in given] == [None, None, "moon", None, "sun", None, None, None]
    sent = b"".join(each.raw for each in reader.documents(reader.reader_of(jobs)))  # type: ignore[union-attr]
    assert [each.raw in sent for each in documents[2:]] == [False, True, False, True, True, True]  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["directory", "file"])
def test_builders_of_a_list_in_a_repository(machine: Machine, form: str) -> None:
    """A client schedules for itself: the list lies where it likes, the queue gets the record."""
    listed = machine.place / "repository" / "builders"
    listed.mkdir(parents=True)
    for name in ("moon", "star"):
        described = machine.builder(name, slots=1)
        (machine.queue / "builders" / f"{described.id}-{name}.cit").rename(listed / f"{name}.cit")
    forged = (listed / "star.cit").read_bytes()
    (listed / "eve.cit").write_bytes(forged.replace(b'name = "star"', b'name = "eve"'))
    if form == "file":
        joined = b"".join(path.read_bytes() for path in sorted(listed.glob("*.cit")))
        listed = listed.parent / "list.cit"
        listed.write_bytes(joined)
    jobs = machine.sh("for n in 1 2 3; do cit-trigger -- true; done").stdout.encode()
    done = machine.sh(f"cit-schedule --builders {listed}", stdin=jobs)
    assert done.returncode == 77 and "does not match the bytes" in done.stderr, "what nobody signed is told, and left out"
    documents = list(reader.documents(reader.reader_of(done.stdout.encode())))
    given = [trust.assignment(each) for each in documents]  # type: ignore[arg-type]
    assert [each.table["builder"] if each else each_.name for each, each_ in zip(given, documents)] == ["moon", "moon", "star", "star", "true"]  # type: ignore[union-attr]
    ticket = machine.sh(f"cit-trigger -- true | cit-schedule -q --builders {listed} | cit-deliver -q").stdout
    (identity,) = re.findall(r"^@cit 1 (\S+)", ticket, re.M)
    assert 'state = "accepted"' in ticket and machine.states(identity) == ["sent"], "the queue has the record"
    assert machine.sh(f"cit-schedule --builders {listed}.not", stdin=jobs).returncode == 66
    assert machine.sh(f"{SCHEDULE} --builders {listed}").returncode == 2


def test_speaks_without_a_home() -> None:
    done = subprocess.run([ROOT / "bin/cit-schedule", "--speaks"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert "reads\tbuilder\t1\n" in done.stdout and "writes\tassignment\t1\n" in done.stdout and done.returncode == 0


def test_a_torn_note_is_as_good_as_none(machine: Machine) -> None:
    (machine.queue / "waiting" / ".notes").write_bytes(b"looked\t2026\nnever\n")
    assert notes.Notes(machine.queue / "waiting").never == set()
    (identity,) = machine.push()
    assert machine.schedule().returncode == 0 and machine.states(identity) == ["assigned"]
    assert turn.EVERY == clock.MINUTE
