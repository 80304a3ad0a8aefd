"""cit fetch: the files that a job has kept, from its builder to here, each as its builder signed it; what is for some only is opened.

Reads: the job's document; store/ of this account, else the read door of the job's builder; your private key. Writes: files below DEST; their
paths to stdout.
Exits: 0; 1 a file is there already, and another one; 65 other bytes than the builder signed; 66 no such job, or no such file; 69 its builder
is out of reach; 77 it is sealed to others (docs/messages.md).
How: bytes come into a hidden file beside, are compared and opened as a whole, and then get their name, never over another file.
Pages: docs/howto/fetch-results.md
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

import typer

from . import answers, far, look, opening, places, remote
from .cit_format import ask, clock, globs, messages, reply
from .cit_format.document import Document
from .cit_format.errors import DATA, NO, NOT_FOUND, OK, CitError, worst
from .look import Seen

if TYPE_CHECKING:
    from .cit_format.seal import Key, Recipient

PIECE = 1 << 20  # bytes read at a time


class Kept(NamedTuple):
    """A file that a job has kept: its sha256 and bytes, where it lies below the account, its name without `.age`, and for whom it is
    encrypted (nobody: it is not)."""

    sha256: str
    size: int
    path: str
    name: str
    to: list[Recipient]


# --- decisions ------------------------------------------------------------------------------------------------------


def kept(job: Document) -> list[Kept]:
    """The log and the files that a job's builder lists, as far as its author asked for them."""
    first = job.find("signature")
    asked = [row[0] for section in job.sections[: first.number - 1 if first else 0] if section.kind == "keep" for row in section.rows()]
    known = reply.rows(job)
    rows = (row for section in job.all("artefact") for row in section.rows() if len(row) == 3 and row[1].isdigit())
    found = (one(row, known) for row in rows if row[2].startswith("work/"))  # what was stashed is asked for by its name: cit unstash
    return [each for each in found if "/" not in each.path.removeprefix("work/") or is_asked_for(each.name, asked)]


def one(row: list[str], known: list[reply.Row]) -> Kept:
    """One artefact; a log is called by the last part of its path, a file by what follows the job's own name."""
    sha256, size, path = row
    name = path.removeprefix("work/").partition("/")[2]
    plain = (name or path.removeprefix("work/")).removesuffix(reply.SUFFIX)
    to = (reply.recipients(known, plain) if name else reply.of_log(known)) if path.endswith(reply.SUFFIX) else []
    return Kept(sha256, int(size), path, plain if to else name or path.removeprefix("work/"), to)


def is_asked_for(name: str, asked: Iterable[str]) -> bool:
    """Whether a builder may bring a file of this name here: it leads nowhere else, and the job's author wanted it."""
    parts = globs.parts_of(name)
    return parts is not None and "/".join(parts) == name and "\0" not in name and any(globs.matches(name, glob) for glob in asked)


def wanted(found: list[Kept], glob: str) -> list[Kept]:
    """Of these the ones that a pattern means: `.log` the log, and the recording of a terminal; `.` all but these."""
    logs = [each for each in found if "/" not in each.path.removeprefix("work/")]
    printed = [each for each in logs if each.path.removesuffix(reply.SUFFIX).endswith((".log", ".cast"))]
    return printed if glob == reply.LOG else [each for each in found if each not in logs and globs.matches(each.name, glob)]


# --- one file -------------------------------------------------------------------------------------------------------


class Source:
    """Where a job's files come from: this account, or the door of its builder."""

    def __init__(self, job: Seen) -> None:
        self.job = job
        self.there = None if self.is_here() else far.place(job)

    def is_here(self) -> bool:
        return self.job.work(".run") is not None or self.job.log is not None

    def pieces(self, each: Kept) -> Iterator[bytes]:
        """The bytes of a file, as they come. 66, 69."""
        account, label = self.job.there.account, self.job.document.label
        own = each.path.removeprefix("work/").partition("/")[0]
        is_log = own == each.path.removeprefix("work/")
        if self.there is not None:
            name, dot, what = own.removesuffix(reply.SUFFIX).rpartition(".")
            words = ("log", name, "0", *([what] if what == "cast" else [])) if is_log and dot else ("file", each.sha256, "0", own)
            yield from ask.pieces(self.there.place, *words)
            return
        try:
            assert account is not None
            with open(account / each.path if is_log else account / "store" / each.sha256, "rb") as stream:
                while piece := stream.read(PIECE):
                    yield piece
        except FileNotFoundError:
            raise CitError(NOT_FOUND, f"{each.name} is not here any more", "cit clean removes what jobs have kept", label) from None


