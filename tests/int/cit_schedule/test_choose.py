"""Which builder a job gets, and what is said of each: tables (docs/stages/schedule.md)."""

from __future__ import annotations

import math

import pytest

from cit_schedule import choose
from cit_schedule.choose import REST, Wants
from cit_schedule.cit_format import clock, document
from cit_schedule.cit_format.builder import Builder, Heard, boxed, builder, hours_text, is_open, shut, spans
from cit_schedule.cit_format.errors import CitError

NOW = clock.parse("2026-11-23T20:30:00Z")
SUN = Builder("sun", "K", "cit@sun", "sun", slots=2, cpus=4, mem=8 << 30, tmp=100 << 30, tags=("gcc", "linux"))
MOON = SUN._replace(name="moon", host="moon")
TWIN = SUN._replace(name="twin", account="ada@sun")
JOB = Wants("zlib", "ada@sun")
G = 1 << 30


def alone(given: Builder) -> Builder:
    """With the box that it has for itself."""
    return boxed([given])[0]


def heard(given: Builder, **said: object) -> Builder:
    return given._replace(heard=Heard(NOW, **said))  # type: ignore[arg-type]


NEVER = {
    "fits": (Wants(cpus=4, mem=8 * G, tmp=100 * G, tags=("linux",), builder="sun"), SUN, ""),
    "another builder is wanted": (Wants(builder="moon"), SUN, "the job wants builder moon"),
    "a tag is missing": (Wants(tags=("linux", "gpu", "arm")), SUN, "has no tag gpu, arm"),
    "too many cpus": (Wants(cpus=5), SUN, "5 cpus wanted, has 4"),
    "too much memory": (Wants(mem=9 * G), SUN, "9.0G of memory wanted, has 8.0G"),
    "too much disk": (Wants(tmp=101 * G), SUN, "101G of disk wanted, has 100G"),
    "for others, with a permission": (JOB._replace(granted=True), SUN._replace(users=("ben@moon", "eve@sun")), ""),
    "for others": (JOB, SUN._replace(users=("ben@moon", "eve@sun")), "takes no jobs of ada@sun"),
    "for its author too": (JOB, SUN._replace(users=("ada@sun", "ben@moon")), ""),
    "builds something else": (JOB, SUN._replace(can_build=("curl",)), "does not build zlib"),
    "builds jobs of this name": (JOB, SUN._replace(can_build=("curl", "zlib")), ""),
    "builds something else than is called": (JOB._replace(interface="docs"), SUN._replace(can_build=("curl",)), "does not build docs"),
    "builds what is called": (JOB._replace(name="x", interface="zlib"), SUN._replace(can_build=("zlib",)), ""),
    "sealed to its key": (Wants(sealed_to=(frozenset("AB"),)), SUN._replace(seal="B"), ""),
    "one of two is not sealed to it": (
        Wants(sealed_to=(frozenset("AB"), frozenset("A"))),
        SUN._replace(seal="B"),
        "the job is sealed, and not to its key",
    ),
    "it has nothing to open it with": (Wants(sealed_to=(frozenset("A"),)), SUN, "the job is sealed, and it has no key to open it"),
    "sealed to nobody": (Wants(sealed_to=(frozenset(),)), SUN._replace(seal="B"), "the job is sealed, and not to its key"),
    "another kind": (Wants(), SUN._replace(kind="moon-rocket"), "it is of kind moon-rocket, which is not known here"),
    "a cluster": (Wants(), SUN._replace(kind="slurm"), ""),
}


@pytest.mark.parametrize("case", NEVER)
def test_never(case: str) -> None:
    job, given, why = NEVER[case]
    assert choose.never(job, given) == why


