"""Choosing a builder for a job. Pure: what the job wants and what builders have in, a choice and what was weighed out.

Pages: docs/stages/schedule.md, docs/format/builder.md
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .cit_format import attempts, clock
from .cit_format.body import Value
from .cit_format.document import Document
from .cit_format.errors import DATA, CitError

FRESH = 5 * clock.MINUTE  # a load that is older counts for nothing
REST = 5 * clock.MINUTE  # a builder that gave a job back is not asked again so soon


class Wants(NamedTuple):
    """What a job asks of its builder. Sizes in bytes, times in microseconds; 0: no such time."""

    cpus: int = 1
    mem: int = 0
    tmp: int = 0
    tags: tuple[str, ...] = ()
    builder: str = ""
    limit: int = 0  # not begun afterwards: the earlier of deadline and expires
    limited_by: str = ""  # deadline or expired
    void: Mapping[str, int] = MappingProxyType({})  # by builder, when it last gave the job back


class Builder(NamedTuple):
    """A builder as its document says it, and what it has to do: its jobs, and what those of its host take."""

    name: str
    key: str
    account: str
    host: str
    door: str = ""
    slots: int = 1
    ahead: int = 0
    cpus: int = 1
    mem: int = 0
    tmp: int = 0
    tags: frozenset[str] = frozenset()
    load_limit: float = math.inf
    up: bool = True
    created: int = 0
    jobs: int = 0
    cpus_taken: int = 0
    mem_taken: int = 0
    load: float = 0.0

    @property
    def room(self) -> int:
        """How many jobs more it takes: free slots, and those that may wait in its inbox."""
        return self.slots + self.ahead - self.jobs


# --- what documents say -----------------------------------------------------------------------------------------------


def wants(job: Document) -> Wants:
    """What a job asks for; 65 where it asks for what cannot be read."""
    said = job.table("job")
    times = {"deadline": _int(said, "deadline", 0), "expired": _int(said, "expires", 0)}
    limit, limited_by = min(((when, word) for word, when in times.items() if when), default=(0, ""))
    try:
        mem, tmp = (clock.size(str(said.get(key, "0K"))) for key in ("mem", "tmp"))
    except CitError as error:
        raise CitError(DATA, error.what, error.hint, job.label) from None
    return Wants(_int(said, "cpus", 1), mem, tmp, _words(said, "constraint"), str(said.get("builder", "")), limit, limited_by, _void(job))


def _void(job: Document) -> dict[str, int]:
    """When builders gave a job back, by name."""
    found: dict[str, int] = {}
    asked = ""
    for section in job.sections:
        if section.kind == "assignment":
            asked = str(section.table().get("builder", ""))
        elif asked and section.kind == "event" and attempts.is_void(job, section):
            found[asked] = max(clock.parse(row[0]) for row in section.rows())
    return found


def builder(described: Document, now: int) -> Builder:
    """The builder that a `builder` document describes, with the load that follows it where that is fresh; 65 where it cannot be read."""
    said = described.table("builder")
    for key in ("name", "key", "account", "host"):
        if not isinstance(said.get(key), str):
            raise CitError(DATA, f"the builder says no {key}", "docs/format/builder.md lists what it needs", described.label)
    loads = [section.table() for section in described.all("load") if section.version == "1"]
    load = loads[-1] if loads and abs(now - _int(loads[-1], "time", 0)) <= FRESH else {}
    try:
        limit = float(str(said.get("load-limit", "inf")))
        mem, tmp = (clock.size(str(said.get(key, "0K"))) for key in ("mem", "tmp"))
        measured = float(str(load.get("load", "0")))
    except (CitError, ValueError) as error:
        raise CitError(DATA, f"a size or load that cannot be read: {error}", "write 16G, and loads as 6.5", described.label) from None
    return Builder(
        str(said["name"]),
        str(said["key"]),
        str(said["account"]),
        str(said["host"]),
        str(said.get("door", "")),
        _int(said, "slots", 1),
        _int(said, "ahead", 0),
        _int(said, "cpus", 1),
        mem,
        tmp,
        frozenset(_words(said, "tags")),
        limit,
        said.get("state", "up") == "up",
        _int(said, "created", 0),
        jobs=_int(load, "running", 0) + _int(load, "waiting", 0),
        load=measured,
    )


# --- decisions ----------------------------------------------------------------------------------------------------------


def never(job: Wants, candidate: Builder) -> str:
    """Why this builder can never take the job; empty where it can."""
    if job.builder and job.builder != candidate.name:
        return f"the job wants builder {job.builder}"
    missing = [tag for tag in job.tags if tag not in candidate.tags]
    if missing:
        return f"has no tag {', '.join(missing)}"
    if job.cpus > candidate.cpus:
        return f"{job.cpus} cpus wanted, has {candidate.cpus}"
    for what, wanted, has in (("memory", job.mem, candidate.mem), ("disk", job.tmp, candidate.tmp)):
        if wanted > has:
            return f"{clock.size_text(wanted)} of {what} wanted, has {clock.size_text(has)}"
    return ""


def not_now(job: Wants, candidate: Builder, now: int) -> str:
    """Why this builder does not get the job at present; empty where it may."""
    if not candidate.up:
        return "takes no new jobs (drain)"
    if candidate.load > candidate.load_limit:
        return f"load {candidate.load:.2f}, its limit is {candidate.load_limit:g}"
    if candidate.room <= 0:
        return f"full: {_count(candidate.jobs)} for {_count(candidate.slots, 'slot')} and {candidate.ahead} ahead"
    if now < job.void.get(candidate.name, 0) + REST:
        return f"gave it back at {clock.iso(job.void[candidate.name])}, is asked again 5 minutes later"
    if not candidate.ahead:
        return _no_space(job, candidate)
    return ""


def _no_space(job: Wants, candidate: Builder) -> str:
    """Why the job cannot start there at once; empty where it can."""
    if candidate.jobs >= candidate.slots:
        return f"{_count(candidate.jobs)} for {_count(candidate.slots, 'slot')}"
    if candidate.cpus_taken + job.cpus > candidate.cpus:
        return f"{_count(job.cpus, 'cpu')} wanted, {candidate.cpus_taken} of {candidate.cpus} taken on {candidate.host}"
    if candidate.mem_taken + job.mem > candidate.mem and job.mem:
        return f"{clock.size_text(job.mem)} of memory wanted, {clock.size_text(candidate.mem_taken)} taken on {candidate.host}"
    return ""


def choose(job: Wants, builders: Iterable[Builder], now: int) -> tuple[Builder | None, list[str]]:
    """The best builder that may have the job now (None: nobody), and one line for each, in their order: chosen, or why not.

    Best is where it can start at once, then where the fewest jobs come before it, for each slot; of equals the first.
    """
    best: Builder | None = None
    best_rank: tuple[bool, float] = (True, math.inf)
    lines: list[tuple[Builder, str]] = []
    for candidate in builders:
        why = never(job, candidate)
        why = f"never: {why}" if why else not_now(job, candidate, now)
        lines.append((candidate, why))
        rank = (bool(_no_space(job, candidate)), candidate.jobs / max(1, candidate.slots))
        if not why and rank < best_rank:
            best, best_rank = candidate, rank
    return best, [f"{candidate.name}: {why or _may(job, candidate, candidate is best)}" for candidate, why in lines]


def _may(job: Wants, candidate: Builder, is_best: bool) -> str:
    behind = _no_space(job, candidate)
    state = f"waits in its inbox, {behind}" if behind else f"{candidate.jobs} of {_count(candidate.slots, 'slot')} busy"
    return f"chosen: {state}" if is_best else f"could take it too: {state}"


def too_late(job: Wants, now: int) -> str:
    """Why the job is not begun any more; empty where it may be."""
    if not job.limit or now <= job.limit:
        return ""
    return f"{job.limited_by} at {clock.iso(job.limit)}, before a builder took it"


def is_hopeless(weighed: Iterable[str]) -> bool:
    """Whether no builder that was weighed can ever take the job."""
    return all(line.partition(": ")[2].startswith("never: ") for line in weighed)


def with_job(builders: Iterable[Builder], chosen: Builder, job: Wants) -> list[Builder]:
    """The builders after one of them got the job; those of its host have less processors and memory."""
    return [
        other._replace(
            jobs=other.jobs + (other.name == chosen.name),
            cpus_taken=other.cpus_taken + job.cpus,
            mem_taken=other.mem_taken + job.mem,
        )
        if other.host == chosen.host
        else other
        for other in builders
    ]


# --- small --------------------------------------------------------------------------------------------------------------


def _count(number: int, what: str = "job") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _int(table: dict[str, Value], key: str, default: int) -> int:
    value = table.get(key, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _words(table: dict[str, Value], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    return tuple(str(word) for word in value) if isinstance(value, list) else ()
