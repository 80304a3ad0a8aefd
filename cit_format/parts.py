"""The parts of a job, as cit-part notes them in its record (docs/howto/logs-and-parts.md). Pure but for `read`.

    parts.tsv                 UPTIME  clock  2026-11-29T11:17:47.202Z           which moment an uptime is; then two lines for each run of a part
                              UPTIME  began  RUN  NAME  from 0  [file FILE]     RUN tells runs apart
                              UPTIME  ended  RUN  NAME  exit 0  signal 0  to 118
    parts/FILE                the log of a part that has one of its own; others are a piece of the log that they are in (FILE; else the job's)

A job can write anything there: what is no such line tells nothing, a name has letters that a file can be called, a file lies below parts/.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from typing import NamedTuple

from . import clock
from .errors import CitError

LIST, FOLDER = "parts.tsv", "parts"  # in the record
LIMIT = 5 << 20  # bytes of the list that are read
NAME = re.compile(r"[A-Za-z0-9._+@=,:%~*-]+(?:/[A-Za-z0-9._+@=,:%~*-]+)*")  # and asterisks, where a secret was hidden
NUMBER = re.compile(r"[0-9]{1,15}")
UPTIME = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
RUNNING, COMPLETED, FAILED = "RUNNING", "COMPLETED", "FAILED"


class Run(NamedTuple):
    """One run of a part: when (microseconds; ended None: not yet), how it ended, and the piece of a log that is its own (`start` None: none;
    `file` below parts/, empty for the job's log; `to` None: up to its present end)."""

    name: str
    began: int
    ended: int | None = None
    exit: int = 0
    signal: int = 0
    file: str = ""
    start: int | None = None
    to: int | None = None

    @property
    def state(self) -> str:
        return RUNNING if self.ended is None else FAILED if self.exit or self.signal else COMPLETED


class Part(NamedTuple):
    """A part and all below it: its own runs (none where only parts below it have any), and those below."""

    name: str
    depth: int
    runs: list[Run]
    below: list[Run]

    @property
    def all(self) -> list[Run]:
        return self.runs or self.below

    @property
    def state(self) -> str:
        states = [run.state for run in self.all]
        return next((state for state in (RUNNING, FAILED) if state in states), COMPLETED)

    @property
    def elapsed(self) -> int | None:
        """Microseconds that its runs took together; where it has none of its own, from the first begin below it to the last end."""
        if any(run.ended is None for run in self.all):
            return None
        if self.runs:
            return sum((run.ended or 0) - run.began for run in self.runs)
        return max(run.ended or 0 for run in self.below) - min(run.began for run in self.below)


def runs(text: bytes) -> list[Run]:
    """The runs that a list tells of, in the order in which they began."""
    found: dict[tuple[str, str], Run] = {}
    base = None
    for line in text[:LIMIT].decode("utf-8", "replace").split("\n")[:-1]:
        up, word, *fields = [*line.split("\t"), "", ""]
        if not UPTIME.fullmatch(up):
            continue
        moment = int(float(up) * clock.SECOND)
        if word == "clock" and base is None:
            base = _base(fields[0], moment)
        if word not in ("began", "ended") or base is None or not NAME.fullmatch(fields[1]) or ".." in fields[1].split("/"):
            continue
        key, said = (fields[0], fields[1]), dict(field.partition(" ")[::2] for field in fields[2:])
        if word == "began" and key not in found:
            file = said.get("file", "")
            start = number(said, "from") if not file or is_file(file) else None
            found[key] = Run(fields[1], base + moment, file=file if start is not None else "", start=start)
        elif word == "ended" and key in found and found[key].ended is None:
            run = found[key]
            to = number(said, "to")
            end = max(run.began, base + moment)
            found[key] = run._replace(ended=end, exit=(number(said, "exit") or 0) & 255, signal=(number(said, "signal") or 0) & 127, to=to)
    return list(found.values())


def _base(text: str, up: int) -> int | None:
    try:
        return clock.parse(text) - up
    except CitError:
        return None


def number(said: dict[str, str], key: str) -> int | None:
    """A number of a line; None where it says none."""
    return int(said[key]) if NUMBER.fullmatch(said.get(key, "")) else None


def is_file(path: str) -> bool:
    """Whether this is what a part's log is called."""
    return path.endswith(".log") and NAME.fullmatch(path) is not None and not any(part.strip(".") == "" for part in path.split("/"))


def files(found: Iterable[Run]) -> list[str]:
    """The logs that parts have of their own, each once: the n-th is what a door calls `part-N`."""
    return list(dict.fromkeys(run.file for run in found if run.file))


def tree(found: Iterable[Run]) -> list[Part]:
    """All parts, and those that only have parts below them, each before what is below it."""
    known: dict[str, Part] = {}
    order: dict[str, list[str]] = {}
    for run in found:
        names = run.name.split("/")
        for depth in range(len(names)):
            name, above = "/".join(names[: depth + 1]), "/".join(names[:depth])
            if name not in known:
                known[name] = Part(name, depth, [], [])
                order.setdefault(above, []).append(name)
            (known[name].runs if name == run.name else known[name].below).append(run)
    listed: list[Part] = []
    todo = list(reversed(order.get("", [])))
    while todo:
        name = todo.pop()
        listed.append(known[name])
        todo += reversed(order.get(name, []))
    return listed


def read(record: str | os.PathLike[str]) -> list[Run]:
    """The runs that a record tells of; none where there is no list."""
    return runs(content(f"{os.fspath(record)}/{LIST}", LIMIT))


def content(path: str, limit: int) -> bytes:
    """The beginning of a plain file in which a job may have written; nothing where there is none."""
    try:
        fd = plain(path, os.O_RDONLY)
    except OSError:
        return b""
    with open(fd, "rb") as stream:
        return stream.read(limit)


def opened(record: str | os.PathLike[str], file: str, flags: int = os.O_RDONLY) -> int:
    """The log FILE of a part, open; no link is followed on the way to it. OSError."""
    directory = os.open(f"{os.fspath(record)}/{FOLDER}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        *folders, name = file.split("/")
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = inner
        return plain(name, flags, directory)
    finally:
        os.close(directory)


def plain(path: str, flags: int, directory: int | None = None) -> int:
    """A plain file, open; OSError where it is none."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise FileNotFoundError(path)
