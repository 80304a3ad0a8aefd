"""One pass over a build account whose jobs another engine runs: what is in the inbox is handed over, what has ended is finished.

Reads: `inbox`, `running`, `control`, records of jobs. Writes: `finished`, `refused`, `handed` of records, log/DAY.tsv. Under running/.lock.
How: the engine is asked once for all, what it and the records say is acted upon (turn.py); where that changed something, once more.
Nothing stays: cron, an arrival and the end of each job start the next visit. Killed at any moment, the next one finds all: the engine
knows a job by its name, and a job's step begins what was never begun, once.
Exits: 75 the engine does not answer; else as a pass. Pages: docs/stages/run.md, docs/howto/slurm.md
"""

from __future__ import annotations

import os

from .. import attempt, environment, finishing, recovery, taking, workspace
from ..attempt import Attempt
from ..cit_format import clock, control, home, messages, spool, wake
from ..cit_format.errors import LATER, OK, CitError, worst
from ..finishing import End
from ..shim import Ending
from . import ends, engine, handed, turn
from .engine import Engine, State
from .handed import Handed

ROUNDS = 4  # looks in one visit: what is still moving then is left to the next one
MOST = 1000  # jobs there at once where nothing else is said; the queue counts what it gives as well
GROUP = 128  # ends that are signed and moved together at most
LOOK_AHEAD = 1000  # names in the inbox whose limits are minded


def visit(account: home.Account, count: int) -> int:
    """Make a pass, with at most `count` jobs there at once. While another one is at work wait for it, as it may have looked already:
    one waits for all that come meanwhile."""
    following, lock = spool.Lock(account / "running" / ".next"), spool.Lock(account / "running" / ".lock")
    if not following.try_now():
        return OK
    with lock:
        following.release()
        named(account)
        return Visit(account, engine.engine_of(account, str(account.settings.get("kind")), lock.fd), count).run()


def named(account: home.Account) -> None:
    """A cluster has many hosts, a builder one: we speak for the host of its identity, by whatever node we run on."""
    own = [entry.principal for entry in account.signers.allowed.get(account.signer.public.blob, []) if "cit-result" in entry.namespaces]
    if own and "CIT_HOST" not in os.environ:
        os.environ["CIT_HOST"] = own[0].rpartition("@")[2]


