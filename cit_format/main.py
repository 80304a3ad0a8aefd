"""cit-format: look into cit files, check them, take sections out, add, sign and verify.

Reads: streams of documents from files or stdin. Writes: text or documents to stdout.
Exits: 0; 65 does not parse; 66 not found; 77 a signature does not hold (docs/messages.md).
Pages: docs/format/index.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional

import typer

from . import command, listing, messages
from .errors import OK, worst
from .reader import Faulty

app = command.new_app(no_args_is_help=True)
Files = Optional[list[str]]


@contextmanager
def opened(name: str) -> Iterator[Callable[[int], bytes]]:
    """A `read` of the file, or of stdin for `-`."""
    if name == "-":
        yield sys.stdin.buffer.raw.read  # type: ignore[attr-defined]
    else:
        with open(name, "rb", buffering=0) as stream:
            yield stream.read


@app.command("list")
def list_(files: Files = typer.Argument(None, help="cit files; stdin without any")) -> int:
    """The canonical listing: one TSV line a section."""
    status = OK
    for name in files or ["-"]:
        with opened(name) as read:
            for item in listing.listed(read):
                if isinstance(item, Faulty):
                    status = worst(status, messages.complain(item.error, name if name != "-" else ""))
                else:
                    sys.stdout.write(item)
    return status


def run() -> None:
    """The program cit-format."""
    command.start("cit-format", app)
