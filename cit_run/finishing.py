"""running -> finished: ends are written into their documents, signed, synced together and moved (docs/stages/run.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from . import attempt, check, record
from .attempt import Attempt
from .cit_format import clock, control, home, messages, spool
from .cit_format.document import Document
from .cit_format.errors import OK, CitError, worst
from .shim import Ending
from .workspace import Place

CHECK = "check"  # why of an ending: the job's own check said that it is too soon


class End(NamedTuple):
    """A job that is over: run by a shim, or never begun (`ending` None; `why` is cancel, deadline, fault or void, `by` who or what wanted it)."""

    attempt: Attempt
    place: Place | None
    ending: Ending | None
    why: str = ""
    by: str = ""
    elsewhere: record.Elsewhere | None = None


# --- one document ---------------------------------------------------------------------------------------------------


def document_of(end: End, account: home.Account, base: Mapping[str, str]) -> Document:
    """The signed document of an end."""
    if end.ending is None or end.place is None:
        return attempt.not_begun(end.attempt, end.why, account, end.by, clock.now())
    if end.ending.why == CHECK:
        return check.unready(end.attempt, end.place, end.ending, account)
    return attempt.ended(end.attempt, end.place, end.ending, account, base, end.elsewhere)


def move_of(end: End) -> tuple[str, str, str]:
    """An end as a line of the log: job, word, detail."""
    if end.ending is None:
        state = "FAILED" if end.why in (attempt.FAULT, attempt.REFUSED) else record.STATES.get(end.why, end.why)
        return end.attempt.own, state, "not begun" + (f", by {end.by}" if end.why == attempt.CANCEL else f": {end.by}" if end.by else "")
    if end.ending.why == CHECK:
        return end.attempt.own, attempt.VOID, f"not begun: {(check.why(end.place.record) if end.place else '') or 'its check said no'}"
    return end.attempt.own, record.state(end.ending), record.told(end.ending)


# --- the loop -------------------------------------------------------------------------------------------------------


def finish(account: home.Account, ends: Sequence[End], base: Mapping[str, str], meanwhile: Callable[[], None]) -> int:
    """Sign and move a group of ends, on disk when this returns; between any two `meanwhile` keeps the slots at work. An end whose results
    cannot be sealed stays where it is, for the next pass. The worst status."""
    running, finished = account / "running", account / "finished"
    results: dict[str, bytes] = {}
    status = OK
    for end in ends:
        try:
            results[end.attempt.name] = document_of(end, account, base).raw
        except CitError as error:
            status = worst(status, messages.complain(error, end.attempt.own))
        meanwhile()
    ends = [end for end in ends if end.attempt.name in results]
    spool.replace_contents({running / name: raw for name, raw in results.items()})
    for name in results:
        spool.rename_new(running / name, finished / name)
    spool.sync_directory(finished)
    spool.sync_directory(running)
    account.note([move_of(end) for end in ends], "run")
    forget(account, ends)
    return status


def forget(account: home.Account, ends: Sequence[End]) -> None:
    """Remove the wishes about jobs of which nothing is left to do here."""
    wishes = control.targets(account / "control")
    over = {end.attempt.job.id for end in ends if end.attempt.job.id in wishes}
    if over:
        here = [name for state in ("inbox", "running") for name in spool.listing(account / state)]
        for target in over:
            if not any(target in name for name in here):
                control.forget(account / "control", target)
