"""The commands of cit-format that write documents: add, sign, fmt, frame, unframe (docs/stages/format.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import typer

from . import messages
from .errors import OK, USAGE, CitError, worst
from .inputs import FILES, Files, Read, each_document, each_file
from .output import write
from .reader import Faulty


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
    return each_document(None, lambda document: write(document.raw, append.allowed(document, section, piece)))


def sign(
    files: Files = typer.Argument(None, metavar="[FILE]...", help="Files of one document each, signed in place; without any stdin to stdout"),
    key: Optional[str] = typer.Option(None, "--key", metavar="FILE", help="Private key, or .pub of one in ssh-agent; your own without it"),
    namespace: Optional[str] = typer.Option(None, "--ns", metavar="NAMESPACE", help="cit-job, cit-queue, ...; what a new document needs without it"),
    by: Optional[str] = typer.Option(None, "--by", metavar="WHO", help="user@host; the document's submitter, or you, without it"),
) -> int:
    """Close documents with a signature."""
    from . import append
    from .sign import signature, signer

    with_key = signer(key)
    if not files:
        return each_document(None, lambda document: write(document.raw, signature(document, with_key, namespace, by)))
    status = OK
    for name in files:
        try:
            append.append(Path(name), lambda document: signature(document, with_key, namespace, by))
        except CitError as error:
            status = worst(status, messages.complain(error, name))
    return status


def fmt(files: Files = FILES) -> int:
    """Bring what was typed by hand into the one form."""
    from .fmt import documents
    from .fmt import formatted as one_form
    from .reader import LIMITS

    def formatted(place: str, read: Read) -> int:
        status = OK
        for typed in documents(b"".join(iter(lambda: read(LIMITS.section), b""))):
            try:
                write(one_form(typed))
            except CitError as error:
                status = worst(status, messages.complain(error, place))
        return status

    return each_file(files, formatted)


def frame(files: Files = FILES) -> int:
    """Frame a stream, so that a cut is never an end."""
    from .frame import framed
    from .reader import documents

    whole: list[bytes] = []

    def kept(_place: str, read: Read) -> int:
        for item in documents(read):
            if isinstance(item, Faulty):
                raise item.error
            whole.append(item.raw)
        return OK

    return each_file(files, kept) or write(framed(b"".join(whole), len(whole)))


def unframe(strict: bool = typer.Option(False, "--strict", help="65 where there is no frame")) -> int:
    """The stream within a frame, once all of it is there."""
    import os

    from .frame import unframed

    read = unframed(lambda size: os.read(0, size), strict=strict)
    return write(*iter(lambda: read(1 << 20), b""))