NOT_NOW = {
    "free": (Wants(), SUN, ""),
    "paused": (Wants(), SUN._replace(paused="ada@sun at 2026-11-23T20:00:00Z: hot"), "paused by ada@sun at 2026-11-23T20:00:00Z: hot"),
    "drained": (Wants(), SUN._replace(up=False), "takes no new jobs (drain)"),
    "outside its hours": (Wants(), SUN._replace(hours=spans("21:00-06:00,12:00-13:00")), "begins jobs 21:00-06:00,12:00-13:00 UTC only"),
    "in its hours": (Wants(), SUN._replace(hours=spans("20:30-21:00")), ""),
    "nothing waits where hours pass": (Wants(), SUN._replace(given=2, ahead=9, hours=spans("20:30-21:00")), "full: 2 jobs for 2 slots and 0 ahead"),
    "can not build it now": (JOB, heard(SUN._replace(can_build=("zlib", "lz4")), can_build=("lz4",)), "can not build zlib at present"),
    "does not offer what is called": (JOB._replace(interface="docs"), heard(SUN, interfaces=("zlib",)), "offers no interface docs"),
    "offers what is called": (JOB._replace(interface="docs"), heard(SUN, interfaces=("docs", "zlib")), ""),
    "may offer it, as far as is known": (JOB._replace(interface="docs"), SUN, ""),
    "a script needs no interface": (JOB, heard(SUN, interfaces=()), ""),
    "can build it now": (JOB, heard(SUN._replace(can_build=("zlib", "lz4")), can_build=("zlib",)), ""),
    "loaded": (Wants(), heard(SUN._replace(load_limit=6.5), load=7.25), "load 7.25, its limit is 6.5"),
    "at its load limit": (Wants(), heard(SUN._replace(load_limit=6.5), load=6.5), ""),
    "load is not known": (Wants(), SUN._replace(load_limit=0.1), ""),
    "the load of a cluster's gate": (Wants(), heard(SUN._replace(load_limit=6.5, kind="slurm"), load=7.25), ""),
    "slots busy": (Wants(), SUN._replace(given=2), "full: 2 jobs for 2 slots and 0 ahead"),
    "slots busy with jobs of other queues": (Wants(), heard(SUN._replace(given=1), others=1), "full: 2 jobs for 2 slots and 0 ahead"),
    "one of its jobs has ended": (Wants(), heard(SUN._replace(given=2), ended=1), ""),
    "slots busy, one may wait": (Wants(), SUN._replace(given=2, ahead=1), ""),
    "slots busy, one waits": (Wants(), SUN._replace(given=3, ahead=1), "full: 3 jobs for 2 slots and 1 ahead"),
    "cpus taken": (Wants(cpus=3), SUN._replace(given=1, cpus_taken=2), "3 cpus wanted, 2 of 4 taken"),
    "cpus just enough": (Wants(cpus=2), SUN._replace(given=1, cpus_taken=2), ""),
    "cpus taken, but it may wait": (Wants(cpus=3), SUN._replace(given=1, cpus_taken=2, ahead=1), ""),
    "a cluster counts for itself": (Wants(cpus=3), SUN._replace(given=1, cpus_taken=2, kind="slurm"), ""),
    "memory taken": (Wants(mem=6 * G), SUN._replace(mem_taken=3 * G), "6.0G of memory wanted, 3.0G of 8.0G taken"),
    "memory taken, none wanted": (Wants(), SUN._replace(mem_taken=9 * G), ""),
    "memory used by something else": (Wants(mem=6 * G), heard(SUN, mem_free=5 * G), "6.0G of memory wanted, 5.0G free"),
    "memory dealt since": (Wants(mem=3 * G), heard(SUN._replace(mem_new=3 * G), mem_free=5 * G), "3.0G of memory wanted, 2.0G free"),
    "memory free": (Wants(mem=5 * G), heard(SUN, mem_free=5 * G), ""),
    "disk used": (Wants(tmp=6 * G), heard(SUN, tmp_free=5 * G), "6.0G of disk wanted, 5.0G left"),
    "disk dealt since": (Wants(tmp=3 * G), heard(SUN._replace(tmp_new=3 * G, ahead=9), tmp_free=5 * G), "3.0G of disk wanted, 2.0G left"),
    "disk full": (Wants(), heard(SUN, tmp_free=12 << 20), "12M of disk left"),
    "gave it back": (Wants(void={"sun": NOW - REST + 1}), SUN, "gave it back at 2026-11-23T20:25:00Z, is asked again 5 minutes later"),
    "gave it back long ago": (Wants(void={"sun": NOW - REST}), SUN, ""),
    "another gave it back": (Wants(void={"moon": NOW}), SUN, ""),
}


@pytest.mark.parametrize("case", NOT_NOW)
def test_not_now(case: str) -> None:
    job, given, why = NOT_NOW[case]
    assert choose.not_now(job, alone(given), NOW) == why


