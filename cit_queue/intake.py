"""One run's documents into their queues: what was kept before goes first, then each document where it belongs.

Pages: docs/stages/queue.md ("When a queue cannot be had").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import accept, mend, sending
from .accept import Answer, Arrival
from .cit_format import home, messages, wake
from .cit_format.errors import LATER, CitError
from .outbox import KEPT, Outbox, Wanted
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
            self.send(lambda queue: queue is None or not queue.remote)  # one elsewhere may take its time; its own documents wait with it
        where = [self.places.place(arrival) for arrival in group]
        answers: dict[int, Answer] = {}
        for queue in dict.fromkeys(where):
            numbers = [number for number, place in enumerate(where) if place is queue]
            some = [group[number] for number in numbers]
            answers.update(zip(numbers, self._put(queue, some, turn) if queue else self._keep(some, turn)))
        return [answers[number] for number in range(len(group))]

    def send(self, wanted: Wanted = lambda queue: True) -> list[Answer]:
        """Send what the outbox keeps. What still cannot go stays there, and is no fault of this run; what is refused is said."""
        answers: list[Answer] = []
        try:
            answers += sending.send(self.outbox, self.places, wanted)
        except CitError as error:
            if error.status != LATER:
                raise
        self._told(answers)
        return answers

    def _told(self, before: list[Answer]) -> None:
        """Say what became of documents of earlier runs."""
        for answer in before:
            if answer.error:
                messages.complain(answer.error)
        gone = sum(answer.error is None and answer.state != KEPT for answer in before)
        if gone:
            messages.tell("note", f"{gone} kept before went to their queue now")

    def wake(self) -> None:
        """Start the passes over the queues that took something; after the tickets are written."""
        while self._to_wake:  # another group may add to it meanwhile
            queue, _ = self._to_wake.popitem()
            wake.arrived(queue.path, queue.on_arrival)

    def _put(self, queue: home.Queue, some: list[Arrival], turn: Callable[[], object]) -> list[Answer]:
        if queue.remote:
            turn()
            answers, before = sending.carry(self.outbox, some, queue, self.places)
            self._told(before)
            self._tell_away(answers)
            return answers
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
        self._tell_away(answers)
        return answers

    def _tell_away(self, answers: list[Answer]) -> None:
        """Once a run, why its documents are kept."""
        if self.places.away and not self.told and any(answer.state == KEPT for answer in answers):
            self.told = True
            messages.complain(self.places.away)
