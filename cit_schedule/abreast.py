"""Several doors at once: what is asked of one account is asked one thing after the other, of different ones side by side.

Errands elsewhere are run by at most 16 threads; all that changes files here happens in the one that waits, as answers come. So a door
that is slow, or does not answer, holds up nobody but its own. What belongs to this machine is done by the one that waits, too.
Pages: docs/stages/deliver.md
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .cit_format import address
from .cit_format.errors import CitError

if TYPE_CHECKING:
    from queue import SimpleQueue

MOST = 16  # doors at once


class Errand(NamedTuple):
    """What is asked of a place, in whatever thread, and what is done with the answer (or its CitError), by the one that waits."""

    place: str
    act: Callable[[], Any]
    then: Callable[[Any], None]


class Abreast:
    """The errands of one pass."""

    def __init__(self) -> None:
        self.lines: dict[str, deque[Errand]] = {}  # by account, in order
        self.under_way: set[str] = set()
        self.threads = 0
        self.work: SimpleQueue[tuple[str, Errand]]
        self.answers: SimpleQueue[tuple[str, Errand, Any]]

    def add(self, place: str, act: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have something asked of a place, after what is being asked of it already."""
        self.lines.setdefault(_line(place), deque()).append(Errand(place, act, then))

    def is_busy(self, place: str) -> bool:
        """Whether something is asked of a place, or is about to be."""
        line = _line(place)
        return line in self.under_way or bool(self.lines.get(line))

    def step(self, seconds: float) -> bool:
        """Have one more answer taken in, or wait in vain for so long; false where there is nothing to wait for."""
        for line, errands in self.lines.items():
            if errands and line not in self.under_way and not line.startswith("/") and len(self.under_way) < MOST:
                self._start(line, errands.popleft())
        for line, errands in self.lines.items():
            if errands and line.startswith("/"):
                errand = errands.popleft()
                self._take_in(line, errand, _outcome(errand))
                return True
        if not self.under_way:
            return False
        from queue import Empty

        try:
            line, errand, outcome = self.answers.get(timeout=seconds)
        except Empty:
            return True
        self.under_way.discard(line)
        self._take_in(line, errand, outcome)
        return True

    def _take_in(self, line: str, errand: Errand, outcome: Any) -> None:
        if isinstance(outcome, CitError):
            self.lines[line].clear()  # the rest would fail as well, and as slowly
        elif isinstance(outcome, BaseException):
            raise outcome
        errand.then(outcome)

    def _start(self, line: str, errand: Errand) -> None:
        if not self.threads:
            from queue import SimpleQueue

            self.work, self.answers = SimpleQueue(), SimpleQueue()
        self.under_way.add(line)
        if self.threads < len(self.under_way):
            import threading

            self.threads += 1
            threading.Thread(target=self._serve, daemon=True).start()
        self.work.put((line, errand))

    def _serve(self) -> None:
        while True:
            line, errand = self.work.get()
            self.answers.put((line, errand, _outcome(errand)))


def _line(place: str) -> str:
    """The account elsewhere that is connected to; of this machine, and of what is no place, the words as they are with a slash before them."""
    try:
        return str(address.parse(place)._replace(queue=""))
    except CitError:
        return f"/{place}"


def _outcome(errand: Errand) -> Any:
    try:
        return errand.act()
    except BaseException as error:  # it is raised where somebody waits
        return error
