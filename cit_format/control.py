"""Control documents: what a person wants done with a job that is on its way (docs/format/control.md).

    control/TARGET.CONTROLID.cit    on the queue, and copied to the builder, until the target has ended or the wish expires

Whoever owns a job looks there before every move, cit-run last of all before it starts the program: `look`. Wishes stay
while the job is under way, so what holds is read off all of them together and can be applied any number of times: `standing`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import clock, names, newer, reader, sshsig
from .document import Document
from .errors import DATA, DENIED, CitError
from .newer import Newer
from .spool import make_directory, rename_new, sync_directory, write_all
from .trust import LATER, SKEW

if TYPE_CHECKING:
    from .signers import Signers

ACTIONS = ("cancel", "hold", "release", "priority", "note")


class Wish(NamedTuple):
    """One control document as it says itself. `task` and `attempt` None: all of them. Times in microseconds."""

    id: str
    action: str
    target: str
    task: int | None
    attempt: int | None
    value: str
    submitter: str
    key: str
    queue: str
    created: int
    expires: int
    of_place: bool = False  # signed by a key that the place allows in cit-control: honoured for every job of the queue
    newer: Newer | None = None  # the newer job that it stands on, instead of a signature of its own

    @property
    def file_name(self) -> str:
        """Its name in control/."""
        return f"{self.target}.{self.id}.cit"

    @property
    def by(self) -> str:
        """Who or what wishes it."""
        return f"the newer {self.newer.label}" if self.newer else self.submitter

    @property
    def why(self) -> str:
        """A cancel in words."""
        return f"superseded by {self.newer.label}" if self.newer else f"cancelled by {self.submitter}"

    def means(self, task: int | None, attempt: int | None) -> bool:
        """Whether it is about this task and attempt of its target."""
        return self.task in (None, task) and self.attempt in (None, attempt)


class Standing(NamedTuple):
    """What all wishes about a job come to: who cancels it, whether it is held (None: nobody said), its priority (None: its own)."""

    cancel: Wish | None = None
    held: bool | None = None
    priority: int | None = None

    @property
    def stops(self) -> bool:
        """Whether a job that runs already is to end."""
        return self.cancel is not None and (self.cancel.newer is None or self.cancel.newer.running)


# --- pure -----------------------------------------------------------------------------------------------------------


def wish(document: Document) -> Wish:
    """What a control document says, unverified; 65 where it is none, or says too little."""
    if document.kind != "control":
        raise CitError(
            DATA, f"the first section is {document.kind or 'missing'}, not control", "a wish begins with its control section", document.label
        )
    said = document.table("control")

    def text(key: str, default: str | None = None) -> str:
        value = said.get(key, default)
        if not isinstance(value, str):
            raise CitError(DATA, f"the control says no {key}", "docs/format/control.md lists what it needs", document.label)
        return value

    def number(key: str) -> int | None:
        value = text(key, "all")
        if value != "all" and not (value.isascii() and value.isdigit()):
            raise CitError(DATA, f"{key} {value[:40]!r} is no number", f'write {key} = "2", or "all"', document.label)
        return None if value == "all" else int(value)

    action, target, value = text("action"), text("target"), text("value", "")
    created, expires = said.get("created"), said.get("expires")
    if action not in ACTIONS:
        raise CitError(DATA, f"{action[:40]!r} is nothing that can be wished", f"it is one of {', '.join(ACTIONS)}", document.label)
    if names.parse(f"{target}-x.cit") is None or len(target) != 26:
        raise CitError(DATA, f"{target[:40]!r} is no ID", "a wish names the job's whole ID", document.label)
    if not isinstance(created, int) or not isinstance(expires, int):
        raise CitError(DATA, "created or expires is missing or no time", "write it as 2026-11-23T20:26:11Z", document.label)
    if action == "priority" and _priority(value) is None:
        raise CitError(DATA, f"priority {value[:40]!r}", f"an integer from {names.LOWEST} to {names.HIGHEST}", document.label)
    task, attempt = number("task"), number("attempt")
    return Wish(document.id, action, target, task, attempt, value, text("submitter"), text("key"), text("queue"), created, expires)


def _priority(value: str) -> int | None:
    try:
        number = int(value)
    except ValueError:
        return None
    return number if names.LOWEST <= number <= names.HIGHEST else None


def standing(wishes: Iterable[Wish]) -> Standing:
    """What honoured wishes about one job come to: a cancel is final; of others that contradict each other the newest (by ID) counts."""
    found = Standing()
    for each in sorted(wishes, key=lambda one: one.id):
        if each.action == "cancel":
            found = found._replace(cancel=found.cancel if found.stops else each)
        elif each.action in ("hold", "release"):
            found = found._replace(held=each.action == "hold")
        elif each.action == "priority":
            found = found._replace(priority=_priority(each.value))
    return found


def is_honoured(asked: Wish, job: Document) -> bool:
    """Whether a verified wish has power over this job: the place's own, or by the key that submitted it; and for its queue."""
    said = job.table("job")
    if asked.newer is not None:
        return asked.target == job.id and asked.newer.ends(job)
    return asked.target == job.id and asked.queue == said.get("queue") and (asked.of_place or asked.key == said.get("key"))


