"""Times as crontab(5) writes them, and which of them came last. Pure (docs/howto/trigger-lists.md, docs/decisions/cron-expressions.md).

    0 3 * * *          minute hour day-of-month month day-of-week; *, 5, 1-5, */15, 8-18/2, 1,3,5; JAN-DEC, SUN-SAT, 7 is Sunday too
    @daily             @hourly, @weekly, @monthly, @yearly

Of the two days both have to fit where one of them begins with `*`; else either does, as in Debian's cron. A time that a clock leaves
out in spring comes as much later as the clock jumps; one that comes twice in autumn counts once, unless the hour begins with `*`.
Fails: 65 for what is no such time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

from . import clock
from .errors import DATA, CitError

UTC = "UTC"
YEARS = 9  # back to which a last time is looked for: 29 February and its weekday
_WORDS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *"}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of the month", 1, 31, ()), ("month", 1, 12, _MONTHS), ("day of the week", 0, 7, _DAYS))
_PART = re.compile(r"(?:(\*)|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Cron(NamedTuple):
    """A time: which minutes, hours, days and months it means; whether either day does; whether the hour begins with `*`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either: bool
    each_hour: bool

    def means(self, day: date) -> bool:
        """Whether it means this day."""
        fits = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (any(fits) if self.either else all(fits))


def parse(expression: str) -> Cron:
    """The time that an expression means; 65 where it means none."""
    fields = _WORDS.get(expression, expression).upper().split()
    if len(fields) != len(_FIELDS):
        raise CitError(DATA, f"{expression[:60]!r} is no time", "MINUTE HOUR DAY MONTH WEEKDAY, as in a crontab: 0 3 * * *; or @daily")
    minutes, hours, days, months, weekdays = (_field(text, *known) for text, known in zip(fields, _FIELDS))
    if not any(day <= _longest(month) for day in days for month in months) and fields[4].startswith("*"):
        raise CitError(DATA, f"{expression[:60]!r} never comes", "no such month has so many days")
    either = not (fields[2].startswith("*") or fields[4].startswith("*"))
    return Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either, fields[1].startswith("*"))


def _longest(month: int) -> int:
    return 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31


def _field(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first, last, step = (low, high, 1) if match is None else (low, min(high, 6) if names is _DAYS else high, int(match[4] or 1))
        if match is not None and not match[1]:
            first = _value(match[2], low, names)
            last = _value(match[3], low, names) if match[3] else first
        if match is None or not low <= first <= last <= high or not step or (match[4] and not match[1] and not match[3]):
            raise CitError(DATA, f"{part[:20]!r} is no {what}", f"{low}-{high}: *, 5, 1-5, */15, 8-18/2, or several with commas")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _value(text: str, low: int, names: tuple[str, ...]) -> int:
    if text.isdigit():
        return int(text)
    return names.index(text) + low if text in names else -1


def zone(name: str) -> tzinfo:
    """The time zone of this name; 65 where there is none."""
    if name == UTC:
        return timezone.utc
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CitError(DATA, f"no time zone {name[:60]}", "as below /usr/share/zoneinfo: Europe/Berlin; without one it is UTC") from None


def last(wanted: Cron, place: tzinfo, since: int, now: int) -> int:
    """The last moment after `since` and not after `now` (microseconds) that a time means; 0 where there is none."""
    after, until = _EPOCH + timedelta(microseconds=since), _EPOCH + timedelta(microseconds=now)
    day = until.astimezone(place).date() + timedelta(days=1)  # a clock that jumps over midnight
    first = max(after.astimezone(place).date() - timedelta(days=1), day - timedelta(days=YEARS * 366))
    while day >= first:
        if wanted.means(day):
            found = max((moment for moment in _moments(wanted, day, place) if after < moment <= until), default=None)
            if found is not None:
                return (found - _EPOCH) // timedelta(seconds=1) * clock.SECOND
        day -= timedelta(days=1)
    return 0


def _moments(wanted: Cron, day: date, place: tzinfo) -> Iterator[datetime]:
    for hour in wanted.hours:
        for minute in wanted.minutes:
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=place)
            yield local.astimezone(timezone.utc)
            if wanted.each_hour and place is not timezone.utc:
                yield local.replace(fold=1).astimezone(timezone.utc)
