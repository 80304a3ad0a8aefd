"""How a build leaves its workspace, noted for the next one that may build upon it (reuse.py, docs/howto/workspaces.md).

As a step after the program: RECORD WORKSPACE. Reads: RECORD/job.cit, the workspace. Writes: `left` in the record; none where it cannot be read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import reuse
from .checkout import INPUT
from .cit_format import body, reader


def main() -> None:
    """`RECORD WORKSPACE`."""
    record, workspace = Path(sys.argv[1]), sys.argv[2]
    try:
        found = reuse.looked_at(workspace)
    except OSError:
        return  # nothing is built upon what cannot be looked at
    beside = record / f".{reuse.LEFT}"
    beside.write_bytes(body.tsv(reuse.left(reader.parse((record / INPUT).read_bytes()), found)))
    os.rename(beside, record / reuse.LEFT)
