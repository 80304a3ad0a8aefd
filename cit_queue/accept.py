"""Accepting a group of documents: judge, append `accepted` and the queue's signature, put, answer with tickets.

Pages: docs/stages/queue.md, docs/directories.md. The judging itself is cit_format/admission.py and control.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, Union

from . import wishes
from .cit_format import clock, control, home, put, refuse, ticket
from .cit_format.admission import Admission
from .cit_format.control import Wish
from .cit_format.document import Document
from .cit_format.errors import NO, CitError
from .cit_format.reader import Faulty

MANY = 100  # from so many documents on a second process is worth its start
Arrival = Union[Document, Faulty]
# An accepted job as it now stands, a wish with power, a handover as it came, or why it is refused.
Verdict = Union[bytes, Wish, Document, CitError]


class Answer(NamedTuple):
    """The ticket of one arrival, the state that it says, and its error if it was refused."""

    ticket: Document
    state: str
    error: CitError | None = None


def answer(known: tuple[str, str], received: Arrival, end: Union[str, CitError]) -> Answer:
    """The answer to what was received and is known by this ID and NAME: the state that it ended in, or why it was refused."""
    error = end if isinstance(end, CitError) else None
    state = end if isinstance(end, str) else "refused"
    raw = received if isinstance(received, Faulty) else received.raw
    return Answer(ticket.ticket(*known, raw, state, error), state, error)


class Judge:
    """Judges what arrives at one moment: all jobs that it accepts get the same event."""

    def __init__(self, queue: home.Queue, now: int, remark: str = "") -> None:
        self.queue = queue
        self.now = now
        self.admission = Admission(queue, now, remark)

    def verdict(self, arrival: Arrival) -> Verdict:
        """The job with `accepted` and the queue's signature, or the wish that a control document is, or why it is refused."""
        if isinstance(arrival, Faulty):
            return arrival.error
        queue = self.queue
        try:
            if arrival.kind == "handover":
                return arrival  # what it does is done with the group (activate.py)
            if arrival.kind == "control":
                return control.verified(arrival, queue.signers, self.now, queue.full_name)
            return self.admission.admitted(arrival)
        except CitError as error:
            error.where = error.where or arrival.label
            return error

    def verdicts(self, arrivals: list[Arrival]) -> list[Verdict]:
        """`verdict` for each, in order; a long group in a process beside this one, which has other groups to put meanwhile."""
        if len(arrivals) < MANY:
            return [self.verdict(arrival) for arrival in arrivals]
        return begun_beside(lambda: [self.verdict(arrival) for arrival in arrivals])()


def begun_beside(act: Callable[[], list[Verdict]]) -> Callable[[], list[Verdict]]:
    """Begin `act` in a process of its own; what is returned waits for its outcome. If that process dies, it is done here."""
    import pickle

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.closerange(3, writing)  # no lock of ours lives on in it
            os.closerange(writing + 1, 1 << 20)
            with os.fdopen(writing, "wb") as stream:
                pickle.dump(act(), stream)
        finally:
            os._exit(0)
    os.close(writing)

    def outcome() -> list[Verdict]:
        with os.fdopen(reading, "rb") as stream:
            told = stream.read()
        os.waitpid(pid, 0)
        try:
            verdicts: list[Verdict] = pickle.loads(told)  # by our own child, over a pipe that nobody else has
        except (EOFError, pickle.UnpicklingError):
            verdicts = act()
        return verdicts

    return outcome


def take_in(arrivals: list[Arrival], queue: home.Queue, remark: str = "", turn: Callable[[], object] = lambda: None) -> list[Answer]:
    """Take a group into the queue: all that is acknowledged is on disk when this returns; what is refused, in refused/.

    `remark` goes into the event, after the queue's name. `turn` is called between judging and the first change.
    """
    verdicts = Judge(queue, clock.now(), remark).verdicts(arrivals)
    turn()
    became: list[Union[str, CitError]] = [verdict if isinstance(verdict, CitError) else "" for verdict in verdicts]
    jobs, items = [], []
    for number, (arrival, verdict) in enumerate(zip(arrivals, verdicts)):
        if isinstance(verdict, bytes) and isinstance(arrival, Document):
            jobs.append(number)
            items.append(queue.describe(arrival)._replace(raw=verdict))
    for number, outcome in zip(jobs, queue.putter.put(items)):
        became[number] = outcome.error or outcome.word
    wished = [(number, arrival, verdict) for number, (arrival, verdict) in enumerate(zip(arrivals, verdicts)) if isinstance(verdict, Wish)]
    if wished:  # after the jobs, which may be what they are about
        kept = wishes.keep(queue, [(arrival, asked) for _, arrival, asked in wished if isinstance(arrival, Document)])
        for (number, _, _), answer in zip(wished, kept):
            became[number] = answer
    for number, verdict in enumerate(verdicts):
        if isinstance(verdict, Document):
            from . import activate

            try:
                became[number] = activate.handed_over(queue, verdict)
            except CitError as error:
                became[number] = error
    return _answers(arrivals, became, queue)


def _answers(arrivals: list[Arrival], became: list[Union[str, CitError]], queue: home.Queue) -> list[Answer]:
    """Keep what is refused, note the moves, write the tickets."""
    refused = [(number, error) for number, error in enumerate(became) if isinstance(error, CitError) and error.status != NO]
    kept = refuse.keep_all(queue / "refused", [(arrivals[number], error) for number, error in refused], "queue") if refused else []
    explained = {number: each for (number, _), each in zip(refused, kept)}
    answers, moves = [], []
    for number, (arrival, end) in enumerate(zip(arrivals, became)):
        known = explained[number] if isinstance(arrival, Faulty) else arrival
        answers.append(answer((known.id, known.name), arrival, end))
        if isinstance(end, CitError):
            moves.append((f"{known.id}-{known.name}", "refused", end.what))
        elif end == put.ACCEPTED:
            said = known.table(known.kind)
            detail = str(said.get("submitter", ""))
            if known.kind == "control":
                detail = f"{said['action']} {said['target']} {detail}"
            elif known.kind == "handover":
                detail = f"handover to epoch {said['epoch']}"
            moves.append((f"{known.id}-{known.name}", "accepted", detail))
    queue.note(moves, "queue")
    return answers
