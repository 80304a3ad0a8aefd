"""Asking builders how they are, all at once, where the choice of one depends on it (docs/stages/schedule.md).

The answers are kept as `builders/.load/NAME.cit`; when each was asked, and how often in vain, in `builders/.asked`. One that hangs
delays no other, and all together no more than 3 seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Union

from .cit_format import address, body, builder, builders, clock, heartbeat, home, messages
from .cit_format.builder import Builder
from .cit_format.builders import Asked
from .cit_format.document import Document
from .cit_format.errors import UNREACHABLE, CitError

RECENT = 30 * clock.SECOND  # what was heard since then is not asked again
PAUSE, LONGEST = 10 * clock.SECOND, 5 * clock.MINUTE  # between two questions to one builder; it doubles while there is no answer
PATIENCE = 3.0  # seconds in which all have to answer

Answer = Union[Document, CitError]


# --- decisions ----------------------------------------------------------------------------------------------------------


def is_due(each: Builder, asked: Asked | None, now: int) -> bool:
    """Whether a builder is worth a question: it lies elsewhere, might take a job, and was neither heard nor asked just now."""
    state, _ = builder.shut(each, now)
    if state != "up" or not address.is_remote(each.door) or abs(now - each.heard.time) <= RECENT:
        return False
    return asked is None or not asked.time <= now < asked.time + pause(asked.failures)


def pause(failures: int) -> int:
    """How long a builder is not asked again, in microseconds."""
    return min(LONGEST, PAUSE << min(max(0, failures - 1), 20))


def noted(before: Asked | None, answer: Answer, now: int) -> Asked:
    """What is remembered of a question."""
    if isinstance(answer, Document):
        return Asked(now, 0, "")
    return Asked(now, before.failures + 1 if before else 1, answer.what)


# --- the loop -----------------------------------------------------------------------------------------------------------


def refreshed(queue: home.Queue, known: list[Builder], now: int) -> list[Builder]:
    """These builders, with what those of them say now that are worth a question."""
    asked, resting = builders.asked_before(queue), builders.doors_that_rest(queue, now)
    due = [each for each in known if each.door not in resting and is_due(each, asked.get(each.name), now)]
    due.sort(key=lambda each: asked[each.name].failures if each.name in asked else 0)  # who answered before is asked first
    if not due:
        return known
    found = answers(queue, due)
    for each in due:
        answer = found.get(each.name, CitError(UNREACHABLE, f"no answer within {PATIENCE:g} s"))
        if isinstance(answer, Document):
            try:
                heartbeat.keep(queue, answer, clock.now(), each.key)
            except CitError as error:
                messages.tell("warning", error.what, each.name, error.hint)
                answer = error
        asked[each.name] = noted(asked.get(each.name), answer, now)
    _keep(queue, {name: said for name, said in asked.items() if any(each.name == name for each in known)})
    taken, wanted = builders.given(queue), {each.name for each in due}
    return builder.boxed(_again(queue, each, taken, asked.get(each.name)) if each.name in wanted else each for each in known)


def _again(queue: home.Queue, each: Builder, taken: dict[str, builders.Given], asked: Asked | None) -> Builder:
    now = clock.now()
    beat = heartbeat.kept(queue, each.name, each.key, now)
    return builders.as_heard(each, beat, taken.get(each.name, builders.Given()).jobs, asked, now)


def answers(queue: home.Queue, due: Iterable[Builder]) -> dict[str, Answer]:
    """What builders answer to `load`, or why they do not, by name; who says nothing while patience lasts is not there."""
    from .abreast import Abreast
    from .transport import Doors

    found: dict[str, Answer] = {}
    until = time.monotonic() + PATIENCE
    with Doors(queue) as doors:
        abreast = Abreast()

        def ask(each: Builder) -> None:
            abreast.add(each.door, lambda: doors.at(each.door, lasting=False).fetched("load"), lambda answer: heard(each, answer))

        def heard(each: Builder, answer: Union[list[Document], CitError]) -> None:
            one = answer if isinstance(answer, CitError) or len(answer) != 1 else answer[0]
            found[each.name] = CitError(UNREACHABLE, f"{len(one)} documents in answer to load") if isinstance(one, list) else one

        for each in due:
            ask(each)
        while until > time.monotonic() and abreast.step(max(0.0, until - time.monotonic())):
            pass
    return found


def _keep(queue: home.Queue, asked: dict[str, Asked]) -> None:
    beside = queue / "builders" / f".asked.{os.getpid()}"
    beside.write_bytes(body.tsv((name, clock.iso_ms(each.time), str(each.failures), each.why) for name, each in sorted(asked.items())))
    os.rename(beside, queue / "builders" / ".asked")
