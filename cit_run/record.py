"""What a builder appends to a job: events, environment, artefacts, result. Pure (docs/format/environment-artefact-result.md)."""

from __future__ import annotations

from collections.abc import Sequence

from .cit_format import body, clock, document, journal
from .shim import Ending

STATES = {"time": "TIMEOUT", "cancel": "CANCELLED", "lost": "NODE_FAIL"}


def state(ending: Ending) -> str:
    """The final state, in Slurm's words."""
    return STATES.get(ending.why) or ("COMPLETED" if ending.exit == 0 and ending.signal == 0 else "FAILED")


def status(ending: Ending) -> int:
    """The status that a shell would give the job: 124 time limit, 125 cit itself failed, 128 + signal."""
    if ending.why == "time":
        return 124
    if ending.why == "lost":
        return 125
    return 128 + ending.signal if ending.signal else ending.exit


def result(ending: Ending, attempt: int, task: int | None) -> bytes:
    """The `result` section of an ending."""
    why = {
        "time": "over its time limit",
        "cancel": "cancelled",
        "lost": "its supervisor died; how it ended is not known",
        "exec": "its program could not be started",
    }
    said = {
        "state": state(ending),
        "exit": ending.exit,
        "signal": ending.signal,
        "attempt": attempt,
        "task": task,
        "started": body.Time(ending.started * clock.SECOND),
        "ended": body.Time(ending.ended * clock.SECOND),
        "wall-ms": int((ending.ended - ending.started) * 1000),
        **ending.usage,
        "why": why.get(ending.why),
    }
    return document.section("result", "toml", body.toml(said))


def sections(
    received: int, ending: Ending, attempt: int, task: int | None, environment: Sequence[tuple[str, str]], artefacts: Sequence[tuple[str, str, str]]
) -> list[bytes]:
    """All that a run appends before its signature; `received` in microseconds."""
    events = [
        journal.event("run", "received", "", received),
        journal.event("run", "started", "", int(ending.started * clock.SECOND)),
        journal.event("run", "ended", state(ending), int(ending.ended * clock.SECOND)),
    ]
    written = [
        document.section("event", "tsv", b"".join(events)),
        document.section("environment", "tsv", body.tsv(environment)),
    ]
    if artefacts:
        written.append(document.section("artefact", "tsv", body.tsv(artefacts)))
    return [*written, result(ending, attempt, task)]
