"""The keys and doors of a cluster, as its manager signs them (docs/format/builder.md, docs/howto/use-a-remote-queue.md).

    hosts/SERIAL-ID.cit   every version that was joined; of these the one with the highest serial counts
    hosts/manager.pub     whose word counts, as allowed_signers; pinned by a person once, then by each version for the next
    hosts/known_hosts     host keys of the newest version, as ssh reads them

Reads   documents whose first section is `hosts`, one row a key
Fails   65 no such document; 77 not signed by a manager who is pinned, or older than what was seen
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from . import address, body, clock, grammar, reader, sshsig, trust
from .document import Document
from .errors import DATA, DENIED, CitError
from .signers import PLAIN, Allowed, Signers
from .sshsig import PublicKey

NAMESPACE = "cit-hosts"
SPEAKS = {"queue": ("cit-queue",), "builder": ("cit-result", "cit-builder"), "manager": (NAMESPACE,)}
_HOST = r"(?:[A-Za-z0-9][A-Za-z0-9.:_-]*|\[[A-Za-z0-9.:_-]+\]:[0-9]{1,5})"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_FOUNDER = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_KEPT = re.compile(r"([1-9][0-9]*)-[0-7][0-9a-z]{25}\.cit")


class Row(NamedTuple):
    """One key: of which kind, whose (a queue's NAME or NAME@FOUNDER, a machine's names in known_hosts), as whom it signs, from when
    until when (microseconds), and where its owner is reached (empty: nowhere)."""

    kind: str
    name: str
    key: PublicKey
    start: int
    until: int
    door: str

    @property
    def identity(self) -> str:
        """As whom the key signs: what stands after it."""
        return self.key.comment or self.name

    @property
    def queue(self) -> str:
        """Of a queue NAME@FINGERPRINT of its founding key."""
        return self.name if "@" in self.name else f"{self.name}@{self.key.fingerprint}"

    def is_valid(self, now: int) -> bool:
        return self.start <= now <= self.until

    @property
    def fields(self) -> list[str]:
        """The columns of the section."""
        return [self.kind, self.name, self.key.line, clock.iso_ms(self.start), clock.iso_ms(self.until), self.door]

    def allowed(self) -> Allowed:
        """What its key may say, and when; of a machine's key nothing."""
        return Allowed(self.identity, SPEAKS.get(self.kind, ()), self.key, _moment(self.start), _moment(self.until), 0)


class Hosts(NamedTuple):
    """One version: its serial, its rows, the document."""

    serial: int
    rows: list[Row]
    document: Document

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.document.raw).hexdigest()}"

    def valid(self, kind: str, now: int) -> list[Row]:
        """The rows of a kind that hold at this moment."""
        return [row for row in self.rows if row.kind == kind and row.is_valid(now)]

    @property
    def file_name(self) -> str:
        return f"{self.serial}-{self.document.id}.cit"


def _moment(time: int) -> datetime:
    return datetime.fromtimestamp(time / clock.SECOND, timezone.utc)


# --- what a document says -----------------------------------------------------------------------------------------------


def said(document: Document) -> Hosts:
    """What a hosts document says, unverified; 65 where it is none."""
    section = document.find("hosts")
    if section is None or document.kind != "hosts" or len(list(document.all("hosts"))) != 1:
        raise _fault(document, f"the first section is {document.kind or 'missing'}, not hosts", "it has one section hosts, before its signature")
    if section.version != "1" or section.form != "tsv":
        raise _fault(document, f"section hosts is {section.version[:20]} {section.form[:20]}", "this program knows: @begin hosts 1 tsv serial=N")
    serial = section.attributes.get("serial", "")
    if not re.fullmatch(r"[1-9][0-9]{0,17}", serial):
        raise _fault(document, f"serial={serial[:20]} is no serial", "it counts up from 1")
    try:
        return Hosts(int(serial), [row(fields) for fields in section.rows()], document)
    except CitError as error:
        raise _fault(document, error.what, error.hint) from None


