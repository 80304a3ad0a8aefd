"""What of a job is sealed, for whom, and what is in it (docs/format/secret.md).

A sealed text begins with three lines: the job's ID, the fingerprint of the key that signs the job, and its name, under which
the job finds it as a file. So it opens in its own job only, though the ciphertext be copied into another one.
Fails: 65 what is not sealed as it must be, 77 what is for others, does not open, or was sealed for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from . import document, seal, trust
from .document import Document, Section
from .errors import CONFIG, DATA, DENIED, CitError
from .seal import Key, Recipient

SCRIPT = "script"  # the name of a sealed script; no secret may have it
KINDS = ("secret", SCRIPT)  # sections that can be sealed
MOST = 64  # in one job
NAME_BYTES = 128
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


class Sealed(NamedTuple):
    """A sealed section: the name of what is in it, the fingerprints of those who can open it, and the section."""

    name: str
    to: frozenset[str]
    section: Section


# --- decisions ------------------------------------------------------------------------------------------------------


def objection(name: str) -> str:
    """Why this is no name of a secret; empty where it is one. It becomes a file's name."""
    if not name or "/" in name or name[0] in ".-@" or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        return f"{name[:40]!r} is no name of a secret"
    return f"a secret cannot be called {SCRIPT}" if name == SCRIPT else ""


def sealed(job: Document) -> list[Sealed]:
    """The sealed sections that the submitter signed (of an unsigned job all of them); 65 where one is not as it must be."""
    first = job.find("signature")
    found = [_sealed(job, section) for section in job.sections[: first.number - 1 if first else None] if _is_meant(section)]
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise CitError(DATA, "two secrets have one name", "each has a name of its own", job.label)
    if len(found) > MOST:
        raise CitError(DATA, f"{len(found)} secrets", f"a job has {MOST} at most: put several into one file", job.label)
    return found


def _is_meant(section: Section) -> bool:
    return section.kind == "secret" or ("enc=age" in section.written and section.kind in trust.SUBMITTED and section.attributes.get("enc") == "age")


def _sealed(job: Document, section: Section) -> Sealed:
    said = section.attributes
    name = SCRIPT if section.kind == SCRIPT else said.get("name", "")
    to = frozenset(said.get("to", "").split(","))
    if section.kind not in KINDS:
        raise CitError(DATA, f"section {section.kind} is sealed", "scripts and secrets can be", job.label)
    if said.get("enc") != "age":
        raise CitError(DATA, f"the secret {name[:40]!r} is not sealed", "it lies open in this document: change it, then seal the new one", job.label)
    if section.kind == "secret" and objection(name):
        raise CitError(DATA, objection(name), "a plain file name, which does not begin with . - or @", job.label)
    if not all(_FINGERPRINT.fullmatch(each) for each in to):
        raise CitError(
            DATA, f"the {section.kind} {name[:40]!r} does not say to whom it is sealed", "to= has fingerprints, a comma between", job.label
        )
    return Sealed(name, to, section)


def named(job: Document) -> frozenset[str] | None:
    """The fingerprints of the keys that can open all that is sealed in a job; None where nothing is. Who runs it needs one of them."""
    found = [each.to for each in sealed(job)]
    return frozenset.intersection(*found) if found else None


def head(identity: str, signer: str, name: str) -> bytes:
    """The lines that a sealed text begins with."""
    return f"{identity}\n{signer}\n{name}\n".encode()


# --- sealing and opening --------------------------------------------------------------------------------------------


def section(identity: str, signer: str, name: str, content: bytes, to: Iterable[Recipient]) -> bytes:
    """The section of a job (its ID, the fingerprint of the key that signs it) in which `content` is sealed to these keys."""
    keys = sorted(to, key=lambda each: each.fingerprint)
    armour = seal.sealed(head(identity, signer, name) + content, keys)
    said = {"enc": "age", "to": ",".join(each.fingerprint for each in keys)}
    return document.section(SCRIPT, "sh", armour, **said) if name == SCRIPT else document.section("secret", "text", armour, **{"name": name, **said})


def contents(job: Document, by: Sequence[Key]) -> dict[str, bytes]:
    """All that is sealed in a job, by name, opened with one of these keys; whole or nothing. The job has been believed before."""
    found = sealed(job)
    if not found:
        return {}
    own = {key.fingerprint for key in by}
    opened = {}
    for each in found:
        if not own & each.to:
            here = " ".join(sorted(own))
            raise CitError(
                DENIED, f"{each.name!r} is sealed to others, not to {here}", "its to= names who can open it: cit push --seal-to", job.label
            )
        try:
            opened[each.name] = _content(job, each.name, seal.opened(each.section.body(), by))
        except CitError as error:
            raise CitError(error.status, f"{each.name!r}: {error.what}", error.hint, job.label) from None
    return opened


def _content(job: Document, name: str, plain: bytes) -> bytes:
    """What follows the head, which must be that of this job, signer and name; else 77."""
    wanted = head(job.id, str(job.table("job").get("key", "")), name)
    if plain.startswith(wanted):
        return plain[len(wanted) :]
    said = [line.decode("utf-8", "replace") for line in plain.split(b"\n", 3)[:3]]
    meant = wanted.decode().split("\n")
    for what, given, right in zip(("job", "signer", "name"), said, meant):
        if given != right and plain.count(b"\n") >= 3:
            raise CitError(DENIED, f"it was sealed for another {what}, {given[:60]!r}", "what is sealed opens in its own job only: seal it anew")
    raise CitError(DENIED, "it does not begin with job, signer and name", "docs/format/secret.md says how a text is sealed")


def account_key(directory: Path) -> Key:
    """The key that a build account or a queue opens with: `seal` in its directory; 78 where it has none."""
    try:
        return seal.key(directory / "seal")
    except CitError as error:
        raise CitError(CONFIG, error.what, error.hint, error.where) from None


def opened_here(job: Document, directory: Path) -> dict[str, bytes]:
    """All that is sealed in a believed job, opened by the build account in this directory; empty where nothing is."""
    return contents(job, [account_key(directory)]) if any(map(_is_meant, job.sections)) else {}
