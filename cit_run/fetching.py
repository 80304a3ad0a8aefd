"""Bytes of the store, used: compared with their digest whenever they are, and brought here from where else they lie (docs/howto/artefacts.md).

Imports nothing that is not of this room or the standard library: it is part of a step beside a job.
"""

from __future__ import annotations

import hashlib
import os

from .cit_format import ask
from .cit_format.errors import DATA, CitError
from .storing import PIECE, sink


def opened(folder: str, digest: str) -> int:
    """Bytes of the store, seen to be as their digest says; the caller closes them. 65 where they are not."""
    fd = os.open(f"{folder}/{digest}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        sha256 = hashlib.sha256()
        while piece := os.read(fd, PIECE):
            sha256.update(piece)
        if sha256.hexdigest() != digest:
            raise CitError(DATA, f"store/{digest} holds other bytes", "remove it, and have it made again; cit stash --check looks at all")
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    except BaseException:
        os.close(fd)
        raise


def brought(folder: str, place: str, digest: str, size: int = -1, is_program: bool = False) -> None:
    """Bytes that a builder has, into our store, if they are as their digest says; of `size` bytes at most, where that is known. 65, 66, 69."""
    with sink(folder) as made:
        for piece in ask.pieces(place, "file", digest, "0"):
            made.write(piece)
            if 0 <= size < made.size:
                break
        if made.digest.hexdigest() != digest:
            raise CitError(DATA, f"{place} gave other bytes than {digest}", "nothing of them is kept")
        made.named(is_program)
