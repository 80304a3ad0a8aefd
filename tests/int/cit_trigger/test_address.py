"""Addresses of repositories: as a builder can use them, without what others may not read, and never anything but an address."""

from __future__ import annotations

import pytest

from cit_trigger import address

PLACE = "/srv/git"


@pytest.mark.parametrize(
    ("url", "wanted", "secret"),
    [
        ("https://git.example.org/z.git", "https://git.example.org/z.git", False),
        ("https://ada:secret@git.example.org:8443/z.git", "https://git.example.org:8443/z.git", True),
        ("https://token@git.example.org/z.git", "https://git.example.org/z.git", True),
        ("https://a@b@git.example.org/z@1", "https://git.example.org/z@1", True),
        ("ssh://git@sun:2222/z.git", "ssh://git@sun:2222/z.git", False),
        ("ssh://git:secret@sun/z.git", "ssh://git@sun/z.git", True),
        ("git@sun:z.git", "git@sun:z.git", False),
        ("sun:z@x", "sun:z@x", False),
        ("file:///srv/z.git", "file:///srv/z.git", False),
        ("/srv/../srv/z", "/srv/z", False),
        ("../z.git", "/srv/z.git", False),
        ("./with:colon", "/srv/git/with:colon", False),
        ("-oProxyCommand=x", "-", False),
        ("ext::sh -c touch% x", "-", False),
        ("codecommit::region://z", "-", False),
        ("https://sun/a\nb", "-", False),
        ("", "-", False),
    ],
)
def test_address_as_it_goes_into_a_document(url: str, wanted: str, secret: bool) -> None:
    assert address.public(url, PLACE) == (wanted, secret)


@pytest.mark.parametrize(
    ("url", "parent", "wanted"),
    [
        ("https://sun/z", "https://moon/a", "https://sun/z"),
        ("../z.git", "https://sun/x/a.git", "https://sun/x/z.git"),
        ("../z.git", "https://sun/x/a.git/", "https://sun/x/z.git"),
        ("./z", "https://sun/a", "https://sun/a/z"),
        ("../../y/z", "https://sun/x/a", "https://sun/y/z"),
        ("../z", "git@sun:a", "git@sun:z"),
        ("../z", "git@sun:x/a", "git@sun:x/z"),
        ("../z", "/srv/a", "/srv/z"),
    ],
)
def test_address_of_a_submodule_may_be_relative_to_its_parents(url: str, parent: str, wanted: str) -> None:
    assert address.resolved(url, parent) == wanted
