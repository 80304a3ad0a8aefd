"""The door: a closed list of verbs; what is handed over twice is there once, and nothing overwrites an end that is known."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from cit_format import clock, frame, home, keys, reader, spool
from cit_format.document import Document, section
from tests.int.cit_queue.house import ROOT, House, states, statuses, tickets


def asked(house: House, verb: str, *documents: Document) -> subprocess.CompletedProcess[bytes]:
    """One connection to the queue's door, with a framed stream."""
    stream = frame.framed(b"".join(each.raw for each in documents), len(documents)) if verb.startswith("put-") else b""
    return house.run("--to", "@main", f"--door={verb}", stdin=stream)


def answered(house: House, verb: str, *documents: Document) -> list[object]:
    """State or status of each ticket; the answer must be framed."""
    ended = asked(house, verb, *documents)
    whole = frame.unframed(reader.reader_of(ended.stdout), strict=True)
    return statuses(whole(1 << 30))


def done(house: House) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((house.queue / "done").glob("*/*.cit"))}


# --- put-done: two copies of one attempt ----------------------------------------------------------------------------


def test_a_result_goes_into_done_once_and_the_sent_copy_goes(house: House) -> None:
    sent = house.assigned(house.job())
    ended = house.ended(sent)
    assert answered(house, "put-done", ended) == ["accepted"]
    assert done(house) == {f"{sent.id}.a1-hello.cit": ended.raw} and house.lying("sent") == []
    assert answered(house, "put-done", ended, ended) == ["duplicate", "duplicate"]
    assert list(done(house).values()) == [ended.raw]
    log = next((house.queue / "log").iterdir()).read_text()
    assert log.count(f"{sent.id}.a1-hello\t") == 1 and "\tCOMPLETED\t" in log


def test_it_is_found_in_assigned_too_where_its_carrier_was_killed(house: House) -> None:
    ended = house.ended(house.assigned(house.job(), state="assigned"))
    assert answered(house, "put-done", ended) == ["accepted"] and house.lying("assigned") == []


def test_while_its_copy_is_being_moved_it_is_tried_again(house: House) -> None:
    sent = house.assigned(house.job())
    with spool.Claim(house.queue / "sent") as claim:
        assert claim.take(spool.listing(house.queue / "sent")[0])
        assert answered(house, "put-done", house.ended(sent)) == [75]
    assert answered(house, "put-done", house.ended(sent)) == ["accepted"]


def test_a_longer_copy_replaces_its_prefix_and_a_shorter_one_changes_nothing(house: House) -> None:
    sent = house.assigned(house.job())
    short = house.ended(sent)
    note = section("event", "tsv", b"2026-11-23T20:26:12.031Z\trun\tremark\tsun\tada\t\n")
    result = section("result", "toml", b'state = "COMPLETED"\n')
    long = home.signed(short.extended(note, result), house.account.signer, "builder@sun", "cit-result")
    assert answered(house, "put-done", short, long) == ["accepted", "duplicate"]
    assert list(done(house).values()) == [long.raw]
    assert answered(house, "put-done", short) == ["duplicate"] and list(done(house).values()) == [long.raw]


def test_two_ends_of_one_attempt_are_both_kept_and_the_first_one_counts(house: House) -> None:
    sent = house.assigned(house.job())
    first, second, third = (house.ended(sent, state) for state in ("COMPLETED", "FAILED", "TIMEOUT"))
    assert answered(house, "put-done", first) == ["accepted"]
    assert answered(house, "put-done", second, third, second) == [77, 77, 77]
    assert list(done(house).values()) == [first.raw]
    kept = house.lying("refused")
    assert len(kept) == 2 and all(any(raw.startswith(each.raw) for raw in kept) for each in (second, third))
    assert all(b"another end of this attempt" in raw for raw in kept)


def test_what_the_queue_gave_up_is_replaced_by_the_end_that_comes_late(house: House) -> None:
    sent = house.assigned(house.job())
    given_up = house.ended(sent, "NODE_FAIL", by="queue")
    name = spool.listing(house.queue / "sent")[0]
    day = house.queue / "done" / clock.id_day(sent.id)
    day.mkdir()
    (house.queue / "sent" / name).unlink()
    (day / f"{sent.id}.a1-hello.cit").write_bytes(given_up.raw)
    late, later = house.ended(sent), house.ended(sent, "FAILED")
    assert answered(house, "put-done", late, later) == ["accepted", 77]
    assert list(done(house).values()) == [late.raw]


