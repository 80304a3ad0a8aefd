"""What can be called: of this account with why not, of builders elsewhere over real ssh, and a call there and back (docs/howto/interfaces.md)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import loopback
from tests.cluster.cluster import Cluster
from tests.cluster.machine import Account, within
from tests.int.cit_report.lived import BIN, Lived

GREET = BIN.parent / "docs" / "examples" / "greet"


def offered(place: Path) -> None:
    """The example in an account."""
    shutil.copy(GREET, place / "greet")


def test_of_this_account_with_why_not(lived: Lived) -> None:
    lived.run("cit-init")
    assert lived.rows("cit-interfaces") == []
    offered(lived.path / "interfaces")
    (lived.path / "interfaces" / "broken").write_text("#!/bin/sh\nprintf 'a\\033[31m\\n'\n")
    (lived.path / "interfaces" / "broken").chmod(0o700)
    broken, greet = lived.rows("cit-interfaces")
    assert greet == {
        "interface": "greet",
        "builder": "sun",
        "queue": "main",
        "parameters": "whom... [times=1] [tone=kind]",
        "help": "Greets people.",
        "view": "How many greetings there were.",
        "why": "",
    }
    assert "row 1 has 1 columns" in broken["why"] and broken["parameters"] == ""
    rows = lived.rows("cit-interfaces", "greet")
    assert [(row["parameter"], row["type"], row["range"], row["times"], row["default"]) for row in rows] == [
        ("whom", "string", "1..40", "1..", ""),
        ("times", "int", "1..10", "0..1", "1"),
        ("tone", "choice", "kind|short", "0..1", "kind"),
    ]
    assert [row["interface"] for row in lived.rows("cit-interfaces", "sun")] == ["broken", "greet"]
    assert "not offered" in lived.on_terminal("cit-interfaces", "broken")
    assert [row["interface"] for row in lived.rows("cit-interfaces", "--own")] == ["broken", "greet"]
    doctor = lived.run("cit-doctor", status=None)
    assert "ok    interface       greet\n" in doctor and "warn  interface       broken is not offered: " in doctor
    lived.run("cit-interfaces", "moon", status=66)
    lived.run("cit-interfaces", "@none", status=66)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """ada sits at sun; hub has the queue; moon builds, and offers greet."""
    if loopback.obstacle():
        pytest.skip(f"no sshd on loopback: {loopback.obstacle()}")
    machines = loopback.Loopback(tmp_path_factory.mktemp("calls"), {"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    ada, cit, build = (machine.account(machine.user) for machine in machines.machines.values())
    made = Cluster(ada, cit, [build])
    ada.put(".cit/queues/team/queue.toml", made.way(person=made.ada.identity))
    offered(build.path(".cit/interfaces"))
    yield made
    machines.close()


def rows(account: Account, line: str) -> list[dict[str, str]]:
    head, *lines = account.text(line).split("\n")
    return [dict(zip(head.split("\t"), each.split("\t"))) for each in lines if each]


def test_there_and_back(cluster: Cluster) -> None:
    """Nobody knows at first: the builder is asked, and its heartbeat tells it. Then ada is stopped at home, or gets what she called."""
    ada = cluster.person
    assert b"not checked" in ada.sh("cit push --call other whom=Ben").stderr
    within(20, cluster.story, lambda: rows(ada, "cit interfaces @team"))
    (greet,) = rows(ada, "cit interfaces @team")
    assert (greet["interface"], greet["builder"], greet["queue"]) == ("greet", "moon", "main")
    assert "moon: offers no interface other" in cluster.host.text("cit why other")
    stopped = ada.sh("cit push --call greet whom=ben", status=65)
    assert b"parameter whom is 'ben'" in stopped.stderr and b"not checked" not in stopped.stderr
    assert b"not checked" not in ada.sh("cit push --wait --call greet whom=Ben 'whom=Mary Ann'").stderr
    assert ada.text("cit log last") == "A very good day to you, Ben!\nA very good day to you, Mary Ann!"


def test_a_list_follows_jobs_of_a_queue_elsewhere(cluster: Cluster) -> None:
    """The end there is heard of here, fires once, and what was queued over there is not written again."""
    ada = cluster.person
    ada.put("after.triggers", "job once COMPLETED => -J after -- true\n")
    fire = "cit-trigger --list after.triggers"
    assert ada.text(fire) == ""
    ada.sh("cit push --wait -J once -- true")
    assert ada.text(f"{fire} | cit-queue --to @ | grep -c accepted") == "1"
    ada.sh("cit wait after")
    assert ada.text(fire) == "" and not list(ada.path("after.triggers.unsent").glob("*.cit"))
