"""A queue elsewhere that made somebody wait and gave no answer: remembered for a minute, so that not each push waits again (docs/stages/queue.md).

    2026-11-23T20:26:14.512Z <TAB> why         in `.silent` of the queue's directory; remove it and it is asked at once

Who is refused at once is not remembered: asking again costs nothing. An answer ends it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from . import body, clock
from .errors import CitError

if TYPE_CHECKING:
    from .home import Queue

LONG = 2.0  # seconds of waiting that are worth remembering
REST = 60 * clock.SECOND


def noted(queue: Queue, why: str, seconds: float, now: int) -> None:
    """Remember that a queue did not answer, where that took long."""
    if seconds < LONG:
        return
    with contextlib.suppress(OSError):
        beside = queue / f".silent.{os.getpid()}"
        beside.write_bytes(body.row(clock.iso_ms(now), why))
        os.rename(beside, queue / ".silent")


def over(queue: Queue) -> None:
    """It answers."""
    with contextlib.suppress(OSError):
        os.unlink(queue / ".silent")


def why(queue: Queue, now: int) -> str:
    """In words that it did not answer a moment ago, and when it is asked again; empty where it may be asked."""
    with contextlib.suppress(OSError, CitError, ValueError):  # none, or torn
        [[moment, said]] = body.rows((queue / ".silent").read_bytes())
        since = now - clock.parse(moment)
        if 0 <= since < REST:
            return f"{said} {since // clock.SECOND} s ago; a push asks again after {(REST - since) // clock.SECOND + 1} s"
    return ""
