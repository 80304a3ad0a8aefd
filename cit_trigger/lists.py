"""cit-trigger --list FILE: what a trigger list looks at is looked at, and a job is written for each change (docs/howto/trigger-lists.md).

Reads: the list; repositories, files, ends of jobs, times, outputs; LIST.fired. Writes: signed jobs to stdout; LIST.fired, LIST.unsent/.
Exits: 0, also while another pass over the list is at work; 65 a line that means nothing; 69 what cannot be had now; 78 others can write the list;
  else as its jobs' cit-trigger.
How: under a lock, all lines side by side, each within its time limits. A change is a job in LIST.unsent first, then a row in LIST.fired, then
on stdout; what no queue has by the next pass is written again. So nothing fires twice for one change, and nothing is lost (memory.py).
"""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import NamedTuple, Optional

from .author import author, queue_for
from .cit_format import ask, clock, command, home, messages, reader, triggers
from .cit_format.body import row
from .cit_format.errors import DATA, IO, NOT_FOUND, OK, CitError, worst
from .cit_format.keys import read_guarded
from .cit_format.triggers import Fault, Line
from .looks import Around, looked, started
from .memory import Looked, Memory, Seen, Subjects, has

ABREAST = 8  # lines that are looked at side by side
MAKING = 120  # seconds for making one job: it may ask a repository

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Change(NamedTuple):
    """A change that a line saw: what changed, what it was (empty: not there), and is."""

    subject: str
    was: str
    value: str


class Asked(NamedTuple):
    """What was asked for: the list, the options that all of its jobs have, whether it is only said what would be fired."""

    file: Path
    options: list[str]
    dry: bool


class Turn(NamedTuple):
    """What became of a line: what it sees now, and the jobs of its changes."""

    line: Line
    now: Subjects
    made: list[tuple[Change, bytes]]


# --- decisions ----------------------------------------------------------------------------------------------------------


def changes(kind: str, before: Looked, now: Subjects) -> list[Change]:
    """What is a change. Of a new line only the commit of a repository: nobody has built it by this line; all else is from now on."""
    if before is None:
        return [Change(subject, "", seen.value) for subject, seen in now.items()] if kind == triggers.REPO else []
    found = [(subject, before.get(subject, Seen("")).value, seen.value) for subject, seen in now.items()]
    return [Change(*each) for each in found if each[1] != each[2] and each[2] != "-"]


def filling(kind: str, change: Change) -> str:
    """What `{}` stands for: the commit, the path, the job's ID, the time, the first line of an output."""
    if kind == triggers.JOB:
        return change.subject[:26]
    return change.value if kind in (triggers.REPO, triggers.TIME, triggers.EVERY) else change.subject


def words_of(line: Line, change: Change, options: list[str]) -> list[str]:
    """The words of cit-trigger for a change. A repository goes along at the commit that was seen, the job that ended as `parent`; where an equal
    job could answer, though something has changed that stands not in it, it runs all the same."""
    said = line.push[: line.push.index("--")] if "--" in line.push else line.push
    given = {word.split("=")[0] for word in said}
    added: list[str] = []
    if line.kind == triggers.REPO and not given & {"--repo", "--source", "--no-source", "--call"}:
        added = ["--repo", change.subject, "--ref", change.value]
    if line.kind == triggers.JOB and "--parent" not in given:
        added = ["--parent", change.subject[:26]]
    if given & {"--call", "--repo"} and not given & {"--same", "--fresh"}:
        added.append("--fresh")
    return [*options, *added, *(word.replace("{}", filling(line.kind, change)) for word in line.push)]


def why(line: Line, change: Change) -> str:
    """A change in words, for `-n`."""
    if line.kind == triggers.JOB:
        return f"{change.subject} ended: {change.value}"
    subject = f"{change.subject}: " if change.subject else ""
    was, now = (value[:10] if _DIGEST.fullmatch(value) else value[:40] for value in (change.was, change.value))
    return f"{subject}{was or 'nothing'} -> {now}"


# --- one line -----------------------------------------------------------------------------------------------------------


def turned(line: Line, before: Looked, around: Around, asked: Asked, memory: Memory) -> Turn:
    """Look, and make the jobs of what has changed; those that were made before and not written down are taken as they are."""
    now = looked(line, before, around)
    moment = clock.iso(around.now)
    made: list[tuple[Change, bytes]] = []
    seen: Subjects = {}
    found = {change.subject: change for change in changes(line.kind, before, now)}
    for subject, each in now.items():
        seen[subject] = each
        change = found.get(subject)
        if change is not None:
            path = memory.path_of(line.key, subject, change.value)
            raw = b"" if asked.dry else path.read_bytes() if path.exists() else job_of(line, change, asked)
            made.append((change, raw))
            seen[subject] = each._replace(when=moment, job="" if asked.dry else reader.parse(raw).id)
        elif before is not None and subject in before:
            old = before[subject]
            seen[subject] = each._replace(when=old.when, job=old.job)
    return Turn(line, seen, made)


def job_of(line: Line, change: Change, asked: Asked) -> bytes:
    """The signed job of a change, as cit-trigger makes it of the line's words."""
    words = ["cit-trigger", "-q", *words_of(line, change, asked.options)]
    status, raw, said = started(words, str(asked.file.parent), MAKING)
    if status:
        hint = f"try it by hand: cit-trigger -n {' '.join(line.push)[:60]}"
        raise CitError(status if 0 < status < 128 else DATA, ask.complaint(said) or f"cit-trigger ended with status {status}", hint)
    found = reader.parse(raw)
    if found.kind != "job" or found.find("signature") is None:
        raise CitError(DATA, "no signed job came of it", "a line makes one job")
    return raw


