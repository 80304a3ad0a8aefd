"""Times as crontab(5) has them: which came last, in UTC and where clocks change; and a slow, plain oracle (docs/howto/trigger-lists.md)."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest

from cit_format import clock, cron
from cit_format.errors import DATA, CitError

BERLIN = "Europe/Berlin"
LAST = {
    "each minute": ("* * * * *", "UTC", "2026-11-23T20:00:00Z", "2026-11-23T20:26:11Z", "2026-11-23T20:26:00Z"),
    "the minute at hand counts": ("26 20 * * *", "UTC", "2026-11-23T20:00:00Z", "2026-11-23T20:26:00Z", "2026-11-23T20:26:00Z"),
    "what was seen does not come again": ("26 20 * * *", "UTC", "2026-11-23T20:26:00Z", "2026-11-23T20:26:59Z", ""),
    "not yet": ("0 3 * * *", "UTC", "2026-11-23T03:00:01Z", "2026-11-24T02:59:59Z", ""),
    "the machine was off for days": ("0 3 * * *", "UTC", "2026-11-01T00:00:00Z", "2026-11-23T20:00:00Z", "2026-11-23T03:00:00Z"),
    "a weekday": ("0 3 * * MON", "UTC", "2026-11-01T00:00:00Z", "2026-11-22T20:00:00Z", "2026-11-16T03:00:00Z"),
    "sunday is 7 too": ("0 3 * * 7", "UTC", "2026-11-01T00:00:00Z", "2026-11-23T20:00:00Z", "2026-11-22T03:00:00Z"),
    "either day": ("0 3 1 * MON", "UTC", "2026-10-01T00:00:00Z", "2026-11-01T20:00:00Z", "2026-11-01T03:00:00Z"),
    "both days": ("0 3 */2 * MON", "UTC", "2026-10-01T00:00:00Z", "2026-11-22T20:00:00Z", "2026-11-09T03:00:00Z"),
    "a leap day, years ago": ("0 0 29 2 *", "UTC", "2020-01-01T00:00:00Z", "2026-11-22T20:00:00Z", "2024-02-29T00:00:00Z"),
    "a word": ("@weekly", "UTC", "2026-11-01T00:00:00Z", "2026-11-23T20:00:00Z", "2026-11-22T00:00:00Z"),
    "a zone": ("0 3 * * *", BERLIN, "2026-11-22T00:00:00Z", "2026-11-23T20:00:00Z", "2026-11-23T02:00:00Z"),
    "a zone whose day has begun": ("30 0 * * *", BERLIN, "2026-11-22T00:00:00Z", "2026-11-22T23:40:00Z", "2026-11-22T23:30:00Z"),
    "left out in spring": ("30 2 * * *", BERLIN, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", "2026-03-29T01:30:00Z"),
    "twice in autumn, once for us": ("30 2 * * *", BERLIN, "2026-10-25T00:31:00Z", "2026-10-25T12:00:00Z", ""),
    "twice in autumn, each hour": ("30 * * * *", BERLIN, "2026-10-25T00:31:00Z", "2026-10-25T01:59:00Z", "2026-10-25T01:30:00Z"),
}


@pytest.mark.parametrize("case", LAST)
def test_last(case: str) -> None:
    expression, zone, since, now, wanted = LAST[case]
    found = cron.last(cron.parse(expression), cron.zone(zone), clock.parse(since), clock.parse(now))
    assert (clock.iso(found) if found else "") == wanted


NONE = ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *", "5/2 * * * *", "*/0 * * * *"]
NONE += ["5-1 * * * *", "* * 31 2,4 *", "* * * FOO *", "-1 * * * *", "1,, * * * *", "@never", "*5 * * * *", "* * * * SUN#2", "\u0661 * * * *"]


@pytest.mark.parametrize("expression", NONE)
def test_what_is_no_time(expression: str) -> None:
    with pytest.raises(CitError) as caught:
        cron.parse(expression)
    assert caught.value.status == DATA


@pytest.mark.parametrize("name", ["Nowhere/City", "../../etc/passwd", "", "/etc/passwd", "Europe"])
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(CitError) as caught:
        cron.zone(name)
    assert caught.value.status == DATA


def field(dice: random.Random, low: int, high: int) -> tuple[str, set[int]]:
    """A random field, and what it means."""
    first = dice.randint(low, high)
    end, step = dice.randint(first, high), dice.randint(1, 5)
    return dice.choice(
        [
            ("*", set(range(low, high + 1))),
            (f"*/{step}", set(range(low, high + 1, step))),
            (str(first), {first}),
            (f"{first}-{end}/{step}", set(range(first, end + 1, step))),
            (f"{first},{end}", {first, end}),
        ]
    )


def test_minute_by_minute_is_the_same() -> None:
    """Each minute of two days is looked at, one by one."""
    dice = random.Random(4)
    for _ in range(150):
        (minute, minutes), (hour, hours), (day, days), (month, months), (week, weekdays) = (
            field(dice, *ends) for ends in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
        )
        now = datetime(2026, dice.randint(1, 12), dice.randint(1, 28), dice.randint(0, 23), dice.randint(0, 59), 30, tzinfo=timezone.utc)
        wanted = ""
        for back in range(2 * 1440):
            at = now.replace(second=0) - timedelta(minutes=back)
            fits = at.day in days, at.isoweekday() % 7 in weekdays
            both = all(fits) if day[0] == "*" or week[0] == "*" else any(fits)
            if at.minute in minutes and at.hour in hours and at.month in months and both:
                wanted = f"{at:%Y-%m-%dT%H:%M:%SZ}"
                break
        moment = int(now.timestamp()) * clock.SECOND
        try:
            found = cron.last(cron.parse(f"{minute} {hour} {day} {month} {week}"), timezone.utc, moment - 2 * clock.DAY - 30 * clock.SECOND, moment)
        except CitError:
            assert not wanted
            continue
        assert (clock.iso(found) if found else "") == wanted, f"{minute} {hour} {day} {month} {week} at {now}"
