"""What of the store anything still refers to: counted anew from files each time, so that no count can be wrong (docs/howto/artefacts.md).

Reads: store/names/; the documents of this home, in its build account and in its queues: their `artefact` and `needs`; the records of jobs
(`artefacts`, `sealed`, `stashed`, `job.cit`), so that what a job has put there counts before its document tells it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator

from . import recorded
from .cit_format import clock, home, reader, store
from .cit_format.document import Document
from .cit_format.errors import CitError
from .naming import STASHED

NOTES = ("artefacts", "sealed", STASHED)  # of a record: rows whose first column is a digest
SECTIONS = ("artefact", "needs", "publishes")
MARKS = tuple(f"\n@begin {section} ".encode() for section in SECTIONS)
Reasons = dict[str, str]  # by digest, one of those that refer to it


def reasons(account: str, since: int = 0, expired: Collection[str] = ()) -> Reasons:
    """Why each digest is to stay: names and answers but for those that are `expired` (paths below the store), then jobs. Of jobs that ended before
    `since` (microseconds) in `done`, or of records of that age, none."""
    found: Reasons = {}
    for called, target in store.names(f"{account}/{store.FOLDER}").items():
        if f"{store.NAMES}/{called}" not in expired:
            found.setdefault(target.rpartition("/")[2], f"the name {called}")
    for answer in store.entries(f"{account}/{store.FOLDER}/{store.ANSWERS}"):
        if f"{store.ANSWERS}/{answer}" in expired:
            continue
        for digest in noted(f"{account}/{store.FOLDER}/{store.ANSWERS}/{answer}"):
            found.setdefault(digest, f"the answer {answer}")
    for path in documents(account):
        if not (since and is_older(path, since)):
            for digest in digests(path):
                found.setdefault(digest, f"the job {os.path.basename(path)[: -len('.cit')]}")
    for record in records(account):
        for note in NOTES:
            path = f"{record}/{note}"
            if not (since and is_older(path, since)):
                for digest in noted(path):
                    found.setdefault(digest, f"the job {os.path.basename(record)[: -len('.run')]}")
    return found


def is_older(path: str, since: int) -> bool:
    """Whether something has ended, as far as its place and time tell, before a moment."""
    place = os.path.dirname(path)
    if not (place.endswith(".run") or os.path.basename(os.path.dirname(place)) == "done"):
        return False
    try:
        return os.stat(path).st_mtime * clock.SECOND < since
    except OSError:
        return False


# --- documents ------------------------------------------------------------------------------------------------------


def documents(account: str) -> Iterator[str]:
    """The documents of a home: those of its build account, of records, and of its queues; claims included."""
    for state in home.ACCOUNT_STATES:
        yield from spooled(f"{account}/{state}")
    for place in ("outbox", "outbox/sent"):  # of a queue elsewhere: what they need may lie here
        yield from spooled(f"{account}/{place}")
    for record in records(account):
        if os.path.isfile(f"{record}/job.cit"):
            yield f"{record}/job.cit"
    for queue in store.entries(f"{account}/queues"):
        top = f"{account}/queues/{queue}"
        for state in home.STATES[:-1]:
            yield from spooled(f"{top}/{state}")
        for day in store.entries(f"{top}/done"):
            yield from spooled(f"{top}/done/{day}")


def spooled(spool: str) -> Iterator[str]:
    """The documents that lie in a directory, or are taken out of it just now."""
    claims = [f"{spool}/.claim/{claim}" for claim in listed(f"{spool}/.claim")]
    for directory in (*claims, spool):  # in this order: what is given back meanwhile is seen twice, not never
        yield from (f"{directory}/{name}" for name in listed(directory) if name.endswith(".cit"))


def records(account: str) -> list[str]:
    """The records of jobs."""
    return [f"{account}/work/{name}" for name in store.entries(f"{account}/work") if name.endswith(".run")]


def listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def digests(path: str) -> Iterator[str]:
    """The digests that a document names; none of one that is gone, or does not parse."""
    for document in opened(path):
        yield from (row[0] for section in document.sections if section.kind in SECTIONS for row in section.rows() if row)


def opened(path: str) -> Iterator[Document]:
    """A document that may name digests."""
    with contextlib.suppress(CitError):
        raw = recorded.read(path, recorded.WHOLE) or b""
        if any(mark in raw for mark in MARKS):
            yield reader.parse(raw)


def noted(path: str) -> list[str]:
    """The digests that a job's record names."""
    return [row[0] for row in recorded.rows(path, recorded.WHOLE) if row]


# --- the history again ----------------------------------------------------------------------------------------------


def history(account: str) -> list[store.Given]:
    """What was stashed when, as ended jobs tell it: what has been stashed by hand is in no document."""
    found: dict[tuple[str, str], store.Given] = {}
    for path in documents(account):
        for document in opened(path):
            ended = document.table("result").get("ended")
            for row in (row for section in document.all("artefact") for row in section.rows()):
                if isinstance(ended, int) and len(row) == 3 and row[2].startswith(store.PATH) and row[1].isdigit():
                    name, key = store.parted(row[2][len(store.PATH) :])
                    by = f"{document.id}-{document.name}"
                    if store.is_name(name):
                        found[by, row[2]] = store.Given(clock.iso(ended), name, key, row[0], int(row[1]), by)
    return sorted(found.values())
