"""`status` of a job's record: TSV, one line a step: time (UTC), word, then `key value` fields (docs/stages/run.md).

    2026-11-23T20:26:14.512Z  started  shim 4710
    2026-11-23T20:26:14.514Z  running  pid 4711  start 88123
    2026-11-23T20:26:19.007Z  ended    exit 2  signal 0  wall-ms 4495  ...

Its lock is held while a shim has the job under way: an empty file is a job that was never begun; one that is neither locked
nor ended is a job whose shim was killed. Imports next to nothing: it is part of the bare process of a shim (supervise.py).
"""

from __future__ import annotations

import errno
import os
import time


def ended_line(status: str) -> str:
    """The line of a status file that tells the end; empty where there is none."""
    for each in status.split("\n")[:-1]:
        if each.split("\t")[1:2] == ["ended"]:
            return each + "\n"
    return ""


def line(word: str, **fields: object) -> str:
    """One line of `status`."""
    said = "".join(f"\t{key.replace('_', '-')} {value}" for key, value in fields.items() if value != "")
    return f"{stamp()}\t{word}{said}\n"


def stamp() -> str:
    """This moment, to the millisecond."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def note(status: int, text: str) -> None:
    """Append a line to an open status file, whole or not at all (OSError)."""
    raw, size = text.encode(), os.fstat(status).st_size
    try:
        if os.write(status, raw) != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(status, size)
        raise
