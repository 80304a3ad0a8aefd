"""Jobs that follow another one: whole signed jobs in its sections `after`, which its queue accepts when it has ended.

    after success   the job ended COMPLETED
    after failure   it ended otherwise, and nobody cancelled it
    after always    however it ended

They are judged and put as if somebody pushed them at that moment. It is done before the end is acknowledged, and `seen` knows each: so
none is lost and none comes twice, whoever is killed. Pages: docs/format/after.md, docs/howto/jobs-that-make-jobs.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from . import arrays, attempts, clock, names, put, reader, refuse, spool, trust
from .document import Document, Section
from .errors import DATA, CitError
from .reader import Faulty

if TYPE_CHECKING:
    from .arrays import Array
    from .home import Queue

MOST = 100  # jobs that may follow one
ON = ("success", "failure", "always")


# --- what a job says ------------------------------------------------------------------------------------------------


def sections(job: Document) -> list[Section]:
    """Its sections `after`, of those that its author signed."""
    if b"\n@begin after " not in job.raw:
        return []
    first = job.find("signature")
    return [section for section in job.sections[: first.number if first else None] if section.kind == "after"]


def jobs(section: Section) -> Iterator[Document]:
    """The jobs in a section; 65 for what is no signed job."""
    for item in reader.documents(reader.reader_of(section.body())):
        if isinstance(item, Faulty):
            raise item.error
        if item.kind != "job" or item.find("signature") is None:
            raise CitError(DATA, f"{item.label} in section after is no signed job", "cit push --after success=FILE signs what it finds there")
        yield item


def check(job: Document) -> None:
    """65 where what is to follow a job cannot; whether it will be accepted is judged when it comes."""
    seen = {job.id}
    for section in sections(job):
        on = section.attributes.get("on")
        if on not in ON or section.form != "text":
            raise CitError(DATA, f"a section after on={on} {section.form[:20]}", "it reads: @begin after 1 text on=success", job.label)
        try:
            for following in jobs(section):
                if following.id in seen:
                    raise CitError(DATA, f"{following.label} follows twice, or itself", "each job that follows has an ID of its own")
                seen.add(following.id)
        except CitError as error:
            raise CitError(error.status, f"what is to follow it: {error.what}", error.hint, job.label) from None
    if len(seen) > MOST + 1:
        raise CitError(DATA, f"{len(seen) - 1} jobs are to follow", f"{MOST} may; have one of them make the others", job.label)


def wanted(state: str) -> tuple[str, ...]:
    """Which sections fit an end."""
    if state == "COMPLETED":
        return ("success", "always")
    return ("always",) if state == "CANCELLED" else ("failure", "always")


# --- what has ended -------------------------------------------------------------------------------------------------


def final_state(ended: Document, now: int) -> str:
    """The state in which a job has ended for good; empty where another attempt is due."""
    end = attempts.ending(ended)
    return str(end.table().get("state", "")) if end is not None and end.kind == "result" and not attempts.again(ended, now) else ""


def due(queue: Queue, ended: Document, now: int, name: names.FileName | None = None) -> list[Document]:
    """The jobs that follow a document which has ended; of an array they follow its last task. `name`: its own in `done`, where it is the rest
    of an array, of which no task was dealt out."""
    found = sections(ended)
    state = final_state(ended, now) if found else ""
    array = arrays.of(ended) if state else None
    if array is not None:
        given = trust.assignment(ended)
        mine = name or names.FileName(ended.id, ended.name, "", given.task if given else None, given.attempt if given else None)
        state = _of_array(queue, array, mine, state, now)
    return [following for section in found if state and section.attributes.get("on") in wanted(state) for following in jobs(section)]


def _of_array(queue: Queue, array: Array, mine: names.FileName, state: str, now: int) -> str:
    """How an array has ended, of which one part (a task, or what was left of it) has ended so: as the task that ended worst, COMPLETED where
    all did; empty as long as a task is under way."""
    day = queue / "done" / clock.id_day(mine.id)
    last: dict[tuple[int, ...], names.FileName] = {array.left(mine): mine._replace(key="")}
    for parts in spool.documents(day):
        if parts.id == mine.id:
            tasks = array.left(parts)
            last[tasks] = max(last.get(tasks, parts), parts, key=lambda each: each.attempt or 0)
    if len({task for tasks in last for task in tasks}) < len(array.tasks):
        return ""
    states = {state}
    for parts in last.values():
        if parts != mine._replace(key=""):
            states.add(final_state(reader.parse((day / str(parts)).read_bytes()), now))
    if "" in states:
        return ""
    failed = states - {"COMPLETED", "CANCELLED"}
    return sorted(failed)[0] if failed else "CANCELLED" if "CANCELLED" in states else "COMPLETED"


def followed(queue: Queue, ended: Iterable[Document], now: int, name: names.FileName | None = None) -> list[Document]:
    """Everything that these ends call for: the next attempts wait, and the jobs that follow are accepted. What is new in the queue.

    To be called with what `done` has or is about to get, before the sender may forget it.
    """
    several = list(ended)
    again = attempts.put_again(queue, several, now)
    following = [(job, each) for job in several for each in due(queue, job, now, name)]
    return [*again, *_accepted(queue, following, now)] if following else again


def _accepted(queue: Queue, following: list[tuple[Document, Document]], now: int) -> list[Document]:
    """Jobs (each with the one that it follows) as if they were pushed now; those that are new."""
    from .admission import Admission

    items: list[tuple[put.Item, Document]] = []
    refused: list[tuple[Document, CitError]] = []
    for before, job in following:
        try:
            raw = Admission(queue, now, f", after {before.id}").admitted(job)
            items.append((queue.describe(job)._replace(raw=raw), job))
        except CitError as error:
            refused.append((job, error))
    outcomes = queue.putter.put([item for item, _ in items])
    refused += [(job, outcome.error) for (_, job), outcome in zip(items, outcomes) if outcome.error]
    if refused:
        refuse.keep_all(queue / "refused", refused, "queue")
    fresh = [job for (_, job), outcome in zip(items, outcomes) if outcome.word == put.ACCEPTED]
    moves = [(f"{job.id}-{job.name}", "accepted", str(job.table("job")["submitter"])) for job in fresh]
    queue.note([*moves, *((f"{job.id}-{job.name}", "refused", error.what) for job, error in refused)], "queue")
    return fresh
