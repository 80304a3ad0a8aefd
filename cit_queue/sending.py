"""What is in the outbox goes to its queues, in order; what is for a queue elsewhere always goes this way (docs/stages/queue.md).

Whoever sends claims: what is sent now lies in the claim of this process, and in the outbox again once that has died. So a kill at
any call leaves a document in the outbox, in its queue, or in both; sent again, its queue knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from . import accept, outbox, remote
from .accept import Answer, Arrival
from .cit_format import clock, home, put, spool, wake
from .cit_format.document import Document
from .cit_format.errors import DENIED, CitError
from .outbox import KEPT, Item, Outbox, Wanted
from .places import Places, reached


def groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items in groups as they are put: at most 1,000 or 8 MiB."""
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item[1].raw)
        if len(group) >= put.GROUP_DOCUMENTS or size >= put.GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def send(box: Outbox, queues: Places, wanted: Wanted = lambda queue: True) -> Iterator[Answer]:
    """Send what is kept for the queues that are wanted, in order, each to the queue that it names; the answers.

    What has a ticket moves to sent/; what is refused leaves, as the queue that refused it keeps it; the rest stays.
    """
    if box.path.exists():
        yield from (answer for _, answer in _sent(box, queues, box.waiting(queues, wanted)))


def carry(box: Outbox, arrivals: Sequence[Arrival], queue: home.Queue, queues: Places) -> tuple[list[Answer], list[Answer]]:
    """Send documents to a queue elsewhere, after what was kept for it before: the answers to these, and to those before.

    They are on disk here before anything is sent, and stay, with `kept` for an answer, where it cannot be had.
    """
    errors = [outbox.objection(arrival) or outbox.foreign(arrival, queue) for arrival in arrivals]
    mine = {each.raw: each for each, error in zip(arrivals, errors) if isinstance(each, Document) and not error}
    before = box.waiting(queues, lambda other: other is queue)
    known = {document.raw: name for name, document in before if document.raw in mine}  # kept before, and here again
    fresh = box.named([each for raw, each in mine.items() if raw not in known])
    known.update((document.raw, name) for name, document in fresh)
    found = dict(_sent(box, queues, before, fresh))
    answers = []
    for arrival, error in zip(arrivals, errors):
        name = known.get(arrival.raw, "") if isinstance(arrival, Document) and not error else ""
        answers.append(found.get(name) or outbox.answer(arrival, error))
    asked = set(known.values())
    return answers, [answer for name, answer in found.items() if name not in asked]


def _sent(box: Outbox, queues: Places, waiting: Sequence[Item], fresh: Sequence[Item] = ()) -> Iterator[tuple[str, Answer]]:
    """Send what waits, then what is fresh and not in the outbox yet: file names and answers."""
    if not waiting and not fresh:
        return
    spool.make_directory(box.sent)
    new = {name for name, _ in fresh}
    with spool.Claim(box.path) as claim:
        if fresh:
            box.shelve(fresh, claim.path)
            spool.sync_directory(claim.path.parent)
            claim.held += [name for name, _ in fresh]
        taken = (item for item in waiting if claim.take(item[0]) is not None)
        for group in groups(chain(taken, fresh)):
            answers = dict(_group_sent(group, queues))
            words = {name: "refused" if answer.error else KEPT if answer.state == KEPT else "sent" for name, answer in answers.items()}
            for name, word in words.items():
                if word == "sent":
                    claim.move(name, box.sent)
                elif word == KEPT:
                    claim.back(name)
                else:
                    claim.drop(name)
            claim.settle()
            if KEPT in words.values():
                spool.sync_directory(box.path)
            box.note([(document, words[name]) for name, document in group if words[name] != KEPT or name in new])
            yield from answers.items()


def _group_sent(group: list[Item], queues: Places) -> Iterator[tuple[str, Answer]]:
    """Hand a group over, queue by queue: file names and answers. A queue that turns out to be away gives way to its replica."""
    now = clock.now()
    left = group
    while left:
        queue = queues.named(left[0][1])
        some = [item for item in left if queues.named(item[1]) is queue]
        left = [item for item in left if queues.named(item[1]) is not queue]
        documents = [document for _, document in some]
        if queue is None:
            yield from ((name, _kept(document, now)) for name, document in some)
        elif queue.remote:
            answers, away = remote.carried(queue, documents, queues.hasty)
            if away:
                queues.lose(queue, away)
            yield from ((name, answer) for (name, _), answer in zip(some, answers) if answer)
            left = [item for item, answer in zip(some, answers) if not answer] + left
        else:
            with reached(queue.name):
                taken = accept.take_in(list(documents), queue)
            wake.arrived(queue.path, queue.on_arrival)
            yield from ((name, answer) for (name, _), answer in zip(some, taken))


def _kept(document: Document, now: int) -> Answer:
    """The answer to a document whose queue still cannot be had."""
    if outbox.is_expired(document, now):
        return outbox.answer(document, CitError(DENIED, "expired in the outbox", "make it anew: cit requeue", document.label))
    return outbox.answer(document)
