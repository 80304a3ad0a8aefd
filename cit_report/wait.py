"""cit wait: returns when jobs have ended, with the job's own status.

Reads: `done` of the queue; `finished` of this account; of a queue elsewhere what it says at its door. Writes: nothing to stdout.
Exits: of one job its status: 124 over its time, 125 cit itself failed, 128+signal; of several the greatest, with --any of the first; 75 --timeout;
66 no such job; 77 what a queue elsewhere tells of its end cannot be (docs/messages.md).
How: the kernel tells when the queue's log or `done` changes; the door of a queue elsewhere waits with us, some seconds at a time; one
of several, or one that cannot be had, is asked after 0.2 s, then less and less often, every 5 s at last.
A job that will be tried again has not ended.
Pages: docs/stages/report.md
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import lend, look, places, remote, story, tally
from .cit_format import attempts, clock, home, messages, wake
from .cit_format.document import Document
from .cit_format.errors import LATER, NOT_FOUND, USAGE, CitError
from .cit_format.reader import parse
from .places import Copy, Home
from .watch import Pace, Watch

PATIENCE = 8.0  # seconds for which a queue elsewhere waits with us for an end, at its door
GONE = 3  # looks in a row that find a job nowhere


class End(NamedTuple):
    """How a job ended: what people call it, its state, its status."""

    label: str
    state: str
    status: int


# --- decisions ------------------------------------------------------------------------------------------------------


def wanted_ends(jobs: list[look.Seen]) -> set[str]:
    """What must end, as `ID` or `ID_TASK`: of an array every task."""
    found: set[str] = set()
    for job in jobs:
        array = tally.of_document(job.document) if job.told.get("task") is None else None
        found.update([f"{job.document.id}_{task}" for task in array.tasks] if array else [job.key])
    return found


def end(label: str, document: Document) -> End | None:
    """The end that a document tells; None where it tells none, or another attempt may follow."""
    told = story.told(document)
    if told["state"] not in (*story.FINAL, "REFUSED") or attempts.again(document, clock.now()):
        return None
    return End(label, str(told["state"]), story.status(told))


def some(names: list[str]) -> str:
    """The first of these names, and how many there are more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def told_together(ended: list[End]) -> list[End]:
    """Ends to be told, of an array's tasks that ended badly one: the worst, with how many there are."""
    found: dict[str, list[End]] = {}
    for one in ended:
        if one.status:
            found.setdefault(one.label.partition("_")[0] if "_" in one.label[:7] else one.label, []).append(one)
    return [
        max(each, key=lambda one: one.status)._replace(label=f"{job}: {len(each)} tasks, the worst") if len(each) > 1 else each[0]
        for job, each in found.items()
    ]


def patience(until: float | None, now: float) -> float:
    """Whole seconds for which a door is asked to wait with us."""
    return float(int(PATIENCE if until is None else max(0.0, min(PATIENCE, until - now))))


# --- the loop -------------------------------------------------------------------------------------------------------


def ends(pending: set[str], there: Home, home_only: bool) -> dict[str, End]:
    """Those of these jobs that have ended by now."""
    found: dict[str, list[Copy]] = {}
    of_arrays: dict[str, list[str]] = {}
    for job in pending:
        if "_" in job:
            of_arrays.setdefault(job[:26], []).append(job)
    for copy in _at_end(pending, there, home_only):
        if copy.job in pending:
            found.setdefault(copy.job, []).append(copy)
        elif copy.file.task is None and copy.file.id in of_arrays:  # the end of tasks that were never dealt out
            for job in (job for job in of_arrays[copy.file.id] if copy.file.concerns(int(job[27:]))):
                found.setdefault(job, []).append(copy)
    ended = {}
    told: dict[str, End | None] = {}
    for job, copies in found.items():
        copy = places.best(copies)
        if copy.place == "refused" and any(other.place not in ("refused", "outbox") for other in places.copies_of(job, there)):
            continue  # what was refused is another document of this ID
        try:
            if copy.path not in told:
                with open(copy.path, "rb") as stream:
                    told[copy.path] = end(copy.file.label, parse(stream.read()))
        except FileNotFoundError:
            continue
        its = told[copy.path]
        if its:
            ended[job] = its._replace(label=f"{job[20:]}-{copy.file.name}")
    return ended


def _at_end(pending: set[str], there: Home, home_only: bool) -> list[Copy]:
    found = [copy for day in {clock.id_day(job) for job in pending} for copy in places.done(there, day)]
    if there.account and not home_only:
        found += places.copies(f"{there.account}/finished", "finished", None)
    return found + list(places.refused(there))


