"""Files of documents in a spool: read whole, or set aside into refused/ with why (docs/directories.md)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Union

from .cit_format import home, names, reader, refuse
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, CitError
from .cit_format.reader import KEPT, Faulty

Arrival = Union[Document, Faulty]


def read(path: Path) -> Arrival:
    """What lies at a path: a document, or why it is none. FileNotFoundError where it has moved on."""
    raw = path.read_bytes()
    try:
        return reader.parse(raw)
    except CitError as error:
        return Faulty(error, raw[:KEPT], len(raw), hashlib.sha256(raw).hexdigest())


def document(path: Path) -> Document:
    """The same where it must be a document; else its CitError."""
    found = read(path)
    if isinstance(found, Faulty):
        raise found.error
    return found


def set_aside(path: Path, refused: Path, arrival: Arrival, error: CitError, stage: str) -> None:
    """Move what lies at a path to `refused`, where it says why. After a kill in between it is done again, and kept once."""
    refuse.keep(refused, arrival, error, stage)
    path.unlink(missing_ok=True)


def job_of(name: str) -> str:
    """`COPY-NAME` of a file name: how logs call a job; what is left of an array is called as the array."""
    parts = names.parse(name)
    return f"{parts._replace(span=None).copy}-{parts.name}" if parts else name


def spool_of(wanted: str, queue: str | None) -> tuple[home.Queue | None, Path]:
    """The spool that --from or --to names, and the queue that it is of (None: no queue's).

    A word is a spool of `queue`; without any, of the queue or build account that we stand in, else of the default ones.
    Anything with a slash is a path. Errors: 66 where there is no such directory.
    """
    here = Path.cwd()
    if "/" in wanted:
        path = Path(wanted).absolute()
    elif queue is None and ((here / "queue.toml").exists() or (here / ".ready").exists()):
        path = here / wanted
    elif queue is None and wanted in ("finished", "outbox"):
        path = home.ensure() / wanted
    else:
        path = home.find_queue(queue).path / wanted
    if not path.is_dir():
        raise CitError(NOT_FOUND, f"no spool {path}", "a spool is a directory of a queue or of a build account")
    return (home.Queue(path.parent) if (path.parent / "queue.toml").exists() else None), path
