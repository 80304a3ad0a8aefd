"""Results sealed to their author, over real ssh: nowhere in the clear on the queue's and the builder's machines, read by the read door and opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import loopback
from tests.cluster.cluster import Cluster
from tests.cluster.machine import Account, within

CANARY = f"canary-{os.urandom(6).hex()}"
SCRIPT = f"#!/bin/sh\nmkdir -p lib\necho {CANARY[::-1]} | rev | tee lib/z\n"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[loopback.Loopback]:
    """ada sits at sun; hub has the queue, moon builds."""
    if loopback.obstacle():
        pytest.skip(f"no sshd on loopback: {loopback.obstacle()}")
    made = loopback.Loopback(tmp_path_factory.mktemp("fetch"), {"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    yield made
    made.close()


@pytest.fixture(scope="module")
def cluster(machines: loopback.Loopback) -> Cluster:
    ada, cit, build = (machine.account(machine.user) for machine in machines.machines.values())
    made = Cluster(ada, cit, [build])
    ada.put(".cit/queues/team/queue.toml", made.way(person=made.ada.identity))
    ada.put("script", "#!/bin/sh\nmkdir lib; echo hello | tee lib/z\n")
    ada.put("waits", f"{SCRIPT}while [ ! -e {cit.home}/enough ]; do sleep 0.1; done; echo over\n")
    return made


def holding(account: Account) -> list[str]:
    """The files of an account in which the canary stands."""
    return [str(path) for path in account.path().rglob("*") if path.is_file() and not path.is_symlink() and CANARY.encode() in path.read_bytes()]


def test_sealed_to_its_author(cluster: Cluster) -> None:
    """While it runs the log is on its builder alone, and its door gives it to nobody; afterwards it is nowhere but here."""
    ada, moon = cluster.person, cluster.members["moon"].account
    ada.sh("cit push -q -J secret --keep lib --seal-results --script waits && cit push -q -J open --keep lib --script script")
    within(20, cluster.story, lambda: [log for log in moon.path(".cit/work").glob("*-secret.log") if CANARY in log.read_text()])
    following = ada.start_sh("cit log -f secret")
    refused = ada.sh("cit log secret", status=66)
    assert b"when it has ended, encrypted" in refused.stderr and CANARY.encode() not in refused.stdout + refused.stderr
    assert holding(cluster.host) == []
    cluster.host.put("enough", "")
    assert following.communicate(timeout=30)[0].decode() == f"{CANARY}\nover\n"
    assert ada.text("cit fetch secret . results") == "results/lib/z" and ada.path("results/lib/z").read_text() == f"{CANARY}\n"
    assert ada.text("cit fetch --sealed secret . results") == "results/lib/z.age"
    assert ada.text("age -d -i .ssh/id_ed25519 results/lib/z.age") == CANARY
    assert holding(moon) == holding(cluster.host) == []


def test_in_the_clear_and_over_the_wire(cluster: Cluster) -> None:
    """What is not sealed comes the same way; the log too."""
    ada = cluster.person
    ada.sh("cit wait -q open")
    assert ada.text("cit fetch open lib/z there") == "there/lib/z" and ada.path("there/lib/z").read_text() == "hello\n"
    assert ada.path(ada.text("cit fetch open .log there")).read_text() == "hello\n"


def test_file_that_was_changed_on_its_builder(cluster: Cluster) -> None:
    ada, moon = cluster.person, cluster.members["moon"].account
    for stored in filter(Path.is_file, moon.path(".cit/store").iterdir()):
        stored.chmod(0o600)
        stored.write_bytes(b"x" + stored.read_bytes()[1:])
    assert b"other bytes" in ada.sh("cit fetch secret . again", status=65).stderr
    assert not list(ada.path("again").rglob("z*"))
