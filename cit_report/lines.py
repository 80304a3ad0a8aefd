"""A job as one line: its state and times, told by where its copies lie and by the logs; its document is opened where these do not say enough."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from . import first, moves, places, screen, story
from .cit_format import body, clock, glance, home, messages, reader
from .cit_format.errors import CitError
from .places import Copy, Home

_NOTHING: Mapping[str, str] = {}


class Job(NamedTuple):
    """One line: `when` is the last thing that happened to it, `elapsed` how long it ran; microseconds, None where not known."""

    copy: Copy
    state: str
    queue: str
    builder: str | None
    submitter: str | None
    when: int | None
    elapsed: int | None
    tasks: str | None = None  # of an array shown as one: how many of its tasks have ended
    path: str | None = None

    def row(self) -> dict[str, screen.Value]:
        return {
            "id": self.copy.job,
            "name": self.copy.file.name,
            "state": self.state,
            "queue": self.queue,
            "builder": self.builder,
            "elapsed-ms": None if self.elapsed is None else self.elapsed // 1000,
            "when": None if self.when is None else body.Time(self.when),
            "submitter": self.submitter,
            "path": self.path or self.copy.path,
            "tasks": self.tasks,
        }

    def shown(self, now: int) -> dict[str, screen.Value]:
        """The same for people: six characters of the ID, today's times without their day."""
        task = "" if self.copy.file.task is None else f"_{self.copy.file.task}"
        return {
            **self.row(),
            "name": self.copy.file.name + (first.MARK if first.is_changed(self.copy.path) else ""),
            "short": self.copy.file.id[-6:] + task,
            "elapsed": None if self.elapsed is None else clock.duration_text(self.elapsed),
            "when": (screen.when(self.when, now) or "") + self.held(now),
        }

    def held(self, now: int) -> str:
        """How long its workspace stays for its author, where it failed and said so."""
        if self.state not in first.FAILED:
            return ""
        try:
            until = first.held_until(glance.at(self.copy.path).text("hold-on-failure") or None, self.state, self.when)
        except FileNotFoundError:
            return ""
        return f" held {clock.duration_text(until - now)}" if until and until > now else ""


def state(copy: Copy, said: moves.Facts) -> str:
    """The state of a job whose best copy this is; empty where only the document knows."""
    if copy.place == "outbox" and copy.directory.endswith("/sent"):
        return said.state or "PENDING"  # of a queue elsewhere, of which no more was heard
    if copy.place in ("waiting", "outbox", "assigned", "inbox"):
        return "PENDING"
    if copy.place == "running":
        return "RUNNING" if said.started else "PENDING"
    if copy.place == "sent":
        return said.state or "PENDING"
    return {"held": "HELD", "refused": "REFUSED"}.get(copy.place) or (said.state if said.state in story.FINAL else None) or ""


def job_of(copies: list[Copy], said: moves.Facts, now: int, queues: Mapping[str, str] = _NOTHING) -> Job:
    """The line of a job, from its copies and what the logs say of it; `queues` are directories' names by full names."""
    copy = places.best(copies)
    word = state(copy, said)
    queue = next((os.path.basename(other.queue) for other in copies if other.queue), "") or queues.get(said.queue or "", "")
    submitter, builder, started, ended = said.submitter, said.builder, said.started, said.ended
    elapsed = max(0, (ended or now) - started) if started and (ended or word == "RUNNING") else None
    if not word or (word in story.FINAL and elapsed is None):
        told = opened(copy)
        word = word or str(told.get("state") or "")
        submitter, builder = submitter or _text(told, "submitter"), builder or _text(told, "builder") or _text(told, "answered")
        ended = ended or _moment(told, "ended")
        elapsed = story.elapsed(told, now)
    when = ended if word in story.FINAL else started if word == "RUNNING" else said.accepted or clock.id_moment(copy.file.id)
    return Job(copy, word, queue, builder, submitter, when, elapsed)


def lines(jobs: dict[str, list[Copy]], there: Home, now: int) -> list[Job]:
    """A line for each of these jobs, in their order."""
    if not jobs:
        return []
    logs = moves.read([*there.queues, *filter(None, [there.account])], clock.id_day(min(jobs)))
    said = moves.facts(reversed(list(logs)), {job[:26].encode() for job in jobs})
    for job, (builder, since) in running(there).items():
        if job in jobs:
            _run(said.setdefault(job, moves.Facts()), builder, since)
    for job in (job for job in jobs if "_" in job and job[:26] in said):  # of a task the log tells from its dealing on
        of, array = said.setdefault(job, moves.Facts()), said[job[:26]]
        of.submitter, of.accepted, of.queue = of.submitter or array.submitter, of.accepted or array.accepted, of.queue or array.queue
    queues = {home.Queue(path).full_name: path.name for path in there.queues} if any(each.queue for each in said.values()) else {}
    nothing = moves.Facts()
    return [job_of(several, said.get(job, nothing), now, queues) for job, several in jobs.items()]


def running(there: Home) -> dict[str, tuple[str, int]]:
    """The jobs that builders elsewhere said they run, on which, and since when: what their queues heard of them last."""
    found: dict[str, tuple[str, int]] = {}
    for heard in (path for queue in there.queues for path in sorted(queue.glob("builders/.load/*.cit"))):
        try:
            rows = [row for section in reader.parse(heard.read_bytes()).all("jobs") for row in section.rows() if row[1:2] != ["PENDING"]]
            found.update((row[0].partition("-")[0].partition(".")[0], (heard.stem, clock.parse(row[2]))) for row in rows if len(row) == 3)
        except (CitError, FileNotFoundError):
            continue  # it is told by those who ask the builder
    return found


def _run(said: moves.Facts, builder: str, since: int) -> None:
    """It runs there, unless an end is known."""
    if said.state not in story.FINAL:
        said.state, said.started, said.builder = "RUNNING", said.started or since, said.builder or builder


def opened(copy: Copy) -> story.Story:
    """The story in a copy's document; what moved on meanwhile, or does not parse, says nothing."""
    try:
        with open(copy.path, "rb") as stream:
            return story.told(reader.parse(stream.read()))
    except FileNotFoundError:
        return {}
    except CitError as error:
        messages.complain(error, copy.file.label)
        return {}


def _text(told: story.Story, key: str) -> str | None:
    value = told.get(key)
    return None if value is None else str(value)


def _moment(told: story.Story, key: str) -> int | None:
    value = told.get(key)
    return value if isinstance(value, int) else None
