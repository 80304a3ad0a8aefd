"""Asking builders how they are, all at once, where the choice of one depends on it (docs/stages/schedule.md).

Each is asked by a `cit-deliver --ask DOOR load` of its own, so that one that hangs delays no other. The answers are kept as
`builders/.load/NAME.cit`; when each was asked, and how often in vain, in `builders/.asked`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from .cit_format import address, body, builder, builders, clock, frame, heartbeat, home, messages, reader
from .cit_format.builder import Builder
from .cit_format.builders import Asked
from .cit_format.errors import UNREACHABLE, CitError

if TYPE_CHECKING:
    import subprocess
    from typing import IO

RECENT = 30 * clock.SECOND  # what was heard since then is not asked again
PAUSE, LONGEST = 10 * clock.SECOND, 5 * clock.MINUTE  # between two questions to one builder; it doubles while there is no answer
PATIENCE = 3.0  # seconds in which all have to answer
AT_ONCE = 32  # questions under way


class Answer(NamedTuple):
    """What came of a question: exit status (-1: none in time) and what was written."""

    status: int
    said: bytes


# --- decisions ----------------------------------------------------------------------------------------------------------


def is_due(each: Builder, asked: Asked | None, now: int) -> bool:
    """Whether a builder is worth a question: it lies elsewhere, might take a job, and neither was heard nor asked just now."""
    state, _ = builder.shut(each._replace(heard=builder.Heard()), now)
    if state != "up" or not address.is_remote(each.door):
        return False
    pause = min(LONGEST, PAUSE << min(asked.failures - 1 if asked and asked.failures else 0, 20))
    return abs(now - each.heard.time) > RECENT and not (asked and asked.time <= now < asked.time + pause)


def noted(before: Asked | None, answer: Answer, now: int) -> Asked:
    """What is remembered of a question. A door that was reached and does not know the question is no failure."""
    if answer.status not in (-1, UNREACHABLE):
        return Asked(now, 0, "")
    return Asked(now, before.failures + 1 if before else 1, "no answer" if answer.status < 0 else "out of reach")


# --- the loop -----------------------------------------------------------------------------------------------------------


def refreshed(queue: home.Queue, known: list[Builder], now: int) -> list[Builder]:
    """These builders with what those of them say that are worth a question."""
    asked = builders.asked_before(queue)
    due = [each for each in known if is_due(each, asked.get(each.name), now)]
    if not due:
        return known
    for each, answer in answers(queue, due):
        asked[each.name] = noted(asked.get(each.name), answer, now)
        if answer.status == 0:
            try:
                said = frame.unframed(reader.reader_of(answer.said))(1 << 26)
                heartbeat.keep(queue, reader.parse(said), clock.now(), each.key)
            except CitError as error:
                messages.tell("warning", error.what, each.name, error.hint)
    _keep(queue, {name: said for name, said in asked.items() if any(each.name == name for each in known)})
    taken = builders.given(queue)
    wanted = {each.name for each in due}
    return builder.boxed(
        builders.as_heard(
            each,
            heartbeat.kept(queue, each.name, each.key, now),
            taken.get(each.name, builders.Given()).jobs,
            asked.get(each.name),
            now,
        )
        if each.name in wanted
        else each
        for each in known
    )


def answers(queue: home.Queue, due: Iterable[Builder]) -> Iterator[tuple[Builder, Answer]]:
    """Ask builders for their load, many at once. Those that have not answered when patience ends did not; those not asked by then are left out."""
    import selectors

    until = time.monotonic() + PATIENCE
    waiting = list(due)[::-1]
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            left = until - time.monotonic()
            while waiting and len(selector.get_map()) < AT_ONCE and left > 0:
                each = waiting.pop()
                process, output = _asked(queue, each)
                selector.register(output, selectors.EVENT_READ, (each, process, bytearray()))
            if left <= 0:
                break
            for key, _ in selector.select(left):
                each, process, said = key.data
                piece = os.read(key.fd, 1 << 16)
                said += piece
                if not piece:
                    selector.unregister(key.fileobj)
                    yield each, Answer(process.wait(), bytes(said))
        for key in list(selector.get_map().values()):
            each, process, _ = key.data
            _ended(process)
            yield each, Answer(-1, b"")


def _asked(queue: home.Queue, each: Builder) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    import subprocess

    words = ["cit-deliver", "-q", "--queue", str(queue.path), "--ask", each.door, "load"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, start_new_session=True)
    assert process.stdout is not None
    return process, process.stdout


def _ended(process: subprocess.Popen[bytes]) -> None:
    """End a question and what it started."""
    import contextlib
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _keep(queue: home.Queue, asked: dict[str, Asked]) -> None:
    beside = queue / "builders" / f".asked.{os.getpid()}"
    beside.write_bytes(body.tsv((name, clock.iso_ms(each.time), str(each.failures), each.why) for name, each in sorted(asked.items())))
    os.rename(beside, queue / "builders" / ".asked")
