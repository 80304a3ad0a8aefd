"""What can whoever owns a queue make of the documents that lie there, and of its key? Nothing that a builder takes but what was signed.

The queue's own key signs all that is forged here: there is nothing that it could not get. Over real ssh: test_hostile_queue.py.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_format import body, clock, control, document, door, home, keys, reader, trust
from cit_format.body import Time
from cit_format.document import Document, section
from cit_format.errors import CitError
from tests.cluster.lan import CHECKOUT

ROLES = {
    "ada@sun": "cit-job,cit-control",
    "queue@sun": "cit-queue",
    "builder@moon": "cit-result,cit-builder",
    "builder@star": "cit-result,cit-builder",
}


class World:
    """Ada, a queue that has turned against her, a queue of somebody else, and the build accounts moon and star, which list her."""

    def __init__(self, folder: Path) -> None:
        (folder / "keys").mkdir()
        self.folder = folder
        self.keys = {name: keys.generate(folder / "keys" / name, name) for name in [*ROLES, "queue@else"]}
        self.queue = f"main@{self.keys['queue@sun'].public.fingerprint}"
        self.moon, self.star = self.account("moon"), self.account("star")
        self.marks = folder / "marks"
        self.job = self.made(f"echo $CIT_JOB_NAME >>{self.marks}")

    def account(self, name: str) -> home.Account:
        """A build account that believes ada, the queue and itself, and has all its folders."""
        path = self.folder / name
        for each in home.ACCOUNT_DIRECTORIES:
            (path / each).mkdir(parents=True)
        for ending in ("", ".pub"):
            (path / f"key{ending}").write_bytes((self.folder / "keys" / f"builder@{name}{ending}").read_bytes())
            (path / f"key{ending}").chmod(0o600)
        trusted = ["ada@sun", "queue@sun", f"builder@{name}"]
        (path / "allowed_signers").write_text("".join(f'{who} namespaces="{ROLES[who]}" {self.keys[who].public.line}\n' for who in trusted))
        (path / ".ready").touch()
        return home.Account(path)

    def made(self, script: str, by: str = "ada@sun", name: str = "hello", **changes: object) -> Document:
        """A job by ada; `by`: whose key signs it nevertheless."""
        now = clock.now()
        said = {
            "submitter": "ada@sun",
            "key": self.keys["ada@sun"].public.fingerprint,
            "queue": self.queue,
            "created": Time(now),
            "expires": Time(now + clock.DAY),
            **changes,
        }
        job = document.new(name, section("job", "toml", body.toml(said)), section("script", "sh", f"#!/bin/sh\n{script}\n".encode()))
        return self.signed(job, by, "cit-job", "ada@sun")

    def signed(self, unsigned: Document, who: str, namespace: str, by: str = "") -> Document:
        return home.signed(unsigned, self.keys[who], by or who, namespace)

    def given(self, job: Document, to: str = "moon", signer: str = "queue@sun", **changes: object) -> Document:
        """The job with an assignment of the queue."""
        said = {
            "queue": self.queue,
            "epoch": 1,
            "attempt": 1,
            "builder": to,
            "key": self.keys[f"builder@{to}"].public.fingerprint,
            "account": f"build@{to}",
            "assigned": Time(clock.now()),
            **changes,
        }
        return self.signed(job.extended(section("assignment", "toml", body.toml(said))), signer, "cit-queue")

    def void(self, job: Document, who: str, namespace: str) -> Document:
        """The word that it was given back without a start, as who says it."""
        return self.signed(
            job.extended(section("event", "tsv", body.row(clock.iso_ms(clock.now()), "run", "void", "moon", "build", ""))), who, namespace
        )

    def edited(self, old: bytes, new: bytes) -> bytes:
        """Ada's job with other bytes, and the queue's assignment of that."""
        assert self.job.raw.count(old) == 1
        return self.given(reader.parse(self.job.raw.replace(old, new))).raw


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("CIT_HOST", "moon")
    return World(tmp_path)


def put(account: home.Account, *raw: bytes) -> list[str]:
    """The states on the tickets of what is handed over to a build account; 65 where a document is none."""
    states = []
    for each in raw:
        try:
            states.append(str(door.put_inbox(account, [reader.parse(each)])[0].table("ticket")["state"]))
        except CitError as error:
            assert error.status == 65
            states.append("refused")
    return states


def lying(account: home.Account) -> list[str]:
    return sorted(path.name.split(".", 1)[1] for path in (account / "inbox").glob("*.cit"))


Attack = Callable[[World], bytes]
ATTACKS: dict[str, Attack] = {
    # forged
    "a job of its own": lambda w: w.given(w.made("evil", by="queue@sun", submitter="queue@sun", key=w.keys["queue@sun"].public.fingerprint)).raw,
    "a job in ada's name": lambda w: w.given(w.made("evil", by="queue@sun")).raw,
    "a job of a builder's key": lambda w: w.given(w.made("evil", by="builder@moon")).raw,
    "a job without signature": lambda w: w.given(reader.parse(w.job.raw[: w.job.raw.index(b"@begin signature")])).raw,
    "her wish as a signature of a job": lambda w: w.given(reader.parse(w.job.raw.replace(b"ns=cit-job", b"ns=cit-control"))).raw,
    # altered
    "another script": lambda w: w.edited(b"echo $CIT", b"evil $CIT"),
    "another name": lambda w: w.edited(b" hello\n", b" hallo\n"),
    "another ID": lambda w: w.edited(w.job.id.encode(), w.job.id.encode()[:-1] + (b"0" if w.job.id[-1] != "0" else b"1")),
    "more processors": lambda w: w.edited(b"@end job", b"cpus = 9\n@end job"),
    "more attempts": lambda w: w.edited(b"@end job", b"attempts = 9\n@end job"),
    "a blank more": lambda w: w.edited(b"#!/bin/sh\n", b"#!/bin/sh \n"),
    "a line less": lambda w: w.edited(b"#!/bin/sh\n", b""),
    "an environment before": lambda w: w.edited(b"@begin script", section("env", "tsv", b"PATH\t/evil\n") + b"@begin script"),
    "a second script": lambda w: w.given(w.job.extended(section("script", "sh", b"evil\n"))).raw,
    "a job section after": lambda w: w.given(w.job.extended(section("job", "toml", b"attempts = 9\n"))).raw,
    **{
        f"{kind} after": lambda w, kind=kind: w.given(w.job.extended(section(kind, "tsv", b"PATH\t/evil\n"))).raw
        for kind in ("call", "source", "bundle", "change", "env", "config", "files", "needs", "keep", "secret", "after", "reply", "grant")
    },
    # re-addressed
    "what is star's": lambda w: w.given(w.job, to="star").raw,
    "what is star's, in moon's name": lambda w: w.given(w.job, to="star", builder="moon").raw,
    "a job for another queue": lambda w: w.given(w.made("true", queue=f"main@{w.keys['queue@else'].public.fingerprint}")).raw,
    "an assignment in another queue's name": lambda w: w.given(w.job, queue=f"main@{w.keys['queue@else'].public.fingerprint}").raw,
    "an assignment of a queue that moon does not know": lambda w: w.given(w.job, signer="queue@else").raw,
    "an assignment by a builder": lambda w: w.given(w.job, signer="builder@star").raw,
    "no assignment": lambda w: w.job.raw,
    "what is for star alone": lambda w: w.given(w.made("true", builder="star")).raw,
    "what is for star alone, in its name": lambda w: w.given(w.made("true", builder="star"), builder="star").raw,
    # run more often than was signed
    "a second attempt": lambda w: w.given(w.given(w.job), attempt=2).raw,
    "a second attempt alone": lambda w: w.given(w.job, attempt=2).raw,
    "a void that the queue says": lambda w: w.given(w.void(w.given(w.job), "queue@sun", "cit-queue"), attempt=2).raw,
    "a void that nobody says": lambda w: w.given(w.given(w.job).extended(section("event", "tsv", b"x\trun\tvoid\tmoon\tb\t\n")), attempt=2).raw,
    "a void by a builder that moon does not know": lambda w: w.given(w.void(w.given(w.job), "builder@star", "cit-result"), attempt=2).raw,
    "a task of what is no array": lambda w: w.given(w.job, task=1).raw,
    "a task that an array does not have": lambda w: w.given(w.made("true", array="1-3,7"), task=4).raw,
    "an array as a whole": lambda w: w.given(w.made("true", array="1-3,7")).raw,
    "an attempt that is a time": lambda w: w.given(w.made("true", attempts=2), attempt=Time(clock.now())).raw,
    "an attempt that is no number": lambda w: w.given(w.job, attempt=True).raw,
    "attempt 0": lambda w: w.given(w.job, attempt=0).raw,
    "attempt -1": lambda w: w.given(w.job, attempt=-1).raw,
    "after its expiry": lambda w: w.given(w.made("true", created=Time(clock.now() - clock.DAY), expires=Time(clock.now() - clock.MINUTE))).raw,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_builder_takes_nothing_but_what_was_signed(world: World, attack: str) -> None:
    assert put(world.moon, ATTACKS[attack](world)) == ["refused"] and lying(world.moon) == []


def test_an_attempt_is_taken_once_whatever_the_queue_makes_of_it(world: World) -> None:
    first = world.given(world.job)
    assert put(world.star, world.given(world.made("true", builder="moon"), to="star").raw) == ["accepted"]  # moon is this host's name
    again = world.given(world.job, assigned=Time(clock.now() + clock.SECOND))
    elsewhere = world.given(world.job, weighed=["moon: chosen"])
    longer = world.given(world.job.extended(section("note", "text", b"x\n")))
    assert put(world.moon, first.raw) == ["accepted"]
    assert put(world.moon, again.raw, elsewhere.raw, longer.raw) == ["refused"] * 3
    assert put(world.moon, first.raw) == ["PENDING"] and len(lying(world.moon)) == 1
    for path in (world.moon / "inbox").glob("*.cit"):
        path.unlink()  # as after its end
    assert put(world.moon, first.raw, again.raw) == ["duplicate", "refused"] and lying(world.moon) == []


def test_each_task_of_an_array_is_taken_once(world: World) -> None:
    array = world.made("true", array="1-3,7")
    later = Time(clock.now() + clock.SECOND)
    tasks = [world.given(array, task=task).raw for task in (1, 3, 7, 8, 1)]
    assert put(world.moon, *tasks) == ["accepted", "accepted", "accepted", "refused", "PENDING"]
    assert put(world.moon, world.given(array, task=1, assigned=later).raw) == ["refused"]


def test_no_edit_gives_a_builder_other_bytes_to_run(world: World) -> None:
    """Flips, cuts, doubled and moved pieces of what lies in the queue, each assigned anew with the queue's key."""
    chance = random.Random(1)
    raw, now, key = world.job.raw, clock.now(), world.keys["builder@moon"].public.fingerprint
    lines = raw.splitlines(True)
    edits = []
    for at in range(len(raw)):
        edits += [raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)]) + raw[at + 1 :], raw[:at] + raw[at + 1 :], raw[:at]]
    for one in range(len(lines)):
        other = chance.randrange(len(lines))
        moved = lines[:one] + lines[one + 1 :]
        edits.append(b"".join(moved[:other] + [lines[one]] + moved[other:]))
        edits.append(b"".join(lines[: one + 1] + [lines[other]] + lines[one + 1 :]))
    taken = 0
    for edit in edits:
        try:
            job = world.given(reader.parse(edit))
            trust.assigned(job, world.moon.signers, key, now)
        except (CitError, ValueError):
            continue
        taken += 1
        assert job.submitted == world.job.submitted
    assert taken < 20  # those that moved a line onto its own place


