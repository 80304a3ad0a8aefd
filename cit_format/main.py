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

from . import command, joining, listing, machines, messages, writing
from .document import Document
from .errors import NOT_FOUND, OK, USAGE, CitError, worst
from .inputs import FILES, Files, Read, each_document, each_file
from .output import table, write
from .reader import Faulty

NAME = "cit-format"
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
        return write(one.body())

    return each_document(files, taken)


@app.command("upto")
def upto_(
    stage: str = typer.Argument(..., metavar="STAGE", help="queue, schedule, deliver, run, sync or report"),
    files: Files = FILES,
    attempt: Optional[int] = typer.Option(None, "--attempt", min=1, help="Of this attempt; the last one without it"),
) -> int:
    """Cut back to what a stage read, to run it again."""
    from . import upto

    return each_document(files, lambda document: write(upto.upto(document, stage, attempt)))


@app.command("same")
def same_(files: Files = FILES) -> int:
    """What equal jobs have in common: ID, name, whose run may answer it, digest; TSV."""
    from . import body, same

    def told(job: Document) -> int:
        wish = same.asked(job)
        return write(body.row(job.id, job.name, wish or "-", same.digest(job) if wish else "-"))

    return each_document(files, told)


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
    table(sign.HEADER, rows)
    return status


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
        table(["key", "value", "default", "why"], [list(setting.row) for setting in configure.settings(place)])
    elif unset or words[1:]:
        configure.change(place, words[0], None if unset else words[1:])
    else:
        write(configure.text(place, words[0]).encode() + b"\n")
    return OK


@app.command("init")
def init(queues: Optional[list[str]] = typer.Argument(None, metavar="[QUEUE]...", help="Another queue: @NAME, or a directory")) -> int:
    """Make what is missing of the cit home; and queues beside main."""
    from . import begin, home

    home.ensure()
    for wanted in queues or []:
        messages.tell("note", f"made {begin.queue(wanted).path}: a queue with this machine as its builder")
    return OK


@app.command("grant")
def grant_(
    person: str = typer.Argument(..., metavar="USER@HOST", help="Who may submit"),
    key: str = typer.Argument(..., metavar="KEYFILE|KEY", help="Their public key: a file, - for stdin, or the key itself"),
    until: str = typer.Option(..., "--until", metavar="DURATION|TIME", help="For how long: 30d, or a UTC time"),
    names: str = typer.Option("", "--names", metavar="GLOB,...", help="Only jobs of these names"),
    interfaces: str = typer.Option("", "--interfaces", metavar="NAME,...", help="Only calls of these interfaces"),
    signing: Optional[str] = typer.Option(None, "--key", metavar="FILE", help="The owner's key that signs; else your own"),
) -> int:
    """Sign a permission that its bearer carries in jobs."""
    from . import clock, grant, sign, sshsig

    text = sys.stdin.read() if key == "-" else Path(key).read_text() if "/" in key or Path(key).is_file() else key
    end = clock.parse(until) if until[-1:] == "Z" else clock.now() + clock.duration(until)
    return write(grant.made(person, sshsig.parse_public_key(text.strip()), end, names, interfaces, sign.signer(signing)))


@app.command("allow")
def allow_(
    words: Optional[list[str]] = typer.Argument(
        None, metavar="[USER@HOST KEYFILE|-|KEY [@QUEUE]...]", help="Who, with which key, where; without @QUEUE at the build account"
    ),
    control: bool = typer.Option(False, "--control", help="They may also cancel, hold and see every job there"),
    reads: bool = typer.Option(False, "--read", help="They may see jobs that say watch = readers; alone: look, submit none"),
    until: Optional[str] = typer.Option(None, "--until", metavar="DATE|DURATION", help="Until when: 2026-12-31, 30d, or a UTC time"),
    names: Optional[str] = typer.Option(None, "--names", metavar="GLOB,...", help="Only jobs of these names, at queues"),
    door: bool = typer.Option(False, "--door", help="Put the line into ~/.ssh/authorized_keys instead of printing it"),
    out: Optional[str] = typer.Option(None, "--revoke", metavar="USER@HOST|KEYFILE|FINGERPRINT", help="Take out; without @QUEUE everywhere here"),
    keep_old: bool = typer.Option(False, "--keep-old", help="With --revoke: what they signed before is believed as before"),
    quiet: bool = QUIET,
    verbose: int = VERBOSE,
) -> int:
    """Who may what here: list it, allow a key, revoke one."""
    from . import allow

    messages.set_up("cit-allow", quiet, verbose)
    if out is not None:
        allow.revoke(out, words or [], keep_old)
    elif words:
        namespaces = (*["cit-job"] * (control or not reads), *["cit-control"] * control, *["cit-read"] * reads)
        line = allow.add(words, namespaces, until, names, door)
        write(f"{line}\n".encode() if line else b"")
    else:
        return table(allow.HEADER, list(allow.rows()))
    return OK


for act in (writing.add, writing.sign, writing.fmt, writing.frame, writing.unframe, *machines.ACTS, *joining.ACTS):
    app.command(act.__name__)(act)


def run() -> None:
    """The program cit-format."""
    command.start(NAME, app)
