"""Which lines of a log are shown: since when, that fit a pattern, each with its time (docs/stages/report.md).

Bytes come in pieces, as they are read; lines go out whole, without the job's secrets, so that a pattern sees what a person would see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .cit_format import clock, masks
from .cit_format.errors import USAGE, CitError
from .index import Index

LONGEST = 1 << 20  # bytes of a line that is waited for
CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?")
COLOUR = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r(?=\n)")


class Wish(NamedTuple):
    """What somebody wants to see: from this moment on (microseconds; None: all), lines that this fits, with their times."""

    since: int | None = None
    fits: re.Pattern[str] | None = None
    times: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether all of it is wanted as it is."""
        return self == Wish()


def moment_of(text: str, now: int) -> int:
    """`10m` before now; a time of today, as 14:05 or 14:05:30; a moment as 2026-11-24T02:08:53Z. 2 where it is none of these."""
    found = CLOCK.fullmatch(text)
    if found:
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return now - now % clock.DAY + (hours * 3600 + minutes * 60 + seconds) * clock.SECOND
    try:
        return clock.parse(text) if "T" in text else now - clock.duration(text)
    except CitError:
        raise CitError(
            USAGE, f"--since {text[:40]!r}", "a duration (10m), a time of today (14:05), or a moment (2026-11-24T02:08:53Z), UTC"
        ) from None


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression; 2 where it is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise CitError(USAGE, f"--grep {text[:80]!r}: {error}", "a regular expression, as Python has them") from None


class Picker:
    """Pieces of a log as the lines that are wanted. `live`: what no row of the index tells of is printed just now."""

    def __init__(self, wish: Wish, index: Index, sought: Sequence[bytes] = (), is_narrow: bool = False) -> None:
        self.wish = wish
        self.index = index
        self.sought = list(sought)
        self.is_narrow = is_narrow
        self.live = False
        self.held = b""
        self.first = index.start(wish.since) if wish.since is not None else 0
        self.at, self.cut = 0, False

    def begin(self, start: int = 0) -> int:
        """From which byte on it is to be given a log that begins at `start`: later where what stands before is not wanted, and then one byte
        early, to see whether a line begins there."""
        self.cut = self.first > start
        self.at = self.first - 1 if self.cut else start
        return self.at

    def __call__(self, piece: bytes, last: bool = False) -> bytes:
        data = self.held + piece
        cut = len(data) if last or len(data) > LONGEST else data.rfind(b"\n") + 1
        self.held = data[cut:]
        shown = []
        for line in split(data[:cut]):
            if self.cut:
                self.cut = False
            elif self.at >= self.first:
                shown.append(self.line(line))
            self.at += len(line)
        return b"".join(shown)

    def line(self, line: bytes) -> bytes:
        """One line as it is shown; nothing where it does not fit."""
        shown = masks.Mask(self.sought)(line, last=True) if self.sought else line
        if self.wish.fits and not self.wish.fits.search(COLOUR.sub(b"", shown).rstrip(b"\n").decode("utf-8", "replace")):
            return b""
        return self.stamp().encode() + shown if self.wish.times else shown

    def stamp(self) -> str:
        moment = self.index.moment(self.at)
        if moment is None and self.live:
            moment = clock.now()
        if self.is_narrow:
            return f"{clock.iso_ms(moment)[11:] if moment is not None else '-':<13}  "
        return f"{clock.iso_ms(moment) if moment is not None else '-'}\t"


def split(data: bytes) -> list[bytes]:
    """The lines of a text, each with its newline, and with nothing else as an end."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
