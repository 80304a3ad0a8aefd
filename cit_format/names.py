"""Names of documents in spools: `[KEY.]ID[_TASK][.aN]-NAME.cit` (docs/directories.md). Pure.

KEY is PRIORITY-SEQUENCE, fixed width, smaller first, so that `ls` is the order in which jobs are taken. What is left of an array
that is being dealt out has `_FIRST..LAST` in place of `_TASK`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(
    r"(?:(?P<key>[0-9]{4}-[0-9]{16})\.)?(?P<id>[0-7][0-9a-hjkmnp-tv-z]{25})(?:_(?P<task>[0-9]+)(?:\.\.(?P<last>[0-9]+))?)?"
    r"(?:\.a(?P<attempt>[0-9]+))?-(?P<name>[a-z0-9][a-z0-9._-]{0,63})\.cit"
)
LOWEST, HIGHEST = -999, 999  # priorities
NEVER = 9_999_999_999_999_999  # the sequence of a job that is held until released


class FileName(NamedTuple):
    """The parts of a document's file name."""

    id: str
    name: str
    key: str = ""
    task: int | None = None
    attempt: int | None = None
    span: tuple[int, int] | None = None  # of an array: its tasks from one index to another, none of which has been dealt out

    def __str__(self) -> str:
        key = f"{self.key}." if self.key else ""
        return f"{key}{self.copy}-{self.name}.cit"

    @property
    def copy(self) -> str:
        """`ID[_TASK][.aN]`: what `seen/` of an inbox counts."""
        task = f"_{self.task}" if self.task is not None else f"_{self.span[0]}..{self.span[1]}" if self.span else ""
        attempt = f".a{self.attempt}" if self.attempt is not None else ""
        return f"{self.id}{task}{attempt}"

    @property
    def label(self) -> str:
        """How people see it: the ID's last six characters, the task, the name."""
        task = f"_{self.task}" if self.task is not None else ""
        return f"{self.id[-6:]}{task}-{self.name}"

    def concerns(self, task: int) -> bool:
        """Whether this document stands for a task of its array: it is the task, or among others it has not been dealt out."""
        return self.task == task if self.task is not None else self.span is None or self.span[0] <= task <= self.span[1]

    @property
    def only(self) -> int | None:
        """The one task that this document stands for; None where that is a job, or several tasks."""
        return self.span[0] if self.span and self.span[0] == self.span[1] else self.task

    @property
    def priority(self) -> int:
        """The priority that KEY says; 0 without one."""
        return 1000 - int(self.key[:4]) if self.key else 0

    @property
    def sequence(self) -> int:
        """The sequence that KEY says, microseconds; 0 without one."""
        return int(self.key[5:]) if self.key else 0


def parse(file_name: str) -> FileName | None:
    """The parts of a name; None where it is no document's name (hidden ones never are)."""
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    task, last, attempt = match["task"], match["last"], match["attempt"]
    number = int(attempt) if attempt else None
    if last:
        return FileName(match["id"], match["name"], match["key"] or "", None, number, (int(task), int(last)))
    return FileName(match["id"], match["name"], match["key"] or "", int(task) if task else None, number)


def key(priority: int, sequence: int) -> str:
    """KEY of a priority (greater is sooner, -999 to 999) and a sequence in microseconds."""
    return f"{1000 - priority:04d}-{sequence:016d}"
