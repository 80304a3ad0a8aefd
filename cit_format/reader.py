"""The streaming reader of cit files: bytes in, sections or documents out, memory bounded by one section (docs/format/index.md).

`scan` yields what it meets; `documents` puts whole documents together. A faulty document becomes one `Faulty` and
ends before the next line that begins a document; the others go on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import NamedTuple, Union

from . import body as bodies
from . import grammar
from .document import Document, Section
from .errors import DATA, CitError
from .grammar import fault

CHUNK = 1 << 20  # bytes asked for at a time
KEPT = 1 << 20  # bytes of a faulty document that are kept to show


class Limits(NamedTuple):
    """Largest sizes that are read, in bytes, and the most sections of a document."""

    document: int = 64 << 20
    section: int = 16 << 20
    sections: int = 10_000


LIMITS = Limits()


class Head(NamedTuple):
    """A document begins."""

    id: str
    name: str
    raw: bytes


class End(NamedTuple):
    """A document is complete."""

    size: int  # bytes


class Faulty(NamedTuple):
    """What could not be read: the error, and as much as is worth keeping."""

    error: CitError
    first: bytes  # its first MiB at most
    size: int  # bytes of the whole
    sha256: str  # of the whole, lower-case hex


Item = Union[Head, Section, End, Faulty]

_CONTROL = re.compile(rb"\n@(?:cit|begin|end)[ \n]")
_NEXT = re.compile(rb"\n@cit[ \n]")
_PARTIAL = 7  # bytes of one of these that may stand at the end of what has been read


class _Buffer:
    """Bytes of a stream: what is not taken begins at `at`, the byte before it is kept; `line` counts from 1."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read
        self.data = bytearray(b"\n")
        self.at = 1
        self.over = False
        self.line = 1

    def more(self) -> bool:
        """Read on; false at the end of the stream."""
        if not self.over:
            del self.data[: self.at - 1]
            self.at = 1
            chunk = self.read(CHUNK)
            self.data += chunk
            self.over = not chunk
        return not self.over

    @property
    def ended(self) -> bool:
        """Whether all of the stream is taken."""
        return self.over and self.at == len(self.data)

    def take(self, size: int) -> bytes:
        piece = bytes(memoryview(self.data)[self.at : self.at + size])
        self.at += size
        self.line += piece.count(b"\n")
        return piece

    def control_line(self, between: bool = False) -> bytes:
        """The next line without its newline, not yet taken; empty at the end of the stream.

        `between` sections an incomplete line that begins the next document is given too: it is that document's fault.
        """
        start = 0
        while True:
            stop = self.data.find(b"\n", self.at + start)
            start = len(self.data) - self.at
            if (stop - self.at if stop >= 0 else start) > grammar.LINE_LIMIT:
                raise fault("a line over 1 MiB where a control line is expected", "control lines are short; is this a cit file?")
            if stop >= 0:
                return bytes(self.data[self.at : stop])
            if not self.more():
                rest = bytes(self.data[self.at :])
                if not rest or (between and (rest == b"@cit" or rest.startswith(b"@cit "))):
                    return rest
                raise fault("the last newline is missing", "was the file cut off? a document ends with a whole line")

    def body(self, limit: int) -> int:
        """Length of the body that starts here, up to the next control line."""
        start = -1
        while True:
            match = _CONTROL.search(self.data, self.at + start)
            size = (match.start() + 1 if match else len(self.data) - _PARTIAL) - self.at
            if size > limit:
                raise fault(f"a section over {limit >> 20} MiB", "keep large data as a file and put its digest into the document")
            if match:
                return size
            start = max(-1, size)
            if not self.more():
                raise fault("the last section is not closed", "is it still being written, or was the file cut off?")


def _check_text(raw: bytes) -> None:
    if b"\r" in raw:
        raise fault("a carriage return", "lines end with a newline alone; other bytes go into base64")
    if b"\0" in raw:
        raise fault("a NUL byte", "bytes that are no text go into base64")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise fault("bytes that are no UTF-8", "bytes that are no text go into base64") from None


