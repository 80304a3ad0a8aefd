"""Which queue a document goes to: those that people named, in order, and whether each can be had (docs/stages/queue.md).

A queue can be had when its directory is there, may be written, and it is active; one that lies elsewhere, until its door does not
answer. A document names its queue by NAME@FINGERPRINT; a queue and its replicas have the same, and one of them is active.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
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
    if queue.remote:
        if not queue.door or "founder" not in queue.settings:
            raise CitError(CONFIG, f"{queue.path}/queue.toml: a queue elsewhere needs door and founder", "cit join FILE writes them")
        return queue
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
    """The queues that one run may put into. `wanted` is what --to said: a queue, or `@` for those that documents name.

    `hasty`: somebody waits, so a queue elsewhere that gave no answer a moment ago is not asked again yet.
    """

    def __init__(self, wanted: str, hasty: bool = False) -> None:
        self.by_name = wanted == ANY
        self.hasty = hasty
        self.names = configured() if self.by_name else [wanted]
        self.away: CitError | None = None  # why one of these cannot be had
        self.lost: dict[Path, CitError] = {}  # those that turned out to be out of reach, and why
        self.first: home.Queue | None = None  # the first of these that can
        for name in self.names:
            try:
                self.first = self.first or had(name)
            except CitError as error:
                if error.status != LATER:
                    raise
                self.away = self.away or error

    @cached_property
    def by_full_name(self) -> dict[str, list[home.Queue]]:
        """Every queue known here that may be had; a queue and its replicas in order."""
        found: dict[str, dict[Path, home.Queue]] = {}
        for queue in [self.first, *self._others()]:
            if queue is not None:
                found.setdefault(queue.full_name, {}).setdefault(queue.path, queue)
        return {name: list(several.values()) for name, several in found.items()}

    def _others(self) -> Iterator[home.Queue]:
        for name in dict.fromkeys([*self.names, *configured(), *_here()]):
            try:
                queue = had(name)
                _ = queue.full_name  # of its key file, where queue.toml does not say it
                yield queue
            except CitError as error:
                if name in self.names and error.status == LATER:
                    self.away = self.away or error

    def place(self, arrival: Union[Document, Faulty]) -> home.Queue | None:
        """The queue that takes (or refuses) a document; None where its queue cannot be had now."""
        if self.first and not self.by_name and self.first.path not in self.lost:
            return self.first
        return self.named(arrival) or (None if self.away else self.first)

    def named(self, arrival: Union[Document, Faulty]) -> home.Queue | None:
        """The queue that a document itself names, if it can be had."""
        several = self.by_full_name.get(full_name(arrival), []) if isinstance(arrival, Document) else []
        return next((queue for queue in several if queue.path not in self.lost), None)

    def lose(self, queue: home.Queue, error: CitError) -> None:
        """Note that a queue turned out to be out of reach: this run does not try it again."""
        self.lost[queue.path] = error
        self.away = self.away or error


def _here() -> list[str]:
    try:
        return sorted(f"@{name}" for name in os.listdir(home.path() / "queues"))
    except FileNotFoundError:
        return []


def full_name(document: Document) -> str:
    """The NAME@FINGERPRINT that a job, control or handover document is for; empty where it says none."""
    try:
        return str(document.table(document.kind).get("queue", "")) if document.kind in ("job", "control", "handover") else ""
    except CitError:
        return ""
