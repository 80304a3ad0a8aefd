"""Is a place read as what it says, and is nothing strange taken for a door?"""

from __future__ import annotations

import pytest

from cit_format import address
from cit_format.address import Door
from cit_format.errors import DATA, CitError


@pytest.mark.parametrize(
    ("place", "door"),
    [
        ("ssh://cit@moon", Door("cit", "moon")),
        ("ssh://cit@moon/@main", Door("cit", "moon", 22, "main")),
        ("ssh://cit@10.77.0.1:2222", Door("cit", "10.77.0.1", 2222)),
        ("ssh://a.b_c@sun.example.org:22022/@nightly-2", Door("a.b_c", "sun.example.org", 22022, "nightly-2")),
        ("ssh://cit@[fd00::1]:2222/@main", Door("cit", "fd00::1", 2222, "main")),
    ],
)
def test_is_a_door_read_and_written_the_same(place: str, door: Door) -> None:
    assert address.parse(place) == door
    assert str(door) == place


@pytest.mark.parametrize(
    "place",
    [
        "",
        "moon",
        "/home/ada/.cit",
        "ssh://moon",
        "ssh://@moon",
        "ssh://cit@",
        "ssh://cit@-oProxyCommand=x",
        "ssh://-l@moon",
        "ssh://cit@moon:",
        "ssh://cit@moon:0",
        "ssh://cit@moon:65536",
        "ssh://cit@moon:22x",
        "ssh://cit@moon/",
        "ssh://cit@moon/main",
        "ssh://cit@moon/@",
        "ssh://cit@moon/@UP",
        "ssh://cit@moon/@a/../b",
        "ssh://cit@mo on",
        "ssh://cit@moon;id",
        "ssh://cit@moon\n",
        "ssh://c$(id)t@moon",
        "http://cit@moon",
    ],
)
def test_is_what_is_strange_no_door(place: str) -> None:
    with pytest.raises(CitError) as refused:
        address.parse(place)
    assert refused.value.status == DATA


def test_is_a_door_with_its_own_port_known_by_it() -> None:
    assert address.parse("ssh://cit@moon").known_as == "moon"
    assert address.parse("ssh://cit@moon:2222").known_as == "[moon]:2222"