# --- the pass -----------------------------------------------------------------------------------------------------------


class Pass:
    """One pass over a list, under its lock."""

    def __init__(self, asked: Asked, memory: Memory, around: Around) -> None:
        self.asked = asked
        self.memory = memory
        self.around = around
        self.status = OK
        self.keys: set[str] = set()

    def run(self, text: str) -> int:
        """Write again what no queue has, then look at all lines, side by side; the worst status."""
        self.memory.read()
        self.unsent()
        found = list(triggers.lines(text))
        self.keys = {line.key if isinstance(line, Line) else line.text for line in found}
        for line in found:
            if isinstance(line, Fault):
                self.complain(line.number, line.text, line.error)
        on = [line for line in found if isinstance(line, Line)]
        with ThreadPoolExecutor(ABREAST) as pool:
            waiting = {pool.submit(self.turn, line): line for line in on}
            for future in as_completed(waiting):
                line = waiting[future]
                try:
                    self.fire(future.result())
                except CitError as error:
                    self.complain(line.number, line.key, error)
        self.keep()
        return self.status

    def turn(self, line: Line) -> Turn:
        try:
            return turned(line, self.memory.lines.get(line.key), self.around, self.asked, self.memory)
        except OSError as error:
            raise CitError(IO, f"{error.filename or line.kind}: {error.strerror}", "it is tried again") from None

    def fire(self, turn: Turn) -> None:
        """Make it last, write it down, and only then write it out."""
        line = turn.line
        self.memory.faults.pop(line.key, None)
        if self.asked.dry:
            for change, _ in turn.made:
                sys.stdout.buffer.write(row(str(line.number), line.key, why(line, change), " ".join(words_of(line, change, []))))
            return
        for change, raw in turn.made:
            path = self.memory.path_of(line.key, change.subject, change.value)
            if not path.exists():
                home.write_new(path, raw)
        self.memory.lines[line.key] = turn.now
        if turn.made:
            self.keep()
            messages.tell("info", f"fired for {', '.join(why(line, change) for change, _ in turn.made)}"[:300], f"line {line.number}")
        for _, raw in turn.made:
            self.write(raw)

    def unsent(self) -> None:
        """Forget what a queue has; write the rest again, as long as it may be accepted."""
        queues = {queue.full_name: queue for queue in self.around.queues}
        for path, job in self.memory.jobs():
            expires = job.table("job").get("expires")
            if has(queues, job):
                gone = True
            else:
                gone = isinstance(expires, int) and expires < self.around.now
                if gone:
                    messages.tell("warning", "no queue took it before it expired", job.label, "does the list go into cit-queue --to?")
            if self.asked.dry:
                sys.stdout.buffer.write(b"" if gone else row("-", "", "made before, and in no queue yet", job.label))
            elif gone:
                path.unlink(missing_ok=True)
            else:
                self.write(job.raw)

    def write(self, raw: bytes) -> None:
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()

    def keep(self) -> None:
        """Write down what was seen; lines that are off or gone are forgotten."""
        if not self.asked.dry:
            self.memory.keep(self.keys)

    def complain(self, number: int, key: str, error: CitError) -> None:
        """Tell what is wrong with a line: to a person each time, under cron once as long as it is the same."""
        is_news = self.memory.faults.get(key) != error.what
        self.memory.faults[key] = error.what
        error.where = f"{self.asked.file.name}: line {number}"
        self.status = worst(self.status, messages.complain(error) if is_news or sys.stderr.isatty() or messages.verbosity > 0 else error.status)


def queues_of(place: home.Queue) -> list[home.Queue]:
    """Where ends of jobs are looked for and jobs may have gone: this queue first, then the others of this home."""
    others = [home.Queue(file.parent) for file in sorted(home.path().glob("queues/*/queue.toml"))]
    return [place, *(queue for queue in others if queue.path != place.path)]


def fired(file: Path, queue: Optional[str], key: Optional[str], dry: bool) -> int:
    """One pass over a list; 78 where others can write it, as they would sign jobs with our key."""
    raw = read_guarded(file, 0o022)
    if raw is None:
        raise CitError(NOT_FOUND, f"{file}: there is no such file", "--list names a trigger list")
    if len(raw) > triggers.LIMIT:
        raise CitError(DATA, f"{file}: longer than {triggers.LIMIT >> 20}M", "make several lists of it")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise CitError(DATA, f"{file}: no UTF-8", "a trigger list is plain text") from None
    place = queue_for(queue)
    command.own_programs_last()

    @cache
    def person(of: home.Queue) -> str:
        return author(of, key).person

    options = [*(["--queue", str(place.path)] if queue else []), *(["--key", os.path.abspath(key)] if key else [])]
    memory = Memory(file.absolute())
    if not memory.lock.try_now():
        messages.tell("info", "another pass over this list is at work", file.name)
        return OK
    around = Around(str(file.absolute().parent), queues_of(place), person, clock.now())
    try:
        return Pass(Asked(file.absolute(), options, dry), memory, around).run(text)
    finally:
        memory.lock.release()
