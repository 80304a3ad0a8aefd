"""refused/: what was not accepted, with why beside it (docs/directories.md).

What parses keeps its bytes and gets an unsigned event. What does not becomes a new document `refused` with a note.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import document, journal
from .document import Document
from .errors import CitError
from .reader import Faulty
from .spool import rename_new, sync_directory, write_all


def explained(arrival: Document | Faulty, error: CitError, stage: str) -> Document:
    """The document that is kept of what was refused: it says why itself."""
    detail = f"{error.status} {error.what}"
    event = document.section("event", "tsv", journal.event(stage, "refused", detail))
    if isinstance(arrival, Document):
        return arrival.extended(event)
    note = document.section("note", "text", arrival.first, enc="base64", bytes=str(arrival.size), sha256=arrival.sha256)
    return document.new("refused", note, event)


def keep(directory: Path, arrival: Document | Faulty, error: CitError, stage: str) -> Document:
    """Keep it in `directory`, synced; the same bytes refused again are kept once."""
    kept = explained(arrival, error, stage)
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{kept.id}-{kept.name}.cit"
    if path.exists():
        if isinstance(arrival, Document) and path.read_bytes().startswith(arrival.raw):
            return kept
        kept = document.new(
            "refused", document.section("note", "text", arrival.raw if isinstance(arrival, Document) else arrival.first, enc="base64")
        )
        path = directory / f"{kept.id}-{kept.name}.cit"
    beside = directory / f".{kept.id}.{os.getpid()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, kept.raw, str(path))
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        rename_new(beside, path)
    except FileExistsError:
        os.unlink(beside)
    sync_directory(directory)
    return kept
