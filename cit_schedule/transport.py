"""Doors: where documents are handed over, a group at a time, and what answers is a ticket for each (docs/stages/deliver.md).

A place is a directory of this machine, or a door elsewhere (cit_format/address.py), asked over a wire. The verbs of this program:

    put-accept   jobs and control documents into a queue
    put-done     jobs that have ended, and heartbeats, into the queue that assigned them
    put-inbox    assigned jobs into a build account
    put-control  control documents and hand-overs into a build account
    finished, put-tickets, load    what a queue fetches from a build account (fetch.py)
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Union

from . import wire
from .cit_format import address, after, clock, control, door, frame, home, reader, wake
from .cit_format.document import Document
from .cit_format.errors import CONFIG, LATER, UNREACHABLE, CitError
from .cit_format.put import ACCEPTED
from .wire import NONE, Ended, Identity, Out, Wire

TAKEN_BACK = ("refused", "kept")  # states in which the sender keeps what it has
PERSONAL = ("put-accept", "ls", "get", "log", "file", "stashed", "builders")  # verbs that a person asks; the others are the queue's, or the account's
TICKET = 4 << 10  # bytes of an answer for each document; a `why` may be long
ANSWER = 80 << 20  # bytes of any other answer: a group of documents, the last of them large
NO_SUCH_COMMAND = 127  # a shell's word for the name of a verb; no door says that
SHOWN = 500  # letters of what a far end says that are told
_SAID = re.compile(r"error: (.*)")
Owner = Union[home.Queue, home.Account, None]


class Doors:
    """The doors of one pass: each account is connected to when it is first asked, and not again; `close` ends all."""

    def __init__(self, owner: Owner = None) -> None:
        self.owner = owner
        self.wires: dict[tuple[address.Door, Identity], Wire] = {}

    def hand_over(self, place: str, verb: str, documents: list[Document]) -> list[Document]:
        """A ticket for each document, in order. Errors: 69, 75 and 78 as the place says, or where it answers anything else; all is kept then."""
        tickets = self.at(place).hand_over(verb, documents)
        wrong = objection(documents, tickets)
        if wrong:
            raise CitError(UNREACHABLE, wrong, "all is kept, and sent again", place)
        return tickets

    def at(self, place: str, lasting: bool = True) -> Union[Local, Remote]:
        """The door of a place; nothing is opened yet. 69 where there is no way to such a place, 65 where it is none."""
        if place.startswith("/"):
            return Local(Path(place))
        if address.is_remote(place):
            return Remote(address.parse(place), lambda where, verb: self.wire(where, verb, lasting))
        raise CitError(
            UNREACHABLE,
            f"no transport to {place[:100] or 'a builder without a door'}",
            "a door is a directory of this machine, or ssh://USER@HOST[:PORT]",
        )

    def wire(self, where: address.Door, verb: str, lasting: bool = True) -> Wire:
        """The connection over which a verb is asked: with the key of a person, or with the owner's."""
        identity = wire.personal() if verb in PERSONAL or self.owner is None else wire.identity_of(self.owner)
        account = (where._replace(queue=""), identity)
        if account not in self.wires:
            self.wires[account] = wire.opened(where, identity, lasting)
        return self.wires[account]

    def close(self) -> None:
        """End all connections, whatever is under way on them."""
        while self.wires:
            self.wires.popitem()[1].close()

    def __enter__(self) -> Doors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- elsewhere ----------------------------------------------------------------------------------------------------------


