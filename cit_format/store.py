"""The store of an account: bytes by their digest, and names for some of them (docs/directories.md, docs/howto/artefacts.md).

    store/SHA256                  the bytes, read-only: 0400, of a program 0500. Whole and synced before they have this name, never written again
    store/names/NAME[@KEY]        a link, ../SHA256: what was stashed under a name, and for which configuration
    store/history.tsv             a line for each time that a name was given: time, NAME, KEY or -, sha256 (-: to nothing any more), bytes, by whom
    store/answers/NAME@KEY        what a request to a service was answered with, TSV: sha256, bytes, path (docs/howto/module-as-a-service.md)
    store/.lock                   shared while bytes get their digest, exclusive while something gets a name or goes

A name is made when bytes and its line are on disk; names can be made again from the history, the history from documents.
Imports next to nothing: it is part of a step beside a job.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

from . import body

FOLDER, NAMES, HISTORY, ANSWERS = "store", "names", "history.tsv", "answers"
PATH = f"{FOLDER}/{NAMES}/"  # before a name, where an artefact lies
NONE = "-"
PATIENCE = 60.0  # seconds for a lock that only several have
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Given(NamedTuple):
    """A line of the history: a name (and a key of configuration, or empty) was given to these bytes; `-` instead of their digest: to none."""

    time: str
    name: str
    key: str
    sha256: str
    size: int
    by: str

    @property
    def called(self) -> str:
        return called(self.name, self.key)

    @property
    def row(self) -> bytes:
        return body.row(self.time, self.name, self.key or NONE, self.sha256, str(self.size), self.by)


# --- decisions ------------------------------------------------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether something can be stashed under this name: no digest is one."""
    return NAME.fullmatch(text) is not None and not SHA256.fullmatch(text)


def called(name: str, key: str = "") -> str:
    """What a name with its key is called in names/."""
    return f"{name}@{key}" if key else name


def parted(link: str) -> tuple[str, str]:
    """Name and key of what is called so in names/."""
    name, _, key = link.partition("@")
    return name, key


def parsed(text: bytes) -> Iterator[Given]:
    """The lines of a history, but for a torn last one and any that is none."""
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.splitlines(keepends=True):
        with contextlib.suppress(ValueError):  # bytes that are no text
            fields = next(iter(body.rows(line)), [])
            if len(fields) == 6 and is_name(fields[1]) and (SHA256.fullmatch(fields[3]) or fields[3] == NONE) and fields[4].isdigit():
                yield Given(fields[0], fields[1], "" if fields[2] == NONE else fields[2], fields[3], int(fields[4]), fields[5])


def newest(history: Iterator[Given]) -> dict[str, Given]:
    """The last line of each name."""
    return {each.called: each for each in history}


# --- files ----------------------------------------------------------------------------------------------------------


def history(store: str) -> list[Given]:
    """What was ever stashed here, the oldest first."""
    try:
        with open(f"{store}/{HISTORY}", "rb") as stream:
            return list(parsed(stream.read()))
    except FileNotFoundError:
        return []


def meant(store: str, name: str, key: str = "") -> str:
    """The digest that a name leads to; empty where nothing has that name, or its bytes are gone."""
    try:
        target = os.readlink(f"{store}/{NAMES}/{called(name, key)}")
    except OSError:
        return ""
    digest = target.rpartition("/")[2]
    return digest if SHA256.fullmatch(digest) and target == f"../{digest}" and size(store, digest) is not None else ""


def names(store: str) -> dict[str, str]:
    """All that is called something: by its name in names/, where it leads to (as it is written)."""
    found = {}
    for link in entries(f"{store}/{NAMES}"):
        with contextlib.suppress(OSError):
            found[link] = os.readlink(f"{store}/{NAMES}/{link}")
    return found


def size(store: str, digest: str) -> int | None:
    """How many bytes are kept by this digest; None where there are none."""
    try:
        return os.lstat(f"{store}/{digest}").st_size
    except OSError:
        return None


def files(store: str) -> Iterator[os.DirEntry[str]]:
    """What lies in the store by its digest."""
    try:
        with os.scandir(store) as found:
            yield from (entry for entry in found if SHA256.fullmatch(entry.name) and entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return


def entries(directory: str) -> list[str]:
    """Names in a directory that are not hidden, sorted; none where it is missing."""
    try:
        return sorted(name for name in os.listdir(directory) if name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []


def private(path: str, flags: int) -> int:
    """Opens a file for nobody else."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def locked(store: str, to_remove: bool = False) -> Iterator[int]:
    """While bytes are put and named (several may); `to_remove`: while some go (then nobody else). The store, open.

    Whoever only puts does not wait for ever: a job that was stopped while it held the lock keeps nobody from ending.
    """
    with open(f"{store}/.lock", "ab", opener=private) as lock:  # open for writing: over NFS an exclusive lock wants it so
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if to_remove else fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.01)
        fd = os.open(store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
