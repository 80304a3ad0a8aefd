"""Builders elsewhere are asked how they are: when, which, all at once, and what becomes of silence (docs/stages/schedule.md)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from cit_schedule import probe
from cit_schedule.cit_format import address, body, builders, clock, document, heartbeat, home, reader, trust
from cit_schedule.cit_format.builder import Builder, Heard
from cit_schedule.cit_format.builders import Asked
from cit_schedule.cit_format.errors import UNREACHABLE, CitError
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import loopback as loopback  # a fixture
from tests.cluster.loopback import Loopback

NOW = clock.parse("2026-11-23T20:30:00Z")
SECOND = clock.SECOND
MOON = Builder("moon", "K", "cit@moon", "moon", "ssh://cit@moon", slots=2, cpus=4, mem=8 << 30)
SCHEDULE = "cit-schedule -q --from waiting --to assigned --queue @main"

# --- when: tables -------------------------------------------------------------------------------------------------------

DUE = {
    "never heard, never asked": (MOON, None, True),
    "of this machine": (MOON._replace(door="/home/cit/.cit"), None, False),
    "without a door": (MOON._replace(door=""), None, False),
    "heard just now": (MOON._replace(heard=Heard(NOW - 30 * SECOND)), None, False),
    "heard a while ago": (MOON._replace(heard=Heard(NOW - 31 * SECOND)), None, True),
    "its clock is ahead": (MOON._replace(heard=Heard(NOW + 31 * SECOND)), None, True),
    "asked just now": (MOON, Asked(NOW - 9 * SECOND, 0, ""), False),
    "asked a while ago": (MOON, Asked(NOW - 10 * SECOND, 0, ""), True),
    "once in vain": (MOON, Asked(NOW - 10 * SECOND, 1, "no answer"), True),
    "twice in vain": (MOON, Asked(NOW - 19 * SECOND, 2, "no answer"), False),
    "twice in vain, and long ago": (MOON, Asked(NOW - 20 * SECOND, 2, "no answer"), True),
    "a hundred times in vain": (MOON, Asked(NOW - 5 * clock.MINUTE, 100, "no answer"), True),
    "asked in the future, as the clock stepped back": (MOON, Asked(NOW + clock.HOUR, 0, ""), True),
    "paused": (MOON._replace(paused="ada@sun"), None, False),
    "drained": (MOON._replace(up=False), None, False),
    "full, as far as is known": (MOON._replace(given=2), None, True),
}


@pytest.mark.parametrize("case", DUE)
def test_who_is_worth_a_question(case: str) -> None:
    each, asked, expected = DUE[case]
    assert probe.is_due(each, asked, NOW) is expected


def test_pauses_grow_to_five_minutes() -> None:
    assert [probe.pause(failures) // SECOND for failures in (0, 1, 2, 3, 6, 7, 999)] == [10, 10, 20, 40, 300, 300, 300]
    answer = document.new("moon")
    assert probe.noted(Asked(1, 3, "x"), answer, NOW) == Asked(NOW, 0, "")
    assert probe.noted(Asked(1, 3, "x"), CitError(UNREACHABLE, "gone"), NOW) == Asked(NOW, 4, "gone")


HEARD = {  # running, waiting, what is listed, what the queue gave; others, ended
    "nothing": ((0, 0, []), [], (0, 0)),
    "ours alone": ((1, 1, [("a", "RUNNING"), ("b", "PENDING")]), ["a", "b"], (0, 0)),
    "of other queues too": ((3, 1, [("a", "RUNNING"), ("b", "PENDING")]), ["a", "b"], (2, 0)),
    "ended there": ((0, 1, [("a", "ENDED"), ("b", "PENDING")]), ["a", "b"], (0, 1)),
    "ended there and known here": ((0, 0, [("a", "ENDED")]), [], (0, 0)),
    "home meanwhile": ((1, 0, [("a", "RUNNING")]), [], (0, 0)),
    "not there yet": ((0, 0, []), ["a"], (0, 0)),
}


@pytest.mark.parametrize("case", HEARD)
def test_what_is_heard_is_put_together_with_what_was_given(case: str) -> None:
    (running, waiting, listed), given, (others, ended) = HEARD[case]
    jobs = [heartbeat.Job(copy, state, NOW) for copy, state in listed]
    beat = heartbeat.Heartbeat("moon", "K", NOW - SECOND, 1.5, running, waiting, 4 << 30, None, jobs)
    found = builders.as_heard(MOON, beat, frozenset(given), None, NOW)
    assert found.heard == Heard(NOW - SECOND, 1.5, 4 << 30, None, others, ended, interfaces=()) and found.unreached == ""
    old = builders.as_heard(MOON, beat, frozenset(given), None, NOW + 6 * clock.MINUTE)
    assert old.heard == Heard(NOW - SECOND), "only when it was heard is still known"


def test_silence_counts_until_something_is_heard() -> None:
    beat = heartbeat.Heartbeat("moon", "K", NOW, 1.5, 0, 0, None, None, [])
    assert builders.as_heard(MOON, None, frozenset(), Asked(NOW, 1, "no answer"), NOW).unreached == "not reached at 2026-11-23T20:30:00Z: no answer"
    assert builders.as_heard(MOON, beat, frozenset(), Asked(NOW + 1, 1, "no answer"), NOW).unreached
    assert builders.as_heard(MOON, beat, frozenset(), Asked(NOW - 1, 1, "no answer"), NOW).unreached == ""
    assert builders.as_heard(MOON, None, frozenset(), Asked(NOW, 0, ""), NOW).unreached == ""


# --- for real: a queue, builders behind sshd, one that hangs, one that is not there -----------------------------------------


@pytest.fixture
def cluster(loopback: Callable[[object], Loopback]) -> Cluster:
    """A queue and two builders that take jobs from it; nothing starts by itself."""
    machines = loopback({"sun": ["ada"], "hub": ["cit"], "moon": ["build"], "star": ["build"]})
    ada, hub, *build = (each.account(each.user) for each in machines.machines.values())
    return Cluster(ada, hub, build, **{"on-arrival": ""})  # type: ignore[arg-type]


@pytest.fixture
def silent() -> Iterator[str]:
    """A place where something listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield str(address.Door("cit", "127.0.0.1", listening.getsockname()[1]))


