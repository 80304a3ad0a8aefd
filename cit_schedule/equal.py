"""Equal jobs: one runs, the others wait for it and get its end; what has run already is answered (docs/howto/build-once.md).

Reads: `same` of waiting jobs; `same/DIGEST` of the queue, a link whose text is the ID of the job that runs that input, or ran it last.
Writes: such a link, when a job is given to a builder. A lost link costs a run, no more; `cit-schedule --reindex` makes all of them anew.
How: who waits for a run stays in `waiting`; the notes of the pass say for which, so that its document is not opened again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Union

from . import files
from .cit_format import attempts, clock, home, names, reader, same, spool
from .cit_format.document import Document
from .cit_format.errors import CitError
from .ends import End
from .notes import Notes

FOLDER = "same"
JOINED = "joined"  # it waits for the run of another job
MARK = b'\nsame = "'
HEAD = 1 << 13  # bytes in which a job section says it
UNDER_WAY = ("waiting", "held", "assigned", "sent")


class Run(NamedTuple):
    """A job that runs, or has run, an input: its document, and where it has ended the file and when that came (microseconds)."""

    job: Document
    file: Path | None = None
    came: int = 0


# --- decisions ----------------------------------------------------------------------------------------------------------


def answered(name: str, job: Document, run: Run, now: int) -> End | None:
    """The end that a run is for a waiting job of the same input; None where it is none, and the job has to run itself.

    COMPLETED answers whoever comes. How a run failed concerns those alone who waited for it when it ended.
    """
    end, parts = same.end_of_run(run.job), names.parse(name)
    if end is None or run.file is None or parts is None or attempts.again(run.job, now):
        return None
    said = end.table()
    state, status, signal = str(said.get("state", "")), said.get("exit"), said.get("signal")
    if state != "COMPLETED" and not (state in same.SHARED and parts.sequence < run.came):
        return None
    given = same.Answer(run.job.id, run.file.name, hashlib.sha256(run.job.raw).hexdigest(), same.digest(job))
    why = f"answered by the run of {run.job.label}"
    return End(name, state, why, now, given, status if isinstance(status, int) else 0, signal if isinstance(signal, int) else 0)


def is_inside(job: Document, identity: str) -> bool:
    """Whether a job came out of the job of this ID, which has not ended."""
    said = job.table("job")
    chain = said.get("chain")
    return identity in [said.get("parent"), *(chain if isinstance(chain, list) else [])]


# --- the runs of a queue ------------------------------------------------------------------------------------------------


class Equals:
    """The equal jobs of one pass."""

    def __init__(self, queue: home.Queue, notes: Notes, now: int) -> None:
        self.queue = queue
        self.notes = notes
        self.now = now
        self.chosen: dict[str, Document] = {}  # by ID: given to a builder in this pass
        self.ended: dict[str, dict[str, names.FileName]] = {}  # by day and ID: the newest attempt in `done`

    @cached_property
    def under_way(self) -> dict[str, Path]:
        """By ID: where a copy lies of each job that was given to a builder and has not ended, though it be for its next attempt."""
        found: dict[str, Path] = {}
        for state in UNDER_WAY:
            for name in spool.listing(self.queue / state):
                parts = names.parse(name)
                if parts and parts.attempt and parts.task is None:
                    found[parts.id] = self.queue / state / name
        return found

    def waits(self, name: str) -> bool:
        """Whether this file is known to wait for a run that is still under way."""
        run = self.notes.joined.get(name)
        if run is None:
            return False
        if run in self.under_way or run in self.chosen:
            return True
        del self.notes.joined[name]
        return False

    def answers(self, file_names: Iterable[str]) -> list[End]:
        """The ends of those of these waiting jobs that have run already; who finds a run under way joins it."""
        if not (self.queue / FOLDER).is_dir():
            return []
        found = []
        for name in file_names:
            if name not in self.notes.never and not self.waits(name) and may_ask(self.queue / "waiting" / name):
                with contextlib.suppress(FileNotFoundError, CitError):  # what is faulty is told when it is its turn
                    fate = self.fate(name, files.document(self.queue / "waiting" / name))
                    if isinstance(fate, End):
                        found.append(fate)
        return found

    def fate(self, name: str, job: Document) -> Union[End, str, None]:
        """What an equal run means for a waiting job: its end, JOINED, or (None) that it runs itself."""
        parts = names.parse(name)
        if parts is None or parts.attempt or not same.asked(job) or same.is_fresh(job):
            return None
        digest = same.digest(job)
        run = self.run_of(digest)
        if run is None or run.job.id == job.id or same.digest(run.job) != digest or not same.may_answer(job, run.job):
            return None
        if run.file is None and is_inside(job, run.job.id):
            return None  # that one may wait for this one
        if run.file is None:
            self.notes.joined[name] = run.job.id
            return JOINED
        return answered(name, job, run, self.now)

    def run_of(self, digest: str) -> Run | None:
        """The run of an input: under way, or the newest end of its job."""
        try:
            identity = os.readlink(self.queue / FOLDER / digest)
        except FileNotFoundError:
            return None
        if identity in self.chosen:
            return Run(self.chosen[identity])
        with contextlib.suppress(FileNotFoundError, CitError):
            if identity in self.under_way:
                return Run(files.document(self.under_way[identity]))
            name = self.newest(identity)
            if name is not None:
                path = self.queue / "done" / clock.id_day(identity) / str(name)
                return Run(files.document(path), path, path.stat().st_mtime_ns // 1000)
        return None

    def newest(self, identity: str) -> names.FileName | None:
        """The name in `done` of a job's last attempt."""
        if names.parse(f"{identity}-x.cit") is None:
            return None
        day = clock.id_day(identity)
        if day not in self.ended:
            known: dict[str, names.FileName] = {}
            for parts in spool.documents(self.queue / "done" / day):
                before = known.get(parts.id)
                if before is None or (parts.attempt or 0) > (before.attempt or 0):
                    known[parts.id] = parts
            self.ended[day] = known
        return self.ended[day].get(identity)

    def begins(self, job: Document) -> None:
        """Note that a job is given to a builder: it is the run of its input from now on."""
        if same.asked(job):
            self.chosen[job.id] = job
            linked(self.queue / FOLDER, same.digest(job), job.id)