class Remote(NamedTuple):
    """A door elsewhere; `wired` gives the connection for a verb."""

    where: address.Door
    wired: Callable[[address.Door, str], Wire]

    def hand_over(self, verb: str, documents: list[Document]) -> list[Document]:
        """Framed, so that a cut is no end; tickets count only when all of them arrived."""
        stream = frame.framed(b"".join(document.raw for document in documents), len(documents))
        return self.stream(verb, stream, (len(documents) + 16) * TICKET)

    def fetched(self, verb: str) -> list[Document]:
        """The documents that a verb answers with."""
        return self.stream(verb, b"", ANSWER)

    def ask(self, verb: str, words: list[str], stdin: bytes, out: Out) -> Ended:
        """Ask one verb; the bytes of the answer go to `out` as they come.

        Whose key opens a shell there and no door, as the owner's may, asks the account's own door by that shell.
        """
        about = [f"@{self.where.queue}"] if self.where.queue else []
        command, answered = " ".join([*about, verb, *words]), False

        def noted(piece: bytes) -> None:
            nonlocal answered
            answered = True
            out(piece)

        ended = self.wired(self.where, verb).run(command, stdin, noted)
        if ended.status != NO_SUCH_COMMAND or answered:
            return ended
        return self.wired(self.where, verb).run(by_shell(command), stdin, out)

    def stream(self, verb: str, stdin: bytes, limit: int) -> list[Document]:
        """The documents of a framed answer, all of them or none."""
        pieces: list[bytes] = []
        size = 0

        def out(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size > limit:
                raise self.fault(f"an answer of more than {clock.size_text(limit)}")
            pieces.append(piece)

        ended = self.ask(verb, [], stdin, out)
        if ended.status == NONE:
            raise self.fault("the connection broke before all of the answer was there")
        if not pieces:
            raise self.objection(ended)
        try:
            whole = frame.unframed(reader.reader_of(b"".join(pieces)), strict=True)
        except CitError as error:
            if error.status == CONFIG:  # clocks apart
                error.where = str(self.where)
                raise
            raise self.fault(f"what it answers is no framed stream: {error.what}") from None
        found = []
        for each in reader.documents(whole):
            if not isinstance(each, Document):
                raise self.fault(f"what it answers is no document: {each.error.what}")
            found.append(each)
        return found

    def objection(self, ended: Ended) -> CitError:
        """What a door says that answers with a status and no stream. Only 75 and 78 are told as it says them: no document is at fault."""
        what, hint = complaint(ended.said)
        status = ended.status if ended.status in (LATER, CONFIG) else UNREACHABLE
        return CitError(status, f"it says: {what}" if what else f"it answers nothing, with status {ended.status}", hint, str(self.where))

    def fault(self, what: str) -> CitError:
        return wire.away(self.where, what)


def by_shell(command: str) -> str:
    """The line of any shell that asks the door of its account."""
    return f"exec /bin/sh -c {shlex.quote(f'PATH=$PATH:$HOME/.cit/bin; export PATH; exec cit-queue --door {shlex.quote(command)}')}"


def complaint(said: str) -> tuple[str, str]:
    """The first error that a program told on stderr, and its hint (docs/messages.md); of anything else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        match = _SAID.search(line)
        if match:
            after = lines[number + 1] if number + 1 < len(lines) else ""
            return match[1][:SHOWN], after[6:SHOWN] if after.startswith("hint: ") else ""
    return (lines[-1][:SHOWN] if lines else ""), ""


# --- of this machine ----------------------------------------------------------------------------------------------------


class Local(NamedTuple):
    """A queue or a build account of this machine, by its directory."""

    path: Path

    def hand_over(self, verb: str, documents: list[Document]) -> list[Document]:
        if not self.path.is_dir():
            raise CitError(UNREACHABLE, f"{self.path} is not there", "is it mounted? it is tried again")
        try:
            return VERBS[verb](self.path, documents)
        except OSError as error:
            raise CitError(UNREACHABLE, f"{error.filename or self.path}: {error.strerror}", "it is tried again") from error

    def fetched(self, verb: str) -> list[Document]:
        raise CitError(
            UNREACHABLE, f"{self.path} is of this machine: nothing is fetched there", f"it brings what it has by itself, {verb} too: cit-sync"
        )


def _accept(place: Path, documents: list[Document]) -> list[Document]:
    import subprocess

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
    # What is to be tried again, or follows, waits before the builder may forget it.
    taken = [job for job, ticket in zip(documents, tickets) if job.kind == "job" and state(ticket) not in TAKEN_BACK]
    new = after.followed(queue, taken, clock.now())
    if new or any(_has_documents(queue / state) for state in ("waiting", "control")):
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


def objection(documents: list[Document], tickets: list[Document]) -> str:
    """Why tickets are no answer to documents; empty where there is one for each, for the very bytes."""
    if len(tickets) != len(documents):
        return f"{len(tickets)} tickets for {len(documents)} documents"
    for document, ticket in zip(documents, tickets):
        said = ticket.table("ticket")
        if ticket.id != document.id or said.get("received") != f"sha256:{hashlib.sha256(document.raw).hexdigest()}":
            return "a ticket is for other bytes than were sent"
    return ""
