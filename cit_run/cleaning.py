"""cit clean: what this account needs no more goes; with -n it only says what would.

Reads, removes: with --store what nothing refers to in store/ (store_clean.py).
Writes: a row for each thing that goes, TSV: path below the account, bytes, when it was put there (or asked for last). Exits: 0; 2 usage; 74 the disk.
Pages: docs/howto/artefacts.md
"""

from __future__ import annotations

import sys
import time
from typing import Optional

import typer

from . import store_clean
from .cit_format import body, clock, home, messages, store
from .cit_format.errors import OK, USAGE, CitError


def duration(option: str, text: str) -> int:
    """Microseconds of an option; 2 where it is no duration."""
    try:
        return clock.duration(text)
    except CitError as error:
        raise CitError(USAGE, f"{option}: {error.what}", error.hint) from None


def of_store(account: home.Account, older: str, free: str | None, forget: str | None, unused: str, dry: bool) -> None:
    """The store, as the options say."""
    try:
        wanted = clock.size(free) if free else 0
    except CitError as error:
        raise CitError(USAGE, f"--free: {error.what}", error.hint) from None
    since = clock.now() - duration("--forget", forget) if forget else 0
    asked = duration("--unused", unused) / clock.SECOND
    for path in store_clean.unwanted(f"{account.path}/{store.FOLDER}", asked):
        sys.stdout.buffer.write(body.row(f"{store.FOLDER}/{path}", "0", store_clean.moment(f"{account.path}/{store.FOLDER}/{path}")))
    for each in store_clean.clean(str(account.path), duration("--older", older) / clock.SECOND, wanted, since, dry, asked):
        moment = clock.iso(int((time.time() - each.age) * clock.SECOND))
        sys.stdout.buffer.write(body.row(f"{store.FOLDER}/{each.digest}", str(each.size), moment))


def main(
    the_store: bool = typer.Option(False, "--store", help="What nothing refers to in the store: no name, no document, no record of a job"),
    older: str = typer.Option("1d", "--older", metavar="DURATION", help="That has been there for so long; never less than an hour"),
    free: Optional[str] = typer.Option(None, "--free", metavar="SIZE", help="And younger ones, the oldest first, until so much of the disk is free"),
    forget: Optional[str] = typer.Option(None, "--forget", metavar="DURATION", help="Jobs that ended longer ago refer to nothing any more"),
    unused: str = typer.Option("30d", "--unused", metavar="DURATION", help="Names with a key, and answers, for which nobody has asked for so long"),
    dry: bool = typer.Option(False, "-n", "--dry-run", help="Say what would go, and remove nothing"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Free the space of what is needed no more."""
    messages.set_up("cit-clean", quiet)
    if not the_store:
        raise CitError(USAGE, "clean what?", "cit clean --store; -n says what would go")
    of_store(home.own_account(), older, free, forget, unused, dry)
    return OK
