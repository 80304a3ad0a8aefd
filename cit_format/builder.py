"""A builder: what its document says of it, how it is at the moment, and why it takes nothing at present (docs/format/builder.md).

Pure. Times are microseconds, sizes bytes. Builders with one `host` are accounts of one box: it has as many slots, processors and
as much memory as the one of them says that says most, and what all of them have to do counts there.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from . import clock
from .body import Value
from .document import Document
from .errors import DATA, CitError

FRESH = 5 * clock.MINUTE  # what was heard earlier decides nothing
SCARCE = 64 << 20  # with less disk left than this a builder gets nothing
KINDS = ("cit", "slurm")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")

Hours = tuple[tuple[int, int], ...]  # spans of the day in minutes; one that ends before it begins goes over midnight


class Heard(NamedTuple):
    """What a builder said last, and when (0: never). `others` are jobs that it has of other queues, `ended` those of ours that wait to come home."""

    time: int = 0
    load: float | None = None
    mem_free: int | None = None
    tmp_free: int | None = None
    others: int = 0
    ended: int = 0
    can_build: tuple[str, ...] | None = None  # of what its owner lists, what it says it can build now; None: all of it
    interfaces: tuple[str, ...] | None = None  # that it offers; None: not known


class Box(NamedTuple):
    """A machine over all its accounts: how many there are, what it has, and what is taken of it."""

    accounts: int = 1
    slots: int = 0
    cpus: int = 0
    mem: int = 0
    jobs: int = 0
    cpus_taken: int = 0
    mem_taken: int = 0


class Builder(NamedTuple):
    """A builder as its document says it (up to `created`), how it is, and what the queue has given it."""

    name: str
    key: str
    account: str
    host: str
    door: str = ""
    kind: str = "cit"
    seal: str = ""  # fingerprint of the key that secrets are sealed to
    slots: int = 1
    ahead: int = 0
    cpus: int = 1
    mem: int = 0
    tmp: int = 0
    tags: tuple[str, ...] = ()
    users: tuple[str, ...] = ()  # empty: everybody
    hours: Hours = ()  # empty: always
    can_build: tuple[str, ...] = ()  # empty: everything
    load_limit: float = math.inf
    up: bool = True
    created: int = 0
    paused: str = ""  # by whom, when and why
    kept: str = ""  # free for whom
    unreached: str = ""  # that it was not, when, and why
    heard: Heard = Heard()
    given: int = 0  # jobs,
    cpus_taken: int = 0
    mem_taken: int = 0
    mem_new: int = 0  # of these since it was heard: wished memory,
    tmp_new: int = 0  # and disk
    box: Box = Box()

    @property
    def jobs(self) -> int:
        """What it has to do, as far as is known."""
        return max(0, self.given - self.heard.ended) + self.heard.others

    @property
    def inbox(self) -> int:
        """How many jobs may wait there; none where its hours would pass meanwhile."""
        return 0 if self.hours else self.ahead

    @property
    def room(self) -> int:
        """How many jobs more it takes: free slots, and those that may wait in its inbox."""
        return self.slots + self.inbox - self.jobs

    @property
    def place(self) -> str:
        """The box that it shares with others; a cluster is one of its own."""
        return self.host if self.kind == "cit" else f"{self.kind}:{self.name}"


# --- what documents say -----------------------------------------------------------------------------------------------


def builder(described: Document) -> Builder:
    """The builder that a `builder` document describes; 65 where it cannot be read."""
    said = described.table("builder")
    for key in ("name", "key", "account", "host"):
        if not isinstance(said.get(key), str):
            raise CitError(DATA, f"the builder says no {key}", "docs/format/builder.md lists what it needs", described.label)
    try:
        limit = float(str(said.get("load-limit", "inf")))
        mem, tmp = (clock.size(str(said.get(key, "0K"))) for key in ("mem", "tmp"))
        hours = spans(str(said.get("hours", "")))
    except (CitError, ValueError) as error:
        raise CitError(DATA, f"what cannot be read: {error}", 'write mem = "16G", load-limit = "6.5"', described.label) from None
    return Builder(
        str(said["name"]),
        str(said["key"]),
        str(said["account"]),
        str(said["host"]),
        str(said.get("door", "")),
        str(said.get("kind", "cit")),
        _fingerprint(str(said.get("seal", ""))),
        number(said, "slots", 1),
        number(said, "ahead", 0),
        number(said, "cpus", 1),
        mem,
        tmp,
        words(said, "tags"),
        words(said, "users"),
        hours,
        words(said, "can-build"),
        limit,
        said.get("state", "up") == "up",
        number(said, "created", 0),
    )


def number(table: dict[str, Value], key: str, default: int) -> int:
    """A key that is a number or a time."""
    value = table.get(key, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def words(table: dict[str, Value], key: str) -> tuple[str, ...]:
    """A key that is a list of words, sorted."""
    value = table.get(key, [])
    return tuple(sorted(str(word) for word in value)) if isinstance(value, list) else ()


def spans(text: str) -> Hours:
    """The hours of `18:00-08:00,12:00-13:00`; ValueError where they are none."""
    found = []
    for span in filter(None, text.split(",")):
        match = _HOURS.fullmatch(span)
        begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
        if begin == end or end > 24 * 60:
            raise ValueError(f"hours {span[:40]!r}, which are written as 18:00-08:00")
        found.append((begin, end))
    return tuple(found)


def _fingerprint(public: str) -> str:
    """Of the key that secrets are sealed to; empty where there is none that would do."""
    from . import seal

    with contextlib.suppress(CitError):
        return seal.recipient(public).fingerprint if public else ""
    return ""


def heard(said: dict[str, Value], now: int) -> Heard:
    """What a `load` section says; of one that is not fresh only when that was. 65 where it cannot be read."""
    time = number(said, "time", 0)
    if abs(now - time) > FRESH:
        return Heard(time)
    try:
        load = float(str(said["load"])) if "load" in said else None
        mem, tmp = (clock.size(str(said[key])) if key in said else None for key in ("mem-free", "tmp-free"))
    except (CitError, ValueError) as error:
        raise CitError(DATA, f"a size or load that cannot be read: {error}", "write 16G, and loads as 6.5") from None
    builds = said.get("can-build")
    return Heard(time, load, mem, tmp, can_build=tuple(map(str, builds)) if isinstance(builds, list) else None)


# --- how it is --------------------------------------------------------------------------------------------------------


def is_open(hours: Hours, now: int) -> bool:
    """Whether a moment lies in these hours (UTC)."""
    minute = now // clock.MINUTE % (24 * 60)
    return not hours or any(begin <= minute < end if begin < end else minute >= begin or minute < end for begin, end in hours)


def shut(builder: Builder, now: int) -> tuple[str, str]:
    """A word for its state, and why it takes no job at present, whichever it is; empty where it takes some. `up`: it only has enough."""
    if builder.paused:
        return "paused", f"paused by {builder.paused}"
    if not builder.up:
        return "drain", "takes no new jobs (drain)"
    if not is_open(builder.hours, now):
        return "closed", f"begins jobs {hours_text(builder.hours)} UTC only"
    heard, limited = builder.heard, builder.kind == "cit"
    if limited and heard.load is not None and heard.load > builder.load_limit:
        return "up", f"load {heard.load:.2f}, its limit is {builder.load_limit:g}"
    if heard.tmp_free is not None and heard.tmp_free < SCARCE:
        return "up", f"{clock.size_text(heard.tmp_free)} of disk left"
    if builder.kept:
        return "up", f"kept free for {builder.kept}"
    if builder.room <= 0:
        return "up", f"full: {count(builder.jobs)} for {count(builder.slots, 'slot')} and {builder.inbox} ahead"
    return "up", ""


def hours_text(hours: Hours) -> str:
    """`18:00-08:00,12:00-13:00`."""
    return ",".join(f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}" for begin, end in hours)


def count(amount: int, what: str = "job") -> str:
    """`1 job`, `2 jobs`."""
    return f"{amount} {what}{'' if amount == 1 else 's'}"


def boxed(builders: Iterable[Builder]) -> list[Builder]:
    """The builders, each with its box as it is over all of its accounts."""
    found = list(builders)
    boxes: dict[str, Box] = {}
    for each in found:
        so_far = boxes.get(each.place, Box(0))
        boxes[each.place] = Box(
            so_far.accounts + 1,
            max(so_far.slots, each.slots),
            max(so_far.cpus, each.cpus),
            max(so_far.mem, each.mem),
            so_far.jobs + each.jobs,
            so_far.cpus_taken + each.cpus_taken,
            so_far.mem_taken + each.mem_taken,
        )
    return [each._replace(box=boxes[each.place]) for each in found]