BOXES = {  # what its twin, an account of the same box, has to do; what it has itself
    "the box has a slot": (TWIN._replace(given=1), SUN, Wants(), ""),
    "the box has none": (TWIN._replace(given=2), SUN, Wants(), "2 jobs on sun for 2 slots"),
    "the other one says more slots": (TWIN._replace(given=2, slots=3), SUN, Wants(), ""),
    "cpus of both": (TWIN._replace(given=1, cpus_taken=3), SUN, Wants(cpus=2), "2 cpus wanted, 3 of 4 taken on sun"),
    "memory of both": (TWIN._replace(given=1, mem_taken=5 * G), SUN, Wants(mem=4 * G), "4.0G of memory wanted, 5.0G of 8.0G taken on sun"),
    "it would start beside it": (TWIN._replace(given=2), SUN._replace(ahead=9), Wants(), "2 jobs on sun for 2 slots"),
    "it waits behind its own": (TWIN._replace(given=2), SUN._replace(ahead=9, given=2), Wants(), ""),
    "a cluster is no account of its gate": (TWIN._replace(given=2, kind="slurm"), SUN, Wants(), ""),
}


@pytest.mark.parametrize("case", BOXES)
def test_builders_of_one_host_share_it(case: str) -> None:
    twin, mine, job, why = BOXES[case]
    assert choose.not_now(job, boxed([twin, mine])[1], NOW) == why


