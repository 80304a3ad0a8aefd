"""Asking a door elsewhere: one verb, by way of cit-deliver, the only program that opens connections (docs/stages/deliver.md).

    ask("@moon", "have", ID)      `cit-deliver --ask @moon have ID`: the bytes of the door's answer
    alive(queue)                  whether a queue elsewhere can be had; what it said is believed for 10 seconds

Nothing here hangs: who does not answer in time is out of reach (69).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from . import body, clock, home
from .errors import UNREACHABLE, CitError

if TYPE_CHECKING:
    from .home import Queue

FRESH = 10 * clock.SECOND  # how long an answer about being alive is believed
PATIENCE = 10.0  # seconds until an answer must be complete
SHORT = 3.0  # the same, where somebody only wants to know who is there


def ask(place: str, *words: str, seconds: float = PATIENCE, fine: tuple[int, ...] = ()) -> bytes:
    """What a door answers to a verb. `place` is `@QUEUE`, a builder's name or a door. 69 out of reach; else as the door ended.

    Statuses that are `fine` are answers as well: `have` ends with 1 where something is not there.
    """
    import signal
    import subprocess

    command = ["cit-deliver", "-q", "--ask", place, *words]
    try:
        asking = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, close_fds=True
        )
    except OSError as error:
        raise CitError(UNREACHABLE, f"cit-deliver does not start: {error.strerror}", "cit doctor tells what is missing") from None
    try:
        answer, said = asking.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise CitError(UNREACHABLE, f"no answer from {place} within {seconds:g} s", "it is asked anew next time") from None
    finally:
        if asking.poll() is None:  # it and the connection that it has: no time is left, or somebody pressed ^C
            with contextlib.suppress(ProcessLookupError):
                os.killpg(asking.pid, signal.SIGKILL)
            asking.communicate()
    if asking.returncode and asking.returncode not in fine:
        status = asking.returncode if 0 < asking.returncode < 128 else UNREACHABLE
        raise CitError(status, complaint(said) or f"cit-deliver ended with status {asking.returncode}", "it is asked anew next time")
    return answer


def complaint(said: bytes) -> str:
    """The first error that a program told on stderr, without its head (docs/messages.md)."""
    lines = said.decode("utf-8", "replace").splitlines()
    return next((what for line in lines for _, found, what in [line.partition("error: ")] if found), "")


def place_of(queue: Queue) -> str:
    """What cit-deliver calls a queue elsewhere: `@NAME` where it is one of this home, else its door."""
    return f"@{queue.path.name}" if queue.path.parent == (home.path() / "queues").absolute() else queue.door


def alive(queue: Queue, seconds: float = SHORT) -> list[str]:
    """The row of `alive` of a queue elsewhere, asked at most once in 10 seconds. 69 where it cannot be had."""
    now = clock.now()
    known = _remembered(queue, now)
    if known is None:
        known = _said(queue, seconds)
        with contextlib.suppress(OSError):
            beside = queue / f".alive.{os.getpid()}"
            beside.write_bytes(body.row(clock.iso_ms(now), *known))
            os.rename(beside, queue / ".alive")
    why, *row = known
    if why:
        raise CitError(UNREACHABLE, why, "what is pushed meanwhile is kept: cit outbox")
    return row


def _remembered(queue: Queue, now: int) -> list[str] | None:
    """Why it could not be had (empty: it could), then its row; None where that is not known, or was too long ago."""
    with contextlib.suppress(OSError, CitError, ValueError):  # none yet, or torn
        [[moment, *known]] = body.rows((queue / ".alive").read_bytes())
        if known and 0 <= now - clock.parse(moment) < FRESH:
            return known
    return None


def _said(queue: Queue, seconds: float) -> list[str]:
    try:
        rows = body.rows(ask(place_of(queue), "alive", seconds=seconds))
    except CitError as error:
        return [error.what]
    return ["", *rows[0]] if rows and len(rows[0]) >= 2 else ["it answers what is no row of alive"]
