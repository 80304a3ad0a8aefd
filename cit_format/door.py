"""What a door does with documents that are handed to it: `put-inbox` and `put-done` (docs/stages/queue.md).

Delivery is at least once, receiving idempotent: the same bytes again get the same ticket. Local or over ssh, it is this code.
The caller starts on-arrival afterwards: an inbox has work, or a queue has slots again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import NamedTuple

from . import clock, heartbeat, home, names, put, reader, refuse, secret, ticket, trust
from .document import Document
from .errors import DATA, DENIED, LATER, CitError
from .shelf import FORK, NEW, shelve
from .spool import documents, listing, make_directory

# --- put-inbox ------------------------------------------------------------------------------------------------------


def put_inbox(account: home.Account, arrivals: list[Document]) -> list[Document]:
    """Assigned jobs into a build account, which believes their signers and not who hands them over; a ticket for each."""
    make_directory(account / "inbox")
    putter = put.Putter(account / "inbox" / ".tmp", account / "seen", lambda job: inbox_item(account, job))
    now = clock.now()
    items: list[put.Item] = []
    errors: dict[int, CitError] = {}
    for number, job in enumerate(arrivals):
        try:
            trust.assigned(job, account.signers, account.signer.public.fingerprint, now)
            heartbeat.meant_here(account, job)
            secret.opened_here(job, account.path)
            items.append(inbox_item(account, job))
        except CitError as error:
            errors[number] = error
    outcomes = iter(putter.put(items))
    tickets: list[Document] = []
    moves: list[tuple[str, str, str]] = []
    present: dict[str, str] = {}
    for number, job in enumerate(arrivals):
        outcome = put.Outcome(put.REFUSED, "", errors[number]) if number in errors else next(outcomes)
        given = trust.assignment(job) if outcome.error is None else None
        if given is None:
            tickets.append(ticket.ticket(job.id, job.name, job.raw, put.REFUSED, outcome.error))
            moves.append((f"{job.id}-{job.name}", put.REFUSED, str(outcome.error)))
            continue
        copy = copy_name(job, given)
        state = outcome.word
        if state == put.ACCEPTED:
            moves.append((copy, "received", str(given.table["builder"])))
        else:
            present = present or present_states(account)
            state = present.get(copy, put.DUPLICATE)
        tickets.append(ticket.ticket(job.id, job.name, job.raw, state, task=given.task, attempt=given.attempt))
    account.note(moves, "deliver")
    return tickets


def inbox_item(account: home.Account, job: Document) -> put.Item:
    """An assigned job as an item of the inbox: ID, task and attempt make it one."""
    given = trust.assignment(job)
    if given is None:
        raise CitError(DENIED, "no assignment", "a builder takes jobs that a queue assigned to it", job.label)
    priority = given.table.get("priority", job.table("job").get("priority", 0))
    place = priority if isinstance(priority, int) and names.LOWEST <= priority <= names.HIGHEST else 0
    name = names.FileName(job.id, job.name, "", given.task, given.attempt)
    digest = hashlib.sha256(job.raw).hexdigest()
    return put.Item(name.copy, digest, job.raw, name, f"{account.path}/inbox", place)


def present_states(account: home.Account) -> dict[str, str]:
    """The state of each job that a build account has, by COPY-NAME; what has gone home is not among them."""
    found: dict[str, str] = {}
    for state, word in (("finished", put.DUPLICATE), ("inbox", "PENDING"), ("running", "RUNNING")):
        for parts in documents(account / state):
            found[f"{parts.copy}-{parts.name}"] = word
    return found


def copy_name(job: Document, given: trust.Assignment) -> str:
    """`ID[_TASK].aN-NAME` of an assigned job: what its file is called in `done`, and in other states after KEY."""
    return f"{names.FileName(job.id, job.name, '', given.task, given.attempt).copy}-{job.name}"


# --- put-done -------------------------------------------------------------------------------------------------------


class Ending(NamedTuple):
    """A job that has ended, as its builder hands it back: where it belongs, and what is known of it here."""

    copy: str
    path: str
    given: trust.Assignment
    state: str
    key: str  # file name of the copy that was handed out; empty where there is none any more
    lost: bytes  # what the queue had given up here, which this replaces; empty where it had not


def put_done(queue: home.Queue, arrivals: list[Document], by: str = "") -> list[Document]:
    """Results into `done/DAY/`, from the builders that the queue itself assigned them to; a ticket for each.

    All that is acknowledged is on disk; then the copies that were handed out are removed. A builder's heartbeat that comes along
    is kept as the last one. `by`: the fingerprint of the only builder that may say something here; empty: any.
    """
    now = clock.now()
    handed_out = {name.partition(".")[2]: name for state in ("assigned", "sent") for name in listing(queue / state)}
    ends: dict[int, Ending] = {}
    became: dict[int, str | CitError] = {}
    for number, job in enumerate(arrivals):
        try:
            if job.kind == "builder":
                became[number] = heartbeat.keep(queue, job, now, by)
            else:
                ends[number] = ending(queue, job, handed_out, now, by)
        except CitError as error:
            became[number] = error
    outcomes = shelve(
        queue / "done" / ".tmp",
        [(end.path, arrivals[number].raw) for number, end in ends.items()],
        {end.path: end.lost for end in ends.values() if end.lost},
    )
    moves: list[tuple[str, str, str]] = []
    for (number, end), outcome in zip(ends.items(), outcomes):
        if outcome == FORK:
            hint = "the first one stays; this one is kept apart in refused/"
            became[number] = CitError(DENIED, "another end of this attempt is here already", hint, arrivals[number].label)
            continue
        for state in ("sent", "assigned", "sent") if end.key else ():  # a carrier may move it from one to the other meanwhile
            try:
                os.unlink(f"{queue.path}/{state}/{end.key}")
                break
            except FileNotFoundError:
                continue
        became[number] = put.ACCEPTED if outcome == NEW or end.lost else put.DUPLICATE
        if became[number] == put.ACCEPTED:
            late = ", late: it had been given up" if end.lost else ""
            moves.append((end.copy, end.state, f"{end.given.table['builder']}{late}"))
    errors = [(arrivals[number], error) for number, error in became.items() if isinstance(error, CitError) and error.status != LATER]
    refused = [(job, error) for job, error in errors if job.kind != "builder"]  # the next heartbeat comes within a minute
    if refused:
        refuse.keep_all(queue / "refused", refused, "queue")
        moves += [(f"{job.id}-{job.name}", put.REFUSED, error.what) for job, error in refused]
    queue.note(moves, "deliver")
    return [_answer(job, became[number], ends.get(number)) for number, job in enumerate(arrivals)]


def _answer(job: Document, end: str | CitError, known: Ending | None) -> Document:
    if isinstance(end, CitError):
        return ticket.ticket(job.id, job.name, job.raw, "kept" if end.status == LATER else put.REFUSED, end)
    if known is None:
        return ticket.ticket(job.id, job.name, job.raw, end)
    return ticket.ticket(job.id, job.name, job.raw, end, task=known.given.task, attempt=known.given.attempt)


def ending(queue: home.Queue, job: Document, sent: dict[str, str], now: int, by: str = "") -> Ending:
    """What a job that comes home is here; 65 or 77 where it is none that this queue handed out to whoever signed its end."""
    speech, result = trust.completed(job, queue.signers, now)
    given = trust.assignment(job)
    if given is None:
        raise CitError(DENIED, "no assignment", "a result goes to the queue that assigned the job", job.label)
    if by and speech.fingerprint != by:
        raise CitError(DENIED, f"this door is for the builder {by}, the result is by {speech.fingerprint}", "each hands back its own", job.label)
    copy = copy_name(job, given)
    path = f"{queue.path}/done/{clock.id_day(job.id)}/{copy}.cit"
    key = sent.get(f"{copy}.cit", "")
    ours, lost = _read(*(f"{queue.path}/{state}/{key}" for state in ("sent", "assigned", "sent"))) if key else None, b""
    if ours is None:
        there = _read(path)
        later = _outgrown(queue, job, given) if there is None else ""
        if later:
            return Ending(copy, later, given, "void", "", b"")
        if there is None:
            if _is_claimed(queue, copy):
                raise CitError(LATER, "its copy is just being moved", "it is tried again", job.label)
            raise CitError(DENIED, "this queue sent no such job", "a result goes to the queue that assigned the job", job.label)
        ours, is_given_up = handed_out_part(there)
        lost = there if is_given_up else b""
    if not job.raw.startswith(ours):
        raise CitError(DATA, "the result does not begin with what was sent", "a document only grows; both copies are kept, apart", job.label)
    # The assignment must be in the queue's own bytes: one that the builder added names whom it likes.
    if max(section.end for section in job.all("assignment")) > len(ours) or given.table.get("key") != speech.fingerprint:
        raise CitError(DENIED, "the result is not by the builder that the job was assigned to", "its builder hands it back", job.label)
    state = str(result.table().get("state", "")) if result.kind == "result" else "void"
    return Ending(copy, path, given, state, key, lost)


def _outgrown(queue: home.Queue, job: Document, given: trust.Assignment) -> str:
    """Where the end of a later attempt lies that begins with this one, which was removed since (attempts.py); empty where there is none."""
    day = queue / "done" / clock.id_day(job.id)
    for parts in documents(day):
        if parts.id == job.id and parts.task == given.task and (parts.attempt or 0) > given.attempt:
            there = _read(f"{day}/{parts}")
            if there is not None and there.startswith(job.raw):
                return f"{day}/{parts}"
    return ""


def handed_out_part(there: bytes) -> tuple[bytes, bool]:
    """The queue's own bytes of a document in `done`, as it was handed out; and whether the queue wrote its end too, as none came."""
    document = reader.parse(there)
    last = max((section.number for section in document.all("assignment")), default=0)
    signatures = [section for section in document.all("signature") if section.number > last]
    if not last or not signatures:
        return there, False
    ended = any(section.kind == "result" and section.number > last for section in document.sections)
    return there[: signatures[0].end], ended and signatures[-1].attributes.get("ns") == "cit-queue"


def _is_claimed(queue: home.Queue, copy: str) -> bool:
    """Whether a process is just moving the copy that was handed out."""
    for state in ("assigned", "sent"):
        with contextlib.suppress(FileNotFoundError):
            for claim in os.listdir(queue / state / ".claim"):
                if any(name.endswith(f".{copy}.cit") for name in listing(queue / state / ".claim" / claim)):
                    return True
    return False


def _read(*paths: str) -> bytes | None:
    """The content of the first of these files that is there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            with open(path, "rb") as stream:
                return stream.read()
    return None
