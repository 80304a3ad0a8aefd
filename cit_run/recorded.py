"""Reading what lies in a job's record, into which the job can write as well: whatever it has put there, nothing waits and nothing breaks."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TypeVar

from .cit_format import body
from .cit_format.errors import CitError

MOST = 1 << 20  # bytes of a file of rows
WHOLE = 1 << 28  # bytes of a document, or of rows of which there may be many
LISTED = 15 << 20  # bytes of rows in one section: a little less than a section may have
Row = TypeVar("Row", bound=Sequence[str])


def read(path: str, most: int = MOST) -> bytes | None:
    """What a plain file holds; None where it is missing, larger, or no plain file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > most:
            return None
        with open(fd, "rb", closefd=False) as stream:
            return stream.read(most)
    finally:
        os.close(fd)


def rows(path: str, most: int = MOST) -> list[list[str]]:
    """The rows that it holds; none where it holds none."""
    raw = read(path, most)
    try:
        return body.rows(raw) if raw is not None else []
    except (CitError, ValueError):
        return []


def listed(found: Sequence[Row], most: int = LISTED) -> tuple[list[Row], int]:
    """As many rows as one section can have, and how many are left out."""
    size, fitting = 0, []
    for row in found:
        size += sum(len(column.encode()) + 1 for column in row)
        if size > most:
            break
        fitting.append(row)
    return fitting, len(found) - len(fitting)
