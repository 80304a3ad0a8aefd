"""Secrets are hidden wherever they stand word for word, however the stream is cut into pieces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cit_format import masks

SOUGHT = masks.values([b"hunter2\n", b"hunter2000", b"abab", b"swordfish\n  -----KEY-----  \nabc\n"])


def test_values() -> None:
    """Each line without blanks around it, the longest first, none of three bytes, a thousand at most."""
    assert SOUGHT == [b"-----KEY-----", b"hunter2000", b"swordfish", b"hunter2", b"abab"]
    assert masks.values([b"", b"\n\n", b"   \n", b"abc"]) == []
    assert len(masks.values([b"".join(b"line %d\n" % number for number in range(5000))])) == masks.MOST


@pytest.mark.parametrize(
    "text, shown",
    [
        (b"it is hunter2.", b"it is ***."),
        (b"hunter2000", b"***"),
        (b"hunter2001", b"***001"),
        (b"hunter2hunter2", b"******"),
        (b"ababab ab", b"*** ab"),
        (b"hunterhunter2", b"hunter***"),
        (b"hunter", b"hunter"),
        (b"\xffswordfish\x00", b"\xff***\x00"),
        (b"HUNTER2", b"HUNTER2"),
    ],
)
def test_what_is_hidden(text: bytes, shown: bytes) -> None:
    assert masks.Mask(SOUGHT)(text, last=True) == shown
    same = masks.hidden(text, SOUGHT)
    assert len(same) == len(text) and masks.Mask(SOUGHT, same_size=True)(text, last=True) == same


@given(
    st.lists(
        st.sampled_from([b"hunter2", b"000", b"hunt", b"er2", b"ab", b"a", b"swordfish", b"sword", b"-----KEY-----", b"\n", b" x "]), max_size=12
    ),
    st.data(),
)
def test_pieces_do_not_matter(words: list[bytes], data: st.DataObject) -> None:
    """However a stream is cut, the same is shown; nothing of it is held back once more has come."""
    text = b"".join(words)
    for same_size in (False, True):
        whole = masks.Mask(SOUGHT, same_size)(text, last=True)
        mask, shown, at = masks.Mask(SOUGHT, same_size), b"", 0
        while at < len(text):
            size = data.draw(st.integers(1, 9))
            shown += mask(text[at : at + size])
            at += size
        assert shown + mask(b"", last=True) == whole
        assert not any(value in whole for value in SOUGHT)


def test_nothing_waits_without_need() -> None:
    """What cannot be the beginning of a value is shown at once: somebody is looking."""
    mask = masks.Mask(SOUGHT)
    assert mask(b"building hunt") == b"building "
    assert mask(b"ing\nsw") == b"hunting\n"
    assert mask(b"im") == b"swim"


@pytest.mark.parametrize("at", range(0, 40))
def test_covered_from_any_byte_on(at: int) -> None:
    """Who asks for a log from the middle of a secret on gets asterisks."""
    log = b"first hunter2 then hunter2000 and swordfish."
    start = max(0, at - masks.reach(SOUGHT))
    pieces = [log[start:][cut : cut + 5] for cut in range(0, len(log), 5)]
    assert b"".join(masks.covered(pieces, SOUGHT, at - start)) == masks.hidden(log, SOUGHT)[at:]


def test_covered_leaves_what_is_begun() -> None:
    """It is sent when it is known what it is."""
    assert b"".join(masks.covered([b"it is hunt"], SOUGHT, 0)) == b"it is "


def test_contents_of_a_directory(tmp_path: Path) -> None:
    """A job may have put anything there."""
    (tmp_path / "TOKEN").write_bytes(b"hunter2")
    (tmp_path / "script").write_bytes(b"not looked for")
    (tmp_path / "locked").write_bytes(b"mine")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.symlink("TOKEN", tmp_path / "link")
    assert masks.contents(str(tmp_path)) == {"TOKEN": b"hunter2", "locked": b"mine"}
    assert masks.contents(str(tmp_path / "gone")) == {} and masks.known(str(tmp_path / "gone.log")) == []
