"""Arrays: one document in `waiting`, whose tasks are dealt out one by one (docs/stages/schedule.md, docs/directories.md).

What is left of it lies there under a name that says which tasks these are; a task is a document of its own from its assignment on:

    waiting/KEY.ID-NAME.cit           none was dealt yet
    waiting/KEY.ID_17..99-NAME.cit    those from 17 to 99 are left; the last one that is dealt takes this document along
    assigned/KEY.ID_16.a1-NAME.cit    the same signed bytes, and its index in the assignment

Tasks and what is left move together, decided by one file: a kill anywhere loses none, and deals none twice. A pass looks at one file,
however many tasks there are. Where people wish something of single tasks, what is left is split first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .cit_format import arrays, control, home, names, spool
from .cit_format.arrays import Array
from .cit_format.control import Standing, Wish
from .cit_format.document import Document

OUT = ("assigned", "sent")  # states of tasks that are under way


class Rest(NamedTuple):
    """What is left of an array: its file name and bytes, the document, the name taken apart, the array."""

    name: str
    raw: bytes
    job: Document
    parts: names.FileName
    array: Array

    @property
    def tasks(self) -> tuple[int, ...]:
        return self.array.left(self.parts)

    def task_name(self, task: int) -> str:
        """The file name of a task's first attempt. Its KEY is the array's, in the order of tasks."""
        key = names.key(self.parts.priority, self.parts.sequence + len(self.array.between(0, task)) - 1)
        return str(self.parts._replace(key=key, task=task, span=None, attempt=1))

    def left(self, tasks: Sequence[int]) -> str:
        """The file name under which these of its tasks are left."""
        return str(arrays.spanned(self.parts, tasks, self.array.tasks))


class Dealt(NamedTuple):
    """A task with its assignment, and its builder's name."""

    task: int
    job: Document
    builder: str


# --- decisions ----------------------------------------------------------------------------------------------------------


def rest_of(name: str, job: Document) -> Rest | None:
    """The rest of an array that a document in `waiting` or `held` is; None where it is a job, or one task. 65 where its array is none."""
    parts = names.parse(name)
    array = arrays.of(job)
    if array is None or parts is None or parts.task is not None:
        return None
    return Rest(name, job.raw, job, parts, array)


def segments(tasks: Sequence[int], wishes: Sequence[Wish]) -> list[tuple[tuple[int, ...], Standing]]:
    """The tasks in order, those together that follow each other and of which the same is wished."""
    named = {wish.task for wish in wishes if wish.task is not None}
    of_all = control.standing(wish for wish in wishes if wish.means(None, 1))
    found: list[tuple[list[int], Standing]] = []
    for task in tasks:
        said = control.standing(wish for wish in wishes if wish.means(task, 1)) if task in named else of_all
        if found and found[-1][1] == said:
            found[-1][0].append(task)
        else:
            found.append(([task], said))
    return [(tuple(several), said) for several, said in found]


# --- how many at once ---------------------------------------------------------------------------------------------------


class Throttle:
    """How many tasks of each array are under way; looked at once it matters, and counted on from there."""

    def __init__(self, queue: home.Queue) -> None:
        self.queue = queue
        self._counts: Counter[str] | None = None

    @property
    def counts(self) -> Counter[str]:
        """Tasks under way, by ID."""
        if self._counts is None:
            met = {parts._replace(key="") for state in OUT for parts in spool.documents(self.queue / state) if parts.task is not None}
            self._counts = Counter(parts.id for parts in met)
        return self._counts

    def closed(self, job: Document) -> str:
        """Why no task of this array begins now; empty where one may."""
        array = arrays.of(job)
        if array is None or array.at_once is None or self.counts[job.id] < array.at_once:
            return ""
        return f"{self.counts[job.id]} of its tasks are under way, {array.at_once} at once at most"

    def begins(self, job: Document) -> None:
        """A task of it is under way from now on."""
        if self._counts is not None:
            self._counts[job.id] += 1


# --- the loop -----------------------------------------------------------------------------------------------------------


def settle(queue: home.Queue, to: Path, rest: Rest, dealt: Sequence[Dealt]) -> Rest | None:
    """Move dealt tasks, the first ones that are left, to `assigned`, and what is left to its new name, all of it together. What is left
    then; None where nothing is, or where it has moved on meanwhile."""
    waiting = queue / "waiting"
    left = rest.tasks[len(dealt) :]
    with spool.Claim(waiting) as claim:
        present = claim.take(rest.name)
        if present != rest.raw:
            if present is not None:
                claim.back(rest.name)
            return None
        for each in dealt if left else dealt[:-1]:
            claim.add(rest.task_name(each.task), to, each.job.raw)
        if left:
            claim.move(rest.name, waiting, rest.left(left))
        else:
            claim.move(rest.name, to, rest.task_name(dealt[-1].task), dealt[-1].job.raw)
        claim.settle()
    if not left:
        return None
    name = rest.left(left)
    parts = names.parse(name)
    assert parts is not None
    return rest._replace(name=name, parts=parts)


def split(queue: home.Queue, state: str, rest: Rest, wishes: Iterable[Wish]) -> list[str]:
    """Part what is left where not the same is wished of all its tasks: the file names in `state` afterwards; empty where it moved on."""
    parted = segments(rest.tasks, list(wishes))
    if len(parted) < 2:
        return [rest.name]
    found = [rest.left(tasks) for tasks, _ in parted]
    with spool.Claim(queue / state) as claim:
        present = claim.take(rest.name)
        if present != rest.raw:
            if present is not None:
                claim.back(rest.name)
            return []
        for name in found[1:]:
            claim.add(name, queue / state, rest.raw)
        claim.move(rest.name, queue / state, found[0])
        claim.settle()
    return found