def test_what_one_account_is_dealt_the_others_lack() -> None:
    after = choose.with_job([SUN, TWIN, MOON], SUN, Wants(cpus=3, mem=G, tmp=2 * G))
    assert [(each.name, each.jobs, each.box.jobs, each.box.cpus_taken, each.box.mem_taken // G) for each in after] == [
        ("sun", 1, 1, 3, 1),
        ("twin", 0, 1, 3, 1),
        ("moon", 0, 0, 0, 0),
    ]
    assert (after[0].mem_new, after[0].tmp_new, after[1].mem_new) == (G, 2 * G, 0)
    best, weighed = choose.choose(Wants(cpus=2), after[:2], NOW)
    assert best is None and weighed[1] == "twin: 2 cpus wanted, 3 of 4 taken on sun"


def test_a_polite_job_goes_where_it_need_not_wait() -> None:
    """A load that it does not want is no reason not to give it the job, which looks itself: only one to take another first."""
    busy = heard(SUN, load=3.5)
    best, weighed = choose.choose(Wants(load_limit=2.0), [busy, MOON], NOW)
    assert best == MOON and weighed[0] == "sun: could take it too: waits in its inbox, load 3.50, the job wants at most 2"
    assert choose.choose(Wants(load_limit=3.5), [busy, MOON], NOW)[0] == busy
    assert choose.choose(Wants(load_limit=2.0), [busy], NOW)[0] == busy


CHOSEN = {
    "nobody there": ([], "", None),
    "of equals the first": ([SUN, MOON], "", "sun"),
    "the one with fewer jobs": ([SUN._replace(given=1), MOON], "", "moon"),
    "for each slot": ([SUN._replace(given=1, slots=2), MOON._replace(given=1, slots=4)], "", "moon"),
    "at once rather than soon": ([SUN._replace(ahead=9, given=2), MOON._replace(given=1, slots=2)], "", "moon"),
    "at once though it has more jobs": ([SUN._replace(ahead=9, given=1, slots=1), MOON._replace(given=9, slots=10)], "", "moon"),
    "cpus free rather than taken": ([SUN._replace(ahead=9, cpus_taken=4), MOON._replace(given=1)], "", "moon"),
    "soon rather than not": ([SUN._replace(given=2), MOON._replace(given=2, ahead=1)], "", "moon"),
    "nobody can": ([SUN._replace(given=2), MOON._replace(up=False)], "", None),
    "of equals the one that built it last": ([SUN, MOON], "moon", "moon"),
    "it has more jobs, and can start it at once": ([SUN, MOON._replace(given=1)], "moon", "moon"),
    "at once elsewhere": ([SUN, MOON._replace(given=2, ahead=9)], "moon", "sun"),
    "where it waits anyway, the shorter line": ([SUN._replace(given=3, ahead=9), MOON._replace(given=4, ahead=9)], "moon", "sun"),
    "of equal lines the one that built it last": ([SUN._replace(given=3, ahead=9), MOON._replace(given=3, ahead=9)], "moon", "moon"),
    "who built it last cannot": ([SUN, MOON._replace(given=2)], "moon", "sun"),
    "who built it last is gone": ([SUN, MOON], "mars", "sun"),
    "not reached": ([SUN._replace(unreached="not reached then"), MOON._replace(given=2, ahead=1)], "", "moon"),
    "not reached, the others busy": ([SUN._replace(unreached="not reached then"), MOON._replace(given=2)], "", None),
    "not reached, and nobody else ever": ([SUN._replace(unreached="not reached then"), MOON._replace(cpus=0)], "", "sun"),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_choose(case: str) -> None:
    given, had, name = CHOSEN[case]
    best, weighed = choose.choose(Wants(), boxed(given), NOW, had)
    assert (best.name if best else None) == name
    assert [line.partition(":")[0] for line in weighed] == [each.name for each in given]
    assert [line.partition(": ")[2].startswith("chosen: ") for line in weighed] == [each.name == name for each in given]


def test_what_is_weighed_says_why() -> None:
    star = SUN._replace(name="star", host="star", tags=())
    dead = SUN._replace(name="dead", host="dead", unreached="not reached at 2026-11-23T20:29:00Z: no answer")
    job = Wants(tags=("gcc",))
    _, weighed = choose.choose(job, boxed([SUN._replace(given=1), MOON, star, MOON._replace(name="mars", up=False), dead]), NOW, "sun")
    assert weighed == [
        "sun: chosen: built it last, 1 of 2 slots busy",
        "moon: could take it too: 0 of 2 slots busy",
        "star: never: has no tag gcc",
        "mars: takes no new jobs (drain)",
        "dead: not reached at 2026-11-23T20:29:00Z: no answer",
    ]
    _, weighed = choose.choose(job, boxed([SUN._replace(given=3, ahead=9)]), NOW)
    assert weighed == ["sun: chosen: waits in its inbox, 3 jobs for 2 slots"]


def test_a_job_goes_where_what_it_needs_lies() -> None:
    moon = MOON._replace(door="ssh://build@moon")
    needs = document.section("needs", "tsv", b"x\n", **{"from": "/elsewhere,ssh://build@moon"})
    job = choose.wants(document.new("x", document.section("job", "toml", b""), needs))
    best, weighed = choose.choose(job, boxed([SUN, moon._replace(given=1)]), NOW, "sun")
    assert best is not None and best.name == "moon"
    assert weighed == ["sun: could take it too: built it last, 0 of 2 slots busy", "moon: chosen: has what it needs, 1 of 2 slots busy"]
    assert choose.choose(job, boxed([SUN, moon._replace(given=2, ahead=9)]), NOW)[0] == boxed([SUN])[0], "at once elsewhere: it can be fetched"


KEPT = {
    "the one that would take it": (Wants(cpus=4), [SUN._replace(given=1, cpus_taken=1), MOON._replace(cpus=2)], "sun"),
    "of two the less busy": (Wants(cpus=4), [SUN._replace(given=2, cpus_taken=2), MOON._replace(given=1, cpus_taken=1)], "moon"),
    "the other one is kept for somebody": (Wants(), [SUN._replace(given=2), MOON._replace(given=2, kept="x")], "sun"),
    "not one that is paused": (Wants(cpus=4), [SUN._replace(given=1, cpus_taken=1, paused="x")], None),
    "not one that was not reached": (Wants(cpus=4), [SUN._replace(given=1, cpus_taken=1, unreached="x")], None),
    "not where other work takes the memory": (Wants(mem=4 * G), [heard(SUN._replace(ahead=0), mem_free=2 * G)], None),
    "not where jobs of other queues take the slots": (Wants(), [heard(SUN, others=2)], None),
    "nobody ever": (Wants(cpus=9), [SUN], None),
}


@pytest.mark.parametrize("case", KEPT)
def test_who_is_kept_free(case: str) -> None:
    job, given, name = KEPT[case]
    after = choose.kept_free(job, boxed(given), NOW, "2c4e7g-big")
    assert [each.name for each in after if each.kept == "2c4e7g-big"] == ([name] if name else [])
    if name:
        _, weighed = choose.choose(Wants(), after, NOW)
        assert f"{name}: kept free for 2c4e7g-big" in weighed


DEPENDS = {
    "nobody": ([SUN._replace(up=False)], False),
    "one": ([SUN, MOON._replace(given=2), MOON._replace(tags=())], False),
    "two": ([SUN, MOON], True),
    "two, of which one was not reached": ([SUN, MOON._replace(unreached="not reached then")], True),
    "one with a load limit": ([SUN._replace(load_limit=4)], True),
    "one above its load limit, which may have sunk": ([heard(SUN._replace(load_limit=4), load=5)], True),
    "a load limit of one that is full": ([SUN._replace(load_limit=4, given=2)], False),
}


@pytest.mark.parametrize("case", DEPENDS)
def test_what_depends_on_load(case: str) -> None:
    given, expected = DEPENDS[case]
    assert choose.depends(Wants(tags=("gcc",)), boxed(given), NOW) is expected


HOPELESS = [([], True), (["sun: never: x"], True), (["sun: never: x", "moon: full: 1 job"], False)]


@pytest.mark.parametrize(("weighed", "hopeless"), HOPELESS)
def test_is_hopeless(weighed: list[str], hopeless: bool) -> None:
    assert choose.is_hopeless(weighed) is hopeless


LATE = [
    (Wants(), ""),
    (Wants(limit=NOW, limited_by="deadline"), ""),
    (Wants(limit=NOW - 1, limited_by="deadline"), "deadline at 2026-11-23T20:29:59Z, before a builder took it"),
]


@pytest.mark.parametrize(("job", "why"), LATE)
def test_too_late(job: Wants, why: str) -> None:
    assert choose.too_late(job, NOW) == why


# --- what documents say -------------------------------------------------------------------------------------------------

HOURS = [
    ("", "20:30", True),
    ("20:30-20:31", "20:30", True),
    ("20:29-20:30", "20:30", False),
    ("18:00-08:00", "20:30", True),
    ("18:00-08:00", "07:59", True),
    ("18:00-08:00", "08:00", False),
    ("18:00-08:00", "12:00", False),
    ("18:00-08:00,11:30-12:30", "12:00", True),
    ("20:00-24:00", "23:59", True),
    ("20:00-24:00", "00:00", False),
    ("20:00-00:00", "23:59", True),
]


@pytest.mark.parametrize(("text", "at", "expected"), HOURS)
def test_hours(text: str, at: str, expected: bool) -> None:
    assert is_open(spans(text), clock.parse(f"2026-11-23T{at}:00Z")) is expected
    assert hours_text(spans(text)) == text


@pytest.mark.parametrize("text", ["8-18", "08:00-25:00", "08:00-24:01", "24:00-08:00", "08:00-08:00", "08:00", "18:00-08:00;09:00-10:00"])
def test_hours_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="18:00-08:00"):
        spans(text)


BUILDER = b'name = "sun"\nkey = "K"\naccount = "cit@sun"\nhost = "sun"\nslots = 2\ncpus = 4\nmem = "8G"\ntmp = "100G"\n'


def described(more: bytes = b"", body: bytes = BUILDER) -> Builder:
    return builder(document.new("sun", document.section("builder", "toml", body + more)))


def test_a_builder_is_as_its_document_says() -> None:
    more = b'tags = ["linux", "gcc"]\nusers = ["ada@sun"]\nhours = "18:00-08:00"\ncan-build = ["zlib"]\n'
    more += b'load-limit = "6.5"\nkind = "slurm"\nstate = "drain"\n'
    expected = SUN._replace(users=("ada@sun",), hours=((1080, 480),), can_build=("zlib",), load_limit=6.5, kind="slurm", up=False)
    assert described() == SUN._replace(tags=()) and described(more) == expected
    assert math.isinf(SUN.load_limit) and SUN.room == 2 and shut(SUN, NOW) == ("up", "")


@pytest.mark.parametrize("more", [b'hours = "always"\n', b'load-limit = "much"\n', b'x = 1\nmem = "8"\n'])
def test_a_builder_that_cannot_be_read(more: bytes) -> None:
    body = BUILDER.replace(b'mem = "8G"\n', b"") if b"mem" in more else BUILDER
    with pytest.raises(CitError) as error:
        described(more, body)
    assert error.value.status == 65
    with pytest.raises(CitError, match="says no host"):
        described(b"", BUILDER.replace(b'host = "sun"\n', b""))


def test_what_a_job_wants() -> None:
    said = (
        b'submitter = "ada@sun"\ncpus = 3\nmem = "4G"\ntmp = "9G"\nconstraint = ["linux", "gcc"]\nbuilder = "sun"\ndeadline = 2026-11-23T21:00:00Z\n'
    )
    signature = document.section("signature", "sshsig", b"x\n", by="ada@sun", ns="cit-job")
    job = document.new(
        "zlib",
        document.section("job", "toml", said + b"expires = 2026-11-24T21:00:00Z\n"),
        document.section("call", "toml", b'interface = "docs"\n'),
        document.section("secret", "text", b"x\n", name="A", enc="age", to="SHA256:a,SHA256:b"),
        document.section("files", "tar", b"x\n", 1, enc="age"),
        signature,
        document.section("result", "text", b"x\n", enc="age", to="SHA256:c"),
    )
    sealed = (frozenset(["SHA256:a", "SHA256:b"]), frozenset[str]())
    limit = clock.parse("2026-11-23T21:00:00Z")
    assert choose.wants(job) == Wants("zlib", "ada@sun", "docs", 3, 4 * G, 9 * G, ("gcc", "linux"), "sun", sealed, limit, "deadline", {})
