"""Doors: where documents are handed over, a group at a time, and what answers is a ticket for each (docs/stages/deliver.md).

A door is a place and four verbs. `at` knows the transports by how a place is written; `local` is a directory of this machine.

    put-accept   jobs and control documents into a queue
    put-inbox    assigned jobs into a build account
    put-done     jobs that have ended into the queue that assigned them
    put-control  control documents into a build account
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .cit_format import attempts, clock, control, door, home, wake
from .cit_format.document import Document
from .cit_format.errors import UNREACHABLE, CitError
from .cit_format.put import ACCEPTED

TAKEN_BACK = ("refused", "kept")  # states in which the sender keeps what it has
HandOver = Callable[[str, "list[Document]"], "list[Document]"]


def at(place: str) -> HandOver:
    """How documents are handed over at a place: a function of verb and documents that gives a ticket for each, in order.

    It raises 69 where the place cannot be reached, and whatever else keeps it from answering: then nothing was taken for certain.
    """
    if place.startswith("/"):
        return lambda verb, documents: local(Path(place), verb, documents)
    raise CitError(
        UNREACHABLE, f"no transport to {place[:100] or 'a builder without a door'}", "a door is a directory of this machine: /home/ada/.cit"
    )


def local(place: Path, verb: str, documents: list[Document]) -> list[Document]:
    """A queue or a build account of this machine, by its directory."""
    if not place.is_dir():
        raise CitError(UNREACHABLE, f"{place} is not there", "is it mounted? it is tried again")
    try:
        return VERBS[verb](place, documents)
    except OSError as error:
        raise CitError(UNREACHABLE, f"{error.filename or place}: {error.strerror}", "it is tried again") from error


def _accept(place: Path, documents: list[Document]) -> list[Document]:
    import subprocess

    from .cit_format import reader

    stream = b"".join(document.raw for document in documents)
    done = subprocess.run(["cit-queue", "-q", "--to", str(place)], input=stream, stdout=subprocess.PIPE, check=False)
    return [ticket for ticket in reader.documents(reader.reader_of(done.stdout)) if isinstance(ticket, Document)]


def _inbox(place: Path, documents: list[Document]) -> list[Document]:
    account = home.Account(place)
    tickets = door.put_inbox(account, documents)
    wake.arrived(account.path, account.on_arrival)
    return tickets


def _done(place: Path, documents: list[Document]) -> list[Document]:
    queue = home.Queue(place)
    tickets = door.put_done(queue, documents)
    # What is to be tried again waits before the builder may forget it.
    attempts.put_again(queue, [job for job, ticket in zip(documents, tickets) if state(ticket) not in TAKEN_BACK], clock.now())
    if any(_has_documents(queue / state) for state in ("waiting", "control")):
        wake.arrived(queue.path, queue.on_arrival)  # a slot is free
    return tickets


def _has_documents(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return any(entry.name.endswith(".cit") and entry.name[0] != "." for entry in entries)


def _control(place: Path, documents: list[Document]) -> list[Document]:
    account = home.Account(place)
    tickets = control.put_all(account / "control", documents, account.signers)
    if any(state(ticket) == ACCEPTED for ticket in tickets):
        wake.arrived(account.path, account.on_arrival)
    return tickets


VERBS: dict[str, Callable[[Path, list[Document]], list[Document]]] = {
    "put-accept": _accept,
    "put-inbox": _inbox,
    "put-done": _done,
    "put-control": _control,
}


def state(ticket: Document) -> str:
    """What a ticket says became of its document."""
    return str(ticket.table("ticket").get("state", ""))
