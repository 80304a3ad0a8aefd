"""Carrying what lies in a spool: grouped by door, handed over, and moved on when there is a ticket (docs/stages/deliver.md).

Frozen documents are not claimed: they stay where they are, readable, until their ticket has come. Whoever carries the same
twice gets the same ticket twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Union

from . import ends, files, transport
from .builders import brief
from .cit_format import attempts, clock, fetch, home, messages, names, spool, trust
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, LATER, NOT_FOUND, OK, UNREACHABLE, CitError, worst
from .cit_format.reader import Faulty
from .resting import Resting

GROUP = 1000  # documents of one hand-over,
GROUP_BYTES = 8 << 20  # or so many bytes


class Address(NamedTuple):
    """Where a document goes: what is asked of the door (`verb`), and which door."""

    verb: str
    place: str


class Ways(NamedTuple):
    """The doors that are known: of builders by name, of queues by NAME@FINGERPRINT."""

    builders: dict[str, str]
    queues: dict[str, str]


# --- decisions ----------------------------------------------------------------------------------------------------------


def address(document: Document, ways: Ways) -> Address:
    """Where a frozen document belongs: what has ended, a wish and a new job to their queue, what is assigned to its builder; else 66."""
    if document.kind not in ("job", "control"):
        raise CitError(DATA, f"a {document.kind or 'document without sections'} is not carried", "jobs and control documents are", document.label)
    queue = str(document.table(document.kind).get("queue", ""))
    given = trust.assignment(document) if document.kind == "job" else None
    if given is not None and attempts.ending(document) is None:
        name = str(given.table["builder"])
        if name not in ways.builders:
            raise CitError(NOT_FOUND, f"no builder {name}", "`cit builders` lists them", document.label)
        return Address("put-inbox", ways.builders[name])
    if queue not in ways.queues:
        raise CitError(NOT_FOUND, f"no way to queue {queue}", "its directory or door is not known here", document.label)
    return Address("put-done" if given is not None else "put-accept", ways.queues[queue])


def objection(document: Document, ticket: Document) -> str:
    """Why a ticket is no answer to a document; empty where it is one."""
    said = ticket.table("ticket")
    if ticket.id != document.id or said.get("received") != f"sha256:{hashlib.sha256(document.raw).hexdigest()}":
        return "the ticket is for other bytes than were sent"
    return ""


def is_final(ticket: Document) -> bool:
    """Whether a refusal is about the document itself, so that no later try is answered otherwise."""
    said = ticket.table("ticket")
    return said.get("state") == "refused" and said.get("status") in (DATA, DENIED)


# --- the loop -----------------------------------------------------------------------------------------------------------


class Carrier:
    """Carries one spool. `to` is where documents go that have a ticket; None: they are dropped, as their receiver has them."""

    def __init__(self, source: Path, to: Path | None, ways: Ways) -> None:
        self.source = source
        self.to = to
        self.ways = ways
        self.now = clock.now()
        self.owner: Union[home.Queue, home.Account] = home.Account(source.parent)
        if (source.parent / "queue.toml").exists():
            self.owner = home.Queue(source.parent)
        self.resting = Resting(source)
        self.status = OK
        self.tickets: dict[str, Document] = {}  # by file name, of what was answered
        self.moves: list[tuple[str, str, str]] = []

    def run(self) -> int:
        """Carry until nothing new lies there; the worst status."""
        tried: set[str] = set()
        while True:
            found = [name for name in spool.listing(self.source) if name not in tried]
            if not found:
                break
            tried.update(found)
            self.carry(found)
        self.close()
        return self.status

    def close(self) -> None:
        """Write down which doors rest, and what was moved."""
        self.resting.keep()
        self.owner.note(self.moves, "deliver")

    def carry(self, file_names: Iterable[str]) -> None:
        """Hand over these documents, in groups of one door each."""
        groups: dict[Address, list[tuple[str, Document]]] = {}
        sizes: dict[Address, int] = {}
        for name in file_names:
            found = self.addressed(name)
            if found is None:
                continue
            where, document = found
            groups.setdefault(where, []).append((name, document))
            sizes[where] = sizes.get(where, 0) + len(document.raw)
            if len(groups[where]) >= GROUP or sizes[where] >= GROUP_BYTES:
                self.hand_over(where, groups.pop(where))
                sizes[where] = 0
        for where, group in groups.items():
            self.hand_over(where, group)

    def addressed(self, name: str) -> tuple[Address, Document] | None:
        """A document and where it goes; None where its door rests, or there is none. What is faulty goes to refused/."""
        path = self.source / name
        try:
            if self.resting.doors and isinstance(self.owner, home.Queue):  # its end tells whether it is worth reading
                place = self.ways.builders.get(brief(path)[0])
                if place is not None and self.rests(place):
                    return None
            arrival = files.read(path)
        except FileNotFoundError:
            return None  # it has moved on
        try:
            if isinstance(arrival, Faulty):
                raise arrival.error
            where = address(arrival, self.ways)
        except CitError as error:
            if error.status != NOT_FOUND:
                self.refused(name, arrival, error)
            elif not self.rests(error.what):
                self.failed(error.what, error)
            return None
        return None if self.rests(where.place) else (where, arrival)

    def rests(self, place: str) -> bool:
        """Whether a door is not tried now; what waits for it is kept, which is a status of its own."""
        rests = self.resting.rests(place, self.now)
        self.status = worst(self.status, LATER) if rests else self.status
        return rests

    def failed(self, place: str, error: CitError) -> None:
        """A door did not answer: it rests."""
        self.status = worst(self.status, messages.complain(error))
        self.resting.failed(place, error.what, self.now)

    def refused(self, name: str, arrival: files.Arrival, error: CitError) -> None:
        """Set aside what nobody will ever take."""
        self.status = worst(self.status, messages.complain(error, name))
        files.set_aside(self.source / name, self.source.parent / "refused", arrival, error, "deliver")
        self.moves.append((files.job_of(name), "refused", error.what))

    def hand_over(self, where: Address, group: list[tuple[str, Document]]) -> None:
        """Hand over documents at one door and do what its tickets say."""
        if self.rests(where.place):
            return
        documents = [document for _, document in group]
        try:
            tickets = transport.at(where.place)(where.verb, documents)
            wrong = next(filter(None, map(objection, documents, tickets)), "")
            if wrong or len(tickets) != len(documents):
                raise CitError(
                    UNREACHABLE, wrong or f"{len(tickets)} tickets for {len(documents)} documents", "all is kept, and sent again", where.place
                )
        except CitError as error:
            self.failed(where.place, error)
            return
        taken = []
        for (name, document), ticket in zip(group, tickets):
            self.tickets[name] = ticket
            said = ticket.table("ticket")
            if is_final(ticket):
                what = f"refused by {where.place}: {said.get('why', '')}"
                self.refused(name, document, CitError(int(str(said["status"])), what, "it lies in refused/ with why", document.label))
            elif transport.state(ticket) in transport.TAKEN_BACK:
                why = str(said.get("why", "kept there"))
                self.failed(where.place, CitError(LATER, f"not taken: {why}", "it is tried again", document.label))
            else:
                taken.append((name, document))
        if len(taken) == len(group):
            self.resting.answered(where.place)
        self.move_on(taken)

    def move_on(self, taken: list[tuple[str, Document]]) -> None:
        """What has a ticket goes on, or is dropped."""
        for name, document in taken:
            given = trust.assignment(document)
            detail = str(given.table["builder"]) if given else ""
            self.moves.append((files.job_of(name), self.to.name if self.to else "delivered", detail))
            if self.to is not None:
                self.sent(name, self.to)
            else:
                fetch.gone_home(self.source / name)
        if self.to is None:
            fetch.forget_wishes(self.source.parent, {document.id for _, document in taken})
        for directory in filter(None, (self.to, self.source) if taken else ()):
            spool.sync_directory(directory)

    def sent(self, name: str, to: Path) -> None:
        """A ticket may come later than the job's end, which then has removed our copy, or does it just now."""
        with contextlib.suppress(FileNotFoundError):
            spool.give_back(self.source / name, to)
            if isinstance(self.owner, home.Queue) and names.parse(name) and ends.done_path(self.owner, name).exists():
                os.unlink(to / name)
