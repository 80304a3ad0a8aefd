"""cancel, hold, release, priority: control documents applied to what the queue has, carried to who has the rest (docs/format/control.md)."""

from __future__ import annotations

from typing import Any

import pytest

from cit_schedule import wishes
from cit_schedule.cit_format import body, clock, control, document, home, keys, names, spool, trust
from cit_schedule.cit_format.control import Standing, Wish
from cit_schedule.cit_format.document import Document
from tests.int.cit_schedule.conftest import DELIVER, SCHEDULE, Machine

NOW = clock.parse("2026-11-23T20:30:00Z")
HOUR = clock.HOUR
FIFO, NEVER = ("waiting", 0), ("held", names.NEVER)
STANDING = {
    "nothing wished": ({}, Standing(), FIFO),
    "held by its author": ({"hold": True}, Standing(), NEVER),
    "released": ({"hold": True}, Standing(held=False), FIFO),
    "held by a wish": ({}, Standing(held=True), NEVER),
    "begins later": ({"begin": NOW + HOUR}, Standing(), ("held", NOW + HOUR)),
    "a release lifts no begin time": ({"hold": True, "begin": NOW + HOUR}, Standing(held=False), ("held", NOW + HOUR)),
    "its begin time is past": ({"begin": NOW - HOUR}, Standing(), FIFO),
    "held beyond its begin time": ({"begin": NOW - HOUR}, Standing(held=True), NEVER),
}


@pytest.mark.parametrize("case", STANDING)
def test_place(case: str) -> None:
    said, standing, expected = STANDING[case]
    table = {key: body.Time(value) if key == "begin" else value for key, value in said.items()}
    job = document.new("zlib", document.section("job", "toml", body.toml(table)))
    assert wishes.place(job, standing, NOW) == expected


def wish(number: int, action: str, value: str = "") -> Wish:
    return Wish(f"{number:026d}", action, "x", None, None, value, "ada@sun", "K", "Q", NOW, NOW + HOUR)


COME_TO = {
    "none": ([], Standing()),
    "the newest of hold and release": ([wish(2, "release"), wish(1, "hold")], Standing(held=False)),
    "and the other way": ([wish(1, "release"), wish(2, "hold")], Standing(held=True)),
    "the newest priority": ([wish(3, "priority", "7"), wish(2, "priority", "9")], Standing(priority=7)),
    "cancel is final": ([wish(1, "cancel"), wish(2, "release")], Standing(cancel=wish(1, "cancel"), held=False)),
    "a note does nothing": ([wish(1, "note", "hello")], Standing()),
}


@pytest.mark.parametrize("case", COME_TO)
def test_standing(case: str) -> None:
    asked, expected = COME_TO[case]
    assert control.standing(asked) == expected


# --- on a queue ---------------------------------------------------------------------------------------------------------


def asked(machine: Machine, target: str, action: str, key: keys.Signer | None = None, who: str = "", **changes: Any) -> Document:
    """A control document in control/, by the person of this home unless said otherwise."""
    signer = key or keys.load(machine.place / ".cit/id_ed25519")
    now = clock.now()
    said = {
        "action": action,
        "target": target,
        "submitter": who or home.person(),
        "key": signer.public.fingerprint,
        "queue": machine.queue.full_name,
        "created": body.Time(now),
        "expires": body.Time(now + clock.DAY),
        **changes,
    }
    made = home.signed(document.new(action, document.section("control", "toml", body.toml(said))), signer, who or home.person(), "cit-control")
    (machine.queue / "control" / f"{target}.{made.id}.cit").write_bytes(made.raw)
    return made


def controls(machine: Machine) -> list[str]:
    return spool.listing(machine.queue / "control")


def test_a_cancelled_job_ends_in_done_by_the_queues_word(machine: Machine) -> None:
    waiting, held = machine.push("-w nobody")[0], machine.push("-H")[0]
    done = machine.sh(f"cit-cancel {waiting} {held}")
    assert done.returncode == 0 and done.stdout.count("accepted") == 2, done.stderr
    assert machine.schedule().stderr == ""
    for identity in (waiting, held):
        assert machine.where(identity) == [f"done/{identity}-sh.cit"]
        job = machine.document(identity, "done")
        assert (job.table("result")["state"], job.table("result")["why"]) == ("CANCELLED", f"cancelled by {home.person()}")
        trust.verified(job, list(job.all("signature"))[-1], "cit-queue", machine.queue.signers, clock.now())
    machine.schedule()
    assert controls(machine) == [], "a wish goes when its job has ended"
    assert machine.sh(f"cit-cancel {waiting}").returncode == 1, "too late"


def test_hold_release_and_priority_are_renames(machine: Machine) -> None:
    first, second = machine.push(count=2)
    machine.only("sun", state="drain")
    before = machine.file(second, "waiting").name
    assert machine.sh(f"cit-priority 5 {second} && cit-hold {first}").returncode == 0
    machine.schedule()
    assert machine.file(second, "waiting").name == f"0995{before[4:]}", "its place among equals stays"
    assert machine.file(first, "held").name.startswith("1000-9999999999999999.")
    assert machine.sh(f"cit-release {first}").returncode == 0
    machine.schedule()
    assert spool.listing(machine.queue / "waiting") == [machine.file(second, "waiting").name, machine.file(first, "waiting").name]
    machine.schedule()
    assert [row[3] for word in ("held", "released", "priority") for row in machine.log(word)] == ["held", "released", "priority"], "once each"
    assert len(controls(machine)) == 3, "wishes stay as long as their job is under way"


