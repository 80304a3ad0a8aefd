"""cit clean: what this account needs no more goes; with -n it only says what would.

Reads, removes: old workspaces, logs and records (space.py); with --settings as config.toml says, what is old in seen/ and refused/
(cit_format/aging.py), and once a day what --store says: what nothing refers to in store/ (store_clean.py).
Writes: a row for each thing that goes, TSV: path below the account, bytes, when its job ended or it was put there (or asked for last).
Exits: 0; 2 usage; 74 the disk.
Pages: docs/howto/workspaces.md, docs/howto/artefacts.md
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Optional

import typer

from . import space, store_clean
from .cit_format import aging, body, clock, home, messages, store
from .cit_format.errors import CONFIG, OK, USAGE, CitError

AGE, LOGS = "30d", "365d"  # where config.toml says nothing else


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


def size(option: str, text: str | None) -> int:
    """Bytes of an option, 0 where it is not given; 2 where it is no size."""
    try:
        return clock.size(text) if text else 0
    except CitError as error:
        raise CitError(USAGE, f"{option}: {error.what}", error.hint) from None


def by_settings(settings: Mapping[str, body.Value], now: int) -> space.Wish:
    """What is to go as config.toml says; 78 where it says what cannot be."""
    try:

        def ago(key: str, usual: str) -> int:
            text = str(settings.get(key, usual))
            return 0 if text == "never" else now - clock.duration(text)

        def bytes_of(key: str) -> int:
            return clock.size(str(settings[key])) if settings.get(key) else 0

        most = settings.get("keep-count")
        return space.Wish(
            ago("keep-age", AGE),
            most if isinstance(most, int) else None,
            bytes_of("keep-size") or None,
            bytes_of("keep-free"),
            bytes_of("keep-free-to"),
            ago("keep-logs", LOGS),
        )
    except CitError as error:
        raise CitError(CONFIG, f"config.toml: {error.what}", error.hint) from None


def told(path: str, taken: int, moment: int) -> None:
    """A row for a thing that goes."""
    sys.stdout.buffer.write(body.row(path, str(taken), clock.iso(moment)))


def main(
    jobs: Optional[list[str]] = typer.Argument(None, metavar="[COPY-NAME]...", help="The workspaces of these jobs, held ones too"),
    count: Optional[int] = typer.Option(None, "--count", min=0, metavar="N", help="Of each name all workspaces but the N that ended last"),
    most: Optional[str] = typer.Option(None, "--size", metavar="SIZE", help="The oldest workspaces until all together take so much at most"),
    keep_free: Optional[str] = typer.Option(None, "--keep-free", metavar="SIZE", help="The oldest workspaces, where less of the disk is free"),
    down_to: Optional[str] = typer.Option(None, "--down-to", metavar="SIZE", help="With --keep-free: until so much is free"),
    logs: Optional[str] = typer.Option(None, "--logs", metavar="DURATION", help="Logs and records of jobs that ended longer ago"),
    settings: bool = typer.Option(False, "--settings", help="As config.toml says, and what is old in seen and refused: what cit tick does"),
    the_store: bool = typer.Option(False, "--store", help="What nothing refers to in the store: no name, no document, no record of a job"),
    older: Optional[str] = typer.Option(
        None, "--older", metavar="DURATION", help="Workspaces of jobs that ended longer ago; with --store what is older"
    ),
    free: Optional[str] = typer.Option(None, "--free", metavar="SIZE", help="And younger ones, the oldest first, until so much of the disk is free"),
    forget: Optional[str] = typer.Option(None, "--forget", metavar="DURATION", help="Jobs that ended longer ago refer to nothing any more"),
    unused: str = typer.Option("30d", "--unused", metavar="DURATION", help="Names with a key, and answers, for which nobody has asked for so long"),
    dry: bool = typer.Option(False, "-n", "--dry-run", help="Say what would go, and remove nothing"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Free the space of what is needed no more."""
    messages.set_up("cit-clean", quiet)
    account = home.Account(home.own_account().path.absolute())
    now = clock.now()
    if the_store:
        of_store(account, older or "1d", free, forget, unused, dry)
        return OK
    if settings:
        space.clean(account, by_settings(account.settings, now), told, dry)
        for path, taken, moment in aging.aged(account.path, account.settings, now, dry):
            told(path, taken, moment)
        if dry or store_clean.is_due(str(account.path), by_settings(account.settings, now).keep_free):
            of_store(account, "1d", str(account.settings.get("keep-free") or "") or None, None, unused, dry)
        return OK
    if not (jobs or older or count is not None or most or keep_free or logs):
        raise CitError(USAGE, "clean what?", "cit clean --older 7d, or --keep-free 10G, a JOB, or --store; -n says what would go")
    wish = space.Wish(
        now - duration("--older", older) if older else 0,
        count,
        size("--size", most) if most else None,
        size("--keep-free", keep_free),
        size("--down-to", down_to),
        now - duration("--logs", logs) if logs else 0,
        frozenset(jobs or []),
    )
    space.clean(account, wish, told, dry)
    return OK
