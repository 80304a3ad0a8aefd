"""cit-report: reads cit documents and shows them; the verbs that only look are its commands.

Reads: any documents: a stream on stdin, files, or jobs looked up in this home; `cit-report WORD` for the words below.
Writes: a table on a terminal, TSV with a header line in a pipe, JSON lines. Appends: nothing, ever.
Exits: 0; 2 usage; 65 does not parse; 66 not found; a word may have more (docs/messages.md).
How: each word is a file of its own here, and only the one that is asked for is loaded. `cit WORD` is the short form.
Pages: docs/stages/report.md
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Optional

import typer

from . import first, screen, story
from .cit_format import clock, command, inputs, messages

READS = {
    "artefact": "1",
    "assignment": "1",
    "builder": "1",
    "change": "1",
    "control": "1",
    "environment": "1",
    "event": "1",
    "interface": "1",
    "job": "1",
    "keep": "1",
    "reply": "1",
    "result": "1",
    "signature": "1",
    "ticket": "1",
}
WRITES: dict[str, str] = {}
WORDS = {
    "ls": "board",
    "show": "show",
    "why": "why",
    "log": "log",
    "fetch": "fetch",
    "attach": "attach",
    "play": "play",
    "step": "step",
    "wait": "wait",
    "trace": "trace",
    "builders": "builders",
    "interfaces": "interfaces",
    "queues": "queues",
    "fsck": "fsck",
    "where": "where",
}
KEYS = (
    "id",
    "name",
    "kind",
    "state",
    "exit",
    "signal",
    "submitter",
    "queue",
    "builder",
    "attempt",
    "task",
    "created",
    "accepted",
    "started",
    "ended",
)
COLUMNS = (
    *(screen.Column(key) for key in (*KEYS, *story.FIGURES, "log", "log-bytes", "changed", "why")),
    screen.Column("short", "ID"),
    screen.Column("Name", "NAME", yields=True),
    screen.Column("State", "STATE"),
    screen.Column("end", "EXIT", right=True),
    screen.Column("where", "BUILDER", yields=True),
    screen.Column("start", "STARTED"),
    screen.Column("elapsed", "ELAPSED", right=True),
    screen.Column("cpu", "CPU", right=True),
    screen.Column("memory", "MEMORY", right=True),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if not column.head)


# --- decisions ------------------------------------------------------------------------------------------------------


def shown(told: story.Story, now: int) -> dict[str, screen.Value]:
    """The cells for people of a document's story."""
    start = told.get("started")
    ran, cpu, memory = story.elapsed(told, now), [told.get(f"{who}-ms") for who in ("user", "system")], told.get("max-rss-kib")
    return {
        "short": str(told["id"])[-6:] + ("" if told.get("task") is None else f"_{told['task']}"),
        "Name": f"{told['name']}{first.MARK if told.get('changed') else ''}",
        "State": told["state"] or told["kind"],
        "end": f"signal {told['signal']}" if told.get("signal") else told.get("exit"),
        "where": told.get("builder"),
        "start": screen.when(start, now) if isinstance(start, int) else None,
        "elapsed": None if ran is None else clock.duration_text(ran),
        "cpu": clock.duration_text(sum(part for part in cpu if isinstance(part, int)) * 1000) if None not in cpu else None,
        "memory": clock.size_text(memory * 1024) if isinstance(memory, int) else None,
    }


# --- the loop -------------------------------------------------------------------------------------------------------


def files(wanted: list[str], queue: str | None) -> list[str]:
    """The files to read: as named, or where the named jobs lie; the last few jobs where a person at a terminal names nothing."""
    from . import board, look, lookup, places, remote

    if not wanted and sys.stdin.isatty():
        return [job.path or job.copy.path for job in board.listed(places.here(queue), board.Wish(), clock.now())]
    asker = remote.Asker()
    jobs = {word: look.copies(word, places.here(queue), asker) for word in wanted if word != "-" and not lookup.is_file(word)}
    return [places.best(copy for several in jobs[word].values() for copy in several).path if word in jobs else word for word in wanted]


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    what: Optional[list[str]] = typer.Argument(None, metavar="[FILE|JOB]...", help="cit files, or jobs of this home; stdin without any, or for -"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where jobs are looked up: @NAME or a directory"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Show what documents say: one line each. cit-report WORD: ls show why log wait trace builders queues."""
    messages.set_up("cit-report", quiet, verbose)
    form = screen.form(table, tsv, json)
    told: list[story.Story] = []
    status = inputs.each_document(files(what or [], queue), lambda document: told.append(story.told(document)))
    now = clock.now()
    screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, told, form, [shown(each, now) for each in told] if form == screen.TABLE else None)
    return status


def run() -> None:
    """The program cit-report, and cit-WORD for its words."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in WORDS:
        del sys.argv[1]
        command.start(f"cit-{word}", import_module(f".{WORDS[word]}", __package__).main)
    command.start("cit-report", main, lambda: command.speaks(READS, WRITES))
