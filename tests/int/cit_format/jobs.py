"""Real keys, lists of them, and signed jobs, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cit_format import body, clock, document, home, keys
from cit_format.body import Time
from cit_format.document import Document
from cit_format.signers import Signers, parse_allowed_signers

NOW = clock.parse("2026-11-23T20:30:00Z")
ID = "01kax0m2ht8f0v3q6s9y2c4e7g"
SCRIPT = document.section("script", "sh", b"#!/bin/sh\necho hi\n")
ROLES = {
    "ada@sun": "cit-job,cit-control",
    "ben@sun": "cit-job",
    "queue@sun": "cit-queue",
    "builder@sun": "cit-result,cit-builder",
}


class Yard:
    """The people and machines of a cluster, each with a key; who may sign what; `eve` is not listed, `old` is revoked."""

    def __init__(self, directory: Path) -> None:
        self.place = directory
        names = [*ROLES, "eve@sun", "old@sun"]
        self.keys = {name: keys.generate(directory / name.partition("@")[0], name) for name in names}
        self.queue = f"main@{self.keys['queue@sun'].public.fingerprint}"
        lines = [f'{name} namespaces="{spaces}" {self.keys[name].public.line}' for name, spaces in ROLES.items()]
        lines.append(f'old@sun namespaces="cit-job" {self.keys["old@sun"].public.line}')
        self.allowed = "".join(f"{line}\n" for line in lines)
        self.signers = Signers(parse_allowed_signers(self.allowed, "allowed_signers"), [self.keys["old@sun"].public])

    def head(self, who: str = "ada@sun", **changes: object) -> bytes:
        """A `job` section by this person, valid for a day from NOW; None takes a key away."""
        said: dict[str, object] = {
            "submitter": who,
            "key": self.keys[who].public.fingerprint,
            "queue": self.queue,
            "created": Time(NOW),
            "expires": Time(NOW + clock.DAY),
        }
        return document.section("job", "toml", body.toml({**said, **changes}))

    def signed(self, unsigned: Document, who: str, namespace: str, by: str | None = None) -> Document:
        return home.signed(unsigned, self.keys[who], by or who, namespace)

    def job(self, who: str = "ada@sun", *, identity: str = ID, name: str = "zlib", **changes: object) -> Document:
        """A job as cit-trigger makes it, signed."""
        return self.signed(document.new(name, self.head(who, **changes), SCRIPT, identity=identity), who, "cit-job")

    def assigned(self, job: Document, attempt: int = 1, by: str = "queue@sun", **changes: object) -> Document:
        """The job with an assignment to the builder, signed by `by`."""
        said: dict[str, object] = {
            "queue": self.queue,
            "epoch": 1,
            "attempt": attempt,
            "builder": "sun",
            "key": self.keys["builder@sun"].public.fingerprint,
            "account": "builder@sun",
            "assigned": Time(NOW),
        }
        return self.signed(job.extended(document.section("assignment", "toml", body.toml({**said, **changes}))), by, "cit-queue")

    def ended(self, job: Document, by: str = "builder@sun") -> Document:
        """The job with a result, signed by `by`."""
        result = document.section("result", "toml", body.toml({"state": "COMPLETED", "exit": 0, "signal": 0, "attempt": 1}))
        return self.signed(job.extended(result), by, "cit-result")


def job_like(number: int, body_bytes: bytes = b"hello\n") -> Document:
    """A small document of its own ID, unsigned, for tests of spools."""
    return document.new(f"n{number}", document.section("note", "text", body_bytes), identity=clock.encode((NOW // 1000 << 80) + number))


def cut(stream: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """A `read` that gives pieces of these sizes, then the rest byte by byte; never more than it is asked for."""
    at, given = 0, iter(sizes)

    def read(size: int) -> bytes:
        nonlocal at
        piece = stream[at : at + min(size, next(given, 1))]
        at += len(piece)
        return piece

    return read
