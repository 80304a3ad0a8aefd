"""The parts of a job: `cit log --parts` shows them as a tree, `cit log --part NAME` what one of them printed (docs/howto/logs-and-parts.md).

Reads: parts.tsv and parts/ of the job's record, here or by the door of its builder; the job's log, of which most parts are a piece.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from . import far, following, look, screen
from .cit_format import ask, clock, parts
from .cit_format.errors import NOT_FOUND, USAGE, CitError
from .cit_format.parts import Part, Run
from .index import Index
from .look import Seen
from .picking import Wish
from .places import Home
from .watch import Pace, Watch
from .writer import Writer

CHUNK = 1 << 20  # bytes
UNFINISHED = "UNFINISHED"  # of a part that had no end when its job ended
COLUMNS = (
    screen.Column("Part", "PART", yields=True),
    screen.Column("State", "STATE"),
    screen.Column("Exit", "EXIT", right=True),
    screen.Column("Elapsed", "ELAPSED", right=True),
    screen.Column("Runs", "RUNS", right=True),
    screen.Column("Size", "LOG", right=True),
    *(screen.Column(key) for key in ("part", "state", "exit", "signal", "began", "ended", "elapsed-ms", "runs", "bytes")),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if not column.head)


# --- decisions ------------------------------------------------------------------------------------------------------


def meant(found: list[Part], wanted: str) -> Part | None:
    """The part of this name, or the only one whose name ends so; None where there is none (yet). 2 where it fits several."""
    exact = [part for part in found if part.name == wanted]
    fits = exact or [part for part in found if part.name.endswith(f"/{wanted}")]
    if len(fits) > 1:
        raise CitError(USAGE, f"{wanted} fits several parts", f"one of {', '.join(part.name for part in fits[:5])}")
    return fits[0] if fits else None


def printed(part: Part) -> list[Run]:
    """The runs whose pieces of log, one after the other, are what a part printed: its own, else the outermost ones below it."""
    if part.runs:
        return part.runs
    names = {run.name for run in part.below}
    return [run for run in part.below if not any("/".join(run.name.split("/")[:depth]) in names for depth in range(1, run.name.count("/") + 1))]


def row(part: Part, is_over: bool) -> dict[str, screen.Value]:
    """A part as a row."""
    runs = part.all
    failed = next((run for run in runs if run.state == parts.FAILED), None)
    ended = [run for run in runs if run.ended is not None]
    elapsed, size = part.elapsed, sum(run.to - run.start for run in runs if run.to is not None and run.start is not None)
    state = UNFINISHED if part.state == parts.RUNNING and is_over else part.state
    return {
        "part": part.name,
        "state": state,
        "exit": failed.exit if failed else 0 if ended else None,
        "signal": failed.signal if failed else 0 if ended else None,
        "began": clock.iso_ms(min(run.began for run in runs)),
        "ended": clock.iso_ms(max(run.ended or 0 for run in ended)) if len(ended) == len(runs) else None,
        "elapsed-ms": None if elapsed is None else elapsed // 1000,
        "runs": len(part.runs),
        "bytes": size,
        "Part": part.name,
        "State": state,
        "Exit": None if not failed else f"signal {failed.signal}" if failed.signal else failed.exit,
        "Elapsed": None if elapsed is None else clock.duration_text(elapsed),
        "Runs": len(part.runs) if len(part.runs) > 1 else None,
        "Size": clock.size_text(size) if size else None,
    }


# --- where they lie -------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Where the parts of a job are read: in this account, or by the door of its builder."""

    def runs(self) -> list[Run]: ...
    def pieces(self, file: str, start: int, found: Sequence[Run]) -> Iterator[bytes]: ...
    def writer(self, wish: Wish, index: Index | None) -> Writer: ...
    def growth(self) -> Index: ...


class Here(NamedTuple):
    """Beside the log, in the record."""

    log: str

    def runs(self) -> list[Run]:
        return parts.read(f"{self.log[:-4]}.run")

    def pieces(self, file: str, start: int, _: Sequence[Run]) -> Iterator[bytes]:
        """What a log (the job's, or that of a part) has from this byte on."""
        try:
            fd = parts.opened(f"{self.log[:-4]}.run", file) if file else parts.plain(self.log, os.O_RDONLY)
        except OSError:
            return
        with open(fd, "rb", 0) as stream:
            stream.seek(start)
            while piece := stream.read(CHUNK):
                yield piece

    def writer(self, wish: Wish, index: Index | None) -> Writer:
        return Writer(Path(self.log), wish, index)

    def growth(self) -> Index:
        return following.index_of(Path(self.log))


