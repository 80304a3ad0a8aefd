"""What a queue fetches from a build account: ended jobs, and the tickets that let the account forget them (docs/stages/queue.md).

    finished/KEY.COPY-NAME.cit    until a ticket of its queue proves that `done` has these very bytes
    work/COPY-NAME.run/job.cit    afterwards, where the job's record is still here: whoever reads its log there is judged by it

A builder that has a way to its queue carries them itself; both at once do no harm.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import control, glance, home, names, put, refuse, ticket, trust
from .document import Document
from .errors import DATA, DENIED, LATER, CitError
from .reader import parse
from .spool import documents, listing, sync_directory

KEPT = "job.cit"  # in the record of a job that has gone home

# --- what has ended -------------------------------------------------------------------------------------------------


def finished(account: home.Account, queue: str = "") -> Iterator[bytes]:
    """The documents in `finished`, in order, of that queue (NAME@FINGERPRINT) alone where one is named: at most 1,000 or 8 MiB."""
    count = size = 0
    for name in listing(account / "finished"):
        try:
            raw = (account / "finished" / name).read_bytes()
        except FileNotFoundError:
            continue  # it has gone home meanwhile
        if queue and glance.of(raw).text("queue") != queue:
            continue
        count, size = count + 1, size + len(raw)
        if count > put.GROUP_DOCUMENTS or (size > put.GROUP_BYTES and count > 1):
            return
        yield raw


# --- tickets --------------------------------------------------------------------------------------------------------


def put_tickets(account: home.Account, arrivals: list[Document], queue: str = "") -> list[Document]:
    """Forget what these tickets prove to be in `done`; a ticket for each: accepted, duplicate where it is not here any more,
    kept where the ticket asks to try again, refused where it is about other bytes. `queue`: whose jobs it may be about."""
    there = {(parts.copy, parts.name): str(parts) for parts in documents(account / "finished")}
    moves: list[tuple[str, str, str]] = []
    tickets = []
    for arrival in arrivals:
        try:
            state = _settled(account, arrival, there, queue, moves)
            tickets.append(ticket.ticket(arrival.id, arrival.name, arrival.raw, state))
        except CitError as error:
            state = "kept" if error.status == LATER else put.REFUSED
            tickets.append(ticket.ticket(arrival.id, arrival.name, arrival.raw, state, error))
    if moves:
        forget_wishes(account.path, {arrival.id for arrival in arrivals})
        sync_directory(account / "finished")
    account.note(moves, "deliver")
    return tickets


def _settled(account: home.Account, arrival: Document, there: dict[tuple[str, str], str], queue: str, moves: list[tuple[str, str, str]]) -> str:
    """Do what one ticket says; accepted or duplicate. 65 it is no ticket, 75 try again, 77 it is about something else."""
    said = arrival.table("ticket")
    task, attempt = said.get("task"), said.get("attempt")
    if arrival.kind != "ticket" or not isinstance(attempt, int) or not isinstance(task, (int, type(None))):
        raise CitError(DATA, "no ticket of a job that has ended", "it says state, received, bytes and attempt", arrival.label)
    copy = names.FileName(arrival.id, arrival.name, "", task, attempt)
    name = there.get((copy.copy, arrival.name))
    path = account / "finished" / (name or "-")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return put.DUPLICATE
    job = f"{copy.copy}-{arrival.name}"
    if queue and glance.of(raw).text("queue") != queue:
        raise CitError(DENIED, "the job is another queue's", "a queue speaks of its own jobs", arrival.label)
    if said.get("received") != f"sha256:{hashlib.sha256(raw).hexdigest()}" or said.get("bytes") != len(raw):
        raise CitError(DENIED, "the ticket is for other bytes than lie here", "all is kept, and fetched again", arrival.label)
    if said.get("state") in (put.ACCEPTED, put.DUPLICATE):
        gone_home(path)
        moves.append((job, "delivered", _builder(raw)))
    elif said.get("state") == put.REFUSED and said.get("status") in (DATA, DENIED):
        why = f"refused by its queue: {str(said.get('why', ''))[:1000]}"
        refuse.keep(account / "refused", parse(raw), CitError(DENIED, why, "it lies in refused/ with why"), "deliver")
        path.unlink(missing_ok=True)
        moves.append((job, put.REFUSED, why))
    else:
        raise CitError(LATER, f"its queue has not taken it: {str(said.get('state', ''))[:40]}", "it stays, and is fetched again", arrival.label)
    return put.ACCEPTED


def _builder(raw: bytes) -> str:
    given = trust.assignment(parse(raw))
    return str(given.table["builder"]) if given else ""


# --- leaving --------------------------------------------------------------------------------------------------------


def gone_home(path: Path) -> None:
    """A document of `finished` leaves, as its queue has it on disk: into the job's record, where that is still here."""
    parts = names.parse(path.name)
    try:
        os.rename(path, path.parent.parent / "work" / f"{parts.copy}-{parts.name}.run" / KEPT if parts else "")
    except OSError:  # no record any more, or on another file system
        path.unlink(missing_ok=True)


def forget_wishes(account: Path, identities: Iterable[str]) -> None:
    """Wishes about jobs of which nothing is left in the build account end."""
    for identity in control.targets(account / "control").keys() & set(identities):
        if not any(parts.id == identity for state in home.ACCOUNT_STATES for parts in documents(account / state)):
            control.forget(account / "control", identity)
