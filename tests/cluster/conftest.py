"""Fixtures: `lan(...)` and `loopback(...)` make machines for a test; they are gone when it ends, also when it fails.

def test_it(lan):
    machines = lan({"sun": ["ada"], "moon": ["cit"]})     # or lan(4): n1 to n4, with an account cit each
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable, Union

import pytest

from tests.cluster import lan as lans
from tests.cluster import loopback as loopbacks

Machines = Union[int, Mapping[str, Sequence[str]]]


def named(machines: Machines) -> Mapping[str, Sequence[str]]:
    return {f"n{number}": ["cit"] for number in range(1, machines + 1)} if isinstance(machines, int) else machines


@pytest.fixture
def lan() -> Iterator[Callable[[Machines], lans.Lan]]:
    """Makes networks of machines with accounts, addresses, power switches and disks of their own."""
    if lans.obstacle():
        pytest.skip(f"no test machines: {lans.obstacle()}")
    made: list[lans.Lan] = []

    def make(machines: Machines) -> lans.Lan:
        made.append(lans.Lan(named(machines)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Callable[[Machines], loopbacks.Loopback]]:
    """Makes machines of this account alone: an sshd on a loopback port and a home each."""
    if loopbacks.obstacle():
        pytest.skip(f"no sshd on loopback: {loopbacks.obstacle()}")
    made: list[loopbacks.Loopback] = []

    def make(machines: Machines) -> loopbacks.Loopback:
        made.append(loopbacks.Loopback(tmp_path, named(machines)))
        return made[-1]

    yield make
    for each in made:
        each.close()
