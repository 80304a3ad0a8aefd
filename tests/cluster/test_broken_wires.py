"""The wire breaks after so many bytes, in each direction, at each hop of a job: to its queue, to its builder, and home (PROMISES 1, 16).

After it is whole again and everybody had one tick, every job has run once, and both ends of each hop agree.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from cit_format import reader, spool
from tests.cluster.cluster import Cluster
from tests.cluster.cutter import Cutter

PASSES = 4  # places where the wire breaks, each way
EACH = 3  # fresh documents in each pass


class Wired:
    """A person, a queue and a builder, with a wire that breaks in front of the queue and another in front of the builder."""

    def __init__(self, lan, stack: ExitStack) -> None:
        machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
        ada, cit, build = (machines[name].account(user) for name, user in (("sun", "ada"), ("hub", "cit"), ("moon", "build")))
        self.cluster = Cluster(ada, cit, [build], **{"on-arrival": ""})
        self.ada, self.hub, self.moon = ada, cit, build
        self.to_hub, self.to_moon = (stack.enter_context(Cutter(machines, machines[name])) for name in ("hub", "moon"))
        moon = self.cluster.members["moon"]
        for each in (ada, cit, build):
            each.sh("cat >>.cit/known_hosts", stdin=(self.to_hub.known() + self.to_moon.known()).encode())
        self.cluster.door = f"{self.to_hub.place('cit')}/@main"
        ada.put(".cit/queues/team/queue.toml", self.cluster.way(person=self.cluster.ada.identity))
        build.put(".cit/queues/team/queue.toml", self.cluster.way())
        build.put(".cit/config.toml", 'queues = ["@team"]\non-arrival = ""\non-end = ""\n')
        cit.sh("rm .cit/queues/main/builders/*.cit")
        described = self.cluster.describe(moon, door=self.to_moon.place("build"))
        cit.put(f".cit/queues/main/builders/{described.id}-moon.cit", described.raw)


@pytest.fixture
def wired(lan) -> Iterator[Wired]:
    with ExitStack() as stack:
        yield Wired(lan, stack)


def breaks(wire: Cutter, carry) -> Iterator[tuple[int, str]]:
    """Where to break the wire: early, then at even steps from the end of the handshake to the end of what one whole pass took."""
    wire.heal()
    carry()
    whole = wire.heal()[-1]
    for way, total in zip(("in", "out"), whole):
        yield total // 4, way
        for step in range(1, PASSES):
            yield total // 2 + (total // 2 * step) // PASSES, way


def test_between_a_person_and_the_queue(wired: Wired) -> None:
    ada, pushed = wired.ada, 0

    def push() -> None:
        nonlocal pushed
        pushed += 1
        ada.sh(f"cit push -q -J j{pushed} -- true", status=None)

    points = breaks(wired.to_hub, push)
    kept = 0
    for after, way in points:
        wired.to_hub.cut(after, way)
        push()
        kept += len(spool.listing(ada.path(".cit/outbox"))) > 0
    assert kept > PASSES  # the wire did break
    wired.to_hub.heal()
    ada.sh("cit outbox send >send")
    waiting = [each.name for each in wired.cluster.lying("waiting")]
    assert waiting == [f"j{number}" for number in range(1, pushed + 1)]  # each once, in order
    assert spool.listing(ada.path(".cit/outbox")) == [] and wired.cluster.lying("refused") == []
    here = {path.name.split(".", 1)[1]: reader.parse(path.read_bytes()).submitted for path in ada.path(".cit/outbox/sent").glob("*.cit")}
    assert here == {f"{each.id}-{each.name}.cit": each.submitted for each in wired.cluster.lying("waiting")}


def test_between_queue_and_builder_and_home_again(wired: Wired) -> None:
    cluster, hub, moon = wired.cluster, wired.hub, wired.moon
    count = EACH * (2 * PASSES + 1)
    wired.ada.sh(f"seq {count} | cit push -q -J many --each - -- sh -c 'echo {{}} >>~/marks'")
    hub.sh("cit-schedule --from waiting --to assigned --queue @main; mkdir aside; mv .cit/queues/main/assigned/*.cit aside")

    def release(to: str) -> str:
        return f"ls aside/*.cit | head -n {EACH} | xargs -I% mv % {to}; rm -f .cit/queues/main/*/.doors .cit/*/.doors; "

    def deliver() -> None:
        hub.sh(f"{release('.cit/queues/main/assigned')}cit-deliver -q --from assigned --to sent --queue @main", status=None)

    for after, way in breaks(wired.to_moon, deliver):
        wired.to_moon.cut(after, way)
        deliver()
    assert cluster.counts().get("assigned", 0) > 0  # the wire did break
    wired.to_moon.heal()
    deliver()
    assert cluster.counts() == {"sent": count} and len(spool.listing(moon.path(".cit/inbox"))) == count

    moon.sh("cit-run -q --from inbox --to finished; mkdir aside; mv .cit/finished/*.cit aside; cp -r aside made")
    assert sorted(map(int, moon.path("marks").read_text().split())) == list(range(1, count + 1))

    def bring() -> None:
        moon.sh(f"{release('.cit/finished')}cit-sync -q", status=None)

    for after, way in breaks(wired.to_hub, bring):
        wired.to_hub.cut(after, way)
        bring()
    assert spool.listing(moon.path(".cit/finished")) != []
    wired.to_hub.heal()
    bring()
    assert cluster.counts() == {"done": count}
    there = {name: (day / name).read_bytes() for day in cluster.days() for name in spool.listing(day)}
    assert there == {path.name.split(".", 1)[1]: path.read_bytes() for path in moon.path("made").glob("*.cit")}
    for each in (hub.path(".cit/queues/main"), moon.path(".cit")):
        assert spool.listing(each / "refused") == []
    for state in ("inbox", "running", "finished"):
        assert spool.listing(moon.path(f".cit/{state}")) == []
    cluster.tick()
    assert cluster.counts() == {"done": count} and len(moon.path("marks").read_text().split()) == count


def test_silence_in_one_direction_is_given_up_and_loses_nothing(lan) -> None:
    """Nobody is told: packets of one direction are lost from the start, or nothing comes any more over a connection that was made."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        wired = Wired(lan, stack)
        cluster, ada, hub, moon = wired.cluster, wired.ada, wired.hub, wired.moon
        hub.sh("cit config transport ssh", status=None)
        moon.sh("cit config transport ssh", status=None)
        ada.sh("seq 4 | cit push -q --each - -- sh -c 'echo {} >>~/marks'")
        hub.sh("cit-schedule --from waiting --to assigned --queue @main; cit-deliver -q --from assigned --to sent --queue @main")
        moon.sh("cit-run -q --from inbox --to finished")
        ada.sh("seq 5 8 | cit push -q --each - -- sh -c 'echo {} >>~/marks'")
        hub.sh("cit-schedule --from waiting --to assigned --queue @main")

        switch = wired.to_moon.lan
        for one in (ada, moon):  # what they send is lost on its way, what they hear arrives
            switch.sh(f"ip -n {one.machine.name} neigh replace 10.77.0.254 lladdr 02:00:00:00:00:01 dev eth0 nud permanent")
        wired.to_moon.stall(3300, "out")  # no packet is lost here, but from some moment on nothing comes
        acts = [
            (ada, "cit push -q -- sh -c 'echo 9 >>~/marks'"),
            (hub, "cit-deliver -q --from assigned --to sent --queue @main"),
            (moon, "cit-sync -q"),
        ]
        started = time.monotonic()
        calls = [pool.submit(each.sh, act, status=None) for each, act in acts]
        assert {call.result().returncode for call in calls} <= {69, 75} and time.monotonic() - started < 40
        for one in (ada, moon):
            switch.sh(f"ip -n {one.machine.name} neigh del 10.77.0.254 dev eth0")
        wired.to_hub.heal()
        wired.to_moon.heal()
        hub.sh("rm -f .cit/queues/main/*/.doors")
        moon.sh("rm -f .cit/*/.doors; cit-tick")
        ada.sh("cit outbox send >send")
        for _ in range(2):
            cluster.tick(hub)
            cluster.tick(moon)
        marks = moon.path("marks").read_text().split()
        assert sorted(marks) == [*"123456789"] and cluster.counts() == {"done": 9}
