"""One run's documents into their queues: what was kept before goes first, then each document where it belongs.

Pages: docs/stages/queue.md ("When a queue cannot be had").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import accept, mend
from .accept import Answer, Arrival
from .cit_format import home, messages, wake
from .cit_format.errors import LATER, CitError
from .outbox import KEPT, Outbox
from .places import Places, reached


class Intake:
    """Puts groups of documents into queues or into the outbox."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.outbox = Outbox()
        self.sent = False
        self.told = False
        self._to_wake: dict[home.Queue, None] = {}
        self._mended: set[home.Queue] = set()

    def take(self, group: Sequence[Arrival], turn: Callable[[], object] = lambda: None) -> list[Answer]:
        """The answers to a group, in order; all that is acknowledged is on disk. `turn` waits until the group before is done."""
        if not self.sent:
            self.sent = True
            self.send()
        where = [self.places.place(arrival) for arrival in group]
        answers: dict[int, Answer] = {}
        for queue in dict.fromkeys(where):
            numbers = [number for number, place in enumerate(where) if place is queue]
            some = [group[number] for number in numbers]
            answers.update(zip(numbers, self._put(queue, some, turn) if queue else self._keep(some, turn)))
        return [answers[number] for number in range(len(group))]

    def send(self) -> list[Answer]:
        """Send what the outbox keeps. What still cannot go stays there, and is no fault of this run; what is refused is said."""
        answers = []
        try:
            answers += [answer for answer in self.outbox.send(self.places) if answer.state != KEPT]
        except CitError as error:
            if error.status != LATER:
                raise
        for answer in answers:
            if answer.error:
                messages.complain(answer.error)
        gone = sum(answer.error is None for answer in answers)
        if gone:
            messages.tell("note", f"{gone} kept before went to their queue now")
        return answers

    def wake(self) -> None:
        """Start the passes over the queues that took something; after the tickets are written."""
        while self._to_wake:  # another group may add to it meanwhile
            queue, _ = self._to_wake.popitem()
            wake.arrived(queue.path, queue.on_arrival)

    def _put(self, queue: home.Queue, some: list[Arrival], turn: Callable[[], object]) -> list[Answer]:
        try:
            with reached(queue.name):
                if queue not in self._mended:
                    self._mended.add(queue)
                    mend.in_passing(queue)
                answers = accept.take_in(some, queue, turn=turn)
        except CitError as error:
            if error.status != LATER:
                raise
            self.places.away = self.places.away or error
            return self._keep(some, turn)
        if not all(answer.error for answer in answers):
            self._to_wake[queue] = None
        return answers

    def _keep(self, some: list[Arrival], turn: Callable[[], object]) -> list[Answer]:
        turn()
        answers = self.outbox.keep(some)
        if self.places.away and not self.told and not all(answer.error for answer in answers):
            self.told = True
            messages.complain(self.places.away)
        return answers
