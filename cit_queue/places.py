"""Which queue a document goes to: those that people named, in order, and whether each can be had (docs/stages/queue.md).

A queue can be had when its directory is there, may be written, and it is active. A document names its queue by NAME@FINGERPRINT;
a queue and its replicas have the same, and one of them is active.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Union

from .cit_format import home
from .cit_format.document import Document
from .cit_format.errors import CONFIG, LATER, NOT_FOUND, CitError
from .cit_format.reader import Faulty

ANY = "@"  # --to @: each document to the queue that it names, of those configured
SPOOLS = ("waiting", "held", "assigned", "sent")
AWAY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT}
HINT = "what is kept goes with the next push; `cit outbox` lists it, `cit outbox send` tries now"


def configured() -> list[str]:
    """The queues of config.toml, in order; else @main."""
    named = home.settings(home.path() / "config.toml").get("queues")
    return [str(name) for name in named] if isinstance(named, list) and named else ["@main"]


def had(wanted: str) -> home.Queue:
    """The queue that `wanted` means, ready to take documents; 75 where it is one of ours and cannot be had, else 66, 78."""
    try:
        with reached(wanted):
            queue = home.find_queue(wanted)
            active = queue.active
            spools = [os.stat(queue / spool) for spool in SPOOLS if os.path.isdir(queue / spool)]
    except CitError as error:
        if error.status == NOT_FOUND and _is_ours(wanted):
            raise CitError(LATER, f"queue {wanted} is out of reach: it is not there", HINT) from None
        raise
    if not active:
        raise CitError(LATER, f"queue {wanted} is not active", HINT)
    if len({status.st_dev for status in spools}) > 1:
        raise CitError(CONFIG, f"{queue.path}: {', '.join(SPOOLS)} lie on more than one file system", "moves between them are renames")
    for needed in (queue / "waiting", queue / "seen"):
        if not os.access(needed, os.R_OK | os.W_OK | os.X_OK) and os.path.lexists(needed):
            raise CitError(LATER, f"queue {wanted} is out of reach: {needed} may not be written", HINT)
    return queue


@contextmanager
def reached(name: str) -> Iterator[None]:
    """What fails in here because the queue's directory cannot be had is 75; a full or broken disk stays what it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in AWAY:
            raise
        raise CitError(LATER, f"queue {name} is out of reach: {error.strerror}: {error.filename}", HINT) from error


def _is_ours(wanted: str) -> bool:
    return wanted in configured() or ("/" not in wanted and os.path.lexists(home.path() / "queues" / wanted.lstrip("@")))


class Places:
    """The queues that one run may put into. `wanted` is what --to said: a queue, or `@` for those that documents name."""

    def __init__(self, wanted: str) -> None:
        self.by_name = wanted == ANY
        self.names = configured() if self.by_name else [wanted]
        self.away: CitError | None = None  # why one of these cannot be had
        self.first: home.Queue | None = None  # the first of these that can
        for name in self.names:
            try:
                self.first = self.first or had(name)
            except CitError as error:
                if error.status != LATER:
                    raise
                self.away = self.away or error

    @cached_property
    def by_full_name(self) -> dict[str, home.Queue]:
        """Every queue known here that can be had; of a queue and its replicas the first one in order."""
        found = {self.first.full_name: self.first} if self.first else {}
        for name in dict.fromkeys([*self.names, *configured(), *_here()]):
            try:
                queue = had(name)
                found.setdefault(queue.full_name, queue)
            except CitError as error:
                if name in self.names and error.status == LATER:
                    self.away = self.away or error
        return found

    def place(self, arrival: Union[Document, Faulty]) -> home.Queue | None:
        """The queue that takes (or refuses) a document; None where its queue cannot be had now."""
        if self.first and not self.by_name:
            return self.first
        return self.named(arrival) or (None if self.away else self.first)

    def named(self, arrival: Union[Document, Faulty]) -> home.Queue | None:
        """The queue that a document itself names, if it can be had."""
        return self.by_full_name.get(full_name(arrival)) if isinstance(arrival, Document) else None


def _here() -> list[str]:
    try:
        return sorted(f"@{name}" for name in os.listdir(home.path() / "queues"))
    except FileNotFoundError:
        return []


def full_name(document: Document) -> str:
    """The NAME@FINGERPRINT that a job or control document is for; empty where it says none."""
    try:
        return str(document.table(document.kind).get("queue", "")) if document.kind in ("job", "control") else ""
    except CitError:
        return ""
