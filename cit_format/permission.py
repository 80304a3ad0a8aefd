"""Permissions in the lists of a queue or a build account: given, and taken away (docs/format/signatures.md, docs/howto/allow-people.md).

Reads, writes  allowed_signers, revoked_keys, allowed_names, each whole or not at all; a line in log/DAY.tsv
Fails          77 a revoked key; 78 a list that would not be accepted
How            a changed list is read as the stages read it before it takes the old one's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Union

from . import home, limited
from .errors import CONFIG, DENIED, CitError
from .keys import read_guarded
from .signers import KRL_MAGIC, Allowed, Signers, parse_allowed_signers
from .spool import Lock
from .sshsig import PublicKey

Place = Union[home.Queue, home.Account]
LOCK = ".allow"


class Permission(NamedTuple):
    """What somebody is to be allowed: who, with which key, in which namespaces, until when (None: always), which job names (none: all)."""

    person: str
    key: PublicKey
    namespaces: tuple[str, ...]
    until: datetime | None = None
    names: tuple[str, ...] = ()


# --- pure -----------------------------------------------------------------------------------------------------------


def missing(entries: Iterable[Allowed], wanted: Permission) -> tuple[str, ...]:
    """The namespaces of a permission that these lines do not give yet, for as long as it is wanted."""
    mine = [entry for entry in entries if (entry.key.blob, entry.principal) == (wanted.key.blob, wanted.person)]
    lasting = [entry for entry in mine if entry.valid_before is None or (wanted.until is not None and entry.valid_before >= wanted.until)]
    return tuple(space for space in wanted.namespaces if not any(space in entry.namespaces for entry in lasting))


def line(wanted: Permission) -> str:
    """A permission as a line of allowed_signers."""
    options = f'namespaces="{",".join(wanted.namespaces)}"'
    if wanted.until is not None:
        options += f',valid-before="{wanted.until.astimezone(timezone.utc):%Y%m%d%H%M%SZ}"'
    return f"{wanted.person} {options} {bare(wanted.key)}\n"


def bare(key: PublicKey) -> str:
    """A key in two words, without its comment."""
    return " ".join(key.line.split()[:2])


def without(text: str, gone: Sequence[Allowed]) -> str:
    """allowed_signers without these principals: their names are taken out, and lines that are nobody's then."""
    by_line: dict[int, set[str]] = {}
    for entry in gone:
        by_line.setdefault(entry.line, set()).add(entry.principal)
    kept = []
    for number, written in enumerate(text.split("\n"), 1):
        if number in by_line:
            names, rest = written.split(None, 1)
            left = [name for name in names.split(",") if name not in by_line[number]]
            if left:
                kept.append(f"{','.join(left)} {rest}")
        else:
            kept.append(written)
    return "\n".join(kept)


# --- one place ------------------------------------------------------------------------------------------------------


def called(place: Place) -> str:
    """How people call a place: `@main`, or `account`."""
    return f"@{place.path.name}" if isinstance(place, home.Queue) else "account"


def text_of(path: Path) -> str:
    """What a list holds; empty where it is missing. 78 where others can write it."""
    return (read_guarded(path, 0o022) or b"").decode()


def _believed(place: Place, text: str) -> Signers:
    """The list that a text would be, or 78 as every stage would say it."""
    path = place / "allowed_signers"
    return Signers(parse_allowed_signers(text, str(path)), name=str(path))


def allowed(place: Place, wanted: Permission) -> bool:
    """Add a permission to a place's lists; false where it is there already. 77 the key is revoked, 78 the list would not be accepted."""
    with Lock(place / LOCK):
        if place.signers.is_revoked(wanted.key):
            hint = f"take its line out of {place / 'revoked_keys'}, if it is safe again"
            raise CitError(DENIED, f"the key {wanted.key.fingerprint} is revoked at {called(place)}", hint)
        text = text_of(place / "allowed_signers")
        spaces = missing(parse_allowed_signers(text, str(place / "allowed_signers")), wanted)
        names = wanted.names and limited.read(place.path).get(wanted.key.fingerprint) != wanted.names
        if names:  # before the key may do anything
            limited.limit(place.path, wanted.key.fingerprint, wanted.names)
        if spaces:
            text = f"{text}\n" if text and not text.endswith("\n") else text
            longer = text + line(wanted._replace(namespaces=spaces))
            _believed(place, longer)
            home.write_new(place / "allowed_signers", longer.encode())
            only = f", named {','.join(wanted.names)}" if wanted.names else ""
            place.note([("-", "allowed", f"{wanted.person} {wanted.key.fingerprint} {','.join(spaces)}{only}")], "queue")
    return bool(spaces or names)


def revoked(place: Place, person: str, keys: Sequence[PublicKey], keep_old: bool) -> list[PublicKey]:
    """Take a person, or these keys, out of a place's lists, and remember the keys as revoked unless `keep_old`: the keys that were there."""
    with Lock(place / LOCK):
        text = text_of(place / "allowed_signers")
        blobs = {key.blob for key in keys}
        entries = parse_allowed_signers(text, str(place / "allowed_signers"))
        gone = [entry for entry in entries if entry.principal == person or entry.key.blob in blobs]
        met = list({entry.key.blob: entry.key for entry in gone}.values())
        if not keep_old:
            _remember(place, [*met, *(key for key in keys if key.blob not in {each.blob for each in met})])
        if gone:
            home.write_new(place / "allowed_signers", without(text, gone).encode())
            for key in met:
                limited.limit(place.path, key.fingerprint, ())
        place.note([("-", "revoked", f"{person or ''} {key.fingerprint}".strip()) for key in met], "queue")
    return met


def _remember(place: Place, keys: Sequence[PublicKey]) -> None:
    """The keys into revoked_keys, before they leave the other lists: a kill in between lets nobody in."""
    path = place / "revoked_keys"
    data = read_guarded(path, 0o022) or b""
    if data.startswith(KRL_MAGIC):
        raise CitError(CONFIG, "revoked_keys is a KRL", f"ssh-keygen -k -u -f {path} KEYFILE, then cit allow --revoke --keep-old", str(path))
    new = [key for key in keys if not place.signers.is_revoked(key)]
    if new:
        text = data.decode()
        head = text if not text or text.endswith("\n") else text + "\n"
        home.write_new(path, (head + "".join(f"{bare(key)}\n" for key in new)).encode())
