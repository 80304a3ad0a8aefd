"""What a trigger list has seen and fired, beside it (docs/howto/trigger-lists.md, docs/directories.md).

    LIST.fired        text, TSV: line, subject, seen, hint, when, job; what each line saw last. A row without a subject: since when it is looked at
    LIST.unsent/      jobs that were made for a change and are in no queue yet; `.lock`, held by the pass at work

A change is fired by making its job as LIST.unsent/CHANGE.cit, CHANGE being a digest of line, subject and what was seen; then it is
written into LIST.fired; then the job goes out. Killed between any two of these, the next pass finds the job by its change: it is
neither made a second time nor lost. It is sent again, byte for byte, until a queue has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Optional

from .cit_format import body, clock, home, names, reader, spool
from .cit_format.document import Document
from .cit_format.errors import DATA, CitError

FIRED, UNSENT, LOCK = ".fired", ".unsent", ".lock"
COLUMNS = 6
HEAD = b"# what cit-trigger --list saw last and fired; without it every line is new. docs/howto/trigger-lists.md\n"


class Seen(NamedTuple):
    """What was seen of one subject: its value, what spares a closer look, when that was, the job that it fired (empty: none)."""

    value: str
    hint: str = ""
    when: str = ""
    job: str = ""


Subjects = dict[str, Seen]
Looked = Optional[Subjects]  # None: the line is new


class Memory:
    """The memory of one list, under its lock: by line, by subject; and the faults that were told (subject `!`)."""

    def __init__(self, file: Path) -> None:
        self.file = file.with_name(file.name + FIRED)
        self.unsent = file.with_name(file.name + UNSENT)
        self.unsent.mkdir(mode=0o700, exist_ok=True)
        self.lock = spool.Lock(self.unsent / LOCK)
        self.lines: dict[str, Subjects] = {}
        self.faults: dict[str, str] = {}

    def read(self) -> None:
        """Read what was written; 65 where that is none of ours."""
        try:
            raw = self.file.read_bytes()
        except FileNotFoundError:
            return
        for row in body.rows(b"".join(line for line in raw.splitlines(True) if not line.startswith(b"#"))):
            if len(row) != COLUMNS:
                raise CitError(DATA, f"{self.file}: a row of {len(row)} columns", "line, subject, seen, hint, when, job; without the file all is new")
            key, subject, *seen = row
            if subject == "!":
                self.faults[key] = seen[0]
            else:
                self.lines.setdefault(key, {})
                if subject or seen[0]:
                    self.lines[key][subject] = Seen(*seen)

    def keep(self, only: set[str]) -> None:
        """Write it, whole or not at all; what is not among these lines any more is forgotten."""
        rows = []
        for key, subjects in self.lines.items():
            if key in only:
                rows += [body.row(key, "", *Seen(""))] if "" not in subjects else []
                rows += [body.row(key, subject, *seen) for subject, seen in subjects.items()]
        rows += [body.row(key, "!", *Seen(fault)) for key, fault in self.faults.items() if key in only]
        content = HEAD + b"".join(rows)
        if not self.file.exists() or self.file.read_bytes() != content:
            home.write_new(self.file, content)

    # --- jobs that are in no queue yet --------------------------------------------------------------------------------

    def path_of(self, key: str, subject: str, value: str) -> Path:
        """Where the job of a change lies."""
        change = hashlib.sha256(body.row(key, subject, value)).hexdigest()[:32]
        return self.unsent / f"{change}.cit"

    def jobs(self) -> Iterator[tuple[Path, Document]]:
        """The jobs in `unsent`, the oldest first."""
        found = []
        for path in self.unsent.glob("[!.]*.cit"):
            with contextlib.suppress(CitError):
                found.append((path, reader.parse(path.read_bytes())))
        yield from sorted(found, key=lambda each: each[1].id)


def has(queues: Mapping[str, home.Queue], job: Document) -> bool:
    """Whether a queue has a job, or had it, or refused it; or the outbox of this home keeps it for one."""
    queue = queues.get(str(job.table("job").get("queue")))
    if queue is not None:
        if os.path.lexists(queue / "seen" / clock.id_day(job.id) / job.id):
            return True
        heard = ("waiting", "held", "assigned", "sent", f"done/{clock.id_day(job.id)}") if queue.remote else ()
        if any(_is_of(name, job) for state in ("refused", *heard) for name in _names(queue / state)):
            return True
    outbox = home.path() / "outbox"
    return any(_is_of(name, job) for place in (outbox, outbox / "sent", home.path() / "refused") for name in _names(place))


def _names(place: Path) -> list[str]:
    try:
        return os.listdir(place)
    except FileNotFoundError:
        return []


def _is_of(name: str, job: Document) -> bool:
    parts = names.parse(name) if job.id in name else None
    return parts is not None and parts.id == job.id
