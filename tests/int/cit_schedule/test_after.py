"""Jobs that follow: accepted when their job has ended, each once, whoever is killed (docs/format/after.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_schedule import deliver, ends
from cit_schedule.cit_format import after, body, clock, document, home, reader, spool
from cit_schedule.cit_format.document import Document
from cit_schedule.cit_format.errors import CitError
from tests.int.cit_schedule.conftest import DELIVER, SCHEDULE, Machine
from tests.int.cit_schedule.test_attempts import NOW, job, result, signature
from tests.int.cit_schedule.test_kills import every_kill

RUN = "cit-run -q --from inbox --to finished"
HOME = "cit-deliver -q --from finished"


def followed(machine: Machine, command: str, options: str = "") -> Document:
    """A job in the queue with one that follows it on each end, named as the end is."""
    for on in after.ON:
        machine.sh(f"cit-trigger -n -J {on} -- true >{machine.place}/{on}")
    asked = " ".join(f"--after {on}={machine.place}/{on}" for on in after.ON)
    done = machine.sh(f"cit-trigger {options} {asked} -- sh -c '{command}' | cit-queue -q --to @main")
    assert done.returncode == 0, done.stderr
    ticket = reader.parse(done.stdout.encode())
    return reader.parse(machine.file(ticket.id, "held" if "-H" in options else "waiting").read_bytes())


def names_in(machine: Machine, state: str = "waiting") -> list[str]:
    """The names of the jobs in a state of the queue."""
    return sorted(reader.parse((machine.queue / state / name).read_bytes()).name for name in spool.listing(machine.queue / state))


ENDS = {"true": ["always", "success"], "exit 3": ["always", "failure"], "kill -9 $$": ["always", "failure"]}


@pytest.mark.parametrize("command", ENDS)
def test_what_follows_an_end(machine: Machine, command: str) -> None:
    first = followed(machine, command)
    for line in (SCHEDULE, DELIVER, RUN):
        machine.sh(line)
    assert names_in(machine) == [], "nothing follows what has not ended"
    (name,) = spool.listing(machine.account / "finished")
    ended = (machine.account / "finished" / name).read_bytes()
    for _ in range(2):  # the same end handed over again brings nothing new
        (machine.account / "finished" / name).write_bytes(ended)
        assert machine.sh(HOME).returncode == 0
        assert names_in(machine) == ENDS[command]
    for name in spool.listing(machine.queue / "waiting"):
        new = reader.parse((machine.queue / "waiting" / name).read_bytes())
        said = new.table("job")
        assert (said["parent"], said["chain"]) == (first.id, [first.id])
        assert next(new.all("event")).rows()[0][5] == f"main, after {first.id}"
    machine.tick()
    assert names_in(machine) == [] and names_in(machine, "refused") == []


def test_a_job_that_is_tried_again_has_not_ended(machine: Machine) -> None:
    followed(machine, "exit 3", "--attempts 2 --retry-on fail")
    machine.tick()
    assert names_in(machine) == ["sh"]
    machine.tick()
    assert names_in(machine) == ["always", "failure"]


def test_a_cancelled_job_is_followed_by_always(machine: Machine) -> None:
    first = followed(machine, "true", "-H")
    machine.sh(f"cit-cancel {first.id}")
    machine.schedule()
    assert names_in(machine) == [] and names_in(machine, "assigned") == ["always"], "the same pass gives it a builder"


def test_what_follows_is_judged_when_it_comes(machine: Machine) -> None:
    """Its own expiry counts, and who may submit then; what is refused says why."""
    machine.sh(f"cit-trigger --expires 1h -J late -- true >{machine.place}/late; cit-trigger -J good -- true >{machine.place}/good")
    done = machine.sh(f"cat {machine.place}/late {machine.place}/good | cit-trigger -H --after always=- -- true | cit-queue -q --to @main")
    first = reader.parse(done.stdout.encode())
    machine.sh(f"cit-cancel {first.id}")
    machine.schedule(later=2 * clock.HOUR)
    assert names_in(machine, "assigned") == ["good"] and names_in(machine, "refused") == ["late"]
    (name,) = spool.listing(machine.queue / "refused")
    assert "expired at" in reader.parse((machine.queue / "refused" / name).read_bytes()).sections[-1].rows()[0][5]


def test_what_follows_may_be_followed(machine: Machine) -> None:
    """Quoted twice; the chain has both."""
    machine.sh(f"cit-trigger -n -J third -- true >{machine.place}/third")
    machine.sh(f"cit-trigger -n -J second --after success={machine.place}/third -- true >{machine.place}/second")
    done = machine.sh(f"cit-trigger -J first --after success={machine.place}/second -- true | cit-queue -q --to @main")
    assert done.returncode == 0
    machine.tick(3)
    ended = {path.name.partition("-")[2][:-4]: reader.parse(path.read_bytes()) for path in (machine.queue / "done").rglob("*.cit")}
    assert sorted(ended) == ["first", "second", "third"]
    assert ended["second"].table("job")["chain"] == [ended["first"].id]


FAULTS = {
    "another end": document.section("after", "text", b"", on="maybe"),
    "no end": document.section("after", "text", b""),
    "no stream": document.section("after", "text", b"hello\n", on="always"),
    "no job": document.section("after", "text", document.new("x", document.section("note", "text", b"hi\n")).raw, on="always"),
    "not signed": document.section("after", "text", document.new("x", document.section("job", "toml", b"")).raw, on="always"),
}


def with_after(*sections: bytes) -> Document:
    return reader.parse(document.new("zlib", document.section("job", "toml", b""), *sections, signature("cit-job")).raw)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_follow_is_refused_at_once(fault: str) -> None:
    with pytest.raises(CitError) as caught:
        after.check(with_after(FAULTS[fault]))
    assert caught.value.status == 65


def test_a_job_cannot_follow_itself_or_twice() -> None:
    one = job().raw
    after.check(with_after(document.section("after", "text", one, on="always")))
    for several in ([one, one], [reader.parse(one).raw] * 2):
        with pytest.raises(CitError):
            after.check(with_after(*(document.section("after", "text", each, on="always") for each in several)))
    many = b"".join(job().raw for _ in range(after.MOST + 1))
    with pytest.raises(CitError) as caught:
        after.check(with_after(document.section("after", "text", many, on="always")))
    assert "101 jobs" in caught.value.what


def test_an_array_has_ended_with_its_last_task(machine: Machine) -> None:
    inner = document.section("after", "text", job().raw, on="failure") + document.section("after", "text", job().raw, on="success")
    head = document.section("job", "toml", body.toml({"array": "0-2%2"}))
    whole = document.new("many", head, inner, identity=clock.new_id(NOW))

    def task(number: int, state: str) -> Document:
        given = document.section("assignment", "toml", body.toml({"attempt": 1, "builder": "sun", "task": number}))
        return reader.parse(whole.raw + signature("cit-job") + given + signature("cit-queue") + result(state))

    day = machine.queue / "done" / clock.id_day(whole.id)
    day.mkdir()
    for number, state, expected in ((1, "COMPLETED", 0), (0, "COMPLETED", 0), (2, "FAILED", 1)):
        ended = task(number, state)
        (day / f"{whole.id}_{number}.a1-many.cit").write_bytes(ended.raw)
        assert len(after.due(machine.queue, ended, NOW)) == expected
    (following,) = after.due(machine.queue, task(0, "COMPLETED"), NOW)
    assert following.id == next(after.jobs(after.sections(reader.parse(whole.raw + signature("cit-job")))[0])).id, "one failed, so it failed"


def test_an_array_whose_rest_was_cancelled(machine: Machine) -> None:
    """What was never dealt out is one part of it; always follows, once, when the last part has ended."""
    machine.sh(f"cit-trigger -n -J always -- true >{machine.place}/always; cit-trigger -n -J success -- true >{machine.place}/success")
    asked = f"--after always={machine.place}/always --after success={machine.place}/success"
    done = machine.sh(f"cit-trigger -a 0-9%1 {asked} -- true | cit-queue -q --to @main")
    first = reader.parse(done.stdout.encode())
    machine.sh(f"{SCHEDULE}; {DELIVER}; cit-cancel {first.id}; {SCHEDULE}")
    assert names_in(machine, "assigned") == [], "a task is still under way"
    machine.sh(f"{DELIVER}; {RUN}; {HOME}")
    assert names_in(machine) + names_in(machine, "assigned") == ["always"]


# --- killed -------------------------------------------------------------------------------------------------------------


def in_queue(machine: Machine) -> list[str]:
    """What follows and is in the queue, however often."""
    return names_in(machine) + names_in(machine, "held") + names_in(machine, "refused")


def test_carrying_home_what_is_followed_killed_anywhere(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(machine.place))
    followed(machine, "true")
    for line in (SCHEDULE, DELIVER, RUN):
        machine.sh(line)
    finished: Path = machine.account / "finished"

    def carry() -> None:
        deliver.carried(None, finished, None)

    for number in every_kill(machine, carry):
        found = in_queue(machine)
        assert len(found) == len(set(found)) and set(found) <= {"always", "success"}, number
        assert spool.listing(finished) or sorted(found) == ["always", "success"], (number, "forgotten too early")
        carry()
        assert sorted(in_queue(machine)) == ["always", "success"] and not spool.listing(finished), number


def test_an_end_by_the_queue_killed_anywhere(machine: Machine) -> None:
    first = followed(machine, "true", "-H")
    name = machine.file(first.id, "held").name

    def end() -> None:
        spool.recover(machine.queue / "held")
        machine_queue = home.Queue(machine.queue.path)
        ends.finish(machine_queue, "held", [ends.End(each, "DEADLINE", "too late", clock.now()) for each in spool.listing(machine.queue / "held")])

    for number in every_kill(machine, end):
        end()
        end()
        assert sorted(names_in(machine)) == ["always", "failure"], number
        assert machine.where(first.id) == [f"done/{name.partition('.')[2]}"], number
