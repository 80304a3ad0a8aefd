"""Hand-over of a queue: which key speaks for it from now on, signed by its owner (docs/format/builder.md, docs/howto/replicate-a-queue.md).

    hosts/handover-NAME@FINGERPRINT.cit     on a queue and on a build account: the one with the highest epoch that was ever shown

The queue's name and founding key stay, so jobs that wait need no new signature. What an older epoch assigns is refused.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import body, home, reader, sshsig, trust
from .document import Document
from .errors import DATA, DENIED, CitError
from .grammar import NAME
from .spool import Lock, make_directory
from .sshsig import PublicKey

if TYPE_CHECKING:
    from .signers import Signers

NAMESPACE = "cit-hosts"


class Handover(NamedTuple):
    """What a handover says: the queue's full name, its epoch, the key that speaks and as whom (`queue@host`), and its door."""

    queue: str
    epoch: int
    public: PublicKey
    identity: str
    door: str

    @property
    def file_name(self) -> str:
        return file_name(self.queue)


def file_name(queue: str) -> str:
    """Its name in hosts/: fingerprints may hold a slash."""
    return f"handover-{queue.replace('/', '_')}.cit"


# --- pure -----------------------------------------------------------------------------------------------------------


def said(document: Document) -> Handover:
    """What a handover document says, unverified; 65 where it is none."""
    if document.kind != "handover":
        raise CitError(
            DATA, f"the first section is {document.kind or 'missing'}, not handover", "it begins with its handover section", document.label
        )
    table = document.table("handover")
    queue, epoch, door = table.get("queue"), table.get("epoch"), table.get("door", "")
    if not isinstance(queue, str) or not NAME.fullmatch(queue.partition("@")[0]) or not isinstance(epoch, int) or epoch < 1:
        raise CitError(DATA, "queue or epoch is missing or none", "docs/format/builder.md lists what a handover needs", document.label)
    words = str(table.get("public", "")).split()
    if len(words) != 3:
        raise CitError(DATA, "public is no key with the queue's identity after it", 'public = "ssh-ed25519 AAAA... queue@host"', document.label)
    public = sshsig.parse_public_key(" ".join(words))
    if table.get("key") != public.fingerprint:
        raise CitError(DATA, f"key says {table.get('key')}, but public is {public.fingerprint}", "both mean one key", document.label)
    return Handover(queue, epoch, public, words[2], str(door))


def verified(document: Document, signers: Signers, now: int) -> Handover:
    """The same, if somebody signed it who may (`cit-hosts`); else 65 or 77."""
    found = said(document)
    signature = document.find("signature")
    if signature is None:
        raise CitError(DENIED, "no signature", "the queue's owner signs a handover: cit activate", document.label)
    trust.verified(document, signature, NAMESPACE, signers, now)
    return found


def made(queue: str, epoch: int, public: PublicKey, identity: str, door: str, now: int) -> bytes:
    """The body of a handover section."""
    line = " ".join([*public.line.split()[:2], identity])
    keys = {"queue": queue, "epoch": epoch, "key": public.fingerprint, "public": line, "door": door or None, "created": body.Time(now)}
    return body.toml(keys)


# --- directories ----------------------------------------------------------------------------------------------------


def known(directory: Path) -> dict[str, Handover]:
    """The handovers that are kept in hosts/, by the queue's full name; they were verified when they came."""
    found: dict[str, Handover] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(directory):
            if name.startswith("handover-") and name.endswith(".cit"):
                with contextlib.suppress(FileNotFoundError, CitError):
                    each = said(reader.parse((directory / name).read_bytes()))
                    found[each.queue] = each
    return found


def keep(directory: Path, document: Document, found: Handover) -> bool:
    """Keep a verified handover, on disk when this returns; whether it is news. 77 where a later one is known, or another of this epoch."""
    make_directory(directory)
    with Lock(directory / ".lock"):
        path = directory / found.file_name
        with contextlib.suppress(FileNotFoundError):
            before = path.read_bytes()
            if before == document.raw:
                return False
            old = said(reader.parse(before))
            if old.epoch >= found.epoch:
                what = f"a handover to epoch {found.epoch} of {found.queue}, but epoch {old.epoch} was shown before"
                raise CitError(DENIED, what, "the later one holds; hand over once more: cit activate", document.label)
        home.write_new(path, document.raw)
    return True


def objection(queue: str, epoch: object, fingerprint: str, known_ones: dict[str, Handover]) -> str:
    """Why an assignment of this epoch, signed by this key, does not count; empty where it does."""
    latest = known_ones.get(queue)
    if latest is None:
        return ""
    if not isinstance(epoch, int) or epoch < latest.epoch:
        return f"assigned in epoch {epoch} of {queue.partition('@')[0]}, which was handed over: its epoch is {latest.epoch}"
    if fingerprint != latest.public.fingerprint:
        return f"assigned by {fingerprint}, but {latest.public.fingerprint} speaks for {queue.partition('@')[0]} since epoch {latest.epoch}"
    return ""
