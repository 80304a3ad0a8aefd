"""A round of the carrier: which doors it knows to rest, what it asks of the others, and what came of it (docs/stages/deliver.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Union

from . import transport
from .abreast import Abreast
from .cit_format import clock, home, messages
from .cit_format.document import Document
from .cit_format.errors import LATER, OK, CitError, worst
from .resting import Resting

Tickets = Union["list[Document]", CitError]


class Round:
    """One round for a spool of a queue or a build account, whose key it comes with; used with `with`. `status` is the worst that happened."""

    def __init__(self, spool: Path) -> None:
        self.owner: Union[home.Queue, home.Account] = home.Account(spool.parent)
        if (spool.parent / "queue.toml").exists():
            self.owner = home.Queue(spool.parent)
        self.now = clock.now()
        self.doors = transport.Doors(self.owner)
        self.abreast = Abreast()
        self.resting = Resting(spool)
        self.status = OK
        self.moves: list[tuple[str, str, str]] = []  # for the log

    def rests(self, place: str) -> bool:
        """Whether a door is not tried now; what waits for it is kept, which is a status of its own."""
        rests = self.resting.rests(place, self.now)
        self.status = worst(self.status, LATER) if rests else self.status
        return rests

    def failed(self, place: str, error: CitError) -> None:
        """A door did not answer, or did not take what it was given: it rests."""
        self.status = worst(self.status, messages.complain(error))
        self.resting.failed(place, error.what, self.now)

    def hand_over(self, place: str, verb: str, documents: list[Document], then: Callable[[list[Document]], None]) -> None:
        """Have documents handed over; `then` gets their tickets. Where none come the door rests."""
        self._ask(place, lambda: self.doors.hand_over(place, verb, documents), then)

    def fetch(self, place: str, verb: str, then: Callable[[list[Document]], None]) -> None:
        """Have documents fetched; `then` gets them."""
        self._ask(place, lambda: self.doors.at(place).fetched(verb), then)

    def _ask(self, place: str, act: Callable[[], list[Document]], then: Callable[[list[Document]], None]) -> None:
        def take_in(answer: Any) -> None:
            if isinstance(answer, CitError):
                self.failed(place, answer)
            else:
                then(answer)

        self.abreast.add(place, act, take_in)

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *_: object) -> None:
        self.doors.close()
        self.resting.keep()
        self.owner.note(self.moves, "deliver")
