"""on-arrival: a pass starts because something arrived, detached, once a stream, never twice at once (docs/directories.md).

The arriver touches `.wake` and starts sh/wake, unless a pass holds its lock: that one looks again before it ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from .spool import is_held

_SCRIPT = Path(__file__).parent / "sh" / "wake"


def arrived(directory: Path, command: str) -> None:
    """Say that something arrived in `directory` and see to it that `command` (a line of sh) makes a pass over it."""
    fd = os.open(directory / ".wake", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(fd)
    if not command or is_held(directory / ".pass"):
        return
    log = _log(directory)
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    # Not subprocess: importing it costs more than the whole start of the pass.
    os.posix_spawnp("sh", ["sh", str(_SCRIPT), str(directory), command], os.environ, file_actions=streams, setsid=True)
    os.close(log)


def _log(directory: Path) -> int:
    """Where a detached pass complains: `log/on-arrival` of the queue or account."""
    (directory / "log").mkdir(mode=0o700, exist_ok=True)
    return os.open(directory / "log" / "on-arrival", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
