"""The public view of a call: what its interface lets outsiders see, instead of the log and the kept files (docs/format/interface.md).

Reads: `public` in the record, the words to run; the log. Writes: work/COPY-NAME.public. Run by the shim when nothing of the job is left.
The filter gets the log on its stdin; it fails: outsiders see nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys

from . import workspace
from .cit_format import body

FILE = "public"  # in the record
SUFFIX = ".public"  # beside the log
MOST = 1 << 20  # bytes of a view
PATIENCE = 60  # seconds for the filter


def words(file: str) -> list[str]:
    """The words to run that a file of the record has; none where there is none."""
    try:
        with open(file, "rb") as stream:
            return body.rows(stream.read())[0]
    except FileNotFoundError:
        return []


def is_wanted(record: str) -> bool:
    """Whether the interface of this record's job has a public view."""
    return os.path.exists(f"{record}/{FILE}")


def path_of(log: str) -> str:
    """Where the view lies that belongs to a log."""
    return log[: -len(".log")] + SUFFIX


def main() -> None:
    """The step after a call: RECORD LOG as arguments."""
    import subprocess

    record, log = sys.argv[1:3]
    seen = b""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired), open(log, "rb") as stdin:
        run = subprocess.run(words(f"{record}/{FILE}"), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False)
        seen = run.stdout[:MOST] if run.returncode == 0 else b""
    workspace.written(path_of(log), seen)
