"""log/DAY.tsv: one line a move, written by the mover; ls, look-ups and statistics read it (docs/directories.md).

Columns: ID (with _TASK and .aN where there are any) and NAME as in file names, then those of `event`: time, stage, word, host, account, detail.
DAY is the UTC day of the move. The log can be rebuilt from the documents; so it is not synced.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from . import body, clock
from .spool import host


class Line(NamedTuple):
    """One move: `job` is `ID[_TASK][.aN]-NAME`; the others are event's columns."""

    job: str
    time: str
    stage: str
    word: str
    host: str
    account: str
    detail: str


def account() -> str:
    """The account's name, or `CIT_USER`."""
    name = os.environ.get("CIT_USER")
    if name:
        return name
    return _account(os.getuid())


@lru_cache(maxsize=4)
def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def event(stage: str, word: str, detail: str = "", moment: int | None = None) -> bytes:
    """One row of an `event` section: time (ms), stage, word, host, account, detail."""
    return body.row(clock.iso_ms(clock.now() if moment is None else moment), stage, word, host(), account(), detail)


def note(directory: Path, moves: Iterable[tuple[str, str, str]], stage: str) -> None:
    """Append moves (job, word, detail) to today's log in one write."""
    moment = clock.now()
    time = clock.iso_ms(moment)
    here, who = host(), account()
    text = b"".join(body.row(job, time, stage, word, here, who, detail) for job, word, detail in moves)
    if not text:
        return
    path = directory / f"{clock.day(moment)}.tsv"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def lines(directory: Path, days: int | None = None) -> Iterator[Line]:
    """The lines of the last `days` logs (all: None), oldest first; torn or foreign lines are left out."""
    try:
        logs = sorted(entry for entry in os.listdir(directory) if entry.endswith(".tsv"))
    except FileNotFoundError:
        return
    for log in logs if days is None else logs[-days:]:
        for line in (directory / log).read_bytes().split(b"\n")[:-1]:
            fields = body.rows(line + b"\n")[0] if b"\\" in line else line.decode("utf-8", "replace").split("\t")
            if len(fields) == 7:
                yield Line(*fields)
