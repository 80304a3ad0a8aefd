"""cit-queue: takes jobs in.

Reads: a stream of job and control documents, framed or not. Writes: tickets with --to; without it, as a filter, what it accepts.
Appends: event `accepted` and a cit-queue signature. Side effect with --to: a job lies in `waiting` (or `held`), a wish in
`control`, what is refused in `refused` with why; what its queue cannot take now, in the outbox.
Exits: 0; 1 too late; 65 does not parse; 75 kept in the outbox; 77 not signed as it must be; the worst of several (docs/messages.md).
How: documents are judged in groups, put in groups, and acknowledged when they are on disk; then on-arrival is started.
Pages: docs/stages/queue.md, docs/directories.md, docs/format/signatures.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Optional

import typer

from . import accept, mend, sending, show
from .accept import Answer
from .cit_format import clock, command, home, messages, wake
from .cit_format.document import Document
from .cit_format.errors import LATER, OK, USAGE, CitError, worst
from .groups import Arrival, in_groups
from .intake import Intake
from .outbox import KEPT
from .places import ANY, Places, configured, had

READS = {"control": "1", "job": "1", "signature": "1"}
WRITES = {"event": "1", "note": "1", "signature": "1", "ticket": "1"}


# --- the loop -------------------------------------------------------------------------------------------------------


def filtered(queue: home.Queue) -> int:
    """Without --to: accepted documents pass, jobs signed by the queue; the others stay out."""
    status = OK
    if queue.remote:
        raise CitError(USAGE, f"queue {queue.name} lies elsewhere", "only its own account can say what it accepts; cit-queue --to puts into it")

    def judged(group: list[Arrival], _turn: Callable[[], object]) -> list[tuple[Arrival, accept.Verdict]]:
        return list(zip(group, accept.Judge(queue, clock.now()).verdicts(group)))

    def pass_on(judgements: list[tuple[Arrival, accept.Verdict]]) -> None:
        nonlocal status
        for arrival, verdict in judgements:
            if isinstance(verdict, CitError):
                status = worst(status, messages.complain(verdict))
            elif isinstance(arrival, Document):
                sys.stdout.buffer.write(verdict if isinstance(verdict, bytes) else arrival.raw)
        sys.stdout.buffer.flush()

    in_groups(0, judged, pass_on)
    return status


def queued(intake: Intake, write: Callable[[Document], bytes]) -> int:
    """With --to: groups of documents go into their queues; a ticket for each."""
    status = OK

    def answer(answers: list[Answer]) -> None:
        nonlocal status
        status = worst(status, answered(answers, write))
        intake.wake()

    in_groups(0, intake.take, answer)
    return status


def answered(answers: Iterable[Answer], write: Callable[[Document], bytes]) -> int:
    """Write the tickets, say what was refused; the worst status."""
    status = OK
    for answer in answers:
        if answer.error is not None:
            status = worst(status, messages.complain(answer.error))
        elif answer.state == KEPT:
            status = worst(status, LATER)
        sys.stdout.buffer.write(write(answer.ticket))
    sys.stdout.buffer.flush()
    return status


def outboxed(act: str, write: Callable[[Document], bytes]) -> int:
    """--outbox: list what is there, send what is kept, or send again what was sent before too."""
    intake = Intake(Places(ANY))
    if act == "list":
        answered(intake.outbox.listed(), write)
        return OK
    if act == "resend":
        intake.outbox.again()
    status = answered(sending.send(intake.outbox, intake.places), write)
    for away in dict.fromkeys([intake.places.away, *intake.places.lost.values()]) if status == LATER else ():
        if away:
            messages.complain(away)
    return status


def mended(queue: home.Queue) -> int:
    """--recover: what killed processes left is finished, the drop box and the outbox are looked after. Silent, as cron runs it."""
    status = OK
    if not queue.remote:
        mend.whole(queue)
        status = dropped(queue, lambda ticket: b"")
    Intake(Places(ANY)).send()
    return status


def dropped(queue: home.Queue, write: Callable[[Document], bytes]) -> int:
    """--incoming: what other accounts of this host dropped."""
    if not queue.active:
        return OK
    from . import incoming

    answers = list(incoming.take_in(queue))
    status = answered(answers, write)
    if not all(answer.error for answer in answers):
        wake.arrived(queue.path, queue.on_arrival)
    return status


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    to: Optional[str] = typer.Option(None, "--to", metavar="QUEUE", help="@NAME, a directory, or @ for the queue that each document names"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="As a filter: the queue whose rules and key hold"),
    outbox: Optional[str] = typer.Option(None, "--outbox", metavar="list|send|resend", help="What was kept while its queue could not be had"),
    recover: bool = typer.Option(False, "--recover", help="Finish what killed processes left, then --incoming and --outbox send"),
    incoming: bool = typer.Option(False, "--incoming", help="Take in what other accounts dropped into incoming/"),
    door: Optional[str] = typer.Option(None, "--door", metavar="VERB", help="Answer one verb of the door, as a forced command does"),
    activate: bool = typer.Option(False, "--activate", help="Make this replica the queue: a signed handover; with -n only say the steps"),
    at: Optional[str] = typer.Option(None, "--at", metavar="DOOR", help="With --activate: where it is reached, ssh://USER@HOST[:PORT]/@QUEUE"),
    key: Optional[str] = typer.Option(None, "--key", metavar="FILE", help="With --activate: the owner's key that signs; else your own"),
    dry: bool = typer.Option(False, "-n", "--dry-run", help="With --activate: say the steps, change nothing"),
    role: Optional[str] = typer.Option(None, "--role", metavar="ROLE", help="At the door: person, builder, queue or reader; what its key may ask"),
    who: Optional[str] = typer.Option(None, "--for", metavar="WHO", help="At the door: for whom the key speaks, as its role has it"),
    tsv: bool = typer.Option(False, "--tsv", help="Tickets as TSV"),
    json: bool = typer.Option(False, "--json", help="Tickets as JSON lines"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Accept signed jobs into a queue."""
    messages.set_up("cit-queue", quiet, verbose)
    if door is not None:
        from . import roles, serve

        return serve.serve(door, roles.asker(role, who, to), home.find_queue, home.own_account)
    if to and queue:
        raise CitError(USAGE, "--to and --queue", "--to puts into a queue, --queue is for the filter")
    if activate:
        from .activate import activated

        return activated(home.find_queue(to or queue), at, key, dry)
    write = show.writer(tsv, json)
    if outbox is not None:
        if outbox not in ("list", "send", "resend"):
            raise CitError(USAGE, f"--outbox {outbox}", "it is list, send or resend")
        return outboxed(outbox, write)
    if recover:
        return mended(home.find_queue(to or queue))
    if incoming:
        return dropped(home.find_queue(to or queue), write)
    if to is None:
        return filtered(had(queue or configured()[0]))
    return queued(Intake(Places(to, hasty=True)), write)


def run() -> None:
    """The program cit-queue."""
    command.start("cit-queue", main, lambda: command.speaks(READS, WRITES))
