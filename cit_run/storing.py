"""Bytes into the store: copied (a clone where the file system can), named by their digest, on disk before they have that name.

    store/.tmp/HOST~PID~TIME      being copied; what a kill leaves there goes after 36 h, by the next pass of cit-run or `cit clean --store`

Never a hard link from or to a workspace: a process of the job could write through it, or through a descriptor that it still has, into what
others believe by its digest. Hence what lies in the store has an inode of its own, from its first byte on.
Pages: docs/directories.md, docs/howto/artefacts.md
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator

from .cit_format import store

PIECE = 1 << 20  # bytes read at a time
_FICLONE = 0x40049409
READ_ONLY, PROGRAM = 0o400, 0o500
STALE = 36 * 3600.0  # seconds


def beside(folder: str) -> str:
    """Where a process writes what is to get a name in the store."""
    os.makedirs(f"{folder}/.tmp", 0o700, exist_ok=True)
    return f"{folder}/.tmp/{os.uname().nodename}~{os.getpid()}~{time.time_ns()}"  # several machines may have one home


def swept(folder: str) -> None:
    """Remove what killed writers left so long ago that none of them can be alive."""
    with contextlib.suppress(OSError), os.scandir(f"{folder}/.tmp") as found:
        for entry in found:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                os.unlink(entry.path)


class Sink:
    """A file of the store being written: takes pieces, knows their digest and number."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.beside = beside(folder)
        self.fd = os.open(self.beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self.digest, self.size = hashlib.sha256(), 0

    def write(self, piece: bytes) -> int:
        """All of a piece."""
        self.digest.update(piece)
        self.size += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(self.fd, view) :]
        return len(piece)

    def copied(self, source: int) -> None:
        """All that an open file has, from where it stands."""
        try:
            fcntl.ioctl(self.fd, _FICLONE, source)
        except OSError:  # another file system, or one that cannot
            while piece := os.read(source, PIECE):
                self.write(piece)
            return
        while piece := os.read(self.fd, PIECE):  # what is there now is what the digest is of, whatever becomes of the source
            self.digest.update(piece)
            self.size += len(piece)

    def named(self, is_program: bool = False, synced: bool = True) -> tuple[str, int]:
        """Give the bytes their name: their sha256, and how many they are. Where it is taken, these are the same bytes; it is young again.
        The bytes are on disk; the name too, but where the caller syncs the names of several together."""
        digest = self.digest.hexdigest()
        os.fchmod(self.fd, PROGRAM if is_program else READ_ONLY)
        os.fsync(self.fd)
        with store.locked(self.folder) as directory:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(digest, dir_fd=directory, follow_symlinks=False).st_mode & 0o100:
                    os.fchmod(self.fd, PROGRAM)
            os.rename(self.beside, digest, dst_dir_fd=directory)
            if synced:
                os.fsync(directory)
        return digest, self.size

    def close(self) -> None:
        """Let it go; without a name nothing of it is left."""
        os.close(self.fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.beside)


@contextlib.contextmanager
def sink(folder: str) -> Iterator[Sink]:
    """A file for the store, gone unless it gets its name."""
    os.makedirs(folder, 0o700, exist_ok=True)
    made = Sink(folder)
    try:
        yield made
    finally:
        made.close()


def stored(source: int, folder: str) -> tuple[str, int]:
    """Copy an open file into the store: its sha256 and bytes. The caller syncs the directory."""
    with sink(folder) as made:
        made.copied(source)
        return made.named(bool(os.fstat(source).st_mode & 0o100), synced=False)
