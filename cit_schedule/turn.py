"""One pass of cit-schedule over a queue: every job is put where it belongs, then what can be assigned is.

Reads: `waiting held assigned sent control builders` of a queue. Appends: assignment and signature; see ends.py for the rest.
How: the queue's lock is held, so that no builder is given more than it has room for. A document is opened when it may get a
builder, moved in a claim, in groups. Pages: docs/stages/schedule.md, docs/directories.md
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Union

from . import alarm, array, builders, choose, ends, files, group, wishes
from .array import Dealt, Rest, Throttle
from .cit_format import body, clock, document, home, messages, names, spool, trust
from .cit_format.builder import Builder
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, OK, CitError, worst
from .cit_format.reader import Faulty
from .dealer import Dealer
from .ends import End
from .equal import JOINED, Equals
from .latest import Latest
from .notes import Notes

GROUP = 1000  # jobs that are assigned together,
GROUP_BYTES = 8 << 20  # or so many bytes
EVERY = clock.MINUTE  # deadlines and silence are looked for so often


class Choice(NamedTuple):
    """A waiting job that gets a builder: its file name and bytes there, the longer document, its builder's name."""

    name: str
    raw: bytes
    job: Document
    builder: str

    @property
    def as_name(self) -> str:
        """Its file name in `assigned`: with `.aN`, so that attempts are documents of their own."""
        parts, given = names.parse(self.name), trust.assignment(self.job)
        assert parts is not None and given is not None
        return str(parts._replace(attempt=given.attempt))


# --- one document -------------------------------------------------------------------------------------------------------


def checked(job: Document, queue: home.Queue) -> choose.Wants:
    """What a job in this queue wants; 65 or 77 where it does not belong here."""
    if job.kind != "job":
        raise CitError(DATA, f"the first section is {job.kind or 'missing'}, not job", "only jobs wait for builders", job.label)
    wanted = job.table("job").get("queue")
    if wanted != queue.full_name:
        raise CitError(DENIED, f"the job is for queue {wanted}, this is {queue.full_name}", "make it for this queue: cit requeue", job.label)
    return choose.wants(job)


def assigned(
    job: Document, queue: home.Queue, chosen: Builder, weighed: list[str], now: int, priority: int | None = None, task: int | None = None
) -> Document:
    """The job, or this task of an array, with its assignment to the chosen builder, signed by the queue; `priority` is the queue's, where that
    is another than its author's."""
    before = trust.assignment(job)
    said = {
        "queue": queue.full_name,
        "epoch": queue.epoch,
        "attempt": before.attempt + 1 if before else 1,
        "task": before.task if before else task,
        "builder": chosen.name,
        "key": chosen.key,
        "account": chosen.account,
        "assigned": body.Time(now),
        "priority": priority if priority != job.table("job").get("priority", 0) else None,
        "weighed": weighed,
    }
    return home.signed(job.extended(document.section("assignment", "toml", body.toml(said))), queue.signer, queue.identity, "cit-queue")


# --- the loop -----------------------------------------------------------------------------------------------------------


