"""Putting documents into a spool once and for all: written, synced, seen, named, acknowledged (docs/directories.md).

    SPOOL/.tmp/MARK         the bytes, locked by their writer; MARK is ID, in an inbox ID[_TASK].aN
    seen/DAY/MARK           a link KEY~SHA256: test and set in one call
    SPOOL/KEY.ID-NAME.cit   the document

Who finds `.tmp/MARK` and its `seen` after a crash finishes with the KEY that seen says. A group of documents goes the
same way together, with one sync of the file system.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from . import clock, names, reader
from .document import Document
from .errors import DENIED, IO, CitError
from .spool import Lock, make_directory, rename_new, sweep_temporary, sync_directory, sync_files, write_all

GROUP_DOCUMENTS = 1000  # a group is ended after so many documents
GROUP_BYTES = 8 << 20  # or so many bytes
ACCEPTED, DUPLICATE, REFUSED = "accepted", "duplicate", "refused"


class Item(NamedTuple):
    """One document to put: MARK, digest (hex) that seen keeps, bytes, file name but for KEY, spool, and what KEY is made of."""

    mark: str
    digest: str
    raw: bytes
    name: names.FileName
    spool: str
    priority: int = 0
    sequence: int = 0  # microseconds; 0: the next one of the spool

    @property
    def day(self) -> str:
        return clock.id_day(self.name.id)


class Outcome(NamedTuple):
    """What became of an item: ACCEPTED or DUPLICATE with its KEY, or REFUSED with the error."""

    word: str
    key: str
    error: CitError | None = None


def next_sequences(lock_path: Path, count: int) -> int:
    """The first of `count` fresh sequence numbers: max(clock in microseconds, last + 1), under the put lock."""
    with Lock(lock_path) as lock:
        last = os.pread(lock.fd, 16, 0)
        first = max(clock.now(), int(last) + 1 if last.isdigit() else 0)
        os.pwrite(lock.fd, b"%016d" % (first + count - 1), 0)
        return first


class Putter:
    """Puts documents into spools beside `temporary`, remembering them in `seen`.

    `describe` says of a document which item it is; it is asked again for what a crash left in `temporary`.
    """

    def __init__(self, temporary: Path, seen: Path, describe: Callable[[Document], Item]) -> None:
        self.temporary = temporary
        self.seen = seen
        self._beside = f"{temporary}/"
        self._seen = f"{seen}/"
        self.describe = describe
        self.sequence_lock = temporary.parent / ".sequence"

    def put(self, items: Iterable[Item]) -> list[Outcome]:
        """Put a group of items; all is durable when this returns. The outcomes are in the items' order.

        Of a mark that comes again in the group the first is put; the others are its duplicates, or replays.
        """
        everything = list(items)
        firsts: dict[str, int] = {}
        for number, item in enumerate(everything):
            firsts.setdefault(item.mark, number)
        outcomes = dict(zip(firsts.values(), self._put([everything[number] for number in firsts.values()])))
        return [outcomes.get(number) or self._see(item, 0) for number, item in enumerate(everything)]

    def _put(self, group: list[Item]) -> list[Outcome]:
        if not group:
            return []
        _allow_files(len(group) + 64)
        make_directory(self.temporary)
        first = next_sequences(self.sequence_lock, len(group))
        # Locks are taken in the order of marks, so that two groups with the same documents do not wait for each other.
        order = sorted(range(len(group)), key=lambda number: group[number].mark)
        locks: list[Lock] = []
        try:
            for number in order:
                locks.append(self._write(group[number]))
            sync_files([lock.path for lock in locks])
            sync_directory(self.temporary)
            outcomes = [self._see(item, first + number) for number, item in enumerate(group)]
            for day in {item.day for item in group}:
                sync_directory(self._seen + day)
            for item, outcome in zip(group, outcomes):
                self._name(item, outcome)
            for directory in {item.spool for item in group} | {str(self.temporary)}:
                sync_directory(directory)
        finally:
            for lock in locks:
                lock.release()
        return outcomes

    def recover(self) -> int:
        """Finish what dead writers left between seen and name, and sweep what is stale; how many were finished."""
        finished = 0
        try:
            entries = sorted(os.listdir(self.temporary))
        except FileNotFoundError:
            return 0
        for mark in entries:
            lock = Lock(self._beside + mark)
            try:
                if os.path.exists(lock.path) and lock.try_now():
                    finished += self._finish(lock, mark)
            finally:
                lock.release()
        sweep_temporary(self.temporary)
        return finished

    def _write(self, item: Item) -> Lock:
        """The bytes under `.tmp/MARK`, locked, not yet synced."""
        while True:
            lock = Lock(self._beside + item.mark)
            lock.__enter__()
            left = os.fstat(lock.fd).st_size
            if left == 0:
                break
            if not self._finish(lock, item.mark):
                os.ftruncate(lock.fd, 0)
                break
            lock.release()  # what a dead writer had left has got its name
        write_all(lock.fd, item.raw, lock.path)
        return lock

    def _finish(self, lock: Lock, mark: str) -> bool:
        """Give what a dead writer left under `.tmp/MARK` its name, if seen knows these bytes."""
        size = os.fstat(lock.fd).st_size
        if size == 0:
            return False
        try:
            left = self.describe(reader.parse(os.pread(lock.fd, size, 0)))
            key, _, digest = os.readlink(self.seen / left.day / mark).partition("~")
        except (CitError, FileNotFoundError):
            return False
        if left.mark != mark or left.digest != digest:
            return False
        sync_directory(self._seen + left.day)  # its writer may have died before it did
        self._name(left, Outcome(ACCEPTED, key))
        for directory in (left.spool, str(self.temporary)):
            sync_directory(directory)
        return True

    def _see(self, item: Item, sequence: int) -> Outcome:
        key = names.key(item.priority, item.sequence or sequence)
        place = f"{self._seen}{item.day}/{item.mark}"
        for _ in range(2):
            try:
                os.symlink(f"{key}~{item.digest}", place)
                return Outcome(ACCEPTED, key)
            except FileExistsError:
                key, _, digest = os.readlink(place).partition("~")
                return Outcome(DUPLICATE, key) if digest == item.digest else Outcome(REFUSED, "", _replay(item))
            except FileNotFoundError:
                make_directory(self.seen / item.day)
        raise CitError(IO, f"cannot write {place}", "is the directory being removed?")

    def _name(self, item: Item, outcome: Outcome) -> None:
        temporary = self._beside + item.mark
        if outcome.word == ACCEPTED:
            try:
                rename_new(temporary, f"{item.spool}/{outcome.key}.{item.name}")
                return
            except FileExistsError:
                pass  # the name is there: these very bytes, as seen says
        os.unlink(temporary)


def _replay(item: Item) -> CitError:
    return CitError(
        DENIED, f"{item.mark} was here before with other bytes", "a replay or an edited copy; submit it anew, with a new ID", item.name.label
    )


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard))