def test_a_late_end_of_an_older_attempt_stands_beside_the_newer_one(house: House) -> None:
    job = house.job()
    first = house.assigned(job)
    second = house.assigned(house.ended(first, "NODE_FAIL", by="queue"), attempt=2)
    end = house.ended(second, attempt=2)
    assert answered(house, "put-done", end) == ["accepted"]
    assert answered(house, "put-done", house.ended(first, "FAILED")) == ["accepted"]
    assert list(done(house)) == [f"{job.id}.a1-hello.cit", f"{job.id}.a2-hello.cit"]
    assert done(house)[f"{job.id}.a2-hello.cit"] == end.raw


def test_what_does_not_begin_with_what_was_sent_is_set_aside(house: House) -> None:
    house.assigned(house.job())
    sent = reader.parse(house.lying("sent")[0])
    forked = home.signed(reader.parse(sent.submitted).extended(list_of(sent)), house.queue.signer, "queue@sun", "cit-queue")
    assert answered(house, "put-done", house.ended(forked)) == [65]
    assert done(house) == {} and len(house.lying("sent")) == 1 and len(house.lying("refused")) == 1


def list_of(sent: Document) -> bytes:
    """The assignment of a document, with another word in it."""
    given = sent.find("assignment")
    assert given is not None
    return section("assignment", "toml", given.raw.replace(b'builder = "sun"', b'builder = "moon"'))


def test_only_the_builder_to_whom_the_queue_assigned_it_may_end_it(house: House) -> None:
    other = keys.generate(house.directory / "other", "builder@moon")
    with open(house.queue / "allowed_signers", "a") as file:
        file.write(f'builder@moon namespaces="cit-result" {other.public.line}\n')
    sent = house.assigned(house.job())
    result = section("result", "toml", b'state = "COMPLETED"\n')
    stolen = home.signed(sent.extended(result), other, "builder@moon", "cit-result")
    given = sent.find("assignment")
    assert given is not None
    own_word = given.raw.replace(house.account.signer.public.fingerprint.encode(), other.public.fingerprint.encode())
    forged = home.signed(sent.extended(section("assignment", "toml", own_word), result), other, "builder@moon", "cit-result")
    unknown = house.ended(house.assigned(house.job("unknown"), state=""))
    unsigned = sent.extended(result)
    assert answered(house, "put-done", stolen, forged, unknown, unsigned) == [77, 77, 77, 77]
    assert done(house) == {} and len(house.lying("sent")) == 1
    assert answered(house, "put-done", house.ended(sent)) == ["accepted"]


def test_another_attempt_waits_before_the_builder_may_forget(house: House) -> None:
    sent = house.assigned(house.job(attempts=2, **{"retry-on": ["fail"]}))
    failed = house.ended(sent, "FAILED")
    assert answered(house, "put-done", failed) == ["accepted"]
    assert house.lying("held") == [failed.raw], "until it is due"
    assert answered(house, "put-done", failed) == ["duplicate"] and len(house.lying("held")) == 1


# --- put-inbox and put-accept ---------------------------------------------------------------------------------------


def test_an_inbox_takes_what_is_assigned_to_it_once_and_tells_its_present_state(house: House) -> None:
    given = house.assigned(house.job(), state="")
    assert answered(house, "put-inbox", given, given) == ["accepted", "PENDING"]
    assert answered(house, "put-inbox", given) == ["PENDING"]
    (name,) = spool.listing(house.account / "inbox")
    assert (house.account / "inbox" / name).read_bytes() == given.raw
    for state, said in (("running", "RUNNING"), ("finished", "duplicate")):
        (house.account / "inbox" / name).rename(house.account / state / name)
        assert answered(house, "put-inbox", given) == [said]
        (house.account / state / name).rename(house.account / "inbox" / name)
    (house.account / "inbox" / name).unlink()
    assert answered(house, "put-inbox", given) == ["duplicate"], "it has gone home"
    assert spool.listing(house.account / "inbox") == []


def test_an_inbox_believes_the_signatures_and_not_who_hands_it_over(house: House) -> None:
    mine = house.assigned(house.job(), state="")
    for_another = house.assigned(house.job("other"), state="", key=keys.generate(house.directory / "other", "b").public.fingerprint)
    unassigned = house.job("unassigned")
    edited = reader.parse(mine.raw.replace(b"echo hi", b"echo ho"))
    again = home.signed(house.job("again").extended(list_of(mine)), house.account.signer, "builder@sun", "cit-queue")
    assert answered(house, "put-inbox", for_another, unassigned, edited, again, mine) == [77, 77, 77, 77, "accepted"]
    assert len(spool.listing(house.account / "inbox")) == 1


def test_put_accept_is_cit_queue_behind_a_frame(house: House) -> None:
    job = house.job()
    assert answered(house, "put-accept", job, house.job(who="eve"), job) == ["accepted", 77, "duplicate"]
    assert len(house.lying("waiting")) == 1 and len(house.lying("refused")) == 1
    house.set("active", False)
    ended = asked(house, "put-accept", house.job())
    assert (ended.returncode, ended.stdout) == (75, b"") and not list((house.path / "outbox").glob("*.cit")), "the sender has an outbox"