def may_ask(path: Path) -> bool:
    """Whether a job may ask for an equal one's run, by a glance at it."""
    try:
        with open(path, "rb", buffering=0) as stream:
            return MARK in stream.read(HEAD)
    except FileNotFoundError:
        return False


def linked(folder: Path, digest: str, identity: str) -> None:
    """Let `same/DIGEST` name this job."""
    folder.mkdir(mode=0o700, exist_ok=True)
    beside = folder / f".{digest}.{os.getpid()}"
    os.symlink(identity, beside)
    os.rename(beside, folder / digest)


def waited_for(queue: home.Queue) -> set[str]:
    """The jobs (by ID) for whose run others wait, as the last pass noted it: a cancel does not end that run."""
    present = set(spool.listing(queue / "waiting"))
    return {run for name, run in Notes(queue / "waiting").joined.items() if name in present}


# --- made anew ----------------------------------------------------------------------------------------------------------


def reindex(queue: home.Queue) -> int:
    """Make all links of `same/` anew, as the documents tell: of each input the newest run that COMPLETED, or the one under way. How many."""
    found: dict[str, str] = {}
    places = [day for day in sorted((queue / "done").glob("[0-9]*")) if day.is_dir()]
    for place in [*places, queue / "assigned", queue / "sent"]:
        for name in spool.listing(place):
            with contextlib.suppress(FileNotFoundError, CitError):
                raw = (place / name).read_bytes()
                job = reader.parse(raw) if MARK in raw[:HEAD] else None
                if job is not None and same.asked(job) and _counts(job, place):
                    digest = same.digest(job)
                    if place.parent.name != "done" or found.get(digest, "") < job.id:
                        found[digest] = job.id
    folder = queue / FOLDER
    for digest, identity in found.items():
        linked(folder, digest, identity)
    for entry in os.listdir(folder) if folder.is_dir() else ():
        if entry not in found:
            (folder / entry).unlink()
    return len(found)


def _counts(job: Document, place: Path) -> bool:
    """Whether a copy is a run that others may have: under way, or ended COMPLETED by its builder."""
    end = same.end_of_run(job)
    return place.parent.name != "done" or (end is not None and end.table().get("state") == "COMPLETED")
