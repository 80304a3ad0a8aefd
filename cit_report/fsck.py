"""cit fsck, the part that looks: what lies in a home where docs/directories.md has no place for it.

Reads: every name in the queues and the build account, every document in them, locks of claims. Changes nothing.
Writes: a row for each finding: path, what, mend (`recover`: cit-queue --recover does it; `remove`: a copy that has gone on;
`look`: a person has to); with --log the lines of log/DAY.tsv as the documents tell them.
Exits: 0 nothing found; 1 something found; 66 no such queue (docs/messages.md).
How: names first, then the documents of each state, then copies of one attempt against each other.
Pages: docs/directories.md, docs/howto/when-a-job-fails.md
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import fsck_store, places, relog, screen, story, tally
from .cit_format import clock, glance, home, messages, names, spool, trust
from .cit_format.document import Document
from .cit_format.errors import NO, OK, CitError
from .places import Copy

RECOVER, REMOVE, LOOK = "recover", "remove", "look"
IN_QUEUE = {*home.QUEUE_DIRECTORIES, "same", "queue.toml", "key", "key.pub", "seal", "seal.pub", "allowed_names", "allowed_signers", "revoked_keys"}
IN_ACCOUNT = {
    *home.ACCOUNT_DIRECTORIES,
    "refused",
    "queues",
    "triggers",
    "try",
    "hosts",
    "known_hosts",
    "bin",
    "lib",
    "builder.cit",
    "config.toml",
    "last",
    "id_ed25519",
    "id_ed25519.pub",
    "key",
    "key.pub",
    "seal",
    "seal.pub",
    "allowed_signers",
    "revoked_keys",
}
KEYED = ("waiting", "held", "assigned", "sent")  # states whose names begin with KEY
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
HINTS = {RECOVER: "; cit fsck mends it", REMOVE: "; cit fsck removes it", LOOK: ""}
COLUMNS = (screen.Column("path"), screen.Column("what"), screen.Column("mend"))


class Finding(NamedTuple):
    """Something that is not as it must be."""

    path: str
    what: str
    mend: str = LOOK


# --- names ----------------------------------------------------------------------------------------------------------


def strangers(directory: str, known: set[str]) -> Iterator[Finding]:
    """Names in a directory that nothing of cit has put there; hidden ones are nobody's business."""
    for entry in sorted(_entries(directory)):
        if entry[0] != "." and entry not in known:
            yield Finding(f"{directory}/{entry}", "nothing of cit has this name here")


def names_in(directory: str, keyed: bool) -> Iterator[Finding]:
    """What lies in a spool and is no document's name, or one of another state."""
    for entry in sorted(_entries(directory)):
        if entry[0] == ".":
            continue
        parts = names.parse(entry)
        if parts is None:
            yield Finding(f"{directory}/{entry}", "no document's name")
        elif keyed is not bool(parts.key):
            yield Finding(f"{directory}/{entry}", "its name has no place in the order" if keyed else "its name has a place in an order, here is none")


def left_behind(directory: str) -> Iterator[Finding]:
    """Claims whose process is dead, and what has been in .tmp for too long."""
    for path, _lock in spool.dead_claims(Path(directory)):
        yield Finding(str(path), f"claimed by a process that is gone: {len(spool.listing(path))} documents", RECOVER)
    for entry in _entries(f"{directory}/.tmp"):
        path = Path(directory, ".tmp", entry)
        try:
            stale = path.stat().st_mtime < time.time() - spool.STALE and not spool.is_held(path)
        except FileNotFoundError:
            continue
        if stale:
            yield Finding(str(path), "begun more than 36 h ago and never finished", RECOVER)


def foreign_claims(directory: str) -> Iterator[Finding]:
    """Claims from other machines: whether they live cannot be seen from here."""
    for entry in _entries(f"{directory}/.claim"):
        if entry.lstrip(".").partition("~")[0] != spool.host():
            yield Finding(f"{directory}/.claim/{entry}", "claimed from another machine; if that is gone for good, move its documents back")


# --- documents ------------------------------------------------------------------------------------------------------


def misplaced(copy: Copy, document: Document) -> str:
    """Why this document cannot lie here under this name; empty where it can."""
    if (document.id, document.name) != (copy.file.id, copy.file.name):
        return f"it is {document.id}-{document.name} inside"
    if copy.place == "refused":
        return ""
    if document.kind != "job":
        return f"a {document.kind or 'document without sections'}, not a job"
    given = trust.assignment(document)
    if copy.place == "done" and os.path.basename(copy.directory) != clock.id_day(document.id):
        return f"it belongs to {clock.id_day(document.id)}, the day in its ID"
    if copy.place == "done" and story.told(document)["state"] not in story.FINAL:
        return "it has not ended"
    if copy.place in ("assigned", "sent", *home.ACCOUNT_STATES):
        if given is None:
            return "it is assigned to nobody"
        if copy.file.attempt not in (None, given.attempt):
            return f"its last assignment is attempt {given.attempt}"
    return ""


