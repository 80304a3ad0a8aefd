"""The part of cleaning that is about work/: old workspaces, then old logs and records go (docs/howto/workspaces.md).

Reads: the slots and records of work/. Removes: what a job has left in its slot, never that of one that runs, is about to, or is held; logs and
records of jobs whose workspace is gone. How: a slot is emptied under the lock of its name, as for the next build; removed is what was moved aside.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from . import held, workspace
from .cit_format import clock, home, names, spool
from .removal import removed
from .shim import is_running, read_status


class Wish(NamedTuple):
    """What is to go: workspaces of jobs that ended before a moment (microseconds; 0: none for their age), of each name all but so many (None: any
    number), the oldest until they take so much at most (bytes; None: any), and until so much of the disk is free once less than `keep_free` is;
    logs and records of jobs that ended before a moment; and these workspaces (COPY-NAME) whatever they are but running."""

    before: int = 0
    most: int | None = None
    size: int | None = None
    keep_free: int = 0
    down_to: int = 0
    logs_before: int = 0
    named: frozenset[str] = frozenset()


class Left(NamedTuple):
    """What a job has left in a slot: whose it is (COPY-NAME), the directory of its name, its number, when it ended, how much it takes."""

    own: str
    home: str
    number: int
    ended: int
    size: int

    @property
    def path(self) -> str:
        return f"work/{os.path.basename(self.home)}/{self.number}"


# --- decisions ------------------------------------------------------------------------------------------------------


def chosen(found: Iterable[Left], wish: Wish, free: int) -> list[Left]:
    """What goes, the oldest first; `free` are the bytes of the disk that are free now."""
    oldest = sorted(found, key=lambda left: (left.ended, left.path))
    total = sum(left.size for left in oldest)
    wanted = max(wish.down_to, wish.keep_free) if free < wish.keep_free else 0
    later: dict[str, int] = {}
    for left in oldest:
        later[left.home] = later.get(left.home, 0) + 1
    goes = []
    for left in oldest:
        if (
            left.own in wish.named
            or left.ended < wish.before
            or (wish.most is not None and later[left.home] > wish.most)
            or (wish.size is not None and total > wish.size)
            or free < wanted
        ):
            goes.append(left)
            later[left.home] -= 1
            total -= left.size
            free += left.size
    return goes


# --- directories ----------------------------------------------------------------------------------------------------


def taken(path: str) -> int:
    """Bytes of disk that a directory takes, what is linked from elsewhere too."""
    total = 0
    todo = [path]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
    return total


def lefts(work: str, named: Collection[str]) -> Iterator[Left]:
    """What lies in slots that nobody needs; of `named` jobs what is held too."""
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted(os.listdir(work)):
            place = f"{work}/{folder}"
            if folder.startswith(".") or os.path.islink(place) or not os.path.isdir(place) or folder.endswith(".run"):
                continue
            for number in sorted(int(entry) for entry in os.listdir(place) if entry.isdigit()):
                found = left_in(work, place, number, named)
                if found is not None and set(os.listdir(f"{place}/{number}")) - {".cit"}:
                    yield found._replace(size=taken(f"{place}/{number}"))


def left_in(work: str, place: str, number: int, named: Collection[str]) -> Left | None:
    """What lies in a slot, where it may go: its last job has ended, and it is not held, or is named."""
    record = workspace.last_record(work, place, number)
    own = os.path.basename(record)[: -len(".run")] if record else ""
    try:
        os.listdir(f"{place}/{number}")
        slot = workspace.slot(work, place, number)
        if own in named and not is_running(record) and (status := read_status(record)) and status.ending:
            return Left(own, place, number, status.ending.ended, 0)
    except OSError:
        return None  # no directory, or none that can be read
    return None if slot.state == workspace.BUSY else Left(own, place, number, int(slot.changed), 0)


def emptied(work: str, left: Left, named: Collection[str]) -> bool:
    """Empty a slot, if it is still as it was found; that of a named job is held no more."""
    with spool.Lock(f"{left.home}/.lock"):
        again = left_in(work, left.home, left.number, named)
        if again is None or again.own != left.own:
            return False
        if left.own in named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{work}/{left.own}.run/{held.HOLD}")
        workspace.left(work, left.home, left.number)
        aside = workspace.forgotten(work, left.home, left.number) + workspace.cleared(left.home, left.number)
    for path in aside:
        removed(path)
    return True


def old_records(account: home.Account, before: int, slots: Collection[str]) -> Iterator[tuple[str, int]]:
    """COPY-NAME, and when they ended, of jobs whose log and record may go: they ended before that, have gone home, and have no workspace."""
    work = f"{account.path}/work"
    here = {
        f"{parts.copy}-{parts.name}"
        for state in ("inbox", "running", "finished")
        for parts in map(names.parse, spool.listing(account / state))
        if parts
    }
    for entry in sorted(os.listdir(work)):
        own = entry[: -len(".run")]
        if not entry.endswith(".run") or own in here or own in slots or os.path.lexists(f"{work}/.sealing/{own}"):
            continue
        status = read_status(f"{work}/{entry}")
        with contextlib.suppress(FileNotFoundError):
            ended = status.ending.ended if status and status.ending else int(os.stat(f"{work}/{entry}").st_mtime * clock.SECOND)
            if ended < before and not is_running(f"{work}/{entry}"):
                yield own, ended


def in_slots(work: str) -> set[str]:
    """The jobs that have, or had last, a slot: their records are needed as long as that is there."""
    found = set()
    for folder in os.listdir(work):
        with contextlib.suppress(OSError):
            for entry in os.listdir(f"{work}/{folder}"):
                if entry.isdigit():
                    record = workspace.last_record(work, f"{work}/{folder}", int(entry))
                    found.add(os.path.basename(record)[: -len(".run")])
    return found


# --- the loop -------------------------------------------------------------------------------------------------------


def clean(account: home.Account, wish: Wish, tell: Callable[[str, int, int], None], dry: bool = False) -> None:
    """Remove what is to go; `tell` is told of each: its path below the account, its bytes, when its job ended."""
    work = f"{account.path}/work"
    if not os.path.isdir(work):
        return
    status = os.statvfs(work)
    moves = []
    for left in chosen(lefts(work, wish.named), wish, status.f_bavail * status.f_frsize):
        if dry or emptied(work, left, wish.named):
            tell(left.path, left.size, left.ended)
            moves.append((left.own, "cleaned", left.path))
    for own, ended in list(old_records(account, wish.logs_before, in_slots(work))) if wish.logs_before else []:
        paths = [f"{work}/{own}.{suffix}" for suffix in ("log", "log.age", "cast", "cast.age", "public", "run")]
        size = sum(os.lstat(path).st_blocks * 512 + taken(path) for path in paths if os.path.lexists(path))
        tell(f"work/{own}.log", size, ended)
        for path in [] if dry else paths:
            removed(path)
    if moves and not dry:
        account.note(moves, "run")
