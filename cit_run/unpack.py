"""Files that a job brings along, laid into its workspace: an archive must not reach out of it (docs/format/env-config-files.md).

Reads: the bytes of a tar. Writes: its regular files and directories below an open directory, in place of files of their names.
Fails: 65 for a link, a device, a path with `..` or from the root, an archive that is cut off, or one over a limit.
How: every part of a path is opened by its parent's descriptor and no link is followed, so nothing is written through one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .cit_format.errors import DATA, CitError
from .cit_format.spool import write_all

if TYPE_CHECKING:
    import tarfile

ENTRIES = 100_000  # of an archive, at most
DEPTH = 100  # directories above a file, at most
RESERVED = ".cit"  # cit's own name in a workspace


# --- decisions ------------------------------------------------------------------------------------------------------


def parts_of(path: str) -> list[str]:
    """The names that a path below the workspace is made of, none for the workspace itself; 65 where it leads elsewhere."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path or len(parts) > DEPTH:
        raise CitError(DATA, f"the path {path[:200]!r} is not below the workspace", "paths are relative, without .. in them")
    if parts[:1] == [RESERVED]:
        raise CitError(DATA, f"the path {path[:200]!r} is cit's own", f"give it another name than {RESERVED}")
    return parts


def objection(entry: tarfile.TarInfo) -> str:
    """Why an entry cannot be laid out; empty where it can."""
    if entry.issym() or entry.islnk():
        return "is a link"
    if not (entry.isdir() or entry.type in (b"0", b"\0")) or entry.sparse is not None:
        return "is neither a regular file nor a directory"
    return ""


def entries(raw: bytes) -> Iterator[tuple[tarfile.TarInfo, list[str], bytes]]:
    """Each entry of a tar with its path and content; 65 at the first that is not allowed, and where the archive is not whole."""
    import tarfile
    from io import BytesIO

    try:
        with tarfile.open(fileobj=BytesIO(raw), mode="r:") as archive:
            for count, entry in enumerate(archive, 1):
                fault = objection(entry)
                if fault:
                    raise CitError(DATA, f"{entry.name[:200]!r} in the archive {fault}", "archives bring regular files and directories only")
                if count > ENTRIES:
                    raise CitError(DATA, f"an archive of more than {ENTRIES} entries", "send fewer files, or a repository")
                stream = None if entry.isdir() else archive.extractfile(entry)
                content = stream.read() if stream else b""
                if len(content) != (0 if entry.isdir() else entry.size):
                    raise tarfile.ReadError("unexpected end of data")
                yield entry, parts_of(entry.name), content
            if raw[archive.offset :].strip(b"\0"):
                raise tarfile.ReadError("a damaged entry")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise CitError(DATA, f"the archive cannot be read: {error}", "it is an uncompressed tar: tar cf FILE.tar ...") from None


# --- files ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(directory: int, parts: list[str]) -> Iterator[int]:
    """The directory below an open one that these names lead to, made where it is missing; 65 where a link or a file is in the way."""
    fd = os.dup(directory)
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=fd)
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError as error:
                raise CitError(DATA, f"{'/'.join(parts)!r}: {part!r} is no directory of the workspace", error.strerror or "") from None
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def unpacked(raw: bytes, directory: int) -> int:
    """Lay the files of a tar below an open directory; how many."""
    count = 0
    for entry, parts, content in entries(raw):
        if entry.isdir() or not parts:
            with opened(directory, parts):
                continue
        with opened(directory, parts[:-1]) as above:
            _file(above, parts[-1], content, entry)
        count += 1
    return count


def _file(above: int, name: str, content: bytes, entry: tarfile.TarInfo) -> None:
    """One regular file, in place of a file or link of its name; a directory of that name is 65."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise CitError(DATA, f"{entry.name[:200]!r} in the archive is a directory of the workspace", "a file cannot take its place") from None
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755 if entry.mode & 0o100 else 0o644, dir_fd=above)
    try:
        write_all(fd, content, entry.name)
        with contextlib.suppress(OSError, OverflowError):  # a time that this file system cannot keep
            os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)
