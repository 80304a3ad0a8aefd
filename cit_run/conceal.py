"""A job's secrets hidden in its log when it has ended: asterisks in place of what it printed of them, byte for byte (docs/howto/secrets.md).

Reads: the directory of its secrets. Writes: its log, in place, so that its length stays. Run by the shim, when nothing of the job is
left and before the log's digest is taken; then the shim removes the directory. As a step: LOG DIRECTORY as arguments.
"""

from __future__ import annotations

import os
import sys

from .cit_format import masks, parts

PIECE = 1 << 20  # bytes gone over at a time


def conceal(log: str, sought: list[bytes]) -> None:
    """Put asterisks where these values (as `masks.values` has them) stand in a log, if there is one."""
    try:
        fd = parts.plain(log, os.O_RDWR)
    except OSError:
        return  # no log, or the job has put something else there
    hide(fd, sought)


def hide(fd: int, sought: list[bytes]) -> None:
    """The same in an open file, which is closed."""
    try:
        if sought:
            _hide(fd, sought)
    finally:
        os.close(fd)


def _hide(fd: int, sought: list[bytes]) -> None:
    more = 2 * len(sought[0])  # what begins in a piece ends in it, and what overlaps that too
    at = 0
    while True:
        data = os.pread(fd, PIECE + more, at)
        for start, end in masks.spots(data, sought):
            if start < PIECE:
                os.pwrite(fd, b"*" * (end - start), at + start)
        if len(data) < PIECE + more:
            return
        at += PIECE


def main() -> None:
    """The step after a job's program."""
    from . import own_record

    log, directory = sys.argv[1], sys.argv[2]
    own_record.concealed(log, masks.values(masks.contents(directory).values()))
