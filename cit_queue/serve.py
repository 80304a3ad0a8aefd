"""The door: what a key from elsewhere may ask of a queue or a build account, one verb a connection (docs/stages/queue.md).

    put-accept          documents into the queue            framed stream in, framed tickets out
    put-done            results into the queue              the same
    put-inbox           assigned jobs into a build account  the same
    put-control         wishes into a build account         the same
    put-tickets         what a build account may forget     the same
    others              look only (looks.py)

A cut is never an end, so what is put comes framed, and none of it is used unless all of it arrived. Who asks is one of the
closed roles of roles.py; words are compared with lists and never reach a shell.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import Optional, Union

from . import accept, copying, looks, mend, roles, share, sight
from .cit_format import after, clock, control, door, fetch, frame, glance, home, put, reader, refuse, ticket, wake
from .cit_format.command import own_programs_last
from .cit_format.document import Document
from .cit_format.errors import CONFIG, DATA, DENIED, LATER, OK, CitError, worst
from .cit_format.reader import Faulty
from .looks import Place
from .roles import Asker

DOCUMENTS, BYTES = 10_000, "128M"  # of a stream, where the settings say nothing
SILENCE = 60.0  # seconds without a byte, after which a sender is given up
LONGEST = 3600.0  # seconds for a whole stream
Arrival = Union[Document, Faulty]


# --- one group of documents -----------------------------------------------------------------------------------------


def put_all(place: Place, verb: str, arrivals: Iterator[Arrival], by: Asker) -> tuple[list[Document], int]:
    """The tickets of a whole stream, in order, and the worst status."""
    tickets: list[Document] = []
    group: list[Arrival] = []
    status = OK
    for arrival in arrivals:
        group.append(arrival)
        if len(group) == put.GROUP_DOCUMENTS:
            status = worst(status, _put_group(place, verb, group, tickets, by))
            group = []
    return tickets, worst(status, _put_group(place, verb, group, tickets, by))


def _put_group(place: Place, verb: str, group: list[Arrival], tickets: list[Document], by: Asker) -> int:
    if not group:
        return OK
    if isinstance(place, home.Queue) and verb == "put-accept":
        kept = share.kept_out(place, group) if by.role else {}
        taken_in = iter(accept.take_in([arrival for number, arrival in enumerate(group) if number not in kept], place))
        new = [kept[number] if number in kept else next(taken_in).ticket for number in range(len(group))]
    else:
        whole = [arrival for arrival in group if isinstance(arrival, Document)]
        given = iter(_handed_over(place, verb, whole, by))
        new = [next(given) if isinstance(arrival, Document) else _unread(place, arrival) for arrival in group]
    tickets += new
    status = OK
    for each in new:
        said = each.table("ticket")
        if said["state"] == "refused":
            status = worst(status, int(str(said["status"])))
        elif said["state"] == "kept":
            status = worst(status, LATER)
    wake.arrived(place.path, place.on_arrival)
    return status


def _handed_over(place: Place, verb: str, whole: list[Document], by: Asker) -> list[Document]:
    if isinstance(place, home.Queue):
        tickets = door.put_done(place, whole, by.who if by.role == "builder" else "")
        # What is to be tried again, or follows, waits before the builder may forget it.
        kept = [job for job, each in zip(whole, tickets) if each.table("ticket")["state"] not in ("refused", "kept")]
        after.followed(place, kept, clock.now())
        return tickets
    queue = by.who if by.role == "queue" else ""
    if verb == "put-tickets":
        return fetch.put_tickets(place, whole, queue)
    own = [document for document in whole if not queue or glance.of(document.raw).text("queue") == queue]
    given = iter(control.put_all(place / "control", own, place.signers) if verb == "put-control" else door.put_inbox(place, own))
    mine = {id(document) for document in own}
    return [next(given) if id(document) in mine else _foreign(document, queue) for document in whole]


def _foreign(document: Document, queue: str) -> Document:
    error = CitError(DENIED, f"this door is for {queue}, and it is another queue's", "each queue hands over its own", document.label)
    return ticket.ticket(document.id, document.name, document.raw, put.REFUSED, error)


def _unread(place: Place, arrival: Faulty) -> Document:
    kept = refuse.keep(place / "refused", arrival, arrival.error, "queue")
    return ticket.ticket(kept.id, kept.name, arrival, "refused", arrival.error)


# --- one connection -------------------------------------------------------------------------------------------------


def limits(place: Place) -> tuple[int, int]:
    """The most documents and bytes of one stream, by `door-documents` and `door-bytes` of the place's settings; else 78."""
    documents, size = place.settings.get("door-documents", DOCUMENTS), place.settings.get("door-bytes", BYTES)
    try:
        if isinstance(documents, int) and not isinstance(documents, bool) and documents > 0:
            return documents, clock.size(str(size))
    except CitError as error:
        raise CitError(CONFIG, f"door-bytes: {error.what}", error.hint) from None
    raise CitError(CONFIG, f"door-documents = {documents}", "a number of documents, from 1")


def patient(fd: int, silence: float = SILENCE, longest: float = LONGEST) -> Callable[[int], bytes]:
    """A `read` that gives up (65) a sender who sends nothing for `silence` seconds, or has not ended after `longest`."""
    end = time.monotonic() + longest

    def read(size: int) -> bytes:
        left = end - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], min(silence, left))[0]:
            what = f"nothing came for {silence:g} s" if left > silence else f"the stream did not end within {longest:g} s"
            raise CitError(DATA, what, "nothing of it was used; send it again")
        return os.read(fd, size)

    return read


def taken(place: Place, verb: str, by: Asker) -> int:
    """Answer a verb with which a stream comes: tickets, framed."""
    documents, size = limits(place)
    if isinstance(place, home.Queue):
        if verb == "put-accept" and not place.active:
            raise CitError(LATER, f"queue {place.name} is not active", "another one may be: `cit queues`")
        mend.in_passing(place)
    whole = frame.unframed(patient(0), strict=True, documents=documents, size=size)
    tickets, status = put_all(place, verb, reader.documents(whole), by)
    sys.stdout.buffer.write(frame.framed(b"".join(each.raw for each in tickets), len(tickets)))
    return status


def serve(command: str, by: Asker, queue: Callable[[Optional[str]], home.Queue], account: Callable[[], home.Account]) -> int:
    """Answer one command on stdout."""
    if copying.is_asked(command):
        roles.may_copy(by)
        own = account()
        if own.settings.get("door-scp") is not True:
            raise CitError(DENIED, "scp and sftp are not served at this door", "`cit fetch` is; the owner may let scp in: cit config door-scp true")
        return copying.serve(command, own, sight.of(by, own))
    asked = roles.asked(command, by)
    place: Place = queue(asked.queue) if asked.about == roles.QUEUE else account()
    sees = sight.of(by, place)
    own_programs_last()
    if roles.VERBS[asked.verb].takes:
        status = taken(place, asked.verb, by)
    else:
        whole = sight.whole(by, place) if asked.verb in ("log", "file") else None
        pieces, status = looks.answer(place, asked.verb, asked.words, by.who, sees, by.role, whole)
        sys.stdout.buffer.writelines(pieces)
    sys.stdout.buffer.flush()
    return status
