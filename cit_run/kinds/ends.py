"""The ends of jobs that another engine ran, as finishing.py writes them down (docs/stages/run.md, Kinds)."""

from __future__ import annotations

from .. import attempt, secrets, workspace
from ..attempt import Attempt
from ..cit_format import clock, control, home
from ..finishing import End
from ..record import Elsewhere
from ..shim import Ending, read_status
from . import turn
from .engine import State
from .handed import Handed


def end(
    account: home.Account, name: str, mine: Attempt, stands: Ending | str | None, noted: Handed, state: State | None, wished: control.Standing
) -> End:
    """The end of a job that may have begun: by its record, with the engine's reason where a signal came from there, else by the engine."""
    place = workspace.place_of(f"{account.path}/work", mine.own)
    said = f"{name}: {state.told}" if state else ""
    if isinstance(stands, Ending) and turn.is_certain(stands, wished):
        found, why = stands, noted.lost if stands.why == "lost" else ""
    elif isinstance(stands, Ending):
        found = turn.refined(stands, state, noted.put_back)
        why = said if found.why else ""
    else:
        secrets.clear(account.path, mine.own, elsewhere=True)
        found = turn.ending(read_status(place.record), state, clock.now())
        why = said or f"{name} knows nothing more of {noted.id or 'it'}"
    return End(mine, place, found, elsewhere=Elsewhere(attempt.noted(f"{place.record}/machine"), noted.restarts, why))


def not_begun(name: str, mine: Attempt, noted: Handed, state: State | None, verdict: str, wished: control.Standing, why: str) -> End:
    """The end of a job that never began: cancelled, too late, given back, or a call that cannot be run (`why`)."""
    if verdict in turn.OVER:
        return End(mine, None, None, verdict, why or (wished.cancel.by if verdict == attempt.CANCEL and wished.cancel else ""))
    return End(mine, None, None, attempt.VOID, noted.declined or (f"{name}: {state.told}" if state else ""))
