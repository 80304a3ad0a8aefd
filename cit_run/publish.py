"""cit-run publish DIR: what is to be said of a build that somebody made by hand, as the sections `published` and `publishes` to stdout.

Reads: DIR; with a command what that does there, and with --environment what it is built with. Writes: files that --keep means into store/.
Exits: as the command did; 66 no such directory; 78 the environment command fails. Nothing is signed here: `cit publish` does that.
Pages: docs/howto/restart-and-publish.md, docs/format/published.md
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Optional

import typer

from . import components, environment, keep
from .cit_format import body, clock, document, home, messages
from .cit_format.errors import CONFIG, NOT_FOUND, CitError


def said(exit_status: int, ended: int, rows: list[components.Row]) -> dict[str, object]:
    """The keys of `published`. Without rows of its environment it is uncontrolled: `environment` is missing."""
    machine = dict(environment.machine())
    return {
        "state": "FAILED" if exit_status else "COMPLETED",
        "exit": exit_status,
        "ended": body.Time(ended),
        "host": machine["host"],
        "system": machine["system"],
        "environment": hashlib.sha256(body.tsv(sorted(rows))).hexdigest() if rows else None,
        "built-with": [f"{component} {key}: {value}" for component, key, value in rows] or None,
    }


def ran(command: list[str], directory: str) -> int:
    """Run a command there, its output going to stderr; its status."""
    try:
        status = subprocess.run(command, cwd=directory, stdout=2).returncode
    except OSError as error:
        raise CitError(NOT_FOUND, f"cannot start {command[0][:80]}: {error.strerror}", "is it on PATH?") from None
    return 128 - status if status < 0 else status


def main(
    directory: str = typer.Argument(..., metavar="DIR", help="Where it was built"),
    command: Optional[list[str]] = typer.Argument(None, metavar="[-- COMMAND...]", help="Build it now, there"),
    globs: Optional[list[str]] = typer.Option(None, "--keep", metavar="GLOB", help="Files of it that go into the store"),
    told: Optional[str] = typer.Option(None, "--environment", metavar="COMMAND", help="Prints what it is built with: make env"),
) -> int:
    """What is to be said of a build that somebody made by hand."""
    messages.set_up("cit-publish")
    if not os.path.isdir(directory):
        raise CitError(NOT_FOUND, f"no directory {directory[:200]}", "cit publish DIR: where it was built")
    account = home.own_account()
    rows: list[components.Row] = []
    if told is not None:
        try:
            rows = components.with_tools(components.rows_of(components.asked(told, directory, components.LIMIT))[0])
        except CitError as error:
            raise CitError(CONFIG, f"environment ({told[:60]}): {error.what}", error.hint) from None
    status = ran(command, directory) if command else 0
    kept = keep.kept(os.path.realpath(directory), globs or [], account / "store", ".", lambda _: [])
    written = document.section("published", "toml", body.toml(said(status, clock.now() // clock.SECOND * clock.SECOND, rows)))
    if kept:
        written += document.section("publishes", "tsv", body.tsv((digest, size, path.removeprefix("./")) for digest, size, path in kept))
    sys.stdout.buffer.write(written)
    return status
