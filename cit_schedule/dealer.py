"""Deals jobs to builders, one after the other, as a pass or a filter meets them (docs/stages/schedule.md).

It knows how busy builders are with what it has dealt itself, asks them once where a choice depends on it, and remembers who
built what.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import choose, probe
from .affinity import Affinity
from .choose import Wants
from .cit_format import clock, home
from .cit_format.builder import Builder, boxed, shut


class Dealer:
    """The builders of one pass. With `asks` False nobody is asked; what is known already serves."""

    def __init__(self, queue: home.Queue, builders: Iterable[Builder], now: int, asks: bool = True) -> None:
        self.queue = queue
        self.builders = boxed(builders)
        self.now = now
        self.asks = asks
        self.affinity = Affinity(queue.path) if len(self.builders) > 1 else None

    @property
    def is_open(self) -> bool:
        """Whether any builder takes a job."""
        return any(not shut(each, self.now)[1] for each in self.builders)

    def weighed(self, job: Wants) -> tuple[Builder | None, list[str]]:
        """Who would get a job now, and a line for each builder."""
        had = self.affinity.of(job.name, job.submitter) if self.affinity else ""
        return choose.choose(job, self.builders, self.now, had)

    def deal(self, job: Wants, label: str = "", since: int = 0) -> tuple[Builder | None, list[str]]:
        """The same, and the job is given to it. For one that waits `since` over an hour (microseconds) and finds no room, a builder is kept free."""
        if self.asks and choose.depends(job, self.builders, self.now):
            self.asks = False
            self.builders = probe.refreshed(self.queue, self.builders, self.now)
        chosen, weighed = self.weighed(job)
        if chosen is not None:
            self.builders = choose.with_job(self.builders, chosen, job)
            if self.affinity:
                self.affinity.note(job.name, job.submitter, chosen.name)
        elif since and self.now > since + choose.PATIENCE:
            self.builders = choose.kept_free(job, self.builders, self.now, f"{label}, which waits since {clock.iso(since)}")
        return chosen, weighed

    def close(self) -> None:
        """Write down what the next one is to know."""
        if self.affinity:
            self.affinity.keep()
