"""The door: what a key from elsewhere may ask of a queue or a build account, one verb a connection (docs/stages/queue.md).

    put-accept          documents into the queue            framed stream in, framed tickets out
    put-inbox           assigned jobs into a build account  the same
    put-done            results into the queue              the same
    put-control         wishes into a build account         the same
    ls [STATE [DAY]]    STATE, file name and bytes of each document, TSV
    get ID              the documents of that ID, a framed stream
    have ID...          each ID with the state that it is in, or `-`, TSV
    alive               what this is, whether it is active, its clock and version, TSV

A cut is never an end, so what is put comes framed, and none of it is used unless all of it arrived. A forced command runs
`cit-queue --to @main --door="$SSH_ORIGINAL_COMMAND"`; words are compared with this list and never reach a shell.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Union

from . import accept, mend
from .cit_format import attempts, body, clock, control, door, frame, home, names, put, reader, refuse, spool, ticket, wake
from .cit_format.document import Document
from .cit_format.errors import LATER, NO, NOT_FOUND, OK, USAGE, CitError, worst
from .cit_format.reader import Faulty
from .cit_format.version import VERSION

PUTS = {"put-accept": True, "put-done": True, "put-inbox": False, "put-control": False}  # whether they are for a queue
LOOKS = {"ls": (0, 2), "get": (1, 1), "have": (1, 1000), "alive": (0, 0)}  # how many words they take
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
QUEUE_STATES = ("waiting", "held", "assigned", "sent", "refused")
Place = Union[home.Queue, home.Account]
Arrivals = list[Union[Document, Faulty]]


# --- decisions ------------------------------------------------------------------------------------------------------


def asked(command: str) -> tuple[str, list[str]]:
    """The verb and its words; 2 for what is not in the list."""
    verb, *words = command.split() or [""]
    least, most = (0, 0) if verb in PUTS else LOOKS.get(verb, (1, 0))
    if not least <= len(words) <= most or not all(WORD.fullmatch(word) for word in words):
        hint = f"verbs are {', '.join(PUTS)}, ls [STATE [DAY]], get ID, have ID..., alive"
        raise CitError(USAGE, f"the door knows no {command[:80]!r}", hint)
    return verb, words


# --- putting --------------------------------------------------------------------------------------------------------


def put_all(place: Place, verb: str, arrivals: Iterator[Union[Document, Faulty]]) -> tuple[list[Document], int]:
    """The tickets of a whole stream, in order, and the worst status."""
    tickets: list[Document] = []
    group: Arrivals = []
    status = OK
    for arrival in arrivals:
        group.append(arrival)
        if len(group) == put.GROUP_DOCUMENTS:
            status = worst(status, _put_group(place, verb, group, tickets))
            group = []
    return tickets, worst(status, _put_group(place, verb, group, tickets))


def _put_group(place: Place, verb: str, group: Arrivals, tickets: list[Document]) -> int:
    if not group:
        return OK
    if isinstance(place, home.Queue) and verb == "put-accept":
        new = [answer.ticket for answer in accept.take_in(group, place)]
    else:
        whole = [arrival for arrival in group if isinstance(arrival, Document)]
        given = iter(_handed_over(place, verb, whole))
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


def _handed_over(place: Place, verb: str, whole: list[Document]) -> list[Document]:
    if isinstance(place, home.Queue):
        tickets = door.put_done(place, whole)
        # What is to be tried again waits before the builder may forget it.
        kept = [job for job, each in zip(whole, tickets) if each.table("ticket")["state"] not in ("refused", "kept")]
        attempts.put_again(place, kept, clock.now())
        return tickets
    return control.put_all(place / "control", whole, place.signers) if verb == "put-control" else door.put_inbox(place, whole)


def _unread(place: Place, arrival: Faulty) -> Document:
    kept = refuse.keep(place / "refused", arrival, arrival.error, "queue")
    return ticket.ticket(kept.id, kept.name, arrival, "refused", arrival.error)


# --- looking --------------------------------------------------------------------------------------------------------


def states(place: Place) -> list[str]:
    """The states in which a place's documents lie, but for the days of done."""
    return list(QUEUE_STATES if isinstance(place, home.Queue) else home.ACCOUNT_STATES)


