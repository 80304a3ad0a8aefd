"""The outbox: a queue that cannot be had costs nobody a job, and what was kept goes first, in order, each once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cit_format import clock, names, reader
from cit_format.body import Time
from tests.int.cit_queue.house import ROOT, House, states, statuses, tickets


def kept(house: House, directory: str = "outbox") -> list[str]:
    """Names of the jobs in the outbox, in order."""
    return [parts.name for parts in map(names.parse, sorted(path.name for path in (house.path / directory).glob("*.cit"))) if parts]


def take_away(house: House, how: str) -> None:
    """Put the queue out of reach."""
    if how == "inactive":
        house.set("active", False)
    elif how == "gone":
        house.queue.path.rename(house.directory / "elsewhere")
    else:
        os.chmod(house.queue.path, 0)


def give_back(house: House, how: str) -> None:
    if how == "inactive":
        house.set("active", True)
    elif how == "gone":
        (house.directory / "elsewhere").rename(house.queue.path)
    else:
        os.chmod(house.queue.path, 0o700)


def as_a_mortal(house: House, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    """cit-queue without root's power to ignore permissions."""
    command = ["setpriv", "--bounding-set=-all", str(ROOT / "bin" / "cit-queue"), "--to", "@main"] if os.geteuid() == 0 else []
    command = command or [str(ROOT / "bin" / "cit-queue"), "--to", "@main"]
    return subprocess.run(command, input=stdin, env=house.environment, capture_output=True, check=False)


@pytest.mark.parametrize("how", ["inactive", "gone", "forbidden"])
def test_what_its_queue_cannot_take_is_kept_and_goes_with_the_next_push(house: House, how: str) -> None:
    jobs = [house.job(f"n{number}") for number in range(5)]
    take_away(house, how)
    ended = as_a_mortal(house, b"".join(job.raw for job in jobs[:3]))
    assert (ended.returncode, states(ended.stdout)) == (75, ["kept"] * 3), ended.stderr
    assert ended.stderr.count(b"error: ") == 1 and b"hint: what is kept goes with the next push" in ended.stderr
    assert as_a_mortal(house, jobs[3].raw).returncode == 75
    assert as_a_mortal(house, jobs[0].raw).returncode == 75, "the same again"
    assert kept(house) == ["n0", "n1", "n2", "n3"]
    give_back(house, how)
    assert house.lying("waiting") == []
    ended = house.run("--to", "@main", stdin=jobs[4].raw)
    assert (ended.returncode, [each.id for each in tickets(ended.stdout)]) == (0, [jobs[4].id])
    assert [reader.parse(raw).name for raw in house.lying("waiting")] == ["n0", "n1", "n2", "n3", "n4"]
    assert kept(house) == [] and kept(house, "outbox/sent") == ["n0", "n1", "n2", "n3"]


def test_an_outbox_is_made_where_there_is_none(house: House) -> None:
    shutil.rmtree(house.path / "outbox")
    house.set("active", False)
    assert house.push(house.job()) == ["kept"] and kept(house) == ["hello"]


def test_a_queue_that_nobody_named_before_is_no_queue(house: House) -> None:
    ended = house.run("--to", "@mian", stdin=house.job().raw)
    assert (ended.returncode, ended.stdout) == (66, b"") and kept(house) == []


def test_what_no_queue_would_take_is_refused_at_once(house: House) -> None:
    house.set("active", False)
    ended = house.run("--to", "@main", stdin=b"junk\n" + house.job("ok").raw + house.job("bad").raw.replace(b"@begin script", b"@begin scrip"))
    assert ended.returncode == 65 and statuses(ended.stdout) == [65, "kept", 65]
    assert kept(house) == ["ok"]


def test_list_send_and_resend(house: House) -> None:
    job = house.job("kept")
    house.set("active", False)
    house.push(job)
    assert house.run("--outbox", "list", "--tsv").stdout.decode().split() == [job.id, "kept", "kept"]
    ended = house.run("--outbox", "send")
    assert (ended.returncode, states(ended.stdout)) == (75, ["kept"]) and b"not active" in ended.stderr
    house.set("active", True)
    ended = house.run("--outbox", "send")
    assert (ended.returncode, states(ended.stdout), ended.stderr) == (0, ["accepted"], b"")
    assert states(house.run("--outbox", "list").stdout) == ["accepted"]
    for _ in range(2):
        ended = house.run("--outbox", "resend")
        assert (ended.returncode, states(ended.stdout)) == (0, ["duplicate"])
    assert len(house.lying("waiting")) == 1
    assert house.run("--outbox", "send").stdout == b""


