"""cit-sync: says what goes home, and has cit-deliver carry it.

Reads: `finished` of a build account; with --queue `sent` of a queue. Appends: nothing.
Side effect: cit-deliver brings results to their queues' `done`; with --queue it fetches them from builders elsewhere.
Exits: 0, silently, when nothing is to be carried; else as cit-deliver does (docs/messages.md).
How: cit-deliver takes our place, so that one process is started, not two.
Pages: docs/stages/sync.md, docs/stages/deliver.md
"""

from __future__ import annotations

import os
from typing import Optional

import typer

from .cit_format import command, home, messages, spool
from .cit_format.errors import CONFIG, OK, CitError

READS = {"result": "1"}
WRITES: dict[str, str] = {}


# --- decisions ------------------------------------------------------------------------------------------------------


def errand(finished: str, queue: str, quiet: bool, verbose: int) -> list[str]:
    """The command that carries what lies in `finished`, or that fetches for a queue."""
    said = [*(["-q"] if quiet else []), *(["-v"] * verbose)]
    return ["cit-deliver", *said, *(["--fetch", "--queue", queue] if queue else ["--from", finished])]


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Fetch for this queue, from builders that have no way to it"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Bring finished jobs home."""
    messages.set_up("cit-sync", quiet, verbose)
    if queue is not None:
        place = home.find_queue(queue)
        if not spool.listing(place / "sent"):
            return OK
        carry = errand("", str(place.path), quiet, verbose)
    else:
        finished = (home.own_account() / "finished").absolute()
        if not spool.listing(finished) and not os.path.exists(finished / ".claim"):
            return OK
        carry = errand(str(finished), "", quiet, verbose)
    try:
        os.execvp(carry[0], carry)
    except FileNotFoundError:
        raise CitError(CONFIG, f"no {carry[0]} on PATH", "results stay where they are until it is there") from None


def run() -> None:
    """The program cit-sync."""
    command.start("cit-sync", main, lambda: command.speaks(READS, WRITES))