def row(fields: list[str]) -> Row:
    """A row of the section; 65 where it is none."""
    if len(fields) != 6 or fields[0] not in (*SPEAKS, "host"):
        raise CitError(DATA, f"no row of hosts: {' '.join(fields)[:80]!r}", "columns: kind, name, key, from, until, door")
    kind, name, line, start, until, door = fields
    found = Row(kind, name, sshsig.parse_public_key(line), clock.parse(start), clock.parse(until), door)
    plain, _, founder = name.partition("@")
    good = {
        "queue": bool(grammar.NAME.fullmatch(plain)) and (name == plain or bool(_FOUNDER.fullmatch(founder))),
        "builder": bool(grammar.NAME.fullmatch(name)),
        "manager": bool(PLAIN.fullmatch(name)),
        "host": bool(_HOSTS.fullmatch(name)),
    }[kind]
    if not good or not PLAIN.fullmatch(found.identity if kind != "host" else "host"):
        raise CitError(DATA, f"a {kind} called {name[:80]!a}", "names are plain; a queue is NAME or NAME@SHA256:..., a machine as in known_hosts")
    if door and not door.startswith("/"):
        address.parse(door)
    return found


def section(rows: Iterable[Row]) -> bytes:
    """The body of the section."""
    return body.tsv(row.fields for row in rows)


def _fault(document: Document, what: str, hint: str) -> CitError:
    return CitError(DATA, what, hint, document.label)


# --- whose word it is ---------------------------------------------------------------------------------------------------


def verified(document: Document, managers: Signers, now: int) -> Hosts:
    """What it says, if a manager that we know signed all of it and is one still by its own words; else 65, 77."""
    found = said(document)
    signature = document.find("signature")
    if signature is None:
        raise CitError(DENIED, "no signature", "its manager signs it: cit join --make, or cit-format sign --ns cit-hosts", document.label)
    speech = trust.verified(document, signature, NAMESPACE, managers, now)
    if speech.fingerprint not in {each.key.fingerprint for each in found.valid("manager", now)}:
        raise CitError(
            DENIED, f"it does not list {speech.fingerprint}, which signed it, as a manager", "a manager signs with a row of their own", document.label
        )
    return found


def introduced(document: Document, fingerprint: str, now: int) -> Signers:
    """The managers that are believed because a person typed this fingerprint; 77 where the document lists no such manager."""
    mine = [each for each in said(document).valid("manager", now) if each.key.fingerprint == fingerprint]
    if not mine:
        what = f"no manager in it has the key {fingerprint[:80]}"
        raise CitError(DENIED, what, "compare it with what its manager says, by another way: a letter, a call", document.label)
    return Signers([each.allowed() for each in mine], name="the fingerprint that you typed")


def objection(found: Hosts, known: Hosts | None) -> CitError | None:
    """Why a version is not taken, beside the newest that is known; None where it is newer, or the same."""
    if known is None or found.serial > known.serial or found.document.raw == known.document.raw:
        return None
    where = found.document.label
    if found.serial == known.serial:
        return CitError(DENIED, f"another document with serial {found.serial} was joined before", "its manager counts up with each change", where)
    return CitError(
        DENIED, f"serial {found.serial}, but {known.serial} was joined before", "an old version, perhaps replayed; ask for the newest", where
    )


# --- what is kept -------------------------------------------------------------------------------------------------------


def kept(directory: Path) -> Iterator[Hosts]:
    """Every version that was joined, the newest first; they were verified when they came."""
    numbers = {name: int(match[1]) for name in _entries(directory) for match in [_KEPT.fullmatch(name)] if match}
    for name in sorted(numbers, key=lambda name: -numbers[name]):
        with contextlib.suppress(FileNotFoundError, CitError):
            yield said(reader.parse((directory / name).read_bytes()))


def newest(directory: Path) -> Hosts | None:
    """The version that counts; None before the first."""
    return next(kept(directory), None)


def speakers(directory: Path) -> list[Allowed]:
    """Who may sign as queue or builder by any version, with the times within which each says so; of one key the newest name."""
    found: dict[tuple[bytes, str], str] = {}
    allowed = []
    for version in kept(directory):
        for each in version.rows:
            if each.kind in ("queue", "builder") and found.setdefault((each.key.blob, each.kind), each.identity) == each.identity:
                allowed.append(each.allowed())
    return allowed


def door_of(directory: Path, kind: str, name: str, now: int) -> str:
    """Where a queue (NAME@FINGERPRINT) or builder is reached, as the newest version says; empty where it does not."""
    version = newest(directory)
    rows = version.valid(kind, now) if version else []
    return next((each.door for each in rows if name in (each.name, each.queue if kind == "queue" else "")), "")


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
