"""The slots of a pass: jobs begin in them, their shims tell how they ended, wishes about them are passed on (docs/stages/run.md)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

from . import attempt, cores, limits, processes, recovery, removal, workspace
from .attempt import Attempt
from .cit_format import clock, control, home, lent, messages
from .cit_format.errors import BUG, IO, OK, CitError, worst
from .finishing import End
from .shim import Ending, Shim, Status, is_running, read_status
from .workspace import Place

DEATHS = 3  # shims that may die before they have begun a job


class Running(NamedTuple):
    """A job that has been handed to a shim, where it runs, and the processors that it keeps to (none: any)."""

    attempt: Attempt
    place: Place
    cores: Sequence[int] = ()
    since: float = 0.0  # monotonic; 0: longer than we are there
    status: int = -1  # its record's `status`, open: whether it has begun is known whatever becomes of the file
    shim: int = 0  # pid of its shim, where that is ours

    @property
    def has_begun(self) -> bool:
        """Whether a shim has begun it."""
        return self.status >= 0 and os.fstat(self.status).st_size > 0


Over = Union[End, Attempt]  # a job that is over, or one that its shim never began


class Slots:
    """`count` jobs at once on `cpus` processors, all with the variables `base`."""

    def __init__(self, account: home.Account, count: int, cpus: int, base: Mapping[str, str]) -> None:
        self.account = account
        self.count = count
        self.cpus = cpus
        self.base = base
        self.group = limits.group_of(account.settings)
        if self.group:
            limits.cleared(self.group, f"{account.path}/work")
        self.rlimits = limits.rlimits(account.settings)
        self.there = sorted(os.sched_getaffinity(0))
        self.idle: list[Shim] = [Shim(self.rlimits)]  # the first one starts while we look what there is to do
        self.running: dict[Shim, Running] = {}
        self.adopted: list[Running] = []  # with a shim of a pass before us
        self.lent: set[str] = set()  # own names: jobs that had lent their slots when it was looked at last
        self.cancelled: set[str] = set()  # their shims have been told
        self.deaths = 0
        self.starved = False
        self.status = OK

    @property
    def free(self) -> int:
        """How many jobs may begin."""
        return max(0, self.count - len(self.active))

    @property
    def active(self) -> list[Running]:
        """The jobs that have slots: not those that have lent theirs."""
        everything = [*self.running.values(), *self.adopted]
        if self.lent:
            self.lent = {each.attempt.own for each in everything if each.attempt.own in self.lent and lent.is_lent(each.place.record)}
        return [each for each in everything if each.attempt.own not in self.lent]

    @property
    def is_empty(self) -> bool:
        return not self.running and not self.adopted

    def dismiss(self) -> None:
        """Let the shims go."""
        for shim in self.idle:
            shim.dismiss()

    def begun(self) -> list[tuple[int, float]]:
        """The processors that each job keeps busy, and for how many seconds it has run."""
        now = time.monotonic()
        return [(running.attempt.cpus, now - running.since) for running in [*self.running.values(), *self.adopted]]

    # --- beginnings -----------------------------------------------------------------------------------------------

    def has_room(self, wanted: Attempt) -> bool:
        """Whether a slot is free for a job, and as many processors as it wants; with nothing beside it, any job may run."""
        active = self.active
        taken = sum(running.attempt.cpus for running in active)
        return not active or (len(active) < self.count and taken + wanted.cpus <= self.cpus)

    def has_shim(self) -> bool:
        """Whether a shim is there for one more job; `starved` where no process can be made at present."""
        self.starved = False
        if not self.idle:
            try:
                self.idle.append(Shim(self.rlimits))
            except OSError:
                self.starved = True
        return bool(self.idle)

    def look(self) -> None:
        """See which jobs have lent their slots."""
        self.lent.update(each.attempt.own for each in [*self.running.values(), *self.adopted] if lent.is_there(each.place.record))

    def regain(self) -> bool:
        """Give slots back to jobs that waited and go on; whether nobody is left who wants one: nothing new overtakes them."""
        back = [each for each in [*self.running.values(), *self.adopted] if each.attempt.own in self.lent and lent.wants_back(each.place.record)]
        for each in sorted(back, key=lambda each: each.attempt.own):
            if not self.has_room(each.attempt):
                return False
            self.lent.discard(each.attempt.own)
            lent.give_back(each.place.record)
        return True

    def begin(self, wanted: Attempt) -> list[tuple[str, str, str]]:
        """Give a job its workspace and a shim; its line for the log of moves. None where the disk has no room for it: the next pass tries again."""
        try:
            place, before = self.laid_out(wanted)
        except (CitError, OSError) as error:
            what = error if isinstance(error, CitError) else CitError(IO, str(error), "make room; the next pass begins the job", wanted.job.label)
            self.status = worst(self.status, messages.complain(what, wanted.own))
            return []
        shim = self.idle.pop()
        own = self.cores(wanted)
        status = os.open(f"{place.record}/status", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.running[shim] = Running(wanted, place, own, time.monotonic(), status, shim.pid)
        order = limits.limited(attempt.order(wanted, place, self.base, before, self.account.path), wanted, self.account.settings, own, self.group)
        with contextlib.suppress(BrokenPipeError):  # it is heard of like any other shim that has died
            shim.give(attempt.order_as(order, self.account, wanted.job))
        return [(wanted.own, "started", f"{workspace.short(place)}, cpus {wanted.cpus}")]

    def laid_out(self, wanted: Attempt) -> tuple[Place, list[list[str]]]:
        """Workspace and record; where there is no room for them, what old builds have left goes first."""
        try:
            return attempt.laid_out(wanted, self.account, self.count, wanted.own)
        except (CitError, OSError) as error:
            old = workspace.aside(f"{self.account.path}/work")
            if not old or (isinstance(error, CitError) and error.status != IO):
                raise
            for path in old:
                removal.removed(path)
            return attempt.laid_out(wanted, self.account, self.count, wanted.own)

    def cores(self, wanted: Attempt) -> list[int]:
        """The processors that a job keeps to, beside those that run."""
        taken = [running.cores for running in self.running.values()]
        taken += [status.cores for running in self.adopted if (status := read_status(running.place.record))]
        return cores.chosen(wanted.integer("cpus"), self.there, taken)

    # --- ends -----------------------------------------------------------------------------------------------------

    def sockets(self) -> dict[int, Shim]:
        """The shims that may have something to say, by their descriptors."""
        return {shim.socket.fileno(): shim for shim in self.running}

    def heard(self, shim: Shim) -> list[Over]:
        """What a shim has told; where it is gone, its job's record knows more."""
        ending = shim.ended()
        running = self.running.pop(shim)
        try:
            return self.told(shim, running, ending)
        finally:
            os.close(running.status)

    def told(self, shim: Shim, running: Running, ending: Ending | None) -> list[Over]:
        """What an end is worth, or the silence of a shim that is gone."""
        if ending is None:
            shim.dismiss()
            return self.over(running)
        self.idle.append(shim)
        if ending.why == "unready":
            error = CitError(IO, f"{running.place.record} cannot be written", "make room; the next pass begins the job", running.attempt.job.label)
            self.status = worst(self.status, messages.complain(error))
            return []
        return self.over(running) if ending.why == "lost" else [End(running.attempt, running.place, ending)]

    def wake(self) -> None:
        """Have shims go on that somebody has stopped, as a job can: nobody else would hold it to its limits."""
        for running in [*self.running.values(), *self.adopted]:
            pid = running.shim or (read_status(running.place.record) or Status()).shim
            if pid and processes.state(pid) == "T":
                processes.told(pid, signal.SIGCONT)

    def left(self) -> list[Over]:
        """What has become of jobs whose shims are not ours, if anything."""
        gone = [running for running in self.adopted if recovery.standing(running.place.record) != "running"]
        self.adopted = [running for running in self.adopted if running not in gone]
        return [over for running in gone for over in self.over(running)]

    def over(self, running: Running) -> list[Over]:
        """A job whose shim is gone: its record says how it ended, that it was lost, or that it never began."""
        ending = recovery.standing(running.place.record)
        if ending is None and running.has_begun:
            ending = "lost"  # it has removed what says so
        if ending is None:
            self.deaths += 1
            if self.deaths > DEATHS:
                raise CitError(BUG, "shims end before they begin a job", "log/on-arrival of the account may say why")
            return [running.attempt]
        mine, place = running.attempt, running.place
        if self.group:
            limits.cleared(self.group, f"{self.account.path}/work")
        if isinstance(ending, str):
            return [End(mine, place, recovery.lost(mine, place))]
        recovery.bury(mine, place, is_sure=running.shim > 0)  # a job can write there what it likes, and have killed its shim
        return [End(mine, place, ending)]

    # --- wishes ---------------------------------------------------------------------------------------------------

    def obey(self, wished: Mapping[str, object]) -> bool:
        """Pass on what is wished about these jobs (by ID); false where a job has not begun yet and is to be told later."""
        told = True
        for running in [*self.running.values(), *self.adopted]:
            mine = running.attempt
            if mine.job.id in wished:
                standing = control.look(self.account / "control", mine.job, mine.task, mine.number, self.account.signers, clock.now())
                if standing.stops and mine.own not in self.cancelled:
                    if self.signalled(running, signal.SIGTERM):
                        self.cancelled.add(mine.own)
                    else:
                        told = False
                elif standing.held is not None:
                    told = self.signalled(running, signal.SIGUSR1 if standing.held else signal.SIGUSR2) and told
        return told

    def signalled(self, running: Running, number: int) -> bool:
        """Send a signal to the shim of a job. False where it has not begun."""
        if not running.shim:
            return signalled(running.place, number)
        if running.has_begun:
            processes.told(running.shim, number)
        return running.has_begun


def signalled(place: Place, number: int) -> bool:
    """Send a signal to the shim of a job: its lock proves that the pid in its record is a shim's. False where it has not begun."""
    status = read_status(place.record)
    if status is None:
        return False
    if status.ending is None and is_running(place.record):
        os.kill(status.shim, number)
    return True