def test_a_wish_may_come_before_its_job(machine: Machine) -> None:
    job = machine.sh("cit-trigger -- true").stdout
    identity = job.split()[2]
    asked(machine, identity, "cancel")
    machine.schedule()
    assert len(controls(machine)) == 1
    machine.sh("cit-queue -q --to @main", stdin=job.encode())
    machine.schedule()
    assert machine.states(identity) == ["done"]


def test_wishes_without_power_are_set_aside(machine: Machine) -> None:
    (identity,) = machine.push("-H")
    ben, eve = (keys.generate(machine.place / name, f"{name}@sun") for name in ("ben", "eve"))
    machine.set("allowed_signers", f'ben@sun namespaces="cit-job" {ben.public.line}')
    wrong = [
        asked(machine, identity, "cancel", ben, "ben@sun"),  # may submit, not control the jobs of others
        asked(machine, identity, "cancel", eve, "eve@sun"),
        asked(machine, identity, "cancel", submitter="ben@sun"),
        asked(machine, identity, "cancel", queue=f"other@{machine.queue.fingerprint}"),
        asked(machine, identity, "destroy"),
    ]
    torn = machine.queue / "control" / f"{identity}.{identity}.cit"
    torn.write_text("@cit 1 nothing")
    done = machine.schedule()
    assert done.stderr.count("error:") == 6 and machine.states(identity) == ["held"] and controls(machine) == []
    kept = {path.name[:26] for path in (machine.queue / "refused").glob("*.cit")}
    assert {each.id for each in wrong} < kept and len(kept) == 6


def test_the_submitter_may_wish_without_any_right_of_the_place(machine: Machine) -> None:
    text = (machine.queue / "allowed_signers").read_text()
    (machine.queue / "allowed_signers").write_text(text.replace('"cit-job,cit-control"', '"cit-job"'))
    (identity,) = machine.push("-H")
    asked(machine, identity, "cancel")
    machine.schedule()
    assert machine.states(identity) == ["done"]


def test_an_expired_wish_is_forgotten(machine: Machine) -> None:
    (identity,) = machine.push("-H")
    asked(machine, identity, "cancel")
    machine.schedule(later=25 * HOUR)
    assert machine.states(identity) == ["held"] and controls(machine) == []


def test_wishes_about_one_attempt_or_task_leave_the_others_alone(machine: Machine) -> None:
    (identity,) = machine.push("-w nobody")
    asked(machine, identity, "cancel", attempt="2")
    asked(machine, identity, "cancel", task="3")
    machine.schedule()
    assert machine.states(identity) == ["waiting"]
    asked(machine, identity, "cancel", attempt="1")
    machine.schedule()
    assert machine.states(identity) == ["done"]


def test_wishes_are_carried_to_the_builder_once_and_before_the_job(machine: Machine) -> None:
    (identity,) = machine.push()
    machine.schedule()
    first = asked(machine, identity, "cancel")
    machine.sh(f"{SCHEDULE}; {DELIVER}")
    place = machine.account / "control"
    assert (place / f"{identity}.{first.id}.cit").read_bytes() == first.raw and machine.states(identity) == ["sent"]
    assert control.look(place, machine.document(identity, "sent"), None, 1, machine.account.signers, clock.now()).cancel is not None
    (place / f"{identity}.{first.id}.cit").unlink()
    assert machine.deliver().returncode == 0 and spool.listing(place) == [], "what the builder took is not sent again"
    second = asked(machine, identity, "hold")
    machine.deliver()
    assert spool.listing(place) == [f"{identity}.{second.id}.cit"]
    assert [row[0][:26] for row in machine.log("carried")] == [first.id, second.id]


def test_a_builder_believes_the_signer_and_not_the_queue(machine: Machine) -> None:
    (identity,) = machine.push()
    machine.schedule()
    ben = keys.generate(machine.place / "ben", "ben@sun")
    machine.set("allowed_signers", f'ben@sun namespaces="cit-control" {ben.public.line}')
    asked(machine, identity, "cancel", ben, "ben@sun")
    machine.deliver()
    assert spool.listing(machine.account / "control") == []
    ((name, _, _, word, _, _, why),) = machine.log("refused")
    assert word == "refused" and "is not in" in why


def test_wishes_leave_the_builder_with_their_job(machine: Machine) -> None:
    (identity,) = machine.push()
    machine.schedule()
    asked(machine, identity, "priority", value="3")
    machine.deliver()
    assert len(spool.listing(machine.account / "control")) == 1
    machine.tick(2)
    assert machine.states(identity) == ["done"] and spool.listing(machine.account / "control") == [] and controls(machine) == []
