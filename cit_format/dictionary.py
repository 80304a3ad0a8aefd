"""The dictionary of sections, `sections.tsv` beside this file: which keys a section has, their types, and who may write them.

One row a key; a row `-` is the section itself, with its format as type; `@key` is an attribute; `*` any other key. The
files that people keep (`settings.tsv`) are described in the same columns. Pure but for reading these two tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from . import arrays, body, clock, grammar
from .body import Value
from .errors import CitError

SECTIONS = Path(__file__).parent / "sections.tsv"
SETTINGS = Path(__file__).parent / "settings.tsv"

STATES = ["PENDING", "HELD", "RUNNING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"]
# What a namespace's signature may speak for: the roles of its key. A build account signs its own description and load.
ROLES = {
    "cit-job": {"submitter"},
    "cit-control": {"submitter"},
    "cit-queue": {"queue"},
    "cit-result": {"builder"},
    "cit-builder": {"owner", "builder"},
    "cit-hosts": {"owner"},
    "cit-grant": {"owner"},
}


class Key(NamedTuple):
    """One row: a key, column or attribute of a section."""

    name: str
    type: str
    unit: str
    required: bool
    default: str
    writers: frozenset[str]
    why: str


class Entry(NamedTuple):
    """One section in one version: its format, who may write it, its keys or columns in order, its attributes (without `@`)."""

    form: str
    writers: frozenset[str]
    keys: dict[str, Key]
    attributes: dict[str, Key]


@cache
def read(path: Path = SECTIONS) -> dict[tuple[str, str], Entry]:
    """The entries of a table by section and version."""
    entries: dict[tuple[str, str], Entry] = {}
    for fields in body.rows(path.read_bytes())[1:]:
        section, version, name, kind, unit, required, default, writer, why = fields
        key = Key(name, kind, unit, required == "yes", default, frozenset(writer.split(",")), why)
        if name == "-":
            entries[section, version] = Entry(kind, key.writers, {}, {})
        elif name.startswith("@"):
            entries[section, version].attributes[name[1:]] = key._replace(name=name[1:])
        else:
            entries[section, version].keys[name] = key
    return entries


def known(section: str) -> bool:
    """Whether the dictionary has this section in any version."""
    return any(name == section for name, _ in read())


# --- types ----------------------------------------------------------------------------------------------------------

_FINGERPRINT = r"SHA256:[A-Za-z0-9+/]{43}"
_PATTERNS = {
    "person": re.compile(r"[^\s@]+@[^\s@]+"),
    "fingerprint": re.compile(_FINGERPRINT),
    "queue": re.compile(rf"{grammar.NAME.pattern}@{_FINGERPRINT}"),
    "name": grammar.NAME,
    "id": grammar.ID,
    "path": re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\x00]+", re.S),
    "glob": re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\x00]+", re.S),
    "commit": re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "digest": re.compile(r"sha256:[0-9a-f]{64}"),
    "word": re.compile(r"[A-Za-z][A-Za-z_-]*"),
    "state": re.compile("|".join(STATES)),
    "age": re.compile("age"),
    "indices": arrays.PATTERN,
    "screen": re.compile(r"[1-9][0-9]{0,2}x[1-9][0-9]{0,2}"),
    "load": re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?"),
    "recipient": re.compile(r"age1[02-9ac-hj-np-z]{58}|ssh-(?:ed25519|rsa) [A-Za-z0-9+/]+={0,2}"),
}
_READERS: dict[str, Callable[[str], int]] = {"duration": clock.duration, "size": clock.size, "moment": clock.parse}
_SHOWN = 60  # characters of a wrong value that are shown


def objection(key: Key, value: Value) -> str:
    """What is wrong with a value of cit TOML for this key; empty where nothing is."""
    if key.type in ("any", "toml"):
        return ""
    if key.type == "int":
        return _number(key, value) if isinstance(value, int) and not isinstance(value, (bool, body.Time)) else "is no integer"
    if key.type == "time":
        return "" if isinstance(value, body.Time) else "is no UTC time"
    if key.type == "bool":
        return "" if isinstance(value, bool) else "is neither true nor false"
    if key.type == "array":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return "is no list of strings"
        return next((f"has {str(item)[:_SHOWN]!r}, which is none of {key.unit}" for item in value if not _is_one(key.unit, str(item))), "")
    return text_objection(key, value) if isinstance(value, str) else "is no string"


def text_objection(key: Key, text: str) -> str:
    """The same for a TSV column or an attribute, whose values are all text."""
    if key.type == "int":
        return _number(key, int(text)) if re.fullmatch(r"-?[0-9]{1,18}", text, re.A) else f"is no integer: {text[:_SHOWN]!r}"
    if key.type in _READERS:
        try:
            _READERS[key.type](text)
        except CitError as error:
            return f"is wrong: {error.what}"
        return ""
    if "|" in key.type:
        return "" if _is_one(key.type, text) else f"is {text[:_SHOWN]!r}, not one of {key.type.replace('|', ', ')}"
    pattern = _PATTERNS.get(key.type)
    if pattern is not None and not pattern.fullmatch(text):
        return f"is no {key.type}: {text[:_SHOWN]!r}"
    return _indices(text) if key.type == "indices" else ""


def _indices(text: str) -> str:
    try:
        arrays.parse(text)
    except CitError as error:
        return f"is wrong: {error.what}"
    return ""


def _is_one(words: str, text: str) -> bool:
    return "|" not in words or text in words.split("|")


def _number(key: Key, number: int) -> str:
    low, dots, high = key.unit.partition("..")
    if not dots:
        low = "" if key.unit == "-" else "0"
    if low and number < int(low):
        return f"is {number}, less than {low}"
    return f"is {number}, more than {high}" if high and number > int(high) else ""
