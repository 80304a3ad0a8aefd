"""Results that are for some only, opened with the reader's own key (docs/howto/fetch-results.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

from . import far, look
from .cit_format import own_key, reply
from .cit_format.document import Document
from .cit_format.errors import DENIED, CitError
from .look import Seen

if TYPE_CHECKING:
    from .cit_format.seal import Key, Recipient

CHUNK = 1 << 20  # bytes


def told(job: Document, to: Sequence[Recipient]) -> str:
    """Who can open it: fingerprints, the author's with their name."""
    said = job.table("job")
    names = {str(said.get("key")): f" ({said.get('submitter')})"}
    return " or ".join(f"{each.fingerprint}{names.get(each.fingerprint, '')}" for each in to)


def key(job: Document, what: str, to: Sequence[Recipient], given: str | None) -> Key:
    """The first of our keys that opens what is encrypted to these; 77 says who can. `given` is a key file that somebody named."""
    try:
        return own_key.private({each.fingerprint for each in to}, given)
    except CitError as error:
        if error.status != DENIED or "not in a file" not in error.what:
            raise
        raise CitError(DENIED, f"{what} opens with {told(job, to)}, and no file of yours has such a key", own_key.HINT, job.label) from None


@contextlib.contextmanager
def opened(source: IO[bytes], by: Key) -> Iterator[IO[bytes]]:
    """What a file holds, whole and authenticated, in a file that nobody else sees. 77."""
    from tempfile import TemporaryFile

    with TemporaryFile() as plain:
        reply.decrypt(source, reply.Sink(plain.fileno()), [by])
        plain.seek(0)
        yield plain


def is_sealed(source: IO[bytes]) -> bool:
    """Whether a file is encrypted: a builder that knows no `reply` leaves it as it is."""
    head = source.read(len(reply.BEGIN))
    source.seek(0)
    return head == reply.BEGIN


# --- logs -----------------------------------------------------------------------------------------------------------


def is_for_some(job: Seen) -> bool:
    """Whether a job's log is encrypted when it has ended."""
    return bool(reply.of_log(reply.rows(job.document)))


def write_log(job: Seen, given: str | None, write: Callable[[bytes], object]) -> None:
    """Write a log that is for some only, from this account or by way of its builder's door. 66, 69, 77."""
    from tempfile import TemporaryFile

    away = None if job.log else far.place(job)
    with contextlib.ExitStack() as stack:
        source: IO[bytes]
        if away is None:
            source = stack.enter_context(open(look.log_of(job), "rb"))
        else:
            source = stack.enter_context(TemporaryFile())
            far.copied(job, away, 0, source.write)
            source.seek(0)
        if is_sealed(source):
            by = key(job.document, "its log", reply.of_log(reply.rows(job.document)), given)
            source = stack.enter_context(opened(source, by))
        while piece := source.read(CHUNK):
            write(piece)
