"""Wishes of people and begin times, applied to the jobs that the queue still has: cancelled, held, released, moved up or down.

A change of order or of `waiting` and `held` is one rename. What was handed out is the builder's: cit-deliver carries wishes there.
Wishes stay in control/ while their job is under way, so applying them twice changes nothing.
Pages: docs/stages/schedule.md, docs/format/control.md, docs/directories.md
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from . import array, ends, files
from .cit_format import attempts, clock, control, home, messages, names, put, spool
from .cit_format.control import Standing, Wish
from .cit_format.document import Document
from .cit_format.errors import DENIED, CitError
from .cit_format.reader import Faulty
from .ends import End

KEY = 22  # letters of KEY and its dot, with which file names begin in these states
ALIVE = ("waiting", "held", "assigned", "sent")


class Copy(NamedTuple):
    """A copy of a job under way: the state in which it lies, and its file name."""

    state: str
    name: str


# --- decisions ----------------------------------------------------------------------------------------------------------


def place(job: Document, said: Standing, now: int) -> tuple[str, int]:
    """Where a job that nobody has yet belongs: ("waiting", 0), or ("held", until when in microseconds). A release lifts no begin time."""
    wanted = job.table("job")
    begin = wanted.get("begin")
    if said.held if said.held is not None else wanted.get("hold") is True:
        return "held", names.NEVER
    return ("held", int(begin)) if isinstance(begin, int) and begin > now else ("waiting", 0)


def key(job: Document, now_in: str, parts: names.FileName, said: Standing, held_until: int, fresh: int) -> str:
    """KEY of a job: when held, until when; when waiting its own sequence, or its begin time, or `fresh` if it was held without end."""
    if held_until:
        return names.key(0, held_until)
    own = job.table("job").get("priority", 0)
    priority = own if isinstance(own, int) else 0
    if now_in == "waiting":
        return names.key(parts.priority if said.priority is None else said.priority, parts.sequence or fresh)
    sequence = parts.sequence if 0 < parts.sequence < names.NEVER else fresh
    return names.key(priority if said.priority is None else said.priority, min(sequence, fresh))


# --- one document -------------------------------------------------------------------------------------------------------


def put_in_place(queue: home.Queue, copy: Copy, job: Document, said: Standing, now: int) -> tuple[str, str, str] | None:
    """Move a job to where it belongs; the line for the log, None where it is there."""
    parts = names.parse(copy.name)
    assert parts is not None
    state, until = place(job, said, now)
    if state == "waiting" and copy.state == "held" and (parts.attempt or 1) > 1 and now < parts.sequence < names.NEVER:
        state, until = "held", parts.sequence  # an attempt that is due later (backoff.py)
    fresh = 0 if until or copy.state == "waiting" else put.next_sequences(queue / "waiting" / ".sequence", 1)
    as_name = str(parts._replace(key=key(job, copy.state, parts, said, until, fresh)))
    if (state, as_name) == copy:
        return None
    with contextlib.suppress(FileNotFoundError, FileExistsError):  # somebody has claimed it: next time
        spool.rename_new(queue / copy.state / copy.name, queue / state / as_name)
        spool.sync_directory(queue / state)
        spool.sync_directory(queue / copy.state)
        if state == copy.state:
            word, detail = ("held", "") if until else ("priority", str(names.parse(as_name).priority))  # type: ignore[union-attr]
        else:
            word, detail = ("held", "" if until == names.NEVER else clock.iso(until)) if until else ("released", "")
        return files.job_of(copy.name), word, detail
    return None


def believed(queue: home.Queue, file_name: str, job: Document | None, now: int) -> Wish | None:
    """The wish in this file of control/; one that has no power is moved to refused/, one that has expired is forgotten."""
    path = queue / "control" / file_name
    try:
        arrival = files.read(path)
    except FileNotFoundError:
        return None
    try:
        if isinstance(arrival, Faulty):
            raise arrival.error
        if control.wish(arrival).expires < now:
            path.unlink(missing_ok=True)
            return None
        asked = control.verified(arrival, queue.signers, now, queue.full_name)
        if job is not None and not control.is_honoured(asked, job):
            hint = "its submitter may wish that, and keys that the queue lets (cit-control)"
            raise CitError(DENIED, "a wish about another's job", hint, arrival.label)
        return asked
    except CitError as error:
        messages.complain(error, file_name)
        files.set_aside(path, queue / "refused", arrival, error, "schedule")
        return None


# --- the loop -----------------------------------------------------------------------------------------------------------


def apply(queue: home.Queue, now: int) -> None:
    """Apply the wishes in control/ to the jobs in `waiting` and `held`; forget those whose job has ended."""
    asked = control.targets(queue / "control")
    if not asked:
        return
    cancelled: dict[str, list[End]] = {"waiting": [], "held": []}
    moves = []
    alive = copies(queue, set(asked))
    for target, file_names in asked.items():
        several = list(alive[target])
        wishes: list[Wish] | None = None
        while several:
            copy = several.pop(0)
            if wishes is not None and copy.state not in cancelled:
                continue  # a task that was handed out, of an array whose wishes are known
            try:
                job = files.document(queue / copy.state / copy.name)
                parts = names.parse(copy.name)
                assert parts is not None
                if wishes is None:
                    wishes = [wish for wish in (believed(queue, name, job, now) for name in file_names) if wish]
                if copy.state not in cancelled:
                    continue
                rest = array.rest_of(copy.name, job)
                if rest is not None and any(wish.task is not None for wish in wishes):
                    parted = array.split(queue, copy.state, rest, wishes)
                    if len(parted) > 1:
                        several = [Copy(copy.state, name) for name in parted] + several
                    if len(parted) != 1:
                        continue
                task = rest.tasks[0] if rest is not None and rest.tasks else parts.task  # of all its tasks the same is wished
                said = control.standing(wish for wish in wishes if wish.means(task, parts.attempt or 1))
                if said.cancel:
                    cancelled[copy.state].append(End(copy.name, "CANCELLED", said.cancel.why, now))
                else:
                    moves.append(put_in_place(queue, copy, job, said, now))
            except (FileNotFoundError, CitError):
                continue  # it has moved on, or is faulty, which is said when it is its turn
        if not alive[target]:
            forget(queue, target, file_names, now)
    for state, found in cancelled.items():
        ends.finish(queue, state, found)
    queue.note([move for move in moves if move], "schedule")


def copies(queue: home.Queue, targets: set[str]) -> dict[str, list[Copy]]:
    """Where these jobs are under way; their names begin with KEY."""
    found: dict[str, list[Copy]] = {target: [] for target in targets}
    for state in ALIVE:
        for name in spool.listing(queue / state):
            target = name[KEY : KEY + 26]
            if target in targets and names.parse(name):
                found[target].append(Copy(state, name))
    return found


def forget(queue: home.Queue, target: str, file_names: list[str], now: int) -> None:
    """Remove the wishes about a job that is nowhere under way: all if it has ended, else those that have expired."""
    day = queue / "done" / clock.id_day(target)
    done = [parts for parts in spool.documents(day) if parts.id == target]
    if done:
        with contextlib.suppress(FileNotFoundError, CitError):
            if not attempts.again(files.document(day / str(max(done, key=lambda parts: parts.attempt or 0))), now):
                control.forget(queue / "control", target)
                return
    for name in file_names:
        believed(queue, name, None, now)


def begin(queue: home.Queue, now: int) -> None:
    """`held` -> `waiting` for what has reached its begin time."""
    moves = []
    for name in spool.listing(queue / "held"):
        parts = names.parse(name)
        if parts is None:
            continue
        if parts.sequence > now:
            break
        try:
            job = files.document(queue / "held" / name)
            said = control.look(queue / "control", job, parts.only, parts.attempt or 1, queue.signers, now)
            moves.append(put_in_place(queue, Copy("held", name), job, said, now))
        except FileNotFoundError:
            continue
        except CitError as error:
            messages.complain(error, name)
            files.set_aside(queue / "held" / name, queue / "refused", files.read(queue / "held" / name), error, "schedule")
    queue.note([move for move in moves if move], "schedule")
