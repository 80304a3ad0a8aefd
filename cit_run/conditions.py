"""What must be so before a job begins here: the machine's load is low enough, and its disk has the room that the job asks for (docs/howto/limits.md).

Reads: load-limit and tmp of the job; load-limit of the account's own builder document. A job that must wait stays in the inbox, and others go on.
How: looked at just before a job begins, and every five seconds while one waits, which is as often as the kernel counts the load.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .cit_format import body, clock, heartbeat, home
from .cit_format.errors import CitError

if TYPE_CHECKING:
    from .attempt import Attempt

LOOK = 5.0  # seconds between two looks: the kernel counts the load no more often
MINUTE = 60.0  # seconds over which the kernel averages


class Need(NamedTuple):
    """What a job asks of the moment: a load of at most so much, and so many bytes of free disk."""

    load: float = math.inf
    disk: int = 0


# --- decisions ------------------------------------------------------------------------------------------------------


def need(said: Mapping[str, body.Value]) -> Need:
    """What a job section asks for; ValueError or CitError where it cannot be read."""
    limit = float(str(said.get("load-limit", "inf")))
    if math.isnan(limit):
        raise ValueError(f"{said.get('load-limit')!r:.40} is no load")
    tmp = said.get("tmp")
    return Need(limit, clock.size(tmp) if isinstance(tmp, str) else 0)


def hidden(begun: Iterable[tuple[int, float]]) -> float:
    """The load that jobs of ours (processors, seconds since they began) bring, and that the average of a minute does not show yet."""
    return sum(cpus * math.exp(-age / MINUTE) for cpus, age in begun)


def against(wanted: Need, load: float, limit: float, free: int) -> str:
    """Why a job does not begin now: `load` and `free` (bytes) are as they are, `limit` is the builder's own. Empty where it may."""
    if load > limit:
        return f"load {load:.2f}, the limit of this builder is {limit:g}"
    if load > wanted.load:
        return f"load {load:.2f}, the job wants at most {wanted.load:g}"
    if free < wanted.disk:
        return f"{clock.size_text(wanted.disk)} of disk wanted, {clock.size_text(free)} left"
    return ""


# --- as it is -------------------------------------------------------------------------------------------------------


def limit_of(account: home.Account) -> float:
    """The load above which this builder begins nothing, as its owner's document says."""
    if not (account / heartbeat.OWN).exists():
        return math.inf  # it describes itself, and that without a limit
    try:
        return float(str(heartbeat.described(account).table("builder").get("load-limit", "inf")))
    except (CitError, ValueError):
        return math.inf


def free(place: Path) -> int:
    """Bytes that are free on the disk where the workspaces lie."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def now(mine: Attempt, account: home.Account) -> str:
    """Why a job that a person starts by hand does not begin now: only what the job asks itself counts."""
    wanted = need(mine.said)
    return against(wanted, os.getloadavg()[0] if wanted.load < math.inf else 0.0, math.inf, free(account / "work") if wanted.disk else 0)


class Conditions:
    """Those of a pass: which jobs of the inbox rest (by file name), and until when nobody needs to look again."""

    def __init__(self, account: home.Account) -> None:
        self.account = account
        self.limit = limit_of(account)
        self.resting: dict[str, Need] = {}
        self.next = 0.0  # monotonic
        self.told: dict[str, str] = {}  # why, as the log has it, without its figures

    def against(self, wanted: Need, begun: Iterable[tuple[int, float]]) -> str:
        """Why a job does not begin now; the figures are asked for where somebody cares."""
        cares = min(self.limit, wanted.load) < math.inf
        load = os.getloadavg()[0] + hidden(begun) if cares else 0.0
        return against(wanted, load, self.limit, free(self.account / "work") if wanted.disk else 0)

    def rest(self, mine: Attempt, begun: Iterable[tuple[int, float]]) -> str:
        """Have a job rest if it must not begin now: why."""
        wanted = need(mine.said)
        why = self.against(wanted, begun) if self.limit < math.inf or wanted != Need() else ""
        if why:
            self.resting[mine.name] = wanted
            self.next = self.next or time.monotonic() + LOOK
        return why

    def is_news(self, own: str, why: str) -> bool:
        """Whether the log has not said of a job that it waits for this."""
        kind = why.partition(" ")[0]
        before, self.told[own] = self.told.get(own), kind
        return before != kind

    @property
    def is_due(self) -> bool:
        """Whether something rests and it is time to look at it."""
        return bool(self.resting) and time.monotonic() >= self.next

    def look(self, there: Iterable[str], begun: Iterable[tuple[int, float]]) -> bool:
        """Once it is time, let go what may begin, and forget what is not there any more; whether anything was let go."""
        if not self.is_due:
            return False
        here, ages = set(there), list(begun)
        before = len(self.resting)
        self.resting = {name: wanted for name, wanted in self.resting.items() if name in here and self.against(wanted, ages)}
        self.next = time.monotonic() + LOOK if self.resting else 0.0
        return len(self.resting) < before

    def over(self, found: Iterable[str]) -> None:
        """These have been taken after all, to be ended."""
        for name in found:
            self.resting.pop(name, None)

    def pause(self) -> float:
        """Seconds until the next look; infinity where nothing rests."""
        return max(0.0, self.next - time.monotonic()) if self.resting else math.inf
