"""cit-schedule: chooses a builder for each waiting job.

Reads: with --from `waiting` of a queue, its builders, their load and its control/; as a filter builders and then jobs.
Appends: assignment and a cit-queue signature; to what ends without a builder event, result and signature.
Side effect with --from: the job lies in `assigned` (--to); or in `held`, in `done`, in `refused`.
Exits: 0, also when there was nothing to do; 65 a document is faulty; 74; 75 another pass is at work; 77 not signed as it must be.
How: one pass at a time, in the order of `ls`. What no builder can take now stays; at most --look-ahead such jobs are looked at.
Pages: docs/stages/schedule.md, docs/format/assignment.md, docs/directories.md
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import typer

from . import array, builders, choose, equal, files, group, turn, wishes
from .alone import alone
from .cit_format import clock, command, control, frame, home, messages, names, reader, same, spool
from .cit_format.builder import Builder, count
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, OK, USAGE, CitError, worst
from .cit_format.reader import Faulty
from .dealer import Dealer
from .equal import JOINED, Equals
from .notes import Notes

READS = {"assignment": "1", "builder": "1", "control": "1", "event": "1", "job": "1", "load": "1", "result": "1", "signature": "1"}
WRITES = {"answer": "1", "assignment": "1", "event": "1", "result": "1", "signature": "1"}
LOOK_AHEAD = 1000  # jobs that are looked at in vain in one pass


# --- the loop: a filter -----------------------------------------------------------------------------------------------


def filtered(queue: home.Queue, listed: Path | None) -> int:
    """Builders first, then jobs: each job passes along, with an assignment where a builder can take it now."""
    status = OK
    dealer: Dealer | None = None
    streamed: list[Builder] = []
    told: dict[str, bytes] = {}
    now = clock.now()
    out = sys.stdout.buffer
    for item in stream():
        try:
            if isinstance(item, Faulty):
                raise item.error
            passed = item
            if item.kind == "builder":
                streamed.append(builders.streamed(item, queue, now))
            elif item.kind == "job":
                if dealer is None:
                    found, documents, faults = (streamed, [], OK) if streamed else builders.present(queue, listed, now)
                    told = {str(each.table("builder")["name"]): each.raw for each in documents}
                    dealer, status = Dealer(queue, found, now, asks=not streamed), worst(status, faults)
                wanted = turn.checked(item, queue)
                if array.rest_of(f"{item.id}-{item.name}.cit", item) is not None:
                    messages.tell("note", "an array is dealt out by its queue", item.label, "it passes as it is: cit-queue --to QUEUE")
                elif wishes.place(item, control.Standing(), now)[0] == "waiting" and not choose.too_late(wanted, now):
                    chosen, weighed = dealer.deal(wanted)
                    if chosen is not None:
                        out.write(told.pop(chosen.name, b""))  # so that cit-deliver knows its door
                        passed = turn.assigned(item, queue, chosen, weighed, now)
        except CitError as error:
            status = worst(status, messages.complain(error))
            if isinstance(item, Faulty):
                continue
            passed = item
        out.write(passed.raw)
    out.flush()
    if dealer is not None and not streamed:
        dealer.close()
    return status


def stream() -> Iterator[Document | Faulty]:
    """The documents of stdin."""
    return reader.documents(frame.unframed(lambda size: os.read(0, size)))


# --- the loop: nothing is changed ---------------------------------------------------------------------------------------


def explained(queue: home.Queue, wanted: str, look_ahead: int, listed: Path | None) -> int:
    """Write what would be weighed now for a job (any piece of its file name): one line a builder, as an assignment has it. Nobody is asked."""
    now = clock.now()
    candidates, _, status = builders.present(queue, listed, now)
    waiting = spool.listing(queue / "waiting")
    found = [(state, before, name) for state in ("waiting", "held") for before, name in enumerate(spool.listing(queue / state)) if wanted in name]
    if not found:
        raise CitError(NOT_FOUND, f"no job {wanted} waits in {queue.name}", "`cit ls` tells where jobs are")
    for state, before, name in found:
        parts = names.parse(name)
        if state == "held" and parts is not None:
            print("held until it is released" if parts.sequence >= names.NEVER else f"held until {clock.iso(parts.sequence)}")
            continue
        run = joined(queue, name, now)
        if run:
            print(f"the same runs already, as {run}: its end will be that of this job, too")
            continue
        dealer = Dealer(queue, candidates, now, asks=False)
        dealt(dealer, queue, waiting[: min(before, look_ahead)])
        job = files.document(queue / state / name)
        _, weighed = dealer.weighed(turn.checked(job, queue))
        gate = array.Throttle(queue).closed(job) or group.Groups(queue).closed(name, job.table("job"))
        if gate:
            weighed = [gate]
        if before:
            beyond = f"; a pass looks at {look_ahead} that nobody can take now" if before >= look_ahead else ""
            print(f"{count(before)} {'is' if before == 1 else 'are'} before it{beyond}")
        print("\n".join(weighed or ["the queue has no builder"]))
    return status


def joined(queue: home.Queue, name: str, now: int) -> str:
    """The job for whose run a waiting one waits, as people see it; empty where it waits for a builder."""
    equals = Equals(queue, Notes(queue / "waiting"), now)
    job = files.document(queue / "waiting" / name)
    run = equals.run_of(same.digest(job)) if equals.fate(name, job) == JOINED else None
    return run.job.label if run else ""


def dealt(dealer: Dealer, queue: home.Queue, file_names: list[str]) -> None:
    """Deal those of these waiting jobs for which builders are kept free; what is faulty is told when it is its turn."""
    for name in file_names:
        parts = names.parse(name)
        if parts is not None and dealer.now > parts.sequence + choose.PATIENCE:
            with contextlib.suppress(FileNotFoundError, CitError):
                dealer.deal(turn.checked(files.document(queue / "waiting" / name), queue), parts.label, parts.sequence)


# --- the command --------------------------------------------------------------------------------------------------------


def main(
    source: Optional[str] = typer.Option(None, "--from", metavar="SPOOL", help="waiting, of the --queue; a path; without it, a filter"),
    to: Optional[str] = typer.Option(None, "--to", metavar="SPOOL", help="assigned, of the same queue"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory; as a filter: whose key signs"),
    explain: Optional[str] = typer.Option(None, "--explain", metavar="JOB", help="Change nothing; say of each builder why it does not get this job"),
    listed: Optional[Path] = typer.Option(
        None, "--builders", metavar="FILE|DIR", help="As a filter: builder documents to choose from, instead of the queue's"
    ),
    anew: bool = typer.Option(False, "--reindex", help="Make the links of same/ anew, by which equal jobs find each other's runs"),
    look_ahead: int = typer.Option(LOOK_AHEAD, "--look-ahead", min=1, help="The most jobs that a pass looks at in vain"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Choose builders for waiting jobs."""
    messages.set_up("cit-schedule", quiet, verbose)
    if explain is not None:
        return explained(home.find_queue(queue), explain, look_ahead, listed)
    if anew:
        place = home.find_queue(queue)
        with alone(place / ".schedule"):
            equal.reindex(place)
        return OK
    if source is None:
        if to is not None:
            raise CitError(USAGE, "--to without --from", "cit-schedule --from waiting --to assigned; without both it reads documents on stdin")
        return filtered(home.find_queue(queue), listed)
    if listed is not None:
        raise CitError(USAGE, "--builders with --from", "a queue's own builders lie in its builders/; --builders is for the filter")
    of_queue, waiting = files.spool_of(source, queue)
    if of_queue is None or waiting.name != "waiting":
        raise CitError(NOT_FOUND, f"{waiting} is no `waiting` of a queue", "cit-schedule --queue @NAME --from waiting --to assigned")
    with alone(of_queue / ".schedule"):
        return turn.Pass(of_queue, files.spool_of(to or "assigned", str(of_queue.path))[1], look_ahead).run()


def run() -> None:
    """The program cit-schedule."""
    command.start("cit-schedule", main, lambda: command.speaks(READS, WRITES))
