"""Documents of a stream, a group at a time: carried each where it belongs, and a ticket for each, in order (docs/stages/deliver.md).

What is assigned is recorded in its queue first, and carried from there. What could not be had keeps its sender waiting, not us: the
ticket says `kept`, with why, and a door that failed once is not tried again for this stream.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from . import record, transport
from .abreast import Abreast
from .alone import Busy, alone
from .carry import GROUP, GROUP_BYTES, Carrier, Ways, address
from .cit_format import home, messages, ticket
from .cit_format.document import Document
from .cit_format.errors import LATER, OK, UNREACHABLE, CitError, worst
from .round import Round

PAUSE = 0.02  # seconds without a byte that end a group: a door elsewhere costs more than waiting for the rest of a burst
SHORT = 2.0  # seconds to wait for another carrier; what lies in its queue that one takes up


class Group:
    """The documents that wait for their tickets; `status` is the worst so far."""

    def __init__(self, known: Ways) -> None:
        self.ways = known
        self.doors = transport.Doors()
        self.status = OK
        self.documents: list[Document] = []
        self.size = 0
        self.failed: dict[str, CitError] = {}  # by place

    def add(self, document: Document) -> None:
        self.documents.append(document)
        self.size += len(document.raw)

    @property
    def is_full(self) -> bool:
        return len(self.documents) >= GROUP or self.size >= GROUP_BYTES

    def settled(self) -> list[Document]:
        """A ticket for each document, in order; then the group is empty."""
        tickets = self._answers() if self.documents else []
        for document, answer in zip(self.documents, tickets):
            said = answer.table("ticket")
            if said["state"] == "refused":
                error = CitError(int(str(said["status"])), str(said["why"]), "", document.label)
                self.status = worst(self.status, messages.complain(error))
            elif said["state"] == "kept":
                self.status = worst(self.status, LATER)
        self.documents, self.size = [], 0
        return tickets

    def _answers(self) -> list[Document]:
        found: dict[int, Document] = {}
        doors: dict[tuple[str, str], list[int]] = {}
        for number, document in enumerate(self.documents):
            try:
                where = address(document, self.ways)
                place = str(record.queue_of(document, self.ways).path) if where.verb == "put-inbox" else where.place
                doors.setdefault((where.verb, place), []).append(number)
            except CitError as error:
                found[number] = ticket.ticket(document.id, document.name, document.raw, "refused", error)
        abreast = Abreast()
        for (verb, place), numbers in doors.items():
            if verb == "put-inbox":
                found.update(zip(numbers, self._assigned([self.documents[number] for number in numbers], home.Queue(Path(place)))))
            elif place not in self.failed:
                self._set_out(abreast, verb, place, numbers, found)
        while abreast.step(1):
            pass
        for (_, place), numbers in doors.items():
            for each, number in ((self.documents[number], number) for number in numbers if number not in found):
                why = self.failed.get(place) or CitError(UNREACHABLE, "its door was not reached")
                found[number] = ticket.ticket(each.id, each.name, each.raw, "kept", why)
        return [found[number] for number in range(len(self.documents))]

    def _set_out(self, abreast: Abreast, verb: str, place: str, numbers: list[int], found: dict[int, Document]) -> None:
        """Have the documents with these numbers handed over; their tickets go into `found`."""
        some = [self.documents[number] for number in numbers]

        def answered(answer: list[Document] | CitError) -> None:
            if isinstance(answer, CitError):
                self.failed[place] = answer
                self.status = worst(self.status, messages.complain(answer))
            else:
                found.update(zip(numbers, answer))

        abreast.add(place, lambda: self.doors.hand_over(place, verb, some), answered)

    def _assigned(self, jobs: list[Document], queue: home.Queue) -> list[Document]:
        """The tickets of assigned jobs of one queue: `kept` where one lies there, and its builder cannot be reached now."""
        became = record.put_in(jobs, queue)
        spool = queue / "assigned"
        answered: dict[str, Document] = {}
        with contextlib.suppress(Busy), alone(spool / ".carrying", SHORT), Round(spool) as round_:
            carrier = Carrier(round_, spool, queue / "sent", self.ways)
            carrier.carry([name for name in became if isinstance(name, str) and name])
            while carrier.step(1):
                pass
            answered = carrier.tickets
        tickets = []
        for job, name in zip(jobs, became):
            error = name if isinstance(name, CitError) else None
            state = "refused" if error else "kept" if name else "duplicate"
            tickets.append(answered.get(str(name)) or ticket.ticket(job.id, job.name, job.raw, state, error))
        return tickets
