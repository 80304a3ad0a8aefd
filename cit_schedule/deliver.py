"""cit-deliver: the one carrier. Frozen documents go to where they belong, the same bytes until a ticket comes.

Reads: with --from `assigned` of a queue (to its builders, and wishes with them), `finished` of a build account (to its queues),
its `outbox`; without, a stream on stdin. Appends: nothing. Writes: tickets, as a filter.
Side effect: what has a ticket goes to --to, or is dropped where its receiver is its owner now; what is refused, to `refused`.
Exits: 0; 65 or 77 refused there; 66 no such builder or queue; 69 a door cannot be reached; 75 kept for later (docs/messages.md).
How: documents are grouped by door and handed over; a door that does not answer rests, longer each time.
Pages: docs/stages/deliver.md, docs/directories.md
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

import typer

from . import builders, choose, errands, files, record, transport
from .alone import alone
from .carry import Address, Carrier, Ways, address
from .cit_format import clock, command, frame, home, messages, reader, spool, ticket
from .cit_format.document import Document
from .cit_format.errors import OK, UNREACHABLE, USAGE, CitError, worst
from .cit_format.reader import Faulty

READS = {"assignment": "1", "builder": "1", "control": "1", "event": "1", "job": "1", "result": "1", "ticket": "1"}
WRITES = {"ticket": "1"}


# --- the loop: a spool --------------------------------------------------------------------------------------------------


def carried(queue: home.Queue | None, source: Path, to: Path | None) -> int:
    """One pass over a spool: wishes first, so that a builder has them before the job."""
    if source.name == "outbox":
        os.execvp("cit-queue", ["cit-queue", "-q", "--outbox", "send"])
    if not spool.listing(source) and not (queue and os.listdir(queue / "control")):
        return OK
    with alone(source / ".carrying"):
        carrier = Carrier(source, to, ways(queue))
        if queue is not None:
            errands.carry(queue, carrier)
        return carrier.run()


def ways(queue: home.Queue | None) -> Ways:
    """The doors of a queue's builders, and the queues of this home."""
    found = builders.of_queue(queue, clock.now())[0] if queue else []
    here = [home.Queue(path.parent) for path in (home.path() / "queues").glob("*/queue.toml")]
    if queue:
        here.append(queue)
    return Ways({builder.name: builder.door for builder in found}, {each.full_name: str(each.path) for each in here})


# --- the loop: a filter -------------------------------------------------------------------------------------------------


def filtered(queue: home.Queue) -> int:
    """Carry each document of stdin and write its ticket. What is assigned is recorded in its queue first, and carried from there."""
    status = OK
    known = ways(queue)
    for arrival in reader.documents(frame.unframed(lambda size: os.read(0, size))):
        try:
            if isinstance(arrival, Faulty):
                raise arrival.error
            if arrival.kind == "builder":
                described = choose.builder(arrival, clock.now())
                known.builders.setdefault(described.name, described.door)
                continue
            where = address(arrival, known)
            answer = assigned(arrival, known) if where.verb == "put-inbox" else handed_over(arrival, where)
            said = answer.table("ticket")
            if said["state"] == "refused":
                status = worst(status, messages.complain(CitError(int(str(said["status"])), f"refused: {said.get('why', '')}", "", arrival.label)))
        except CitError as error:
            status = worst(status, messages.complain(error))
            if isinstance(arrival, Faulty):
                continue
            answer = ticket.ticket(arrival.id, arrival.name, arrival.raw, "refused", error)
        sys.stdout.buffer.write(answer.raw)
        sys.stdout.buffer.flush()
    return status


def handed_over(document: Document, where: Address) -> Document:
    """The ticket of one document that goes to a queue."""
    tickets = transport.at(where.place)(where.verb, [document])
    if len(tickets) != 1:
        raise CitError(UNREACHABLE, f"no ticket from {where.place}", "send it again", document.label)
    return tickets[0]


def assigned(job: Document, known: Ways) -> Document:
    """The ticket of one assigned job: `kept` where it lies recorded and its builder cannot be reached now."""
    queue = record.queue_of(job, known)
    name = record.put_in(job, queue)
    if name is None:
        return ticket.ticket(job.id, job.name, job.raw, "duplicate")
    with alone(queue / "assigned" / ".carrying"):
        carrier = Carrier(queue / "assigned", queue / "sent", known)
        carrier.carry([name])
        carrier.resting.keep()
        queue.note(carrier.moves, "deliver")
    return carrier.tickets.get(name) or ticket.ticket(job.id, job.name, job.raw, "kept")


# --- the command --------------------------------------------------------------------------------------------------------


def main(
    source: Optional[str] = typer.Option(None, "--from", metavar="SPOOL", help="assigned, finished or outbox, or a path; without it, a filter"),
    to: Optional[str] = typer.Option(None, "--to", metavar="SPOOL", help="sent: where documents go that have a ticket; else they are dropped"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory whose spools these are"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Carry documents to where they belong."""
    messages.set_up("cit-deliver", quiet, verbose)
    if source is None:
        if to is not None:
            raise CitError(USAGE, "--to without --from", "cit-deliver --from assigned --to sent; without both it reads documents on stdin")
        return filtered(home.find_queue(queue))
    owner, spooled = files.spool_of(source, queue)
    if owner is not None and to is None:
        raise CitError(USAGE, "a queue's spool is carried into another one", "cit-deliver --from assigned --to sent")
    return carried(owner, spooled, files.spool_of(to, str(owner.path) if owner else None)[1] if to else None)


def run() -> None:
    """The program cit-deliver."""
    command.start("cit-deliver", main, lambda: command.speaks(READS, WRITES))
