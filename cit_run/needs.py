"""What a job needs of others: put into its workspace before it begins, by digest, from wherever it lies (docs/format/needs-keep.md).

Reads: `needs` before the first signature; store/ of the account; what is not there by the doors that the section's `from` names. As a step of
its own: RECORD/job.cit. Writes: files below the workspace, copies all; what came from elsewhere also into store/; RECORD/why when it fails.
Exits as a step: 0; 75 something cannot be had yet: the job goes back to its queue and waits; 125 it can never be laid out so.
Pages: docs/howto/artefacts.md, docs/stages/run.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import fetching, naming, plan, unpack
from .checkout import FAILED_HERE, INPUT, tell
from .cit_format import address, body, clock, messages, reader, store
from .cit_format.document import Document
from .cit_format.errors import DATA, IO, LATER, CitError

SECTION = "needs"


class Need(NamedTuple):
    """Bytes that are wanted at a path below the workspace, and places where they may lie."""

    sha256: str
    size: int
    path: str
    places: tuple[str, ...]


# --- decisions ------------------------------------------------------------------------------------------------------


def needed(job: Document) -> list[Need]:
    """What a job needs, in order; 65 where a row is none."""
    found = []
    for section in plan.signed(job):
        if section.kind == SECTION:
            places = tuple(filter(None, section.attributes.get("from", "").split(",")))
            for place in places:
                if not place.startswith("/"):
                    address.parse(place)
            found += [need(row, places, job.label) for row in section.rows()]
    if len({each.path for each in found}) < len(found):
        raise CitError(DATA, "it needs two things at one path", "each has a path of its own", job.label)
    return found


def need(row: list[str], places: tuple[str, ...], label: str) -> Need:
    """One row, checked."""
    if len(row) != 3 or not store.SHA256.fullmatch(row[0]) or not row[1].isdigit() or len(row[1]) > 18:
        raise CitError(DATA, f"needs has a row {row[:3]!r:.120}", "they are: sha256, bytes, path", label)
    if not unpack.parts_of(row[2]):
        raise CitError(DATA, f"needs has the path {row[2][:80]!r}", "a path below the workspace", label)
    return Need(row[0], int(row[1]), row[2], places)


def missing(folder: str, wanted: list[Need]) -> Iterator[Need]:
    """Of these the ones that are not in the store."""
    yield from (each for each in wanted if store.size(folder, each.sha256) != each.size)


# --- one job --------------------------------------------------------------------------------------------------------


def fetched(account: str, each: Need) -> str:
    """Get bytes into the store from where they may lie; empty, or why they cannot be had."""
    disk = os.statvfs(account)
    if disk.f_bavail * disk.f_frsize < each.size:
        return f"{clock.size_text(each.size)} do not fit on the disk"
    why = ["not in the store here"]
    for place in each.places:
        if os.path.realpath(place) == os.path.realpath(account):
            continue
        if place.startswith("/") and not os.path.isdir(f"{place}/{store.FOLDER}"):
            why.append(f"{place}: no build account is there")
            continue
        try:
            fetching.brought(f"{account}/{store.FOLDER}", place, each.sha256, each.size)
            return ""
        except CitError as error:
            why.append(f"{place}: {error.what}")
    return "; ".join(why)


def laid_out(account: str, wanted: list[Need], workspace: str, out: int) -> None:
    """All that a job needs, at its place. 75 where something cannot be had now."""
    folder, other = f"{account}/{store.FOLDER}", f"{os.path.dirname(account)}/{store.FOLDER}"  # of what is tried, and of the account that tries it
    tried = os.path.basename(account) == naming.TRY
    for each in [each for each in missing(folder, wanted) if not tried or store.size(other, each.sha256) != each.size]:
        why = fetched(account, each)
        if why:
            raise CitError(LATER, f"{each.path} ({each.sha256[:10]}) cannot be had: {why}", "who has it: cit stash --list, or cit fetch, there")
    top = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for each in wanted:
            here = folder if store.size(folder, each.sha256) is not None else other if tried else folder
            put(fetching.opened(here, each.sha256), unpack.parts_of(each.path), top)
            tell(out, f"needs {each.path}: {each.sha256}, {clock.size_text(each.size)}")
    except FileNotFoundError as error:
        raise CitError(LATER, f"{error.filename} went just now", "it is tried again") from None
    finally:
        os.close(top)


def put(fd: int, parts: list[str], top: int) -> None:
    """An open file of the store, or the tree that it is, below an open directory; the file is closed."""
    from . import tree

    try:
        if tree.is_tree(fd):
            with unpack.opened(top, parts) as directory:
                tree.laid_out(fd, directory)
            return
        with unpack.opened(top, parts[:-1]) as above, open(fd, "rb", closefd=False) as content:
            tree.written(above, parts[-1], content, bool(os.fstat(fd).st_mode & 0o100))
    finally:
        os.close(fd)


# --- the step -------------------------------------------------------------------------------------------------------


def main() -> None:
    """`RECORD WORKSPACE`: a step that the shim runs before the program, its output being the log."""
    record, workspace = sys.argv[1:3]
    account = os.path.dirname(os.path.dirname(record))
    try:
        try:
            laid_out(account, needed(reader.parse(Path(record, INPUT).read_bytes())), workspace, 1)
        except OSError as error:
            raise CitError(IO, f"{error.strerror}: {error.filename}", "is the disk full?") from None
    except CitError as error:
        tell(1, f"needs: {error.what}")
        Path(record, "why").write_bytes(body.row(f"needs: {error.what}"))
        if error.status == LATER:
            sys.exit(LATER)
        if error.hint:
            os.write(1, f"hint: {messages.clean(error.hint)}\n".encode())
        sys.exit(FAILED_HERE)