def twice(several: list[tuple[Copy, bytes]]) -> Iterator[Finding]:
    """Copies of one attempt in one queue, in the order of states: a prefix gives way to the longer one, forks are for a person."""
    last, longest = several[-1]
    for copy, raw in several[:-1]:
        if longest.startswith(raw):
            yield Finding(copy.path, f"a shorter copy of what is in {last.place}", REMOVE)
        else:
            yield Finding(copy.path, f"another copy than {last.path}: they fork, and both stay")


def dealt_again(of_array: list[tuple[Copy, tuple[int, ...]]]) -> Iterator[Finding]:
    """Parts of an array, not dealt out yet, of which a task lies elsewhere too."""
    met: set[int] = {copy.file.task for copy, _ in of_array if copy.file.task is not None}
    for copy, tasks in of_array:
        if copy.file.task is None:
            both = [task for task in tasks if task in met]
            if both:
                lie = "lie" if len(both) > 1 else "lies"
                yield Finding(copy.path, f"{tally.shortened(both)} of it {lie} elsewhere too, and would be dealt out once more")
            met.update(tasks)


def unseen(copy: Copy, there: Path) -> Finding | None:
    """A document that could be accepted a second time, since it has not expired and nothing remembers it."""
    mark = there / "seen" / clock.id_day(copy.file.id) / copy.file.id
    if os.path.lexists(mark):
        return None
    with contextlib.suppress(FileNotFoundError):
        if 0 < glance.at(copy.path).number("expires") < clock.now():
            return None  # it is accepted no more, and its mark went with time
    return Finding(copy.path, "not in seen: the same job would be accepted once more")


# --- the loop -------------------------------------------------------------------------------------------------------


def of_queue(path: Path) -> Iterator[Finding]:
    """What is wrong in a queue."""
    there = places.Home([path], None)
    yield from strangers(str(path), IN_QUEUE)
    for state in KEYED:
        yield from names_in(f"{path}/{state}", keyed=True)
    for day in _entries(f"{path}/done"):
        if DAY.fullmatch(day):
            yield from names_in(f"{path}/done/{day}", keyed=False)
        elif day[0] != ".":
            yield Finding(f"{path}/done/{day}", "no day")
    for state in (*KEYED, "done", "refused", "control"):
        yield from left_behind(f"{path}/{state}")
        yield from foreign_claims(f"{path}/{state}")
    yield from strangers(f"{path}/log", {*(entry for entry in _entries(f"{path}/log") if DAY.fullmatch(entry[:-4])), "on-arrival"})
    attempts: dict[tuple[str, int], list[tuple[Copy, bytes]]] = {}
    of_arrays: dict[str, list[tuple[Copy, tuple[int, ...]]]] = {}
    for copy, document in places.documents(places.everything(there)):
        if isinstance(document, CitError):
            yield Finding(copy.path, f"does not parse: {document}")
            continue
        wrong = misplaced(copy, document)
        missing = None if copy.place == "refused" else unseen(copy, path)
        if wrong:
            yield Finding(copy.path, wrong)
        if missing:
            yield missing
        array = tally.of_document(document) if copy.place != "refused" else None
        if array:
            of_arrays.setdefault(document.id, []).append((copy, array.left(copy.file)))
        if copy.place != "refused":
            attempts.setdefault((f"{copy.job} {copy.file.span}", copy.file.attempt or 0), []).append((copy, document.raw))
    for parts in of_arrays.values():
        yield from dealt_again(parts)
    for several in attempts.values():
        if len(several) > 1:
            yield from twice(several)


def of_account(path: Path) -> Iterator[Finding]:
    """What is wrong in a build account."""
    yield from strangers(str(path), IN_ACCOUNT)
    for state in home.ACCOUNT_STATES:
        yield from left_behind(f"{path}/{state}")
        yield from foreign_claims(f"{path}/{state}")
        for copy, document in places.documents(places.copies(f"{path}/{state}", state, None)):
            wrong = f"does not parse: {document}" if isinstance(document, CitError) else misplaced(copy, document)
            if wrong:
                yield Finding(copy.path, wrong)
    yield from (Finding(*found) for found in fsck_store.wrong(str(path)))


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    queue: Optional[str] = typer.Option(
        None, "--queue", metavar="QUEUE", help="@NAME or a directory; else every queue of this home, and its account"
    ),
    log: bool = typer.Option(False, "--log", help="Write the queue's log as its documents tell it: day, then the line"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """What lies where it should not."""
    messages.set_up("cit-fsck", quiet)
    there = places.here(queue)
    if log:
        for path in there.queues:
            for day, line in relog.lines(path):
                sys.stdout.buffer.write(day.encode() + b"\t" + line)
        return OK
    form = screen.form(table, tsv, json)
    found = [finding for path in there.queues if not home.Queue(path).remote for finding in of_queue(path)]
    if there.account and queue is None:
        found += of_account(there.account)
    if form == screen.TABLE:
        print("".join(f"{screen.line(finding.path)}: {screen.line(finding.what)}{HINTS[finding.mend]}\n" for finding in found), end="")
    else:
        screen.show(COLUMNS, [finding._asdict() for finding in found], form)
    return NO if found else OK


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