def test_wishes_and_handovers_are_nothing_that_a_queue_can_make(world: World) -> None:
    now = clock.now()

    def wish(about: Document, by: str = "ada@sun", **changes: object) -> Document:
        said = {"action": "cancel", "target": about.id, "submitter": "ada@sun", "key": world.keys["ada@sun"].public.fingerprint}
        said = {**said, "queue": world.queue, "created": Time(now), "expires": Time(now + clock.DAY), **changes}
        return world.signed(document.new("cancel", section("control", "toml", body.toml(said))), by, "cit-control", "ada@sun")

    other = world.made("true")
    real = wish(other)
    late = wish(world.job, created=Time(now - 3 * clock.DAY), expires=Time(now - 2 * clock.DAY))
    queue = world.keys["queue@sun"]
    moved = {"queue": world.queue, "epoch": 2, "key": queue.public.fingerprint, "public": f"{queue.public.line.rsplit(' ', 1)[0]} queue@sun"}
    handover = document.new("handover", section("handover", "toml", body.toml({**moved, "created": Time(now)})))
    forged = [
        wish(world.job, by="queue@sun"),
        reader.parse(real.raw.replace(other.id.encode(), world.job.id.encode())),
        late,
        world.signed(handover, "queue@sun", "cit-hosts"),
    ]
    states = [each.table("ticket")["state"] for each in control.put_all(world.moon / "control", [*forged, real], world.moon.signers)]
    assert states == ["refused"] * 4 + ["accepted"]
    held = control.look(world.moon / "control", world.job, None, 1, world.moon.signers, now)
    assert held == control.Standing()  # her wish about the other job says nothing about this one


