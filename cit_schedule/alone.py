"""One pass at a time over a spool: passes are short, so another one is waited for (docs/directories.md)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from .cit_format.errors import LATER, CitError
from .cit_format.spool import Lock

PATIENCE = 10.0  # seconds


class Busy(CitError):
    """Another pass is at work (75)."""


@contextlib.contextmanager
def alone(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock at `path`; 75 where another pass holds it for more than so many seconds."""
    lock = Lock(path)
    until = time.monotonic() + patience
    while not lock.try_now():
        if time.monotonic() > until:
            raise Busy(LATER, f"another pass is at work in {path.parent}", "nothing is lost; the next pass takes up what it leaves")
        time.sleep(0.02)
    try:
        yield
    finally:
        lock.release()
