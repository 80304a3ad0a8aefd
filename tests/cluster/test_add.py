"""cit add and cit remove: an account that has sshd and python3 and nothing else becomes a builder, and goes again (docs/howto/add-a-builder.md)."""

from __future__ import annotations

from typing import Callable

import pytest

from tests.cluster.lan import Lan
from tests.cluster.machine import Account

Lans = Callable[[dict[str, list[str]]], Lan]


def may_log_in(client: Account, server: Account, known: bool = True) -> None:
    """The client's own ssh key lets it in at the server, whose host key its ssh knows."""
    client.sh("[ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
    server.put(".ssh/authorized_keys", client.sh("cat .ssh/id_ed25519.pub").stdout)
    if known:
        client.put(".ssh/known_hosts", server.known)


def bare(account: Account) -> None:
    """Nothing of cit is to be had by who logs in there."""
    account.sh("umount -l /opt/cit", status=None)


@pytest.fixture
def two(lan: Lans) -> tuple[Account, Account]:
    """ada on sun has a queue and may log in as build on moon."""
    machines = lan({"sun": ["ada"], "moon": ["build"]})
    ada, build = machines["sun"].account("ada"), machines["moon"].account("build")
    may_log_in(ada, build)
    machines["moon"].sh("umount -l /opt/cit", "root")
    ada.sh("cit init && rm .cit/queues/main/builders/*")
    return ada, build


def test_an_account_becomes_a_builder(two: tuple[Account, Account]) -> None:
    ada, build = two
    build.sh("command -v cit", status=127)
    said = ada.sh("cit add build@10.77.0.2 --slots 2 --tags fast,linux")
    print(said.stdout.decode(), said.stderr.decode())
    ada.sh("cit push --wait -J there -- sh -c 'hostname; id -un'")
    assert ada.text("cit log last").split() == ["moon", "build"]
