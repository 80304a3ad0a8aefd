"""Bodies of sections: base64, TSV and cit TOML (docs/format/index.md). Pure."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Union

from . import clock
from .errors import CitError
from .grammar import LINE_LIMIT, fault

Value = Union[str, int, bool, "Time", "list[str]", "list[int]"]


class Time(int):
    """A moment in microseconds since 1970-01-01 UTC; in cit TOML a UTC time of whole seconds."""

    def __str__(self) -> str:
        return clock.iso(self)

    __repr__ = __str__


# --- base64, in lines of 76 ---------------------------------------------------------------------------------------


def from_base64(body: bytes) -> bytes:
    """The bytes that a canonical base64 body means: lines of 76, no blank line, spare bits zero; else CitError 65."""
    packed = body.replace(b"\n", b"")
    try:
        plain = binascii.a2b_base64(packed)
    except ValueError:
        raise fault("a body that is no base64", "enc=base64 is canonical: lines of 76 characters, padded") from None
    lines = (len(packed) + 75) // 76
    full = len(packed) // 76
    newlines = body.count(b"\n") == lines and body[76 : full * 77 : 77] == b"\n" * full and body[-1:] in (b"", b"\n")
    if binascii.b2a_base64(plain, newline=False) != packed or not newlines:
        raise fault("base64 that is not canonical", "lines of 76 characters, no blank line, padded, spare bits zero")
    return plain


def to_base64(plain: bytes) -> bytes:
    """The canonical base64 body of `plain`."""
    packed = binascii.b2a_base64(plain, newline=False)
    return b"".join(packed[at : at + 76] + b"\n" for at in range(0, len(packed), 76))


# --- TSV ----------------------------------------------------------------------------------------------------------

_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_PLAIN = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
_TSV_ESCAPE = re.compile(r"[\t\n\r\\]")
_TSV_PLAIN = re.compile(r"\\(.?)")


def _unescape(match: re.Match[str]) -> str:
    try:
        return _PLAIN[match[0]]
    except KeyError:
        raise fault(f"unknown escape {match[0]} in TSV", "the escapes are \\t \\n \\r \\\\") from None


def rows(body: bytes) -> list[list[str]]:
    """The rows of a TSV body, unescaped."""
    text = body.decode()
    table = [line.split("\t") for line in text.split("\n")[:-1]]
    return [[_TSV_PLAIN.sub(_unescape, field) for field in row] for row in table] if "\\" in text else table


def row(*fields: str) -> bytes:
    """One TSV line, escaped, with its newline."""
    line = "\t".join(fields)
    if "\\" in line or line.count("\t") >= len(fields) or "\n" in line or "\r" in line:
        line = "\t".join(_TSV_ESCAPE.sub(lambda match: _ESCAPES[match[0]], field) for field in fields)
    return line.encode() + b"\n"


def check_tsv_lines(body: bytes) -> None:
    """CitError 65 where a TSV line is longer than 1 MiB."""
    if len(body) > LINE_LIMIT and max(map(len, body.split(b"\n"))) > LINE_LIMIT:
        raise fault("a TSV line over 1 MiB", "put long values into a section of their own")


# --- cit TOML: one `key = value` a line ---------------------------------------------------------------------------

TABLE_LIMIT = 1 << 20  # bytes of a TOML body
TABLE_LINES = 10_000

_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
_PLAIN_STRING = rf'"[^"\\{_CONTROLS}]*"'
_INTEGER = r"[+-]?(?:0|[1-9][0-9]*(?:_[0-9]+){0,18})"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}[Zz]"
_WORD = rf"(?:{_TIME}|{_INTEGER}|true|false)"
_END = rf"[ \t]*(#[^{_CONTROLS}]*)?"
_KEY = r"[ \t]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*"
# Strings with escapes and arrays are read piece by piece: one pattern for a whole line would take memory for each repetition.
_SIMPLE_LINE = re.compile(rf"{_KEY}({_PLAIN_STRING}|{_WORD}){_END}")
_LINE_START = re.compile(_KEY)
_LINE_END = re.compile(_END)
_SCALAR = re.compile(rf"{_PLAIN_STRING}|{_WORD}")
_COMMA = re.compile(r"[ \t]*,?[ \t]*")
_STRING_STOP = re.compile(rf'["\\{_CONTROLS}]')
_TOML_PLAIN = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_TOML_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_TOML_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f]')


class _NotToml(Exception):
    """The line at hand is none of cit TOML."""


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 1:
        if code not in _TOML_PLAIN:
            raise _NotToml
        return _TOML_PLAIN[code]
    point = int(code[1:], 16)
    if 0xD800 <= point <= 0xDFFF or point > 0x10FFFF:
        raise fault(f"\\{code} is no character", "TOML allows Unicode scalar values only")
    return chr(point)


def _simple(text: str) -> str | int | bool | Time:
    """What a string without escapes, a time, an integer or a truth value means."""
    if text[0] == '"':
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if text[-1] in "Zz":
        return Time(clock.parse(text[:10] + "T" + text[11:19] + "Z"))
    digits = text.replace("_", "")
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 63:
        raise fault("an integer beyond 64 bits", "TOML integers have 64 bits")
    return int(digits)


def _scalar(text: str, at: int) -> tuple[str | int | bool | Time, int]:
    """The scalar that begins at `at`, and where it ends."""
    match = _SCALAR.match(text, at)
    if match:
        return _simple(match[0]), match.end()
    if text[at : at + 1] != '"':
        raise _NotToml
    stop = at + 1
    while True:
        match = _STRING_STOP.search(text, stop)
        if match is None or match[0] not in '"\\':
            raise _NotToml
        if match[0] == '"':
            return _TOML_ESCAPED.sub(_character, text[at + 1 : match.start()]), match.end()
        stop = match.start() + 2


def _array(text: str, at: int) -> tuple[list[object], int]:
    """The one-line array whose first element may begin at `at`, and where it ends."""
    items: list[object] = []
    separated = True
    while True:
        gap = _COMMA.match(text, at)
        assert gap is not None
        separated = separated if not items else "," in gap[0]
        if not items and "," in gap[0]:
            raise _NotToml
        at = gap.end()
        if text[at : at + 1] == "]":
            return items, at + 1
        if not separated:
            raise _NotToml
        item, at = _scalar(text, at)
        items.append(item)


def table_line(text: str) -> tuple[str, Value, str] | None:
    """Key, value and comment of one line of cit TOML; None for a line that is empty but for a comment. 65 for any other."""
    simple = _SIMPLE_LINE.fullmatch(text)
    if simple:
        return simple[1], _simple(simple[2]), simple[3] or ""
    if _LINE_END.fullmatch(text):
        return None
    start = _LINE_START.match(text)
    try:
        if start is None:
            raise _NotToml
        value: Value
        if text[start.end() : start.end() + 1] == "[":
            value, at = _array(text, start.end() + 1)  # type: ignore[assignment]
        else:
            value, at = _scalar(text, start.end())
        end = _LINE_END.fullmatch(text, at)
        if end is None:
            raise _NotToml
        return start[1], value, end[1] or ""
    except _NotToml:
        raise fault("it is no cit TOML", 'one `key = value` a line: "string", 12, true, a UTC time, or [a, list]') from None


def table(body: bytes) -> dict[str, Value]:
    """The keys of a cit TOML body: strings, ints, bools, `Time`s and one-line lists of these; else CitError 65 with the line."""
    if len(body) > TABLE_LIMIT or body.count(b"\n") > TABLE_LINES:
        raise fault(f"a TOML section over {TABLE_LIMIT >> 20} MiB or {TABLE_LINES} lines", "put long lists into a section of TSV")
    values: dict[str, Value] = {}
    for number, text in enumerate(body.decode().split("\n"), 1):
        try:
            line = table_line(text)
        except CitError as error:
            error.what = f"line {number} of the section: {error.what}"
            raise
        if line is None:
            continue
        if line[0] in values:
            raise fault(f"key {line[0]} is given twice", "each key once")
        values[line[0]] = line[1]
    return values


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Time):
        return clock.iso(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_written, value)) + "]"
    text = str(value)
    return '"' + _TOML_ESCAPE.sub(lambda match: {'"': '\\"', "\\": "\\\\"}.get(match[0], f"\\u{ord(match[0]):04X}"), text) + '"'


def toml(values: Mapping[str, object]) -> bytes:
    """A cit TOML body of these values, in their order; None is left out."""
    return "".join(f"{key} = {_written(value)}\n" for key, value in values.items() if value is not None).encode()


def tsv(table_rows: Iterable[Iterable[str]]) -> bytes:
    """A TSV body of these rows."""
    return b"".join(row(*fields) for fields in table_rows)