def verified(document: Document, signers: Signers, now: int, queue: str = "") -> Wish:
    """The wish that a control document makes, by a key that may make wishes here (`cit-control`) or submit jobs (`cit-job`: then
    for its own jobs). `queue`: the full name of the queue that it must be for, where that matters. Else 65 or 77."""
    asked = wish(document)
    signature = document.find("signature")
    if document.find("newer") is not None:
        if queue and asked.queue != queue:
            raise _denied(document, f"the control is for queue {asked.queue}, this is {queue}", "make it for this queue")
        return asked._replace(newer=newer.proven(document, signers, now))
    if signature is None:
        raise _denied(document, "no signature", "sign it: cit-format sign FILE --ns cit-control")
    try:
        proof = sshsig.parse_signature(signature.body())
        sshsig.verify(proof, document.raw[: signature.start], "cit-control")
        principal, of_place = _signer(proof.key, signers, now)
    except CitError as error:
        error.where = error.where or document.label
        raise
    said = signature.attributes
    if said.get("ns") != "cit-control" or said.get("by") != principal:
        raise _denied(
            document, f"the signature says by={said.get('by', '')} ns={said.get('ns', '')}, but it is {principal}'s", "write whose key it is"
        )
    if (asked.submitter, asked.key) != (principal, proof.key.fingerprint):
        raise _denied(document, f"the control names {asked.submitter} and {asked.key}, but {principal} signed it", "say who you are")
    if queue and asked.queue != queue:
        raise _denied(document, f"the control is for queue {asked.queue}, this is {queue}", "make it for this queue")
    if now < asked.created - SKEW:
        raise _denied(document, f"made in the future, at {clock.iso(asked.created)}", "see that both clocks are right")
    if now > asked.expires or asked.expires - asked.created > LATER:
        raise _denied(document, f"expired at {clock.iso(asked.expires)}, or valid for more than 30 days", "make it anew")
    return asked._replace(of_place=of_place)


def _signer(key: sshsig.PublicKey, signers: Signers, now: int) -> tuple[str, bool]:
    """Whose key it is, and whether the place lets it control the jobs of others."""
    moment = datetime.fromtimestamp(now / clock.SECOND, timezone.utc)
    try:
        return signers.principal(key, "cit-control", moment), True
    except CitError:
        return signers.principal(key, "cit-job", moment), False


def _denied(document: Document, what: str, hint: str) -> CitError:
    return CitError(DENIED, what, hint, document.label)


# --- directories ----------------------------------------------------------------------------------------------------


def keep(directory: Path, document: Document, asked: Wish) -> bool:
    """Put a verified wish into control/, on disk when this returns; whether it is new there. 77: the same ID with other bytes."""
    make_directory(directory)
    path = directory / asked.file_name
    beside = directory / f".{asked.file_name}.{os.getpid()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, document.raw, str(path))
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        rename_new(beside, path)
        return True
    except FileExistsError:
        os.unlink(beside)
        if path.read_bytes() != document.raw:
            raise _denied(document, "this ID was here before with other bytes", "a replay or an edited copy; make it anew") from None
        return False
    finally:
        sync_directory(directory)


def targets(directory: Path) -> dict[str, list[str]]:
    """The file names in control/, by the ID of the job that they are about, oldest first."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            target, _, rest = name.partition(".")
            if target and rest.endswith(".cit"):
                found.setdefault(target, []).append(name)
    return found


def read(directory: Path, file_names: Iterable[str]) -> list[Document]:
    """The documents of these names; what is gone meanwhile or faulty is left out."""
    found = []
    for name in file_names:
        with contextlib.suppress(FileNotFoundError, CitError):
            found.append(reader.parse((directory / name).read_bytes()))
    return found


def look(directory: Path, job: Document, task: int | None, attempt: int | None, signers: Signers, now: int) -> Standing:
    """What holds for a job (this task, this attempt) by the wishes in control/ that are verified and honoured here and now."""
    mine = targets(directory).get(job.id)
    return standing(honoured(read(directory, mine), job, task, attempt, signers, now)) if mine else Standing()


def honoured(documents: Iterable[Document], job: Document, task: int | None, attempt: int | None, signers: Signers, now: int) -> list[Wish]:
    """The wishes among these documents that have power over this task and attempt of a job."""
    found = []
    for document in documents:
        with contextlib.suppress(CitError):
            asked = verified(document, signers, now)
            if is_honoured(asked, job) and asked.means(task, attempt):
                found.append(asked)
    return found


def forget(directory: Path, target: str) -> None:
    """Remove the wishes about a job that has ended."""
    for name in targets(directory).get(target, []):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory / name)


def put_all(directory: Path, arrivals: Iterable[Document], signers: Signers) -> list[Document]:
    """Control documents into a build account, which believes their signers and not the queue; a ticket for each."""
    from . import ticket

    tickets = []
    for arrival in arrivals:
        try:
            state = "accepted" if _taken(directory, arrival, signers) else "duplicate"
            tickets.append(ticket.ticket(arrival.id, arrival.name, arrival.raw, state))
        except CitError as error:
            tickets.append(ticket.ticket(arrival.id, arrival.name, arrival.raw, "refused", error))
    return tickets


def _taken(directory: Path, arrival: Document, signers: Signers) -> bool:
    """Keep a wish, or that a queue was handed over; whether it is news."""
    if arrival.kind == "handover":
        from . import handover

        return handover.keep(directory.parent / "hosts", arrival, handover.verified(arrival, signers, clock.now()))
    return keep(directory, arrival, verified(arrival, signers, clock.now()))
