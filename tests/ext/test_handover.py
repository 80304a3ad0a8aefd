"""A queue moves: replicated, frozen, activated elsewhere; backed up and restored. Nothing acknowledged is missing, nothing is taken twice."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import body, clock, control, document, door, handover, home, keys, reader, spool
from cit_format.document import Document
from tests.conftest import CHECKOUT

LIVE = ("waiting", "held", "assigned", "sent")


class Place:
    """A home whose queue schedules nothing by itself, and a directory for its replica."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {"HOME": str(directory), "PATH": f"{CHECKOUT}/bin:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        self.sh("cit-format init 2>&1; cit config --queue @main on-arrival ''; cit config on-arrival ''; cit config on-end ''")
        self.queue = home.Queue(directory / ".cit/queues/main")
        self.account = home.Account(directory / ".cit")
        self.replica = directory / "elsewhere" / "main"

    def sh(self, line: str, status: int = 0, stdin: bytes = b"") -> str:
        done = subprocess.run(["sh", "-c", line], input=stdin, env=self.environment, capture_output=True, timeout=60)
        assert done.returncode == status, f"{line}: {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode() + done.stderr.decode()

    def push(self, count: int, options: str = "") -> list[str]:
        """IDs of jobs that were acknowledged."""
        said = self.sh(f"seq {count} | cit-trigger --no-source {options} --each - -- true | cit-queue -q --to @main")
        return re.findall(r"^@cit 1 (\S+)", said, re.M)

    def replicated(self) -> None:
        self.sh(f"cit replicate @main {self.replica}")

    def moved(self) -> home.Queue:
        """Frozen, replicated and activated: the queue as it is now."""
        self.sh("cit pause --freeze @main")
        self.replicated()
        self.sh(f"cit-queue --activate --to {self.replica}")
        return home.Queue(self.replica)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)


def ids(queue: home.Queue) -> dict[str, list[str]]:
    """The states in which each ID lies."""
    found: dict[str, list[str]] = {}
    for state in LIVE:
        for parts in spool.documents(queue / state):
            found.setdefault(parts.id, []).append(state)
    for day in (queue / "done").glob("[0-9]*"):
        for parts in spool.documents(day):
            found.setdefault(parts.id, []).append("done")
    return found


def test_every_acknowledged_job_is_in_the_replica_once_and_a_replay_is_refused(place: Place) -> None:
    waiting, held = place.push(20), place.push(3, "--hold")
    place.replicated()
    place.sh("cit-schedule -q --from waiting --to assigned")  # they move on after the first copy
    later = place.push(5)
    queue = place.moved()
    found = ids(queue)
    assert sorted(found) == sorted(waiting + held + later)
    assert all(len(states) == 1 for states in found.values()), found
    assert queue.active and queue.epoch == 2 and queue.full_name == place.queue.full_name
    [name] = [name for name in spool.listing(queue / "waiting") if later[0] in name]
    job = reader.parse((queue / "waiting" / name).read_bytes())
    first = job.find("signature")
    assert first is not None
    again = place.sh(f"cit-queue -q --to {place.replica}", stdin=job.raw[: first.end])
    assert 'state = "duplicate"' in again and ids(queue) == found
    # The same ID with other bytes, signed by its author though they are, is a replay also where the queue is now.
    unsigned = reader.parse(job.raw[: first.start].replace(b"@end job", b"cpus = 2\n@end job"))
    other = home.signed(unsigned, keys.load(place.account / "id_ed25519"), str(job.table("job")["submitter"]), "cit-job")
    refused = place.sh(f"cit-queue -q --to {place.replica}", status=77, stdin=other.raw)
    assert "replay" in refused and ids(queue) == found


def test_is_a_copy_made_in_mid_move_mended(place: Place) -> None:
    """What lies in two states of the copy stays in the later one, and what seen lacks is seen again."""
    jobs = place.push(3)
    place.replicated()
    place.sh("cit-schedule -q --from waiting --to assigned")
    subprocess.run(["cp", "-a", f"{place.queue / 'assigned'}/.", place.replica / "assigned"], check=True)
    day = clock.id_day(jobs[0])
    (place.replica / "seen" / day / jobs[0]).unlink()
    place.sh(f"cit-queue --activate --to {place.replica}")
    queue = home.Queue(place.replica)
    assert ids(queue) == {job: ["assigned"] for job in jobs}
    assert os.readlink(queue / "seen" / day / jobs[0]).partition("~")[2] == os.readlink(place.queue / "seen" / day / jobs[0]).partition("~")[2]


def test_is_the_queue_as_it_was_refused_by_a_builder_that_was_told(place: Place) -> None:
    place.push(1)
    place.sh("cit-schedule -q --from waiting --to assigned")
    [name] = spool.listing(place.queue / "assigned")
    old = reader.parse((place.queue / "assigned" / name).read_bytes())
    queue = place.moved()
    [told] = control.put_all(place.account / "control", [handed(queue)], place.account.signers)
    assert told.table("ticket")["state"] == "accepted"
    account = home.Account(place.account.path)
    [ticket] = door.put_inbox(account, [old])
    assert ticket.table("ticket")["status"] == 77
    assert "handed over" in str(ticket.table("ticket")["why"])
    # What the queue assigns as it is now is believed, though its key stands in no list of the builder.
    assert queue.signer.public.line.split()[1] not in (account / "allowed_signers").read_text()
    [ticket] = door.put_inbox(account, [assigned_by(queue, old)])
    assert ticket.table("ticket")["state"] == "accepted", ticket.raw.decode()