def scheduled(cluster: Cluster, count: int, options: str = "") -> list[dict[str, object]]:
    """Queue so many jobs, make a pass; the assignments that it made, in order."""
    before = {each.id for each in cluster.lying("assigned")}
    cluster.person.sh(f"cit push -q -J zlib {options} --each -", stdin=b"true\n" * count)
    cluster.host.sh("cit-schedule -q --from waiting --to assigned --queue @main")
    given = [trust.assignment(each) for each in cluster.lying("assigned") if each.id not in before]
    return [each.table for each in given if each]


def asked(cluster: Cluster) -> dict[str, Asked]:
    return builders.asked_before(home.Queue(cluster.queue_path()))


def test_all_are_asked_at_once_and_silence_is_weighed(cluster: Cluster, silent: str) -> None:
    queue = cluster.queue_path()
    with socket.create_server(("127.0.0.1", 0)) as shut:
        gone = str(address.Door("cit", "127.0.0.1", shut.getsockname()[1]))
    for name, door in (("hangs", silent), ("gone", gone)):
        described = cluster.describe(cluster.members["moon"], name=name, host=name, door=door, ahead=0, tags=["gpu"])
        (queue / "builders" / f"{described.id}-{name}.cit").write_bytes(described.raw)
    assert [each["builder"] for each in scheduled(cluster, 1, "-C gpu -w hangs")] == ["hangs"], "nobody else is asked for: no choice"
    assert asked(cluster) == {}
    began = time.monotonic()
    first, second = scheduled(cluster, 2, "-C linux")
    assert time.monotonic() - began < 10
    assert {first["builder"], second["builder"]} <= {"moon", "star"}
    notes = asked(cluster)
    assert {name: each.failures for name, each in notes.items()} == {"moon": 0, "star": 0, "hangs": 1, "gone": 1}
    assert notes["gone"].why not in ("", notes["hangs"].why) and notes["hangs"].why == "no answer within 3 s"
    for name in ("moon", "star"):
        kept = reader.parse((queue / "builders" / ".load" / f"{name}.cit").read_bytes())
        assert heartbeat.believed(kept, cluster.members[name].signer.public.fingerprint, clock.now()).name == name


def test_what_does_not_answer_is_left_out_and_not_asked_again_at_once(cluster: Cluster, silent: str) -> None:
    described = cluster.describe(cluster.members["moon"], name="hangs", host="hangs", door=silent, slots=100, cpus=100)
    (cluster.queue_path("builders") / f"{described.id}-hangs.cit").write_bytes(described.raw)
    (given,) = scheduled(cluster, 1)
    assert given["builder"] != "hangs"
    lines = [str(line) for line in given["weighed"]]  # type: ignore[attr-defined]
    assert any(line.startswith("hangs: not reached at 20") and line.endswith("Z: no answer within 3 s") for line in lines), lines
    before = asked(cluster)
    began = time.monotonic()
    assert len(scheduled(cluster, 3)) == 3 and time.monotonic() - began < 30  # it would be silent for a minute
    assert asked(cluster) == before
    rows = {row["name"]: row for row in table(cluster.host.text("cit-builders --queue @main --tsv"))}
    assert [rows[name]["state"] for name in ("hangs", "moon", "star")] == ["unreached", "up", "up"]
    assert rows["hangs"]["why"].startswith("not reached at ") and rows["moon"]["seen"] and rows["moon"]["load"] and not rows["hangs"]["seen"]
    far = {row["name"]: row for row in table(cluster.person.text("cit-builders --queue @team --tsv"))}
    assert set(far) == set(rows) and far["moon"]["load"] == rows["moon"]["load"] and far["star"]["queue"] == "main", "as its person sees it"
    cluster.host.machine.close()  # type: ignore[attr-defined]
    cluster.person.sh("cit-builders --queue @team", status=69)


def test_a_door_that_rests_is_not_asked(cluster: Cluster) -> None:
    star = cluster.members["star"].account.place
    until = clock.iso(clock.now() + clock.MINUTE)
    (cluster.queue_path("assigned") / ".doors").write_bytes(body.row(star, "3", until, "no route to host"))
    (given,) = scheduled(cluster, 1)
    assert given["builder"] == "moon" and f"star: not reached, tried again at {until}: no route to host" in given["weighed"]  # type: ignore[operator]
    assert set(asked(cluster)) == {"moon"}


def test_a_load_that_is_not_by_the_builder_is_not_believed(cluster: Cluster) -> None:
    queue = home.Queue(cluster.queue_path())
    moon, star = (cluster.members[name] for name in ("moon", "star"))
    said = heartbeat.heartbeat(home.Account(star.account.path(".cit")), clock.now())
    (queue / "builders" / ".load").mkdir()
    (queue / "builders" / ".load" / "moon.cit").write_bytes(said.raw)
    found, _ = builders.of_queue(queue, clock.now())
    assert {each.name: each.heard.time for each in found} == {"moon": 0, "star": 0}
    assert moon.signer.public.fingerprint != star.signer.public.fingerprint


def table(text: str) -> list[dict[str, str]]:
    """The rows of TSV with a header."""
    head, *rows = (line.split("\t") for line in text.split("\n"))
    return [dict(zip(head, row)) for row in rows]
