"""What cit-queue takes and what it refuses: a ticket for each in order, the refused kept with why, the others unharmed."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from typing import NamedTuple

import pytest

from cit_format import clock, document, home, names, reader
from cit_format.body import Time
from cit_format.document import Document, section
from tests.int.cit_queue.house import ROOT, House, states, statuses, tickets


def test_an_accepted_job_waits_with_the_queues_word_and_its_bytes_unchanged(house: House) -> None:
    job = house.job()
    ended = house.run("--to", "@main", stdin=job.raw)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert [each.id for each in tickets(ended.stdout)] == [job.id] and states(ended.stdout) == ["accepted"]
    (kept,) = (reader.parse(raw) for raw in house.lying("waiting"))
    assert kept.raw.startswith(job.raw)
    assert [each.kind for each in kept.sections[3:]] == ["event", "signature"]
    assert kept.sections[3].rows()[0][1:] == ["queue", "accepted", "sun", "ada", "main"]


class Bad(NamedTuple):
    """A fault, the status that names it, and words of its message."""

    make: Callable[[House], bytes]
    status: int
    says: str


def edited(old: bytes, new: bytes) -> Callable[[House], bytes]:
    return lambda house: house.job().raw.replace(old, new, 1)


def inserted(house: House, *pieces: bytes) -> bytes:
    """A job with sections after its signature."""
    return house.job().extended(*pieces).raw


BAD = {
    "no document": Bad(lambda house: b"hello\n", 65, "begins no document"),
    "unknown version of the file": Bad(edited(b"@cit 1 ", b"@cit 2 "), 65, "unknown version 2"),
    "unknown version of a section": Bad(edited(b"@begin script 1 ", b"@begin script 2 "), 65, "version 2"),
    "carriage return": Bad(edited(b"echo hi", b"echo hi\r"), 65, "carriage return"),
    "cut off": Bad(lambda house: house.job().raw[: -len(b"@end signature\n")], 65, "not closed"),
    "over a limit": Bad(edited(b"echo hi", b"echo hi " + b"x" * (17 << 20)), 65, "over 16 MiB"),
    "no sections": Bad(lambda house: document.new("empty").raw, 65, "first section is missing"),
    "unsigned": Bad(lambda house: house.job().raw.partition(b"@begin signature")[0], 77, "no signature"),
    "changed after signing": Bad(edited(b"echo hi", b"echo ho"), 77, "does not match"),
    "signed by a stranger": Bad(lambda house: house.job(who="eve").raw, 77, "is not in"),
    "another's name": Bad(lambda house: house.job(submitter="ben@sun").raw, 77, "names ben@sun as submitter"),
    "another queue": Bad(lambda house: house.job(queue="main@SHA256:other").raw, 77, "is for queue"),
    "expired": Bad(lambda house: house.job(created=Time(clock.now() - clock.DAY), expires=Time(clock.now() - clock.SECOND)).raw, 77, "expired"),
    "from the future": Bad(lambda house: house.job(created=Time(clock.now() + clock.HOUR)).raw, 77, "future"),
    "for longer than 30 days": Bad(lambda house: house.job(expires=Time(clock.now() + 31 * clock.DAY)).raw, 77, "30 days"),
    "no expiry": Bad(lambda house: house.job(expires=None).raw, 65, "says no expires"),
    "an env after the signature": Bad(lambda house: inserted(house, section("env", "tsv", b"LD_PRELOAD\tevil.so\n")), 65, "after the signature"),
    "an assignment of its own": Bad(lambda house: house.assigned(house.job(), state="").raw, 77, "after its signature"),
    "a priority out of range": Bad(lambda house: house.job(priority=5000).raw, 65, "priority 5000"),
    "a priority that is no number": Bad(lambda house: house.job(priority=True).raw, 65, "priority True"),
    "out of eleven jobs": Bad(lambda house: house.job(chain=[clock.new_id() for _ in range(11)]).raw, 65, "comes out of 11 jobs"),
    "a chain of no IDs": Bad(lambda house: house.job(chain=["x"]).raw, 65, "no list of IDs"),
    "followed by what is no job": Bad(lambda house: house.followed(b"hello\n").raw, 65, "begins no document"),
    "a begin beyond all file names": Bad(lambda house: house.job(begin=Time(clock.parse("9000-01-01T00:00:00Z"))).raw, 65, "begin 9000"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_fault_has_its_message_and_status_and_is_kept_with_why(house: House, case: str) -> None:
    before, bad, after = house.job("before"), BAD[case].make(house), house.job("after")
    ended = house.run("--to", "@main", stdin=(b"" if case == "no document" else before.raw) + bad + after.raw)
    good = [] if case == "no document" else ["accepted"]  # bytes after a document belong to it
    assert ended.returncode == BAD[case].status
    assert statuses(ended.stdout) == [*good, BAD[case].status, "accepted"]
    assert [reader.parse(raw).name for raw in house.lying("waiting")] == ["before"][: len(good)] + ["after"]
    errors = [line for line in ended.stderr.decode().splitlines() if ": error: " in line]
    assert len(errors) == 1 and BAD[case].says in errors[0], ended.stderr
    assert b"Traceback" not in ended.stderr and b"\nhint: " in ended.stderr
    (kept,) = house.refused()
    why = list(kept.all("event"))[-1].rows()[0]
    assert why[1:3] == ["queue", "refused"] and why[5].startswith(f"{BAD[case].status} ")
    ticket = tickets(ended.stdout)[len(good)]
    said = ticket.table("ticket")
    assert (said["bytes"], said["received"]) == (len(bad), f"sha256:{hashlib.sha256(bad).hexdigest()}")
    assert ticket.id == kept.id
    if kept.name == "refused":
        note = kept.find("note")
        assert note is not None and note.body() == bad[: 1 << 20]
        assert note.attributes == {"enc": "base64", "bytes": str(len(bad)), "sha256": hashlib.sha256(bad).hexdigest()}
    else:
        assert kept.raw.startswith(bad)


def test_the_same_again_is_a_duplicate_in_a_group_across_groups_and_processes(house: House) -> None:
    job, other = house.job("one"), house.job("two")
    assert house.push(job, job, other, job) == ["accepted", "duplicate", "accepted", "duplicate"]
    assert house.push(other, job) == ["duplicate", "duplicate"]
    assert len(house.lying("waiting")) == 2 and house.lying("refused") == []
    for name in names_in(house, "waiting"):
        (house.queue / "waiting" / name).rename(house.queue / "assigned" / name)
    assert house.push(job) == ["duplicate"], "wherever it is now"
    assert house.lying("waiting") == []


def names_in(house: House, state: str) -> list[str]:
    return sorted(path.name for path in (house.queue / state).glob("*.cit"))


def test_the_same_id_with_other_bytes_is_a_replay_and_every_copy_of_it_is_kept_once(house: House) -> None:
    job = house.job()
    house.push(job)
    edits = [house.job(identity=job.id, cpus=cpus) for cpus in (2, 3)]
    for _ in range(2):
        ended = house.run("--to", "@main", stdin=edits[0].raw + edits[1].raw)
        assert (ended.returncode, statuses(ended.stdout)) == (77, [77, 77])
    kept = house.lying("refused")
    assert len(kept) == 2 and all(any(raw.startswith(edit.raw) for raw in kept) for edit in edits)
    assert all(names.parse(name) for name in names_in(house, "refused"))


def test_two_streams_of_the_same_documents_at_once_take_each_once(house: House) -> None:
    jobs = [house.job(f"n{number}") for number in range(150)]
    streams = [b"".join(each.raw for each in some) for some in (jobs, reversed(jobs), jobs[75:] + jobs[:75])]
    command = [str(ROOT / "bin" / "cit-queue"), "--to", "@main"]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=house.environment) for _ in streams]
    for process, stream in zip(running, streams):
        assert process.stdin
        process.stdin.write(stream)
        process.stdin.close()
    said = []
    for process in running:
        assert process.stdout
        said += states(process.stdout.read())
        assert process.wait(60) == 0
    assert sorted(said) == ["accepted"] * 150 + ["duplicate"] * 300
    assert sorted(reader.parse(raw).name for raw in house.lying("waiting")) == sorted(job.name for job in jobs)


def test_order_is_that_of_the_stream_and_hold_and_begin_time_are_held(house: House) -> None:
    tomorrow = clock.now() // clock.SECOND * clock.SECOND + clock.DAY
    jobs = [house.job("a"), house.job("b", priority=7), house.job("c"), house.job("d", hold=True), house.job("e", begin=Time(tomorrow))]
    assert house.push(*jobs) == ["accepted"] * 5
    assert [reader.parse(raw).name for raw in house.lying("waiting")] == ["b", "a", "c"]
    held = {parts.name: parts.sequence for parts in map(names.parse, names_in(house, "held")) if parts}
    assert held == {"d": names.NEVER, "e": tomorrow}


def test_a_document_that_is_no_job_and_no_wish_is_refused(house: House) -> None:
    described = home.describe_builder(house.account)
    ended = house.run("--to", "@main", stdin=described.raw)
    assert (ended.returncode, statuses(ended.stdout)) == (65, [65])


def test_a_key_that_was_revoked_stops_at_once(house: House) -> None:
    job = house.job(who="ben")
    (house.queue / "revoked_keys").write_text(house.key("ben").public.line + "\n")
    ended = house.run("--to", "@main", stdin=job.raw + house.job().raw)
    assert statuses(ended.stdout) == [77, "accepted"] and b"is revoked" in ended.stderr


def test_as_a_filter_it_writes_what_it_accepts_and_remembers_nothing(house: House) -> None:
    job, control = house.job(), house.control("cancel", clock.new_id())
    stream = job.raw + house.job(who="eve").raw + control.raw
    for _ in range(2):
        ended = house.run(stdin=stream)
        assert ended.returncode == 77
        passed = documents_of(ended.stdout)
        assert [each.id for each in passed] == [job.id, control.id]
        assert passed[0].raw.startswith(job.raw) and passed[1].raw == control.raw
    assert house.lying("waiting") == [] and house.lying("refused") == []


def documents_of(stream: bytes) -> list[Document]:
    return [each for each in reader.documents(reader.reader_of(stream)) if isinstance(each, Document)]


def test_a_queue_whose_states_lie_on_two_file_systems_is_a_wrong_configuration(house: House) -> None:
    (house.queue / "held").rmdir()
    (house.queue / "held").symlink_to("/proc/self")
    ended = house.run("--to", "@main", stdin=house.job().raw)
    assert ended.returncode == 78 and ended.stdout == b"" and b"more than one file system" in ended.stderr
