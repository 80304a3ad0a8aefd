"""Introductions, and lines that change by them: texts in, texts out (docs/howto/add-a-builder.md).

An *introduction* says whom an account is to know, TSV, a row each (introduction.py admits it):

    signer  IDENTITY   NAMESPACES  KEY       may say this: allowed_signers
    door    ROLE       FOR         KEY  TO   may ask this at our door: authorized_keys; TO has the queues, or nothing
    host    NAMES      KEY                   is this machine: known_hosts
    queue   NAME       FOUNDER     DOOR      is a queue elsewhere: queues/

What a person wrote stays: order, comments, other lines. Fails: 65 a row that is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from . import body, clock, grammar, signers, sshsig
from .errors import DATA, CitError
from .signers import OPTIONS
from .sshsig import PublicKey

COLUMNS = {"signer": 3, "door": 4, "host": 2, "queue": 3}
HOST_NAMES = re.compile(r"[A-Za-z0-9\[\]:._,-]+")
_NAMESPACES = re.compile(r'namespaces="([^"]*)"')


class Row(NamedTuple):
    """One row of an introduction: its kind, its other columns, and the key in it (queue: none)."""

    kind: str
    fields: tuple[str, ...]
    key: PublicKey | None

    @property
    def known_key(self) -> PublicKey:
        assert self.key is not None
        return self.key


def signer(identity: str, namespaces: str, key: PublicKey) -> Row:
    return Row("signer", (identity, namespaces, key.line), key)


def door(role: str, who: str, key: PublicKey, to: str = "") -> Row:
    return Row("door", (role, who, key.line, to), key)


def host(names: str, key: PublicKey) -> Row:
    return Row("host", (names, key._replace(comment="").line), key)


def rows(text: bytes) -> list[Row]:
    """The rows of an introduction; 65 where one is none."""
    found = []
    for number, fields in enumerate(body.rows(text), 1):
        kind, rest = fields[0], tuple(fields[1:])
        if COLUMNS.get(kind) != len(rest):
            raise CitError(DATA, f"row {number} is no introduction: {kind[:20]!r} with {len(rest)} columns", "cit-format introduce writes them")
        line = rest[2] if kind in ("signer", "door") else rest[1]
        found.append(Row(kind, rest, None if kind == "queue" else sshsig.parse_public_key(line)))
        plain = {"signer": signers.PLAIN, "door": signers.PLAIN, "host": HOST_NAMES, "queue": grammar.NAME}[kind]
        if not plain.fullmatch(rest[0]) or (kind == "door" and not signers.PLAIN.fullmatch(rest[1])):
            raise CitError(DATA, f"row {number} is no introduction: the name {rest[0][:80]!a} is not plain", "cit-format introduce writes them")
    return found


def written(introduced: Iterable[Row]) -> bytes:
    """An introduction as it is sent."""
    return body.tsv([row.kind, *row.fields] for row in introduced)


# --- texts ----------------------------------------------------------------------------------------------------------


def silenced(text: str, key: PublicKey, namespaces: Iterable[str], now: int) -> str:
    """allowed_signers with this key speaking in these namespaces until `now` and no longer: what it signed before stays provable."""
    ended = set(namespaces)
    until = re.sub("[-:T]", "", clock.iso(now))
    lines = []
    for line in text.splitlines():
        options = _options_of(line, key)
        held = _NAMESPACES.search(options)
        spaces = held[1].split(",") if held else []
        if not ended & set(spaces) or "valid-before" in options:
            lines.append(line)
            continue
        for named, more in (([each for each in spaces if each not in ended], ""), ([each for each in spaces if each in ended], until)):
            if named:
                changed = _NAMESPACES.sub(f'namespaces="{",".join(named)}"', options) + (f',valid-before="{more}"' if more else "")
                lines.append(line.replace(options, changed, 1))
    return "\n".join(lines) + "\n"


def _options_of(line: str, key: PublicKey) -> str:
    """The options of a line of allowed_signers that is about a key; empty where it is not."""
    _, _, rest = line.strip().partition(" ")
    match = OPTIONS.match(rest)
    if not match or line.lstrip().startswith("#"):
        return ""
    return match[1] if key.line.split()[1] in rest[match.end() :].split() else ""


def pinned(text: str, pins: Iterable[Row]) -> str:
    """known_hosts with these keys as the only ones of the names that they are for."""
    pins = list(pins)
    names = {name for pin in pins for name in pin.fields[0].split(",")}
    lines = [line for line in text.splitlines() if not names & set(line.partition(" ")[0].split(","))]
    lines += [f"{pin.fields[0]} {pin.fields[1]}" for pin in pins]
    return "\n".join(lines) + "\n"
