"""cit-deliver: the one carrier. Frozen documents go to where they belong, the same bytes until a ticket comes.

Reads: a spool of documents: `assigned` of a queue (to its builder), `finished` of a build account (to its queue), an outbox.
Appends: nothing. Side effect: what has a ticket goes to `sent`; a result that is in `done` is dropped here.
Exits: 0; 69 a door cannot be reached, 75 kept for later, 77 refused there (docs/messages.md).
How: documents are taken, grouped by door, handed over in one stream a door; without a ticket they go back.
Pages: docs/stages/deliver.md, docs/directories.md
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import choose
from .cit_format import command, door, home, messages, reader, spool, trust, wake
from .cit_format.document import Document
from .cit_format.errors import DENIED, LATER, NOT_FOUND, OK, CitError, worst

READS = {"assignment": "1", "builder": "1", "job": "1", "result": "1"}
WRITES: dict[str, str] = {}
AT_ONCE = 1000  # documents of one pass


class Address(NamedTuple):
    """Where a document goes: into the inbox or the queue (`verb`) of the account or queue at `place`."""

    verb: str
    place: str


# --- decisions ------------------------------------------------------------------------------------------------------


def address(job: Document, builders: dict[str, str], queues: dict[str, str]) -> Address:
    """Where a frozen document belongs: what has ended to its queue, what is assigned to its builder; else 66."""
    given = trust.assignment(job)
    if given is None:
        raise CitError(NOT_FOUND, "not assigned to anybody", "cit-schedule assigns, then it can be delivered", job.label)
    if any(section.kind == "signature" and section.attributes.get("ns") == "cit-result" for section in job.sections):
        wanted = str(job.table("job").get("queue", ""))
        if wanted not in queues:
            raise CitError(NOT_FOUND, f"no way to queue {wanted}", "its directory or door is not known here", job.label)
        return Address("put-done", queues[wanted])
    name = str(given.table["builder"])
    if name not in builders:
        raise CitError(NOT_FOUND, f"no builder {name}", "`cit builders` lists them", job.label)
    return Address("put-inbox", builders[name])


# --- the loop -------------------------------------------------------------------------------------------------------


def carry(source: Path, sent: Path | None, builders: dict[str, str], queues: dict[str, str]) -> int:
    """One pass over a spool: what gets a ticket moves to `sent`, or is dropped where there is none."""
    status = OK
    for claim_path, _lock in spool.dead_claims(source):
        for name in spool.listing(claim_path):
            spool.give_back(claim_path / name, source)
        spool.drop_claim(claim_path)
    names = spool.listing(source)[:AT_ONCE]
    if not names:
        return status
    with spool.Claim(source) as claim:
        by_address: dict[Address, list[tuple[str, Document]]] = {}
        for name in names:
            raw = claim.take(name)
            if raw is None:
                continue
            try:
                job = reader.parse(raw)
                by_address.setdefault(address(job, builders, queues), []).append((name, job))
            except CitError as error:
                status = worst(status, messages.complain(error, name))
        for where, jobs in by_address.items():
            tickets = handed_over(where, [job for _, job in jobs])
            for (name, job), ticket in zip(jobs, tickets):
                said = ticket.table("ticket")
                if said["state"] == "refused":
                    refusal = CitError(int(str(said.get("status", DENIED))), f"refused there: {said.get('why', '')}", "", job.label)
                    status = worst(status, messages.complain(refusal))
                elif said["state"] == "kept":
                    status = worst(status, LATER)
                elif sent is not None:
                    claim.move(name, sent)
                else:
                    claim.drop(name)
        claim.settle()
    return status


def handed_over(where: Address, jobs: list[Document]) -> list[Document]:
    """Hand documents over at a door: the tickets, in their order."""
    if where.verb == "put-done":
        return door.put_done(home.Queue(Path(where.place)), jobs)
    account = home.Account(Path(where.place))
    tickets = door.put_inbox(account, jobs)
    wake.arrived(account.path, account.on_arrival)
    return tickets


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    source: Optional[Path] = typer.Option(None, "--from", metavar="SPOOL", help="assigned of a queue, or finished of an account"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Carry documents to where they belong."""
    messages.set_up("cit-deliver", quiet, verbose)
    base = home.ensure()
    source = source or home.find_queue(None) / "assigned"
    queue = home.Queue(source.parent) if source.name == "assigned" else None
    builders = doors(queue) if queue else {}
    return carry(source, queue / "sent" if queue else None, builders, queues_here(base))


def doors(queue: home.Queue) -> dict[str, str]:
    """The door of each builder of a queue."""
    described = (choose.builder(reader.parse((queue / "builders" / name).read_bytes())) for name in spool.listing(queue / "builders"))
    return {builder.name: builder.door for builder in described}


def queues_here(base: Path) -> dict[str, str]:
    """The queues of this home by full name."""
    found = (home.Queue(path.parent) for path in (base / "queues").glob("*/queue.toml"))
    return {queue.full_name: str(queue.path) for queue in found}


def run() -> None:
    """The program cit-deliver."""
    command.start("cit-deliver", main, lambda: command.speaks(READS, WRITES))
