"""A directory as one file of the store, and back: a tar that is the same for the same files, whoever packs it, wherever, whenever.

It begins with a global header that says `comment=cit tree 1`, by which it is known again; entries are sorted, belong to nobody, have no time.
Reads and writes regular files, directories, and links that stay inside. Fails: 65 for all else, for what is cut off, and over a limit.
How: every part of a path is opened by its parent's descriptor, no link is followed; links are made last.
Pages: docs/howto/artefacts.md
"""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO, cast

from . import unpack
from .cit_format.errors import DATA, NO, CitError
from .storing import PIECE, Sink

MARK = "cit tree 1"
HEADER = 1 << 20  # bytes of one header, at most: what is read at once


# --- decisions ------------------------------------------------------------------------------------------------------


def is_inside(target: str, depth: int) -> bool:
    """Whether a link with `depth` directories above it in its tree cannot lead out of that: `..` only at its beginning, and not too often."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and not target.startswith("/") and ups <= depth and ".." not in parts[ups:]


def is_tree(fd: int) -> bool:
    """Whether an open file is a directory that was packed here."""
    head = os.pread(fd, 1024, 0)
    return head[156:157] == b"g" and f" comment={MARK}\n".encode() in head[512:]


def wrong(name: str, what: str) -> CitError:
    return CitError(DATA, f"{name[:200]!r} {what}", "a tree has regular files, directories, and links that stay inside it")


# --- packed ---------------------------------------------------------------------------------------------------------


def packed(directory: int, sink: Sink) -> int:
    """Write an open directory as a tar; how many files. 65 where it holds what no tree may, 1 where a file changed meanwhile."""
    count = entries = 0
    with tarfile.open(fileobj=cast("IO[bytes]", sink), mode="w|", format=tarfile.PAX_FORMAT, pax_headers={"comment": MARK}) as archive:
        for fd, entry in found(directory, ""):
            entries += 1
            if entries > unpack.ENTRIES:
                raise CitError(DATA, f"a tree of more than {unpack.ENTRIES} entries", "stash fewer files, or one archive of them")
            if fd < 0 or entry.isdir():
                archive.addfile(entry)
                continue
            count += 1
            with open(fd, "rb", closefd=False) as stream:
                try:
                    archive.addfile(entry, stream)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise CitError(NO, f"{entry.name[:200]!r} became shorter while it was read", "stash it when nothing writes to it") from None
    return count


def found(directory: int, above: str) -> Iterator[tuple[int, tarfile.TarInfo]]:
    """What lies below an open directory, sorted: an open file (-1: a link) and its entry."""
    if above.count("/") >= unpack.DEPTH:
        raise wrong(above, f"is deeper than {unpack.DEPTH} directories")
    for name in sorted(os.listdir(directory)):
        entry = tarfile.TarInfo(above + name)
        if entry.name == unpack.RESERVED:
            continue  # a workspace's record is no part of it
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=directory)
            if not is_inside(entry.linkname, above.count("/")):
                raise wrong(entry.name, f"is a link to {entry.linkname[:200]!r}, which leads out of it")
            yield -1, entry
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise wrong(entry.name, "is neither")
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            now = os.fstat(fd)
            if stat.S_ISDIR(now.st_mode):
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                yield fd, entry
                yield from found(fd, f"{entry.name}/")
            elif stat.S_ISREG(now.st_mode):
                entry.size, entry.mode = now.st_size, 0o755 if now.st_mode & 0o100 else 0o644
                yield fd, entry
            else:
                raise wrong(entry.name, "is neither")
        finally:
            os.close(fd)


# --- laid out -------------------------------------------------------------------------------------------------------


class Bounded:
    """An open file that tarfile reads: no header of it is larger than memory has room for."""

    def __init__(self, fd: int) -> None:
        self.stream = open(fd, "rb", closefd=False)  # noqa: SIM115 # closed by who opened fd

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.stream.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        return self.stream.tell()


def entries(fd: int) -> Iterator[tuple[tarfile.TarInfo, list[str], IO[bytes] | None]]:
    """Each entry of a packed tree with its path and content. 65 at the first that is not allowed, and where it is not whole."""
    end = os.fstat(fd).st_size
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", Bounded(fd)), mode="r:") as archive:
            for count, entry in enumerate(archive, 1):
                if count > unpack.ENTRIES:
                    raise CitError(DATA, f"a tree of more than {unpack.ENTRIES} entries", "stash fewer files, or one archive of them")
                if not (entry.isdir() or entry.issym() or entry.type in (b"0", b"\0")) or entry.sparse is not None:
                    raise wrong(entry.name, "is neither")
                parts = unpack.parts_of(entry.name)
                if not parts or entry.offset_data + entry.size > end:
                    raise wrong(entry.name, "is not whole")
                if entry.issym() and not is_inside(entry.linkname, len(parts) - 1):
                    raise wrong(entry.name, f"is a link to {entry.linkname[:200]!r}, which leads out of it")
                yield entry, parts, archive.extractfile(entry) if entry.isreg() else None
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise CitError(DATA, f"the tree cannot be read: {error}", "stash it again") from None


def laid_out(fd: int, directory: int) -> int:
    """Lay the files of an open packed tree below an open directory, in place of files of their names; how many. Others stay."""
    count, links = 0, []
    for entry, parts, content in entries(fd):
        if entry.isdir():
            with unpack.opened(directory, parts):
                continue
        if entry.issym():
            links.append((parts, entry.linkname))
            continue
        assert content is not None
        with unpack.opened(directory, parts[:-1]) as above:
            written(above, parts[-1], content, bool(entry.mode & 0o100))
        count += 1
    for parts, target in links:
        with unpack.opened(directory, parts[:-1]) as above:
            out_of_the_way(above, parts[-1])
            os.symlink(target, parts[-1], dir_fd=above)
    return count + len(links)


def written(above: int, name: str, content: IO[bytes], is_program: bool) -> None:
    """One regular file in an open directory, whole or not at all under its name, and never through a link."""
    beside = f".cit-{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=above)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(beside, flags, 0o777 if is_program else 0o666, dir_fd=above)
    try:
        try:
            while piece := content.read(PIECE):
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        try:
            os.rename(beside, name, src_dir_fd=above, dst_dir_fd=above)
        except IsADirectoryError:
            raise is_directory(name) from None
    except BaseException:
        os.unlink(beside, dir_fd=above)
        raise


def out_of_the_way(above: int, name: str) -> None:
    """A file or link of this name goes; a directory is 65."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise is_directory(name)
        os.unlink(name, dir_fd=above)


def is_directory(name: str) -> CitError:
    return CitError(DATA, f"{name[:200]!r} is a directory", "a file cannot take its place")
