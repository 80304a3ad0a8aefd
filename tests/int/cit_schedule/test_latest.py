"""Of a submitter's jobs with one word the newest is wanted, one of a group runs at a time (docs/stages/schedule.md, docs/format/control.md)."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from cit_schedule import latest, turn
from cit_schedule.cit_format import body, clock, control, document, keys, newer, reader, spool
from cit_schedule.cit_format.document import Document
from cit_schedule.cit_format.errors import CitError
from tests.int.cit_schedule.conftest import DELIVER, Machine
from tests.int.cit_schedule.test_kills import every_kill

RUN = "cit-run -q --from inbox --to finished"


def end(machine: Machine, identity: str) -> tuple[str, str]:
    """State and why of a job in done."""
    said = machine.document(identity, "done").table("result")
    return str(said["state"]), str(said.get("why", ""))


def superseded(by: str, name: str = "sh") -> tuple[str, str]:
    return "CANCELLED", f"superseded by {by[-6:]}-{name}"


# --- latest -------------------------------------------------------------------------------------------------------------


def test_of_one_stream_the_last_is_the_newest(machine: Machine) -> None:
    machine.only("sun", state="drain")
    jobs = machine.push("--latest w", count=5)
    assert jobs == sorted(jobs), "made later is newer"
    other = machine.push("--latest v") + machine.push()
    machine.schedule()
    assert [machine.states(job) for job in [*jobs, *other]] == [["done"]] * 4 + [["waiting"]] * 3
    assert {end(machine, job) for job in jobs[:4]} == {superseded(jobs[-1])}
    before = (machine.queue / "waiting" / ".latest").read_bytes()
    machine.schedule()
    assert (machine.queue / "waiting" / ".latest").read_bytes() == before


def test_older_ones_end_wherever_they_wait(machine: Machine) -> None:
    machine.only("sun", state="drain")
    held = machine.push("--latest w -H")[0]
    machine.schedule()
    later = machine.push("--latest w -b now+1h")[0]
    machine.schedule()
    assert end(machine, held) == superseded(later) and machine.states(later) == ["held"], "a newer one that waits is newer all the same"
    array = machine.push("--latest w -a 1-9")[0]
    machine.schedule()
    assert end(machine, later) == superseded(array)
    last = machine.push("--latest w")[0]
    machine.schedule()
    assert end(machine, array) == superseded(last)


def test_a_straggler_is_itself_superseded_though_the_newer_one_has_ended(machine: Machine) -> None:
    straggler = machine.sh("cit-trigger --latest w -- true").stdout
    identity = straggler.split()[2]
    (newest,) = machine.push("--latest w")
    machine.tick()
    assert machine.states(newest) == ["done"]
    machine.sh("cit-queue -q --to @main", stdin=straggler.encode())
    machine.schedule()
    assert end(machine, identity) == superseded(newest)


def test_words_of_others_do_not_count(machine: Machine) -> None:
    machine.only("sun", state="drain")
    ben = keys.generate(machine.place / "ben", "ben@sun")
    machine.set("allowed_signers", f'ben@sun namespaces="cit-job" {ben.public.line}')
    mine = machine.push("--latest w")[0]
    theirs = machine.sh(f"cit-trigger --key {machine.place}/ben --latest w -- true | sed 's/^submitter = .*/submitter = \"ben@sun\"/'").stdout
    unsigned = reader.parse(theirs.encode().partition(b"@begin signature")[0])
    text = document.section("signature", "sshsig", ben.sign(unsigned.raw, "cit-job"), by="ben@sun", ns="cit-job")
    assert machine.sh("cit-queue -q --to @main", stdin=unsigned.raw + text).returncode == 0
    machine.schedule()
    assert machine.states(mine) == machine.states(unsigned.id) == ["waiting"]


def handed_out(machine: Machine, *options: str) -> list[str]:
    """Jobs of one word, each queued, scheduled and delivered before the next one is made."""
    found = []
    for each in options:
        found += machine.push(f"--latest w {each}")
        machine.schedule()
        assert machine.deliver().returncode == 0
    return found


def test_a_builder_that_has_not_begun_is_told(machine: Machine) -> None:
    older, newest = handed_out(machine, "", "")
    asked = machine.account / "control" / f"{older}.{newest}.cit"
    assert asked.exists() and reader.parse(asked.read_bytes()).id == newest
    machine.sh(f"{RUN}; cit-deliver -q --from finished")
    state, why = end(machine, older)
    assert (state, f"the newer {newest[-6:]}-sh" in why) == ("CANCELLED", True) and end(machine, newest)[0] == "COMPLETED"
    machine.schedule()
    assert spool.listing(machine.queue / "control") == [] and spool.listing(machine.account / "control") == []


@pytest.mark.parametrize("running", ["", "--latest-running"])
def test_one_that_runs_ends_only_if_the_newer_one_says_so(machine: Machine, running: str) -> None:
    mark = machine.place / "mark"
    wait = f"touch {mark}; for i in $(seq 600); do test -e {mark}2 && exit; sleep 0.1; done"
    older = machine.push("--latest w", wait)[0]
    machine.schedule()
    machine.deliver()
    runner = subprocess.Popen(["sh", "-c", RUN], env=machine.environment)
    while not mark.exists():
        time.sleep(0.05)
    newest = machine.push(f"--latest w {running}")[0]
    machine.schedule()
    machine.deliver()
    while running and not spool.listing(machine.account / "finished"):
        time.sleep(0.05)
    mark.with_name("mark2").touch()
    assert runner.wait(60) == 0
    machine.sh("cit-deliver -q --from finished")
    assert end(machine, older) == (superseded(newest) if running else ("COMPLETED", "")) and end(machine, newest)[0] == "COMPLETED"


def test_a_builder_believes_the_newer_job_and_not_the_queue(machine: Machine) -> None:
    older, newest = handed_out(machine, "", "--latest-running")
    job, by = machine.document(older, "sent"), machine.document(newest, "sent")
    account, now = machine.account, clock.now()

    def honoured(asked: Document) -> bool:
        return bool(control.honoured([asked], job, None, 1, account.signers, now))

    good = newer.about(older, by)
    assert honoured(good) and control.look(account / "control", job, None, 1, account.signers, now).stops
    text = good.raw
    wrong = {
        "another target": newer.about(newest[:-1] + ("0" if newest[-1] != "0" else "1"), by).raw,
        "a newer target": newer.about("7" + older[1:], by).raw,
        "a word that was not signed": text.replace(b'latest = "w"', b'latest = "x"'),
        "a job that says none": newer.about(older, machine.document(machine.push()[0], "waiting")).raw,
        "hold": text.replace(b'action = "cancel"', b'action = "hold"'),
        "another submitter": text.replace(b'submitter = "', b'submitter = "x', 1),
        "an ID of its own": text.replace(newest.encode(), older.encode(), 1),
        "no signature": re.sub(rb"(?s)@@begin signature.*@@end signature\n", b"", text),
        "flipped": text.replace(b"exec sh", b"exec zs"),
    }
    for what, raw in wrong.items():
        assert not honoured(reader.parse(raw)), what
    text = (account.path / "allowed_signers").read_text()
    (account.path / "allowed_signers").write_text(text.replace('"cit-job,', '"'))
    account.__dict__.clear()
    account.path = machine.place / ".cit"
    with pytest.raises(CitError):
        control.verified(good, account.signers, now)


def test_superseding_killed_anywhere(machine: Machine) -> None:
    (out,) = handed_out(machine, "")
    machine.only("sun", state="drain")
    waiting = machine.push("--latest w -H")[0]
    machine.schedule()
    newest = machine.push("--latest w --latest-running")[0]

    def one_pass() -> None:
        turn.Pass(machine.queue, machine.queue / "assigned", 1000).run()

    (machine.queue / "control" / f"{out}.{waiting}.cit").unlink()
    for number in every_kill(machine, one_pass):
        one_pass()
        assert end(machine, waiting) == superseded(newest), number
        assert (machine.queue / "control" / f"{out}.{newest}.cit").exists() and machine.states(newest) == ["waiting"], number


def test_what_was_looked_at_is_not_opened_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.only("sun", state="drain")
    machine.push(count=30)
    opened: list[Path] = []
    glance = latest.glance.at

    def counted(path: Path) -> latest.glance.Glance:
        opened.append(path)
        return glance(path)

    monkeypatch.setattr(latest.glance, "at", counted)

    def looked() -> int:
        opened.clear()
        latest.Latest(machine.queue, clock.now()).apply(spool.listing(machine.queue / "waiting"))
        return len(opened)

    assert (looked(), looked()) == (30, 0)
    machine.push(count=2)
    monkeypatch.setattr(latest, "MOST", 1)
    assert (looked(), looked(), looked()) == (1, 1, 0)


# --- groups -------------------------------------------------------------------------------------------------------------


def test_one_of_a_group_runs_at_a_time_in_order(machine: Machine) -> None:
    machine.only("sun", ahead=9)
    jobs = machine.push("--group db", count=3)
    free = machine.push("--group other") + machine.push()
    machine.schedule()
    assert [machine.states(job)[0] for job in [*jobs, *free]] == ["assigned", "waiting", "waiting", "assigned", "assigned"]
    told = machine.sh(f"cit-schedule --queue @main --explain {jobs[1]}").stdout
    assert told.startswith(f"one job of group db runs at a time: {jobs[0][-6:]}-sh does")
    for number in (1, 2):
        machine.sh(f"{DELIVER}; {RUN}; cit-deliver -q --from finished")
        machine.schedule()
        assert [machine.states(job)[0] for job in jobs] == ["done"] * number + ["assigned"] + ["waiting"] * (2 - number)


def test_who_waits_for_a_group_keeps_nobody_waiting(machine: Machine) -> None:
    machine.only("sun", ahead=99)
    jobs = machine.push("--group db", count=12)
    machine.sh(f"cit-schedule -q --from waiting --to assigned --look-ahead 3; cit-hold {jobs[1]}")
    last = machine.push()[0]
    machine.sh("cit-schedule -q --from waiting --to assigned --look-ahead 3")
    assert machine.states(last) == ["assigned"], "those that wait for their group do not count for the look-ahead"
    assert len(body.rows((machine.queue / "waiting" / ".grouped").read_bytes())) == 10


def test_tasks_of_an_array_may_be_a_group(machine: Machine) -> None:
    machine.only("sun", ahead=9)
    (identity,) = machine.push("--group db -a 1-3")
    machine.schedule()
    assert sorted(machine.where(identity)) == [f"assigned/{identity}_1.a1-sh.cit", f"waiting/{identity}_2..3-sh.cit"]
