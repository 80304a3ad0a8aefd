"""A job's check: whether what it needs is there, asked on the builder, in its workspace, before it begins (docs/howto/try-again.md).

Reads: `check` of the job section, a line of sh, as its author signed it; what it printed, in the job's log. Appends: events `unready` and
`void`: an assignment without a start, which the queue gives out again later and later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import record, recorded
from .cit_format import body, clock, home, masks
from .cit_format.document import Document
from .shim import Ending
from .workspace import Place

if TYPE_CHECKING:
    from .attempt import Attempt

LONGEST = 10 * clock.MINUTE  # that a check may take; a job with a shorter time limit has no more for its check
SHOWN = 200  # letters of its last line that the event tells
TAIL = 4096  # bytes of the log that are looked at for it


def command(said: Mapping[str, body.Value]) -> list[str]:
    """The argument vector of a job's check; empty where it has none."""
    text = said.get("check")
    return ["/bin/sh", "-c", text] if isinstance(text, str) and text else []


def patience(limit: int) -> float:
    """Seconds that a check may take, where the job itself may take `limit` (microseconds; 0: any)."""
    return min(limit or LONGEST, LONGEST) / clock.SECOND


def last_words(log: str) -> str:
    """The last line of a log that says anything, in printable letters; empty where there is none in the clear."""
    try:
        with open(os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL))
            text = masks.hidden(stream.read(), masks.known(log)).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [" ".join("".join(letter if letter.isprintable() else " " for letter in line).split()) for line in text.split("\n")]
    return next((line[:SHOWN] for line in reversed(lines) if line), "")


def why(directory: str) -> str:
    """What a step before the check has written down in the record: what the job needs cannot be had yet. Empty where it was the check."""
    rows = recorded.rows(f"{directory}/why")
    return rows[0][0] if rows and rows[0] else ""


def unready(attempt: Attempt, place: Place, ending: Ending, account: home.Account) -> Document:
    """The document of an assignment whose check said no, signed by the builder."""
    written = record.unready(attempt.received, ending, last_words(place.log), why(place.record))
    return home.signed(attempt.job.extended(*written), account.signer, account.identity, "cit-result")
