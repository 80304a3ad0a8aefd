"""Choosing a builder for a job. Pure: documents in, a choice and what was weighed out (docs/stages/schedule.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .cit_format import clock
from .cit_format.body import Value
from .cit_format.document import Document


class Builder(NamedTuple):
    """A builder as its document says it, and how many jobs it has already (`busy`)."""

    name: str
    key: str
    account: str
    door: str
    slots: int
    ahead: int
    cpus: int
    mem: int  # bytes
    tmp: int  # bytes
    tags: frozenset[str]
    up: bool
    busy: int = 0

    @property
    def room(self) -> int:
        """How many jobs more it takes: free slots, and those that may wait in its inbox."""
        return self.slots + self.ahead - self.busy


def builder(described: Document) -> Builder:
    """The builder that a `builder` document describes."""
    said = described.table("builder")
    tags = said.get("tags", [])
    return Builder(
        str(said["name"]),
        str(said["key"]),
        str(said["account"]),
        str(said.get("door", "")),
        _number(said, "slots", 1),
        _number(said, "ahead", 0),
        _number(said, "cpus", 1),
        clock.size(str(said.get("mem", "0K"))),
        clock.size(str(said.get("tmp", "0K"))),
        frozenset(str(tag) for tag in tags) if isinstance(tags, list) else frozenset(),
        said.get("state", "up") == "up",
    )


def never(job: dict[str, Value], candidate: Builder) -> str:
    """Why this builder can never take the job; empty where it can."""
    wanted = job.get("builder")
    if wanted and wanted != candidate.name:
        return f"the job wants builder {wanted}"
    tags = job.get("constraint", [])
    missing = [str(tag) for tag in tags if tag not in candidate.tags] if isinstance(tags, list) else []
    if missing:
        return f"has no tag {', '.join(missing)}"
    if _number(job, "cpus", 1) > candidate.cpus:
        return f"{_number(job, 'cpus', 1)} cpus wanted, has {candidate.cpus}"
    for key, has in (("mem", candidate.mem), ("tmp", candidate.tmp)):
        if key in job and clock.size(str(job[key])) > has:
            return f"{job[key]} {key} wanted, has {clock.size_text(has)}"
    return ""


def not_now(candidate: Builder) -> str:
    """Why this builder takes nothing at present; empty where it does."""
    if not candidate.up:
        return "paused"
    if candidate.room <= 0:
        return f"full: {candidate.busy} jobs on {candidate.slots} slots"
    return ""


def choose(job: dict[str, Value], builders: Iterable[Builder]) -> tuple[Builder | None, list[str]]:
    """The builder with the most free slots of those that can take the job, and one line for each that was weighed."""
    best: Builder | None = None
    weighed: dict[str, str] = {}
    for candidate in builders:
        why = never(job, candidate)
        weighed[candidate.name] = f"never: {why}" if why else not_now(candidate)
        if not weighed[candidate.name] and (best is None or candidate.room > best.room):
            best = candidate
    for name, why in weighed.items():
        if best is not None and name == best.name:
            weighed[name] = f"chosen: {min(best.busy, best.slots)} of {best.slots} slots busy"
        elif not why:
            weighed[name] = "can take it too, has less room"
    return best, [f"{name}: {why}" for name, why in weighed.items()]


def _number(table: dict[str, Value], key: str, default: int) -> int:
    value = table.get(key, default)
    return value if isinstance(value, int) else default
