"""The one form of what a person typed: blanks, line ends, `key = value`, what the dictionary can fill in (docs/stages/format.md). Pure.

Nothing is guessed: a line that looks like a control line and is none stays, and the reader says what is wrong with it.
"""

from __future__ import annotations

import re

from . import body, clock, dictionary, reader
from .errors import NO, CitError

_DOCUMENT = re.compile(rb"^(?=@cit(?:[ \t]|$))", re.M)
_SIGNED = re.compile(rb"^@begin[ \t]+signature(?:[ \t]|$)", re.M)
_CONTROL = re.compile(rb"@(?:cit|begin|end)(?=[ \t]|$)")


def documents(raw: bytes) -> list[bytes]:
    """A stream as it was typed, split where documents begin; without a byte-order mark, with plain line ends."""
    raw = raw[3:] if raw.startswith(b"\xef\xbb\xbf") else raw
    raw = raw.replace(b"\r\n", b"\n")
    if raw and not raw.endswith(b"\n"):
        raw += b"\n"
    return [piece for piece in _DOCUMENT.split(raw) if piece.strip()]


def formatted(typed: bytes) -> bytes:
    """One document in its one form; 1 where it is signed, 65 where it is none."""
    if _SIGNED.search(typed):
        raise CitError(NO, "it is signed; any change would break the signature", "change a copy: cit requeue --edit, or sign it anew")
    lines: list[bytes] = []
    inside: list[bytes] | None = None  # the lines of the present body
    kind = form = b""
    for line in typed.split(b"\n")[:-1]:
        if inside is not None:
            if line.split() == [b"@end", kind]:
                lines += _table(inside) if form == b"toml" else inside
                lines.append(b"@end " + kind)
                inside = None
            else:
                inside.append(line)
        elif _CONTROL.match(line):
            words = _filled(line.split())
            lines.append(b" ".join(words))
            if words[0] == b"@begin" and len(words) >= 4:
                kind, form, inside = words[1], words[3], []
        elif line.strip():
            lines.append(line)
    raw = b"".join(line + b"\n" for line in [*lines, *(inside or [])])
    return reader.parse(raw).raw


def _filled(words: list[bytes]) -> list[bytes]:
    """The words of a control line with what follows from the others: a new ID; version and format of a known section."""
    if words[0] == b"@cit" and len(words) in (2, 3) and words[-1] != b"1":
        return [b"@cit", b"1", clock.new_id().encode(), words[-1]]
    if words[0] == b"@begin" and (len(words) == 2 or (len(words) > 2 and b"=" in words[2])):
        entry = dictionary.read().get((words[1].decode("utf-8", "replace"), "1"))
        if entry is not None:
            return [*words[:2], b"1", entry.form.encode(), *words[2:]]
    return words


def _table(lines: list[bytes]) -> list[bytes]:
    """Each `key=value` with single blanks, its value in the one form, its comment kept."""
    try:
        return [_line(line.decode()).encode() for line in lines]
    except UnicodeDecodeError:
        return lines  # the reader says so


def _line(text: str) -> str:
    try:
        line = body.table_line(text)
    except CitError:
        return text  # check calls it wrong
    if line is None:
        return text.strip()
    key, value, comment = line
    return body.toml({key: value}).decode()[:-1] + (f"  {comment.rstrip()}" if comment else "")
