"""refused/: what was not accepted, with why beside it (docs/directories.md).

What parses keeps its bytes and gets an unsigned event. What does not becomes a new document `refused` with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Union

from . import clock, document, journal, names
from .document import Document
from .errors import CitError
from .reader import Faulty
from .shelf import FORK, shelve
from .spool import listing

Arrival = Union[Document, Faulty]


def explained(arrival: Arrival, error: CitError, stage: str) -> Document:
    """The document that is kept of what was refused: it says why itself."""
    event = document.section("event", "tsv", journal.event(stage, "refused", f"{error.status} {error.what}"))
    if isinstance(arrival, Document):
        return arrival.extended(event)
    note = document.section("note", "text", arrival.first, enc="base64", bytes=str(arrival.size), sha256=arrival.sha256)
    return document.new("refused", note, event)


def keep_all(directory: Path, refusals: Sequence[tuple[Arrival, CitError]], stage: str) -> list[Document]:
    """Keep what was refused in `directory`, on disk when this returns; the same bytes refused again are kept once."""
    kept = [explained(arrival, error, stage) for arrival, error in refusals]
    outcomes = shelve(directory / ".tmp", [(f"{directory}/{each.id}-{each.name}.cit", each.raw) for each in kept])
    for (arrival, _), each, outcome in zip(refusals, kept, outcomes):
        if outcome == FORK and isinstance(arrival, Document) and not _is_kept(directory, arrival):
            key = names.key(0, clock.now())  # another document of the same ID: both stay, apart by a KEY
            shelve(directory / ".tmp", [(f"{directory}/{key}.{each.id}-{each.name}.cit", each.raw)])
    return kept


def keep(directory: Path, arrival: Arrival, error: CitError, stage: str) -> Document:
    """`keep_all` of one."""
    return keep_all(directory, [(arrival, error)], stage)[0]


def _is_kept(directory: Path, arrival: Document) -> bool:
    mine = f"{arrival.id}-{arrival.name}.cit"
    return any(name.endswith(mine) and (directory / name).read_bytes().startswith(arrival.raw) for name in listing(directory))
