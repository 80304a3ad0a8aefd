"""How a job ended, in a sentence, and what a person may do next. Pure (docs/stages/report.md)."""

from __future__ import annotations

import signal

from . import story
from .cit_format import clock

SAID = ("cancelled", "over its time limit")  # what the state says already


def how_it_ended(told: story.Story, commands: str) -> str:
    """The sentence about a program's end; `commands` is what it ran, for the limits that it names."""
    state, code, number, why = told["state"], told.get("exit"), told.get("signal"), told.get("why")
    place = f" on {told['builder']}" if told.get("builder") else ""
    ran = story.elapsed(told, 0)
    after = f"{place} after {clock.duration_text(ran)}" if ran is not None and told.get("started") else place
    at = f", at {clock.iso(told['ended'])}" if isinstance(told.get("ended"), int) and isinstance(told["ended"], int) else ""
    if state == "COMPLETED":
        return f"it ended well{after}{at}"
    if state == "FAILED" and number:
        return f"it was ended by signal {number} ({signal_name(int(number))}){after}{at}{_added(why)}"
    if state == "FAILED":
        meaning = {126: ": something in it may not be run", 127: ": a program in it was not found", 75: ": it asks to be tried again"}
        return f"it ended with status {code}{meaning.get(int(code or 0), '')}{after}{at}{_added(why)}"
    return {
        "TIMEOUT": f"it ran longer than it may{commands}, and was ended{after}{at}{_added(why)}",
        "CANCELLED": f"it was cancelled{after}{at}{_added(why)}",
        "NODE_FAIL": f"its builder lost it{after}{at}: how it ended is not known{_added(why)}",
        "OUT_OF_MEMORY": f"it wanted more memory than it may have, and was ended{after}{at}{_added(why)}",
        "DEADLINE": f"it had not ended by its deadline{at}{_added(why)}",
        "REFUSED": f"the queue refused it{at}{_added(why)}",
        "NEW": "no queue has it yet: it is a job on paper",
    }.get(str(state), f"it is {state}{_added(why)}")


def _added(why: object) -> str:
    return f" ({why})" if why and why not in SAID else ""


def signal_name(number: int) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def steps(state: str, short: str, has_log: bool) -> tuple[tuple[str, str], ...]:
    """What to do next, by state."""
    log = ((f"cit log {short}", "all that it printed"),) if has_log else ()
    if state == "COMPLETED":
        return (*log, (f"cit show {short}", "figures, and where everything lies"))
    if state == "RUNNING":
        return ((f"cit log -f {short}", "follow it"), (f"cit cancel {short}", "stop it"))
    if state == "HELD":
        return ((f"cit release {short}", "let it start"), (f"cit cancel {short}", "drop it"))
    if state == "PENDING":
        return ((f"cit wait {short}", "wait for its end"), (f"cit cancel {short}", "drop it"))
    if state == "NEW":
        return (("cit-queue --to @main <FILE", "give it to a queue"),)
    return (*log, (f"cit requeue {short}", "the same again, as a new job"))
