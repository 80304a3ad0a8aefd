"""The outbox: documents whose queue could not be had, and then those that it took (docs/stages/queue.md, docs/directories.md).

~/.cit/outbox/KEY.ID-NAME.cit         kept: no ticket yet; KEY is the order in which they came
~/.cit/outbox/sent/KEY.ID-NAME.cit    has a ticket; stays until it is seen done or expires, so that it can be sent again
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

from . import accept
from .accept import Answer
from .cit_format import body, clock, control, glance, handover, home, journal, names, put, reader, shelf, spool, trust
from .cit_format.document import Document
from .cit_format.errors import DENIED, CitError
from .cit_format.reader import Faulty
from .places import Places, full_name

KEPT = "kept"
Item = tuple[str, Document]  # a document and its file name
Wanted = Callable[[Optional[home.Queue]], bool]  # of which queue documents are; None: of one that cannot be had


# --- decisions ------------------------------------------------------------------------------------------------------


def objection(arrival: Union[Document, Faulty]) -> CitError | None:
    """Why no queue would take it, as far as that can be seen without one."""
    try:
        if isinstance(arrival, Faulty):
            raise arrival.error
        if arrival.kind == "control":
            control.wish(arrival)
        elif arrival.kind == "handover":
            handover.said(arrival)
        else:
            trust.objection(arrival)
        return None
    except CitError as error:
        return error


def foreign(arrival: Union[Document, Faulty], queue: home.Queue) -> CitError | None:
    """Why a document is not for this queue: it names another one."""
    if isinstance(arrival, Faulty) or full_name(arrival) == queue.full_name:
        return None
    what = f"it is for queue {full_name(arrival) or '(none)'}, this is {queue.full_name}"
    return CitError(DENIED, what, "make it for this queue: cit-trigger --queue", arrival.label)


def is_expired(document: Document, now: int) -> bool:
    """Whether no queue will take it any more."""
    expires = document.table(document.kind).get("expires")
    return isinstance(expires, body.Time) and expires < now


def answer(arrival: Union[Document, Faulty], error: CitError | None = None) -> Answer:
    """The answer to what is kept, or refused before any queue has seen it."""
    known = (clock.new_id(), "refused") if isinstance(arrival, Faulty) else (arrival.id, arrival.name)
    return accept.answer(known, arrival, error or KEPT)


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
            self.shelve(self.named(new), self.path)
            self.note([(job, KEPT) for job in new])
        return [answer(arrival, error) for arrival, error in zip(arrivals, errors)]

    def named(self, new: Sequence[Document]) -> list[Item]:
        """Documents with the names that they will have, in this order after all that came before."""
        spool.make_directory(self.path)
        first = put.next_sequences(self.path / ".sequence", len(new)) if new else 0
        return [(str(names.FileName(job.id, job.name, names.key(0, first + number))), job) for number, job in enumerate(new)]

    def shelve(self, items: Sequence[Item], directory: Path) -> None:
        """Write documents into the outbox, or into a claim on it; all is on disk when this returns."""
        shelf.shelve(self.path / ".tmp", [(f"{directory}/{name}", job.raw) for name, job in items])

    def waiting(self, queues: Places, wanted: Wanted) -> list[Item]:
        """What is kept for the queues that are wanted, in order; what is left of runs that were killed is tidied up before."""
        spool.recover(self.path)
        spool.sweep_temporary(self.path / ".tmp")
        self._forget(queues)
        return [item for item in _read(self.path) if wanted(queues.named(item[1]))]

    def again(self) -> None:
        """Have what was sent before sent again: harmless, as its queue knows it."""
        for name in spool.listing(self.sent):
            spool.give_back(self.sent / name, self.path)

    def listed(self) -> Iterator[Answer]:
        """A ticket for each document: `kept`, or `accepted` once a queue took it."""
        claims = sorted((self.path / ".claim").glob("[!.]*"))
        for directory, state in ((self.sent, put.ACCEPTED), *((claim, KEPT) for claim in claims), (self.path, KEPT)):
            for _, document in _read(directory):
                yield accept.answer((document.id, document.name), document, state)

    def _forget(self, queues: Places) -> None:
        """Remove from sent/ what is seen done in its queue (of one elsewhere: what is known of it here), or has expired."""
        now = clock.now()
        done: dict[Path, set[str]] = {}
        for name in spool.listing(self.sent):
            with contextlib.suppress(FileNotFoundError):
                said = glance.at(self.sent / name)
                identity = name.partition(".")[2][:26]
                days = [queue / "done" / clock.id_day(identity) for queue in queues.by_full_name.get(said.text("queue"), [])]
                for day in days:
                    if day not in done:
                        done[day] = {other[:26] for other in spool.listing(day)}
                if 0 < said.number("expires") < now or any(identity in done[day] for day in days):
                    os.unlink(self.sent / name)

    def note(self, moves: list[tuple[Document, str]]) -> None:
        """Lines of the home's log: which document was kept, sent or refused, and for which queue."""
        journal.note(home.path() / "log", [(f"{job.id}-{job.name}", word, full_name(job)) for job, word in moves], "queue")


def _read(directory: Path) -> Iterator[Item]:
    for name in spool.listing(directory):
        with contextlib.suppress(FileNotFoundError):
            yield name, reader.parse((directory / name).read_bytes())
