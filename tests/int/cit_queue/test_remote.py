"""A queue that lies elsewhere: documents are here, on disk, before they go; there once, whatever is cut or killed; in order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cit_format import clock
from cit_format.body import Time
from tests.int.cit_queue.elsewhere import Elsewhere
from tests.int.cit_queue.house import House, states, statuses, tickets


@pytest.fixture
def moon(house: House, first_use: Path, tmp_path: Path) -> Elsewhere:
    shutil.copytree(first_use, tmp_path / "far", symlinks=True)
    far = House(tmp_path / "far")
    shutil.rmtree(far.queue.path)
    far.queue.path.parent.mkdir(exist_ok=True)
    from cit_format import home

    home.make_queue(far.queue.path)
    shutil.copy(house.queue / "allowed_signers", far.queue / "allowed_signers")
    far = House(tmp_path / "far")
    far.set("on-arrival", "")
    return Elsewhere(house, far)


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
