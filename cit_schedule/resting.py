"""Doors that could not be reached, and when each is tried again: the file `.doors` of a spool, TSV (docs/stages/deliver.md).

    PLACE  FAILURES  2026-11-23T20:26:11Z  WHY

The pause doubles with each failure, from 5 seconds to 10 minutes. Without the file every door is tried.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from .cit_format import body, clock
from .cit_format.errors import CitError

FIRST, LONGEST = 5 * clock.SECOND, 10 * clock.MINUTE


class Failure(NamedTuple):
    """How often a door failed one after the other, when it is tried again (microseconds), and why it failed last."""

    times: int
    until: int
    why: str


def after(before: Failure | None, now: int, why: str) -> Failure:
    """The failure that follows another one. Pure."""
    count = before.times + 1 if before else 1
    return Failure(count, now + min(LONGEST, FIRST << min(count - 1, 20)), why)


class Resting:
    """The doors that rest, of one spool."""

    def __init__(self, spool: Path) -> None:
        self.path = spool / ".doors"
        self.doors: dict[str, Failure] = {}
        self.changed = False
        with contextlib.suppress(FileNotFoundError, CitError, ValueError):  # torn: as if nothing had been noted
            for place, count, until, why in body.rows(self.path.read_bytes()):
                self.doors[place] = Failure(int(count), clock.parse(until), why)

    def rests(self, place: str, now: int) -> bool:
        """Whether a door is not tried yet."""
        return place in self.doors and now < self.doors[place].until <= now + LONGEST

    def failed(self, place: str, why: str, now: int) -> None:
        """Note that a door could not be reached."""
        self.doors[place] = after(self.doors.get(place), now, why)
        self.changed = True

    def answered(self, place: str) -> None:
        """Note that it could."""
        self.changed = self.doors.pop(place, None) is not None or self.changed

    def keep(self) -> None:
        """Write the file, if something changed."""
        if self.changed:
            rows = [(place, str(each.times), clock.iso(each.until + clock.SECOND - 1), each.why) for place, each in sorted(self.doors.items())]
            beside = self.path.with_name(f".doors.{os.getpid()}")
            beside.write_bytes(body.tsv(rows))
            os.rename(beside, self.path)
