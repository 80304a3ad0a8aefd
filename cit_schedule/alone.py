"""One pass at a time over a spool: passes are short, so another one is waited for (docs/directories.md)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from .cit_format.errors import LATER, CitError
from .cit_format.spool import Lock

PATIENCE = 10.0  # seconds


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock at `path`; 75 where another pass holds it for more than 10 seconds."""
    lock = Lock(path)
    until = time.monotonic() + PATIENCE
    while not lock.try_now():
        if time.monotonic() > until:
            raise CitError(LATER, f"another pass is at work in {path.parent}", "nothing is lost; the next pass takes up what it leaves")
        time.sleep(0.02)
    try:
        yield
    finally:
        lock.release()
