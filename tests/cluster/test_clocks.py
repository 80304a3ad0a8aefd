"""Clocks that are wrong, and a builder that comes back after hours (PROMISES 12, 15)."""

from __future__ import annotations

from cit_format import spool
from tests.cluster.cluster import Cluster
from tests.cluster.machine import within


def test_clocks_three_hours_apart_do_not_talk_and_lose_nothing(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    ada, hub, moon = (machines[name].account(user) for name, user in (("sun", "ada"), ("hub", "cit"), ("moon", "build")))
    cluster = Cluster(ada, hub, [moon])
    mark = "sh -c 'echo $CIT_JOB_NAME >>~/marks'"

    machines["moon"].clock("+3h")
    ada.sh(f"cit push -q -J to-the-future -- {mark}")
    within(10, cluster.story, lambda: b"apart" in hub.sh("cat .cit/queues/main/log/on-arrival", status=None).stdout)
    said = hub.sh("rm -f .cit/queues/main/assigned/.doors; cit-deliver --from assigned --to sent --queue @main", status=78)
    assert b"the clocks are 3h00m apart" in said.stderr and b"hint: set the clocks" in said.stderr
    assert cluster.counts() == {"assigned": 1} and spool.listing(moon.path(".cit/inbox")) == []

    machines["sun"].clock("-3h")
    said = ada.sh(f"cit push -J from-the-past -- {mark}", status=75)
    assert b"the clocks are 3h00m apart" in said.stderr and cluster.counts() == {"assigned": 1}
    machines["sun"].clock()
    machines["moon"].clock()
    ada.sh("cit outbox send >sent")
    hub.sh("rm -f .cit/queues/main/assigned/.doors; cit-tick")
    cluster.wait_done(2)
    assert sorted(moon.path("marks").read_text().split()) == ["from-the-past", "to-the-future"]

    moon.sh("echo 'on-end = \"\"' >>.cit/config.toml")  # what cit-run started before would have the right clock
    ada.sh("cit push -q -J its-end-waits -- sh -c 'echo its-end-waits >>~/marks'")
    within(10, cluster.story, lambda: spool.listing(moon.path(".cit/finished")))
    machines["moon"].clock("-3h")
    assert b"the clocks are 3h00m apart" in moon.sh("rm -f .cit/finished/.doors; cit-sync", status=78).stderr
    machines["moon"].clock()
    moon.sh("rm -f .cit/finished/.doors; cit-sync")
    cluster.wait_done(3)


def test_a_builder_that_comes_back_after_hours(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    ada, hub, moon = (machines[name].account(user) for name, user in (("sun", "ada"), ("hub", "cit"), ("moon", "build")))
    cluster = Cluster(ada, hub, [moon])
    ada.sh("cit push -q -J old -t 1m --start-within 1m -- sh -c 'echo begun >>~/marks; sleep 1; echo ended >>~/marks'")
    within(10, cluster.story, lambda: moon.path("marks").exists())
    machines["moon"].cut()
    within(10, "it ends there", lambda: spool.listing(moon.path(".cit/finished")))
    for node in machines.nodes.values():
        node.clock("+5h")
    hub.sh("rm .cit/queues/main/waiting/.notes; cit-tick")
    assert cluster.ends() == {"old": ["NODE_FAIL"]}
    assert ada.sh("cit wait -q old", status=125)
    machines["moon"].join()
    moon.sh("rm -f .cit/finished/.doors; cit-tick")
    assert cluster.ends() == {"old": ["COMPLETED"]} and "moon, late: it had been given up" in cluster.log()
    assert moon.path("marks").read_text() == "begun\nended\n" and spool.listing(moon.path(".cit/finished")) == []
