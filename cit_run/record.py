"""What a builder appends to a job: events, environment, artefacts, result. Pure (docs/format/environment-artefact-result.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cit_format import body, clock, document, journal, own_events
from .cit_format.errors import DATA, DENIED
from .cit_format.own_events import Event
from .shim import Ending

STATES = {"time": "TIMEOUT", "stall": "TIMEOUT", "deadline": "DEADLINE", "cancel": "CANCELLED", "lost": "NODE_FAIL", "memory": "OUT_OF_MEMORY"}
WHY = {
    "time": "over its time limit",
    "stall": "its log was silent for longer than it may be",
    "deadline": "not done by its deadline",
    "cancel": "cancelled",
    "memory": "more memory than it may use",
    "tmp": "more disk than it may use",
    "lost": "its supervisor was killed, or the machine went down; how it ended is not known",
    "exec": "its program could not be started; the log says why",
    "before": "what it needs could not be laid out; the log says why",
}
FIGURES = (
    "user-ms",
    "system-ms",
    "max-rss-kib",
    "major-faults",
    "minor-faults",
    "inputs",
    "outputs",
    "voluntary-switches",
    "involuntary-switches",
)
FAILED_HERE = 125  # cit itself failed


class Elsewhere(NamedTuple):
    """What is known of a job that another engine ran (kinds/): rows of its machine, when it was begun anew (microseconds), why it ended so."""

    machine: Sequence[tuple[str, str]] = ()
    restarts: Sequence[int] = ()
    why: str = ""


def state(ending: Ending) -> str:
    """The final state, in Slurm's words."""
    return STATES.get(ending.why) or ("FAILED" if ending.exit or ending.signal or ending.why else "COMPLETED")


def status(ending: Ending) -> int:
    """The status that a shell would give the job: 124 time limit, 125 cit itself failed, 128 + signal."""
    if ending.why in ("time", "stall", "deadline"):
        return 124
    if ending.why in ("lost", "before"):
        return FAILED_HERE
    if ending.why in ("cancel", "tmp"):
        return 128 + (ending.signal or 15)
    if ending.why == "memory":
        return 128 + (ending.signal or 9)
    return 128 + ending.signal if ending.signal else ending.exit


def wall(ending: Ending) -> int:
    """How long the program ran, in microseconds; 0 where nobody saw it."""
    return ending.ended - ending.started if ending.why != "lost" else 0


def told(ending: Ending) -> str:
    """An end for the log of moves: `FAILED, exit 3, 1.2s, 14M`."""
    how = f"signal {ending.signal}" if ending.signal else f"exit {FAILED_HERE if ending.why == 'before' else ending.exit}"
    words = [state(ending), how, clock.duration_text(wall(ending)), clock.size_text(ending.usage.get("max-rss-kib", 0) << 10)]
    return ", ".join(words)


def result(ending: Ending, attempt: int, task: int | None, why: str = "") -> bytes:
    """The `result` section of an ending; `why` is more exact than what the ending itself says."""
    said = {
        "state": state(ending),
        "exit": FAILED_HERE if ending.why == "before" else ending.exit,
        "signal": ending.signal,
        "attempt": attempt,
        "task": task,
        "started": body.Time(ending.started or ending.ended),
        "ended": body.Time(ending.ended),
        "wall-ms": wall(ending) // 1000,
        **{key: ending.usage.get(key, 0) for key in FIGURES},
        "why": why or WHY.get(ending.why),
    }
    return document.section("result", "toml", body.toml(said))


def ran(
    received: int,
    ending: Ending,
    attempt: int,
    task: int | None,
    environment: Sequence[tuple[str, str]],
    artefacts: Sequence[tuple[str, str, str]],
    why: str = "",
    restarts: Sequence[int] = (),
    own: Sequence[Event] = (),
    at: str = "",
) -> list[bytes]:
    """All that a run appends before its signature; `received` and `restarts`, when a cluster began it anew, in microseconds; `own` is what the job
    itself said."""
    events = [journal.event("run", "received", "", received)]
    events += [journal.event("run", "restarted", "", moment) for moment in restarts]
    if ending.started:
        events.append(journal.event("run", "started", "", ending.started))
    events.append(journal.event("run", "ended", told(ending), ending.ended))
    if own:
        rows = [journal.event(own_events.STAGE, each.word, each.detail, ending.ended if each.moment is None else each.moment) for each in own]
        said = [document.section("event", "tsv", b"".join(rows))]
    else:
        said = []
    written = [
        document.section("event", "tsv", b"".join(events)),
        *said,
        document.section("environment", "tsv", body.tsv(environment)),
    ]
    if artefacts:
        written.append(document.section("artefact", "tsv", body.tsv(artefacts), **({"at": at} if at else {})))
    return [*written, result(ending, attempt, task, why)]


def ended_before(received: int, why: str, attempt: int, task: int | None, by: str, now: int) -> list[bytes]:
    """The end of a job that was never begun, `why` cancel, deadline, fault or refused; `by`: who, or what is wrong. No event `started`."""
    ending = Ending({"fault": DATA, "refused": DENIED}.get(why, 0), 0, why, now, now, {})
    sentence = {"cancel": f"cancelled by {by} before it began", "fault": f"not begun: {by}", "refused": f"not begun: {by}"}.get(
        why, "its deadline came before it began"
    )
    events = [journal.event("run", "received", "", received), journal.event("run", "ended", f"{state(ending)}, not begun", now)]
    return [document.section("event", "tsv", b"".join(events)), result(ending, attempt, task, sentence)]


def unready(received: int, ending: Ending, said: str, why: str = "") -> list[bytes]:
    """The builder's word that an assignment ended without a start because the job's own check said no (`said`: its last words),
    or because of what `why` says."""
    how = f"signal {ending.signal}" if ending.signal else f"status {ending.exit}"
    detail = why or f"check said no: {how}" + (f": {said}" if said else "")
    events = [journal.event("run", "received", "", received)]
    events += [journal.event("run", word, detail, ending.ended) for word in ("unready", "void")]
    return [document.section("event", "tsv", b"".join(events))]


def void(received: int, now: int, why: str = "") -> list[bytes]:
    """The builder's word that an assignment ended without a start, and why."""
    events = [journal.event("run", "received", "", received), journal.event("run", "void", why or "not begun within start-within", now)]
    return [document.section("event", "tsv", b"".join(events))]
