"""Results that only some may read: which files of a job are encrypted to whom, and how (docs/format/needs-keep.md).

    rows(job)                 what its author signed in `reply`
    recipients(rows, path)    to whom a kept file is encrypted; nobody: it stays as it is
    of_log(rows)              the same of the log
    encrypt, decrypt          files of any size, as `age -r` and `age -d` do it

Fails: 65 what is no `reply`, or no key that age knows; 77 what does not open; 78 pyrage is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import IO, NamedTuple

from . import body, globs, seal
from .document import Document
from .errors import DATA, DENIED, CitError
from .seal import Key, Recipient

SECTION = "reply"
LOG = ".log"  # the glob that means the log
ALL = "."  # the glob that means all files
SUFFIX = ".age"  # of what is encrypted
MOST = 256  # rows
BEGIN = b"age-encryption.org/v1\n"  # of every file that age has encrypted


class Row(NamedTuple):
    """Which files, and to whom."""

    glob: str
    to: Recipient


class Sink:
    """An open file that is being written: the sha256 and number of its bytes, and the fault that ended it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.digest = sha256()
        self.size = 0
        self.fault: OSError | None = None

    def write(self, piece: bytes) -> int:
        self.digest.update(piece)
        self.size += len(piece)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except OSError as fault:
            self.fault = fault  # pyrage would tell it in words of its own
            raise
        return len(piece)

    def flush(self) -> None:
        """What is written is written."""


# --- decisions ------------------------------------------------------------------------------------------------------


def rows(job: Document) -> list[Row]:
    """What the submitter signed of it (of an unsigned job all); 65 where it is not as it must be."""
    return parsed(text(job), job.label)


def text(job: Document) -> bytes:
    """The same as it stands there; empty where a job has none."""
    first = job.find("signature")
    signed = job.sections[: first.number - 1] if first else job.sections
    return b"".join(section.body() for section in signed if section.kind == SECTION)


def parsed(written: bytes, where: str = "") -> list[Row]:
    """Rows as they are written."""
    found = body.rows(written) if written else []
    if len(found) > MOST:
        raise CitError(DATA, f"{len(found)} rows of reply", f"a job has {MOST} at most", where)
    return [_row(row, where) for row in found]


def _row(row: list[str], where: str) -> Row:
    if len(row) != 2 or globs.parts_of(row[0]) is None:
        raise CitError(DATA, f"reply has a row {' '.join(row)[:80]!r}", "a pattern below the workspace, then a public key", where)
    try:
        return Row(row[0], seal.recipient(row[1]))
    except CitError as error:
        raise CitError(DATA, f"reply for {row[0]!r}: {error.what}", error.hint, where) from None


def recipients(known: Iterable[Row], path: str) -> list[Recipient]:
    """To whom a kept file (its path below the workspace) is encrypted; nobody: it stays as it is."""
    return _each_once(row.to for row in known if globs.matches(path, row.glob))


def of_log(known: Iterable[Row]) -> list[Recipient]:
    """The same of the log."""
    return _each_once(row.to for row in known if row.glob == LOG)


def _each_once(found: Iterable[Recipient]) -> list[Recipient]:
    return list({each.fingerprint: each for each in found}.values())


def is_all(known: Iterable[Row]) -> bool:
    """Whether the whole workspace is for some only, so that nothing of it may stay."""
    return any(globs.parts_of(row.glob) == [] for row in known)


def check(job: Document) -> None:
    """65 or 78 where what a job asks for cannot be done here."""
    for row in rows(job):
        seal.usable([row.to])


# --- streams --------------------------------------------------------------------------------------------------------


def encrypt(source: IO[bytes], target: Sink, to: Sequence[Recipient]) -> None:
    """Encrypt all that `source` has, to all of these keys."""
    age, known = seal.library(), seal.usable(to)
    try:
        age.encrypt_io(source, target, known)
    except age.EncryptError as why:
        raise target.fault or CitError(DATA, f"it cannot be encrypted: {why}", "age -r KEY says more") from None


def decrypt(source: IO[bytes], target: Sink, by: Sequence[Key]) -> None:
    """The reverse. Nothing of `target` is to be used before this returns: what was cut or changed is found at its end. 77."""
    age = seal.library()
    try:
        age.decrypt_io(source, target, [each.identity for each in by])
    except (age.DecryptError, OSError) as why:
        what = f"it does not open: {(str(why).splitlines() or ['damaged'])[0]}"
        raise target.fault or CitError(DENIED, what, "it is sealed to other keys, or its bytes were changed") from None
