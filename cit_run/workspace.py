"""Where a job runs: a path that stays the same from build to build (docs/directories.md).

work/NAME/SLOT/             the workspace; `.cit` in it leads to the record
work/NAME/.SLOT             a link to the record of the job that has it, or had it last; a job's own `.cit` is never believed
work/NAME/.old-SLOT-...     what a build before left, until a shim removes it
work/COPY-NAME -> NAME/SLOT a link by the job's own name; COPY is ID[_TASK][.aN]
work/COPY-NAME.log          what the job printed
work/COPY-NAME.run/         the record: status, pid, script, a link to the log, and what steps beside the program need
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from .cit_format.spool import Lock, is_held, write_all
from .shim import read_status

BUSY, GOOD, FAILED, FREE = "busy", "good", "failed", "free"
YOUNG = 60.0  # seconds in which a record that no shim has begun counts as about to be


class Place(NamedTuple):
    """The paths of one attempt on its builder, and old directories that its shim removes first."""

    workspace: Path
    link: Path
    log: Path
    record: Path
    remove: tuple[str, ...] = ()


class Slot(NamedTuple):
    """A directory of builds of one name: its number, BUSY, GOOD, FAILED or FREE, and when its last job was begun or ended (s)."""

    number: int
    state: str
    changed: float


# --- decisions ------------------------------------------------------------------------------------------------------


def chosen(found: list[Slot], slots: int, incremental: bool) -> tuple[int, bool]:
    """Which slot a job gets, and whether it keeps what lies there.

    Incremental: the directory of the job before, if that succeeded. Clean: the first one that succeeded; else one never
    used, as long as the builder has fewer of this name than slots; else a failed one, the oldest; else a new one.
    """
    idle = [slot for slot in found if slot.state != BUSY]
    if incremental and idle:
        last = max(idle, key=lambda slot: slot.changed)
        if last.state == GOOD:
            return last.number, True
    for state in (GOOD, FREE):
        number = min((slot.number for slot in idle if slot.state == state), default=None)
        if number is not None:
            return number, False
    taken = {slot.number for slot in found}
    unused = next(number for number in range(len(taken) + 1) if number not in taken)
    if unused < slots or not idle:
        return unused, False
    return min(idle, key=lambda slot: slot.changed).number, False


# --- directories ----------------------------------------------------------------------------------------------------


def place(work: Path, own: str, workspace: Path) -> Place:
    """The paths of an attempt (`COPY-NAME`) that runs in `workspace`."""
    return Place(workspace, work / own, work / f"{own}.log", work / f"{own}.run")


def place_of(work: Path, own: str) -> Place:
    """The paths of an attempt that was laid out before."""
    return place(work, own, (work / own).resolve())


def laid_out(work: Path, own: str, name: str, files: dict[str, bytes], slots: int, incremental: bool) -> Place:
    """Give an attempt a workspace, its links, and a record with `files` in it."""
    home = work / name
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Lock(home / ".lock"):
        entries = os.listdir(home)
        found = [slot(work, home, int(entry)) for entry in entries if entry.isdigit()]
        number, keeps = chosen(found, slots, incremental)
        old = [str(home / entry) for entry in entries if entry.startswith(".old-")]
        made = place(work, own, home / str(number))
        left(work, home, number)
        if not keeps:
            old += cleared(home, number)
        with contextlib.suppress(FileExistsError):
            os.mkdir(made.workspace, 0o700)
        os.makedirs(made.record, 0o700, exist_ok=True)
        linked(f"../{made.record.name}", home / f".{number}")
    for file, content in files.items():
        written(made.record / file, content)
    linked(f"../{made.log.name}", made.record / "log")
    linked(f"{name}/{number}", made.link)
    linked(f"../../{made.record.name}", made.workspace / ".cit")
    return made._replace(remove=tuple(old))


def slot(work: Path, home: Path, number: int) -> Slot:
    """How a slot stands, by the record of its last job."""
    record = last_record(work, home, number)
    try:
        if record is None:
            return Slot(number, FREE, 0.0)
        status = read_status(record)
        changed = os.stat(record / "status" if status else record).st_mtime
    except FileNotFoundError:
        return Slot(number, FREE, 0.0)
    if status is None:
        return Slot(number, BUSY if time.time() - changed < YOUNG or is_held(record / "status") else FREE, changed)
    if status.ending is None and is_held(record / "status"):
        return Slot(number, BUSY, changed)
    end = status.ending
    return Slot(number, GOOD if end and not (end.exit or end.signal or end.why) else FAILED, changed)


def last_record(work: Path, home: Path, number: int) -> Path | None:
    """The record of the job that has or had a slot; None where there is none."""
    try:
        name = os.path.basename(os.readlink(home / f".{number}"))
    except OSError:
        return None
    return work / name if name.endswith(".run") else None


def left(work: Path, home: Path, number: int) -> None:
    """Remove the link by which the job before led to this slot."""
    record = last_record(work, home, number)
    if record is not None:
        link = work / record.name[: -len(".run")]
        with contextlib.suppress(OSError):
            if os.readlink(link) == f"{home.name}/{number}":
                os.unlink(link)


def cleared(home: Path, number: int) -> list[str]:
    """Make way for a clean build: an empty directory stays, another one is moved aside. What is to be removed."""
    workspace = home / str(number)
    try:
        fd = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError:  # no directory any more, or one that cannot be read
        fd = -1
    try:
        if fd >= 0 and set(os.listdir(fd)) <= {".cit"}:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(".cit", dir_fd=fd)
            os.fchmod(fd, 0o700)
            return []
    except OSError:
        pass  # `.cit` is a directory now: it goes with the rest
    finally:
        if fd >= 0:
            os.close(fd)
    aside = home / f".old-{number}-{time.time_ns()}"
    os.rename(workspace, aside)
    return [str(aside)]


def linked(target: str, link: Path) -> None:
    """A symbolic link in place of whatever link or file was there; a directory in its place is moved aside."""
    try:
        os.symlink(target, link)
        return
    except FileExistsError:
        pass
    try:
        os.unlink(link)
    except IsADirectoryError:
        os.rename(link, link.with_name(f"{link.name}-{time.time_ns()}"))
    os.symlink(target, link)


def written(path: Path, content: bytes) -> None:
    """A file with this content, in place of whatever was there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    try:
        write_all(fd, content, str(path))
    finally:
        os.close(fd)
