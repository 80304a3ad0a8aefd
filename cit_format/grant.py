"""Grants: a permission that a build account's owner signed and the submitter carries in the job (docs/format/needs-keep.md).

    ada@sun namespaces="cit-job",valid-before="20261231Z" ssh-ed25519 AAAA...
    names nightly-*,release
    interfaces zlib
    -----BEGIN SSH SIGNATURE-----      over the lines above, namespace cit-grant

It lets a key submit jobs where it stands in no list, within its limits and until its date. Pure but for the verification.
"""

from __future__ import annotations

from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from . import clock, sshsig
from .document import Document, Section
from .errors import DATA, DENIED, CitError
from .signers import Allowed, Signers, parse_allowed_signers

if TYPE_CHECKING:
    from .keys import Signer

NAMESPACE = "cit-grant"
GIVEN = ("cit-job",)  # what a grant can give: nobody becomes a queue or an owner by one
LIMITS = ("names", "interfaces")
CODE, RUNS = ("env", "script"), ("check", "environment")  # sections and keys of a job that decide what runs
ARMOUR = b"-----BEGIN SSH SIGNATURE-----\n"


class Grant(NamedTuple):
    """Who may submit, the limits (patterns of job names, names of interfaces; empty: any), and what its signature covers."""

    entries: list[Allowed]
    names: tuple[str, ...]
    interfaces: tuple[str, ...]
    covered: bytes
    signature: bytes


# --- decisions ------------------------------------------------------------------------------------------------------


def parse(body: bytes, label: str) -> Grant:
    """The grant that a section's body is; 65 where it is none, or gives more than a grant may."""
    covered, armour, rest = body.partition(ARMOUR)
    if not armour:
        raise CitError(DATA, "a grant without a signature", "the account's owner signs it: cit grant", label)
    limits: dict[str, tuple[str, ...]] = {}
    lines = []
    for line in covered.decode().splitlines():
        word, _, values = line.partition(" ")
        if word in LIMITS:
            limits[word] = tuple(filter(None, values.split(",")))
        else:
            lines.append(line)
    try:
        entries = parse_allowed_signers("\n".join(lines), "grant")
    except CitError as error:
        raise CitError(DATA, f"the grant's {error.where}: {error.what}", error.hint, label) from None
    if not entries:
        raise CitError(DATA, "a grant for nobody", "its first line is one of allowed_signers", label)
    for entry in entries:
        if entry.namespaces != GIVEN or entry.valid_before is None:
            what = "a grant gives cit-job and nothing else, until a date"
            raise CitError(DATA, what, 'write: USER@HOST namespaces="cit-job",valid-before="20261231Z" KIND BASE64', label)
    return Grant(entries, limits.get("names", ()), limits.get("interfaces", ()), covered, armour + rest)


def objection(found: Grant, job: Document) -> str:
    """Why the limits of a grant keep this job out; empty where they do not."""
    if found.names and not any(fnmatchcase(job.name, pattern) for pattern in found.names):
        return f"the grant is for jobs named {', '.join(found.names)}"
    if found.interfaces:
        call = job.find("call")
        if call is None or str(call.table().get("interface")) not in found.interfaces:
            return f"the grant is for calls of {', '.join(found.interfaces)}"
        code = brings_code(job)
        if code:
            return f"the grant is for calls of {', '.join(found.interfaces)} alone, and the job brings {code}, which decides what runs"
    return ""


def brings_code(job: Document) -> str:
    """What in a job, besides its call, decides what runs: a section, or a command among its keys; empty where nothing does."""
    first, said = job.find("signature"), job.table("job")
    signed = job.sections[: first.number - 1] if first else job.sections
    return next((section.kind for section in signed if section.kind in CODE), "") or next((key for key in RUNS if key in said), "")


def carried(job: Document) -> list[Section]:
    """The grants that a job carries in what its submitter signed."""
    signature = job.find("signature")
    return [section for section in job.all("grant") if signature is None or section.number < signature.number]


def extended(signers: Signers, job: Document, now: int) -> Signers:
    """The list with what the job's grants add; 77 where a grant does not hold or does not fit. A key that is listed needs none."""
    moment = datetime.fromtimestamp(now / clock.SECOND, timezone.utc)
    more: list[Allowed] = []
    for section in carried(job):
        found = parse(section.body(), job.label)
        try:
            proof = sshsig.parse_signature(found.signature)
            sshsig.verify(proof, found.covered, NAMESPACE)
            signers.principal(proof.key, NAMESPACE, moment)
        except CitError as error:
            raise CitError(DENIED, f"the grant does not hold: {error.what}", error.hint, job.label) from None
        why = objection(found, job)
        if why:
            raise CitError(DENIED, why, "ask its owner for another one, or submit what it is for", job.label)
        more += found.entries
    return signers.with_more(more) if more else signers


# --- making one -----------------------------------------------------------------------------------------------------


def made(person: str, key: sshsig.PublicKey, until: int, names: str, interfaces: str, signer: Signer) -> bytes:
    """The body of a grant: who, until when (microseconds), limits as typed; signed by the account's owner. 65 where it would be none."""
    date = clock.iso(until).translate({ord(letter): None for letter in "-:T"})
    covered = f'{person} namespaces="cit-job",valid-before="{date}" {" ".join(key.line.split()[:2])}\n'
    covered += "".join(f"{word} {values}\n" for word, values in zip(LIMITS, (names, interfaces)) if values)
    parse(covered.encode() + ARMOUR, person)  # what could not be read is not signed
    return covered.encode() + signer.sign(covered.encode(), NAMESPACE)
