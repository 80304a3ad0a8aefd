"""Arrays: one signed job, many tasks (docs/format/job.md, docs/stages/schedule.md). Pure.

    array = "0-99%4"        its tasks by index, and how many of them at once

What is left of an array that is being dealt out lies in `waiting` or `held` under a name that tells which tasks these are:
`KEY.ID_17..99-NAME.cit` are those of its tasks from 17 to 99. Without `_FIRST..LAST` it is all of them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from . import clock
from .document import Document
from .errors import DATA, CitError
from .names import FileName

MOST = 100_000  # tasks of an array
LIMIT = 256 << 10  # bytes of its document as it was signed: each task carries a copy
PATTERN = re.compile(r"[0-9]{1,9}(?:-[0-9]{1,9}(?::[0-9]{1,9})?)?(?:,[0-9]{1,9}(?:-[0-9]{1,9}(?::[0-9]{1,9})?)?)*(?:%[1-9][0-9]{0,8})?")


class Array(NamedTuple):
    """The tasks of an array in order, and how many may be under way at once (None: any number)."""

    tasks: tuple[int, ...]
    at_once: int | None = None

    def has(self, task: int) -> bool:
        at = bisect_left(self.tasks, task)
        return at < len(self.tasks) and self.tasks[at] == task

    def between(self, first: int, last: int) -> tuple[int, ...]:
        """Its tasks from one index to another."""
        return self.tasks[bisect_left(self.tasks, first) : bisect_right(self.tasks, last)]

    def left(self, parts: FileName) -> tuple[int, ...]:
        """The tasks that the document of this name stands for."""
        if parts.task is not None:
            return (parts.task,)
        return self.between(*parts.span) if parts.span else self.tasks


@lru_cache(maxsize=16)
def parse(text: str) -> Array:
    """The tasks that indices name, as Slurm writes them: `1-20`, `1,3,9`, `0-99:5`, `0-99%4`. 65 where they are none, or too many."""
    if not PATTERN.fullmatch(text):
        raise CitError(DATA, f"{text[:60]!r} is no list of indices", "write 1-20, 1,3,9, 0-99:5 or 0-99%4")
    listed, _, at_once = text.partition("%")
    found: set[int] = set()
    for part in listed.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        several = range(int(first), int(last or first) + 1, int(step or 1) or 1)
        if not several or step and not int(step):
            raise CitError(DATA, f"no task is in {part}", "the smaller index comes first, and a step is 1 at least")
        if len(several) + len(found) > 2 * MOST:
            break
        found.update(several)
    if len(found) > MOST or len(several) > MOST:
        raise CitError(DATA, f"more than {MOST} tasks", "make several arrays of it")
    return Array(tuple(sorted(found)), int(at_once) if at_once else None)


def of(job: Document) -> Array | None:
    """The array that a job is, by its own word; None where it is none. 65 where it says what it cannot."""
    said = job.table("job").get("array") if job.kind == "job" else None
    if said is None:
        return None
    if not isinstance(said, str):
        raise CitError(DATA, "array is no text", 'it reads: array = "0-99%4"', job.label)
    try:
        return parse(said)
    except CitError as error:
        raise CitError(DATA, f"array: {error.what}", error.hint, job.label) from None


def check(job: Document) -> None:
    """65 where a job that a queue is to take is an array of no tasks, of too many, or too large."""
    if of(job) is not None and len(job.submitted) > LIMIT:
        what = f"an array of {clock.size_text(len(job.submitted))}"
        raise CitError(DATA, what, f"{LIMIT >> 10}K at most, as each task carries a copy; have the tasks fetch large data", job.label)


def is_task(said: object, task: int) -> bool:
    """Whether a task is among those that a job's `array` names; a job without it has none."""
    try:
        return isinstance(said, str) and parse(said).has(task)
    except CitError:
        return False


def written(tasks: Sequence[int]) -> str:
    """Indices as people write them: `0-9,20`."""
    parts: list[list[int]] = []
    for task in tasks:
        if parts and task == parts[-1][1] + 1:
            parts[-1][1] = task
        else:
            parts.append([task, task])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in parts)


def runs(tasks: Iterable[int], whole: Sequence[int]) -> list[tuple[int, ...]]:
    """These tasks in order, those together between which none of `whole`, all that the array has, is missing."""
    wanted = set(tasks)
    found: list[list[int]] = [[]]
    for task in whole:
        if task in wanted:
            found[-1].append(task)
        elif found[-1]:
            found.append([])
    return [tuple(several) for several in found if several]


def spanned(parts: FileName, tasks: Sequence[int], whole: Sequence[int]) -> FileName:
    """The file name under which these tasks of an array are left, in order and without a gap among `whole`, all that it has."""
    return parts._replace(span=None if len(tasks) == len(whole) else (tasks[0], tasks[-1]))
