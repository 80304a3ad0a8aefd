"""Where a job runs: a path that stays the same from build to build (docs/directories.md).

work/NAME/SLOT/             the workspace (_NAME where NAME looks like COPY-NAME); `.cit` in it leads to .SLOT
work/NAME/.SLOT             a link to the record of the job that has it, or had it last; a job's own `.cit` is never believed
work/NAME/.old-SLOT-...     what a build before left, until a shim removes it
work/COPY-NAME -> NAME/SLOT a link by the job's own name; COPY is ID[_TASK][.aN]
work/COPY-NAME.log          what the job printed
work/COPY-NAME.run/         the record: status, pid, script, and what steps beside the program need
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import NamedTuple

from . import held, reuse, sealing
from .cit_format import clock, names
from .cit_format.spool import Lock, write_all
from .shim import is_running, read_status

BUSY, GOOD, FAILED, FREE = "busy", "good", "failed", "free"
KEPT = "kept"  # in a record: the directory of the build before was kept
YOUNG = 60 * clock.SECOND  # in which a record that no shim has begun counts as about to be


class Place(NamedTuple):
    """The paths of one attempt on its builder, old directories that its shim removes first, and the directory of its secrets (empty: it has
    none). Texts: paths are made often here."""

    workspace: str
    link: str
    log: str
    record: str
    remove: tuple[str, ...] = ()
    private: str = ""
    before: reuse.Before = reuse.Before("", "")  # what an incremental build goes on from


class Slot(NamedTuple):
    """A directory of builds of one name: its number, BUSY, GOOD, FAILED or FREE, when its last job was begun or ended (microseconds), and who may
    build upon what lies there (reuse.owner; empty: nobody)."""

    number: int
    state: str
    changed: float
    base: str = ""


# --- decisions ------------------------------------------------------------------------------------------------------


def chosen(found: list[Slot], slots: int, owner: str = "") -> tuple[int, bool]:
    """Which slot a job gets, and whether it keeps what lies there.

    Incremental (`owner` is whose): of the directories that may be built upon the one that succeeded last. Clean: the first one that
    succeeded and that nobody means to build upon; else one never used, as long as the builder has fewer of this name than slots; else
    of all that are idle the oldest; else a new one.
    """
    idle = [slot for slot in found if slot.state != BUSY]
    mine = [slot for slot in idle if slot.state == GOOD and owner and slot.base == owner]
    if mine:
        return max(mine, key=lambda slot: slot.changed).number, True
    for state in (GOOD, FREE):
        number = min((slot.number for slot in idle if slot.state == state and not slot.base), default=None)
        if number is not None:
            return number, False
    taken = {slot.number for slot in found}
    unused = next(number for number in range(len(taken) + 1) if number not in taken)
    if unused < slots or not idle:
        return unused, False
    return min(idle, key=lambda slot: slot.changed).number, False


def no_base(found: list[Slot], owner: str) -> str:
    """Why there is nothing that an incremental build of this owner can go on from."""
    if not found:
        return "the first build of this name"
    if any(slot.base == owner for slot in found):
        return "the build before is at work, or did not end well"
    last = max(found, key=lambda slot: slot.changed)
    return {
        BUSY: "the build before is at work",
        FAILED: "the build before did not end well",
        GOOD: "no build before was an incremental one of the same submitter and queue",
    }.get(last.state, "no build of this name has ended well")


def folder(name: str) -> str:
    """The directory in work/ of all builds of a name: NAME; `_NAME` where it could be taken for a job's own file."""
    return name if names.parse(f"{name}.cit") is None else f"_{name}"


# --- directories ----------------------------------------------------------------------------------------------------


def place(work: str, own: str, workspace: str) -> Place:
    """The paths of an attempt (`COPY-NAME`) that runs in `workspace`."""
    return Place(workspace, f"{work}/{own}", f"{work}/{own}.log", f"{work}/{own}.run")


def place_of(work: str, own: str) -> Place:
    """The paths of an attempt that was laid out before."""
    return place(work, own, os.path.realpath(f"{work}/{own}"))


def short(place: Place) -> str:
    """`work/NAME/SLOT`, for the log of moves."""
    return "/".join(["work", *place.workspace.split("/")[-2:]])


def laid_out(work: str, own: str, name: str, files: dict[str, bytes], slots: int, owner: str = "") -> Place:
    """Give an attempt a workspace, its links, and a record with `files` in it; `owner` is whose build it is, where it is an incremental one."""
    home = f"{work}/{folder(name)}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(home, 0o700)
    with Lock(f"{home}/.lock"):
        entries = os.listdir(home)
        found = []
        for existing in sorted(int(entry) for entry in entries if entry.isdigit()):
            found.append(slot(work, home, existing))
            if found[-1].state == GOOD and not owner and not found[-1].base:
                break  # the others would not change the choice
        number, keeps = chosen(found, slots, owner)
        base = last_record(work, home, number) if keeps else ""
        old = [f"{home}/{entry}" for entry in entries if entry.startswith(".old-")]
        made = place(work, own, f"{home}/{number}")
        left(work, home, number)
        if not keeps:
            old += forgotten(work, home, number) + cleared(home, number)
        owned(made, home, own, number)
    recorded(made, name, number, {**files, **({KEPT: b""} if keeps else {})})
    before = reuse.Before("", "" if not owner else no_base(found, owner))
    if base:
        status = read_status(base)
        ended = clock.iso(status.ending.ended) if status and status.ending else "a time that is not known"
        before = reuse.Before(os.path.basename(base), f"upon {os.path.basename(base)[: -len('.run')]}, which ended well at {ended}")
    return made._replace(remove=tuple(old), before=before)


