"""One job looked at: its best copy, what stands in it, what the logs add, and where its files lie (docs/directories.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import lines, lookup, places, remote, story, tally
from .cit_format import reader
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, CitError
from .places import Copy, Home


class Seen(NamedTuple):
    """A job: its document and path, its story with the state that its place tells, its place (empty: a file that somebody named), and its copies."""

    document: Document
    path: str
    told: story.Story
    place: str
    copies: list[Copy]
    there: Home
    tally: tally.Tally | None = None  # of an array as a whole

    @property
    def state(self) -> str:
        return str(self.told["state"])

    @property
    def short(self) -> str:
        """What people type for it."""
        task = self.told.get("task")
        return self.document.id[-6:] + ("" if task is None else f"_{task}")

    @property
    def key(self) -> str:
        """`ID` or `ID_TASK`."""
        task = self.told.get("task")
        return self.document.id + ("" if task is None else f"_{task}")

    @property
    def own(self) -> str:
        """`COPY-NAME`, as work/ calls its newest attempt."""
        return places.best(self.copies).own if self.copies else f"{self.document.id}-{self.document.name}"

    def work(self, suffix: str = "") -> Path | None:
        """What it has in work/ of this account: its workspace, or with a suffix its `.log` or `.run`; None where that is not here."""
        if self.tally:
            return None  # each of its tasks has one
        path = self.there.account / "work" / f"{self.own}{suffix}" if self.there.account else None
        return path if path and path.exists() else None

    @property
    def log(self) -> Path | None:
        """Where its log lies in this account, sealed or not; until an attempt has one, that of the attempt before."""
        return None if self.tally else self.work(".log") or self.work(".log.age") or self._log_before()

    def _log_before(self) -> Path | None:
        before = sorted((copy for copy in self.copies if copy.place == "done"), key=lambda copy: copy.file.attempt or 0, reverse=True)
        found = [self.there.account / "work" / f"{copy.own}{end}" for copy in before for end in (".log", ".log.age")] if self.there.account else []
        return next((path for path in found if path.exists()), None)


def copies(wanted: str, there: Home, asker: remote.Asker | None) -> dict[str, list[Copy]]:
    """The copies of the job that is meant, by job (an array: of each task). `asker` asks queues elsewhere what has become of it. 66 not found."""
    try:
        found = lookup.present(wanted, there)
    except CitError as error:
        if error.status != NOT_FOUND or asker is None or not remote.search(wanted, there, asker):
            raise
        found = lookup.present(wanted, there)
    jobs = places.by_job(found)
    if asker is not None and remote.freshen(jobs, there, asker):
        jobs = places.by_job(dict.fromkeys(copy for job in jobs for copy in places.copies_of(job, there)))
    return jobs


def seen(wanted: str, there: Home, now: int, asker: remote.Asker | None = None) -> list[Seen]:
    """The job that is meant (an array is one), or the jobs in a file. 65 does not parse, 66 not found."""
    if lookup.is_file(wanted):
        return list(_in_file(wanted, there))
    for _ in range(3):
        try:
            jobs = copies(wanted, there, asker)
            whole = _whole(wanted, jobs, there, now)
            return [whole] if whole else [opened(job, several, there, now, _task(wanted, several[0].file.name)) for job, several in jobs.items()]
        except FileNotFoundError:
            continue  # it moved on between the look and the opening
    raise CitError(NOT_FOUND, f"job {wanted} moves faster than it can be read", "try again")


def one(wanted: str, there: Home, now: int, asker: remote.Asker | None = None) -> Seen:
    """The one job that is meant."""
    return seen(wanted, there, now, asker)[-1]


def _task(wanted: str, name: str) -> int | None:
    """The task that a typed word ends with; None where it does not, or is the job's name."""
    match = lookup.TASK.fullmatch(wanted.lower())
    return int(match[2]) if match and wanted.lower() != name and match[3] in ("", f"-{name}") else None


def _whole(wanted: str, jobs: dict[str, list[Copy]], there: Home, now: int) -> Seen | None:
    """The array that is meant as a whole, of which these are all copies; None where a job is, or one task."""
    several = [copy for copies in jobs.values() for copy in copies]
    is_task = several[0].file.task is not None or _task(wanted, several[0].file.name) is not None
    if len({copy.file.id for copy in several}) > 1 or (len(jobs) == 1 and is_task):
        return None
    copy = places.best(several)
    with open(copy.path, "rb") as stream:
        document = reader.parse(stream.read())
    array = tally.of_document(document)
    if array is None:
        return None
    known = tally.tally(jobs, array, there, now)
    told = tally.as_story(document, known)
    told["queue"] = told.get("queue") or next((each.queue for each in known.jobs), "")
    return Seen(document, copy.path, told, copy.place, several, there, known)


def opened(job: str, copies: list[Copy], there: Home, now: int, task: int | None = None) -> Seen:
    """A job of which these are the copies; of an array this task."""
    copy = places.best(copies)
    with open(copy.path, "rb") as stream:
        document = reader.parse(stream.read())
    told = story.told(document)
    [line] = lines.lines({job: copies}, there, now)
    if line.state:
        told["state"] = line.state
    told["queue"] = told.get("queue") or line.queue
    told["builder"] = told.get("builder") or (None if told.get("answered") else line.builder)
    if line.state == "RUNNING" and told.get("started") is None and line.when:
        told["started"] = line.when
    if copy.file.task is None and copy.file.attempt is None and task is not None and tally.of_document(document):
        told["task"] = task  # one that has not been dealt out
    return Seen(document, copy.path, told, copy.place, copies, there)


def _in_file(path: str, there: Home) -> Iterator[Seen]:
    try:
        with open(path, "rb") as stream:
            for item in reader.documents(stream.read):
                if isinstance(item, reader.Faulty):
                    raise item.error
                yield Seen(item, path, story.told(item), "", [], there)
    except FileNotFoundError:
        raise CitError(NOT_FOUND, f"no file {path}", "is the name right?") from None


def log_of(job: Seen) -> Path:
    """Where its log lies; 66 where there is none here."""
    if job.tally:
        hint = f"cit log {job.short}_{job.tally.array.tasks[0]}"
        raise CitError(NOT_FOUND, f"{job.short} is an array: each task has a log of its own", hint, job.document.label)
    found = job.log
    if found:
        return found
    if job.state in ("PENDING", "HELD"):
        raise CitError(NOT_FOUND, f"{job.short} has not begun: it is {job.state}", f"cit why {job.short}", job.document.label)
    where = job.told.get("builder") or "another machine"
    raise CitError(
        NOT_FOUND, f"its log is not here but on {where}: {job.told.get('log') or 'it kept none'}", f"cit show {job.short}", job.document.label
    )
