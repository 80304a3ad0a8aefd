"""A cit home of its own with its queue `main`, real keys, and cit-queue started as people start it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cit_format import body, clock, document, home, keys, reader, spool
from cit_format.body import Time
from cit_format.document import Document, section

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = section("script", "sh", b"#!/bin/sh\necho hi\n")


class House:
    """One home. `ada` submits and manages; `ben` submits only; `eve` is not listed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / ".cit"
        self.queue = home.Queue(self.path / "queues" / "main")
        self.account = home.Account(self.path)
        self.environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "CIT_USER": "ada", "CIT_HOST": "sun", "LANG": "C.UTF-8"}

    def key(self, who: str) -> keys.Signer:
        return keys.load(self.directory / who)

    def settle(self) -> None:
        """First use, as it happens to people; then ben, and nothing that starts by itself."""
        self.directory.mkdir()
        keys.generate(self.directory / "ada", "ada@sun")
        (self.directory / ".ssh").mkdir(mode=0o700)
        shutil.copy(self.directory / "ada", self.directory / ".ssh" / "id_ed25519")
        shutil.copy(self.directory / "ada.pub", self.directory / ".ssh" / "id_ed25519.pub")
        assert self.run("--to", "@main").returncode == 0
        for who in ("ben", "eve"):
            keys.generate(self.directory / who, f"{who}@sun")
        with open(self.queue / "allowed_signers", "a") as file:
            file.write(f'ben@sun namespaces="cit-job" {self.key("ben").public.line}\n')
        self.set("on-arrival", "")
        (self.path / "config.toml").write_text('on-arrival = ""\n')

    def set(self, name: str, value: object) -> None:
        """Set a key of queue.toml."""
        file = self.queue / "queue.toml"
        kept = [line for line in file.read_text().splitlines(True) if not line.startswith(f"{name} =")]
        file.write_text("".join(kept) + body.toml({name: value}).decode())
        self.queue = home.Queue(self.queue.path)

    # --- documents

    def job(self, name: str = "hello", who: str = "ada", identity: str | None = None, **changes: object) -> Document:
        """A job as cit-trigger makes it, signed; None takes a key away."""
        signer = self.key(who)
        now = clock.now()
        said: dict[str, object] = {
            "submitter": f"{who}@sun",
            "key": signer.public.fingerprint,
            "queue": self.queue.full_name,
            "created": Time(now),
            "expires": Time(now + clock.DAY),
            **changes,
        }
        unsigned = document.new(name, section("job", "toml", body.toml(said)), SCRIPT, identity=identity)
        return home.signed(unsigned, signer, f"{who}@sun", "cit-job")

    def followed(self, stream: bytes) -> Document:
        """A job of ada with this stream in a section `after`."""
        job = self.job()
        first = job.find("signature")
        assert first is not None
        unsigned = reader.parse(job.raw[: first.start] + section("after", "text", stream, on="always"))
        return home.signed(unsigned, self.key("ada"), "ada@sun", "cit-job")

    def control(self, action: str, about: str, who: str = "ada", **changes: object) -> Document:
        """A signed wish about a job."""
        signer = self.key(who)
        now = clock.now()
        said: dict[str, object] = {
            "action": action,
            "target": about,
            "submitter": f"{who}@sun",
            "key": signer.public.fingerprint,
            "queue": self.queue.full_name,
            "created": Time(now),
            "expires": Time(now + clock.DAY),
            **changes,
        }
        return home.signed(document.new(action, section("control", "toml", body.toml(said))), signer, f"{who}@sun", "cit-control")

    def assigned(self, job: Document, attempt: int = 1, state: str = "sent", **changes: object) -> Document:
        """The job as the scheduler assigned it to this home's builder, lying in a state of the queue."""
        said = {
            "queue": self.queue.full_name,
            "epoch": 1,
            "attempt": attempt,
            "builder": "sun",
            "key": self.account.signer.public.fingerprint,
            "account": "ada@sun",
            "assigned": Time(clock.now()),
            **changes,
        }
        given = home.signed(job.extended(section("assignment", "toml", body.toml(said))), self.queue.signer, "queue@sun", "cit-queue")
        if state:
            (self.queue / state / f"1000-{clock.now():016d}.{job.id}.a{attempt}-{job.name}.cit").write_bytes(given.raw)
        return given

    def ended(self, job: Document, state: str = "COMPLETED", attempt: int = 1, by: str = "builder") -> Document:
        """The job with its result, signed by this home's builder, or given up by the queue."""
        result = section("result", "toml", body.toml({"state": state, "exit": 0, "signal": 0, "attempt": attempt}))
        signer, namespace = (self.account.signer, "cit-result") if by == "builder" else (self.queue.signer, "cit-queue")
        return home.signed(job.extended(result), signer, f"{by}@sun", namespace)

    # --- acts

    def run(self, *words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        """cit-queue as a process."""
        command = [str(ROOT / "bin" / "cit-queue"), *words]
        return subprocess.run(command, input=stdin, capture_output=True, env={**self.environment, **environment}, timeout=60, check=False)

    def push(self, *documents: Document, to: str = "@main", **environment: str) -> list[str]:
        """The states on the tickets of these documents, pushed in one stream."""
        return states(self.run("--to", to, stdin=b"".join(each.raw for each in documents), **environment).stdout)

    def lying(self, state: str) -> list[bytes]:
        """Documents of a state of the queue, in order."""
        return [(self.queue / state / name).read_bytes() for name in spool.listing(self.queue / state)]

    def refused(self) -> list[Document]:
        return [reader.parse(raw) for raw in self.lying("refused")]


def tickets(stream: bytes) -> list[Document]:
    """The tickets of a stream."""
    found = []
    for each in reader.documents(reader.reader_of(stream)):
        assert isinstance(each, Document), each
        found.append(each)
    return found


def states(stream: bytes) -> list[str]:
    """What the tickets of a stream say, in order."""
    return [str(each.table("ticket")["state"]) for each in tickets(stream)]


def statuses(stream: bytes) -> list[object]:
    """The state, or the status of what was refused, of each ticket."""
    said = [each.table("ticket") for each in tickets(stream)]
    return [each.get("status", each["state"]) for each in said]