class Pass:
    """One pass; `run` gives its worst status."""

    def __init__(self, queue: home.Queue, to: Path, look_ahead: int) -> None:
        self.queue = queue
        self.to = to
        self.look_ahead = look_ahead
        self.now = clock.now()
        self.status = OK
        self.notes = Notes(queue / "waiting")
        self.dealer = Dealer(queue, [], self.now)
        self.throttle = Throttle(queue)
        self.groups = group.Groups(queue)
        self.latest = Latest(queue, self.now)
        self.equals = Equals(queue, self.notes, self.now)
        self.moves: list[tuple[str, str, str]] = []  # for the log

    def run(self) -> int:
        """Put every job where it belongs, then assign."""
        for state in ("waiting", "held", "assigned", "sent"):
            spool.recover(self.queue / state)
        if not self.queue.active:
            return OK
        wishes.apply(self.queue, self.now)
        wishes.begin(self.queue, self.now)
        if not self.notes.looked <= self.now < self.notes.looked + EVERY:
            self.look_at_clock()
        waiting = spool.listing(self.queue / "waiting")
        if self.latest.apply(waiting):
            waiting = spool.listing(self.queue / "waiting")
        if waiting and self.queue.settings.get("scheduling", True) is True:
            answers = self.equals.answers(waiting[: self.look_ahead]) + ends.published(self.queue, waiting, self.now)
            ends.finish(self.queue, "waiting", answers)
            gone = {end.name for end in answers}
            self.assign_all([name for name in waiting if name not in gone] if gone else waiting)
        self.notes.keep(waiting)
        self.groups.keep(frozenset(waiting))
        self.queue.note(self.moves, "schedule")
        alarm.set_for(self.queue, self.now)
        return self.status

    def look_at_clock(self) -> None:
        """End what waited too long, and what has been silent too long."""
        ends.forget_ended(self.queue)
        for state in ("sent", "assigned"):
            ends.finish(self.queue, state, ends.lost(self.queue, state, self.now))
        for state in ("waiting", "held"):
            head = spool.listing(self.queue / state)[: self.look_ahead]
            ends.finish(self.queue, state, ends.too_late(self.queue, state, head, self.now))
        self.notes.looked = self.now

    def assign_all(self, waiting: list[str]) -> None:
        """By the program that queue.toml names, if it does; else by our own choice."""
        program = self.queue.settings.get("program-schedule")
        if program:
            from .cit_format import through

            here = ["sh", "-c", f'cd "$0" && {program}', str(self.queue.path)]
            self.status = through.through(self.queue / "waiting", self.to, here, self.look_ahead, "schedule")
            return
        found, self.status = builders.candidates(self.queue, self.now)
        self.notes.about(found)
        self.dealer = Dealer(self.queue, found, self.now)
        self.assign(waiting)
        self.dealer.close()

    def assign(self, waiting: list[str]) -> None:
        """`waiting` -> `assigned`, in groups, until no builder has room or `look_ahead` jobs were looked at in vain."""
        chosen: list[Choice] = []
        late: list[End] = []
        looked = size = 0
        for name in waiting:
            if looked >= self.look_ahead or not self.dealer.is_open:
                break
            if name in self.notes.never or self.groups.waits_still(name) or self.equals.waits(name):
                continue
            outcome = self.decided(name)
            if outcome == JOINED:
                continue
            if isinstance(outcome, Choice):
                chosen.append(outcome)
                size += len(outcome.job.raw)
            elif isinstance(outcome, End):
                late.append(outcome)
            elif isinstance(outcome, Rest):
                looked += not self.deal_out(outcome)
            else:
                looked += not self.groups.waits_still(name)
            if len(chosen) >= GROUP or size >= GROUP_BYTES:
                self.settle(chosen)
                chosen, size = [], 0
        self.settle(chosen)
        ends.finish(self.queue, "waiting", late)

    def decided(self, name: str) -> Union[Choice, End, Rest, str, None]:
        """What becomes of a waiting job: a builder, its end, JOINED to an equal one's run, or nothing yet; an array's tasks are yet to be dealt
        out. What is faulty goes to refused/."""
        path = self.queue / "waiting" / name
        try:
            arrival = files.read(path)
        except FileNotFoundError:
            return None  # it has moved on
        try:
            if isinstance(arrival, Faulty):
                raise arrival.error
            if any(section.kind == "job" and section.version != "1" for section in arrival.sections[:1]):
                self.waits(name, "its job has a version that this program does not know")
                return None
            wanted, rest = checked(arrival, self.queue), array.rest_of(name, arrival)
            parts = names.parse(name)
            if parts is None:
                raise CitError(DATA, "its file name is none of a document's", "docs/directories.md tells what names look like", arrival.label)
        except CitError as error:
            self.status = worst(self.status, messages.complain(error, name))
            files.set_aside(path, self.queue / "refused", arrival, error, "schedule")
            self.moves.append((files.job_of(name), "refused", error.what))
            return None
        late = choose.too_late(wanted, self.now)
        if late:
            return End(name, "DEADLINE", late, self.now)
        superseded = self.latest.superseded(arrival)
        if superseded:
            return End(name, "CANCELLED", superseded, self.now)
        fate = self.equals.fate(name, arrival)
        if fate is not None:
            return fate
        if self.closed(name, arrival):
            return None
        if rest is not None:
            return rest
        chosen, weighed = self.dealer.deal(wanted, parts.label, parts.sequence)
        if chosen is None:
            if choose.is_hopeless(weighed):
                self.waits(name, "; ".join(weighed))
            return None
        self.begins(arrival, parts)
        return Choice(name, arrival.raw, assigned(arrival, self.queue, chosen, weighed, self.now, parts.priority), chosen.name)

    def closed(self, name: str, job: Document) -> str:
        """Why a job does not begin now, whatever builders have room; empty where it may."""
        return self.throttle.closed(job) or self.groups.closed(name, job.table("job"))

    def begins(self, job: Document, parts: names.FileName) -> None:
        """It counts as under way from now on."""
        self.equals.begins(job)
        self.throttle.begins(job)
        self.groups.begins(job.table("job"), parts)

    def deal_out(self, rest: Rest) -> bool:
        """Deal tasks of an array out, in groups, as long as it and the builders have room; whether any was."""
        wanted, left, any_yet = checked(rest.job, self.queue), rest, False
        while True:
            count = max(1, min(GROUP, GROUP_BYTES // len(rest.raw)))
            dealt = self.dealt(left, left.tasks[:count], wanted)
            if not dealt:
                return any_yet
            after = array.settle(self.queue, self.to, left, dealt)
            self.moves += [(files.job_of(left.task_name(each.task)), "assigned", each.builder) for each in dealt]
            if after is None or len(dealt) < count:
                return True
            left, any_yet = after, True

    def dealt(self, rest: Rest, tasks: Sequence[int], wanted: choose.Wants) -> list[Dealt]:
        """The first of these tasks, each with a builder, for which there is room now."""
        found: list[Dealt] = []
        for task in tasks:
            if not self.dealer.is_open or self.closed(rest.name, rest.job):
                break
            chosen, weighed = self.dealer.deal(wanted, rest.parts.label, rest.parts.sequence)
            if chosen is None:
                if choose.is_hopeless(weighed):
                    self.waits(rest.name, "; ".join(weighed))
                break
            parts = rest.parts._replace(task=task, span=None)
            self.begins(rest.job, parts)
            found.append(Dealt(task, assigned(rest.job, self.queue, chosen, weighed, self.now, rest.parts.priority, task), chosen.name))
        return found

    def waits(self, name: str, why: str) -> None:
        """Say once that no builder there is can ever take a job; it is not opened again until there are others."""
        self.notes.never.add(name)
        messages.tell("warning", f"no builder can take it: {why}", files.job_of(name), "it waits; `cit builders` lists what there is")
        self.moves.append((files.job_of(name), "waits", why))

    def settle(self, group: list[Choice]) -> None:
        """Move what was chosen, all of it together."""
        if not group:
            return
        with spool.Claim(self.queue / "waiting") as claim:
            for choice in group:
                present = claim.take(choice.name)
                if present == choice.raw:
                    claim.move(choice.name, self.to, choice.as_name, choice.job.raw)
                    self.moves.append((files.job_of(choice.as_name), "assigned", choice.builder))
                elif present is not None:
                    claim.back(choice.name)  # another copy lies there now: next time
            claim.settle()
