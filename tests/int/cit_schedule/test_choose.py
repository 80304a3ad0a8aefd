"""Which builder a job gets, and what is said of each: tables (docs/stages/schedule.md)."""

from __future__ import annotations

import math

import pytest

from cit_schedule import choose
from cit_schedule.choose import REST, Builder, Wants
from cit_schedule.cit_format import clock

NOW = clock.parse("2026-11-23T20:30:00Z")
SUN = Builder("sun", "K", "cit@sun", "sun", slots=2, cpus=4, mem=8 << 30, tmp=100 << 30, tags=frozenset(["linux", "gcc"]))
MOON = SUN._replace(name="moon", host="moon")

NEVER = {
    "fits": (Wants(cpus=4, mem=8 << 30, tmp=100 << 30, tags=("linux",), builder="sun"), ""),
    "another builder is wanted": (Wants(builder="moon"), "the job wants builder moon"),
    "a tag is missing": (Wants(tags=("linux", "gpu", "arm")), "has no tag gpu, arm"),
    "too many cpus": (Wants(cpus=5), "5 cpus wanted, has 4"),
    "too much memory": (Wants(mem=9 << 30), "9.0G of memory wanted, has 8.0G"),
    "too much disk": (Wants(tmp=101 << 30), "101G of disk wanted, has 100G"),
}


@pytest.mark.parametrize("case", NEVER)
def test_never(case: str) -> None:
    job, why = NEVER[case]
    assert choose.never(job, SUN) == why


NOT_NOW = {
    "free": (Wants(), SUN, ""),
    "drained": (Wants(), SUN._replace(up=False), "takes no new jobs (drain)"),
    "loaded": (Wants(), SUN._replace(load=7.25, load_limit=6.5), "load 7.25, its limit is 6.5"),
    "at its load limit": (Wants(), SUN._replace(load=6.5, load_limit=6.5), ""),
    "slots busy": (Wants(), SUN._replace(jobs=2), "full: 2 jobs for 2 slots and 0 ahead"),
    "slots busy, one may wait": (Wants(), SUN._replace(jobs=2, ahead=1), ""),
    "slots busy, one waits": (Wants(), SUN._replace(jobs=3, ahead=1), "full: 3 jobs for 2 slots and 1 ahead"),
    "cpus taken": (Wants(cpus=3), SUN._replace(jobs=1, cpus_taken=2), "3 cpus wanted, 2 of 4 taken on sun"),
    "cpus just enough": (Wants(cpus=2), SUN._replace(jobs=1, cpus_taken=2), ""),
    "cpus taken, but it may wait": (Wants(cpus=3), SUN._replace(jobs=1, cpus_taken=2, ahead=1), ""),
    "memory taken": (Wants(mem=6 << 30), SUN._replace(mem_taken=3 << 30), "6.0G of memory wanted, 3.0G taken on sun"),
    "memory taken, none wanted": (Wants(), SUN._replace(mem_taken=9 << 30), ""),
    "gave it back": (Wants(void={"sun": NOW - REST + 1}), SUN, "gave it back at 2026-11-23T20:25:00Z, is asked again 5 minutes later"),
    "gave it back long ago": (Wants(void={"sun": NOW - REST}), SUN, ""),
    "another gave it back": (Wants(void={"moon": NOW}), SUN, ""),
}


@pytest.mark.parametrize("case", NOT_NOW)
def test_not_now(case: str) -> None:
    job, builder, why = NOT_NOW[case]
    assert choose.not_now(job, builder, NOW) == why


CHOSEN = {
    "nobody there": ([], None),
    "of equals the first": ([SUN, MOON], "sun"),
    "the one with fewer jobs": ([SUN._replace(jobs=1), MOON], "moon"),
    "for each slot": ([SUN._replace(jobs=1, slots=2), MOON._replace(jobs=1, slots=4)], "moon"),
    "at once rather than soon": ([SUN._replace(ahead=9, jobs=2), MOON._replace(jobs=1, slots=2)], "moon"),
    "at once though it has more jobs": ([SUN._replace(ahead=9, jobs=1, slots=1), MOON._replace(jobs=9, slots=10)], "moon"),
    "cpus free rather than taken": ([SUN._replace(ahead=9, cpus_taken=4), MOON._replace(jobs=1)], "moon"),
    "soon rather than not": ([SUN._replace(jobs=2), MOON._replace(jobs=2, ahead=1)], "moon"),
    "nobody can": ([SUN._replace(jobs=2), MOON._replace(up=False)], None),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_choose(case: str) -> None:
    builders, name = CHOSEN[case]
    best, weighed = choose.choose(Wants(), builders, NOW)
    assert (best.name if best else None) == name
    assert [line.partition(":")[0] for line in weighed] == [builder.name for builder in builders]
    assert [line.partition(": ")[2].startswith("chosen: ") for line in weighed] == [builder.name == name for builder in builders]


def test_what_is_weighed_says_why() -> None:
    star = SUN._replace(name="star", host="star", tags=frozenset())
    moon = MOON._replace(jobs=1)
    _, weighed = choose.choose(Wants(tags=("gcc",)), [SUN, moon, star, SUN._replace(name="mars", up=False)], NOW)
    assert weighed == [
        "sun: chosen: 0 of 2 slots busy",
        "moon: could take it too: 1 of 2 slots busy",
        "star: never: has no tag gcc",
        "mars: takes no new jobs (drain)",
    ]


HOPELESS = [([], True), (["sun: never: x"], True), (["sun: never: x", "moon: full: 1 job"], False)]


@pytest.mark.parametrize(("weighed", "hopeless"), HOPELESS)
def test_is_hopeless(weighed: list[str], hopeless: bool) -> None:
    assert choose.is_hopeless(weighed) is hopeless


def test_builders_of_one_host_share_it() -> None:
    twin = SUN._replace(name="twin")
    after = choose.with_job([SUN, twin, MOON], SUN, Wants(cpus=3, mem=1 << 30))
    assert [(each.name, each.jobs, each.cpus_taken, each.mem_taken >> 30) for each in after] == [
        ("sun", 1, 3, 1),
        ("twin", 0, 3, 1),
        ("moon", 0, 0, 0),
    ]
    best, weighed = choose.choose(Wants(cpus=2), after[:2], NOW)
    assert best is None and weighed[1] == "twin: 2 cpus wanted, 3 of 4 taken on sun"


LATE = [
    (Wants(), ""),
    (Wants(limit=NOW, limited_by="deadline"), ""),
    (Wants(limit=NOW - 1, limited_by="deadline"), "deadline at 2026-11-23T20:29:59Z, before a builder took it"),
]


@pytest.mark.parametrize(("job", "why"), LATE)
def test_too_late(job: Wants, why: str) -> None:
    assert choose.too_late(job, NOW) == why


def test_a_builder_without_limit_has_none() -> None:
    assert math.isinf(SUN.load_limit) and SUN.room == 2