def waited(jobs: list[look.Seen], there: Home, until: float | None, loan: lend.Loan, enough: bool = False) -> list[End]:
    """Wait for these jobs (with `enough`, for the first of them): how each ended; meanwhile the slot of the job around us is lent.
    66 where one is nowhere any more, 75 at `until` (time.monotonic)."""
    refused = [End(job.short, "REFUSED", 125) for job in jobs if job.place == "refused"]
    pending = wanted_ends([job for job in jobs if job.place != "refused"])
    queued_here = all(any(copy.queue for copy in job.copies) for job in jobs)
    away = Elsewhere(jobs, there)
    ended: list[End] = []
    missing = 0
    with Watch() as watch:
        while pending:
            days = {f"done/{clock.id_day(job)}" for job in pending}
            watch.add(queue / part for queue in there.queues for part in ("log", "done", "refused", *days))
            if there.account:
                watch.add([there.account / "finished"])
            away.ask(pending, until)
            looked = time.monotonic()
            found = ends(pending, there, queued_here)
            ended += found.values()
            pending -= set(found)
            if not pending or (enough and ended + refused):
                break
            if loan.begin():
                looked_at_again(jobs)
            missing = 0 if any(places.copies_of(job, there) for job in pending) else missing + 1
            if missing >= GONE:
                raise CitError(NOT_FOUND, f"{min(pending)[-6:]} is nowhere any more", "cit fsck looks for what is in the wrong place")
            if until is not None and time.monotonic() >= until:
                raise CitError(LATER, f"not ended yet: {some(sorted(job[20:] for job in pending))}", "cit why JOB says why")
            time.sleep(min(1.0, time.monotonic() - looked))  # of many tasks each look takes its time: half of it is others'
            watch.wait(min((moment for moment in (until, away.due) if moment is not None), default=None))
    return refused + ended


def looked_at_again(jobs: list[look.Seen]) -> None:
    """Have the queues looked at in which these wait: there is room for one more."""
    for path in {copy.queue for job in jobs for copy in job.copies if copy.queue and copy.place == "waiting"}:
        queue = home.Queue(Path(path))
        if not queue.remote:
            wake.arrived(queue.path, queue.on_arrival)


FIRST = 200  # tasks of an array that a queue elsewhere is asked about in one question: the first ones, as they end first


class Elsewhere:
    """Those of the jobs that are in queues elsewhere; these are asked, all jobs in one question, when it is time."""

    def __init__(self, jobs: list[look.Seen], there: Home) -> None:
        found = [(remote.of_job(job.copies, there), job.document.id) for job in jobs]
        self.queues: dict[home.Queue, list[str]] = {}
        for queue, identity in found:
            if queue and identity not in self.queues.setdefault(queue, []):
                self.queues[queue].append(identity)
        self.asker = remote.Asker(patient=True)
        self.alone = len(self.queues) == 1 and all(queue for queue, _ in found)
        self.pace = Pace()
        self.due: float | None = time.monotonic() if self.queues else None

    def ask(self, pending: set[str], until: float | None) -> None:
        """Hear of those that have ended meanwhile, if it is time. Where there is only one queue to ask, its door waits with us."""
        if self.due is None or time.monotonic() < self.due:
            return
        left = {job.partition("_")[0] for job in pending}
        tasks: dict[str, list[int]] = {}
        for identity, _, task in (job.partition("_") for job in pending if "_" in job):
            tasks.setdefault(identity, []).append(int(task))
        wait = patience(until, time.monotonic()) if self.alone else 0.0
        began = time.monotonic()
        for queue, identities in self.queues.items():
            wanted = [identity for identity in identities if identity in left]
            words = [[f"{each}_{task}" for task in sorted(tasks[each])[:FIRST]] if each in tasks else [each] for each in wanted]
            self.asker.ended(queue, [word for several in words for word in several], wait)
        for identity in self.asker.wrong.keys() & left:
            raise self.asker.wrong[identity]
        if wait and time.monotonic() >= began + wait:
            self.pace.again()
        self.due = self.pace()


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    jobs: Optional[list[str]] = typer.Argument(None, metavar="[JOB]...", help="A piece of an ID, a name, or `last`; without any, last"),
    timeout: Optional[str] = typer.Option(None, "--timeout", metavar="DURATION", help="Give up after 90s, 30m, ...: exit 75"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where they are looked up: @NAME or a directory"),
    enough: bool = typer.Option(False, "--any", help="Return when the first of them has ended, as it did"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only; how a job ended is told by the status alone"),
) -> int:
    """Wait until jobs have ended; exit as the job did."""
    messages.set_up("cit-wait", quiet)
    until = None if timeout is None else time.monotonic() + clock.duration(timeout) / clock.SECOND
    there = places.here(queue)
    found = [job for wanted in jobs or ["last"] for job in look.seen(wanted, there, clock.now())]
    if any(job.document.id == os.environ.get("CIT_JOB_ID") for job in found):
        raise CitError(
            USAGE, "a job that waits for itself", "name the job that it is to wait for; `last` is what was pushed inside it", found[0].document.label
        )
    with lend.Loan(there.account, os.environ) as loan:
        ended = waited(found, there, until, loan, enough)
    for one in told_together(ended):
        messages.tell("note", f"{one.state}, status {one.status}", one.label, f"cit why {re.split('[-:]', one.label)[0]}")
    return max(one.status for one in ended)
