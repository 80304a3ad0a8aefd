"""What a door does with documents that are handed to it: `put-inbox` and `put-done` (docs/stages/queue.md).

Delivery is at least once, receiving idempotent: the same bytes again get the same ticket. Local or over ssh, it is this code.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from . import clock, home, names, put, refuse, ticket, trust
from .document import Document
from .errors import DATA, DENIED, CitError
from .spool import listing, make_directory, rename_new, sync_directory, sync_files, write_all


def put_inbox(account: home.Account, arrivals: list[Document]) -> list[Document]:
    """Assigned jobs into a build account; a ticket for each."""
    make_directory(account / "inbox")
    putter = put.Putter(account / "inbox" / ".tmp", account / "seen", lambda job: inbox_item(account, job))
    items: list[put.Item] = []
    errors: dict[int, CitError] = {}
    for number, job in enumerate(arrivals):
        try:
            trust.assigned(job, account.signers, account.signer.public.fingerprint, clock.now())
            items.append(inbox_item(account, job))
        except CitError as error:
            errors[number] = error
    outcomes = iter(putter.put(items))
    tickets, moves = [], []
    for number, job in enumerate(arrivals):
        error = errors.get(number)
        if error is None:
            outcome = next(outcomes)
            error = outcome.error
            if error is None:
                given = trust.assignment(job)
                assert given is not None
                state = outcome.word if outcome.word == put.ACCEPTED else present_state(account, job)
                tickets.append(ticket.ticket(job.id, job.name, job.raw, state, task=given.task, attempt=given.attempt))
                moves.append((_job(job), "received", str(given.table["builder"])))
                continue
        tickets.append(ticket.ticket(job.id, job.name, job.raw, "refused", error))
        moves.append((_job(job), "refused", error.what))
    account.note(moves, "deliver")
    return tickets


def inbox_item(account: home.Account, job: Document) -> put.Item:
    """An assigned job as an item of the inbox: ID, task and attempt make it one."""
    given = trust.assignment(job)
    if given is None:
        raise CitError(DENIED, "no assignment", "a builder takes jobs that a queue assigned to it", job.label)
    priority = job.table("job").get("priority", 0)
    name = names.FileName(job.id, job.name, "", given.task, given.attempt)
    digest = hashlib.sha256(job.raw).hexdigest()
    return put.Item(name.copy, digest, job.raw, name, f"{account.path}/inbox", priority if isinstance(priority, int) else 0)


def present_state(account: home.Account, job: Document) -> str:
    """Where a job that was received before is now, as a job's state; `duplicate` where it has gone home."""
    wanted = _job(job)
    for state, word in (("running", "RUNNING"), ("inbox", "PENDING")):
        if any(name.endswith(f"{wanted}.cit") for name in listing(account / state)):
            return word
    return put.DUPLICATE


def _job(job: Document) -> str:
    given = trust.assignment(job)
    name = names.FileName(job.id, job.name, "", given.task if given else None, given.attempt if given else None)
    return f"{name.copy}-{name.name}"


def put_done(queue: home.Queue, arrivals: list[Document]) -> list[Document]:
    """Results into `done/DAY/`, from the builders that the queue itself assigned them to; a ticket for each."""
    tickets: list[Document] = []
    moves: list[tuple[str, str, str]] = []
    ready: list[tuple[Document, Path, Path | None]] = []
    now = clock.now()
    copies = _sent_copies(queue)
    for job in arrivals:
        given = trust.assignment(job)
        try:
            speech, result = trust.completed(job, queue.signers, now)
            if given is None or given.table.get("key") != speech.fingerprint:
                raise CitError(DENIED, "the result is not by the builder that the job was assigned to", "", job.label)
            sent = copies.get(f"{_job(job)}.cit")
            target = queue / "done" / clock.id_day(job.id) / f"{_job(job)}.cit"
            if sent is None and not target.exists():
                raise CitError(DENIED, "this queue sent no such job", "a result goes to the queue that assigned the job", job.label)
            if sent is not None and not job.raw.startswith(sent.read_bytes()):
                raise CitError(DATA, "the result does not begin with what was sent", "a document only grows; the copies are kept apart", job.label)
            if target.exists() and not target.read_bytes().startswith(job.raw):
                raise CitError(DENIED, "another end of this attempt is here already", "the first one stays", job.label)
        except CitError as error:
            refuse.keep(queue / "refused", job, error, "queue")
            tickets.append(ticket.ticket(job.id, job.name, job.raw, "refused", error))
            continue
        ready.append((job, target, sent))
        state = str(result.table().get("state", "")) if result.kind == "result" else "void"
        tickets.append(ticket.ticket(job.id, job.name, job.raw, "accepted", task=given.task, attempt=given.attempt))
        moves.append((_job(job), state, str(given.table["builder"])))
    _keep(ready)
    queue.note(moves, "deliver")
    return tickets


def _sent_copies(queue: home.Queue) -> dict[str, Path]:
    """What the queue has handed out, by file name without KEY, which only the queue knows."""
    return {name.partition(".")[2]: queue / state / name for state in ("assigned", "sent") for name in listing(queue / state)}


def _keep(ready: list[tuple[Document, Path, Path | None]]) -> None:
    written: list[tuple[str, Path]] = []
    for job, target, _ in ready:
        make_directory(target.parent)
        if target.exists():
            continue
        beside = str(target.with_name(f".{target.name}"))
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, job.raw, str(target))
        finally:
            os.close(fd)
        written.append((beside, target))
    sync_files([beside for beside, _ in written])
    for beside, target in written:
        rename_new(beside, target)
    for directory in {target.parent for _, target in written}:
        sync_directory(directory)
    for _, _, sent in ready:
        if sent is not None:
            sent.unlink(missing_ok=True)
