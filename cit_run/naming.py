"""Names for what lies in the store: given, looked up, made again (docs/howto/artefacts.md).

Reads, writes: store/names/, store/history.tsv, and in a job's record `stashed`: TSV rows of the `artefact` section, which its end tells.
How: bytes are on disk first (storing.py), then the line of the history, then the link by which the name leads to them, then the job's row.
A kill between any two leaves bytes without a name, or a line without a link, which the next stash makes; never a name without bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from typing import NamedTuple

from . import recorded
from .cit_format import body, clock, store
from .cit_format.errors import IO, NOT_FOUND, USAGE, CitError

STASHED = "stashed"  # in a job's record
TRY = "try"  # in the cit home: a work/ and a store/ of what is only tried here


class Job(NamedTuple):
    """The job that we are part of: `COPY-NAME`, and its record."""

    own: str
    record: str


# --- decisions ------------------------------------------------------------------------------------------------------


def checked(name: str) -> str:
    """A name for something in the store; 2 where it cannot be one."""
    if not store.is_name(name):
        raise CitError(USAGE, f"{name[:120]!r} is no name for the store", "up to 100 of A-Z a-z 0-9 . _ -, a letter or digit first: NAME=PATH")
    return name


def key_of(items: Iterable[str]) -> str:
    """The key of configuration that these make: texts as they are, `@FILE` by its bytes; empty for none. 66 where there is no such file."""
    rows = []
    for item in items:
        if item[:1] != "@":
            rows.append(("text", item))
            continue
        try:
            with open(item[1:], "rb") as stream:
                rows.append(("file", hashlib.sha256(stream.read()).hexdigest()))
        except OSError as error:
            raise CitError(NOT_FOUND, f"--key {item}: {error.strerror}", "--key TEXT, or --key @FILE for what is in a file") from None
    return hashlib.sha256(body.tsv(rows)).hexdigest() if rows else ""


def rows_of(text: bytes) -> list[tuple[str, str, str]]:
    """The rows that a job has noted, those that are none and a torn last one left out."""
    try:
        rows = body.rows(text[: text.rfind(b"\n") + 1])
    except ValueError:
        return []
    good = [(row[0], row[1], row[2]) for row in rows if len(row) == 3 and store.SHA256.fullmatch(row[0]) and row[1].isdigit()]
    return [row for row in dict.fromkeys(good) if row[2].startswith(store.PATH) and store.is_name(store.parted(row[2][len(store.PATH) :])[0])]


# --- names ----------------------------------------------------------------------------------------------------------


def give(folder: str, name: str, key: str, digest: str, by: str, first_stays: bool = False) -> str:
    """Let a name lead to bytes of the store from now on, on disk when this returns. Which counts: with `first_stays` those that have it already."""
    os.makedirs(f"{folder}/{store.NAMES}", 0o700, exist_ok=True)
    with store.locked(folder, to_remove=True) as directory:
        size, before = store.size(folder, digest), store.meant(folder, name, key)
        if before and (before == digest or first_stays):
            used(folder, name, key)
            return before
        if size is None:
            raise CitError(IO, f"{digest} is gone from the store", "somebody removed it just now; stash it again")
        line = store.Given(clock.iso(clock.now()), name, key, digest, size, by)
        appended(f"{folder}/{store.HISTORY}", line.row)
        os.fsync(directory)
        linked(folder, store.called(name, key), digest)
    return digest


def forget(folder: str, name: str, key: str, by: str) -> bool:
    """Let a name lead to nothing any more, on disk when this returns; whether it led to anything. The bytes stay."""
    with store.locked(folder, to_remove=True):
        if store.called(name, key) not in store.names(folder):
            return False
        appended(f"{folder}/{store.HISTORY}", store.Given(clock.iso(clock.now()), name, key, store.NONE, 0, by).row)
        os.unlink(f"{folder}/{store.NAMES}/{store.called(name, key)}")
        synced(f"{folder}/{store.NAMES}")
        return True


def used(folder: str, name: str, key: str) -> None:
    """Note that what has this name was wanted now."""
    with contextlib.suppress(OSError):
        os.utime(f"{folder}/{store.NAMES}/{store.called(name, key)}", follow_symlinks=False)


def synced(directory: str) -> None:
    """The names in a directory are on disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def linked(folder: str, called: str, digest: str) -> None:
    """Make the link of a name, in place of the one before."""
    names = f"{folder}/{store.NAMES}"
    beside = f"{names}/.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    os.symlink(f"../{digest}", beside)
    os.rename(beside, f"{names}/{called}")
    synced(names)