def received(pieces: Iterable[bytes], each: Kept, beside: str) -> None:
    """Write a file's bytes to `beside`; 65 where they are others than its builder signed."""
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if each.to else 0o666)
    try:
        sink = reply.Sink(fd)
        for piece in pieces:
            if sink.size + len(piece) > each.size:
                break
            sink.write(piece)
        else:
            if (sink.digest.hexdigest(), sink.size) == (each.sha256, each.size):
                return
    finally:
        os.close(fd)
    raise CitError(DATA, f"{each.name}: other bytes came than its builder signed", "nothing of them is kept; cit trace checks the job's document")


def opened(beside: str, by: Key) -> None:
    """Put what a file holds in its place."""
    plain = f"{beside}.open"
    fd = os.open(plain, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(beside, "rb", buffering=0) as source:
            reply.decrypt(source, reply.Sink(fd), [by])
        os.rename(plain, beside)
    except BaseException:
        os.unlink(plain)
        raise
    finally:
        os.close(fd)


def placed(beside: str, target: str, force: bool) -> None:
    """Give a file its name; one of the same bytes that has it already will do. 1 where it is another one."""
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    try:
        if force:
            os.rename(beside, target)
        else:
            os.link(beside, target)
    except FileExistsError:
        if not os.path.isfile(target) or not filecmp.cmp(beside, target, shallow=False):
            raise CitError(NO, f"{target} is there already, and is another file", "name another directory, or --force") from None


def urls(job: Document, files: Iterable[Kept]) -> Iterator[str]:
    """What scp takes for these, where their builder says how it is reached."""
    at = {row[0]: section.attributes["at"] for section in job.all("artefact") if "at" in section.attributes for row in section.rows() if row}
    for each in files:
        if each.sha256 in at and "/" in each.path.removeprefix("work/"):
            yield f"{messages.clean(at[each.sha256] + each.sha256)}\t{messages.clean(each.path.removeprefix('work/').partition('/')[2])}\n"


# --- the loop -------------------------------------------------------------------------------------------------------


def fetched(job: Seen, files: list[Kept], into: Path, as_sealed: bool, given: str | None, force: bool) -> int:
    """Bring these here; one that fails does not stop the others. The worst status."""
    status, source = OK, Source(job)
    keys: dict[frozenset[str], Key] = {}
    into.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(files):
        beside = str(into / f".cit-fetch-{os.getpid()}-{number}")
        try:
            whom = frozenset(to.fingerprint for to in each.to)
            if each.to and not as_sealed and whom not in keys:
                keys[whom] = opening.key(job.document, each.name, each.to, given)
            received(source.pieces(each), each, beside)
            if each.to and not as_sealed:
                opened(beside, keys[whom])
            target = str(into / (f"{each.name}{reply.SUFFIX}" if each.to and as_sealed else each.name))
            placed(beside, target, force)
            sys.stdout.write(f"{messages.clean(target)}\n")
        except CitError as error:
            status = worst(status, messages.complain(error, job.document.label))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
    return status


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    job: str = typer.Argument(..., metavar="JOB", help="A piece of an ID, a name, or `last`"),
    glob: str = typer.Argument(reply.ALL, metavar="[GLOB]", help="Which files, below the job's workspace; .log means the log; else all that it kept"),
    into: Path = typer.Argument(Path(), metavar="[DEST]", help="Below which directory; else here"),
    as_sealed: bool = typer.Option(False, "--sealed", help="Leave sealed files as they are, with .age behind their names"),
    key: Optional[str] = typer.Option(None, "-i", "--key", metavar="FILE", help="The private key that opens; else your own"),
    force: bool = typer.Option(False, "-f", "--force", help="Over files that are there already"),
    as_urls: bool = typer.Option(False, "--url", help="Only say what scp takes for them: URL and name, TSV"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where the job is looked up: @NAME or a directory"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Files that a job has kept, opened and checked."""
    messages.set_up("cit-fetch", quiet)
    asker = remote.Asker()
    found = answers.ran(look.one(job, places.here(queue), clock.now(), asker), asker)
    files = wanted(kept(found.document), glob)
    if not files:
        said = f"it kept no {glob}" if glob != reply.ALL else "it kept no file" if found.told.get("ended") else f"it is {found.state}"
        raise CitError(NOT_FOUND, said, f"cit show {found.short} lists what it kept; cit push --keep GLOB says what", found.document.label)
    if as_urls:
        lines = list(urls(found.document, files))
        if not lines:
            raise CitError(NOT_FOUND, "its builder says no URL", "cit config address, there, says how it is reached", found.document.label)
        sys.stdout.write("".join(lines))
        return OK
    return fetched(found, files, into, as_sealed, key, force)
