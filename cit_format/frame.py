"""Framed streams, by which a cut is never an end (docs/format/stream.md).

@cit-stream 1 DOCUMENTS BYTES SHA256 CLOCK
exactly BYTES bytes with that digest, then the end
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from . import clock
from .errors import CONFIG, DATA, CitError

_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_FRAME = re.compile(rb"@cit-stream 1 (0|[1-9][0-9]{0,9}) (0|[1-9][0-9]{0,14}) ([0-9a-f]{64}) (" + _TIME + rb")\n")
_START = b"@cit-stream "
_HEAD = re.compile(rb"^@cit(?: |$)", re.M)
LIMIT = 1 << 30  # bytes of a frame


def framed(stream: bytes, documents: int) -> bytes:
    """The stream with its frame before it."""
    return f"@cit-stream 1 {documents} {len(stream)} {hashlib.sha256(stream).hexdigest()} {clock.iso(clock.now())}\n".encode() + stream


def unframed(read: Callable[[int], bytes], acts: bool = True, strict: bool = False, documents: int = 0, size: int = LIMIT) -> Callable[[int], bytes]:
    """A `read` of what is within the frame, all of it checked first; of a stream without a frame, the stream itself.

    Errors: 65 where bytes are missing, too many or others; 78 where the clocks are more than 5 minutes apart. Who only
    looks at the stream (`acts` is false) does not compare clocks. `strict`: 65 where there is no frame. `documents` (0: any
    number) and `size` in bytes are the most that is taken: 65 before any of it is read.
    """
    start = b""
    while len(start) < len(_START) and _START.startswith(start):
        more = read(len(_START) - len(start))
        if not more:
            break
        start += more
    if start != _START:
        if strict:
            raise CitError(DATA, "no frame", "cit-format frame puts one before a stream")
        return _after(start, read)
    line = start
    while not line.endswith(b"\n") and len(line) < 200:
        byte = read(1)
        if not byte:
            break
        line += byte
    match = _FRAME.fullmatch(line)
    if match is None:
        raise CitError(DATA, "malformed @cit-stream line", "it reads: @cit-stream 1 DOCUMENTS BYTES SHA256 CLOCK")
    count, bytes_wanted = int(match[1]), int(match[2])
    if bytes_wanted > size:
        raise CitError(DATA, f"a frame over {size >> 20} MiB", "send the documents in several streams")
    if documents and count > documents:
        raise CitError(DATA, f"a frame of {count} documents, over {documents}", "send them in several streams")
    apart = abs(clock.parse(match[4].decode()) - clock.now())
    if acts and apart > 5 * clock.MINUTE:
        raise CitError(CONFIG, f"the clocks are {clock.duration_text(apart)} apart", "set the clocks of both machines")
    pieces, missing = [], bytes_wanted
    while missing:
        piece = read(min(missing, 1 << 20))
        if not piece:
            raise CitError(DATA, f"cut off: {bytes_wanted - missing} of {bytes_wanted} bytes arrived", "nothing of it was used; send it again")
        pieces.append(piece)
        missing -= len(piece)
    if read(1):
        raise CitError(DATA, "bytes after the end of the frame", "one frame is one stream; nothing of it was used")
    whole = b"".join(pieces)
    if hashlib.sha256(whole).hexdigest().encode() != match[3]:
        raise CitError(DATA, "the stream's sha256 is another than its frame says", "nothing of it was used; send it again")
    found = sum(1 for _ in _HEAD.finditer(whole))
    if found != count:
        raise CitError(DATA, f"{found} documents where the frame says {count}", "nothing of it was used; who framed it counted wrong")
    rest = [whole]
    return lambda _size: rest.pop() if rest else b""


def _after(start: bytes, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    first = [start]
    return lambda size: first.pop() if first and first[0] else read(size)