def appended(path: str, line: bytes) -> None:
    """A line at the end of a text file, on disk when this returns; what a kill left of one before is cut off. Under the caller's lock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        end = os.fstat(fd).st_size
        tail = os.pread(fd, 1 << 16, max(0, end - (1 << 16)))
        if tail and tail[-1:] != b"\n":
            end -= len(tail) - tail.rfind(b"\n") - 1
            os.ftruncate(fd, end)
        if os.write(fd, line) != len(line):
            os.ftruncate(fd, end)
            raise CitError(IO, f"cannot write {path}: no space", "nothing was named; make room, then stash it again")
        os.fsync(fd)
    finally:
        os.close(fd)


def replaced(path: str, text: bytes) -> None:
    """A text file with other lines, whole or not at all. Under the caller's lock."""
    beside = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}"
    with open(beside, "wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(beside, path)


def mended(folder: str, found: Iterable[store.Given]) -> list[str]:
    """Make names again as their last lines say, of bytes that are here; those that lead nowhere go. What was changed."""
    changed = []
    os.makedirs(f"{folder}/{store.NAMES}", 0o700, exist_ok=True)
    with store.locked(folder, to_remove=True):
        last = store.newest(iter(found))
        wanted = {called: f"../{each.sha256}" for called, each in last.items() if store.size(folder, each.sha256) is not None}
        there = store.names(folder)
        for called, target in sorted(wanted.items()):
            if there.get(called) != target:
                linked(folder, called, target[3:])
                changed.append(called)
        for called in sorted(set(there) - set(wanted)):
            if not store.meant(folder, *store.parted(called)) or (called in last and last[called].sha256 == store.NONE):
                os.unlink(f"{folder}/{store.NAMES}/{called}")
                changed.append(called)
    return changed


# --- the job that we are part of ------------------------------------------------------------------------------------


def job_here(account: str) -> Job | None:
    """The job that this process is part of, if it is one of this account, or tried there: by cit's own link beside its workspace."""
    home, slot = os.path.split(os.environ.get("CIT_WORKSPACE", ""))
    work = os.path.dirname(home)
    try:
        record = os.path.basename(os.readlink(f"{home}/.{slot}"))
    except OSError:
        return None
    own = next((each for each in (account, f"{account}/{TRY}") if os.path.realpath(f"{each}/work") == os.path.realpath(work)), "")
    return Job(record[: -len(".run")], f"{own}/work/{record}") if own and record.endswith(".run") else None


def folder_of(account: str, job: Job | None) -> str:
    """The store that names are given in: this account's; of a job that is only tried the one beside it."""
    return f"{os.path.dirname(os.path.dirname(job.record)) if job else account}/{store.FOLDER}"


def noted(job: Job, digest: str, size: int, called: str) -> None:
    """Note in the job's record that this is one of its artefacts."""
    import fcntl

    path = f"{job.record}/{STASHED}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        appended(path, body.row(digest, str(size), store.PATH + called))
    finally:
        os.close(fd)


def stashed_by(record: str) -> list[tuple[str, str, str]]:
    """What a job has stashed, as rows of the `artefact` section, as far as it is in the store."""
    raw = recorded.read(f"{record}/{STASHED}")
    try:
        rows = rows_of(raw) if raw is not None else []
    except CitError:
        return []
    folder = f"{os.path.dirname(os.path.dirname(record))}/{store.FOLDER}"
    return [row for row in rows if str(store.size(folder, row[0])) == row[1]]
