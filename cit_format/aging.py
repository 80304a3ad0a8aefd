"""What grows for ever in a queue and a build account, and may go by its age: marks in seen/, documents in refused/ (docs/directories.md, Retention).

A mark in seen/ is needed as long as its document could be accepted once more: a job expires 30 days after it was made at most, so a mark goes
once it has been there for that and 30 days more, by its own age, whatever day it stands under. What has ended, in done/, never goes by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import body, clock
from .errors import CONFIG, CitError

SEEN = 61 * clock.DAY  # how long a mark stays: 30 days until its job expires, 30 days more, a day for clocks
REFUSED = "90d"
SETTING = "keep-refused"


def aged(place: Path, settings: Mapping[str, body.Value], now: int, dry: bool = False) -> Iterator[tuple[str, int, int]]:
    """Remove what is too old below a queue or an account: its path, bytes and moment, one by one."""
    text = str(settings.get(SETTING, REFUSED))
    try:
        kept = 0 if text == "never" else clock.duration(text)
    except CitError as error:
        raise CitError(CONFIG, f"{SETTING} says {text[:40]!r}", error.hint) from None
    days = sorted(entry.name for entry in _entries(place / "seen"))
    for day in days:
        yield from _old(place, f"seen/{day}", now - SEEN, dry, "")
        with contextlib.suppress(OSError):  # what is younger is in it still
            if not dry:
                os.rmdir(place / "seen" / day)
    if kept:
        yield from _old(place, "refused", now - kept, dry, ".cit")


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _old(place: Path, below: str, before: int, dry: bool, suffix: str) -> Iterator[tuple[str, int, int]]:
    for entry in sorted(_entries(place / below), key=lambda each: each.name):
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            moment = int(status.st_mtime * clock.SECOND)
            if moment < before and entry.name.endswith(suffix) and not entry.is_dir(follow_symlinks=False):
                if not dry:
                    os.unlink(entry.path)
                yield f"{below}/{entry.name}", status.st_size, moment
