"""cit stash: puts files and directories into the account's store, under names by which other jobs find them.

Reads: the paths that are named. Writes: store/SHA256, store/history.tsv, store/names/; in a job its record, so that its end lists them.
With --list names as TSV; with --sums all bytes as sha256sum reads them; with --check what differs from its digest.
Exits: 0; 1 --check found something, or a file changed meanwhile; 2 usage; 65 what no tree may hold; 66 no such file; 74 the disk;
77 in a job whose results are for some only.
Pages: docs/howto/artefacts.md, docs/directories.md
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from typing import Optional

import typer

from . import naming, sealing, tree
from .cit_format import body, clock, home, messages, store
from .cit_format.errors import DENIED, NO, NOT_FOUND, OK, USAGE, CitError
from .storing import PIECE, sink

COLUMNS = ("name", "key", "sha256", "bytes", "time", "by")

# --- decisions ------------------------------------------------------------------------------------------------------


def wish(item: str) -> tuple[str, str]:
    """Name and path of one argument: NAME=PATH, or a path whose last part is the name."""
    name, given, path = item.partition("=")
    if given and path and store.is_name(name):
        return name, path
    return naming.checked(os.path.basename(os.path.abspath(item))), item


def may_stash(job: naming.Job | None, work: str) -> None:
    """77 in a job whose files are for some only: what is stashed lies open to its account."""
    if job and any(row[0] != ".log" for row in sealing.rows(work, job.own)):
        raise CitError(DENIED, "the files of this job are encrypted for some only", "what is stashed lies open: have it kept (cit push --keep)")


# --- one file -------------------------------------------------------------------------------------------------------


def put(path: str, folder: str) -> tuple[str, int]:
    """A file or directory into the store: its sha256 and bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CitError(NOT_FOUND, f"{path}: {error.strerror}", "cit stash [NAME=]PATH...") from None
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CitError(NOT_FOUND, f"{path} is neither a file nor a directory", "cit stash [NAME=]PATH...")
        with sink(folder) as made:
            if stat.S_ISDIR(mode):
                tree.packed(fd, made)
            else:
                made.copied(fd)
            return made.named(stat.S_ISREG(mode) and bool(mode & 0o100))
    finally:
        os.close(fd)


def stashed(name: str, path: str, key: str, replace: bool, folder: str, job: naming.Job | None) -> None:
    """Put one thing there under its name. With a key the first one stays: all with this configuration share it."""
    digest, size = put(path, folder)
    counts = naming.give(folder, name, key, digest, job.own if job else home.person(), first_stays=bool(key) and not replace)
    if counts != digest:
        messages.tell("warning", f"{name}: with this key other bytes were stashed before, which stay", hint="--replace puts these in their place")
        digest, size = counts, store.size(folder, counts) or 0
    if job:
        naming.noted(job, digest, size, store.called(name, key))
    sys.stdout.write(f"{digest}  {store.called(name, key)}\n")


def forgotten(names: list[str], key: str, folder: str) -> int:
    """Take names away."""
    status = OK
    for name in names:
        if not naming.forget(folder, name, key, home.person()):
            status = messages.complain(
                CitError(NO, f"nothing is stashed as {name}{' with this key' if key else ''}", "cit stash --list tells what is")
            )
    return status


# --- what is there --------------------------------------------------------------------------------------------------


def listed(folder: str) -> int:
    """Every name, TSV with a header; on a terminal in columns."""
    last = store.newest(iter(store.history(folder)))
    rows = [list(COLUMNS)]
    for called in store.names(folder):
        name, key = store.parted(called)
        digest, said = store.meant(folder, name, key), last.get(called)
        if digest:
            known = said if said and said.sha256 == digest else None
            rows.append([name, key or "-", digest, str(store.size(folder, digest)), known.time if known else "-", known.by if known else "-"])
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(body.tsv(rows))
        return OK
    shown = [["NAME", "KEY", "SHA256", "SIZE", "STASHED", "BY"], *([*row[:1], row[1][:10], row[2][:10], sized(row[3]), *row[4:]] for row in rows[1:])]
    widths = [max(len(row[at]) for row in shown) for at in range(len(COLUMNS))]
    for row in shown:
        sys.stdout.write(messages.clean("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()) + "\n")
    return OK


def sized(text: str) -> str:
    return clock.size_text(int(text)) if text.isdigit() else text


def summed(folder: str) -> int:
    """Every file of the store, as `sha256sum -c` takes it there."""
    for name in sorted(entry.name for entry in store.files(folder)):
        sys.stdout.write(f"{name}  {name}\n")
    return OK


def compared(folder: str) -> int:
    """Read all of the store; what is not as its name says is told, and stays where it is. 1 where anything is."""
    status = OK
    for name in sorted(entry.name for entry in store.files(folder)):
        digest = hashlib.sha256()
        try:
            with open(f"{folder}/{name}", "rb", 0) as stream:
                while piece := stream.read(PIECE):
                    digest.update(piece)
        except FileNotFoundError:
            continue
        if digest.hexdigest() != name:
            status = messages.complain(CitError(NO, f"store/{name} holds other bytes", "remove it; what made it can stash it again"))
    return status


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    items: Optional[list[str]] = typer.Argument(None, metavar="[NAME=]PATH...", help="Files and directories; without NAME called as the path ends"),
    key: Optional[list[str]] = typer.Option(None, "--key", metavar="TEXT|@FILE", help="For this configuration only; the first one that has it stays"),
    replace: bool = typer.Option(False, "--replace", help="With --key: in place of what has this key"),
    show: bool = typer.Option(False, "--list", help="What has a name here"),
    sums: bool = typer.Option(False, "--sums", help="All bytes, as `sha256sum -c` takes them in store/"),
    check: bool = typer.Option(False, "--check", help="Read all bytes again; 1 where some are not as their digest says"),
    mend: bool = typer.Option(False, "--mend", help="Make names again, as history.tsv (where that is gone: as documents) says"),
    forget: bool = typer.Option(False, "--forget", help="These names lead to nothing any more; 1 where one did not. Bytes go with cit clean --store"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Put files into the store, under names."""
    messages.set_up("cit-stash", quiet)
    if forget:
        return forgotten([naming.checked(item) for item in items or []], naming.key_of(key or []), str(home.own_account() / store.FOLDER))
    wishes = [wish(item) for item in items or []]
    looks = [act for act, asked in ((listed, show), (summed, sums), (compared, check), (mended, mend)) if asked]
    if len(looks) + bool(wishes) != 1:
        raise CitError(USAGE, "nothing to stash" if not looks else "more than one thing is asked for", "cit stash [NAME=]PATH..., or --list")
    account = home.own_account()
    if looks:
        return looks[0](str(account / store.FOLDER))
    job, digest = naming.job_here(str(account.path.absolute())), naming.key_of(key or [])
    may_stash(job, os.path.dirname(job.record) if job else "")
    for name, path in wishes:
        stashed(name, path, digest, replace, naming.folder_of(str(account.path.absolute()), job), job)
    return OK


def mended(folder: str) -> int:
    """Names as the history tells them; where that is missing, as the documents of this home do."""
    if not os.path.exists(f"{folder}/{store.HISTORY}"):
        from . import referred

        os.makedirs(folder, 0o700, exist_ok=True)
        for each in referred.history(os.path.dirname(folder)):
            naming.appended(f"{folder}/{store.HISTORY}", each.row)
    for called in naming.mended(folder, store.history(folder)):
        sys.stdout.write(f"{messages.clean(called)}\n")
    return OK
