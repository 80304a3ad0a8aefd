"""The outbox: documents whose queue could not be had, and then those that it took (docs/stages/queue.md, docs/directories.md).

~/.cit/outbox/KEY.ID-NAME.cit         kept: no ticket yet; KEY is the order in which they came
~/.cit/outbox/sent/KEY.ID-NAME.cit    has a ticket; stays until it is seen done or expires, so that it can be sent again
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

from . import accept
from .accept import Answer
from .cit_format import body, clock, control, home, journal, names, put, reader, shelf, spool, trust, wake
from .cit_format.document import Document
from .cit_format.errors import DENIED, CitError
from .cit_format.reader import Faulty
from .places import Places, full_name, reached

KEPT = "kept"


# --- decisions ------------------------------------------------------------------------------------------------------


def objection(arrival: Union[Document, Faulty]) -> CitError | None:
    """Why no queue would take it, as far as that can be seen without one."""
    try:
        if isinstance(arrival, Faulty):
            raise arrival.error
        if arrival.kind == "control":
            control.wish(arrival)
        else:
            trust.objection(arrival)
        return None
    except CitError as error:
        return error


def is_expired(document: Document, now: int) -> bool:
    """Whether no queue will take it any more."""
    expires = document.table(document.kind).get("expires")
    return isinstance(expires, body.Time) and expires < now


# --- the outbox -----------------------------------------------------------------------------------------------------


class Outbox:
    """The outbox of the cit home."""

    def __init__(self) -> None:
        self.path = home.path() / "outbox"
        self.sent = self.path / "sent"

    def keep(self, arrivals: Sequence[Union[Document, Faulty]]) -> list[Answer]:
        """Keep documents, on disk when this returns; a ticket for each. What no queue would take is refused at once."""
        errors = [objection(arrival) for arrival in arrivals]
        there = {parts.id for parts in spool.documents(self.path)}
        new = [each for each, error in zip(arrivals, errors) if isinstance(each, Document) and not error and each.id not in there]
        if new:
            spool.make_directory(self.path)
            first = put.next_sequences(self.path / ".sequence", len(new))
            files = [f"{self.path}/{names.FileName(job.id, job.name, names.key(0, first + n))}" for n, job in enumerate(new)]
            shelf.shelve(self.path / ".tmp", [(file, job.raw) for file, job in zip(files, new)])
            self._note([(job, KEPT) for job in new])
        return [self._answer(arrival, error) for arrival, error in zip(arrivals, errors)]

    def send(self, queues: Places) -> Iterator[Answer]:
        """Send what is kept, in order, each to the queue that it names; the answers.

        What has a ticket moves to sent/; what is refused leaves, as the queue that refused it keeps it; the rest stays.
        """
        if not self.path.exists():
            return
        spool.recover(self.path)
        spool.sweep_temporary(self.path / ".tmp")
        self._forget(queues)
        waiting = spool.listing(self.path)
        if not waiting:
            return
        spool.make_directory(self.sent)
        with spool.Claim(self.path) as claim:
            while waiting:
                group: list[tuple[str, Document]] = []
                size = 0
                while waiting and len(group) < put.GROUP_DOCUMENTS and size < put.GROUP_BYTES:
                    name = waiting.pop(0)
                    raw = claim.take(name)
                    if raw is not None:
                        group.append((name, reader.parse(raw)))
                        size += len(raw)
                yield from self._send_group(group, queues, claim)

    def _send_group(self, group: list[tuple[str, Document]], queues: Places, claim: spool.Claim) -> Iterator[Answer]:
        places = [queues.named(document) for _, document in group]
        now = clock.now()
        for queue in dict.fromkeys(places):
            some = [item for item, place in zip(group, places) if place is queue]
            if queue is None:
                answers = [self._waiting(document, now) for _, document in some]
            else:
                with reached(queue.name):
                    answers = accept.take_in([document for _, document in some], queue)
                wake.arrived(queue.path, queue.on_arrival)
            for (name, document), answer in zip(some, answers):
                if answer.error:
                    claim.drop(name)
                    self._note([(document, "refused")])
                elif answer.state == KEPT:
                    claim.back(name)
                else:
                    claim.move(name, self.sent)
                yield answer
            self._note([(document, "sent") for (_, document), answer in zip(some, answers) if not answer.error and answer.state != KEPT])
        claim.settle()

    def again(self) -> None:
        """Have what was sent before sent again: harmless, as its queue knows it."""
        for name in spool.listing(self.sent):
            spool.give_back(self.sent / name, self.path)

    def listed(self) -> Iterator[Answer]:
        """A ticket for each document: `kept`, or `accepted` once a queue took it."""
        for directory, state in ((self.sent, put.ACCEPTED), (self.path, KEPT)):
            for _, document in _read(directory):
                yield accept.answer((document.id, document.name), document, state)

    def _forget(self, queues: Places) -> None:
        """Remove from sent/ what is seen done in its queue, or has expired."""
        for name, document in _read(self.sent):
            queue = queues.named(document)
            done = spool.listing(queue / "done" / clock.id_day(document.id)) if queue else []
            if is_expired(document, clock.now()) or any(other.startswith(document.id) for other in done):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.sent / name)

    def _waiting(self, document: Document, now: int) -> Answer:
        """The answer to a document whose queue still cannot be had."""
        if is_expired(document, now):
            return self._answer(document, CitError(DENIED, "expired in the outbox", "make it anew: cit requeue", document.label))
        return self._answer(document, None)

    def _answer(self, arrival: Union[Document, Faulty], error: CitError | None) -> Answer:
        known = (clock.new_id(), "refused") if isinstance(arrival, Faulty) else (arrival.id, arrival.name)
        return accept.answer(known, arrival, error or KEPT)

    def _note(self, moves: list[tuple[Document, str]]) -> None:
        journal.note(home.path() / "log", [(f"{job.id}-{job.name}", word, full_name(job)) for job, word in moves], "queue")


def _read(directory: Path) -> Iterator[tuple[str, Document]]:
    for name in spool.listing(directory):
        with contextlib.suppress(FileNotFoundError):
            yield name, reader.parse((directory / name).read_bytes())