def directories(place: Place, identity: str) -> list[str]:
    """Where documents of an ID may lie, the last state first."""
    days = [f"done/{clock.id_day(identity)}"] if isinstance(place, home.Queue) else []
    return [*days, *reversed(states(place))]


def ls(place: Place, words: list[str]) -> Iterator[bytes]:
    """STATE, file name, bytes of each document; without a word, of every state but done."""
    if words and words[0] not in [*states(place), "done"]:
        raise CitError(NOT_FOUND, f"no state {words[0]}", f"states are {', '.join(states(place))}, done")
    if len(words) == 2 and (words[0] != "done" or not DAY.fullmatch(words[1])):
        raise CitError(USAGE, "a day is asked of done alone", "ls done 2026-11-23")
    if words[:1] == ["done"]:
        days = [words[1]] if len(words) == 2 else sorted(path.name for path in (place / "done").iterdir() if DAY.fullmatch(path.name))
        wanted = [f"done/{day}" for day in days]
    else:
        wanted = words or states(place)
    for state in wanted:
        for name in spool.listing(place / state):
            try:
                yield body.row(state, name, str((place / state / name).stat().st_size))
            except FileNotFoundError:
                continue  # it moved on


def found(place: Place, identity: str) -> Iterator[tuple[str, Path]]:
    """State and path of every document of an ID; 66 where it is none."""
    if names.parse(f"{identity}-x.cit") is None or len(identity) != 26:
        raise CitError(NOT_FOUND, f"{identity[:40]!r} is no ID", "a door is asked for whole IDs")
    for state in directories(place, identity):
        for name in spool.listing(place / state):
            parts = names.parse(name)
            if parts and parts.id == identity:
                yield state, place / state / name


def get(place: Place, identity: str) -> bytes:
    """The documents of an ID as a framed stream; 66 where there are none."""
    pieces = []
    for _, path in found(place, identity):
        try:
            pieces.append(path.read_bytes())
        except FileNotFoundError:
            continue
    if not pieces:
        raise CitError(NOT_FOUND, f"no document {identity}", "`ls` tells what is here")
    return frame.framed(b"".join(pieces), len(pieces))


def have(place: Place, identities: list[str]) -> tuple[list[bytes], int]:
    """Each ID and the state that it is in, or `-`; 1 where one is not here."""
    lines, status = [], OK
    for identity in identities:
        state = next((state for state, _ in found(place, identity)), "-")
        status = status if state != "-" else NO
        lines.append(body.row(identity, state))
    return lines, status


def alive(place: Place) -> bytes:
    """What this is, `active` or not, its clock, its version."""
    if isinstance(place, home.Queue):
        return body.row(place.full_name, "active" if place.active else "inactive", clock.iso(clock.now()), VERSION)
    return body.row(place.identity, "active", clock.iso(clock.now()), VERSION)


# --- one connection -------------------------------------------------------------------------------------------------


def serve(command: str, queue: Callable[[], home.Queue], account: Callable[[], home.Account], wants_queue: bool, read: Callable[[int], bytes]) -> int:
    """Answer one command on stdout."""
    verb, words = asked(command)
    place: Place = queue() if PUTS.get(verb, wants_queue) else account()
    out = sys.stdout.buffer
    status = OK
    if verb in PUTS:
        if isinstance(place, home.Queue):
            if verb == "put-accept" and not place.active:
                raise CitError(LATER, f"queue {place.name} is not active", "another one may be: `cit queues`")
            mend.in_passing(place)
        tickets, status = put_all(place, verb, reader.documents(frame.unframed(read, strict=True)))
        out.write(frame.framed(b"".join(each.raw for each in tickets), len(tickets)))
    elif verb == "ls":
        out.writelines(ls(place, words))
    elif verb == "get":
        out.write(get(place, words[0]))
    elif verb == "have":
        lines, status = have(place, words)
        out.writelines(lines)
    else:
        out.write(alive(place))
    out.flush()
    return status