def test_what_is_seen_done_or_has_expired_is_forgotten(house: House) -> None:
    done, young, old = house.job("done"), house.job("young"), house.job("old", expires=Time(clock.now() + 90 * clock.SECOND))
    house.set("active", False)
    house.push(done, young, old)
    house.set("active", True)
    house.run("--outbox", "send")
    day = house.queue / "done" / clock.id_day(done.id)
    day.mkdir(parents=True)
    (day / f"{done.id}.a1-done.cit").write_bytes(done.raw)
    house.run("--outbox", "send", CIT_NOW=clock.iso(clock.now() + 2 * clock.MINUTE))
    assert kept(house, "outbox/sent") == ["young"]


def test_what_expires_in_the_outbox_is_said_and_leaves(house: House) -> None:
    house.set("active", False)
    house.push(house.job("late", expires=Time(clock.now() + 90 * clock.SECOND)))
    ended = house.run("--outbox", "send", CIT_NOW=clock.iso(clock.now() + 2 * clock.MINUTE))
    assert ended.returncode == 77 and b"expired" in ended.stderr and kept(house) == []


def test_what_the_queue_refuses_leaves_the_outbox_and_lies_in_refused(house: House) -> None:
    house.set("active", False)
    house.push(house.job("stranger", who="eve"), house.job("fine"))
    house.set("active", True)
    ended = house.run("--to", "@main", stdin=house.job("next").raw)
    assert (ended.returncode, states(ended.stdout)) == (0, ["accepted"]), "an old job's fault is not this one's"
    assert b"is not in" in ended.stderr
    assert [reader.parse(raw).name for raw in house.lying("waiting")] == ["fine", "next"]
    assert [each.name for each in house.refused()] == ["stranger"] and kept(house) == []


@pytest.fixture
def second(house: House) -> Path:
    """A replica of `main`, which is the active one; both are configured."""
    place = house.directory / "replica"
    shutil.copytree(house.queue.path, place, symlinks=True)
    (house.path / "config.toml").write_text(f'on-arrival = ""\nqueues = ["@main", "{place}"]\n')
    house.set("active", False)
    return place


def test_of_a_queue_and_its_replica_the_active_one_is_used(house: House, second: Path) -> None:
    for to in ("@main", "@"):
        assert house.push(house.job("one"), house.job("two"), to=to) == ["accepted", "accepted"]
    assert house.lying("waiting") == [] and len(list((second / "waiting").glob("*.cit"))) == 4 and kept(house) == []


def test_each_document_goes_to_the_queue_that_it_names(house: House) -> None:
    other = House(house.directory / "other")
    other.settle()
    (house.path / "config.toml").write_text(f'on-arrival = ""\nqueues = ["@main", "{other.queue.path}"]\n')
    assert house.push(house.job("here"), other.job("there"), to="@") == ["accepted", "accepted"]
    assert [len(each.lying("waiting")) for each in (house, other)] == [1, 1]
    ended = house.run("--to", "@", stdin=house.job("nowhere", queue="main@SHA256:none").raw)
    assert (ended.returncode, statuses(ended.stdout)) == (77, [77]), "no queue that it could wait for"
    other.set("active", False)
    assert house.push(house.job("here-2"), other.job("there-2"), to="@") == ["accepted", "kept"]


def test_two_pushes_at_once_send_the_outbox_once(house: House) -> None:
    jobs = [house.job(f"n{number}") for number in range(30)]
    house.set("active", False)
    house.push(*jobs)
    house.set("active", True)
    command = [str(ROOT / "bin" / "cit-queue"), "--to", "@main"]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=house.environment) for _ in range(3)]
    for number, process in enumerate(running):
        assert process.stdin
        process.stdin.write(house.job(f"new{number}").raw)
        process.stdin.close()
    for process in running:
        assert process.stdout and states(process.stdout.read()) == ["accepted"] and process.wait(60) == 0
    assert len(house.lying("waiting")) == 33 and kept(house) == [] and len(kept(house, "outbox/sent")) == 30


def test_the_verb_lists_sends_and_says_what_it_takes(house: House) -> None:
    def verb(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([str(ROOT / "bin" / "cit"), "outbox", *words], env=house.environment, capture_output=True, check=False)

    house.set("active", False)
    job = house.job("kept")
    house.push(job)
    assert verb("--tsv").stdout.decode().split() == verb("list", "--tsv").stdout.decode().split() == [job.id, "kept", "kept"]
    assert verb("send").returncode == 75
    house.set("active", True)
    assert states(verb("send").stdout) == ["accepted"] and states(verb("resend").stdout) == ["duplicate"]
    assert verb("eat").returncode == 2 and verb("--help").stdout.startswith(b"cit-outbox: what was kept")
