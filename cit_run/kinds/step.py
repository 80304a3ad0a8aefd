"""A job begins on a node of another engine: last look, workspace, then it is run and supervised as everywhere (docs/stages/run.md, Kinds).

Argument: COPY-NAME. Reads: the job's document in `running`, `control`. Writes: its record, `machine` in it. Then alone.py takes our place.
A job is begun once: what was begun, or is to be ended before it begins, is left to the visit, which is made at the end in any case.
Exits: as the job, 1 where a bound ended it; 0 where there was nothing to begin. What we say ourselves goes where the engine keeps it.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys
from typing import NoReturn

from .. import attempt, environment, limits, recovery, status, taking, workspace
from ..attempt import Attempt
from ..cit_format import body, clock, control, home, messages, reader, spool, wake
from ..shim import Ending, Order
from . import engine, handed, turn
from .engine import Here

_ALONE = "import sys; sys.path.append({!r}); from {}.alone import main; main()"
_PR_SET_CHILD_SUBREAPER = 36
DOUBT = 0.2  # seconds between the first and the last process of a job that hears of its end


def main() -> None:
    """The program that an engine starts on a node."""
    sys.exit(messages.guarded("cit-run", lambda: begin(sys.argv[1])))


def begin(own: str) -> None:
    """Begin the job of this COPY-NAME if it is to begin; then what is left to do for all."""
    account = home.Account(home.path().absolute())
    here = engine.engine_of(account, str(account.settings.get("kind"))).here()
    recovery.clear(account, here=True)
    mine = found(account, own)
    order = ordered(account, mine, here) if mine and is_free(account, mine, here) else None
    become(account, order, {**environment.of_account(account.settings), **here.variables})


def found(account: home.Account, own: str) -> Attempt | None:
    """The attempt in `running`; None where it is over."""
    for name in spool.listing(account / "running"):
        if attempt.own_name(name) == own:
            return attempt.attempt_of(name, reader.parse((account / "running" / name).read_bytes()), clock.now())
    return None


def is_free(account: home.Account, mine: Attempt, here: Here) -> bool:
    """Whether a job may begin now: nobody began it, or the engine does so anew and its author lets it; and no wish or limit is against it."""
    record = f"{account.path}/work/{mine.own}.run"
    stands, now = recovery.standing(record), clock.now()
    wished = control.look(account / "control", mine.job, mine.task, mine.number, account.signers, now)
    if stands is None and here.restarts:
        handed.note(record, "put-back", count=here.restarts)  # before it began: that is no start of it
    elif stands is not None:
        if not here.restarts or (isinstance(stands, Ending) and turn.is_certain(stands, wished)):
            return False
        if not turn.may_begin_anew(mine, len(handed.read(record).restarts) + 1):
            lost(record)
            return False
        handed.note(record, "restarted", count=here.restarts)
        os.rename(f"{record}/status", f"{record}/status.{here.restarts}")
    verdict = taking.verdict(mine, wished, now, taking.leaving(account))
    return attempt.called(account, mine, verdict)[0] == attempt.START


def lost(record: str) -> None:
    """Note the end of a job that is not to begin again: the last line of `status` that tells an end counts."""
    handed.note(record, "lost", why="put back into the queue there, and its author allows no further start")
    fd = os.open(f"{record}/status", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        status.note(fd, status.line("ended", why="lost"))
    finally:
        os.close(fd)


def ordered(account: home.Account, mine: Attempt, here: Here) -> Order:
    """Lay a job out on this node: the order that a shim would get."""
    base = {**environment.of_account(account.settings), **here.variables}
    if "CIT_HOST" in os.environ:
        base["CIT_HOST"] = os.environ["CIT_HOST"]  # who pushes jobs from here is the same person as at home
    there = len(os.sched_getaffinity(0))
    place, before = attempt.laid_out(mine, account, there, mine.own)
    workspace.written(f"{place.record}/machine", body.tsv([*environment.machine(), *here.rows]))
    order = limits.limited(attempt.order(mine, place, base, before, account.path), mine, account.settings)._replace(doubt=DOUBT)
    return attempt.order_as(order, account, mine.job)


def become(account: home.Account, order: Order | None, variables: dict[str, str]) -> NoReturn:
    """Become the bare process beside the job, with what it has to do as its stdin."""
    import ctypes

    line = account.on_arrival
    after = ["/bin/sh", os.path.join(os.path.dirname(wake.__file__), "sh", "wake"), str(account.path), line] if line else []
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    path = f"{account.path}/work/.order-{os.getpid()}-{os.uname().nodename}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    with open(fd, "wb", closefd=False) as stream:
        marshal.dump((order._asdict() if order else None, after, variables), stream)
    os.lseek(fd, 0, os.SEEK_SET)
    os.dup2(fd, 0)
    room = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _ALONE.format(room, __package__)])
