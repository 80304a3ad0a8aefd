"""A queue, two builders and a person, each behind an sshd of their own on loopback, in which nothing starts by itself.

Documents are made here and put where a stage would have left them, so that a test is about the way between machines alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_schedule import over_ssh, turn
from cit_schedule.cit_format import body, builder, clock, document, home, names, reader, spool
from cit_schedule.cit_format.document import Document, section
from tests.cluster.cluster import Cluster, Member
from tests.cluster.cutter import NEVER, Rule, relay
from tests.cluster.loopback import Loop, Loopback

ONCE = pytest.mark.parametrize("far", ["ssh"], indirect=True)  # where it does not matter by what connections are made
QUIET = {"on-arrival": "", "on-end": ""}


class Far:
    """The four of them; `hub` has the queue `main`, `moon` and `star` build, `sun` is where the person sits."""

    def __init__(self, folder: Path) -> None:
        self.machines = Loopback(folder, {"sun": ["ada"], "hub": ["cit"], "moon": ["build"], "star": ["build"]})
        try:
            sun, hub, moon, star = (self.machines[name].account(self.machines[name].user) for name in ("sun", "hub", "moon", "star"))
            self.cluster = Cluster(sun, hub, [moon, star], **{"on-arrival": ""})
        except BaseException:
            self.machines.close()
            raise
        self.sun, self.hub, self.moon, self.star = sun, hub, moon, star
        self.everybody = {"sun": sun, "hub": hub, "moon": moon, "star": star}
        self.settings = {
            name: body.table(each.path(".cit/config.toml").read_bytes() if name != "hub" else b"") for name, each in self.everybody.items()
        }
        self.first = {
            path: path.read_bytes()
            for each in self.everybody.values()
            for path in [
                *each.path().rglob("known_hosts"),
                *each.path().rglob("authorized_keys"),
                *self.queue.path.glob("builders/*.cit"),
                self.queue / "queue.toml",
            ]
        }

    def fresh(self, transport: str) -> None:
        """As it was made: no documents, no notes, doors and keys as they were; and this transport everywhere."""
        for name, account in self.everybody.items():
            account.put(".cit/config.toml", body.toml({**self.settings[name], **QUIET, "transport": transport}))
            for state in ("inbox", "running", "finished", "refused", "control", "outbox", "outbox/sent"):
                empty(account.path(f".cit/{state}"))
        for state in ("waiting", "held", "assigned", "sent", "refused", "control", "builders", "builders/.load", "hosts"):
            empty(self.queue / state)
        for day in (self.queue / "done").glob("[0-9]*"):
            empty(day)
        for path, content in self.first.items():
            path.write_bytes(content)

    def close(self) -> None:
        self.machines.close()

    @property
    def queue(self) -> home.Queue:
        return home.Queue(self.hub.path(".cit/queues/main"))

    def member(self, name: str) -> Member:
        return self.cluster.members[name]

    def machine(self, name: str) -> Loop:
        return self.machines[name]

    # --- documents

    def job(self, name: str = "job", script: str = "true", **more: object) -> Document:
        """A job of ada's for the queue."""
        ada, now = self.cluster.ada, clock.now()
        said = {
            "submitter": ada.identity,
            "key": ada.signer.public.fingerprint,
            "queue": self.cluster.name,
            "created": body.Time(now),
            "expires": body.Time(now + clock.DAY),
            **more,
        }
        made = document.new(name, section("job", "toml", body.toml(said)), section("script", "sh", f"#!/bin/sh\n{script}\n".encode()))
        return home.signed(made, ada.signer, ada.identity, "cit-job")

    def assigned(self, to: str, count: int = 1, script: str = "true", state: str = "assigned") -> list[Document]:
        """Jobs with that builder, as cit-schedule leaves them in `assigned`."""
        queue = self.queue
        chosen = next(each for each in (builder.builder(reader.parse(raw)) for raw in self.described()) if each.name == to)
        jobs = [turn.assigned(self.job(script=script), queue, chosen, [], clock.now()) for _ in range(count)]
        for number, job in enumerate(jobs):
            name = names.FileName(job.id, job.name, names.key(0, clock.now() + number), None, 1)
            (queue / state / str(name)).write_bytes(job.raw)
        return jobs

    def ended(self, by: str, count: int = 1) -> list[Document]:
        """Jobs that lie in `sent`, and with a result in `finished` of that builder."""
        member = self.member(by)
        found = []
        for job in self.assigned(by, count, state="sent"):
            result = section("result", "toml", b'state = "COMPLETED"\nexit = 0\n')
            whole = home.signed(job.extended(result), member.signer, member.identity, "cit-result")
            name = names.FileName(job.id, job.name, names.key(0, clock.now() + len(found)), None, 1)
            member.account.path(f".cit/finished/{name}").write_bytes(whole.raw)
            found.append(whole)
        return found

    def wish(self, job: Document, action: str) -> Document:
        """A control document of ada's in the queue."""
        ada, now = self.cluster.ada, clock.now()
        said = {
            "action": action,
            "target": job.id,
            "submitter": ada.identity,
            "key": ada.signer.public.fingerprint,
            "queue": self.cluster.name,
            "created": body.Time(now),
            "expires": body.Time(now + clock.DAY),
        }
        made = home.signed(document.new(job.name, section("control", "toml", body.toml(said))), ada.signer, ada.identity, "cit-control")
        (self.queue / "control" / f"{job.id}.{made.id}.cit").write_bytes(made.raw)
        return made

    def described(self) -> list[bytes]:
        return [(self.queue / "builders" / name).read_bytes() for name in spool.listing(self.queue / "builders")]

    def move(self, name: str, place: str) -> None:
        """Give a builder another door."""
        for file in (self.queue / "builders").glob(f"*-{name}.cit"):
            file.unlink()
        made = self.cluster.describe(self.member(name), door=place)
        (self.queue / "builders" / f"{made.id}-{name}.cit").write_bytes(made.raw)

    # --- looking

    def counts(self) -> dict[str, int]:
        """How many documents lie in each state of the queue; those with none are left out."""
        return self.cluster.counts()

    def inbox(self, name: str) -> list[bytes]:
        """What a builder was handed, in order."""
        directory = self.member(name).account.path(".cit/inbox")
        return [(directory / file).read_bytes() for file in spool.listing(directory)]

    def left_behind(self) -> list[str]:
        """Connections to these machines that are open, and directories of ssh(1) of passes that used them."""
        ports = {each.port for each in self.machines.machines.values()}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        found = [f"port {int(row[2][-4:], 16)}" for row in rows if row[3] == "01" and int(row[2][-4:], 16) in ports]
        for log in Path(over_ssh.PLACE).glob(f"{over_ssh.PREFIX}*/log"):
            with contextlib.suppress(OSError):
                found += [str(log.parent)] if any(f"port {port}" in log.read_text() for port in ports) else []
        return found

    def connections(self, name: str) -> int:
        """How often somebody came in at a machine so far."""
        return self.machine(name).said().count(b"Accepted publickey")

    def only_by(self, port: int) -> str:
        """The door of moon by another port; its host key is known there, and nowhere else."""
        self.hub.path(".cit/known_hosts").write_text(self.moon.known.replace(str(self.moon.port), str(port)))
        return self.moon.place.replace(str(self.moon.port), str(port))

    def fresh_door(self, name: str) -> None:
        """A builder's door as it was made."""
        path = self.member(name).account.path(".ssh/authorized_keys")
        path.write_bytes(self.first[path])

    def program(self, name: str) -> str:
        """What answers at a builder's door, but for the role."""
        return f'{self.member(name).account.program("cit-queue")} --door="$SSH_ORIGINAL_COMMAND"'

    def answers_with(self, name: str, line: str) -> None:
        """Whatever is asked at the door of a builder, sh does this."""
        script = self.member(name).account.path("answer")
        script.write_text(f"cd {script.parent}\n{line}\n")
        self.member(name).account.path(".ssh/authorized_keys").write_text(f'restrict,command="sh {script}" {self.cluster.main.public}\n')


def empty(directory: Path) -> None:
    """Remove the files in a directory, hidden ones too."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            if entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)


@contextlib.contextmanager
def broken_wire(to: Loop, after: int = NEVER, way: str = "in", what: str = "cut", passed: list[dict[str, int]] | None = None) -> Iterator[int]:
    """A port before a machine's sshd, whose connections break (`stall`: fall silent) after so many bytes. `passed` gets what each let through."""
    rule = Rule(what, after, way)
    rule.passed = passed if passed is not None else []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:

        def serve() -> None:
            while True:
                try:
                    client = listening.accept()[0]
                except OSError:
                    return
                threading.Thread(target=run, args=(client,), daemon=True).start()

        def run(client: socket.socket) -> None:
            with contextlib.suppress(OSError):
                relay(client, (to.address, to.port), rule)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            rule.over.set()
            listening.shutdown(socket.SHUT_RDWR)
