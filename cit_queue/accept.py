"""Accepting a group of documents: judge, append `accepted` and the queue's signature, put, answer with tickets.

Pages: docs/stages/queue.md, docs/directories.md. The judging itself is cit_format/trust.py and control.py.
"""

from __future__ import annotations

from typing import NamedTuple, Union

from . import wishes
from .cit_format import clock, control, document, home, journal, names, put, refuse, ticket, trust
from .cit_format.body import Time, Value
from .cit_format.control import Wish
from .cit_format.document import Document
from .cit_format.errors import DATA, NO, CitError
from .cit_format.reader import Faulty

FEW = 8  # up to so many documents no threads are worth their start
Arrival = Union[Document, Faulty]
Verdict = Union[Document, Wish, CitError]


class Answer(NamedTuple):
    """The ticket of one arrival, and its error if it was refused."""

    ticket: Document
    error: CitError | None = None

    @property
    def state(self) -> str:
        """What the ticket says became of it."""
        return str(self.ticket.table("ticket")["state"])


def judged(arrival: Arrival, queue: home.Queue, now: int, remark: str = "") -> Verdict:
    """The job with `accepted` and the queue's signature, or the wish that a control document is, or why it is refused.

    `remark` goes into the event, after the queue's name.
    """
    if isinstance(arrival, Faulty):
        return arrival.error
    try:
        if arrival.kind == "control":
            return control.verified(arrival, queue.signers, now, queue.full_name)
        check_order(arrival.table("job"))
        trust.accepted(arrival, queue.signers, queue.full_name, now)
        event = document.section("event", "tsv", journal.event("queue", "accepted", queue.name + remark, now))
        return home.signed(arrival.extended(event), queue.signer, queue.identity, "cit-queue")
    except CitError as error:
        error.where = error.where or arrival.label
        return error


def check_order(job: dict[str, Value]) -> None:
    """65 where the keys that decide a job's place in the queue are not what they must be: its file name is made of them."""
    priority, begin, hold = job.get("priority", 0), job.get("begin", Time(0)), job.get("hold", False)
    if type(priority) is not int or not names.LOWEST <= priority <= names.HIGHEST:
        raise CitError(DATA, f"priority {priority}", f"an integer from {names.LOWEST} to {names.HIGHEST}")
    if not isinstance(begin, Time) or begin >= names.NEVER:
        raise CitError(DATA, f"begin {begin}", "a UTC time before 2286, as 2026-11-23T20:26:11Z")
    if not isinstance(hold, bool):
        raise CitError(DATA, f"hold {hold}", "true or false")


def judge_all(arrivals: list[Arrival], queue: home.Queue, now: int, remark: str = "") -> list[Verdict]:
    """`judged` for each, in order; verification leaves the interpreter's lock, so that two cores serve a long group."""
    if len(arrivals) <= FEW:
        return [judged(arrival, queue, now, remark) for arrival in arrivals]
    from concurrent.futures import ThreadPoolExecutor

    _ = queue.signers, queue.signer, queue.full_name, queue.identity  # read once, before the threads
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda arrival: judged(arrival, queue, now, remark), arrivals))


def take_in(arrivals: list[Arrival], queue: home.Queue, remark: str = "") -> list[Answer]:
    """Take a group into the queue: all that is acknowledged is on disk when this returns; what is refused, in refused/."""
    verdicts = judge_all(arrivals, queue, clock.now(), remark)
    became: list[Union[str, CitError]] = [verdict if isinstance(verdict, CitError) else "" for verdict in verdicts]
    jobs = [number for number, verdict in enumerate(verdicts) if isinstance(verdict, Document)]
    for number, outcome in zip(jobs, queue.putter.put(_item(queue, arrivals[number], verdicts[number]) for number in jobs)):
        became[number] = outcome.error or outcome.word
    wished = [(number, arrival, verdict) for number, (arrival, verdict) in enumerate(zip(arrivals, verdicts)) if isinstance(verdict, Wish)]
    if wished:  # after the jobs, which may be what they are about
        kept = wishes.keep(queue, [(arrival, asked) for _, arrival, asked in wished if isinstance(arrival, Document)])
        for (number, _, _), answer in zip(wished, kept):
            became[number] = answer
    return _answers(arrivals, became, queue)


def _item(queue: home.Queue, arrival: Arrival, accepted: Verdict) -> put.Item:
    assert isinstance(arrival, Document) and isinstance(accepted, Document)
    return queue.describe(arrival)._replace(raw=accepted.raw)


def _answers(arrivals: list[Arrival], became: list[Union[str, CitError]], queue: home.Queue) -> list[Answer]:
    """Keep what is refused, note the moves, write the tickets."""
    refused = [(number, error) for number, error in enumerate(became) if isinstance(error, CitError) and error.status != NO]
    kept = refuse.keep_all(queue / "refused", [(arrivals[number], error) for number, error in refused], "queue") if refused else []
    explained = {number: each for (number, _), each in zip(refused, kept)}
    answers, moves = [], []
    for number, (arrival, end) in enumerate(zip(arrivals, became)):
        known = explained[number] if isinstance(arrival, Faulty) else arrival
        received = arrival if isinstance(arrival, Faulty) else arrival.raw
        if isinstance(end, CitError):
            answers.append(Answer(ticket.ticket(known.id, known.name, received, "refused", end), end))
            moves.append((f"{known.id}-{known.name}", "refused", end.what))
            continue
        answers.append(Answer(ticket.ticket(known.id, known.name, received, end)))
        if end == put.ACCEPTED:
            said = known.table(known.kind)
            detail = str(said.get("submitter", ""))
            if known.kind == "control":
                detail = f"{said['action']} {said['target']} {detail}"
            moves.append((f"{known.id}-{known.name}", "accepted", detail))
    queue.note(moves, "queue")
    return answers
