"""Where jobs lie: every copy in the queues and the build account of a home, told by names alone (docs/directories.md).

Spools are read in the order in which jobs go through them, each before the claims in it, so that a job that moves on
meanwhile is met once or twice, never missed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .cit_format import clock, home, names
from .cit_format.errors import NOT_FOUND, USAGE, CitError

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
            yield from copies(f"{base}/{box}", "outbox", None, having)
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
    """Every copy of a job, `ID` or `ID_TASK`; an ID alone means its tasks too."""
    identity, _, task = job.partition("_")
    day = clock.id_day(identity)
    found = [*active(there, identity), *done(there, day, identity), *refused(there, identity)]
    return [copy for copy in found if not task or copy.job == job]


def best(several: Iterable[Copy]) -> Copy:
    """The copy that says how a job is: of the newest attempt the furthest on its way."""
    return max(several, key=lambda copy: (copy.file.attempt or 0, RANK[copy.place]))


def by_job(several: Iterable[Copy]) -> dict[str, list[Copy]]:
    """Copies put together by job, in the order in which they were met."""
    jobs: dict[str, list[Copy]] = {}
    for copy in several:
        jobs.setdefault(copy.job, []).append(copy)
    return jobs


# --- looking up -----------------------------------------------------------------------------------------------------


def fit(wanted: str, copy: Copy) -> int:
    """How well a typed piece fits: 4 the whole ID, 3 the end of it (its name after it or not), 2 the name, 1 any piece, 0 not at all."""
    labelled = f"{copy.job}-{copy.file.name}"
    if wanted in (copy.job, copy.file.id, copy.file.copy, copy.own, labelled):
        return 4
    if copy.job.endswith(wanted) or (len(wanted) > len(copy.file.name) + 1 and labelled.endswith(wanted)):
        return 3
    return 2 if wanted == copy.file.name else 1 if wanted in copy.own else 0


def look_up(wanted: str, there: Home) -> str:
    """The job that is meant, as `ID` or `ID_TASK`: by its last six characters, any unique piece, a name (its newest), or `last`. Else 2 or 66."""
    if wanted == "last":
        return last(there)
    wanted = wanted.lower()
    piece = wanted.rpartition("-")[2]
    for _ in range(2):  # a job that is put back just now is not met the first time
        found: dict[int, dict[str, str]] = {}
        for several in (active(there, piece), *(done(there, day, piece) for day in days(there)), refused(there, piece)):
            for copy in several:
                rank = fit(wanted, copy)
                if rank:
                    found.setdefault(rank, {})[copy.job] = f"{copy.file.label}"
            if max(found, default=0) > 1:
                break
        if found:
            return _the_one(wanted, *max(found.items()))
    raise CitError(NOT_FOUND, f"no job {wanted!r}", "`cit ls --all` lists every job of this home")


def is_file(wanted: str) -> bool:
    """Whether a typed word names a file rather than a job: it has a directory, or ends with .cit."""
    return "/" in wanted or wanted.endswith(".cit")


def present(wanted: str, there: Home) -> list[Copy]:
    """Every copy of the job that is meant (see `look_up`); 66 where none is left."""
    job = look_up(wanted, there)
    found = copies_of(job, there) or copies_of(job, there)
    if not found:
        raise CitError(NOT_FOUND, f"job {job[-6:]} is not here", "`cit ls --all` lists every job of this home")
    return found


def _the_one(wanted: str, rank: int, jobs: dict[str, str]) -> str:
    identities = {job.partition("_")[0] for job in jobs}
    if rank == 2:
        newest = max(identities)
        return newest if newest in jobs else next(job for job in jobs if job.startswith(newest))
    if len(jobs) == 1:
        return next(iter(jobs))
    if len(identities) == 1:
        return identities.pop()  # an array and its tasks
    some = ", ".join(list(jobs.values())[:5])
    raise CitError(USAGE, f"{wanted!r} fits {len(jobs)} jobs: {some}", "type more of the ID")


def last(there: Home) -> str:
    """The ID of the job that this person made last; 66 where there is none."""
    try:
        identity = (home.path() / "last").read_text().split(" ", 1)[0].strip()
    except FileNotFoundError:
        identity = ""
    if identity:
        return identity
    newest = max((copy.file.id for copy in active(there)), default="")
    for day in days(there):
        newest = max(newest, max((copy.file.id for copy in done(there, day)), default=""))
        if newest:
            return newest
    if not newest:
        raise CitError(NOT_FOUND, "no job yet", "make one: cit push -- COMMAND")
    return newest


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
