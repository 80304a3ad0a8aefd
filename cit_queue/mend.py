"""Finishing what killed processes left in a queue (docs/directories.md, "After a crash").

Every run that puts does the cheap part for itself; `--recover` and every tick do all of it. Twice is as good as once.
"""

from __future__ import annotations

import os

from .cit_format import home, spool

CLAIMED = ("waiting", "held", "assigned", "sent")
WRITTEN = ("waiting", "done", "refused", "control")  # these have a .tmp


def in_passing(queue: home.Queue) -> None:
    """Before a put: documents that a killed put had already made known get their names."""
    try:
        left = os.listdir(queue / "waiting" / ".tmp")
    except FileNotFoundError:
        return
    if left:
        queue.putter.recover()


def whole(queue: home.Queue) -> int:
    """All of it: half-done puts are finished, dead claims given back, stale leftovers removed. How many documents went on."""
    count = queue.putter.recover()
    for state in CLAIMED:
        count += spool.recover(queue / state)
    for state in WRITTEN:
        spool.sweep_temporary(queue / state / ".tmp")
    return count
