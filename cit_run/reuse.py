"""Building upon what a build before left: whose directory that may be, and whether it still is as that build left it (docs/howto/workspaces.md).

Reads: `before` in the job's record, which the choice of its workspace wrote; `left` in the record of the build before; RECORD/job.cit.
Writes: rows for the `environment` section that say what became of it and why; `before` anew where nothing is built upon.
As a step before checkout and program: RECORD WORKSPACE. Exits 0; what is not as it was left is removed, and the build is a clean one.
How: a build that says `workspace = "incremental"` notes at its end (leaving.py) whose it was, with which variables, and of each file
kind and mode, size and time of the last change. No content is read, so that it costs what `ls -lR` does.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import environment, recorded, removal
from .checkout import INPUT, tell
from .cit_format import body, reader
from .cit_format.document import Document
from .cit_format.errors import CitError

LEFT = "left"  # in a record: how a build left its workspace
BEFORE = "before"  # in a record: what the build is to go on from, and why
OWN = (".cit", ".git")  # not looked into: cit's own, and what git itself checks


class Before(NamedTuple):
    """The record that a build goes on from (a directory's name; empty: none), and in words what was found."""

    record: str
    why: str


Found = dict[str, tuple[str, ...]]  # by path: mode, size, time of the last change


# --- decisions ------------------------------------------------------------------------------------------------------


def owner(job: Document) -> str:
    """Whose builds may go on from each other: those of one submitter for one queue."""
    said = job.table("job")
    return f"{said.get('submitter', '')} {said.get('queue', '')}"


def difference(then: Found, now: Found) -> str:
    """In words, how files are not as they were; empty where all are."""
    differing = sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))
    if not differing:
        return ""
    first = differing[0]
    word = "is new" if first not in then else "is gone" if first not in now else "was changed"
    return f"{first} {word}" + (f", and {len(differing) - 1} more" if differing[1:] else "")


def unlike(then: dict[str, str], now: dict[str, str]) -> str:
    """In words, which variable is another than in the build before; empty where none is."""
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            return f"{name} was {_said(then.get(name))}, is {_said(now.get(name))}"
    return ""


def _said(value: str | None) -> str:
    return "not set" if value is None else repr(value[:60])


# --- files ----------------------------------------------------------------------------------------------------------


def owner_of(record: str) -> str:
    """Who may build upon what the job of this record left; empty: nobody."""
    raw = recorded.read(f"{record}/{LEFT}", recorded.LISTED) or b""
    try:
        return body.rows(raw[: raw.find(b"\n") + 1])[0][1]
    except (IndexError, ValueError, CitError):
        return ""


def looked_at(workspace: str) -> Found:
    """Every file below a workspace, as it stands."""
    found: Found = {}
    todo = [""]
    while todo:
        below = todo.pop()
        with os.scandir(f"{workspace}/{below}") as entries:
            for entry in entries:
                if entry.name == ".git" or not below and entry.name in OWN:
                    continue
                path, status = below + entry.name, entry.stat(follow_symlinks=False)
                is_directory = stat.S_ISDIR(status.st_mode)
                size, changed = ("-", "-") if is_directory else (str(status.st_size), str(status.st_mtime_ns))
                found[os.fsencode(path).decode("utf-8", "backslashreplace")] = (f"{status.st_mode:o}", size, changed)
                if is_directory:
                    todo.append(f"{path}/")
    return found


def variables(job: Document) -> dict[str, str]:
    """What a build without a command of its own for that is built with, as far as cit can know: PATH, its variables, where it starts."""
    said = job.table("job")
    if "environment" in said:
        return {}
    return {**environment.asked_for(job), "PATH": os.environ.get("PATH", ""), "builddir": str(said.get("builddir", "."))}


def left(job: Document, found: Found) -> Iterator[tuple[str, ...]]:
    """The rows of `left`."""
    yield "owner", owner(job)
    for name, value in sorted(variables(job).items()):
        yield "set", name, value
    for path, known in sorted(found.items()):
        yield "file", path, *known


def remembered(record: str) -> tuple[dict[str, str], Found]:
    """What `left` in a record says: variables and files."""
    raw = recorded.read(f"{record}/{LEFT}", recorded.LISTED)
    if raw is None:
        raise FileNotFoundError(LEFT)
    rows = body.rows(raw)
    return {row[1]: row[2] for row in rows if row[0] == "set"}, {row[1]: tuple(row[2:]) for row in rows if row[0] == "file"}


def before(record: str) -> Before:
    """What a build is to go on from; nothing where it says nothing."""
    try:
        [row] = recorded.rows(f"{record}/{BEFORE}")
        return Before(row[0], row[1])
    except (ValueError, IndexError):
        return Before("", "")


def written(place: Before) -> bytes:
    """`before` as a file."""
    return body.row(*place)


def emptied(workspace: str) -> None:
    """Remove all in a workspace but `.cit`."""
    for name in os.listdir(workspace):
        if name != ".cit":
            removal.removed(f"{workspace}/{name}")


def noted(record: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Rows for the `environment` section of the result."""
    with open(record / "environment", "ab") as stream:
        stream.write(body.tsv(rows))


# --- the step -------------------------------------------------------------------------------------------------------


def objection(record: Path, workspace: str, base: str) -> str:
    """Why what lies there is not built upon; empty where it is."""
    try:
        then, files = remembered(base)
        return (
            unlike(then, variables(reader.parse((record / INPUT).read_bytes())))
            or (why := difference(files, looked_at(workspace)))
            and f"{why} since the build before ended"
        )
    except (OSError, CitError, ValueError, IndexError) as error:
        return f"how the build before left it is not known ({error})"


def main() -> None:
    """`RECORD WORKSPACE`."""
    record, workspace = Path(sys.argv[1]), sys.argv[2]
    found = before(str(record))
    base = record.parent / found.record
    why = objection(record, workspace, str(base)) if found.record else ""
    if why:
        emptied(workspace)
        found = Before("", why)
        (record / BEFORE).write_bytes(written(found))
    word = "incremental" if found.record else "clean"
    if found.record:
        (base / LEFT).unlink(missing_ok=True)  # from now on it is as this build leaves it
    tell(1, f"workspace: {word}, {found.why}")
    noted(record, [("workspace", word), ("workspace why", found.why)])
