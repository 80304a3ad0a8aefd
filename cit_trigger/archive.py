"""Files that a job brings along, as a tar that every builder takes: regular files and directories only (docs/format/env-config-files.md)."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from io import BytesIO

from .cit_format.errors import DATA, NOT_FOUND, CitError
from .options import check_below
from .wish import read


def archives(named: list[str]) -> Iterator[bytes]:
    """A tar as it is for each FILE.tar and for `-`, then one of all other paths, each under the name that it was given."""
    for name in named:
        if name == "-" or name.endswith(".tar"):
            yield checked(read(name, "--files"), "stdin" if name == "-" else name)
    paths = [name for name in named if name != "-" and not name.endswith(".tar")]
    if paths:
        yield packed(paths)


def checked(raw: bytes, name: str) -> bytes:
    """A tar, once it is seen to hold nothing that a builder refuses; else 65."""
    try:
        with tarfile.open(fileobj=BytesIO(raw), mode="r:") as archive:
            for entry in archive:
                if not (entry.isdir() or entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE)) or entry.sparse is not None:
                    raise CitError(
                        DATA, f"{name}: {entry.name!r} is no regular file or directory", "links are not taken: tar -h packs what they lead to"
                    )
                if entry.name.startswith("/") or ".." in entry.name.split("/"):
                    raise CitError(DATA, f"{name}: {entry.name!r} is not below the workspace", "pack it with tar -C DIRECTORY")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise CitError(DATA, f"{name}: no tar: {error}", "it is an uncompressed tar; other files are packed under their own names") from None
    return raw


def packed(paths: list[str]) -> bytes:
    """A tar of files and directories with all that is below them; times stay, owners do not."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            check_below(path, "--files")
            for found in below(path):
                status = os.lstat(found)
                entry = tarfile.TarInfo(found)
                entry.mtime, entry.mode = int(status.st_mtime), status.st_mode & 0o777
                if stat.S_ISDIR(status.st_mode):
                    entry.type = tarfile.DIRTYPE
                    archive.addfile(entry)
                elif stat.S_ISREG(status.st_mode):
                    with open(found, "rb") as stream:
                        entry.size = os.fstat(stream.fileno()).st_size
                        archive.addfile(entry, stream)
                else:
                    raise CitError(DATA, f"{found}: no regular file or directory", "links are not taken; name what they lead to")
    return out.getvalue()


def below(path: str) -> Iterator[str]:
    """A path and all that is below it, in order, without following links."""
    if not os.path.lexists(path):
        raise CitError(NOT_FOUND, f"{path}: there is no such file", "--files names files, directories, or a FILE.tar")
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path)):
            yield from below(os.path.join(path, name))
