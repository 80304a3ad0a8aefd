"""Carrying what lies in a spool: grouped by door, handed over, and moved on when there is a ticket (docs/stages/deliver.md).

Frozen documents are not claimed: they stay where they are, readable, until their ticket has come. Whoever carries the same
twice gets the same ticket twice.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from . import ends, files, transport
from .builders import brief
from .cit_format import address as doors
from .cit_format import attempts, fetch, heartbeat, home, messages, names, spool, trust
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, LATER, NOT_FOUND, CitError, worst
from .cit_format.reader import Faulty
from .round import Round

GROUP = 1000  # documents of one hand-over,
GROUP_BYTES = 8 << 20  # or so many bytes
LOOK = 0.5  # seconds after which a round that waits for answers looks whether more has come


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


def is_final(ticket: Document) -> bool:
    """Whether a refusal is about the document itself, so that no later try is answered otherwise."""
    said = ticket.table("ticket")
    return said.get("state") == "refused" and said.get("status") in (DATA, DENIED)


class Line:
    """What waits for one door, in order: documents that have been read, at most a group of them, then file names."""

    def __init__(self) -> None:
        self.ready: deque[tuple[str, str, Document]] = deque()  # verb, file name, document
        self.size = 0
        self.names: deque[str] = deque()

    @property
    def is_full(self) -> bool:
        return len(self.ready) >= GROUP or self.size >= GROUP_BYTES

    def add(self, verb: str, name: str, document: Document) -> None:
        self.ready.append((verb, name, document))
        self.size += len(document.raw)

    def drop(self) -> None:
        """Leave what has been read where it lies."""
        self.ready.clear()
        self.size = 0

    def take(self) -> tuple[str, list[tuple[str, Document]]]:
        """The next group of one verb, and the verb."""
        verb, group = self.ready[0][0], []
        while self.ready and self.ready[0][0] == verb:
            _, name, document = self.ready.popleft()
            group.append((name, document))
        self.size = sum(len(document.raw) for _, _, document in self.ready)
        return verb, group


# --- the loop -----------------------------------------------------------------------------------------------------------


class Carrier:
    """Carries one spool. `to` is where documents go that have a ticket; None: they are dropped, as their receiver has them.

    `after` is told of a door that has taken all there was for it.
    """

    def __init__(self, round_: Round, source: Path, to: Path | None, ways: Ways, after: Callable[[str], None] = lambda place: None) -> None:
        self.round = round_
        self.source = source
        self.to = to
        self.ways = ways
        self.after = after
        self.lines: dict[str, Line] = {}  # by door
        self.told: set[str] = set()  # doors of queues that have had our heartbeat
        self.tickets: dict[str, Document] = {}  # by file name, of what was answered
        self.tried: set[str] = set()

    @property
    def news(self) -> list[str]:
        """What lies there and was not taken up yet."""
        return [name for name in spool.listing(self.source) if name not in self.tried]

    def run(self, before: Callable[[bool], None] = lambda fresh: None) -> None:
        """Carry until nothing new lies there. Who waits for a slow door still takes up what comes meanwhile for others.

        `before` is called before each look at what has come, and told whether something has.
        """
        while True:
            found = self.news
            self.tried.update(found)
            before(bool(found))
            self.carry(found)
            if not self.step(LOOK) and not found:
                return

    def carry(self, file_names: Iterable[str]) -> None:
        """Take up these documents, each in the line of its door; full groups set out at once."""
        for name in file_names:
            found = self.addressed(name)
            if found is None:
                continue
            where, document = found
            line = self.lines.setdefault(where.place, Line())
            if line.names or line.is_full:
                line.names.append(name)
            else:
                line.add(where.verb, name, document)
                if line.is_full:
                    self.step(0)

    def step(self, seconds: float) -> bool:
        """Have the next groups set out, and an answer taken in; false where there is nothing to wait for."""
        for place, line in self.lines.items():
            if not self.round.abreast.is_busy(place):
                self.hand_over(place, line)
        return self.round.abreast.step(seconds)

    def addressed(self, name: str) -> tuple[Address, Document] | None:
        """A document and where it goes; None where its door rests, or there is none. What is faulty goes to refused/."""
        path = self.source / name
        try:
            if self.round.resting.doors and isinstance(self.round.owner, home.Queue):  # its end tells whether it is worth reading
                place = self.ways.builders.get(brief(path)[0])
                if place is not None and self.round.rests(place):
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
            elif isinstance(self.round.owner, home.Account):
                self.awaited(error)
            elif not self.round.rests(error.what):
                self.round.failed(error.what, error)
            return None
        return None if self.round.rests(where.place) else (where, arrival)

    def awaited(self, error: CitError) -> None:
        """What has ended for a queue to which there is no way from here: it comes and fetches it."""
        if not self.round.rests(error.what):
            messages.tell("info", error.what, error.where, "it waits here until its queue fetches it; `cit config queues` may name a way")
            self.round.resting.failed(error.what, error.what, self.round.now)
            self.round.status = worst(self.round.status, LATER)

    def refused(self, name: str, arrival: files.Arrival, error: CitError) -> None:
        """Set aside what nobody will ever take."""
        self.round.status = worst(self.round.status, messages.complain(error, name))
        files.set_aside(self.source / name, self.source.parent / "refused", arrival, error, "deliver")
        self.round.moves.append((files.job_of(name), "refused", error.what))

    def hand_over(self, place: str, line: Line) -> None:
        """Have the next group for a door set out, if there is one and the door does not rest."""
        while line.names and not line.is_full:
            name = line.names.popleft()
            found = self.addressed(name)
            if found is not None:
                line.add(found[0].verb, name, found[1])
        if line.ready and self.round.rests(place):
            line.drop()
        if line.ready:
            verb, group = line.take()
            documents = [document for _, document in group] + self.heartbeat(place, verb, group[0][1])
            self.round.hand_over(place, verb, documents, lambda tickets: self.answered(place, group, tickets))

    def heartbeat(self, place: str, verb: str, job: Document) -> list[Document]:
        """How this builder is, along with the first results that go to a queue elsewhere."""
        owner = self.round.owner
        if verb != "put-done" or place in self.told or not doors.is_remote(place) or not isinstance(owner, home.Account):
            return []
        self.told.add(place)
        return [heartbeat.heartbeat(owner, self.round.now, str(job.table("job")["queue"]))]

    def answered(self, place: str, group: list[tuple[str, Document]], tickets: list[Document]) -> None:
        """Do what the tickets of a group say."""
        taken = []
        for (name, document), ticket in zip(group, tickets):
            self.tickets[name] = ticket
            said = ticket.table("ticket")
            if is_final(ticket):
                what = f"refused by {place}: {str(said.get('why', ''))[: transport.SHOWN]}"
                self.refused(name, document, CitError(int(str(said["status"])), what, "it lies in refused/ with why", document.label))
            elif transport.state(ticket) in transport.TAKEN_BACK:
                why = str(said.get("why", "kept there"))[: transport.SHOWN]
                self.round.failed(place, CitError(LATER, f"not taken: {why}", "it is tried again", document.label))
            else:
                taken.append((name, document))
        self.move_on(taken)
        if len(taken) == len(group):
            self.round.resting.answered(place)
            line = self.lines[place]
            if not line.ready and not line.names:
                self.after(place)

    def move_on(self, taken: list[tuple[str, Document]]) -> None:
        """What has a ticket goes on, or is dropped."""
        for name, document in taken:
            given = trust.assignment(document)
            detail = str(given.table["builder"]) if given else ""
            self.round.moves.append((files.job_of(name), self.to.name if self.to else "delivered", detail))
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
        owner = self.round.owner
        with contextlib.suppress(FileNotFoundError):
            spool.give_back(self.source / name, to)
            if isinstance(owner, home.Queue) and names.parse(name) and ends.done_path(owner, name).exists():
                os.unlink(to / name)
