"""cit-sync: says what goes home, and has cit-deliver carry it.

Reads: `finished` of a build account. Appends: nothing. Side effect: cit-deliver brings results to their queues' `done`.
Exits: as cit-deliver does (docs/messages.md). Pages: docs/stages/sync.md
"""

from __future__ import annotations

import subprocess

import typer

from .cit_format import command, home, messages, spool
from .cit_format.errors import OK

READS = {"result": "1"}
WRITES: dict[str, str] = {}


def main(
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Bring finished jobs home."""
    messages.set_up("cit-sync", quiet, verbose)
    account = home.own_account()
    if not spool.listing(account / "finished") and not (account / "finished" / ".claim").exists():
        return OK
    return subprocess.run(["cit-deliver", *(["-q"] if quiet else []), "--from", str(account / "finished")], check=False).returncode


def run() -> None:
    """The program cit-sync."""
    command.start("cit-sync", main, lambda: command.speaks(READS, WRITES))
