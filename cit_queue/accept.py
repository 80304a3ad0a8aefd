"""Accepting a group of jobs: judge, append `accepted` and the queue's signature, put, answer with tickets.

Pages: docs/stages/queue.md, docs/directories.md. The judging itself is cit_format/trust.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Union

from .cit_format import clock, document, home, journal, put, refuse, ticket, trust
from .cit_format.document import Document
from .cit_format.errors import CitError
from .cit_format.reader import Faulty

FEW = 8  # up to so many documents no threads are worth their start
Arrival = Union[Document, Faulty]


class Answer(NamedTuple):
    """The ticket of one arrival, and its error if it was refused."""

    ticket: Document
    error: CitError | None


def judged(job: Document, queue: home.Queue, now: int) -> Document | CitError:
    """The job with `accepted` and the queue's signature, or why it is refused."""
    try:
        trust.accepted(job, queue.signers, queue.full_name, now)
        event = document.section("event", "tsv", journal.event("queue", "accepted", queue.name, now))
        return home.signed(job.extended(event), queue.signer, queue.identity, "cit-queue")
    except CitError as error:
        error.where = error.where or job.label
        return error


def judge_all(arrivals: list[Arrival], queue: home.Queue, now: int) -> list[Document | CitError]:
    """`judged` for each, in order; verification leaves the interpreter's lock, so that two cores serve a long group."""

    def judge(arrival: Arrival) -> Document | CitError:
        return arrival.error if isinstance(arrival, Faulty) else judged(arrival, queue, now)

    if len(arrivals) <= FEW:
        return [judge(arrival) for arrival in arrivals]
    _ = queue.signers, queue.signer, queue.full_name  # read once, before the threads
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(judge, arrivals))


def take_in(arrivals: list[Arrival], queue: home.Queue) -> list[Answer]:
    """Accept a group into the queue: all that is acknowledged is on disk when this returns."""
    now = clock.now()
    verdicts = judge_all(arrivals, queue, now)
    firsts: dict[str, int] = {}  # of a submission that comes twice in one group the second waits for the first
    seconds: list[int] = []
    for number, verdict in enumerate(verdicts):
        if isinstance(verdict, Document):
            if verdict.id in firsts:
                seconds.append(number)
            else:
                firsts[verdict.id] = number
    outcomes: dict[int, put.Outcome] = {}
    for numbers in filter(None, (list(firsts.values()), seconds)):
        for number, outcome in zip(numbers, _put(queue, [verdicts[number] for number in numbers])):
            outcomes[number] = outcome
    moves, answers = [], []
    for number, (arrival, verdict) in enumerate(zip(arrivals, verdicts)):
        error = verdict if isinstance(verdict, CitError) else outcomes[number].error
        if isinstance(arrival, Faulty):
            refused = refuse.keep(queue / "refused", arrival, arrival.error, "queue")
            answers.append(Answer(ticket.ticket(refused.id, "refused", arrival.first, "refused", error), error))
            moves.append((f"{refused.id}-refused", "refused", arrival.error.what))
        elif error is not None:
            refuse.keep(queue / "refused", arrival, error, "queue")
            answers.append(Answer(ticket.ticket(arrival.id, arrival.name, arrival.raw, "refused", error), error))
            moves.append((f"{arrival.id}-{arrival.name}", "refused", error.what))
        else:
            word = outcomes[number].word
            answers.append(Answer(ticket.ticket(arrival.id, arrival.name, arrival.raw, word), None))
            if word == put.ACCEPTED:
                moves.append((f"{arrival.id}-{arrival.name}", "accepted", str(arrival.table("job").get("submitter", ""))))
    queue.note(moves, "queue")
    return answers


def _put(queue: home.Queue, verdicts: list[Document | CitError]) -> list[put.Outcome]:
    items = [queue.describe(verdict) for verdict in verdicts if isinstance(verdict, Document)]
    putter = queue.putter
    if len({item.mark for item in items}) == len(items):
        return putter.put(items)
    return [outcome for item in items for outcome in putter.put([item])]
