"""A recorded terminal: work/COPY-NAME.cast, asciicast v2, as cit-run writes it and asciinema does (docs/howto/watch-it-run.md).

Whoever recorded it is not trusted: what is no line of a recording is left out, sizes and times are bounded, and what is shown passes vt.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .cit_format.errors import DATA, CitError

LONGEST = 1 << 20  # bytes of a line
HINT = "a recording begins with a line of JSON that says version 2, width and height"


class Shape(NamedTuple):
    """Columns and rows of the recorded terminal, and its TERM."""

    columns: int
    rows: int
    term: str


def head(line: bytes) -> Shape:
    """The first line of a recording; 65 where it is none."""
    try:
        said = json.loads(line)
        columns, rows, version = said["width"], said["height"], said["version"]
        term = str(said.get("env", {}).get("TERM", ""))[:40] if isinstance(said.get("env", {}), dict) else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CitError(DATA, "no recording of a terminal", HINT) from None
    if version != 2 or not all(isinstance(number, int) and 0 < number < 10_000 for number in (columns, rows)):
        raise CitError(DATA, "a recording of another version or size", HINT)
    return Shape(columns, rows, term)


def shown(lines: Iterable[bytes]) -> Iterator[tuple[float, str]]:
    """What it shows, each with seconds since the begin, which never go back."""
    last = 0.0
    for line in lines:
        try:
            time, kind, text = json.loads(line) if len(line) < LONGEST else (0, "", "")
        except (ValueError, TypeError, RecursionError):
            continue
        if kind == "o" and isinstance(text, str) and isinstance(time, (int, float)) and 0 <= time < 1e9:
            last = max(last, float(time))
            yield last, text.encode("utf-8", "replace").decode("utf-8", "replace")


def paced(events: Iterable[tuple[float, str]], speed: float, idle: float | None) -> Iterator[tuple[float, str]]:
    """The same with seconds to wait before each: so much faster, and no pause longer than `idle`."""
    before = 0.0
    for time, text in events:
        pause = time - before
        before = time
        yield (min(pause, idle) if idle is not None else pause) / speed, text