def test_what_runs_is_what_was_signed_once(world: World) -> None:
    """All attacks at once into the inbox itself, as if the door had been passed; then cit-run."""
    inbox = world.moon / "inbox"
    for number, attack in enumerate(ATTACKS.values()):
        (inbox / f"1000-{number:016d}.{world.made('true').id}.a1-hello.cit").write_bytes(attack(world))
    assert put(world.moon, world.given(world.job).raw) == ["accepted"]
    environment = {"CIT_HOME": str(world.moon.path), "HOME": str(world.folder), "PATH": os.environ["PATH"], "CIT_HOST": "moon"}
    done = subprocess.run([CHECKOUT / "bin/cit-run", "-q", "--from", "inbox", "--to", "finished"], env=environment, capture_output=True, timeout=60)
    assert world.marks.read_text() == "hello\n", done.stderr
    assert done.returncode in (65, 77) and lying(world.moon) == []
    ended = [reader.parse(path.read_bytes()) for path in (world.moon / "finished").glob("*.cit")]
    assert [each.submitted for each in ended] == [world.job.submitted]
    assert trust.completed(ended[0], world.moon.signers, clock.now())[1].table()["state"] == "COMPLETED"


FORGED_ENDS: dict[str, Attack] = {
    "by the queue": lambda w: result(w, w.given(w.job), "queue@sun", "cit-result"),
    "as the queue": lambda w: result(w, w.given(w.job), "queue@sun", "cit-queue"),
    "by another builder": lambda w: result(w, w.given(w.job), "builder@star", "cit-result"),
    "altered": lambda w: result(w, w.given(w.job), "builder@moon", "cit-result").replace(b"COMPLETED", b"FAILED"),
    "of another job": lambda w: (
        w.given(w.job).raw + result(w, w.given(w.made("true")), "builder@moon", "cit-result").partition(b"@end signature\n")[2]
    ),
}


def result(world: World, job: Document, who: str, namespace: str) -> bytes:
    ended = {"state": "COMPLETED", "exit": 0, "signal": 0, "attempt": 1}
    return world.signed(job.extended(section("result", "toml", body.toml(ended))), who, namespace).raw


@pytest.mark.parametrize("forged", FORGED_ENDS)
def test_a_result_is_believed_from_the_builder_alone(world: World, forged: str) -> None:
    """By ada's own list, which has the builder moon and the queue: what she looks at with `cit trace`."""
    signers = world.moon.signers
    assert trust.completed(reader.parse(result(world, world.given(world.job), "builder@moon", "cit-result")), signers, clock.now())
    with pytest.raises(CitError) as caught:
        trust.completed(reader.parse(FORGED_ENDS[forged](world)), signers, clock.now())
    assert caught.value.status in (65, 77)
