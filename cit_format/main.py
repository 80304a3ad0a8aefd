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

from . import body, command, listing, messages
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
    """Check documents, settings and lists of keys."""
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
    """Take a section out: its body, unquoted and decoded."""

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
        return _write(one.body())

    return each_document(files, taken)


@app.command("upto")
def upto_(
    stage: str = typer.Argument(..., metavar="STAGE", help="queue, schedule, deliver, run, sync or report"),
    files: Files = FILES,
    attempt: Optional[int] = typer.Option(None, "--attempt", min=1, help="Of this attempt; the last one without it"),
) -> int:
    """Cut back to what a stage read, to run it again."""
    from . import upto

    return each_document(files, lambda document: _write(upto.upto(document, stage, attempt)))


@app.command("add")
def add(
    section: str = typer.Argument(..., metavar="SECTION", help="Name of the section"),
    form: str = typer.Argument(..., metavar="FORMAT", help="tsv, toml, xml, json, yaml, tar, sh, text, ..."),
    given: Optional[list[str]] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Attributes"),
    content: Optional[Path] = typer.Option(None, "--file", metavar="BODY", help="The body; stdin without it"),
    target: Optional[Path] = typer.Option(None, "--to", metavar="DOCUMENT", help="Append to this file, under its lock"),
) -> int:
    """Append a section to a file, or to each document of stdin."""
    from . import append

    if content is None and target is None:
        raise CitError(USAGE, "stdin cannot be both body and documents", "--to DOCUMENT takes the body from stdin; --file BODY reads documents there")
    piece = append.added(section, form, content.read_bytes() if content else sys.stdin.buffer.read(), list(given or []))
    if target is not None:
        append.append(target, lambda document: append.allowed(document, section, piece))
        return OK
    return each_document(None, lambda document: _write(document.raw, append.allowed(document, section, piece)))


@app.command("sign")
def sign_(
    files: Files = typer.Argument(None, metavar="[FILE]...", help="Files of one document each, signed in place; without any stdin to stdout"),
    key: Optional[str] = typer.Option(None, "--key", metavar="FILE", help="Private key, or .pub of one in ssh-agent; your own without it"),
    namespace: Optional[str] = typer.Option(None, "--ns", metavar="NAMESPACE", help="cit-job, cit-queue, ...; what a new document needs without it"),
    by: Optional[str] = typer.Option(None, "--by", metavar="WHO", help="user@host; the document's submitter, or you, without it"),
) -> int:
    """Close documents with a signature."""
    from . import append, sign

    signer = sign.signer(key)
    if not files:
        return each_document(None, lambda document: _write(document.raw, sign.signature(document, signer, namespace, by)))
    status = OK
    for name in files:
        try:
            append.append(Path(name), lambda document: sign.signature(document, signer, namespace, by))
        except CitError as error:
            status = worst(status, messages.complain(error, name))
    return status


@app.command("verify")
def verify(
    files: Files = FILES,
    allowed: Optional[Path] = typer.Option(None, "--signers", metavar="FILE", help="allowed_signers; the home's without it"),
    revoked: Optional[Path] = typer.Option(None, "--revoked", metavar="FILE", help="revoked_keys; the one beside --signers without it"),
    namespace: Optional[str] = typer.Option(None, "--ns", metavar="NAMESPACE", help="One signature must hold in this namespace"),
    identity: Optional[str] = typer.Option(None, "--identity", metavar="WHO", help="One signature must be by this person, queue or builder"),
) -> int:
    """Verify signatures; 77 where one does not hold."""
    from . import clock, sign

    signers = sign.signers_of(allowed, revoked)

    rows: list[list[str]] = []

    def verified(document: Document) -> int:
        found = list(sign.verdicts(document, signers, clock.now()))
        rows.extend([document.id, *one.row] for one in found)
        status = OK
        for error in sign.complaints(found, document.label, namespace, identity):
            status = worst(status, messages.complain(error))
        return status

    status = each_document(files, verified)
    _table(sign.HEADER, rows)
    return status


@app.command("fmt")
def fmt_(files: Files = FILES) -> int:
    """Bring what was typed by hand into the one form."""
    from . import fmt
    from .reader import LIMITS

    def formatted(place: str, read: Read) -> int:
        status = OK
        for typed in fmt.documents(b"".join(iter(lambda: read(LIMITS.section), b""))):
            try:
                _write(fmt.formatted(typed))
            except CitError as error:
                status = worst(status, messages.complain(error, place))
        return status

    return each_file(files, formatted)


@app.command("frame")
def frame_(files: Files = FILES) -> int:
    """Frame a stream, so that a cut is never an end."""
    from . import frame
    from .reader import documents

    whole: list[bytes] = []

    def kept(_place: str, read: Read) -> int:
        for item in documents(read):
            if isinstance(item, Faulty):
                raise item.error
            whole.append(item.raw)
        return OK

    return each_file(files, kept) or _write(frame.framed(b"".join(whole), len(whole)))


@app.command("unframe")
def unframe(strict: bool = typer.Option(False, "--strict", help="65 where there is no frame")) -> int:
    """The stream within a frame, once all of it is there."""
    import os

    from . import frame

    read = frame.unframed(lambda size: os.read(0, size), strict=strict)
    return _write(*iter(lambda: read(1 << 20), b""))


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


@app.command("config")
def config_(
    words: Optional[list[str]] = typer.Argument(None, metavar="[KEY [VALUE]...]", help="Without VALUE it is printed, without KEY all are"),
    file: Optional[Path] = typer.Option(None, "--file", metavar="FILE", help="A config.toml or queue.toml; else config.toml of the cit home"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="queue.toml of @NAME or a directory"),
    unset: bool = typer.Option(False, "--unset", help="Take KEY out, so that its default holds"),
) -> int:
    """Read or change one setting; comments and order of the file stay."""
    from . import configure, home

    place = home.find_queue(queue).path / "queue.toml" if queue else file or home.ensure() / "config.toml"
    if not words:
        _table(["key", "value", "default", "why"], [list(setting.row) for setting in configure.settings(place)])
    elif unset or words[1:]:
        configure.change(place, words[0], None if unset else words[1:])
    else:
        _write(configure.text(place, words[0]).encode() + b"\n")
    return OK


@app.command("init")
def init(queues: Optional[list[str]] = typer.Argument(None, metavar="[QUEUE]...", help="Another queue: @NAME, or a directory")) -> int:
    """Make what is missing of the cit home; and queues beside main."""
    from . import begin, home

    home.ensure()
    for wanted in queues or []:
        messages.tell("note", f"made {begin.queue(wanted).path}: a queue with this machine as its builder")
    return OK


def _table(header: list[str], rows: list[list[str]]) -> None:
    """TSV in a pipe; on a terminal columns below a header."""
    if sys.stdout.isatty() and rows:
        shown = [header, *([messages.clean(field) for field in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*shown)]
        _write(*("  ".join(map(str.ljust, row, widths)).rstrip().encode() + b"\n" for row in shown))
    else:
        _write(body.tsv(rows))


def _write(*pieces: bytes) -> int:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return OK


def run() -> None:
    """The program cit-format."""
    command.start(NAME, app)
