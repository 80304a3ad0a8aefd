"""Removing directories that jobs have left, never what a link in them leads to; no name and no depth can prevent it.

Imports next to nothing: it is part of the bare process of a shim (supervise.py).
"""

from __future__ import annotations

import errno
import os
import sys


def removed(path: str) -> None:
    """Remove what lies at `path`, never what a link in it leads to. What cannot be removed stays: the next job tries again."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        top = opened(path, None)
        try:
            emptied(top)
        finally:
            os.close(top)
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            sys.stderr.write(f"cit-run: warning: cannot remove {path}: {error.strerror}\n")


def emptied(top: int) -> None:
    """Remove all in an open directory. What lies deeper is first moved up into it: no depth is too deep, no link is followed."""
    names, count = set(os.listdir(top)), 0
    while names:
        name = names.pop()
        if unlinked(name, top):
            continue
        inner = opened(name, top)
        try:
            for entry in os.listdir(inner):
                if not unlinked(entry, inner):
                    while (up := f".old-{count}") in names or up == name:
                        count += 1
                    moved_up(entry, inner, up, top)
                    names.add(up)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)


def unlinked(name: str, directory: int) -> bool:
    """Remove a name that is no directory; false where it is one."""
    try:
        os.unlink(name, dir_fd=directory)
        return True
    except IsADirectoryError:
        return False


def moved_up(name: str, directory: int, up: str, top: int) -> None:
    """Move a directory into `top`; one that its owner may not write is made writable first, since its `..` changes."""
    try:
        os.rename(name, up, src_dir_fd=directory, dst_dir_fd=top)
    except PermissionError:
        os.close(opened(name, directory))
        os.rename(name, up, src_dir_fd=directory, dst_dir_fd=top)


def opened(name: str, directory: int | None) -> int:
    """Open a directory, no link, and see to it that its owner may change it."""
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.fstat(place).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{place}", 0o700)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)
