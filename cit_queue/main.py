"""cit-queue: takes jobs in.

Reads: a stream of job documents, framed or not. Writes: tickets with --to; without it, as a filter, the accepted documents.
Appends: event `accepted` and a cit-queue signature. Side effect with --to: the job lies in `waiting` (or `held`), what is
refused in `refused` with why; what no queue took, in the outbox.
Exits: 0; 65 does not parse; 75 kept in the outbox; 77 not signed as it must be; the worst of several (docs/messages.md).
How: documents are judged in groups, put in groups, and acknowledged when they are on disk; then on-arrival is started.
Pages: docs/stages/queue.md, docs/directories.md, docs/format/signatures.md
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Optional

import typer

from . import accept
from .cit_format import clock, command, frame, home, messages, put, reader, wake
from .cit_format.errors import OK, CitError, worst
from .cit_format.reader import Faulty

READS = {"job": "1", "signature": "1"}
WRITES = {"event": "1", "signature": "1", "ticket": "1"}


# --- the loop -------------------------------------------------------------------------------------------------------


def filtered(queue: home.Queue, fd: int) -> int:
    """Without --to: accepted documents pass, signed by the queue; the others stay out."""
    status = OK
    for arrival in reader.documents(frame.unframed(lambda size: os.read(fd, size))):
        verdict = accept.judge_all([arrival], queue, clock.now())[0]
        if isinstance(verdict, CitError):
            status = worst(status, messages.complain(verdict))
        else:
            sys.stdout.buffer.write(verdict.raw)
            sys.stdout.buffer.flush()
    return status


def queued(queue: home.Queue, fd: int) -> int:
    """With --to: groups of documents go into the queue; a ticket for each."""
    status = OK
    group: list[accept.Arrival] = []
    size = 0
    taken = False

    def settle() -> None:
        nonlocal status, size, taken
        if not group:
            return
        answers = accept.take_in(group, queue)
        for answer in answers:
            if answer.error is not None:
                status = worst(status, messages.complain(answer.error))
            else:
                taken = True
            sys.stdout.buffer.write(answer.ticket.raw)
        sys.stdout.buffer.flush()
        group.clear()
        size = 0

    for arrival in reader.documents(frame.unframed(eager(fd, settle))):
        group.append(arrival)
        size += arrival.size if isinstance(arrival, Faulty) else len(arrival.raw)
        if len(group) >= put.GROUP_DOCUMENTS or size >= put.GROUP_BYTES:
            settle()
            wake.arrived(queue.path, queue.on_arrival)
    settle()
    if taken:
        wake.arrived(queue.path, queue.on_arrival)
    return status


def eager(fd: int, settle: Callable[[], None]) -> Callable[[int], bytes]:
    """A `read` that settles the group at hand before it would wait for more."""

    def read(size: int) -> bytes:
        if not select.select([fd], [], [], 0)[0]:
            settle()
        return os.read(fd, size)

    return read


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    to: Optional[str] = typer.Option(None, "--to", metavar="QUEUE", help="@NAME or a directory: put accepted jobs there, write tickets"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="As a filter: the queue whose rules and key hold"),
    recover: bool = typer.Option(False, "--recover", help="Finish what a killed process left, read nothing"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Accept signed jobs into a queue."""
    messages.set_up("cit-queue", quiet, verbose)
    place = home.find_queue(to or queue)
    if recover:
        place.putter.recover()
        return OK
    return queued(place, 0) if to else filtered(place, 0)


def run() -> None:
    """The program cit-queue."""
    command.start("cit-queue", main, lambda: command.speaks(READS, WRITES))
