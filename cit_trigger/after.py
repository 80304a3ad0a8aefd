"""Jobs that are to follow another one: --after success=FILE, as its sections `after` (docs/format/after.md).

Reads: files of job documents, `-` for stdin: signed ones go as they are, others are completed and signed at once, with the job as parent.
Fails: 2 what does not fit; 65 no job; 66 no such file; 77 another's unsigned job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from . import inside, wish
from .author import Author
from .cit_format import after, clock, document, reader
from .cit_format.document import Document
from .cit_format.errors import DATA, USAGE, CitError
from .cit_format.reader import Faulty
from .sign import completed

USE = "--after success=FILE, failure=FILE or always=FILE; - for stdin"


class Following(NamedTuple):
    """What is to follow each job of a run: documents by when, who signs those that are not signed, and how long these are good."""

    found: list[tuple[str, list[Document]]]
    author: Author
    lifetime: int
    several: bool = False  # jobs that they follow: unsigned ones get an ID of their own for each

    def written(self, before: str, keys: Mapping[str, object]) -> bytes:
        """The sections of the job with this ID and these keys."""
        family = inside.following(before, keys)
        return b"".join(document.section("after", "text", b"".join(self.signed(each, family) for each in jobs), on=on) for on, jobs in self.found)

    def signed(self, job: Document, family: Mapping[str, object]) -> bytes:
        """A job that follows, signed."""
        if job.find("signature") is not None:
            return job.raw
        if self.several:
            if b" enc=age" in job.raw:
                raise CitError(DATA, "a sealed job that is to follow several", "what is sealed opens in one job alone", job.label)
            job = reader.parse(job.raw.replace(job.id.encode(), clock.new_id().encode(), 1))
        return wish.signed(completed(job, {**self.author.who, **family}, self.lifetime), self.author.signer, self.author.person)


def read(items: Iterable[str], author: Author, lifetime: int, several: bool) -> Following | None:
    """What --after names; None where it names nothing."""
    found = [one(item) for item in items]
    return Following(found, author, lifetime, several) if found else None


def one(item: str) -> tuple[str, list[Document]]:
    """When, and the jobs in the file, of one --after."""
    on, given, path = item.partition("=")
    if on not in after.ON or not given or not path:
        raise CitError(USAGE, f"--after {item[:80]!r}", USE)
    jobs = []
    for arrival in reader.documents(reader.reader_of(wish.read(path, "--after"))):
        if isinstance(arrival, Faulty):
            raise arrival.error
        if arrival.kind != "job":
            raise CitError(DATA, f"{path}: a document that begins with {arrival.kind or 'no section'} is no job", USE, arrival.label)
        jobs.append(arrival)
    if not jobs:
        raise CitError(DATA, f"{path}: no job in it", "cit-trigger -n -- COMMAND >FILE writes one")
    return on, jobs
