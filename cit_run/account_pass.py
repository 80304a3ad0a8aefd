"""One pass over a build account: inbox -> running -> finished, until nothing runs and nothing has arrived (docs/stages/run.md).

Reads: `inbox`, `control`, and what a pass before left in `running`. Writes: `finished`, `refused`, log/DAY.tsv. Under running/.lock.
How: jobs are taken in groups, in the order of `ls`; a shim serves each slot and outlives us; ends are signed, synced and
moved in groups while others run, and on-end is started. A kill at any moment leaves each job to the next pass.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque

from . import attempt, environment, finishing, recovery, taking
from .arrivals import Arrivals
from .attempt import Attempt
from .cit_format import clock, control, home, names, spool, wake
from .cit_format.errors import worst
from .conditions import Conditions
from .finishing import End
from .slots import Over, Running, Slots

GROUP = 128  # ends that are signed and moved together at most
LINGER = 0.05  # seconds that an end waits for others while jobs still run
PACE = 0.2  # seconds of the past whose ends say how many jobs to take ahead
WAKES = 2.0  # seconds between two starts of on-end while jobs still run: it costs as much as a hundred small jobs
QUIET = 1.0  # seconds without a beginning or end after which there is time to look into the inbox
SOON = 0.1  # seconds until the next look at what does not tell by itself
LOOK_AHEAD = 1000  # names in the inbox whose limits are minded


class Pass:
    """One pass, under its lock: `count` jobs at once, on `cpus` processors."""

    def __init__(self, account: home.Account, count: int, cpus: int) -> None:
        self.account = account
        self.base = environment.of_account(account.settings)
        self.slots = Slots(account, count, cpus, self.base)
        self.arrivals = Arrivals([account / "inbox", account / "control"])
        found = recovery.recover(account)
        self.slots.adopted = [Running(*each) for each in found.adopted]
        self.slots.look()
        self.waiting = found.waiting  # in running/, not yet with a shim
        self.ends = found.ends
        self.status = found.status
        self.tells = found.moved  # on-end is to be started
        self.told = 0.0
        self.inbox: list[str] | None = None  # names in order; None: look again
        self.left: set[str] = set()  # names that stay in the inbox
        self.wishes: dict[str, list[str]] = {}  # names in control by job
        self.obeyed = self.wishes  # of these, what has been looked at
        self.urgent: set[str] = set()  # jobs (by ID) that are to be taken without a slot, to be ended
        self.due: dict[str, int] = {}  # names in the inbox, and when they are to be taken without a slot
        self.conditions = Conditions(account)
        self.leaving = taking.leaving(account)  # queues whose jobs go back
        self.restless = False  # a wish could not be passed on yet
        self.moves: list[tuple[str, str, str]] = []  # lines for the log, not yet written
        self.paces: deque[float] = deque()  # when jobs ended of late
        self.stirred = time.monotonic()  # when one began or ended last

    def run(self) -> int:
        """Until nothing runs and nothing has arrived."""
        try:
            self.all()
        finally:
            self.arrivals.close()
        return worst(self.status, self.slots.status)

    def all(self) -> None:
        """One thing after the other."""
        self.obey()
        while True:
            self.take()
            self.begin()
            if self.ends and (self.slots.is_empty or len(self.ends) >= GROUP or self.lingered >= LINGER):
                self.finish()
            elif self.tells and (self.slots.is_empty or time.monotonic() >= self.told + WAKES):
                self.tell()
            elif self.slots.is_empty and not self.ends and not self.waiting and not self.wanted() and not self.conditions.resting:
                break
            else:
                self.listen(self.patience())
        self.slots.dismiss()

    # --- waiting for something to happen --------------------------------------------------------------------------

    @property
    def lingered(self) -> float:
        """Seconds since the last end."""
        return time.monotonic() - self.paces[-1] if self.paces else LINGER

    def patience(self) -> float:
        """Seconds until the next thing that nobody tells us of."""
        waits = [0.0 if self.wanted() else self.arrivals.pause, self.conditions.pause()]
        if self.ends:
            waits.append(LINGER - self.lingered)
        if self.tells:
            waits.append(self.told + WAKES - time.monotonic())
        if self.slots.adopted or self.restless:
            waits.append(SOON)
        if self.waiting and self.slots.starved:
            waits.append(QUIET)
        quiet = self.stirred + QUIET - time.monotonic()
        if self.inbox and quiet > 0:
            waits.append(quiet)
        elif self.inbox:
            waits += [(moment - clock.now()) / clock.SECOND for moment in self.limits()]
        return max(0.0, min(waits))

    def limits(self) -> list[int]:
        """When jobs that get no slot are due to be given back or ended (microseconds); read while there is time for it."""
        for name in (self.inbox or [])[:LOOK_AHEAD]:
            if name not in self.due:
                self.due[name] = taking.due(self.account, name, self.leaving)
        return [moment for moment in self.due.values() if moment != names.NEVER]

    def listen(self, timeout: float) -> None:
        """Wait so long at most for an end or an arrival, and take note of it."""
        if timeout:
            self.note()
        sockets = self.slots.sockets()
        found, _, _ = select.select([*sockets, self.arrivals.fd], [], [], timeout)
        if self.arrivals.fd in found or timeout >= self.arrivals.pause:
            self.arrivals.clear()
            self.slots.look()
            self.slots.wake()
            self.inbox = None
            self.obey()
        elif self.restless:
            self.obey()
        if self.conditions.look(spool.listing(self.account / "inbox") if self.conditions.is_due else (), self.slots.begun()):
            self.inbox = None
        for fd in found:
            if fd in sockets:
                self.over(self.slots.heard(sockets[fd]))
        if self.slots.adopted:
            self.slots.wake()
            self.over(self.slots.left())

    def note(self) -> None:
        """Write down what has begun."""
        self.account.note(self.moves, "run")
        self.moves.clear()

    def meanwhile(self) -> None:
        """Keep the slots at work between two parts of something longer."""
        self.listen(0)
        self.begin()

    def obey(self) -> None:
        """Look what is wished: told to those that run; what is cancelled before it began is taken to be ended."""
        wishes = control.targets(self.account / "control")
        if wishes != self.obeyed:
            self.obeyed = wishes
            self.wishes, self.left, self.inbox = wishes, set(), None
            self.urgent = {target for target, found in wishes.items() if self.cancels(found)}
            self.waiting = [each for each in self.waiting if not self.is_decided(each)]
        elif not self.restless:
            return
        self.restless = not self.slots.obey(self.wishes)

    def cancels(self, found: list[str]) -> bool:
        said = (document.table("control").get("action") for document in control.read(self.account / "control", found))
        return "cancel" in said

    # --- beginnings -----------------------------------------------------------------------------------------------

    def wanted(self) -> list[str]:
        """The names in the inbox to take now: as many as slots will soon be free for, and those whose time is up."""
        while self.paces and self.paces[0] < time.monotonic() - PACE:
            self.paces.popleft()
        if self.inbox is None:
            self.inbox = [name for name in spool.listing(self.account / "inbox") if name not in self.left]
            before, self.leaving = self.leaving, taking.leaving(self.account)
            names_now = set(self.inbox) if before == self.leaving else set()  # else all of them are looked at anew
            self.due = {name: moment for name, moment in self.due.items() if name in names_now}
        rate = len(self.paces)  # so many slots will be free in the next moment, if all goes on as it did
        lack = self.slots.free + rate - len(self.waiting)
        count = lack if len(self.waiting) < self.slots.free or lack * 2 > rate else 0
        count = max(0, count)
        if not self.conditions.resting:
            return self.inbox[:count] + self.late(self.inbox[count:])
        first = [name for name in self.inbox if name not in self.conditions.resting][:count]
        return first + self.late([name for name in self.inbox if name not in set(first)])

    def late(self, found: list[str]) -> list[str]:
        """Of these names the ones that need no slot: they are to be ended, or given back."""
        now = clock.now()
        if self.leaving and found:
            self.limits()
        if not self.urgent and min(self.due.values(), default=names.NEVER) > now:
            return []
        return [name for name in found if self.due.get(name, names.NEVER) <= now or attempt.id_of(name) in self.urgent]

    def take(self) -> None:
        """inbox -> running."""
        found = self.wanted()
        if found:
            taken = taking.take(self.account, found, self.meanwhile, self.rests)
            self.left.update(name for name in taken.back if name not in self.conditions.resting)
            self.status = worst(self.status, taken.status)
            self.conditions.over(set(found) - set(taken.back))
            self.queue(taken.attempts)
            if self.inbox is not None:
                self.inbox = [name for name in self.inbox if name not in set(found) or name in self.conditions.resting]

    def queue(self, attempts: list[Attempt]) -> None:
        """Have these wait for a slot, unless their end is decided already."""
        self.waiting = sorted(self.waiting + [each for each in attempts if not self.is_decided(each)], key=lambda each: each.name)

    def begin(self) -> None:
        """Begin what waits, in order, as long as slots and processors are free; wishes are looked at last of all."""
        while self.slots.regain() and self.waiting and self.slots.has_room(self.waiting[0]) and self.slots.has_shim():
            first = self.waiting.pop(0)
            self.wishes = control.targets(self.account / "control")
            if not self.is_decided(first):
                self.moves += self.slots.begin(first)
                self.stirred = time.monotonic()

    def rests(self, mine: Attempt) -> bool:
        """Whether a job must not begin at this moment; it waits in the inbox, and the log says for what."""
        why = self.conditions.rest(mine, self.slots.begun())
        if why and self.conditions.is_news(mine.own, why):
            self.moves.append((mine.own, "waits", why))
        return bool(why)

    def is_decided(self, mine: Attempt) -> bool:
        """Whether a job is not to begin: it is over before it began, or is held, or has to wait, and goes back into the inbox."""
        now, standing = clock.now(), control.Standing()
        if mine.job.id in self.wishes:
            standing = control.look(self.account / "control", mine.job, mine.task, mine.number, self.account.signers, now)
        verdict, why = attempt.called(self.account, mine, taking.verdict(mine, standing, now, self.leaving))
        if verdict == attempt.START and self.rests(mine):
            verdict = attempt.REST
        if verdict in (attempt.HOLD, attempt.REST):
            spool.rename_new(self.account / "running" / mine.name, self.account / "inbox" / mine.name)
            for state in ("inbox", "running"):
                spool.sync_directory(self.account / state)
            if verdict == attempt.HOLD:
                self.left.add(mine.name)
            else:
                self.inbox = None
        elif verdict != attempt.START:
            self.ends.append(End(mine, None, None, verdict, why or (standing.cancel.by if standing.cancel else "")))
        return verdict != attempt.START

    # --- ends -----------------------------------------------------------------------------------------------------

    def over(self, found: list[Over]) -> None:
        """Jobs that have ended are to be written down; those that their shims never began wait again."""
        ends = [each for each in found if isinstance(each, End)]
        self.ends += ends
        self.paces.extend(time.monotonic() for _ in ends)
        self.queue([each for each in found if isinstance(each, Attempt)])

    def finish(self) -> None:
        """Write down the ends at hand; those that come meanwhile are the next group."""
        self.note()
        group, self.ends = self.ends[:GROUP], self.ends[GROUP:]
        self.status = worst(self.status, finishing.finish(self.account, group, self.base, self.meanwhile))
        self.tells = True

    def tell(self) -> None:
        """Start on-end; wait for those started before, which have ended."""
        self.tells, self.told = False, time.monotonic()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        line = str(self.account.settings.get("on-end", home.ACCOUNT_ON_END))
        wake.arrived(self.account / "finished", f"cd .. && {line}" if line else "")
