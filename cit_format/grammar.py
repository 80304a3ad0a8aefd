"""Control lines, quoting and attributes of the cit file, version 1 (docs/format/index.md).

Pure: bytes in, values out. One accepted form for everything, so that two writers that mean the same write the same bytes.
"""

from __future__ import annotations

import re

from .errors import DATA, CitError

LINE_LIMIT = 1 << 20  # bytes of a control line or a TSV line

CONTROL = re.compile(rb"@(?:cit|begin|end)(?= |$)")
ID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_HEAD = re.compile(rb"@cit ([1-9][0-9]*) ([0-7][0-9a-hjkmnp-tv-z]{25}) ([a-z0-9][a-z0-9._-]{0,63})")
_BEGIN = re.compile(
    rb"@begin ([a-z][a-z0-9-]*) ([1-9][0-9]*) ([a-z][a-z0-9.+-]*)"
    rb"((?: [a-z][a-z0-9-]*=(?:[^\x00-\x20\x7f%]|%(?:[01][0-9A-F]|20|25|7F))*)*)"
)
_END = re.compile(rb"@end ([a-z][a-z0-9-]*)")
_TO_QUOTE = re.compile(rb"^(@+(?:cit|begin|end)(?: |$))", re.M)
_TO_UNQUOTE = re.compile(rb"^@(@+(?:cit|begin|end)(?: |$))", re.M)
_ESCAPED = re.compile(r"%([0-9A-F]{2})")
_TO_ESCAPE = re.compile(r"[\x00-\x20\x7f%]")


def fault(what: str, hint: str = "") -> CitError:
    """A refusal of bytes that are no cit file: status 65."""
    return CitError(DATA, what, hint)


def head(line: bytes) -> tuple[str, str]:
    """ID and NAME of a line `@cit 1 ID NAME`; else CitError 65 that says which part is wrong."""
    match = _HEAD.fullmatch(line)
    if match is None:
        raise fault("malformed @cit line", "it reads: @cit 1 ID NAME; ID is 26 of lower-case base32, NAME of a-z 0-9 . _ -")
    if match[1] != b"1":
        raise fault(f"unknown version {match[1][:20].decode()} of the cit file", "this program reads version 1")
    return match[2].decode(), match[3].decode()


def begin(line: bytes) -> tuple[str, str, str, str]:
    """SECTION, VERSION, FORMAT and the attributes as written (without the leading blank) of a `@begin` line."""
    match = _BEGIN.fullmatch(line)
    if match is None:
        raise fault(
            "malformed @begin line",
            "it reads: @begin SECTION VERSION FORMAT [key=value ...], single blanks; in a value a blank is %20, a % is %25",
        )
    kind, version, form, written = match.groups()
    try:
        text = written[1:].decode()
    except UnicodeDecodeError:
        raise fault("bytes that are no UTF-8 in a control line", "values are UTF-8") from None
    if form == b"tar" and " enc=" not in f" {text}":
        raise fault("a tar that is not encoded", "a tar has enc=base64, or enc=age")
    if text:
        keys = [pair.partition("=")[0] for pair in text.split(" ")]
        if len(set(keys)) != len(keys):
            raise fault("an attribute is given twice", "each key once a line")
        if "enc" in keys and not {"enc=base64", "enc=age"}.intersection(text.split(" ")):
            raise fault("unknown encoding", "enc is base64 or age")
    return kind.decode(), version.decode(), form.decode(), text


def end(line: bytes) -> str:
    """SECTION of an `@end` line."""
    match = _END.fullmatch(line)
    if match is None:
        raise fault("malformed @end line", "it reads: @end SECTION")
    return match[1].decode()


def attributes(text: str) -> dict[str, str]:
    """The decoded attributes of a control line, in the order written."""
    pairs = (pair.partition("=") for pair in text.split(" ")) if text else ()
    return {key: _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value) for key, _, value in pairs}


def written_attributes(values: dict[str, str]) -> str:
    """The reverse of `attributes`: `key=value` pairs with single blanks; blanks, % and controls escaped."""
    return " ".join(f"{key}={_TO_ESCAPE.sub(lambda match: f'%{ord(match[0]):02X}', value)}" for key, value in values.items())


def quoted(body: bytes) -> bytes:
    """The body as it stands in a file: each line that looks like a control line gets one more `@`."""
    return _TO_QUOTE.sub(rb"@\1", body) if b"@" in body else body


def unquoted(body: bytes) -> bytes:
    """The reverse of `quoted`."""
    return _TO_UNQUOTE.sub(rb"\1", body) if b"@@" in body else body
