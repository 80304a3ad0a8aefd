"""cit step: a job one step at a time, instead of one long log: what was done with it, its parts, what each of them printed, and its end.

Reads: the job's document; its parts, else the marks in its log (docs/howto/logs-and-parts.md), else the log whole. Writes: on a terminal the
first step, and at each Enter the next; in a pipe a row each; with a NUMBER what that step printed.
Exits: 0; 66 no such job or step; 69 its builder cannot be had (docs/messages.md). Pages: docs/howto/logs-and-parts.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple, Optional

import typer

from . import folding, following, look, marks, pieces, places, remote, screen, story
from .cit_format import clock, messages, parts
from .cit_format.body import Time
from .cit_format.errors import NOT_FOUND, OK, CitError
from .cit_format.parts import Part
from .look import Seen
from .picking import Wish, split

COLUMNS = (
    screen.Column("step", "STEP", right=True),
    screen.Column("When", "WHEN"),
    screen.Column("State", "STATE"),
    screen.Column("Elapsed", "ELAPSED", right=True),
    screen.Column("what", "WHAT", yields=True),
    *(screen.Column(key) for key in ("time", "state", "elapsed-ms")),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if not column.head or column.key in ("step", "what"))
HELP = "Enter the next, p the one before, a number that one, l all, q leaves"


class Step(NamedTuple):
    """One step: when it began (microseconds), how it ended, what it took (microseconds), what it is, and what shows what it printed."""

    moment: int | None
    state: str
    elapsed: int | None
    what: str
    show: Callable[[], None] | None = None


# --- which they are -------------------------------------------------------------------------------------------------


def steps(job: Seen, key: str | None) -> list[Step]:
    """All steps of a job, in order."""
    told = [(story.as_moment(row[0]), row[1], row[2], row[5]) for row in story.events(job.document)]
    said = [Step(moment, "", None, screen.line(" ".join(filter(None, (stage, word, detail))))) for moment, stage, word, detail in told]
    last = next((number for number, (_, stage, word, _) in enumerate(told) if (stage, word) == ("run", "ended")), len(said))
    return [*said[:last], *printed(job, key), *said[last:]]


def printed(job: Seen, key: str | None) -> Iterator[Step]:
    """The steps within its run: its parts, the innermost ones; else the groups that marks make; else the log."""
    try:
        source = pieces.source(job)
        runs = source.runs()
    except CitError as error:
        if error.status != NOT_FOUND:
            raise
        runs = []
    if runs:
        above = {"/".join(run.name.split("/")[:depth]) for run in runs for depth in range(1, run.name.count("/") + 1)}
        over = following.has_ended(job)
        for run in runs:
            if run.name not in above:
                part = Part(run.name, 0, [run], [])
                state = pieces.UNFINISHED if over and run.ended is None else part.state
                yield Step(run.began, state, part.elapsed, run.name, lambda part=part: _part(source, part, runs))  # type: ignore[misc]
        return
    try:
        text, index = folding.read(job, key)
    except CitError as error:
        if error.status != NOT_FOUND:
            raise
        return
    raw = split(text)
    places_of, lines = [0, *accumulate(map(len, raw))], [messages.clean(marks.bare(line.decode("utf-8", "replace"))) for line in raw]
    whole = marks.tree([line.decode("utf-8", "replace") for line in raw])
    for group in [item for item in whole.items if isinstance(item, marks.Group)] or [whole]:
        state = parts.FAILED if group.not_ok or group.errors else ""
        moment = index.moment(places_of[group.first]) if lines else None
        what = group.title or f"its log, {len(lines)} lines"
        yield Step(moment, state, folding.elapsed(group, places_of, index) if lines else None, what, lambda group=group: _group(group, lines))  # type: ignore[misc]


def _part(source: pieces.Source, part: Part, runs: list[parts.Run]) -> None:
    shown = pieces.Shown(source, Wish())
    shown.more(part, runs)
    shown.end()


def _group(group: marks.Group, lines: list[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines[group.first : group.last + 1])


# --- what is shown --------------------------------------------------------------------------------------------------


def row(number: int, step: Step, now: int) -> dict[str, screen.Value]:
    return {
        "step": number,
        "When": screen.when(step.moment, now),
        "State": step.state or None,
        "Elapsed": None if step.elapsed is None else clock.duration_text(step.elapsed),
        "what": messages.clean(step.what),
        "time": None if step.moment is None else Time(step.moment),
        "state": step.state or None,
        "elapsed-ms": None if step.elapsed is None else step.elapsed // 1000,
    }


def shown(found: list[Step], number: int, now: int) -> None:
    """One step: its row, and what it printed."""
    told = row(number, found[number - 1], now)
    words = [
        f"{number}/{len(found)}",
        str(told["When"] or ""),
        screen.coloured(str(told["State"] or "")),
        str(told["Elapsed"] or ""),
        str(told["what"]),
    ]
    sys.stdout.write(f"--- {'  '.join(filter(None, words))}\n")
    sys.stdout.flush()
    show = found[number - 1].show
    if show is not None:
        show()
        sys.stdout.flush()


def walked(found: list[Step], now: int) -> None:
    """From step to step, as somebody at a terminal says."""
    at = 1
    shown(found, at, now)
    while True:
        sys.stderr.write(f"[{at}/{len(found)}] {HELP}: ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        said = line.strip()
        if not line or said == "q" or (not said and at == len(found)):
            return
        if said == "l":
            screen.show(COLUMNS, [row(number, step, now) for number, step in enumerate(found, 1)], screen.TABLE)
            continue
        at = int(said) if said.isdigit() else at - 1 if said == "p" else at + 1
        at = max(1, min(len(found), at))
        shown(found, at, now)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    job: str = typer.Argument("last", metavar="[JOB]", help="A piece of an ID, a name, or `last`"),
    number: Optional[int] = typer.Argument(None, metavar="[NUMBER]", help="Only this step, with what it printed"),
    key: Optional[str] = typer.Option(None, "-i", "--key", metavar="FILE", help="The private key that opens a sealed log; else your own"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    table: bool = typer.Option(False, "--table", help="All steps as a table"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """A job one step at a time."""
    messages.set_up("cit-step", quiet)
    form = screen.form(table, tsv, json)
    now = clock.now()
    wanted = look.one(job, places.here(queue), now, remote.Asker())
    found = steps(wanted, key)
    if not found or (number is not None and not 0 < number <= len(found)):
        raise CitError(NOT_FOUND, f"no step {number or 1}", f"it has {len(found)}: cit step --table {wanted.short}", wanted.document.label)
    if number is not None:
        shown(found, number, now)
    elif form == screen.TABLE and not table and sys.stdin.isatty():
        walked(found, now)
    else:
        rows = [row(at, step, now) for at, step in enumerate(found, 1)]
        screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, rows, form)
    return OK
