"""Patterns of files below a workspace, as the shell writes them (docs/format/needs-keep.md): `build/*.deb`; a directory means all below it. Pure.

Imports next to nothing: it is part of a step beside a job.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

WILD = frozenset("*?[")


def parts_of(glob: str) -> list[str] | None:
    """The names that a pattern is made of, none for the workspace itself (`.`); None where it leads out of the workspace, or says nothing."""
    parts = [part for part in glob.split("/") if part not in ("", ".")]
    return None if not glob or glob.startswith("/") or ".." in parts else parts


def is_meant(name: str, part: str) -> bool:
    """Whether a name matches one part of a pattern, as in the shell: a leading dot is matched by a dot only."""
    return fnmatchcase(name, part) and (name[:1] != "." or part[:1] == ".")


def matches(path: str, glob: str) -> bool:
    """Whether a pattern means this file."""
    parts, names = parts_of(glob), path.split("/")
    return parts is not None and len(names) >= max(1, len(parts)) and all(map(is_meant, names, parts))
