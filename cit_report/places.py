"""Where jobs lie: every copy in the queues and the build account of a home, told by names alone (docs/directories.md).

Spools are read in the order in which jobs go through them, each before the claims in it, so that a job that moves on
meanwhile is met once or twice, never missed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .cit_format import clock, glance, home, names, reader
from .cit_format.document import Document
from .cit_format.errors import CitError

QUEUE_PLACES = ("waiting", "held", "assigned", "sent")
ACCOUNT_PLACES = home.ACCOUNT_STATES
RANK = {place: rank for rank, place in enumerate(("refused", "outbox", "held", *QUEUE_PLACES[:1], "assigned", "sent", *ACCOUNT_PLACES, "done"))}


class Copy(NamedTuple):
    """One copy of a job: its name taken apart, its directory, the place that this is, and the queue's directory (None: the account)."""

    file: names.FileName
    directory: str
    place: str
    queue: str | None

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.file}"

    @property
    def job(self) -> str:
        """`ID` or `ID_TASK`: what its attempts have in common."""
        return self.file.id if self.file.task is None else f"{self.file.id}_{self.file.task}"

    @property
    def own(self) -> str:
        """`COPY-NAME`, as logs and work/ call it."""
        return f"{self.file.copy}-{self.file.name}"


class Home(NamedTuple):
    """The places that are looked at: directories of queues, and the build account (None: none)."""

    queues: list[Path]
    account: Path | None


def here(queue: str | None = None) -> Home:
    """The queues of this home and its account; with `queue` (@NAME, NAME or a directory) that one alone. 66 where it is not there."""
    base = home.path()
    account = base if (base / ".ready").exists() else None
    if queue is not None:
        return Home([home.find_queue(queue).path], account)
    found = sorted(path.parent for path in base.glob("queues/*/queue.toml"))
    return Home(sorted(found, key=lambda path: path.name != "main"), account)


def copies(directory: str, place: str, queue: str | None, having: str = "") -> Iterator[Copy]:
    """The documents in a spool, then those in claims on it, whose names have this piece."""
    for entry in _entries(directory):
        parts = names.parse(entry) if having in entry else None
        if parts:
            yield Copy(parts, directory, place, queue)
    for claim in _entries(f"{directory}/.claim"):
        for entry in _entries(f"{directory}/.claim/{claim}"):
            parts = names.parse(entry) if having in entry else None
            if parts:
                yield Copy(parts, f"{directory}/.claim/{claim}", place, queue)


def active(there: Home, having: str = "") -> Iterator[Copy]:
    """Every copy that is not at its end, in the order of life."""
    base = there.account
    if base:
        for box in ("outbox", "outbox/sent"):
            yield from (copy for copy in copies(f"{base}/{box}", "outbox", None, having) if _is_job(copy.path))
    for queue in there.queues:
        for place in QUEUE_PLACES:
            yield from copies(f"{queue}/{place}", place, str(queue), having)
    for place in ACCOUNT_PLACES if base else ():
        yield from copies(f"{base}/{place}", place, None, having)


def days(there: Home) -> list[str]:
    """The days that have a directory in `done`, newest first."""
    return sorted({entry for queue in there.queues for entry in _entries(f"{queue}/done") if entry[:1].isdigit()}, reverse=True)


def done(there: Home, day: str, having: str = "") -> Iterator[Copy]:
    """The jobs with this day in their ID that have ended."""
    for queue in there.queues:
        yield from copies(f"{queue}/done/{day}", "done", str(queue), having)


def at_end(there: Home, jobs: Iterable[str]) -> list[Copy]:
    """The copies of these jobs in `done`."""
    wanted = set(jobs)
    return [copy for day in {clock.id_day(job) for job in wanted} for copy in done(there, day) if copy.job in wanted]


def refused(there: Home, having: str = "") -> Iterator[Copy]:
    """What the queues refused."""
    for queue in there.queues:
        yield from copies(f"{queue}/refused", "refused", str(queue), having)


def everything(there: Home) -> Iterator[Copy]:
    """Every copy there is: on its way in the order of life, then what has ended, then what was refused."""
    yield from active(there)
    for day in days(there):
        yield from done(there, day)
    yield from refused(there)


def copies_of(job: str, there: Home) -> list[Copy]:
    """Every copy of a job, `ID` or `ID_TASK`; an ID alone means its tasks too, a task that has not been dealt out what is left of its array."""
    identity, _, task = job.partition("_")
    day = clock.id_day(identity)
    found = [*active(there, identity), *done(there, day, identity), *refused(there, identity)]
    mine = [copy for copy in found if not task or copy.job == job]
    return mine or [copy for copy in found if copy.file.task is None and copy.file.concerns(int(task))]


def best(several: Iterable[Copy]) -> Copy:
    """The copy that says how a job is: of the newest attempt the furthest on its way; of what is left of an array what has not ended."""
    return max(several, key=lambda copy: (copy.file.attempt or 0, not (copy.file.span and copy.place == "done"), RANK[copy.place]))


def by_job(several: Iterable[Copy]) -> dict[str, list[Copy]]:
    """Copies put together by job, in the order in which they were met."""
    jobs: dict[str, list[Copy]] = {}
    for copy in several:
        jobs.setdefault(copy.job, []).append(copy)
    return jobs


def documents(copies: Iterator[Copy]) -> Iterator[tuple[Copy, Document | CitError]]:
    """The documents of these copies; what moved on meanwhile is left out."""
    for copy in copies:
        try:
            with open(copy.path, "rb") as stream:
                yield copy, reader.parse(stream.read())
        except FileNotFoundError:
            continue
        except CitError as error:
            yield copy, error


def _is_job(path: str) -> bool:
    """Whether what waits in the outbox is a job; wishes about jobs wait there too."""
    try:
        return glance.at(path).kind in ("job", "")  # what cannot be told at a glance is looked at by who opens it
    except FileNotFoundError:
        return False


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