def handed(queue: home.Queue) -> Document:
    return reader.parse((queue / "hosts" / handover.file_name(queue.full_name)).read_bytes())


def assigned_by(queue: home.Queue, old: Document) -> Document:
    """The same job, assigned in the queue's present epoch."""
    given = next(old.all("assignment"))
    said = {**old.table("assignment"), "epoch": queue.epoch}
    job = reader.parse(old.raw[: given.start]).extended(document.section("assignment", "toml", body.toml(said)))
    return home.signed(job, queue.signer, queue.identity, "cit-queue")


def test_does_the_queue_as_it_was_take_nothing_more_once_it_is_told(place: Place) -> None:
    place.replicated()
    place.sh(f"cit-queue --activate --to {place.replica}")
    file = next((place.replica / "hosts").glob("handover-*.cit"))
    said = place.sh("cit-queue -q --to @main", stdin=file.read_bytes())
    assert 'state = "accepted"' in said
    assert home.Queue(place.queue.path).active is False
    said = place.sh("cit push -- true", status=75)
    assert "not active" in said
    assert [parts.name for parts in spool.documents(place.account / "outbox")] == ["true"]


def test_the_owners_key_is_found_among_those_at_hand(place: Place) -> None:
    """Where the home has another one of its own, as at a machine that was none of the owner's before; without it the one that is wanted is named."""
    place.sh("cit pause --freeze @main")
    place.replicated()
    own, owner = place.account / "id_ed25519", place.directory / ".ssh" / "id_ecdsa"
    owner.parent.mkdir(mode=0o700)
    for ending in ("", ".pub"):
        os.rename(f"{own}{ending}", f"{owner}{ending}")
    keys.generate(own, "somebody@else")
    said = place.sh(f"cit-queue --activate --to {place.replica}")
    assert home.Queue(place.replica).active, said
    owner.unlink()
    place.sh(f"cit config --queue {place.replica} active false")
    fingerprint = keys.sshsig.parse_public_key(Path(f"{owner}.pub").read_text()).fingerprint
    assert fingerprint in place.sh(f"cit-queue --activate --to {place.replica}", status=77)


@pytest.mark.parametrize("who", ["stranger", "queue"])
def test_may_nobody_else_hand_it_over(place: Place, who: str) -> None:
    """Neither a stranger's key nor the key of the queue host says who speaks for it."""
    keys.generate(place.directory / "stranger", "ada@sun")
    signer = keys.load(place.directory / "stranger") if who == "stranger" else place.queue.signer
    said = handover.made(place.queue.full_name, 9, signer.public, "queue@evil", "", clock.now())
    unsigned = document.new("main", document.section("handover", "toml", said))
    forged = home.signed(unsigned, signer, home.person(), "cit-hosts")
    [ticket] = control.put_all(place.account / "control", [forged], place.account.signers)
    assert ticket.table("ticket")["status"] == 77
    assert not handover.known(place.account / "hosts")
    place.sh("cit-queue -q --to @main", status=77, stdin=forged.raw)
    assert home.Queue(place.queue.path).active


def test_does_a_lower_epoch_not_come_back(place: Place) -> None:
    queue = place.moved()
    first = handed(queue)
    place.sh(f"cit config --queue {place.replica} active false")
    place.sh(f"cit-queue --activate --to {place.replica}")
    second = handed(home.Queue(place.replica))
    states = [
        ticket.table("ticket").get("status", 0) for ticket in control.put_all(place.account / "control", [second, first], place.account.signers)
    ]
    assert states == [0, 77]


def test_is_an_active_queue_never_written_over(place: Place) -> None:
    place.replicated()
    place.sh(f"cit-queue --activate --to {place.replica}")
    said = place.sh(f"cit replicate @main {place.replica}", status=1)
    assert "active queue" in said


def test_does_a_backup_hold_everything_and_restore_to_a_queue_that_is_not_active(place: Place) -> None:
    jobs = place.push(4)
    place.sh(f"cd {place.directory} && cit backup @main b.tar.gz")
    assert home.Queue(place.queue.path).active
    assert (place.directory / "b.tar.gz").stat().st_mode & 0o077 == 0
    place.sh(f"cit restore {place.directory / 'b.tar.gz'}", status=1)
    place.sh(f"cit restore {place.directory / 'b.tar.gz'} @again")
    restored = home.Queue(place.directory / ".cit/queues/again")
    assert not restored.active and sorted(ids(restored)) == sorted(jobs)
    assert restored.full_name == place.queue.full_name
    place.sh("cit activate -n @again")
    assert not home.Queue(restored.path).active
    place.sh("cit-queue --activate --to @again")
    assert home.Queue(restored.path).epoch == 2
