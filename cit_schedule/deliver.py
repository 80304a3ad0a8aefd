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
import select
import sys
from pathlib import Path
from typing import Optional

import typer

from . import builders, choose, errands, files, record, transport
from .alone import alone
from .carry import GROUP, Carrier, Ways, address
from .cit_format import clock, command, frame, home, messages, reader, spool, ticket
from .cit_format.document import Document
from .cit_format.errors import LATER, OK, UNREACHABLE, USAGE, CitError, worst
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
    """The doors of a queue's builders, and the queues of this home: its own, and those that config.toml names by their directory."""
    found = builders.of_queue(queue, clock.now())[0] if queue else []
    named = home.settings(home.path() / "config.toml").get("queues")
    places = [path.parent for path in sorted((home.path() / "queues").glob("*/queue.toml"))]
    places += [Path(str(place)) for place in (named if isinstance(named, list) else []) if "/" in str(place)]
    here = [home.Queue(place) for place in places if (place / "queue.toml").exists()] + ([queue] if queue else [])
    return Ways({builder.name: builder.door for builder in found}, {each.full_name: str(each.path) for each in here})


# --- the loop: a filter -------------------------------------------------------------------------------------------------


def filtered(queue: home.Queue) -> int:
    """Carry what comes on stdin and write a ticket for each; a group ends when there is nothing to read."""
    status = OK
    known = ways(queue)
    group: list[Document] = []

    def settle() -> None:
        nonlocal status
        for document, answer in zip(group, answers(group, known)):
            said = answer.table("ticket")
            if said["state"] == "refused":
                status = worst(status, messages.complain(CitError(int(str(said["status"])), str(said["why"]), "", document.label)))
            elif said["state"] == "kept":
                status = worst(status, LATER)
            sys.stdout.buffer.write(answer.raw)
        sys.stdout.buffer.flush()
        group.clear()

    def read(size: int) -> bytes:
        if not select.select([0], [], [], 0)[0]:
            settle()
        return os.read(0, size)

    for arrival in reader.documents(frame.unframed(read)):
        if isinstance(arrival, Faulty):
            status = worst(status, messages.complain(arrival.error))
        elif arrival.kind == "builder":
            described = choose.builder(arrival)
            known.builders.setdefault(described.name, described.door)
        else:
            group.append(arrival)
        if len(group) >= GROUP:
            settle()
    settle()
    return status


def answers(group: list[Document], known: Ways) -> list[Document]:
    """A ticket for each document, in order. What is assigned is recorded in its queue first, and carried from there."""
    found: dict[int, Document] = {}
    doors: dict[tuple[str, str], list[int]] = {}
    for number, document in enumerate(group):
        try:
            where = address(document, known)
            place = str(record.queue_of(document, known).path) if where.verb == "put-inbox" else where.place
            doors.setdefault((where.verb, place), []).append(number)
        except CitError as error:
            found[number] = ticket.ticket(document.id, document.name, document.raw, "refused", error)
    for (verb, place), numbers in doors.items():
        some = [group[number] for number in numbers]
        try:
            tickets = assigned(some, home.Queue(Path(place)), known) if verb == "put-inbox" else transport.at(place)(verb, some)
            if len(tickets) != len(some):
                raise CitError(UNREACHABLE, f"{len(tickets)} tickets for {len(some)} documents", "send them again", place)
        except CitError as error:
            tickets = [ticket.ticket(each.id, each.name, each.raw, "refused", error) for each in some]
        found.update(zip(numbers, tickets))
    return [found[number] for number in range(len(group))]


def assigned(jobs: list[Document], queue: home.Queue, known: Ways) -> list[Document]:
    """The tickets of assigned jobs of one queue: `kept` where one lies there, and its builder cannot be reached now."""
    became = record.put_in(jobs, queue)
    with alone(queue / "assigned" / ".carrying"):
        carrier = Carrier(queue / "assigned", queue / "sent", known)
        carrier.carry([name for name in became if isinstance(name, str) and name])
        carrier.close()
    tickets = []
    for job, name in zip(jobs, became):
        error = name if isinstance(name, CitError) else None
        state = "refused" if error else "kept" if name else "duplicate"
        tickets.append(carrier.tickets.get(str(name)) or ticket.ticket(job.id, job.name, job.raw, state, error))
    return tickets


# --- the command --------------------------------------------------------------------------------------------------------


def main(
    source: Optional[str] = typer.Option(None, "--from", metavar="SPOOL", help="assigned, finished or outbox, or a path; without it, a filter"),
    to: Optional[str] = typer.Option(
        None, "--to", metavar="SPOOL", help="Where documents go that have a ticket: sent of the queue; else they are dropped"
    ),
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
    to = to or ("sent" if owner else None)
    return carried(owner, spooled, files.spool_of(to, str(owner.path) if owner else None)[1] if to else None)


def run() -> None:
    """The program cit-deliver."""
    command.start("cit-deliver", main, lambda: command.speaks(READS, WRITES))
