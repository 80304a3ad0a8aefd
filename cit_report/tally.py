"""An array as one: how its tasks are, told by their names and the logs, and the state that this makes of the whole (docs/stages/report.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import lines, places, story
from .cit_format import arrays, body, reader
from .cit_format.arrays import Array
from .cit_format.document import Document
from .cit_format.errors import CitError
from .lines import Job
from .places import Copy, Home

# Of several ends this is the array's: the first of these words that any task has.
WORST = ("REFUSED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "DEADLINE", "CANCELLED", "COMPLETED")
ORDER = ("COMPLETED", *WORST[:-1], "RUNNING", "PENDING", "HELD")  # in which they are counted out


OF_A_TASK = ("task", "attempt", "assigned", "received", "builder", "account", "exit", "signal", "why", "log", "log-bytes", "started", "ended")
SHOWN = 60  # characters of a list of tasks in a sentence


class Tally(NamedTuple):
    """An array: its tasks, and the line of each that has been dealt out or ended; of others their state alone."""

    array: Array
    states: dict[int, str]
    jobs: list[Job]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.states.values())

    @property
    def state(self) -> str:
        """The state of the whole: on its way as long as one task is, then the worst end."""
        return state_of(self.counts)

    def in_state(self, *words: str) -> list[int]:
        """Its tasks in these states, in order."""
        return [task for task in self.array.tasks if self.states.get(task) in words]

    @property
    def bad(self) -> list[int]:
        """Its tasks that ended badly."""
        return self.in_state(*(word for word in WORST if word not in ("COMPLETED", "CANCELLED")))

    @property
    def told(self) -> str:
        """`3 COMPLETED, 1 FAILED, 4 PENDING`."""
        return counted(self.counts)

    @property
    def short(self) -> str:
        """`4 of 10`: how many have ended."""
        ended = sum(count for word, count in self.counts.items() if word not in ("RUNNING", "PENDING", "HELD"))
        return f"{ended} of {len(self.array.tasks)}"


# --- decisions ------------------------------------------------------------------------------------------------------


def state_of(counts: Mapping[str, int]) -> str:
    """The state of an array whose tasks are in these states."""
    return next((word for word in ("RUNNING", "PENDING", "HELD", *WORST) if counts.get(word)), "PENDING")


def counted(counts: Mapping[str, int]) -> str:
    """How many tasks are in which state."""
    return ", ".join(f"{counts[word]} {word}" for word in ORDER if counts.get(word))


def shortened(tasks: Sequence[int]) -> str:
    """Tasks in words: `task 4`, `tasks 4,7-9`; of very many the first."""
    text = arrays.written(tasks)
    return f"task{'s' if len(tasks) > 1 else ''} {text if len(text) <= SHOWN else text[:SHOWN].rpartition(',')[0] + ',...'}"


# --- one array ------------------------------------------------------------------------------------------------------


def tally(jobs: Mapping[str, list[Copy]], array: Array, there: Home, now: int) -> Tally:
    """How the tasks of an array are, of which these are all copies, by job."""
    states: dict[int, str] = {}
    for several in jobs.values():
        for copy in (copy for copy in several if copy.file.task is None):
            word = _rest(copy)
            states.update((task, word) for task in array.left(copy.file) if states.get(task) in (None, "PENDING", "HELD"))
    found = lines.lines({job: several for job, several in jobs.items() if several[0].file.task is not None}, there, now)
    states.update((job.copy.file.task, job.state) for job in found if job.copy.file.task is not None)
    return Tally(array, states, found)


def _rest(copy: Copy) -> str:
    """The state of tasks that were never dealt out."""
    if copy.place == "done":
        return str(lines.opened(copy).get("state") or "CANCELLED")
    return {"held": "HELD", "refused": "REFUSED"}.get(copy.place, "PENDING")


def of_document(document: Document) -> Array | None:
    """The array that a document belongs to; None where it is none that can be told."""
    try:
        return arrays.of(document)
    except CitError:
        return None


def as_story(document: Document, known: Tally) -> story.Story:
    """What there is to say of an array as a whole, as of a job: any of its documents tells who and what."""
    told = story.told(document)
    for key in (*OF_A_TASK, *story.FIGURES):
        told.pop(key, None)
    told["state"] = known.state
    told["tasks"] = f"{known.told}, of {len(known.array.tasks)}"
    begun = [job.when - (job.elapsed or 0) for job in known.jobs if job.when and job.elapsed is not None and job.state != "RUNNING"]
    begun += [job.when for job in known.jobs if job.when and job.state == "RUNNING"]
    ended = [job.when for job in known.jobs if job.when and job.state in story.FINAL]
    told["started"] = body.Time(min(begun)) if begun else None
    told["ended"] = body.Time(max(ended)) if ended and known.state in WORST else None
    return told


def as_line(identity: str, jobs: Mapping[str, list[Copy]], there: Home, now: int) -> Job | None:
    """The line of an array, of which these are all copies; None where no document of it can be read."""
    copy = places.best([copy for several in jobs.values() for copy in several])
    try:
        with open(copy.path, "rb") as stream:
            document = reader.parse(stream.read())
    except (FileNotFoundError, CitError):
        return None
    array = of_document(document)
    if array is None:
        return None
    known = tally(jobs, array, there, now)
    told = as_story(document, known)
    names = {job.builder for job in known.jobs if job.builder}
    rest = [each for several in jobs.values() for each in several]
    queue = next((job.queue for job in known.jobs if job.queue), "") or next((each.queue.rpartition("/")[2] for each in rest if each.queue), "")
    started, ended = told.get("started"), told.get("ended")
    elapsed = max(0, (ended if isinstance(ended, int) else now) - started) if isinstance(started, int) else None
    when = ended or started or told.get("accepted")
    of_array = copy._replace(file=copy.file._replace(task=None, span=None, attempt=None))
    builder = names.pop() if len(names) == 1 else f"{len(names)} builders" if names else None
    said = Job(of_array, known.state, queue, builder, str(told.get("submitter") or ""), when if isinstance(when, int) else None, elapsed)
    return said._replace(tasks=known.short, path=copy.path)