class _Scanner:
    def __init__(self, read: Callable[[int], bytes], limits: Limits, keep: bool) -> None:
        self.buffer = _Buffer(read)
        self.limits = limits
        self.keep = keep
        self.pieces: list[bytes] = []  # the bytes of the present document, where they are kept
        self.label = ""

    def taken(self, size: int) -> bytes:
        piece = self.buffer.take(size)
        if self.keep:
            self.pieces.append(piece)
        return piece

    def items(self) -> Iterator[Item]:
        buffer = self.buffer
        while True:
            self.pieces.clear()
            self.label = ""
            begun = False
            at = buffer.line
            try:
                line = buffer.control_line()
                if not line and buffer.ended:
                    return
                if not line.startswith(b"@cit"):
                    what = "a byte-order mark" if line[:3] == b"\xef\xbb\xbf" else "a line that begins no document"
                    raise fault(what, "a document begins with a line: @cit 1 ID NAME")
                _check_text(line)
                identity, name = grammar.head(line)
                self.label = f"{identity[-6:]}-{name}"
                yield Head(identity, name, self.taken(len(line) + 1))
                begun = True
                size = len(line) + 1
                number = 0
                while True:
                    at = buffer.line
                    line = buffer.control_line(between=True)
                    if line.startswith(b"@cit ") or line == b"@cit" or (not line and buffer.ended):
                        break
                    number += 1
                    if number > self.limits.sections:
                        raise fault(f"more than {self.limits.sections} sections", "put rows into one section")
                    section = self.section(line, number, size)
                    size = section.end
                    if size > self.limits.document:
                        raise fault(f"a document over {self.limits.document >> 20} MiB", "keep large data as files of their own")
                    yield section
                yield End(size)
            except CitError as error:
                error.where = ": ".join(filter(None, (self.label, f"line {at}")))
                yield self.skipped(error, begun)

    def section(self, line: bytes, number: int, start: int) -> Section:
        if not line.startswith(b"@begin"):
            what = "an @end without its @begin" if line.startswith(b"@end") else "text between sections"
            raise fault(what, "after @end comes @begin, @cit or the end; a body line that looks like a control line gets one more @")
        _check_text(line)
        kind, version, form, written = grammar.begin(line)
        self.taken(len(line) + 1)
        opened = self.buffer.line
        size = self.buffer.body(self.limits.section)
        raw = self.taken(size)
        _check_text(raw)
        if form == "tsv":
            bodies.check_tsv_lines(raw)
        if written and "enc=base64" in written.split(" "):
            bodies.from_base64(raw)
        closing = self.buffer.control_line()
        if not closing.startswith(b"@end"):
            hint = "in a body, a line that looks like a control line begins with one more @"
            raise fault(f"section {kind}, opened on line {opened - 1}, is not closed", hint)
        if grammar.end(closing) != kind:
            raise fault(f"section {kind} is closed as {grammar.end(closing)[:80]}", f"its last line reads: @end {kind}")
        self.taken(len(closing) + 1)
        end = start + len(line) + 1 + size + len(closing) + 1
        return Section(number, kind, version, form, written, start, end, raw)

    def skipped(self, error: CitError, begun: bool) -> Faulty:
        """Take all before the next line that begins a document. The line at fault is one where this document had begun."""
        buffer = self.buffer
        first = b"".join(self.pieces)
        size, digest = len(first), hashlib.sha256(first)
        while True:
            match = _NEXT.search(buffer.data, buffer.at - (begun or size > 0))
            stop = match.start() + 1 if match else len(buffer.data) - (0 if buffer.over else _PARTIAL)
            piece = buffer.take(max(0, stop - buffer.at))
            size += len(piece)
            digest.update(piece)
            first = first[:KEPT] + piece[: max(0, KEPT - len(first))]
            if match or buffer.ended:
                return Faulty(error, first, size, digest.hexdigest())
            buffer.more()


def scan(read: Callable[[int], bytes], limits: Limits = LIMITS) -> Iterator[Item]:
    """Heads, sections and ends of the documents of a stream, in order, with a `Faulty` where one does not parse.

    `read(n)` gives up to n bytes and nothing at the end, as `sys.stdin.buffer.raw.read` does.
    """
    return _Scanner(read, limits, keep=False).items()


def documents(read: Callable[[int], bytes], limits: Limits = LIMITS) -> Iterator[Document | Faulty]:
    """The documents of a stream, whole; a faulty one as `Faulty`. Memory: one document."""
    head: Head | None = None
    sections: list[Section] = []
    scanner = _Scanner(read, limits, keep=True)
    for item in scanner.items():
        if isinstance(item, Section):
            sections.append(item)
        elif isinstance(item, Head):
            head, sections = item, []
        elif isinstance(item, End):
            assert head is not None
            yield Document(head.id, head.name, b"".join(scanner.pieces), sections)
        else:
            yield item


def parse(raw: bytes, limits: Limits = LIMITS) -> Document:
    """The one document that these bytes are; CitError 65 where they are none, several or faulty."""
    found = list(documents(reader_of(raw), limits))
    for item in found:
        if isinstance(item, Faulty):
            raise item.error
    if len(found) != 1:
        raise CitError(DATA, f"{len(found)} documents where one is expected", "a document's file holds it alone")
    document = found[0]
    assert isinstance(document, Document)
    return document


def reader_of(raw: bytes) -> Callable[[int], bytes]:
    """A `read` for bytes in memory."""
    return BytesIO(raw).read