def owned(made: Place, home: str, own: str, number: int) -> None:
    """From here on the slot is this job's: its record is the last one there. Under the lock of the name."""
    for directory in (made.workspace, made.record):
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)
    linked(f"../{own}.run", f"{home}/.{number}")


def recorded(made: Place, name: str, number: int, files: dict[str, bytes]) -> None:
    """The files of a record, and the links by which a job is found."""
    for file, content in files.items():
        written(f"{made.record}/{file}", content, 0o700 if file == "script" else 0o600)
    linked(f"{folder(name)}/{number}", made.link)
    linked(f"../.{number}", f"{made.workspace}/.cit")


def slot(work: str, home: str, number: int) -> Slot:
    """How a slot stands, by the record of its last job."""
    record = last_record(work, home, number)
    try:
        status = read_status(record) if record else None
        if status and sealing.is_due(work, os.path.basename(record)[: -len(".run")]):
            return Slot(number, BUSY, 0.0)
        if status and status.ending and not is_running(record):
            end = status.ending
            if end.why == "check":  # nothing was built: as it was before
                kept = os.path.exists(f"{record}/{KEPT}")
                return Slot(number, GOOD, float(end.ended), reuse.owner_of(record)) if kept else Slot(number, FREE, 0.0)
            failed = bool(end.exit or end.signal or end.why)
            if failed and end.why != "cancel" and held.until(record, end.ended) > clock.now():
                return Slot(number, BUSY, float(end.ended))
            return Slot(number, FAILED if failed else GOOD, float(end.ended), "" if failed else reuse.owner_of(record))
        changed = os.stat(record).st_mtime * clock.SECOND
    except FileNotFoundError:
        return Slot(number, FREE, 0.0)
    if is_running(record) or (status is None and time.time() * clock.SECOND - changed < YOUNG):
        return Slot(number, BUSY, changed)
    return Slot(number, FAILED if status else FREE, changed)


def last_record(work: str, home: str, number: int) -> str:
    """The record of the job that has or had a slot; empty where there is none."""
    try:
        name = os.path.basename(os.readlink(f"{home}/.{number}"))
    except OSError:
        return ""
    return f"{work}/{name}" if name.endswith(".run") else ""


def forgotten(work: str, home: str, number: int) -> list[str]:
    """What the job before noted of how it left a slot that is cleared now: nobody builds upon that any more."""
    record = last_record(work, home, number)
    return [f"{record}/{reuse.LEFT}"] if record and os.path.exists(f"{record}/{reuse.LEFT}") else []


def left(work: str, home: str, number: int) -> None:
    """Remove the link by which the job before led to this slot."""
    link = last_record(work, home, number)[: -len(".run")]
    with contextlib.suppress(OSError):
        if os.readlink(link) == f"{os.path.basename(home)}/{number}":
            os.unlink(link)


def cleared(home: str, number: int) -> list[str]:
    """Make way for a clean build: an empty directory stays, another one is moved aside. What is to be removed."""
    workspace = f"{home}/{number}"
    try:
        fd = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError:  # no directory any more, or one that cannot be read
        fd = -1
    try:
        if fd >= 0 and set(os.listdir(fd)) <= {".cit"} and stat.S_ISLNK(os.stat(".cit", dir_fd=fd, follow_symlinks=False).st_mode):
            os.fchmod(fd, 0o700)
            return []
    except OSError:
        pass  # without its `.cit`: it goes as any other
    finally:
        if fd >= 0:
            os.close(fd)
    aside = f"{home}/.old-{number}-{time.time_ns()}"
    os.rename(workspace, aside)
    return [aside]


def aside(work: str) -> list[str]:
    """What builds before have left and no shim has removed yet."""
    return [f"{work}/{name}/{old}" for name in os.listdir(work) if os.path.isdir(f"{work}/{name}") for old in aside_of(f"{work}/{name}")]


def aside_of(home: str) -> list[str]:
    """The same of one name."""
    return [entry for entry in os.listdir(home) if entry.startswith(".old-")]


def linked(target: str, link: str) -> None:
    """A symbolic link in place of whatever was there; a directory in its place is moved aside."""
    try:
        if os.readlink(link) == target:
            return
        os.unlink(link)
    except FileNotFoundError:
        pass
    except OSError:  # no link
        os.rename(link, f"{link}-{time.time_ns()}")
    os.symlink(target, link)


def written(path: str, content: bytes, mode: int = 0o600) -> None:
    """A file with this content, in place of whatever was there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, content, path)
    finally:
        os.close(fd)
