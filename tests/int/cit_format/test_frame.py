"""Frames: all of a stream or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cit_format import clock, frame
from cit_format.errors import CitError
from cit_format.reader import reader_of
from tests.int.cit_format.jobs import ID, cut

STREAM = b"".join(f"@cit 1 {ID} n{number}\n".encode() for number in range(3))
FRAMED = frame.framed(STREAM, 3)
LINE = FRAMED.index(b"\n") + 1


@pytest.fixture(autouse=True, scope="module")
def _the_moment_of_the_frames() -> Iterator[None]:
    """The frames above were made when the tests were collected, which may be long ago."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIT_NOW", FRAMED[LINE - 21 : LINE - 1].decode())
        yield


def whole(stream: bytes, sizes: list[int] | None = None, **how: bool) -> bytes:
    read = frame.unframed(reader_of(stream) if sizes is None else cut(stream, sizes), **how)
    return b"".join(iter(lambda: read(1 << 16), b""))


@given(st.binary(max_size=50), st.lists(st.integers(1, 30), max_size=8))
def test_what_is_framed_comes_back_however_it_is_cut(stream: bytes, sizes: list[int]) -> None:
    count = sum(1 for line in stream.split(b"\n") if line == b"@cit" or line.startswith(b"@cit "))
    assert whole(frame.framed(stream, count), sizes) == stream


@given(st.binary(max_size=50), st.lists(st.integers(1, 30), max_size=8))
def test_a_stream_without_a_frame_passes(stream: bytes, sizes: list[int]) -> None:
    assert whole(STREAM + stream, sizes) == STREAM + stream


@pytest.mark.parametrize("size", range(len(b"@cit-stream "), len(FRAMED)))
def test_a_cut_anywhere_is_an_error_and_gives_nothing(size: int) -> None:
    with pytest.raises(CitError) as caught:
        frame.unframed(reader_of(FRAMED[:size]))
    assert caught.value.status == 65


@pytest.mark.parametrize(
    "stream, what",
    [
        (FRAMED + b"x", "bytes after the end of the frame"),
        (FRAMED[:-2] + b"x\n", "the stream's sha256 is another than its frame says"),
        (FRAMED[:-1], f"cut off: {len(STREAM) - 1} of {len(STREAM)} bytes arrived"),
        (frame.framed(STREAM, 2), "3 documents where the frame says 2"),
        (FRAMED.replace(b"stream 1", b"stream 2"), "malformed @cit-stream line"),
        (FRAMED[:LINE].replace(b" 3 ", b" 03 ") + STREAM, "malformed @cit-stream line"),
        (b"@cit-stream 1 1 9999999999999 " + b"0" * 64 + b" 2026-11-23T20:26:12Z\n", "a frame over 1024 MiB"),
    ],
)
def test_each_fault_has_its_words(stream: bytes, what: str) -> None:
    with pytest.raises(CitError) as caught:
        frame.unframed(reader_of(stream))
    assert (caught.value.status, caught.value.what) == (65, what)


def test_clocks_apart_are_an_error_of_their_own_unless_one_only_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    later = clock.parse(FRAMED[LINE - 21 : LINE - 1].decode()) + 6 * clock.MINUTE
    monkeypatch.setenv("CIT_NOW", clock.iso(later))
    with pytest.raises(CitError, match="the clocks are 6m00s apart") as caught:
        frame.unframed(reader_of(FRAMED))
    assert caught.value.status == 78
    assert whole(FRAMED, acts=False) == STREAM


def test_a_frame_can_be_demanded() -> None:
    assert whole(FRAMED, strict=True) == STREAM
    for stream in (STREAM, b"", b"@cit-str"):
        with pytest.raises(CitError, match="no frame"):
            frame.unframed(reader_of(stream), strict=True)
