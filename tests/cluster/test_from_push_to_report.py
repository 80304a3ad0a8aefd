"""From one person's `cit push` to their `cit report`, over real ssh: accounts of one machine, machines of one account, machines on a network."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster


def on_loopback(loopback) -> Cluster:
    """Five sshd of this account, each with a home of its own: needs no root."""
    machines = loopback({"sun": ["ada"], "hub": ["cit"], "moon": ["build"], "star": ["build"], "mars": ["build"]})
    ada, cit, *build = (machines[name].account(machines[name].user) for name in machines.machines)
    return Cluster(ada, cit, build)


def on_one_machine(lan) -> Cluster:
    """One machine with five accounts, and for each but the person's an sshd on loopback that lets in this account alone."""
    one = lan({"sun": ["ada", "cit", "build1", "build2", "build3"]})["sun"]
    return Cluster(one.account("ada"), *(one.own_sshd("cit"), [one.own_sshd(f"build{number}") for number in (1, 2, 3)]))


def on_a_network(lan) -> Cluster:
    """Five machines with addresses, disks and accounts of their own."""
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"], "star": ["build"], "mars": ["build"]})
    return Cluster(
        machines["sun"].account("ada"), machines["hub"].account("cit"), [machines[name].account("build") for name in ("moon", "star", "mars")]
    )


@pytest.mark.parametrize("make", [on_loopback, on_one_machine, on_a_network])
def test_from_push_to_report(request: pytest.FixtureRequest, make) -> None:
    cluster = make(request.getfixturevalue("loopback" if make is on_loopback else "lan"))
    ada, names = cluster.person, list(cluster.builders)
    for status, name in enumerate(names):
        ada.sh(f"cit push -J hello -w {name} -- sh -c 'echo hello from {name}; exit {status}'")
    ada.sh("cit push -J many --each -", stdin=b"".join(b"echo %d >>$HOME/marks\n" % number for number in range(12)))
    cluster.wait_done(15)
    marks = " ".join(each.text("cat marks", status=None) for each in cluster.builders.values()).split()
    assert sorted(marks, key=int) == [str(number) for number in range(12)]
    assert cluster.ends() == {"hello": ["COMPLETED", "FAILED", "FAILED"], "many": ["COMPLETED"] * 12}
    assert {str(list(each.all("assignment"))[-1].table()["builder"]) for each in cluster.lying("done") if each.name == "hello"} == set(names)
