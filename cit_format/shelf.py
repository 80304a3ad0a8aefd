"""Shelves: directories in which a document's name is enough, as nothing is `seen` there: done, refused (docs/directories.md).

    TEMPORARY/PID~MOMENT~N   the bytes, synced
    SHELF/NAME.cit           the document

A name that is taken stays. Equal bytes, or a prefix of what lies there, are a duplicate; a longer copy replaces its prefix;
of two that fork the first one stays and the caller is told. `instead` says what else may be replaced: by path the very bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .spool import Lock, make_directory, rename_new, sync_directory, sync_files, write_all

NEW, SAME, LONGER, FORK = "new", "same", "longer", "fork"
_NOTHING: Mapping[str, bytes] = {}


def shelve(temporary: Path, items: Sequence[tuple[str, bytes]], instead: Mapping[str, bytes] = _NOTHING) -> list[str]:
    """Put a group of documents, (path, bytes) each, on their shelves; all is durable when this returns.

    NEW, SAME, LONGER or FORK for each, in order. `temporary` lies on the shelves' file system. Errors: 74.
    """
    shelves = {os.path.dirname(path) for path, _ in items}
    for directory in (str(temporary), *shelves):
        make_directory(Path(directory))
    outcomes = [compared(path, raw, instead) for path, raw in items]
    own = f"{temporary}/{os.getpid()}~{time.time_ns()}~"
    beside: dict[int, str] = {}
    try:
        for number, (_, raw) in enumerate(items):
            if outcomes[number] in (NEW, LONGER):
                beside[number] = f"{own}{number}"
                _write(beside[number], raw)
        if beside:
            sync_files(list(beside.values()))
            with Lock(temporary.parent / ".shelf"):
                for number in list(beside):
                    outcomes[number] = _name(beside[number], *items[number], instead)
                    del beside[number]
    finally:
        for path in beside.values():
            os.unlink(path)
    for directory in shelves:
        sync_directory(directory)
    return outcomes


def compared(path: str, raw: bytes, instead: Mapping[str, bytes] = _NOTHING) -> str:
    """What these bytes are beside those that lie at `path`: NEW, SAME (or a prefix), LONGER, or a FORK."""
    try:
        with open(path, "rb") as stream:
            there = stream.read()
    except FileNotFoundError:
        return NEW
    if there.startswith(raw):
        return SAME
    return LONGER if raw.startswith(there) or instead.get(path) == there else FORK


def _write(path: str, raw: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, raw, path)
    finally:
        os.close(fd)


def _name(beside: str, path: str, raw: bytes, instead: Mapping[str, bytes]) -> str:
    """Give it its name. The caller holds the lock, so that what lies there does not grow meanwhile."""
    try:
        rename_new(beside, path)
        return NEW
    except FileExistsError:
        outcome = compared(path, raw, instead)
    if outcome == LONGER:
        os.rename(beside, path)
    else:
        os.unlink(beside)
    return outcome
