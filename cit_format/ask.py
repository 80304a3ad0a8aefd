"""Asking a door elsewhere: one verb, by way of cit-deliver, the only program that opens connections (docs/stages/deliver.md).

    ask("@moon", "have", ID)      `cit-deliver --ask @moon have ID`: the bytes of the door's answer
    alive(queue)                  whether a queue elsewhere can be had; what it said is believed for 10 seconds

Nothing here hangs: who does not answer in time is out of reach (69).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from . import body, clock, home, silence
from .errors import UNREACHABLE, CitError

if TYPE_CHECKING:
    from subprocess import Popen

    from .home import Queue

FRESH = 10 * clock.SECOND  # how long an answer about being alive is believed
PATIENCE = 10.0  # seconds until an answer must be complete
HINT = "it is asked anew next time"
SHORT = 3.0  # the same, where somebody only wants to know who is there


def ask(place: str, *words: str, seconds: float = PATIENCE) -> bytes:
    """What a door answers to a verb. `place` is `@QUEUE`, a builder's name or a door. 69 out of reach; else as the door ended."""
    import subprocess

    asking = _started(place, words)
    try:
        answer, said = asking.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise CitError(UNREACHABLE, f"no answer from {place} within {seconds:g} s", HINT) from None
    finally:
        _stop(asking)
    _check(asking.returncode, said)
    return answer


def pieces(place: str, *words: str) -> Iterator[bytes]:
    """The same for answers of any size, as they come; the carrier itself gives up where nothing comes for a minute. Errors at the end."""
    import tempfile

    with tempfile.TemporaryFile() as said:
        asking = _started(place, words, said)
        assert asking.stdout is not None
        try:
            while piece := os.read(asking.stdout.fileno(), 1 << 20):
                yield piece
            asking.wait()
        finally:
            _stop(asking)
        said.seek(0)
        _check(asking.returncode, said.read())


def _started(place: str, words: Sequence[str], said: IO[bytes] | None = None) -> Popen[bytes]:
    import subprocess

    command = ["cit-deliver", "-q", "--ask", place, *words]
    errors = said or subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
    except OSError as error:
        raise CitError(UNREACHABLE, f"cit-deliver does not start: {error.strerror}", "cit doctor tells what is missing") from None


def _stop(asking: Popen[bytes]) -> None:
    """End it and the connection that it has, if it has not ended: no time is left, or somebody pressed ^C."""
    import signal

    if asking.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(asking.pid, signal.SIGKILL)
        asking.communicate()


def _check(ended: int, said: bytes) -> None:
    if ended:
        status = ended if 0 < ended < 128 else UNREACHABLE
        raise CitError(status, complaint(said) or f"cit-deliver ended with status {ended}", HINT)


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
    quiet = silence.why(queue, now)
    known = _remembered(queue, now) if not quiet else [quiet]
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
    began = time.monotonic()
    try:
        rows = body.rows(ask(place_of(queue), "alive", seconds=seconds))
    except CitError as error:
        silence.noted(queue, error.what, time.monotonic() - began, clock.now())
        return [error.what]
    silence.over(queue)
    return ["", *rows[0]] if rows and len(rows[0]) >= 2 else ["it answers what is no row of alive"]
