"""The queue's host is off while jobs are pushed, run and end: nothing is lost, and nothing happens twice (PROMISES 1, 9)."""

from __future__ import annotations

from cit_format import spool
from tests.cluster.cluster import Cluster
from tests.cluster.machine import within


def cluster_of(lan) -> tuple[object, Cluster]:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    return machines["hub"], Cluster(machines["sun"].account("ada"), machines["hub"].account("cit"), [machines["moon"].account("build")], slots=1)


def test_a_queue_that_is_off_for_push_run_and_result(lan) -> None:
    hub, cluster = cluster_of(lan)
    ada, moon = cluster.person, cluster.builders["moon"]
    ada.sh("cit push -J early -- sh -c 'echo early >>~/marks; sleep 2; echo ended >>~/marks'")
    within(10, "the early job runs", lambda: moon.path("marks").exists())
    hub.power_off()

    # Its result waits on the builder, and what is pushed meanwhile in the outbox.
    said = ada.sh("cit push -J first -- sh -c 'echo first >>~/marks'", status=75)
    assert b"kept" in said.stdout and b"hint: what is kept goes with the next push" in said.stderr
    ada.sh("seq 2 9 | cit push -J more --each - -- sh -c 'echo {} >>~/marks'", status=75)
    within(10, "the early job ends", lambda: moon.path("marks").read_text() == "early\nended\n")
    within(10, "its result is in finished", lambda: spool.listing(moon.path(".cit/finished")))
    moon.sh("cit-sync", status=None)
    assert len(spool.listing(moon.path(".cit/finished"))) == 1
    assert len(ada.text("cit outbox list --tsv | grep kept").splitlines()) == 9

    hub.boot()
    ada.sh("cit push -J last -- sh -c 'echo last >>~/marks'")  # takes along what was kept, before itself
    assert ada.text("cit outbox list --tsv | grep kept", status=1) == ""
    moon.sh("rm -f .cit/finished/.doors; cit-tick")
    cluster.wait_done(11)
    assert moon.path("marks").read_text().split() == ["early", "ended", "first", *"23456789", "last"]
    assert cluster.ends() == {"early": ["COMPLETED"], "first": ["COMPLETED"], "more": ["COMPLETED"] * 8, "last": ["COMPLETED"]}

    ada.sh("cit outbox resend")  # the queue's disk might have died: it is harmless
    cluster.tick()
    assert cluster.counts() == {"done": 11} and len(moon.path("marks").read_text().split()) == 12
    assert spool.listing(moon.path(".cit/finished")) == []
