"""Fetching from builders elsewhere what their queue is to have: how they are, what has ended (docs/stages/deliver.md).

    load          how the builder is, in its own signed words, into builders/.load
    finished      its ended jobs, through the same door as if it had brought them, into done/
    put-tickets   the tickets back, so that it may forget them

All three go over one connection, that of a delivery where there is one. Who has no way to its queue is helped by this; who has one
brings the same, and either is a duplicate.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from . import transport
from .builders import brief, of_queue
from .cit_format import address, clock, heartbeat, home, messages, spool, ticket, trust
from .cit_format.builder import Builder
from .cit_format.document import Document
from .cit_format.errors import CitError, worst
from .cit_format.put import GROUP_BYTES, GROUP_DOCUMENTS
from .round import Round

RECENT = 30  # seconds: who said how it is since then is not asked on the way


class Fetcher:
    """Fetches for one queue in a round of its carrier."""

    def __init__(self, queue: home.Queue, round_: Round, builders: Iterable[Builder]) -> None:
        self.queue = queue
        self.round = round_
        self.builders = {each.door: each for each in builders if address.is_remote(each.door)}
        self.visited: set[str] = set()  # doors, on the way

    def in_passing(self, place: str) -> None:
        """Fetch from a builder that was just delivered to, if it was not heard of for a while."""
        builder = self.builders.get(place)
        if builder is not None and place not in self.visited:
            self.visited.add(place)
            with contextlib.suppress(FileNotFoundError):
                said = (self.queue / "builders" / heartbeat.CACHE / f"{builder.name}.cit").stat().st_mtime
                if time.time() - said < RECENT:
                    return
            self.visit(builder)

    def visit(self, builder: Builder) -> None:
        """Fetch how a builder is, then what has ended there."""
        self.round.fetch(builder.door, "load", lambda found: self.heard(builder, found))
        self.round.fetch(builder.door, "finished", lambda found: self.came(builder, found))

    def heard(self, builder: Builder, found: list[Document]) -> None:
        """Keep what a builder says of itself, if its own key signed it."""
        for said in found[:1]:
            try:
                heartbeat.keep(self.queue, said, clock.now(), builder.key)
            except CitError as error:
                self.round.status = worst(self.round.status, messages.complain(error, builder.name))

    def came(self, builder: Builder, found: list[Document]) -> None:
        """Ended jobs into done/, and their tickets back. A full group may not have been all."""
        if not found:
            self.round.resting.answered(builder.door)
            return
        tickets = transport.Local(self.queue.path).hand_over("put-done", found)
        for number, each in enumerate(tickets):
            said = each.table("ticket")
            if said.get("state") == "refused":
                error = CitError(int(str(said["status"])), f"from {builder.name}: {said['why']}", "it lies in refused/ with why", each.label)
                self.round.status = worst(self.round.status, messages.complain(error))
                tickets[number] = refusal(found[number], error)
        full = len(found) >= GROUP_DOCUMENTS or sum(len(each.raw) for each in found) > GROUP_BYTES // 2
        again = full and any(transport.state(each) not in transport.TAKEN_BACK for each in tickets)
        self.round.hand_over(builder.door, "put-tickets", tickets, lambda answers: self.settled(builder, again))

    def settled(self, builder: Builder, again: bool) -> None:
        """The builder has the tickets."""
        self.round.resting.answered(builder.door)
        if again:
            self.round.fetch(builder.door, "finished", lambda found: self.came(builder, found))


def fetched(queue: home.Queue) -> int:
    """One round of fetching for a queue, from all builders elsewhere that have jobs of it; the worst status."""
    with Round(queue / "sent") as round_:
        known = [each for each in of_queue(queue, round_.now)[0] if address.is_remote(each.door)]
        fetcher = Fetcher(queue, round_, known)
        busy = having_jobs(queue / "sent") if known else set()
        for builder in known:
            if builder.name in busy and not round_.rests(builder.door):
                fetcher.visit(builder)
        while round_.abreast.step(1):
            pass
        return round_.status


def refusal(job: Document, error: CitError) -> Document:
    """The ticket of a job that its queue refuses, with the attempt by which its builder knows it, if it says one."""
    given = None
    with contextlib.suppress(CitError):
        given = trust.assignment(job)
    return ticket.ticket(job.id, job.name, job.raw, "refused", error, **({"task": given.task, "attempt": given.attempt} if given else {}))


def having_jobs(sent: Path) -> set[str]:
    """The builders that were sent what has not come home."""
    found = set()
    for name in spool.listing(sent):
        with contextlib.suppress(FileNotFoundError):
            found.add(brief(sent / name)[0])
    return found
