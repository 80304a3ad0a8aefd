"""Where a job runs: a path that stays the same from build to build (docs/directories.md).

work/NAME/SLOT/             the workspace; `.cit` in it leads to the record
work/COPY-NAME -> NAME/SLOT a link by the job's own name; COPY is ID[_TASK][.aN]
work/COPY-NAME.log          what the job printed
work/COPY-NAME.run/         the record: lock, started, pid, end, script
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from .cit_format.errors import IO, CitError
from .cit_format.spool import is_held


class Place(NamedTuple):
    """The paths of one job on its builder."""

    workspace: Path
    link: Path
    log: Path
    record: Path


def place(work: Path, copy: str, name: str, workspace: Path) -> Place:
    """The paths of a job's copy that runs in `workspace`."""
    own = f"{copy}-{name}"
    return Place(workspace, work / own, work / f"{own}.log", work / f"{own}.run")


def prepared(work: Path, copy: str, name: str, script: bytes) -> Place:
    """Make a clean workspace, record and script for a job; the first slot of its name that no job runs in is taken."""
    (work / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while _is_in_use(work / name / str(number)):
        number += 1
    made = place(work, copy, name, work / name / str(number))
    _clear(made.workspace, work)
    made.workspace.mkdir(mode=0o700, exist_ok=True)
    made.record.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made.link)
    os.symlink(f"{name}/{number}", made.link)
    os.symlink(f"../../{made.record.name}", made.workspace / ".cit")
    fd = os.open(made.record / "script", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700)
    try:
        if os.write(fd, script) != len(script):
            raise CitError(IO, f"cannot write {made.record / 'script'}", "is the disk full?")
    finally:
        os.close(fd)
    return made


def _is_in_use(workspace: Path) -> bool:
    record = workspace / ".cit"
    return record.exists() and not (record / "end").exists() and (not (record / "started").exists() or is_held(record / "lock"))


def _clear(workspace: Path, work: Path) -> None:
    """Remove what the build before left, and the link by its name."""
    with contextlib.suppress(OSError):
        before = os.readlink(workspace / ".cit")
        os.unlink(work / os.path.basename(before)[: -len(".run")])
    try:
        entries = os.listdir(workspace)
    except FileNotFoundError:
        return
    for entry in entries:
        path = workspace / entry
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
