"""Appending a section to a document's file, all or nothing (docs/format/index.md, 'Appending').

The file is locked, and looked at again in case another was put in its place meanwhile. What a killed writer left torn at
its end goes into FILE.torn-TIME first. One write, one fsync; where the disk is full the file is as it was.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

from . import clock, grammar, messages, reader, trust
from .document import Document, Section, section
from .errors import DENIED, IO, NOT_FOUND, USAGE, CitError
from .reader import Faulty, Head
from .spool import sync_directory, sync_files, write_all

_CLOSED = re.compile(rb"^@end [a-z][a-z0-9-]*\n", re.M)


def append(path: Path, piece: Callable[[Document], bytes]) -> Document:
    """Append the section that `piece` makes of the document in `path`: the longer document, on disk. 66, 65 or 74 otherwise."""
    fd = _locked(path)
    try:
        found = _mended(fd, path)
        longer = found.extended(piece(found))
        reader.parse(longer.raw)
        try:
            write_all(fd, longer.raw[len(found.raw) :], str(path))
            os.fsync(fd)
        except (CitError, OSError) as error:
            os.ftruncate(fd, len(found.raw))
            raise error if isinstance(error, CitError) else CitError(IO, f"cannot sync {path}: {error.strerror}", "nothing was added") from error
        return longer
    finally:
        os.close(fd)


def _locked(path: Path) -> int:
    """The file, open at its end and locked, and still the one of this name; the caller closes it."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CitError(NOT_FOUND, "no such file", "a document is made by cit-trigger, or typed by hand", str(path)) from None
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass  # the next open says so
        os.close(fd)


def _mended(fd: int, path: Path) -> Document:
    """The document in the file, once a torn tail is put aside."""
    raw = os.pread(fd, os.fstat(fd).st_size, 0)
    try:
        return reader.parse(raw)
    except CitError as error:
        whole = whole_part(raw)
        tail = raw[whole:]
        if not whole or not is_torn(tail):
            error.where = error.where or str(path)
            raise
    aside = path.with_name(f"{path.name}.torn-{clock.iso_ms(clock.now())}")
    kept = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(kept, tail, str(aside))
    finally:
        os.close(kept)
    sync_files([str(aside)])
    sync_directory(path.parent)
    os.ftruncate(fd, whole)
    messages.tell("warning", f"a torn tail of {len(tail)} bytes is put aside", str(path), f"it is in {aside}")
    return reader.parse(raw[:whole])


def whole_part(raw: bytes) -> int:
    """How many bytes at the beginning are a document with whole sections; 0 where there is none."""
    size = 0
    for item in reader.scan(reader.reader_of(raw)):
        if isinstance(item, Head):
            if size:
                return 0  # a second document is no torn tail
            size = len(item.raw)
        elif isinstance(item, Section):
            size = item.end
        elif isinstance(item, Faulty):
            break
    return size


def is_torn(tail: bytes) -> bool:
    """Whether bytes after whole sections may be the beginning of one that was being written: it closes nothing, begins no document."""
    start = tail.rstrip(b"\0")  # after a power failure a file's last blocks may be empty
    begun = start.startswith(b"@begin ") or b"@begin ".startswith(start)
    return begun and not _CLOSED.search(start) and b"\n@begin " not in start and b"\n@cit " not in start


def allowed(document: Document, kind: str, piece: bytes) -> bytes:
    """The piece, where it can go to the document's end; 77 where it would make a signed job refused."""
    if document.kind == "job" and kind in trust.SUBMITTED and document.find("signature"):
        hint = "what is not signed is not run; make the job anew: cit requeue --edit"
        raise CitError(DENIED, f"section {kind} would stand after the signature", hint, document.label)
    return piece


def added(kind: str, form: str, body: bytes, given: list[str]) -> bytes:
    """The bytes of a section from words of a command line, `key=value` each; 2 where they make none."""
    pairs = [word.partition("=") for word in given]
    if not all(sign for _, sign, _ in pairs):
        raise CitError(USAGE, "an attribute is not key=value", "cit-format add SECTION FORMAT [key=value]... --file BODY")
    if len({key for key, _, _ in pairs}) != len(pairs):
        raise CitError(USAGE, "an attribute is given twice", "each key once")
    piece = section(kind, form, body, 1, **{key: value for key, _, value in pairs})
    try:
        grammar.begin(piece.split(b"\n", 1)[0])
    except CitError as error:
        raise CitError(USAGE, error.what, error.hint) from None
    reader.parse(b"@cit 1 00000000000000000000000000 x\n" + piece)
    return piece