class There(NamedTuple):
    """At the door of its builder."""

    job: Seen
    place: str
    name: str

    def runs(self) -> list[Run]:
        try:
            return parts.runs(ask.ask(self.place, "log", self.name, "0", "parts"))
        except CitError as error:
            if error.status != NOT_FOUND:
                raise
            return []

    def pieces(self, file: str, start: int, found: Sequence[Run]) -> Iterator[bytes]:
        what = [f"part-{parts.files(found).index(file) + 1}"] if file else []
        yield from ask.pieces(self.place, "log", self.name, str(start), *what)

    def writer(self, wish: Wish, index: Index | None) -> Writer:
        return Writer(None, wish, index)

    def growth(self) -> Index:
        return far.index(self.job)


def source(job: Seen) -> Source:
    """Where the parts of a job are; 66 where nobody has them."""
    log = job.work(".log")
    away = None if log else far.place(job)
    if away:
        return There(job, away.place, away.workspace.removeprefix("work/"))
    if log is None and job.work(".log.age"):
        raise CitError(NOT_FOUND, "its log is for some only, and of such a job no parts are kept", f"cit log {job.short}", job.document.label)
    return Here(str(log or look.log_of(job)))


# --- what is shown --------------------------------------------------------------------------------------------------


def listed(job: Seen, form: str) -> None:
    """The tree of its parts; 66 where it has none."""
    found = parts.tree(source(job).runs())
    if not found:
        raise CitError(NOT_FOUND, "it has no parts", "inside a job: cit-part NAME -- COMMAND", job.document.label)
    rows = [row(part, following.has_ended(job)) for part in found]
    screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, rows, form)


class Shown:
    """One part as it is shown: each of its runs from where we are up to on."""

    def __init__(self, source: Source, wish: Wish, is_live: bool = False) -> None:
        self.is_live = is_live
        self.source = source
        self.wish = wish
        self.index = None if wish.is_plain else source.growth()
        self.at: dict[tuple[str, int], int] = {}
        self.writers: dict[tuple[str, int], Writer] = {}

    def more(self, part: Part, found: list[Run]) -> None:
        """What its runs have printed since the last time."""
        for run in printed(part):
            if run.start is None:
                continue
            key = (run.file, run.start)
            if key not in self.writers:
                self.writers[key] = self.source.writer(self.wish, self.index if not run.file else index_of(run))
                self.at[key] = self.writers[key].begin(run.start)
                if self.is_live and run.to is None:
                    self.writers[key].is_live()
            writer = self.writers[key]
            for piece in self.source.pieces(run.file, self.at[key], found) if run.to is None or self.at[key] < run.to else ():
                piece = piece if run.to is None else piece[: run.to - self.at[key]]
                self.at[key] += len(piece)
                writer.write(piece)
                if run.to is not None and self.at[key] >= run.to:
                    break
            if run.to is not None:
                writer.write(b"", last=True)

    def end(self) -> None:
        """Nothing more comes."""
        for writer in self.writers.values():
            writer.write(b"", last=True)


def index_of(run: Run) -> Index:
    """Of a part with a log of its own it is known when it began and ended."""
    index = Index()
    if run.ended is not None and run.to is not None:
        index.add(run.ended, run.to)
    return index


def written(job: Seen, name: str, wish: Wish) -> None:
    """What a part has printed up to now; 66 where there is no such part."""
    place = source(job)
    found = place.runs()
    tree = parts.tree(found)
    part = meant(tree, name)
    if part is None:
        names = ", ".join(each.name for each in tree[:5])
        raise CitError(NOT_FOUND, f"it has no part {name}", f"cit log --parts {job.short}: {names}" if names else "it has none", job.document.label)
    shown = Shown(place, wish)
    shown.more(part, found)
    shown.end()


def followed(job: Seen, there: Home, name: str, wish: Wish, has_ended: Callable[[Seen], bool]) -> None:
    """What a part prints, as it comes, until the job has ended."""
    with Watch(sys.stdout.fileno()) as watch:
        pace = Pace()
        watch.add([there.account / "work", there.account / "log"] if there.account else [])
        shown: Shown | None = None
        while True:
            record, over = job.work(".run"), has_ended(job)
            watch.add([record, *(f"{record}/{parts.FOLDER}/{folder}" for folder in ("", *name.split("/")[:-1]))] if record else [])
            try:
                place = source(job)
                found = place.runs()
                part = meant(parts.tree(found), name)
                if part:
                    shown = shown or Shown(place, wish, True)
                    shown.more(part, found)
            except CitError as error:
                if over or error.status != NOT_FOUND:
                    raise
            if over or not (far.waited(watch, pace) if record is None else watch.wait()):
                break
            job = look.one(job.document.id, there, clock.now())
        if shown is None:
            written(job, name, wish)
        else:
            shown.end()
