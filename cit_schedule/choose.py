"""Choosing a builder for a job. Pure: what the job wants and what builders have in, a choice and what was weighed out.

Pages: docs/stages/schedule.md, docs/format/builder.md
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .cit_format import attempts, clock
from .cit_format.builder import KINDS, Builder, boxed, count, number, shut, words
from .cit_format.document import Document
from .cit_format.errors import DATA, CitError

REST = 5 * clock.MINUTE  # a builder that gave a job back is not asked again so soon
PATIENCE = clock.HOUR  # for a job that has waited longer a builder is kept free


class Wants(NamedTuple):
    """What a job asks of its builder. Sizes in bytes, times in microseconds; 0: no such time."""

    name: str = ""
    submitter: str = ""
    interface: str = ""  # of a call
    cpus: int = 1
    mem: int = 0
    tmp: int = 0
    tags: tuple[str, ...] = ()
    builder: str = ""
    sealed_to: tuple[frozenset[str], ...] = ()  # fingerprints, of each thing that is sealed
    limit: int = 0  # not begun afterwards: the earlier of deadline and expires
    limited_by: str = ""  # deadline or expired
    void: Mapping[str, int] = MappingProxyType({})  # by builder, when it last gave the job back
    load_limit: float = math.inf  # not begun on a machine whose load is above
    granted: bool = False  # brings a permission of a builder's owner, which the builder judges
    near: frozenset[str] = frozenset()  # doors of builders that have what it needs


# --- what documents say -----------------------------------------------------------------------------------------------


def wants(job: Document) -> Wants:
    """What a job asks for; 65 where it asks for what cannot be read."""
    said = job.table("job")
    times = {"deadline": number(said, "deadline", 0), "expired": number(said, "expires", 0)}
    limit, limited_by = min(((when, word) for word, when in times.items() if when), default=(0, ""))
    try:
        mem, tmp = (clock.size(str(said.get(key, "0K"))) for key in ("mem", "tmp"))
    except CitError as error:
        raise CitError(DATA, error.what, error.hint, job.label) from None
    return Wants(
        job.name,
        str(said.get("submitter", "")),
        str(job.table("call").get("interface", "")),
        number(said, "cpus", 1),
        mem,
        tmp,
        words(said, "constraint"),
        str(said.get("builder", "")),
        _sealed_to(job),
        limit,
        limited_by,
        _void(job),
        _load(job),
        job.find("grant") is not None,
        _near(job),
    )


def _near(job: Document) -> frozenset[str]:
    """Where what the job needs lies, as its author was told."""
    first = job.find("signature")
    written = [section for section in job.sections[: first.number if first else None] if section.kind == "needs"]
    return frozenset(door for section in written for door in section.attributes.get("from", "").split(",") if door)


def _load(job: Document) -> float:
    """The load above which it does not begin; 65 where it is none."""
    try:
        return float(str(job.table("job").get("load-limit", "inf")))
    except ValueError:
        raise CitError(DATA, "load-limit is no load", "a number, as 1.5", job.label) from None


def _sealed_to(job: Document) -> tuple[frozenset[str], ...]:
    """Who can open each thing that the submitter sealed."""
    first = job.find("signature")
    written = [section.attributes for section in job.sections[: first.number if first else None] if "enc=age" in section.written]
    return tuple(frozenset(filter(None, said.get("to", "").split(","))) for said in written if said.get("enc") == "age")


def _void(job: Document) -> dict[str, int]:
    """When builders gave a job back, by name; not where its own check said that it is too soon."""
    found: dict[str, int] = {}
    asked = ""
    for section in job.sections:
        if section.kind == "assignment":
            asked = str(section.table().get("builder", ""))
        elif asked and section.kind == "event" and attempts.is_void(job, section) and not attempts.is_unready(job, section):
            found[asked] = max(clock.parse(row[0]) for row in section.rows())
    return found


# --- decisions ----------------------------------------------------------------------------------------------------------


def never(job: Wants, candidate: Builder) -> str:
    """Why this builder can never take the job; empty where it can."""
    if job.builder and job.builder != candidate.name:
        return f"the job wants builder {job.builder}"
    if candidate.kind not in KINDS:
        return f"it is of kind {candidate.kind}, which is not known here"
    missing = [tag for tag in job.tags if tag not in candidate.tags]
    if missing:
        return f"has no tag {', '.join(missing)}"
    if candidate.users and job.submitter not in candidate.users and not job.granted:
        return f"takes no jobs of {job.submitter}"
    if candidate.can_build and not {job.name, job.interface} & set(candidate.can_build):
        return f"does not build {job.interface or job.name}"
    if any(candidate.seal not in keys for keys in job.sealed_to):
        return "the job is sealed, and not to its key" if candidate.seal else "the job is sealed, and it has no key to open it"
    if job.cpus > candidate.cpus:
        return f"{job.cpus} cpus wanted, has {candidate.cpus}"
    for what, wanted, has in (("memory", job.mem, candidate.mem), ("disk", job.tmp, candidate.tmp)):
        if wanted > has:
            return f"{clock.size_text(wanted)} of {what} wanted, has {clock.size_text(has)}"
    return ""


def not_now(job: Wants, candidate: Builder, now: int) -> str:
    """Why this builder does not get the job at present; empty where it may."""
    _, why = shut(candidate, now)
    if why:
        return why
    if now < job.void.get(candidate.name, 0) + REST:
        return f"gave it back at {clock.iso(job.void[candidate.name])}, is asked again 5 minutes later"
    if candidate.can_build and candidate.heard.can_build is not None and not {job.name, job.interface} & set(candidate.heard.can_build):
        return f"can not build {job.interface or job.name} at present"
    if job.interface and candidate.heard.interfaces is not None and job.interface not in candidate.heard.interfaces:
        return f"offers no interface {job.interface}"
    left = candidate.heard.tmp_free
    if left is not None and job.tmp + candidate.tmp_new > left:
        return f"{clock.size_text(job.tmp)} of disk wanted, {clock.size_text(max(0, left - candidate.tmp_new))} left"
    if candidate.jobs < candidate.slots and candidate.box.accounts > 1:
        return _box_full(job, candidate)  # it would start there at once, beside the jobs of other accounts
    return "" if candidate.inbox else no_space(job, candidate)


def no_space(job: Wants, candidate: Builder) -> str:
    """Why the job cannot start there at once; empty where it can."""
    if candidate.jobs >= candidate.slots:
        return f"{count(candidate.jobs)} for {count(candidate.slots, 'slot')}"
    if candidate.kind != "cit":
        return ""  # a cluster counts for itself
    if candidate.cpus_taken + job.cpus > candidate.cpus:
        return f"{count(job.cpus, 'cpu')} wanted, {candidate.cpus_taken} of {candidate.cpus} taken"
    if job.mem and candidate.mem_taken + job.mem > candidate.mem:
        return f"{clock.size_text(job.mem)} of memory wanted, {clock.size_text(candidate.mem_taken)} of {clock.size_text(candidate.mem)} taken"
    free = candidate.heard.mem_free
    if job.mem and free is not None and candidate.mem_new + job.mem > free:
        return f"{clock.size_text(job.mem)} of memory wanted, {clock.size_text(max(0, free - candidate.mem_new))} free"
    return _box_full(job, candidate) if candidate.box.accounts > 1 else ""


def loaded(job: Wants, candidate: Builder) -> str:
    """Why the job would wait there until the machine has less to do; empty where it would not. The builder itself looks again before it begins."""
    load = candidate.heard.load
    return f"load {load:.2f}, the job wants at most {job.load_limit:g}" if load is not None and load > job.load_limit else ""


def _box_full(job: Wants, candidate: Builder) -> str:
    box = candidate.box
    if box.jobs >= box.slots:
        return f"{count(box.jobs)} on {candidate.host} for {count(box.slots, 'slot')}"
    if box.cpus_taken + job.cpus > box.cpus:
        return f"{count(job.cpus, 'cpu')} wanted, {box.cpus_taken} of {box.cpus} taken on {candidate.host}"
    if job.mem and box.mem_taken + job.mem > box.mem:
        return (
            f"{clock.size_text(job.mem)} of memory wanted, {clock.size_text(box.mem_taken)} of {clock.size_text(box.mem)} taken on {candidate.host}"
        )
    return ""


def choose(job: Wants, builders: Iterable[Builder], now: int, had: str = "") -> tuple[Builder | None, list[str]]:
    """The best builder that may have the job now (None: nobody), and one line for each, in their order: chosen, or why not.

    Best is where it can start at once. Of these one that has what it needs, then the one that built it last (`had`), then the one with
    the fewest jobs for each slot; where it has to wait the other way round. One that could not be reached gets only what no other one can ever take.
    """
    weighed = [(candidate, never(job, candidate)) for candidate in builders]
    only = sum(not why for _, why in weighed) == 1
    best: Builder | None = None
    best_rank: tuple[float, ...] = (math.inf,)
    lines = []
    for candidate, why in weighed:
        if why:
            lines.append((candidate, f"never: {why}"))
            continue
        why = not_now(job, candidate, now)
        if not why and candidate.unreached and not only:
            why = candidate.unreached
        lines.append((candidate, why))
        if not why:
            busy, others = candidate.jobs / max(1, candidate.slots), candidate.name != had
            far = candidate.door not in job.near
            rank = (1, busy, far, others) if no_space(job, candidate) or loaded(job, candidate) else (0, far, others, busy)
            if rank < best_rank:
                best, best_rank = candidate, rank
    return best, [f"{candidate.name}: {why or _may(job, candidate, candidate is best, candidate.name == had)}" for candidate, why in lines]


def _may(job: Wants, candidate: Builder, is_best: bool, had: bool) -> str:
    behind = no_space(job, candidate) or loaded(job, candidate)
    state = f"waits in its inbox, {behind}" if behind else f"{candidate.jobs} of {count(candidate.slots, 'slot')} busy"
    known = ("has what it needs, " if candidate.door in job.near else "") + ("built it last, " if had else "")
    return f"{'chosen' if is_best else 'could take it too'}: {known}{state}"


def depends(job: Wants, builders: Iterable[Builder], now: int) -> bool:
    """Whether who gets the job depends on how builders are at this moment: several could take it, or the one has a load limit, or it is not
    known whether it offers what the job calls."""
    may = [each for each in builders if not never(job, each) and not not_now(job, each._replace(load_limit=math.inf), now)]
    return len(may) > 1 or any(math.isfinite(each.load_limit) or (job.interface and each.heard.interfaces is None) for each in may)


def kept_free(job: Wants, builders: Iterable[Builder], now: int, whom: str) -> list[Builder]:
    """The builders, one of them kept free for a job that finds no room: of those that would take it if we had given them nothing the least busy."""
    found = list(builders)
    empty = {each.name: each._replace(given=0, cpus_taken=0, mem_taken=0, mem_new=0, tmp_new=0) for each in found}
    fit = [each for each in found if not each.unreached and not never(job, each) and not not_now(job, boxed([empty[each.name]])[0], now)]
    best = min(fit, key=lambda each: each.jobs / max(1, each.slots), default=None)
    return [each._replace(kept=whom) if each is best else each for each in found]


def too_late(job: Wants, now: int) -> str:
    """Why the job is not begun any more; empty where it may be."""
    if not job.limit or now <= job.limit:
        return ""
    return f"{job.limited_by} at {clock.iso(job.limit)}, before a builder took it"


def is_hopeless(weighed: Iterable[str]) -> bool:
    """Whether no builder that was weighed can ever take the job."""
    return all(line.partition(": ")[2].startswith("never: ") for line in weighed)


def with_job(builders: Iterable[Builder], chosen: Builder, job: Wants) -> list[Builder]:
    """The builders after one of them got the job; those of its box have less processors and memory."""
    return boxed(
        each._replace(
            given=each.given + 1,
            cpus_taken=each.cpus_taken + job.cpus,
            mem_taken=each.mem_taken + job.mem,
            mem_new=each.mem_new + job.mem,
            tmp_new=each.tmp_new + job.tmp,
        )
        if each.name == chosen.name
        else each
        for each in builders
    )
