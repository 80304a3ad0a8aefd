"""Concurrency groups: of one submitter's jobs with the same `group` one is under way at a time; the others wait, in order (docs/stages/schedule.md).

`waiting/.grouped`, TSV: SUBMITTER, WORD, FILE NAME of jobs that were found to wait for others of their group, so that a long line of them
is opened once and not in each pass. It may be removed: they are opened again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container

from .cit_format import body, glance, home, names, spool
from .cit_format.errors import CitError

MOST = 20_000  # file names that are remembered
OUT = ("assigned", "sent")

Key = tuple[str, str]  # submitter and word


def key_of(said: dict[str, body.Value]) -> Key | None:
    """The group of a job, by its job section; None where it has none."""
    word = said.get("group")
    return (str(said.get("submitter", "")), word) if isinstance(word, str) and word else None


class Groups:
    """The groups of a queue's jobs in one pass."""

    def __init__(self, queue: home.Queue) -> None:
        self.queue = queue
        self.path = queue / "waiting" / ".grouped"
        self.before = b""
        self.waits: dict[str, Key] = {}
        self._busy: dict[Key, str] | None = None
        with contextlib.suppress(FileNotFoundError, CitError, ValueError):  # torn: they are opened again
            self.before = self.path.read_bytes()
            self.waits = {name: (submitter, word) for submitter, word, name in body.rows(self.before)}

    @property
    def busy(self) -> dict[Key, str]:
        """The groups of which a job is under way, and how people call it; looked at once it matters."""
        if self._busy is None:
            self._busy = {}
            for state in OUT:
                for parts in spool.documents(self.queue / state):
                    with contextlib.suppress(FileNotFoundError):
                        group = key_of(glance.at(self.queue / state / str(parts)).said)
                        if group is not None:
                            self._busy[group] = called(parts)
        return self._busy

    def waits_still(self, name: str) -> bool:
        """Whether it is known, without opening it, that a job waits for another one of its group."""
        group = self.waits.get(name)
        return group is not None and group in self.busy

    def closed(self, name: str, said: dict[str, body.Value]) -> str:
        """Why a job does not begin now; empty where its group lets it."""
        group = key_of(said)
        if group is None or group not in self.busy:
            return ""
        if len(self.waits) < MOST:
            self.waits[name] = group
        return f"one job of group {group[1]} runs at a time: {self.busy[group]} does"

    def begins(self, said: dict[str, body.Value], parts: names.FileName) -> None:
        """A job of its group is under way from now on."""
        group = key_of(said)
        if group is not None:
            self.busy[group] = called(parts)

    def keep(self, present: Container[str]) -> None:
        """Write down which jobs wait, of those that are still there."""
        text = body.tsv((*group, name) for name, group in self.waits.items() if name in present)
        if text != self.before:
            beside = self.path.with_name(f".grouped.{os.getpid()}")
            beside.write_bytes(text)
            os.rename(beside, self.path)


def called(parts: names.FileName) -> str:
    """How people call a job: the end of its ID, its name."""
    return parts.label
