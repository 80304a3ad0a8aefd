"""cit builders: the machines that take jobs: what they have to give, how busy they are, and why one gets nothing.

Reads: `builders`, `assigned` and `sent` of the queues of this home; nobody is asked. A queue elsewhere tells it, where --queue names one.
Writes: a table, TSV or JSON lines. Exits: 0; 65 a builder's document does not parse; 66 no such queue; 69 out of reach (docs/messages.md).
How: as cit-schedule sees them: documents that the queue believes, what was heard and given, over all accounts of a box.
Pages: docs/stages/report.md, docs/format/builder.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from . import places, screen
from .cit_format import address, body, builder, clock, home, messages, spool
from .cit_format import builders as known
from .cit_format.builder import Builder
from .cit_format.document import Document
from .cit_format.errors import DENIED, OK, worst

COLUMNS = (
    screen.Column("name", "NAME", yields=True),
    screen.Column("state", "STATE"),
    screen.Column("queue", "QUEUE", yields=True),
    screen.Column("jobs"),
    screen.Column("slots"),
    screen.Column("ahead"),
    screen.Column("busy", "JOBS", right=True),
    screen.Column("cpus"),
    screen.Column("cpus-taken"),
    screen.Column("processors", "CPUS", right=True),
    screen.Column("mem"),
    screen.Column("mem-taken"),
    screen.Column("mem-free"),
    screen.Column("memory", "MEMORY", right=True),
    screen.Column("tmp"),
    screen.Column("tmp-free"),
    screen.Column("disk", "DISK", right=True),
    screen.Column("load", "LOAD", right=True),
    screen.Column("load-limit"),
    screen.Column("box-accounts"),
    screen.Column("box-jobs"),
    screen.Column("box-slots"),
    screen.Column("box-cpus"),
    screen.Column("box-cpus-taken"),
    screen.Column("box-mem"),
    screen.Column("box-mem-taken"),
    screen.Column("seen"),
    screen.Column("heard", "SEEN"),
    screen.Column("why"),
    screen.Column("tags"),
    screen.Column("users"),
    screen.Column("hours"),
    screen.Column("can-build"),
    screen.Column("kind"),
    screen.Column("account"),
    screen.Column("host"),
    screen.Column("door"),
    screen.Column("key"),
    screen.Column("created"),
    screen.Column("path"),
    screen.Column("reason", "WHY", yields=True),
)
FOR_PEOPLE = ("busy", "processors", "memory", "disk", "heard", "reason")
FILE_COLUMNS = tuple(column for column in COLUMNS if column.key not in FOR_PEOPLE)
Row = dict[str, screen.Value]


# --- decisions ------------------------------------------------------------------------------------------------------


def state(each: Builder, now: int) -> tuple[str, str]:
    """A word for how a builder is, and why it takes no job (or is not known to); empty where it takes some."""
    word, why = builder.shut(each, now)
    if word == "up" and each.unreached:
        return "unreached", each.unreached
    if word == "up" and not why and each.given and address.is_remote(each.door) and now - each.heard.time > builder.FRESH:
        return "stale", f"has jobs and says nothing since {clock.iso(each.heard.time)}" if each.heard.time else "has jobs and has said nothing yet"
    return word, why


def row(each: Builder, described: Document, now: int) -> Row:
    """What there is to say of a builder."""
    word, why = state(each, now)
    said, heard, box = described.table("builder"), each.heard, each.box
    cells: Row = {column.key: said.get(column.key) for column in COLUMNS}
    return {
        **cells,
        "state": word,
        "why": why or None,
        "reason": why or None,
        "kind": each.kind,
        "ahead": each.ahead,
        "jobs": each.jobs,
        "busy": f"{each.jobs}/{each.slots}",
        "cpus-taken": each.cpus_taken,
        "processors": f"{box.cpus_taken}/{box.cpus}",
        "mem-taken": _megabytes(each.mem_taken),
        "mem-free": _megabytes(heard.mem_free),
        "memory": f"{clock.size_text(box.mem_taken) if box.mem_taken else 0}/{clock.size_text(box.mem)}",
        "tmp-free": _megabytes(heard.tmp_free),
        "disk": clock.size_text(each.tmp if heard.tmp_free is None else heard.tmp_free),
        "load": None if heard.load is None else f"{heard.load:.2f}",
        "box-accounts": box.accounts,
        "box-jobs": box.jobs,
        "box-slots": box.slots,
        "box-cpus": box.cpus,
        "box-cpus-taken": box.cpus_taken,
        "box-mem": _megabytes(box.mem),
        "box-mem-taken": _megabytes(box.mem_taken),
        "seen": body.Time(heard.time) if heard.time else None,
        "heard": screen.when(heard.time, now) if heard.time else None,
    }


def _megabytes(size: int | None) -> str | None:
    """A size as documents write it."""
    return None if size is None else f"{size >> 20}M"


# --- looking --------------------------------------------------------------------------------------------------------


def rows(place: Path, now: int) -> tuple[list[Row], int]:
    """The builders of a queue, by name, those at the end whose document it does not believe; and the worst status of what does not parse."""
    queue = home.Queue(place)
    paths = {name: place / "builders" / name for name in spool.listing(place / "builders")}
    documents, faults = known.newest(queue, paths.values(), now)
    by_name = {str(described.table("builder")["name"]): described for described in documents}
    present = known.present(queue, [builder.builder(described) for described in documents], now)
    files = {described.id: str(path) for name, path in paths.items() for described in documents if name.startswith(described.id)}
    found: list[Row] = []
    for each in present:
        described = by_name[each.name]
        found.append({**row(each, described, now), "queue": queue.name, "path": files.get(described.id)})
    status = OK
    for name, error in faults:
        if error.status == DENIED:
            called = name[27:-4] or name
            found.append({"name": called, "state": "refused", "why": error.what, "reason": error.what, "queue": queue.name, "path": str(paths[name])})
        else:
            status = worst(status, messages.complain(error, str(paths[name])))
    return found, status


def elsewhere(queue: home.Queue, now: int) -> list[Row]:
    """The builders of a queue elsewhere, as its door tells them: documents, then what was heard of each. 69 where it cannot be had."""
    from .cit_format import ask, frame, reader

    said = ask.ask(ask.place_of(queue), "builders", seconds=ask.SHORT)
    documents: dict[str, Document] = {}
    present: dict[str, Builder] = {}
    for each in reader.documents(frame.unframed(reader.reader_of(said), strict=True)):
        if isinstance(each, reader.Faulty):
            raise each.error
        described, load = builder.builder(each), each.find("load")
        if load is not None:
            heard = builder.heard(load.table(), now)
            given = builder.number(load.table(), "running", 0) + builder.number(load.table(), "waiting", 0)
            present = {name: one._replace(heard=heard, given=given) if name == described.name else one for name, one in present.items()}
        elif described.name not in present or present[described.name].created <= described.created:
            present[described.name], documents[described.name] = described, each
    found = builder.boxed(present[name] for name in sorted(present))
    return [{**row(each, documents[each.name], now), "queue": queue.name} for each in found]


def main(
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory; else every queue of this home"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The machines that take jobs: what they have to give, how busy they are, and why one gets nothing."""
    messages.set_up("cit-builders", quiet)
    form = screen.form(table, tsv, json)
    status, found, now = OK, list[Row](), clock.now()
    for place in places.here(queue).queues:
        remote = queue is not None and home.Queue(place).remote
        of_place, faults = (elsewhere(home.Queue(place), now), OK) if remote else rows(place, now)
        found, status = found + of_place, worst(status, faults)
    if not found and form == screen.TABLE:
        messages.tell("note", "no builders", hint="cit add USER@HOST, or cit init for this machine")
        return status
    screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, found, form)
    return status
