"""cit-run: runs jobs as the account that it is started by, and records how they ended.

Reads: `inbox` of a build account; as a filter a stream of jobs, assigned to this builder or signed by its own account.
Appends: events, environment, artefact, result and a cit-result signature. Side effect: the job runs in work/.
Exits: of one job as a filter the job's own status (124 time limit, 126, 127, 128+signal, 125 where cit failed); else 0; 65 74 77.
How: with --from one pass (account_pass.py) under running/.lock, in which a shim serves each slot and outlives us; as a
filter one job after another, each ended when we are.
Pages: docs/stages/run.md, docs/directories.md, docs/format/environment-artefact-result.md
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Optional

import typer

from . import sealing
from .cit_format import command, home, masks, messages, spool
from .cit_format.body import Value
from .cit_format.errors import OK, USAGE, CitError

READS = {
    "assignment": "1",
    "call": "1",
    "control": "1",
    "env": "1",
    "job": "1",
    "keep": "1",
    "needs": "1",
    "reply": "1",
    "script": "1",
    "secret": "1",
    "signature": "1",
}
# `cit-run WORD` is cit-WORD, and its module.
WORDS = {"changes": "changes", "clean": "cleaning", "publish": "publish", "stash": "stash", "try": "trial", "unstash": "unstash"}
WRITES = {"artefact": "1", "environment": "1", "event": "1", "result": "1", "signature": "1"}


# --- decisions ------------------------------------------------------------------------------------------------------


def count(wanted: Value | None, cores: int) -> int:
    """A number of slots or processors as configured; as many as there are cores where nothing is."""
    return wanted if isinstance(wanted, int) and wanted > 0 else cores


def is_idle(account: home.Account) -> bool:
    """Whether nothing lies there that a pass would look at: no job, no wish, no secrets, no results to be sealed, nothing that a killed pass held;
    and no pass notes its boot."""
    if not (account / "running" / ".boot").exists() or any(any((account / "work" / name).glob("*")) for name in (masks.PRIVATE, sealing.FOLDER)):
        return False
    return not any(spool.listing(account / state) for state in ("inbox", "running", "control")) and not any((account / "inbox").glob(".claim/*"))


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    words: Optional[list[str]] = typer.Argument(None, metavar="[-- COMMAND...]", help="Of --shell: what to run instead of a shell"),
    source: Optional[str] = typer.Option(None, "--from", metavar="SPOOL", help="inbox: make a pass over the account; without it, a filter"),
    to: Optional[str] = typer.Option(None, "--to", metavar="SPOOL", help="finished: where results go"),
    represent: bool = typer.Option(False, "--represent", help="Run one job for the account that started us by sudo: docs/howto/run-as.md"),
    shell: Optional[str] = typer.Option(None, "--shell", metavar="COPY-NAME", help="A shell, or the command after --, where a job ran and as it ran"),
    slots: Optional[int] = typer.Option(None, "--slots", min=1, help="Jobs at once; else as many as this account has cores"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Run jobs and record how they ended."""
    messages.set_up("cit-run", quiet, verbose)
    account = home.Account(home.own_account().path.absolute())
    if words and shell is None:
        raise CitError(USAGE, f"{words[0][:60]} is no option", "a job comes on stdin: cit-trigger -- COMMAND | cit-run")
    if shell is not None:
        from . import inside

        return inside.entered(account, shell, words or [])
    if source is None:
        if to is not None:
            raise CitError(USAGE, "--to without --from", "between spools: --from inbox --to finished; a filter has neither")
        from . import local

        return local.represented(account) if represent else local.filtered(account)
    spools = [(source, "inbox"), (to or "finished", "finished")]
    wrong = [given for given, meant in spools if given != meant and os.path.abspath(given) != str(account / meant)]
    if wrong:
        raise CitError(USAGE, f"{wrong[0]} is no spool of this account", f"cit-run works in {account.path}: --from inbox --to finished")
    if is_idle(account):
        return OK
    if account.settings.get("kind", "cit") != "cit":
        from .kinds import visit

        return visit.visit(account, slots or count(account.settings.get("slots"), visit.MOST))
    from .account_pass import Pass

    lock = spool.Lock(account / "running" / ".lock")
    if not lock.try_now():
        return OK  # another pass is at work; it sees what arrives
    cores = len(os.sched_getaffinity(0))
    return Pass(account, slots or count(account.settings.get("slots"), cores), count(account.settings.get("cpus"), cores)).run()


def run() -> None:
    """The program cit-run, and cit-WORD for its words."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in WORDS:
        del sys.argv[1]
        command.start(f"cit-{word}", import_module(f".{WORDS[word]}", __package__).main)
    command.start("cit-run", main, lambda: command.speaks(READS, WRITES))
