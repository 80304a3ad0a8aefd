"""A glance at a document: what its first section says, without reading the rest (docs/format/index.md).

What lies in a spool has been parsed when it came in. So its first section can be told by its lines alone, and a directory of
many documents is looked through quickly.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from . import body, grammar
from .body import Value
from .errors import CitError

FIRST = 1 << 13  # bytes that hold the first section of most documents
_BEGUN = re.compile(rb"@cit 1 [^\n]*\n@begin ([a-z][a-z0-9-]*) 1 toml\n")


class Glance(NamedTuple):
    """Kind and keys of a document's first section; empty where it is no TOML of version 1."""

    kind: str
    said: dict[str, Value]

    def text(self, key: str) -> str:
        """A key that is a string; empty where it is none."""
        value = self.said.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """A key that is a number or a time; 0 where it is none."""
        value = self.said.get(key)
        return value if isinstance(value, int) else 0


NOTHING = Glance("", {})


def at(path: Path | str) -> Glance:
    """A glance at a file. FileNotFoundError where it has moved on."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        start = os.pread(fd, FIRST, 0)
        if len(start) == FIRST and _end(start) < 0:
            start = os.pread(fd, body.TABLE_LIMIT + FIRST, 0)
    finally:
        os.close(fd)
    return of(start)


def of(raw: bytes) -> Glance:
    """A glance at the bytes of a document, or at as many as hold its first section."""
    begun, end = _BEGUN.match(raw), _end(raw)
    if begun is not None and end >= 0:
        with contextlib.suppress(CitError, UnicodeDecodeError):
            return Glance(begun[1].decode(), body.table(grammar.unquoted(raw[begun.end() : end + 1])))
    return NOTHING


def _end(raw: bytes) -> int:
    """Where the newline before the first `@end` is: in a body such a line would begin with one more `@`."""
    return raw.find(b"\n@end ")