@pytest.mark.parametrize("verb", ["put-accept", "put-done", "put-inbox", "put-control"])
def test_what_is_cut_off_or_has_no_frame_is_not_used(house: House, verb: str) -> None:
    job = house.job()
    framed = frame.framed(job.raw, 1)
    for stream in (job.raw, framed[:-1], framed[:300], framed + job.raw, b""):
        ended = house.run("--to", "@main", f"--door={verb}", stdin=stream)
        assert (ended.returncode, ended.stdout) == (65, b"")
    assert house.lying("waiting") == [] and house.lying("refused") == []


# --- looking, and the list of verbs ---------------------------------------------------------------------------------


def test_ls_get_have_and_alive(house: House) -> None:
    waiting, sent = house.job("waits"), house.assigned(house.job("sent"))
    end = house.assigned(house.job("done"))
    house.push(waiting)
    answered(house, "put-done", house.ended(end))
    rows = [line.split("\t") for line in asked(house, "ls").stdout.decode().splitlines()]
    assert [(row[0], row[1].rpartition("-")[2]) for row in rows] == [("waiting", "waits.cit"), ("sent", "sent.cit")]
    assert all(int(row[2]) > 500 for row in rows)
    assert asked(house, "ls done").stdout.split(b"\t")[1] == f"{end.id}.a1-done.cit".encode()
    assert asked(house, f"ls done {clock.id_day(end.id)}").stdout == asked(house, "ls done").stdout
    got = frame.unframed(reader.reader_of(asked(house, f"get {sent.id}").stdout), strict=True)(1 << 30)
    assert got == sent.raw
    had = asked(house, f"have {waiting.id} {end.id} {clock.new_id()}")
    assert had.returncode == 1
    assert [line.split("\t")[1].partition("/")[0] for line in had.stdout.decode().splitlines()] == ["waiting", "done", "-"]
    said = asked(house, "alive").stdout.decode().rstrip("\n").split("\t")
    assert said[:2] == [house.queue.full_name, "active"] and abs(clock.parse(said[2]) - clock.now()) < clock.MINUTE
    assert asked(house, f"get {clock.new_id()}").returncode == 66
    assert asked(house, "ls nonsense").returncode == 66


def test_a_door_waits_for_an_end(house: House) -> None:
    """Who waits for jobs asks once: the answer comes when one of them has ended, and at once where one has."""
    first, second = house.assigned(house.job("first")), house.assigned(house.job("second"))

    def ended(words: str) -> list[str]:
        framed = asked(house, f"ended {words}")
        assert framed.returncode == 0, framed.stderr
        stream = frame.unframed(reader.reader_of(framed.stdout), strict=True)
        return [each.name for each in reader.documents(stream) if isinstance(each, Document)]

    assert ended(f"0s {first.id} {second.id}") == []
    began = time.monotonic()
    waiting = threading.Thread(target=lambda: answers.append(ended(f"25s {first.id} {second.id}")))
    answers: list[list[str]] = []
    waiting.start()
    time.sleep(0.5)
    assert not answers, "nothing has ended yet"
    answered(house, "put-done", house.ended(second))
    waiting.join(25)
    assert answers == [["second"]] and time.monotonic() - began < 25
    answered(house, "put-done", house.ended(first))
    assert ended(f"25s {first.id} {second.id}") == ["first", "second"]
    assert asked(house, f"ended 5 {first.id}").returncode == 2, "a number without its unit"


@pytest.mark.parametrize(
    "command",
    ["", "sh", "put", "put-accept now", "get", "get ../../key", "ls waiting; id", "have", "alive $(id)", "--help", "ls done ..", "get -n", "ls\nid"],
)
def test_the_list_of_verbs_is_closed(house: House, command: str) -> None:
    ended = house.run("--to", "@main", f"--door={command}")
    assert ended.returncode in (2, 66) and ended.stdout == b"" and b"hint: " in ended.stderr


def test_it_serves_as_a_forced_command_does(house: House) -> None:
    line = f'{ROOT}/bin/cit-queue --to @main --door="$SSH_ORIGINAL_COMMAND"'
    stream = frame.framed(house.job().raw, 1)
    environment = {**house.environment, "SSH_ORIGINAL_COMMAND": "put-accept"}
    ended = subprocess.run(["sh", "-c", line], input=stream, capture_output=True, env=environment, check=False)
    assert ended.returncode == 0
    (ticket,) = tickets(frame.unframed(reader.reader_of(ended.stdout), strict=True)(1 << 20))
    assert states(ticket.raw) == ["accepted"]
