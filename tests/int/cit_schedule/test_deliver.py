"""cit-deliver: same bytes until a ticket, then no more; what nobody takes neither loops nor vanishes (docs/stages/deliver.md)."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from cit_schedule import carry, resting
from cit_schedule.carry import Address, Ways
from cit_schedule.cit_format import clock, keys, reader, spool, ticket
from cit_schedule.cit_format.document import Document
from cit_schedule.cit_format.errors import CitError
from tests.int.cit_schedule.conftest import DELIVER, ROOT, Machine
from tests.int.cit_schedule.test_attempts import assignment, job, result, void

NOW = clock.parse("2026-11-23T20:30:00Z")
WAYS = Ways({"sun": "/sun"}, {"main@K": "/q"})
ADDRESSES = {
    "new": (job(queue="main@K"), Address("put-accept", "/q")),
    "assigned": (job(assignment(1), queue="main@K"), Address("put-inbox", "/sun")),
    "ended": (job(assignment(1), result("COMPLETED"), queue="main@K"), Address("put-done", "/q")),
    "given back": (job(assignment(1), void(), queue="main@K"), Address("put-done", "/q")),
    "assigned again": (job(assignment(1), result("FAILED"), assignment(2), queue="main@K"), Address("put-inbox", "/sun")),
    "of no queue here": (job(queue="other@K"), 66),
    "for no builder here": (job(reader.parse(job().raw + assignment(1).replace(b'"sun"', b'"moon"')).raw[len(job().raw) :], queue="main@K"), 66),
    "no job": (ticket.ticket("01kax0m2ht8f0v3q6s9y2c4e7g", "zlib", b"", "accepted"), 65),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_address(case: str) -> None:
    document, expected = ADDRESSES[case]
    if isinstance(expected, Address):
        assert carry.address(document, WAYS) == expected
    else:
        with pytest.raises(CitError) as error:
            carry.address(document, WAYS)
        assert error.value.status == expected


def test_the_pause_of_a_door_doubles_up_to_ten_minutes() -> None:
    failure, pauses = None, []
    for _ in range(9):
        failure = resting.after(failure, NOW, "away")
        pauses.append((failure.until - NOW) // clock.SECOND)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600]


# --- jobs to their builder ----------------------------------------------------------------------------------------------


def test_a_job_goes_to_its_builder_as_it_stands(machine: Machine) -> None:
    (identity,) = machine.push()
    machine.schedule()
    frozen = machine.file(identity, "assigned").read_bytes()
    assert machine.sh(DELIVER).stderr == ""
    (received,) = (machine.account / "inbox").glob("*.cit")
    assert machine.states(identity) == ["sent"] and received.read_bytes() == machine.file(identity, "sent").read_bytes() == frozen
    machine.file(identity, "sent").rename(machine.queue / "assigned" / machine.file(identity, "sent").name)
    assert machine.sh(DELIVER).returncode == 0, "a ticket was lost: the same again"
    assert machine.states(identity) == ["sent"] and len(list((machine.account / "inbox").glob("*.cit"))) == 1


def test_a_builder_out_of_reach_rests_and_holds_up_nobody(machine: Machine) -> None:
    machine.only("sun", slots=9, cpus=9, door="/nowhere/at/all")
    (away,) = machine.push()
    machine.schedule()
    machine.only("moon", slots=9, cpus=9)
    machine.builder("sun", state="drain", door="/nowhere/at/all")
    (here,) = machine.push()
    machine.schedule()
    first = machine.deliver()
    assert first.returncode == 69 and "/nowhere/at/all is not there" in first.stderr
    assert machine.states(away) == ["assigned"] and machine.states(here) == ["sent"]
    row = (machine.queue / "assigned" / ".doors").read_text().split("\t")
    assert row[:2] == ["/nowhere/at/all", "1"] and row[3] == "/nowhere/at/all is not there\n"
    again = machine.deliver()
    assert (again.returncode, again.stderr) == (75, ""), "it is not tried before its pause is over, and that is no news"
    late = machine.deliver(later=clock.MINUTE)
    assert late.returncode == 69 and (machine.queue / "assigned" / ".doors").read_text().split("\t")[1] == "2"
    machine.builder("sun", door=str(machine.account.path))
    assert machine.deliver().returncode == 0 and machine.states(away) == ["sent"], "a new door is tried at once"


def test_what_a_builder_refuses_is_set_aside_with_why(machine: Machine) -> None:
    good, bad = machine.push()[0], machine.push()[0]
    machine.only("sun", ahead=9)
    machine.schedule()
    path = machine.file(bad, "assigned")
    path.write_bytes(path.read_bytes().replace(b"exec sh", b"exec zsh"))
    done = machine.deliver()
    assert done.returncode == 77 and machine.states(good) == ["sent"] and machine.states(bad) == ["refused"]
    assert "refused by" in done.stderr and f"77 refused by {machine.account.path}: " in machine.file(bad, "refused").read_text()
    assert [row[0] for row in machine.log("refused")] == [f"{bad}.a1-sh"]
    assert machine.deliver().returncode == 0, "it is not tried again"


@pytest.mark.parametrize("door", [None, "telnet://moon"])
def test_a_door_that_no_transport_reaches_keeps_the_job(machine: Machine, door: str | None) -> None:
    machine.only("sun", door=door)
    (identity,) = machine.push()
    machine.schedule()
    done = machine.deliver()
    assert done.returncode == 69 and "no transport to" in done.stderr and machine.states(identity) == ["assigned"]


def test_a_door_that_is_none_keeps_the_job(machine: Machine) -> None:
    machine.only("sun", door="ssh://cit@-oProxyCommand=touch${IFS}x")
    (identity,) = machine.push()
    machine.schedule()
    done = machine.deliver()
    assert done.returncode == 65 and "is no door" in done.stderr and machine.states(identity) == ["assigned"]


def test_a_builder_that_is_gone_keeps_the_job(machine: Machine) -> None:
    (identity,) = machine.push()
    machine.schedule()
    machine.only("moon")
    done = machine.deliver()
    assert done.returncode == 66 and "no builder" in done.stderr and machine.states(identity) == ["assigned"]
    assert machine.deliver().stderr == "", "said again after a pause only"


def test_a_faulty_document_is_set_aside(machine: Machine) -> None:
    (machine.queue / "assigned" / "x.cit").write_bytes(b"@cit 1 nothing\n")
    done = machine.deliver()
    assert done.returncode == 65 and spool.listing(machine.queue / "assigned") == [] and len(spool.listing(machine.queue / "refused")) == 1


# --- ends to their queue ------------------------------------------------------------------------------------------------


def test_an_end_is_dropped_only_when_the_queue_has_it(machine: Machine) -> None:
    (identity,) = machine.push()
    for line in ("cit-schedule -q --from waiting", "cit-deliver -q --from assigned", "cit-run -q --from inbox --to finished"):
        machine.sh(line)
    queue = machine.queue.path
    queue.rename(machine.place / "away")
    done = machine.sh("cit-deliver -q --from finished")
    assert (done.returncode, done.stderr) == (75, "") and len(spool.listing(machine.account / "finished")) == 1, "its queue may fetch it"
    (machine.place / "away").rename(queue)
    (machine.account / "finished" / ".doors").unlink()
    ended = (machine.account / "finished" / spool.listing(machine.account / "finished")[0]).read_bytes()
    assert machine.sh("cit-deliver -q --from finished").returncode == 0
    assert machine.states(identity) == ["done"] and machine.file(identity, "done").read_bytes() == ended
    assert spool.listing(machine.account / "finished") == []


def test_an_end_that_its_queue_refuses_is_kept_on_both_sides(machine: Machine) -> None:
    (identity,) = machine.push()
    for line in ("cit-schedule -q --from waiting", "cit-deliver -q --from assigned", "cit-run -q --from inbox --to finished"):
        machine.sh(line)
    machine.file(identity, "sent").unlink()  # as if the queue had never sent it
    done = machine.sh("cit-deliver -q --from finished")
    assert done.returncode == 77 and spool.listing(machine.account / "finished") == []
    assert len(spool.listing(machine.account / "refused")) == 1 and machine.states(identity) == ["refused"]


def test_a_copy_left_behind_while_the_end_came_is_removed(machine: Machine) -> None:
    (identity,) = machine.push()
    machine.schedule()
    sent = (machine.file(identity, "assigned").name, machine.file(identity, "assigned").read_bytes())
    machine.tick()
    assert machine.states(identity) == ["done"]
    (machine.queue / "sent" / sent[0]).write_bytes(sent[1])
    machine.schedule(later=2 * clock.MINUTE)
    assert machine.states(identity) == ["done"]
    (machine.queue / "assigned" / sent[0]).write_bytes(sent[1])
    machine.deliver()
    assert machine.states(identity) == ["done"]


# --- a stream -----------------------------------------------------------------------------------------------------------


def tickets(output: str) -> list[str]:
    return [str(each.table("ticket")["state"]) for each in reader.documents(reader.reader_of(output.encode())) if isinstance(each, Document)]


def test_trigger_schedule_deliver(machine: Machine) -> None:
    """What no builder can take waits in the queue, what one can is recorded there and runs."""
    line = "(cit-trigger --name a -- true; cit-trigger --name b -w nobody -- true; cit-trigger --name c -H -- true)"
    done = machine.sh(f"{line} | tee $HOME/jobs | cit-schedule | cit-deliver")
    assert done.returncode == 0 and tickets(done.stdout) == ["accepted"] * 3, done.stderr
    a, b, c = re.findall(r"^@cit 1 (\S+)", done.stdout, re.M)
    assert [machine.states(each) for each in (a, b, c)] == [["sent"], ["waiting"], ["held"]]
    assert tickets(machine.sh("cit-schedule < $HOME/jobs | cit-deliver").stdout) == ["duplicate"] * 3
    assert tickets(machine.sh("cit-queue --to @main < $HOME/jobs").stdout) == ["duplicate"] * 3
    machine.tick(2)
    assert [machine.states(each) for each in (a, b, c)] == [["done"], ["waiting"], ["held"]]


def test_what_others_assigned_is_not_recorded(machine: Machine) -> None:
    signed = machine.sh("cit-trigger -- true | cit-schedule").stdout.encode()
    eve = keys.generate(machine.place / "eve", "eve@sun")
    machine.set("allowed_signers", f'eve@sun namespaces="cit-queue" {eve.public.line}')
    document = reader.parse(signed)
    last = list(document.all("signature"))[-1]
    forged = Document(document.id, document.name, document.raw[: last.start], document.sections[: last.number - 1])
    stream = machine.sh(f"cit-format sign --ns cit-queue --by eve@sun --key {machine.place}/eve", stdin=forged.raw).stdout
    done = machine.sh("cit-deliver", stdin=stream.encode())
    assert (done.returncode, tickets(done.stdout)) == (77, ["refused"]) and "not assigned by the queue that it names" in done.stderr
    assert machine.states(document.id) == [] and tickets(machine.sh("cit-deliver", stdin=signed).stdout) == ["accepted"]


def test_a_builder_out_of_reach_gives_a_kept_ticket(machine: Machine) -> None:
    machine.only("sun", door="/nowhere")
    done = machine.sh("cit-trigger -- true | cit-schedule | cit-deliver")
    assert (done.returncode, tickets(done.stdout)) == (75, ["kept"])
    assert len(spool.listing(machine.queue / "assigned")) == 1, "it lies in its queue, and is tried again"


def test_ends_and_faulty_documents_in_a_stream(machine: Machine) -> None:
    (identity,) = machine.push()
    for line in ("cit-schedule -q --from waiting", "cit-deliver -q --from assigned", "cit-run -q --from inbox --to finished"):
        machine.sh(line)
    (name,) = spool.listing(machine.account / "finished")
    done = machine.sh("cit-deliver", stdin=b"@cit 1 nothing\n" + (machine.account / "finished" / name).read_bytes())
    assert (done.returncode, tickets(done.stdout)) == (65, ["accepted"]) and machine.states(identity) == ["done"]


def test_speaks_without_a_home() -> None:
    done = subprocess.run([ROOT / "bin/cit-deliver", "--speaks"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert "writes\tticket\t1\n" in done.stdout and done.returncode == 0


def test_without_work_nothing_is_made(machine: Machine) -> None:
    before = sorted(os.listdir(machine.queue / "assigned"))
    assert machine.deliver().returncode == 0 and sorted(os.listdir(machine.queue / "assigned")) == before
