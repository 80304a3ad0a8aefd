"""cit builders: the machines that take jobs: what they have to give, and how busy they are.

Reads: `builders`, `assigned` and `sent` of the queues of this home. Writes: a table, TSV or JSON lines.
Exits: 0; 65 a builder's document does not parse; 66 no such queue (docs/messages.md).
How: of two documents with one name the newer counts; jobs are counted by the assignments in `assigned` and `sent`.
Pages: docs/stages/report.md, docs/format/builder.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import typer

from . import places, screen
from .cit_format import clock, messages, reader, spool, trust
from .cit_format.document import Document
from .cit_format.errors import OK, CitError, worst

COLUMNS = (
    screen.Column("name", "NAME", yields=True),
    screen.Column("state", "STATE"),
    screen.Column("queue", "QUEUE", yields=True),
    screen.Column("jobs", "JOBS", right=True),
    screen.Column("slots", "SLOTS", right=True),
    screen.Column("cpus", "CPUS", right=True),
    screen.Column("mem"),
    screen.Column("memory", "MEMORY", right=True),
    screen.Column("tmp"),
    screen.Column("disk", "DISK", right=True),
    screen.Column("load", "LOAD", right=True),
    screen.Column("tags", "TAGS", yields=True),
    screen.Column("account"),
    screen.Column("host"),
    screen.Column("door"),
    screen.Column("key"),
    screen.Column("created"),
    screen.Column("path"),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if column.key not in ("memory", "disk"))


def builders(queue: Path) -> Iterator[tuple[str, Document | CitError]]:
    """The builder documents of a queue with their paths: of each name the newest; what is faulty as its error."""
    newest: dict[str, tuple[object, str, Document]] = {}
    for name in spool.listing(queue / "builders"):
        path = queue / "builders" / name
        try:
            described = reader.parse(path.read_bytes())
            said = described.table("builder")
        except (CitError, FileNotFoundError) as error:
            if isinstance(error, CitError):
                yield str(path), error
            continue
        called, created = str(said.get("name", described.name)), said.get("created", 0)
        before = newest.get(called)
        if before is None or (isinstance(created, int) and isinstance(before[0], int) and created >= before[0]):
            newest[called] = (created, str(path), described)
    for called in sorted(newest):
        yield newest[called][1], newest[called][2]


def jobs_of(queue: Path) -> dict[str, int]:
    """How many jobs each builder has been given and has not brought back."""
    counts: dict[str, int] = {}
    for state in ("assigned", "sent"):
        for name in spool.listing(queue / state):
            try:
                given = trust.assignment(reader.parse((queue / state / name).read_bytes()))
            except (CitError, FileNotFoundError):
                continue
            if given:
                counts[str(given.table["builder"])] = counts.get(str(given.table["builder"]), 0) + 1
    return counts


def row(queue: Path, path: str, described: Document, jobs: dict[str, int]) -> dict[str, screen.Value]:
    """What a builder's document says, with its jobs and its last load."""
    said = described.table("builder")
    loads = list(described.all("load"))
    load = loads[-1].table() if loads else {}
    cells: dict[str, screen.Value] = {column.key: said.get(column.key) for column in COLUMNS}
    return {
        **cells,
        "queue": queue.name,
        "jobs": jobs.get(str(said.get("name")), 0),
        "memory": _size(said.get("mem")),
        "disk": _size(said.get("tmp")),
        "load": load.get("load"),
        "path": path,
    }


def _size(value: object) -> str | None:
    """A size as short as it can be said."""
    try:
        return clock.size_text(clock.size(str(value)))
    except CitError:
        return None


def main(
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory; else every queue of this home"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The machines that take jobs: what they have to give, and how busy they are."""
    messages.set_up("cit-builders", quiet)
    form = screen.form(table, tsv, json)
    status, rows = OK, []
    for place in places.here(queue).queues:
        jobs = jobs_of(place)
        for path, described in builders(place):
            if isinstance(described, CitError):
                status = worst(status, messages.complain(described, path))
            else:
                rows.append(row(place, path, described, jobs))
    if not rows and form == screen.TABLE:
        messages.tell("note", "no builders", hint="cit add USER@HOST, or cit init for this machine")
        return status
    screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, rows, form)
    return status