class Visit:
    """A visit under way: attempts in `running` without an end, and what became of the others."""

    def __init__(self, account: home.Account, there: Engine, count: int) -> None:
        self.account = account
        self.there = there
        self.count = count
        self.base = environment.of_account(account.settings)
        self.leaves = taking.leaving(account)
        recovery.clear(account, here=True)
        found = recovery.left(account)
        self.waiting = found.attempts
        self.left: set[str] = set()  # names in the inbox that have had their turn
        self.fresh: set[str] = set()  # COPY-NAMEs that this visit took
        self.ends: list[End] = []
        self.moves: list[tuple[str, str, str]] = []
        self.status = found.status
        self.tells = found.moved
        self.stirred = False  # what the engine would say has been changed

    def run(self) -> int:
        """Until nothing changes by itself."""
        for _ in range(ROUNDS):
            self.stirred = False
            states = self.asked()
            self.waiting += self.taken(states is not None)
            self.turns(states)
            self.finish()
            if not self.stirred or states is None:
                break
        if self.tells:
            line = str(self.account.settings.get("on-end", home.ACCOUNT_ON_END))
            wake.arrived(self.account / "finished", f"cd .. && {line}" if line else "")
        return self.status

    def record(self, mine: Attempt) -> str:
        return f"{self.account.path}/work/{mine.own}.run"

    # --- looking ------------------------------------------------------------------------------------------------------

    def asked(self) -> dict[str, State] | None:
        """How the jobs stand there, by COPY-NAME; None where the engine does not answer."""
        noted = {mine.own: handed.read(self.record(mine)) for mine in self.waiting}
        wanted = {own: found.id for own, found in noted.items() if found.id}
        if not wanted and not self.waiting and not spool.listing(self.account / "inbox"):
            return {}
        try:
            return self.there.ask(wanted)
        except CitError as error:
            self.out_of_reach(error)
            return None

    def out_of_reach(self, error: CitError) -> None:
        """The engine does not answer: said where somebody listens, all stays."""
        if error.status != LATER:
            raise error
        messages.tell("warning", error.what, "", error.hint)
        self.status = worst(self.status, LATER)

    def taken(self, answers: bool) -> list[Attempt]:
        """inbox -> running: as many as may be there, and those whose time is up or that somebody cancels."""
        attempts: list[Attempt] = []
        while True:
            inbox = [name for name in spool.listing(self.account / "inbox") if name not in self.left]
            free = max(0, self.count - len(self.waiting) - len(attempts)) if answers else 0
            wanted = inbox[:free] + [name for name in inbox[free:][:LOOK_AHEAD] if self.is_late(name)]
            if not wanted:
                return attempts
            found = taking.take(self.account, wanted, lambda: None)
            self.status = worst(self.status, found.status)
            self.left.update(wanted)
            self.fresh |= {mine.own for mine in found.attempts}
            attempts += found.attempts

    def is_late(self, name: str) -> bool:
        """Whether a job in the inbox has to be ended or given back although there is no room for it."""
        wishes = control.targets(self.account / "control").get(attempt.id_of(name), [])
        said = (document.table("control").get("action") for document in control.read(self.account / "control", wishes))
        return "cancel" in said or taking.due(self.account, name, self.leaves) <= clock.now()

    # --- acting -------------------------------------------------------------------------------------------------------

    def turns(self, states: dict[str, State] | None) -> None:
        """Do for each job what its turn is, then hand over."""
        todo, stay = [], []
        for mine in self.waiting:
            done = self.turn(mine, states)
            if done == turn.HAND_OVER:
                todo.append(mine)
            elif done not in (turn.END, turn.ENDED_THERE, turn.NOT_BEGUN, turn.BACK):
                stay.append(mine)
        self.waiting = stay + todo
        if todo:
            self.hand_over(todo)

    def turn(self, mine: Attempt, states: dict[str, State] | None) -> str:
        """Look at one job and do what is to be done; what that was."""
        path, now = self.record(mine), clock.now()
        stands, noted = recovery.standing(path), handed.read(path)
        wished = control.look(self.account / "control", mine.job, mine.task, mine.number, self.account.signers, now)
        verdict, why = attempt.called(self.account, mine, taking.verdict(mine, wished, now, self.leaves))
        state = states.get(mine.own) if states is not None else None
        if states is None:
            done = turn.unasked(stands, mine.own in self.fresh, verdict, wished)
        else:
            self.noted(mine, stands, noted, state)
            done = turn.act(stands, state, noted, verdict, wished, is_paused(path))
        if done in (turn.END, turn.ENDED_THERE):
            self.ends.append(ends.end(self.account, self.there.name, mine, stands, noted, state, wished))
        elif done == turn.NOT_BEGUN:
            self.ends.append(ends.not_begun(self.there.name, mine, noted, state, verdict, wished, why))
        elif done == turn.BACK:
            spool.rename_new(self.account / "running" / mine.name, self.account / "inbox" / mine.name)
            for directory in ("inbox", "running"):
                spool.sync_directory(self.account / directory)
        elif state is not None and done not in (turn.WAIT, turn.HAND_OVER):
            if done == turn.DECLINE:
                handed.note(path, "declined", why=f"{self.there.name}: {state.told}")
            if done == engine.STOP:
                handed.note(path, "stopped")
            self.there.tell(engine.CANCEL if done == turn.DECLINE else done, state.id)
            self.stirred = self.stirred or state.phase == engine.PENDING
        return done

    def noted(self, mine: Attempt, stands: Ending | str | None, noted: Handed, state: State | None) -> None:
        """Write down what is news of a job."""
        path = self.record(mine)
        if state and not noted.id and state.phase != engine.ENDED:  # the visit that handed it over was killed
            handed.note(path, "handed", id=state.id)
        if state and state.told != noted.told:
            handed.note(path, "state", **{"is": state.told})
        if stands is not None and not noted.began:
            node = dict(attempt.noted(f"{path}/machine")).get("node", "")
            handed.note(path, "began", at=node)
            place = workspace.place_of(f"{self.account.path}/work", mine.own)
            self.moves.append((mine.own, "started", f"{workspace.short(place)}, cpus {mine.cpus}, {node}"))

    def hand_over(self, todo: list[Attempt]) -> None:
        """Have the engine run these; one by one it is written down."""
        able = []
        for mine in todo:
            os.makedirs(self.record(mine), mode=0o700, exist_ok=True)
            objection = self.there.objection(mine)
            if objection:
                self.refused(mine, objection)
            else:
                able.append(mine)
        by_name = {mine.own: mine for mine in able}
        try:
            for outcome in self.there.hand_over(able):
                mine = by_name[outcome.own]
                if outcome.id:
                    handed.note(self.record(mine), "handed", id=outcome.id)
                    self.moves.append((mine.own, "handed", f"{self.there.name} {outcome.id}"))
                    self.stirred = True
                else:
                    self.refused(mine, outcome.refusal)
        except CitError as error:
            self.out_of_reach(error)

    def refused(self, mine: Attempt, why: str) -> None:
        """The engine takes a job not at all: its queue may give it to somebody else."""
        if recovery.standing(self.record(mine)) is None:  # else it was taken, whatever was said
            self.waiting.remove(mine)
            self.ends.append(End(mine, None, None, attempt.VOID, f"{self.there.name}: {why}"))
            self.stirred = True

    # --- ends ---------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write down what has begun and ended."""
        self.account.note(self.moves, "run")
        self.moves.clear()
        while self.ends:
            group, self.ends = self.ends[:GROUP], self.ends[GROUP:]
            self.status = worst(self.status, finishing.finish(self.account, group, self.base, lambda: None))
            self.tells = self.stirred = True  # there is room for others


def is_paused(record: str) -> bool:
    """Whether the last line of a job's status says that it is stopped."""
    try:
        with open(f"{record}/status", "rb") as stream:
            return stream.read().rstrip(b"\n").rpartition(b"\n")[2].split(b"\t")[1:2] == [b"paused"]
    except FileNotFoundError:
        return False
