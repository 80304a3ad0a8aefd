"""cit-deliver: the one carrier, and the only program that opens connections. Frozen documents go to where they belong.

Reads: with --from `assigned` of a queue (to its builders, wishes and hand-overs before them), `finished` of a build account (to its
queues), its `outbox`; with --fetch what has ended at builders elsewhere; without, a stream on stdin. Appends: nothing.
Writes: tickets, as a filter; with --ask the answer of a door, as it comes.
Side effect: what has a ticket goes to --to, or is dropped where its receiver is its owner now; what is refused, to `refused`.
Exits: 0; 65 or 77 refused there; 66 no such builder or queue; 69 a door cannot be reached; 75 kept for later; 78 a host key that
nobody has said is right, clocks apart; --ask: as the door (docs/messages.md).
How: doors are served side by side, one connection each; one that does not answer rests, longer each time.
Pages: docs/stages/deliver.md, docs/directories.md
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Optional

import typer

from . import builders, errands, fetch, files, stream, transport
from .alone import alone
from .asking import asked, way_to
from .carry import Carrier, Ways
from .cit_format import builder, clock, command, frame, handover, home, messages, reader, spool
from .cit_format.errors import LATER, OK, USAGE, CitError, worst
from .cit_format.reader import Faulty
from .round import Round

READS = {
    "assignment": "1", "builder": "1", "control": "1", "event": "1", "handover": "1", "job": "1", "load": "1", "result": "1", "ticket": "1"
}  # fmt: skip
WRITES = {"ticket": "1"}


# --- the loop: a spool --------------------------------------------------------------------------------------------------


def carried(queue: home.Queue | None, source: Path, to: Path | None) -> int:
    """Carry a spool, wishes first, so that a builder has them before the job. Who finds another one at work there leaves it to that one."""
    if source.name == "outbox":
        os.execvp("cit-queue", ["cit-queue", "-q", "--outbox", "send"])
    status = OK
    more = bool(spool.listing(source)) or bool(queue and os.listdir(queue / "control"))
    while more:
        lock = spool.Lock(source / ".carrying")
        if not lock.try_now():
            messages.tell("note", f"another one is at work in {source}", hint="it takes up what comes, so this is left to it")
            return worst(status, LATER)
        try:
            found, more = one_round(queue, source, to)
        finally:
            lock.release()
        status = worst(status, found)
    return status


def one_round(queue: home.Queue | None, source: Path, to: Path | None) -> tuple[int, bool]:
    """Carry until nothing is left that can go now: the worst status, and whether something came after the last look."""
    with Round(source) as round_:
        if queue is None:
            carrier = Carrier(round_, source, to, ways(None))
            carrier.run()
            return round_.status, bool(carrier.news)
        described = spool.listing(queue / "builders")
        known = builders.of_queue(queue, round_.now)[0]
        carrier = Carrier(round_, source, to, ways(queue, known), fetch.Fetcher(queue, round_, known).in_passing)
        told = errands.Errands(queue, round_, carrier.ways)

        def before(fresh: bool) -> None:
            nonlocal described
            if fresh and described != spool.listing(queue / "builders"):  # while we waited for somebody
                described = spool.listing(queue / "builders")
                carrier.ways.builders.update(ways(queue).builders)
            told.set_out(fresh)

        carrier.run(before)
        told.keep()
        return round_.status, bool(carrier.news) or told.news


def ways(queue: home.Queue | None, known: list[builder.Builder] | None = None) -> Ways:
    """The doors of a queue's builders, and the queues of this home: its own, and those that config.toml names by their directory.

    A queue that was handed over to another machine is reached there.
    """
    found = builders.of_queue(queue, clock.now())[0] if queue and known is None else known or []
    named = home.settings(home.path() / "config.toml").get("queues")
    places = [path.parent for path in sorted((home.path() / "queues").glob("*/queue.toml"))]
    places += [Path(str(place)) for place in (named if isinstance(named, list) else []) if "/" in str(place)]
    here = [home.Queue(place) for place in places if (place / "queue.toml").exists()] + ([queue] if queue else [])
    queues = {each.full_name: way_to(each) for each in here}
    gone = {each.full_name for each in here if each.remote or not each.active}
    for full_name, said in handover.known(home.path() / "hosts").items():
        if said.door and (full_name not in queues or full_name in gone):
            queues[full_name] = said.door
    return Ways({each.name: each.door for each in found}, queues)


# --- the loop: a filter -------------------------------------------------------------------------------------------------


def filtered(queue: home.Queue) -> int:
    """Carry what comes on stdin and write a ticket for each; a group ends when there is nothing to read."""
    status = OK
    group = stream.Group(ways(queue))

    def settle() -> None:
        nonlocal status
        for ticket in group.settled():
            sys.stdout.buffer.write(ticket.raw)
        sys.stdout.buffer.flush()

    def read(size: int) -> bytes:
        if not select.select([0], [], [], stream.PAUSE)[0]:
            settle()
        return os.read(0, size)

    with transport.Doors(home.own_account()) as group.doors:
        for arrival in reader.documents(frame.unframed(read)):
            if isinstance(arrival, Faulty):
                status = worst(status, messages.complain(arrival.error))
            elif arrival.kind == "builder":
                described = builder.builder(arrival)
                group.ways.builders.setdefault(described.name, described.door)
            else:
                group.add(arrival)
            if group.is_full:
                settle()
        settle()
    return worst(status, group.status)


# --- the command --------------------------------------------------------------------------------------------------------


def main(
    words: Optional[list[str]] = typer.Argument(None, metavar="[VERB [WORD]...]", help="With --ask: what is asked"),
    source: Optional[str] = typer.Option(None, "--from", metavar="SPOOL", help="assigned, finished or outbox, or a path; without it, a filter"),
    to: Optional[str] = typer.Option(
        None, "--to", metavar="SPOOL", help="Where documents go that have a ticket: sent of the queue; else they are dropped"
    ),
    fetched: bool = typer.Option(False, "--fetch", help="Fetch what has ended at builders elsewhere, and how they are"),
    ask: Optional[str] = typer.Option(None, "--ask", metavar="PLACE|@QUEUE|BUILDER", help="Ask a door one verb; its answer on stdout"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory whose spools or builders these are"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Carry documents to where they belong."""
    messages.set_up("cit-deliver", quiet, verbose)
    _end_gently()
    if ask is not None:
        return asked(ask, words or [], queue)
    if words:
        raise CitError(USAGE, f"what is {words[0]!r}?", "words belong to --ask; documents come by --from, or on stdin")
    if fetched:
        place = home.find_queue(queue)
        with alone(place / "sent" / ".carrying", patience=0):
            return fetch.fetched(place)
    if source is None:
        if to is not None:
            raise CitError(USAGE, "--to without --from", "cit-deliver --from assigned --to sent; without both it reads documents on stdin")
        return filtered(home.find_queue(queue))
    owner, spooled = files.spool_of(source, queue)
    to = to or ("sent" if owner else None)
    return carried(owner, spooled, files.spool_of(to, str(owner.path) if owner else None)[1] if to else None)


def _end_gently() -> None:
    """A signal to end closes connections first: nothing of ours stays behind."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda got, _frame: sys.exit(128 + got))


def run() -> None:
    """The program cit-deliver."""
    command.start("cit-deliver", main, lambda: command.speaks(READS, WRITES))
