"""What a visit does with one job: its record, the engine's word and what is wished in; one act out. Pure (docs/stages/run.md, Kinds).

The record is believed before the engine: who ran the job saw its end. The engine is asked how a job stands that has no end there,
and why, where a signal ended one that nobody here had sent.
"""

from __future__ import annotations

import signal

from .. import attempt
from ..attempt import Attempt
from ..cit_format import attempts, control
from ..shim import Ending, Status
from . import engine
from .engine import ENDED, PENDING, State
from .handed import Handed

WAIT = "wait"
HAND_OVER = "hand over"
BACK = "back"  # into the inbox
DECLINE = "decline"  # it will never begin there
END = "end"  # as the record says it
ENDED_THERE = "ended there"  # as the engine says it
NOT_BEGUN = "not begun"  # cancelled, too late, or given back
LOST = "lost"  # standing of a record: begun, and nobody runs it
OVER = (attempt.CANCEL, attempt.DEADLINE, attempt.VOID, attempt.FAULT, attempt.REFUSED)
FOREIGN = (signal.SIGKILL, signal.SIGTERM)  # what a cluster ends jobs with


def act(record: Ending | str | None, state: State | None, handed: Handed, verdict: str, wished: control.Standing, paused: bool) -> str:
    """What is to be done, where the engine was asked; `record` as recovery.standing tells it, `verdict` of a job that has not begun."""
    if isinstance(record, Ending):
        return END if is_certain(record, wished) or state is None or state.phase == ENDED else WAIT
    if state is None:
        return unknown(record, handed, verdict)
    if state.phase == ENDED:
        return past(record, state, handed, verdict)
    listens = state.phase != PENDING and record == "running"  # a supervisor that is just starting would die of a signal
    if wished.stops or (wished.cancel and state.phase == PENDING and record is None):
        return engine.STOP if listens and not handed.stopped else engine.CANCEL  # the engine's own way ends all processes at once
    if record is None and state.phase == PENDING and (verdict in OVER or handed.declined):
        return engine.CANCEL
    if state.phase != PENDING:
        return engine.PAUSE if listens and wished.held and not paused else engine.RESUME if wished.held is False and paused else WAIT
    if state.never and record is None:
        return DECLINE
    return engine.HOLD if wished.held and not state.held else engine.RELEASE if wished.held is False and state.held else WAIT


def unasked(record: Ending | str | None, fresh: bool, verdict: str, wished: control.Standing) -> str:
    """The same where the engine does not answer; `fresh`: taken in this visit, so it was never handed over."""
    if isinstance(record, Ending):
        return END if is_certain(record, wished) else WAIT
    return NOT_BEGUN if fresh and verdict in OVER else WAIT


def is_certain(ending: Ending, wished: control.Standing) -> bool:
    """Whether the record alone says why a job ended: only where a signal came from nobody here may the engine have sent it."""
    if ending.why == "cancel":
        return wished.stops
    return bool(ending.why) or ending.signal not in FOREIGN


def unknown(record: Ending | str | None, handed: Handed, verdict: str) -> str:
    """A job of which the engine knows nothing: never handed over, or so long ago that it has forgotten it."""
    if record == "running":
        return WAIT  # its supervisor holds the lock: the engine has lost sight of it, we have not
    if record is None and (verdict in OVER or handed.declined):
        return NOT_BEGUN
    if record is None and not handed.id:
        return BACK if verdict == attempt.HOLD else HAND_OVER
    return ENDED_THERE


def past(record: Ending | str | None, state: State, handed: Handed, verdict: str) -> str:
    """A job that has ended there, of which the record has no end."""
    if record is not None:
        return ENDED_THERE
    if verdict in OVER or handed.declined or state.end == engine.FAILED:
        return NOT_BEGUN  # its script failed before anything was begun: somebody else may be able to
    if state.end == engine.DONE:  # the step left it alone, for a reason that is gone, or for a hold
        return BACK if verdict == attempt.HOLD else HAND_OVER
    return ENDED_THERE


def may_begin_anew(wanted: Attempt, restarts: int) -> bool:
    """Whether one assignment may begin a job so many times more: its author wants lost ones again, and it has starts left."""
    allowed, causes = wanted.said.get("attempts", 1), wanted.said.get("retry-on", [])
    if not isinstance(allowed, int) or not isinstance(causes, list) or "lost" not in causes:
        return False
    return attempts.starts(wanted.job, wanted.number) + restarts <= allowed


def ending(status: Status | None, state: State | None, now: int) -> Ending:
    """The end of a job by the engine's word: nobody saw how its program ended."""
    why = state.end if state and state.end not in (engine.DONE, engine.FAILED) else "lost"
    return Ending(0, 0, why, status.begun if status else 0, state.ended if state and state.ended else now, {})


def refined(found: Ending, state: State | None, put_back: int) -> Ending:
    """The end in a record, with the engine's word why it came by a signal. What nobody here wished is none of ours: lost. So is what was put
    back there since it began (then: `put_back` times): the end that the engine tells is that of a start that never was."""
    if state is None or state.end in ("", engine.DONE, engine.FAILED):
        is_older = state is not None and state.restarts > put_back
        return found._replace(why="lost") if found.why == "cancel" or is_older else found
    return found._replace(why=state.end)
