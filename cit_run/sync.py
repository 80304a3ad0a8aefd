"""cit-sync: says what goes home, and has cit-deliver carry it.

Reads: `finished` of a build account. Appends: nothing. Side effect: cit-deliver brings results to their queues' `done`.
Exits: 0, silently, when nothing is to be carried; else as cit-deliver does (docs/messages.md).
How: cit-deliver takes our place, so that one process is started, not two.
Pages: docs/stages/sync.md, docs/stages/deliver.md
"""

from __future__ import annotations

import os

import typer

from .cit_format import command, home, messages, spool
from .cit_format.errors import CONFIG, OK, CitError

READS = {"result": "1"}
WRITES: dict[str, str] = {}


# --- decisions ------------------------------------------------------------------------------------------------------


def errand(place: str, quiet: bool, verbose: int) -> list[str]:
    """The command that carries what lies in the spool at `place`."""
    return ["cit-deliver", *(["-q"] if quiet else []), *(["-v"] * verbose), "--from", place]


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Bring finished jobs home."""
    messages.set_up("cit-sync", quiet, verbose)
    finished = (home.own_account() / "finished").absolute()
    if not spool.listing(finished) and not os.path.exists(finished / ".claim"):
        return OK
    carry = errand(str(finished), quiet, verbose)
    try:
        os.execvp(carry[0], carry)
    except FileNotFoundError:
        raise CitError(CONFIG, f"no {carry[0]} on PATH", "results stay in finished until it is there") from None


def run() -> None:
    """The program cit-sync."""
    command.start("cit-sync", main, lambda: command.speaks(READS, WRITES))
