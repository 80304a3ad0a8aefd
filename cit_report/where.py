"""cit where: the build account that has a job's files, and what they are called there.

Reads: the job's document, the builder documents of its queue (of a remote one by way of its door). Writes: a table, TSV or JSON lines.
Exits: 0; 66 no such job, or nobody has run it; 69 its queue is out of reach (docs/messages.md).
How: files that are in this home come first; else the last assignment names the builder, and its document the door.
`cit rsync`, `cit mount` and `cit shell` start here. Pages: docs/stages/report.md, docs/howto/at-the-build.md
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import typer

from . import look, places, remote, screen
from .cit_format import address, clock, home, hosts, messages, reader, spool, trust
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, OK, CitError
from .look import Seen

COLUMNS = (
    screen.Column("short", "ID"),
    screen.Column("id"),
    screen.Column("name", "NAME", yields=True),
    screen.Column("builder", "BUILDER"),
    screen.Column("place", "PLACE", yields=True),
    screen.Column("workspace", "WORKSPACE"),
    screen.Column("log", "LOG"),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if column.key != "short")


class Where(NamedTuple):
    """The builder and its account's place (a directory, or ssh://USER@HOST[:PORT]); paths below its cit home."""

    builder: str
    place: str
    workspace: str
    log: str


def where(job: Seen) -> Where:
    """Where a job's files lie; 66 where none has been started, or nobody knows its builder."""
    given = trust.assignment(job.document)
    own = job.own if not given else _own(job, given)
    builder = str(given.table["builder"]) if given else ""
    paths = (f"work/{own}", f"work/{own}.log{'.age' if str(job.told.get('log')).endswith('.age') else ''}")
    if job.there.account and any((job.there.account / path).exists() for path in paths):
        return Where(builder or "local", str(job.there.account), *paths)
    if given is None:
        raise CitError(NOT_FOUND, f"no builder has it: it is {job.state}", f"cit why {job.short}", job.document.label)
    door = hosts.door_of(home.path() / "hosts", "builder", builder, clock.now()) or builder_doors(job).get(builder, "")
    if not door:
        raise CitError(NOT_FOUND, f"its builder is {builder}, whose door is not known here", "`cit builders` lists them", job.document.label)
    return Where(builder, _beside(job, door), *paths)


def _beside(job: Seen, door: str) -> str:
    """The place of a builder that its queue knows by a directory: of a queue elsewhere, the account in which that queue is."""
    queue = remote.of_job(job.copies, job.there) if door.startswith("/") else None
    if queue is None or not address.is_remote(queue.door):
        return door
    return str(address.parse(queue.door)._replace(queue=""))


def _own(job: Seen, given: trust.Assignment) -> str:
    from .cit_format import names

    return f"{names.FileName(job.document.id, job.document.name, '', given.task, given.attempt).copy}-{job.document.name}"


def builder_doors(job: Seen) -> dict[str, str]:
    """The doors of the builders of a job's queue, by name; the newest document of a name counts. Of a queue elsewhere what was heard, at worst."""
    wanted = str(job.document.table("job").get("queue", ""))
    found: dict[str, tuple[int, str]] = {}
    for queue in (queue for queue in map(home.Queue, job.there.queues) if queue.full_name == wanted):
        if queue.remote:
            remote.Asker().builders(queue)
        directory = queue / "builders" / (".load" if queue.remote else "")
        for described in (each for name in spool.listing(directory) for each in reader.documents(reader.reader_of((directory / name).read_bytes()))):
            said = described.table("builder") if isinstance(described, Document) else {}
            created, name = said.get("created"), str(said.get("name"))
            moment = created if isinstance(created, int) else 0
            if moment >= found.get(name, (0, ""))[0]:
                found[name] = (moment, str(said.get("door", "")))
    return {name: door for name, (_, door) in found.items() if door}


def main(
    jobs: Optional[list[str]] = typer.Argument(None, metavar="[JOB]...", help="A piece of an ID, a name, or `last`; without any, last"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The build account that has a job's files, and what they are called there."""
    messages.set_up("cit-where", quiet)
    form = screen.form(table, tsv, json)
    there = places.here(queue)
    asker = remote.Asker()
    rows: list[dict[str, screen.Value]] = []
    for wanted in jobs or ["last"]:
        for job in look.seen(wanted, there, clock.now(), asker):
            found = where(job)
            rows.append({"short": job.short, "id": job.document.id, "name": job.document.name, **found._asdict()})
    screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, rows, form)
    return OK
