"""Times, IDs, durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cit_format import clock, grammar
from cit_format.errors import CitError

MOMENTS = st.integers(0, 253402300799_999_999)  # to the end of the year 9999


@given(MOMENTS)
def test_a_moment_survives_being_written(moment: int) -> None:
    assert clock.parse(clock.iso(moment)) == moment // clock.SECOND * clock.SECOND
    assert clock.parse(clock.iso_ms(moment)) == moment // 1000 * 1000
    assert clock.iso(moment).startswith(clock.day(moment))


@given(MOMENTS, MOMENTS)
def test_written_moments_sort_as_they_come(one: int, other: int) -> None:
    assert (clock.iso_ms(one) <= clock.iso_ms(other)) or one > other


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-23", "2026-11-23T20:26:11", "2026-11-23 20:26:11Z", "2026-11-23T24:00:00Z", "2026-11-23T23:60:00Z", "2026-11-23T23:59:60Z"]
    + [
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "٢٠٢٦-11-23T20:26:11Z",
        "2026-11-23T20:26:11Z\n",
    ],
)
def test_what_is_no_utc_time_is_refused(text: str) -> None:
    with pytest.raises(CitError, match="is no UTC time"):
        clock.parse(text)


def test_leap_days_are_days() -> None:
    assert clock.parse("2028-03-01T00:00:00Z") - clock.parse("2028-02-29T00:00:00Z") == clock.DAY
    assert clock.parse("2000-03-01T00:00:00Z") - clock.parse("2000-02-29T00:00:00Z") == clock.DAY


def test_the_clock_can_be_pinned_and_a_wrong_pin_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIT_NOW", "2026-11-23T20:26:11.5Z")
    assert clock.iso_ms(clock.now()) == "2026-11-23T20:26:11.500Z"
    monkeypatch.setenv("CIT_NOW", "yesterday")
    with pytest.raises(CitError) as caught:
        clock.now()
    assert caught.value.status == 78


@given(st.integers(0, (1 << 48) - 1))
def test_an_id_is_its_milliseconds_and_chance(milliseconds: int) -> None:
    one, other = (clock.new_id(milliseconds * 1000) for _ in range(2))
    assert grammar.ID.fullmatch(one) and clock.id_moment(one) == milliseconds * 1000
    assert one != other and one[:10] == other[:10]


@given(MOMENTS, MOMENTS)
def test_ids_sort_as_they_were_minted(one: int, other: int) -> None:
    first, second = clock.new_id(one), clock.new_id(other)
    assert one // 1000 == other // 1000 or (first < second) == (one < other)


@given(st.integers(0, (1 << 128) - 1))
def test_base32_comes_back(number: int) -> None:
    assert clock.decode(clock.encode(number)) == number and len(clock.encode(number)) == 26


def test_pinned_ids_count_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIT_ID", "01kax0m2ht8f0v3q6s9y2c4e7z")
    monkeypatch.setattr(clock, "_minted", 0)
    assert [clock.new_id(), clock.new_id()] == ["01kax0m2ht8f0v3q6s9y2c4e7z", "01kax0m2ht8f0v3q6s9y2c4e80"]


@pytest.mark.parametrize(
    "text, seconds",
    [("90s", 90), ("30m", 1800), ("2h30m", 9000), ("1d", 86400), ("1d2h3m4s", 93784), ("1-02:03:04", 93784), ("02:03:04", 7384), ("1-02:03", 93780)],
)
def test_durations(text: str, seconds: int) -> None:
    assert clock.duration(text) == seconds * clock.SECOND


@pytest.mark.parametrize("text", ["", "s", "1x", "-1s", "1.5h", "30m2h", "1 h", "00:60:00", "00:00:60", "12:30", "m30"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(CitError, match="is no duration") as caught:
        clock.duration(text)
    assert caught.value.status == 2


@pytest.mark.parametrize(
    "text, size", [("512M", 512 << 20), ("4G", 4 << 30), ("64K", 64 << 10), ("1T", 1 << 40), ("4GB", 4 << 30), ("4GiB", 4 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert clock.size(text) == size


@pytest.mark.parametrize("text", ["", "M", "4g", "1.5G", "-4G", "4 G", "4GBB"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(CitError, match="is no size"):
        clock.size(text)


@pytest.mark.parametrize("read", [clock.duration, clock.size])
def test_a_bare_number_is_refused_with_a_hint_that_shows_units(read: object) -> None:
    assert callable(read)
    with pytest.raises(CitError, match="30 of what") as caught:
        read("30")
    assert "30m" in caught.value.hint or "30M" in caught.value.hint


@pytest.mark.parametrize(
    "microseconds, text",
    [(420_000, "0.42s"), (59_999_999, "59s"), (65_000_000, "1m05s"), (9_000_000_000, "2h30m"), (93_600_000_000, "1d02h")],
)
def test_durations_for_people(microseconds: int, text: str) -> None:
    assert clock.duration_text(microseconds) == text


@pytest.mark.parametrize("size, text", [(0, "0B"), (1023, "1023B"), (3482, "3.4K"), (12 << 20, "12M"), (5 << 60, "5120P")])
def test_sizes_for_people(size: int, text: str) -> None:
    assert clock.size_text(size) == text
