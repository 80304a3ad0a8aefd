"""cit ls: the jobs of a home and their states, told by names and logs; a document is opened only where these do not say enough.

Reads: the queues' states, the build account, log/DAY.tsv; of a queue elsewhere what was heard of it: it is asked where it is named,
or with --all. Writes: a table, TSV or JSON lines.
Exits: 0; 2 a wrong option; 66 no such queue (docs/messages.md).
How: what is on its way first (RUNNING, PENDING in the order of the queue, HELD), then what ended, the newest first.
Pages: docs/stages/report.md, docs/directories.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple, Optional

import typer

from . import lines, look, moves, places, remote, screen, story, tally
from .cit_format import clock, glance, home, messages
from .cit_format.errors import NOT_FOUND, OK, USAGE, CitError
from .lines import Job
from .places import Copy, Home

LATELY = 10  # ended jobs that are shown when nothing is asked for
SECONDS = 5.0  # until a queue elsewhere must have answered
FIRST = 20  # rows of one state that a terminal is given, without --all
ORDER = {"RUNNING": 0, "PENDING": 1, "HELD": 2}
COLUMNS = (
    screen.Column("id"),
    screen.Column("short", "ID"),
    screen.Column("name", "NAME", yields=True),
    screen.Column("state", "STATE"),
    screen.Column("queue", "QUEUE", yields=True),
    screen.Column("builder", "BUILDER", yields=True),
    screen.Column("elapsed-ms"),
    screen.Column("elapsed", "ELAPSED", right=True),
    screen.Column("when", "WHEN"),
    screen.Column("submitter"),
    screen.Column("path"),
    screen.Column("tasks", "TASKS", right=True),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if column.key not in ("short", "elapsed"))


# --- decisions ------------------------------------------------------------------------------------------------------


def sort(jobs: Iterable[Job]) -> list[Job]:
    """Running, pending, held in the order of their places; then what ended, the newest first."""
    listed = list(jobs)
    on_its_way = sorted((job for job in listed if job.state in ORDER), key=lambda job: ORDER[job.state])
    return on_its_way + sorted((job for job in listed if job.state not in ORDER), key=lambda job: -(job.when or 0))


def shortened(jobs: list[Job]) -> tuple[list[Job], dict[str, int]]:
    """The first rows of each state that is on its way, and how many of each were left out."""
    counts: dict[str, int] = {}
    kept = []
    for job in jobs:
        counts[job.state] = counts.get(job.state, 0) + 1
        if job.state not in ORDER or counts[job.state] <= FIRST:
            kept.append(job)
    return kept, {word: count - FIRST for word, count in counts.items() if word in ORDER and count > FIRST}


# --- the loop -------------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """What is to be listed: all, or what ended since a moment (microseconds); of these states, names (globs) and submitter."""

    everything: bool = False
    since: int | None = None
    states: frozenset[str] = frozenset()
    name: str = ""
    submitters: frozenset[str] = frozenset()
    tasks: bool = False  # a line for each task of an array, not one for it
    queue: str = ""  # NAME@FINGERPRINT: what is in the outbox for another one is left out

    def fits(self, job: Job) -> bool:
        from fnmatch import fnmatchcase

        return (
            (not self.states or job.state in self.states)
            and (not self.name or fnmatchcase(job.copy.file.name, self.name))
            and (not self.submitters or (job.submitter or lines.opened(job.copy).get("submitter")) in self.submitters)
            and (not self.queue or job.copy.place != "outbox" or self.is_for_it(job.copy))
            and (self.since is None or job.state in ORDER or (job.when or 0) >= self.since)
        )

    def is_for_it(self, copy: Copy) -> bool:
        try:
            return glance.at(copy.path).text("queue") == self.queue
        except FileNotFoundError:
            return False  # it has been sent just now

    @property
    def few(self) -> int | None:
        """The most ended jobs that are listed; None: all."""
        return None if self.everything or self.since is not None else LATELY

    @property
    def is_plain(self) -> bool:
        return not (self.states or self.name or self.submitters)


def copies(there: Home, wish: Wish, now: int, shown: Sequence[Copy] = ()) -> dict[str, list[Copy]]:
    """The copies of the jobs that may be wanted, by job; `shown` are those that queues elsewhere showed by their names."""
    jobs = places.by_job(chain(places.active(there), shown))
    if wish.everything:
        ends = [copy for day in places.days(there) for copy in places.done(there, day)]
    else:
        first = clock.day(now - 30 * clock.DAY if wish.since is None else wish.since)
        logs = moves.read(there.queues, first)
        ends = places.at_end(there, moves.ended(logs, wish.few if wish.is_plain else None))
    if wish.everything or "REFUSED" in wish.states:
        ends += places.refused(there)
    elif any(all(copy.place == "outbox" for copy in several) for several in jobs.values()):  # what was sent may have been refused there
        ends += [copy for copy in places.refused(there) if copy.job in jobs]
    for copy in ends:
        jobs.setdefault(copy.job, []).append(copy)
    return jobs


def listed(there: Home, wish: Wish, now: int, shown: Sequence[Copy] = ()) -> list[Job]:
    """The lines that are wanted, in order."""
    found = sort(filter(wish.fits, told(copies(there, wish, now, shown), there, wish, now)))
    if wish.few is None:
        return found
    on_its_way = sum(job.state in ORDER for job in found)
    return found[: on_its_way + wish.few]


def told(jobs: dict[str, list[Copy]], there: Home, wish: Wish, now: int) -> list[Job]:
    """A line for each job, and one for each array, whose tasks count together."""
    whole = {copy.file.id for several in jobs.values() for copy in several if copy.file.task is not None or copy.file.span}
    if wish.tasks or not whole:
        return lines.lines(jobs, there, now)
    of_arrays: dict[str, dict[str, list[Copy]]] = {identity: {} for identity in whole}
    for day in {clock.id_day(identity) for identity in whole} if not wish.everything else ():
        for copy in places.done(there, day):
            if copy.file.id in whole and copy.job not in jobs:
                of_arrays[copy.file.id].setdefault(copy.job, []).append(copy)
    for job, several in jobs.items():
        if several[0].file.id in whole:
            of_arrays[several[0].file.id][job] = several
    found = lines.lines({job: several for job, several in jobs.items() if several[0].file.id not in whole}, there, now)
    return found + [line for identity, several in of_arrays.items() for line in [tally.as_line(identity, several, there, now)] if line]


# --- the command ----------------------------------------------------------------------------------------------------


def asked(there: Home, everything: bool, named: bool) -> list[Copy]:
    """Ask the queues elsewhere, where one is named or all is wanted: what they show of jobs that were never here."""
    elsewhere = remote.queues(there) if everything or named else []
    asker = remote.Asker(seconds=SECONDS)
    return [copy for copies in remote.side_by_side(lambda queue: remote.listed(queue, there, asker), elsewhere) for copy in copies]


def when_heard(there: Home, now: int) -> None:
    """Say how old is what is shown of queues elsewhere, where they have jobs."""
    for queue in remote.queues(there):
        if any(remote.active(queue)) or any(remote.sent_from(queue, there)):
            heard = remote.heard_at(queue)
            age = f"as it was {clock.duration_text(max(0, now - heard))} ago" if heard else "nothing was heard of it yet"
            messages.tell("note", f"queue @{queue.path.name}: {age}", hint=f"cit ls @{queue.path.name} asks it")


def main(
    at: Optional[str] = typer.Argument(None, metavar="[@QUEUE|JOB]", help="As --queue; or the tasks of one array"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory; else every queue of this home"),
    everything: bool = typer.Option(False, "-a", "--all", help="All that ended, and what was refused; else the last 10"),
    since: Optional[str] = typer.Option(None, "--since", metavar="WHEN", help="What ended since: 2h, 3d, or a UTC time"),
    state: Optional[list[str]] = typer.Option(None, "-s", "--state", help="PENDING, HELD, RUNNING, COMPLETED, FAILED, ...; a comma list too"),
    name: str = typer.Option("", "-J", "--name", metavar="GLOB", help="Names that fit"),
    tasks: bool = typer.Option(False, "--tasks", help="A line for each task of an array"),
    mine: bool = typer.Option(False, "-m", "--mine", help="Submitted by me"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The jobs of this home and their states."""
    messages.set_up("cit-ls", quiet)
    form = screen.form(table, tsv, json)
    now = clock.now()
    states = frozenset(word for item in state or [] for word in item.upper().split(","))
    unknown = states - {*ORDER, *story.FINAL, "REFUSED"}
    if unknown:
        raise CitError(USAGE, f"{min(unknown)} is no state", f"states are {', '.join([*ORDER, *story.FINAL, 'REFUSED'])}")
    if at and queue:
        raise CitError(USAGE, f"{at} and --queue", "name one queue")
    named = at or queue
    job = ""
    try:
        there = places.here(named)
    except CitError as error:
        if error.status != NOT_FOUND or not at or at.startswith("@"):
            raise
        job, named, there = at, None, places.here()
    me = {home.person(), *(each.person for each in remote.queues(there) if each.person)} if mine else set()
    of = home.Queue(there.queues[0]).full_name if named else ""
    wish = Wish(everything, None if since is None else moment(since, now), states, name, frozenset(me), tasks, of)
    if job:
        jobs = sort(filter(wish.fits, lines.lines(look.copies(job, there, remote.Asker()), there, now)))
    else:
        jobs = listed(there, wish, now, asked(there, everything, bool(named)))
    kept, left_out = (jobs, {}) if everything or form != screen.TABLE else shortened(jobs)
    if kept or form != screen.TABLE:
        columns = FILE_COLUMNS if form != screen.TABLE else [each for each in COLUMNS if each.key != "tasks" or any(job.tasks for job in kept)]
        shown = [job.shown(now) for job in kept] if form == screen.TABLE else None  # which looks into documents
        screen.show(columns, [job.row() for job in kept], form, shown)
    else:
        messages.tell("note", "no jobs" if wish.is_plain else "no such jobs", hint="" if everything else "older ones: cit ls --all")
    for word, count in left_out.items():
        print(f"... and {count} more {word}: cit ls --all")
    if form == screen.TABLE and not named and not everything:
        when_heard(there, now)
    return OK


def moment(text: str, now: int) -> int:
    """The moment of `2h` ago, or of a UTC time."""
    if "T" in text:
        try:
            return clock.parse(text)
        except CitError as error:
            raise CitError(USAGE, error.what, error.hint) from None
    return now - clock.duration(text)
