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
        ada.sh(f"cit push -q -J on-{name} -w {name} -- sh -c 'echo hello from {name}; exit {status}'")
    ada.sh("cit push -q -J many --each -", stdin=b"".join(b"echo %d >>$HOME/marks\n" % number for number in range(12)))
    cluster.wait_done(15)
    assert cluster.ends() == {f"on-{names[0]}": ["COMPLETED"], **{f"on-{name}": ["FAILED"] for name in names[1:]}, "many": ["COMPLETED"] * 12}
    marks = " ".join(each.text("cat marks", status=None) for each in cluster.builders.values()).split()
    assert sorted(marks, key=int) == [str(number) for number in range(12)]

    # What she sees, at her own machine: asked of the queue, the log of the builder itself.
    for status, name in enumerate(names[:2]):
        ada.sh(f"cit wait -q on-{name}", status=status)
        head, row = (line.split("\t") for line in ada.text(f"cit report --tsv on-{name}").split("\n"))
        seen = dict(zip(head, row))
        assert (seen["state"], seen["exit"], seen["builder"]) == ("FAILED" if status else "COMPLETED", str(status), name)
    assert ada.text(f"cit log on-{names[0]}") == f"hello from {names[0]}"
    assert f"status 1 on {names[1]}" in ada.text(f"cit why on-{names[1]}")
    assert ada.text(f"cit trace --tsv on-{names[2]}").count("\tgood\t") >= 6  # job, acceptance, assignment, and what the builder says
