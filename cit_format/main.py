"""cit-format: look into cit files, check them, take sections out, add, sign and verify.

Reads: streams of documents, framed or not, from files or stdin. Writes: text or documents to stdout.
Exits: 0; 1 nothing was changed because it must not be; 65 does not parse; 66 not found; 77 a signature does not hold (docs/messages.md).
How: one bad document does not stop the others; the worst status wins. Each command is a few lines here and a file of its own.
Pages: docs/stages/format.md, docs/format/index.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import typer

from . import command, listing, messages
from .document import Document
from .errors import NOT_FOUND, OK, USAGE, CitError, worst
from .inputs import Files, Read, each_document, each_file
from .reader import Faulty

NAME = "cit-format"
FILES = typer.Argument(None, metavar="[FILE]...", help="cit files; stdin without any, or for -")
QUIET = typer.Option(False, "-q", "--quiet", help="Errors only")
VERBOSE = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks")

app = command.new_app(no_args_is_help=True, help="Look into cit files: list, check, take out, add, sign, verify.")


@app.command("list")
def list_(files: Files = FILES) -> int:
    """The canonical listing: one TSV line a section."""

    def listed(place: str, read: Read) -> int:
        status = OK
        for item in listing.listed(read):
            if isinstance(item, Faulty):
                status = worst(status, messages.complain(item.error, place))
            else:
                sys.stdout.write(item)
        return status

    return each_file(files, listed)


@app.command("check")
def check_(files: Files = FILES, quiet: bool = QUIET, verbose: int = VERBOSE) -> int:
    """Check documents, and queue.toml, config.toml, allowed_signers, trigger lists; silent where all is well."""
    from . import check

    messages.set_up(NAME, quiet, verbose)
    return check.files(files)


@app.command("get")
def get(
    section: str = typer.Argument(..., metavar="SECTION", help="Which section"),
    files: Files = FILES,
    number: int = typer.Option(1, "--number", min=1, help="The Nth section of this name"),
    header: bool = typer.Option(False, "--header", help="The control line before it, too"),
    signed: bool = typer.Option(False, "--signed", help="Only from what the first signature covers"),
) -> int:
    """The body of a section, unquoted and decoded; 66 where there is none."""

    def taken(document: Document) -> int:
        end = document.find("signature") if signed else None
        if signed and end is None:
            raise CitError(NOT_FOUND, "nothing is signed", "cit-format sign FILE", document.label)
        found = [one for one in document.all(section) if end is None or one.number < end.number]
        if len(found) < number:
            which = f"section {section}" if number == 1 else f"section {section} number {number}"
            raise CitError(NOT_FOUND, f"no {which}", f"it has {', '.join(dict.fromkeys(one.kind for one in document.sections))}", document.label)
        one = found[number - 1]
        if header:
            sys.stdout.buffer.write(document.raw[one.start :].split(b"\n", 1)[0] + b"\n")
        sys.stdout.buffer.write(one.body())
        sys.stdout.buffer.flush()
        return OK

    return each_document(files, taken)


@app.command("through", context_settings={"ignore_unknown_options": True})
def through_(
    program: list[str] = typer.Argument(..., metavar="-- PROGRAM [ARG]...", help="A filter: documents in, documents out"),
    source: Path = typer.Option(..., "--from", metavar="SPOOL", help="Where documents are taken"),
    target: Path = typer.Option(..., "--to", metavar="SPOOL", help="Where those go that the program appended to"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory: spools are states of this queue"),
    look_ahead: int = typer.Option(1000, "--look-ahead", min=1, help="The most documents of one pass"),
    stage: str = typer.Option("", "--stage", help="How the log calls the program; its own name without it"),
    quiet: bool = QUIET,
    verbose: int = VERBOSE,
) -> int:
    """Run a filter between two spools."""
    from . import through

    messages.set_up(NAME, quiet, verbose)
    if queue is not None:
        from . import home

        place = home.find_queue(queue).path
        source, target = place / source, place / target
    if source.absolute() == target.absolute():
        raise CitError(USAGE, "--from and --to are the same spool", "name two")
    return through.through(source.absolute(), target.absolute(), program, look_ahead, stage)


def run() -> None:
    """The program cit-format."""
    command.start(NAME, app)
