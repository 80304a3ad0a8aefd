"""The part of cleaning that is about the store: what nothing refers to goes, once it is old enough (docs/howto/artefacts.md).

    keeps   what a name leads to (with a key: for which somebody has asked of late); what an answer of a service has; what a document of this home
            names as `artefact` or `needs`; what a job's record has noted
    goes    all else that was put there longer ago than `age`; where less than `free` bytes of the disk are free, the oldest of it, from an hour on

Reads: referred.py. Removes: store/SHA256, and hidden files that a kill left; history.tsv loses the lines of what is gone. With `dry` nothing.
How: each file goes under the store's exclusive lock, if it is still as old as it was: whoever puts the same bytes there makes it young again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from . import naming, referred, storing
from .cit_format import clock, store

AGE = 24 * 3600.0  # seconds that what nothing refers to stays
YOUNG = 3600.0  # seconds in which nothing goes, whatever room there is: its document may not be written yet
ASKED = 30 * 24 * 3600.0  # seconds after which a name with a key, or an answer, that nobody asked for is none any more


class Unused(NamedTuple):
    """A file of the store that goes: its digest, bytes, and seconds since it was put there."""

    digest: str
    size: int
    age: float


# --- decisions ------------------------------------------------------------------------------------------------------


def chosen(unused: list[Unused], age: float, short: int) -> list[Unused]:
    """Of what nothing refers to, what goes: all that is older than `age`; then the oldest, until `short` bytes more are free."""
    oldest = sorted(unused, key=lambda each: -each.age)
    going, room = [], 0
    for each in oldest:
        if each.age >= max(age, YOUNG) or (each.age >= YOUNG and room < short):
            going.append(each)
            room += each.size
    return going


# --- files ----------------------------------------------------------------------------------------------------------


def unused(account: str, since: int = 0, expired: Collection[str] = ()) -> list[Unused]:
    """What nothing refers to but what is `expired`. Files first, then references: what is put there meanwhile is not among them."""
    now, found = time.time(), []
    for entry in store.files(f"{account}/{store.FOLDER}"):
        with contextlib.suppress(FileNotFoundError):
            said = entry.stat(follow_symlinks=False)
            found.append(Unused(entry.name, said.st_size, now - said.st_mtime))
    reasons = referred.reasons(account, since, expired)
    return [each for each in found if each.digest not in reasons]


def short_of(account: str, free: int) -> int:
    """How many bytes more are to be free."""
    disk = os.statvfs(account)
    return max(0, free - disk.f_bavail * disk.f_frsize)


def is_due(account: str, free: int) -> bool:
    """Whether the store is to be looked at as a matter of course: once a day, for which it is noted; and where less than `free` bytes are free."""
    mark = f"{account}/{store.FOLDER}/.cleaned"
    try:
        if time.time() - os.stat(mark).st_mtime < AGE and not (free and short_of(account, free)):
            return False
    except FileNotFoundError:
        if not os.path.isdir(f"{account}/{store.FOLDER}"):
            return False
    with open(mark, "wb", opener=store.private):
        return True


def clean(account: str, age: float = AGE, free: int = 0, since: int = 0, dry: bool = False, asked: float = ASKED) -> Iterator[Unused]:
    """Remove what goes (`dry`: nothing), one by one; before it names with a key, and answers, for which nobody asked for `asked` seconds."""
    folder = f"{account}/{store.FOLDER}"
    if not os.path.isdir(folder):
        return
    expired = unwanted(folder, asked)
    if not dry:
        dropped(folder, expired)
    gone = False
    for each in chosen(unused(account, since, expired), age, short_of(account, free) if free else 0):
        if dry or removed(folder, each):
            gone = True
            yield each
    if not dry:
        storing.swept(folder)
        if gone or expired:
            forgotten(folder)


def unwanted(folder: str, age: float) -> list[str]:
    """Names with a key, and answers, for which nobody has asked for so many seconds: paths below the store."""
    found = [f"{store.NAMES}/{called}" for called in store.names(folder) if store.parted(called)[1]]
    found += [f"{store.ANSWERS}/{called}" for called in store.entries(f"{folder}/{store.ANSWERS}")]
    old = []
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.lstat(f"{folder}/{path}").st_mtime > age:
                old.append(path)
    return old


def moment(path: str) -> str:
    """When a name or answer was asked for last."""
    try:
        return clock.iso(int(os.lstat(path).st_mtime * clock.SECOND))
    except FileNotFoundError:
        return "-"


def dropped(folder: str, expired: list[str]) -> None:
    """Let these go."""
    for path in expired:
        place, called = path.split("/")
        if place == store.NAMES:
            naming.forget(folder, *store.parted(called), "cit clean")
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{path}")


def removed(folder: str, each: Unused) -> bool:
    """Remove one file, unless it has become young, or got a name, meanwhile."""
    with store.locked(folder, to_remove=True) as directory:
        try:
            said = os.stat(each.digest, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if time.time() - said.st_mtime < YOUNG or f"../{each.digest}" in store.names(folder).values():
            return False
        os.unlink(each.digest, dir_fd=directory)
        return True


def forgotten(folder: str) -> None:
    """The history without what is gone: lines of bytes that are here stay, and the last one of each name."""
    path = f"{folder}/{store.HISTORY}"
    with store.locked(folder, to_remove=True):
        lines = store.history(folder)
        last = {each for each in store.newest(iter(lines)).values() if each.sha256 != store.NONE}
        kept = [each for each in lines if each in last or store.size(folder, each.sha256) is not None]
        if len(kept) < len(lines):
            naming.replaced(path, b"".join(each.row for each in kept))
