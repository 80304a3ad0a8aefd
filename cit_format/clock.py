"""Time and identity of documents: UTC clock, ULIDs, durations and sizes (docs/format/index.md, docs/messages.md).

Moments are integers, microseconds since 1970-01-01 UTC. `CIT_NOW` pins the clock and `CIT_ID` the first ID that is
minted, so that a stage's run can be repeated byte for byte.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from functools import lru_cache

from .errors import CONFIG, DATA, USAGE, CitError

SECOND = 1_000_000  # microseconds
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z", re.A)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_minted = 0
_last = (0, 0)  # milliseconds and chance of the ID that was minted last


def parse(text: str) -> int:
    """Microseconds of `2026-11-23T20:26:11Z`, with or without a fraction; else CitError 65."""
    match = _TIME.fullmatch(text)
    if match:
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if 1 <= month <= 12 and 1 <= day <= (_MONTH[month - 1] + (month == 2 and leap)) and hour < 24 and minute < 60 and second < 60:
            return calendar.timegm((year, month, day, hour, minute, second)) * SECOND + int((match[7] or "").ljust(6, "0"))
    raise CitError(DATA, f"{text[:40]!r} is no UTC time", "write it as 2026-11-23T20:26:11Z")


def now() -> int:
    """The present moment, or that of `CIT_NOW`."""
    pinned = os.environ.get("CIT_NOW")
    if not pinned:
        return time.time_ns() // 1000
    try:
        return parse(pinned)
    except CitError:
        raise CitError(CONFIG, "CIT_NOW is no UTC time", "write it as 2026-11-23T20:26:11Z, or unset it") from None


def iso(moment: int) -> str:
    """`2026-11-23T20:26:11Z`: whole seconds, cut off."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment // SECOND))


def iso_ms(moment: int) -> str:
    """`2026-11-23T20:26:11.031Z`: milliseconds, as events carry them."""
    return f"{iso(moment)[:-1]}.{moment // 1000 % 1000:03d}Z"


def day(moment: int) -> str:
    """`2026-11-23`, the UTC day."""
    return iso(moment)[:10]


# --- ULIDs --------------------------------------------------------------------------------------------------------


def encode(number: int, letters: int = 26) -> str:
    """`number` in Crockford base32, lower case, `letters` long."""
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (letters - 1), -1, -5))


def decode(text: str) -> int:
    """The number that lower-case Crockford base32 means."""
    number = 0
    for letter in text:
        number = number << 5 | _VALUE[letter]
    return number


def new_id(moment: int | None = None) -> str:
    """A fresh document ID: 48 bits of milliseconds and 80 random bits; with `CIT_ID` set the n-th one is that plus n - 1.

    Of two that one process mints in a millisecond the second is the greater: what is made later is newer.
    """
    global _minted, _last
    pinned = os.environ.get("CIT_ID")
    if pinned:
        _minted += 1
        return encode(decode(pinned) + _minted - 1)
    milliseconds = (now() if moment is None else moment) // 1000
    chance = int.from_bytes(os.urandom(10), "big")
    if _last[0] == milliseconds:
        chance = _last[1] + 1 + (chance >> 24)  # a step of up to 2 to the 56th, so that no ID tells the next one
        if chance >> 80:
            return new_id((milliseconds + 1) * 1000)
    _last = milliseconds, chance
    return encode(milliseconds, 10) + encode(chance, 16)


def id_moment(identity: str) -> int:
    """The moment that an ID was minted at, as it says itself."""
    return decode(identity[:10]) * 1000


def id_day(identity: str) -> str:
    """The UTC day inside an ID: `seen/DAY/` and `done/DAY/` of a document (docs/directories.md)."""
    return _day(id_moment(identity) // DAY)


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return day(number * DAY)


# --- durations and sizes ------------------------------------------------------------------------------------------

_DURATION = re.compile(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SLURM = re.compile(r"(?:(\d+)-)?(\d{1,2}):(\d\d)(?::(\d\d))?")
_SIZE = re.compile(r"(\d+)([KMGT])(?:i?B)?")


def duration(text: str) -> int:
    """Microseconds of `90s`, `30m`, `2h30m`, `1d`, `1-02:03:04` or `02:03:04`; a bare number is refused with a hint (2)."""
    match = _DURATION.fullmatch(text)
    if match:
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * MINUTE + seconds * SECOND
    slurm = _SLURM.fullmatch(text)
    if slurm and (slurm[4] is not None or slurm[1]):
        days, hours, minutes, seconds = (int(part or 0) for part in slurm.groups())
        if minutes < 60 and seconds < 60:
            return ((days * 24 + hours) * 60 + minutes) * MINUTE + seconds * SECOND
    if text.isdigit():
        raise CitError(USAGE, f"{text} of what?", f"a duration has a unit: {text}s, {text}m, {text}h or 1-02:03:04")
    raise CitError(USAGE, f"{text!r} is no duration", "write 90s, 30m, 2h30m or 1-02:03:04")


def size(text: str) -> int:
    """Bytes of `512M`, `4G`, `64K`, `1T` (powers of 1024); a bare number is refused with a hint (2)."""
    match = _SIZE.fullmatch(text)
    if match:
        return int(match[1]) << {"K": 10, "M": 20, "G": 30, "T": 40}[match[2]]
    if text.isdigit():
        raise CitError(USAGE, f"{text} of what?", f"a size has a unit: {text}K, {text}M or {text}G")
    raise CitError(USAGE, f"{text!r} is no size", "write 512M or 4G")


def duration_text(microseconds: int) -> str:
    """A duration for people: `0.42s`, `59s`, `1m05s`, `2h30m`, `1d02h`."""
    seconds = microseconds / SECOND
    if seconds < 10:
        return f"{seconds:.2f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size_text(size_bytes: int) -> str:
    """A size for people: `512B`, `3.4K`, `12M`, powers of 1024."""
    amount, unit = float(size_bytes), "B"
    for unit in "BKMGTP":
        if amount < 1024 or unit == "P":
            break
        amount /= 1024
    return f"{amount:.0f}{unit}" if unit == "B" or amount >= 10 else f"{amount:.1f}{unit}"
