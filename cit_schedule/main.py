"""cit-schedule: chooses a builder for each waiting job.

Reads: `waiting` of a queue and its `builders`; as a filter a stream of builder documents and then jobs.
Appends: assignment and a cit-queue signature. Side effect: the job lies in `assigned`.
Exits: 0, also when there was nothing to do; 74, 78 (docs/messages.md).
How: in the order of `ls`, at most --look-ahead jobs a pass; what no builder can take now stays where it is.
Pages: docs/stages/schedule.md, docs/format/assignment.md, docs/directories.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Optional

import typer

from . import choose
from .cit_format import body, clock, command, document, frame, home, messages, names, reader, spool, trust
from .cit_format.document import Document
from .cit_format.errors import OK, CitError, worst
from .cit_format.reader import Faulty

READS = {"builder": "1", "job": "1", "signature": "1"}
WRITES = {"assignment": "1", "signature": "1"}
LOOK_AHEAD = 1000  # jobs looked at in one pass


# --- one document ---------------------------------------------------------------------------------------------------


def assigned(job: Document, queue: home.Queue, chosen: choose.Builder, weighed: list[str], now: int) -> Document:
    """The job with its assignment to the chosen builder, signed by the queue."""
    before = trust.assignment(job)
    said = {
        "queue": queue.full_name,
        "epoch": queue.epoch,
        "attempt": before.attempt + 1 if before else 1,
        "builder": chosen.name,
        "key": chosen.key,
        "account": chosen.account,
        "assigned": body.Time(now),
        "weighed": weighed,
    }
    return home.signed(job.extended(document.section("assignment", "toml", body.toml(said))), queue.signer, queue.identity, "cit-queue")


# --- the loop -------------------------------------------------------------------------------------------------------


def builders_of(queue: home.Queue) -> list[choose.Builder]:
    """The builders of a queue, with how many jobs each has in `assigned` and `sent`."""
    found = []
    for name in spool.listing(queue / "builders"):
        described = reader.parse((queue / "builders" / name).read_bytes())
        trust.verified(described, next(described.all("signature")), "cit-builder", queue.signers, clock.now())
        found.append(choose.builder(described))
    busy = {builder.name: 0 for builder in found}
    for state in ("assigned", "sent"):
        for name in spool.listing(queue / state):
            if len(found) == 1:
                busy[found[0].name] += 1
            else:
                given = trust.assignment(reader.parse((queue / state / name).read_bytes()))
                if given and given.table["builder"] in busy:
                    busy[str(given.table["builder"])] += 1
    return [builder._replace(busy=busy[builder.name]) for builder in found]


def between_spools(queue: home.Queue, look_ahead: int) -> int:
    """One pass over `waiting`: what a builder takes goes to `assigned`."""
    status = OK
    recover(queue)
    candidates = spool.listing(queue / "waiting")[:look_ahead]
    if not candidates or not queue.active:
        return status
    builders = builders_of(queue)
    now = clock.now()
    moves = []
    with spool.Claim(queue / "waiting") as claim:
        for name in candidates:
            if not any(builder.up and builder.room > 0 for builder in builders):
                break
            raw = claim.take(name)
            if raw is None:
                continue
            try:
                job = reader.parse(raw)
                chosen, weighed = choose.choose(job.table("job"), builders)
                if chosen is None:
                    claim.back(name)
                    continue
                job = assigned(job, queue, chosen, weighed, now)
            except CitError as error:
                status = worst(status, messages.complain(error, name))
                claim.back(name)
                continue
            builders = [builder._replace(busy=builder.busy + 1) if builder.name == chosen.name else builder for builder in builders]
            claim.move(name, queue / "assigned", with_attempt(name, job), job.raw)
            moves.append((f"{job.id}-{job.name}", "assigned", chosen.name))
        claim.settle()
    queue.note(moves, "schedule")
    return status


def with_attempt(name: str, job: Document) -> str:
    """The file name in `assigned`: with `.aN`, so that attempts are documents of their own."""
    parts = names.parse(name)
    given = trust.assignment(job)
    assert parts is not None and given is not None
    return str(parts._replace(attempt=given.attempt))


def recover(queue: home.Queue) -> None:
    """What a killed pass held goes on if its assignment is complete, else back."""
    for claim, _lock in spool.dead_claims(queue / "waiting"):
        for name in spool.listing(claim):
            job = reader.parse((claim / name).read_bytes())
            if job.find("assignment") and job.sections[-1].kind == "signature":
                spool.rename_new(claim / name, queue / "assigned" / with_attempt(name, job))
            else:
                spool.give_back(claim / name, queue / "waiting")
        spool.drop_claim(claim)
        for state in ("waiting", "assigned"):
            spool.sync_directory(queue / state)


def filtered(queue: home.Queue) -> int:
    """As a filter: builder documents first, then jobs; each job passes, with an assignment where one can take it."""
    status = OK
    builders: list[choose.Builder] = []
    out = sys.stdout.buffer
    for item in stream():
        if isinstance(item, Faulty):
            status = worst(status, messages.complain(item.error))
        elif item.kind == "builder":
            builders.append(choose.builder(item))
            out.write(item.raw)
        else:
            if not builders:
                builders = builders_of(queue)
            chosen, weighed = choose.choose(item.table("job"), builders)
            out.write((assigned(item, queue, chosen, weighed, clock.now()) if chosen else item).raw)
    out.flush()
    return status


def stream() -> Iterator[Document | Faulty]:
    """The documents of stdin."""
    return reader.documents(frame.unframed(lambda size: os.read(0, size)))


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory"),
    filter_: bool = typer.Option(False, "--filter", help="Read a stream on stdin, write it to stdout"),
    look_ahead: int = typer.Option(LOOK_AHEAD, "--look-ahead", help="The most jobs looked at in a pass"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Choose builders for waiting jobs."""
    messages.set_up("cit-schedule", quiet, verbose)
    place = home.find_queue(queue)
    if filter_:
        return filtered(place)
    return between_spools(place, look_ahead)


def run() -> None:
    """The program cit-schedule."""
    command.start("cit-schedule", main, lambda: command.speaks(READS, WRITES))
