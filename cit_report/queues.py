"""cit queues: the queues of this home, and what lies in them.

Reads: names of files in each queue, queue.toml, log/; a queue elsewhere is asked, for 3 seconds, all of them at a time.
Writes: a table, TSV or JSON lines. Exits: 0; 66 no such queue; 78 (docs/messages.md).
How: counted by names; when a pass last began, time stamps tell. Of a queue elsewhere it is what its door shows this key.
Pages: docs/stages/report.md, docs/directories.md
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Optional

import typer

from . import moves, places, remote, screen
from .cit_format import ask, body, clock, home, messages, names
from .cit_format.errors import OK, CitError

COLUMNS = (
    screen.Column("name", "NAME", yields=True),
    screen.Column("state", "STATE"),
    screen.Column("waiting", "WAITING", right=True),
    screen.Column("held", "HELD", right=True),
    screen.Column("assigned"),
    screen.Column("sent"),
    screen.Column("out", "OUT", right=True),
    screen.Column("done-today", "ENDED", right=True),
    screen.Column("refused", "REFUSED", right=True),
    screen.Column("oldest"),
    screen.Column("age", "OLDEST", right=True),
    screen.Column("last-pass"),
    screen.Column("passed", "LAST PASS"),
    screen.Column("owner"),
    screen.Column("epoch"),
    screen.Column("door"),
    screen.Column("path"),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if column.key not in ("out", "age", "passed"))


def state(queue: home.Queue) -> str:
    """active; paused: accepts, schedules nothing; frozen: accepts nothing."""
    if not queue.active:
        return "frozen"
    return "active" if queue.settings.get("scheduling", True) is True else "paused"


def last_pass(queue: Path) -> int:
    """When a pass over it last began, microseconds: on arrival (which makes and removes .wake in its directory) or by cit-tick."""
    times = [os.stat(queue).st_mtime_ns]
    with contextlib.suppress(FileNotFoundError):
        times.append(os.stat(queue / "log" / ".tick").st_mtime_ns)
    return max(times) // 1000


def row(path: Path, now: int) -> dict[str, screen.Value]:
    """What there is to say of a queue."""
    queue = home.Queue(path)
    counts: dict[str, screen.Value] = {
        place: sum(1 for _ in places.copies(str(path / place), place, str(path))) for place in (*places.QUEUE_PLACES, "refused")
    }
    out = sum(value for place, value in counts.items() if place in ("assigned", "sent") and isinstance(value, int))
    oldest = min((clock.id_moment(copy.file.id) for copy in places.copies(str(path / "waiting"), "waiting", None)), default=None)
    passed = last_pass(path)
    return {
        "name": queue.name,
        "state": state(queue),
        **counts,
        "out": out,
        "done-today": len(moves.ended(moves.read([path], clock.day(now)))),
        "oldest": None if oldest is None else body.Time(oldest),
        "age": None if oldest is None else clock.duration_text(max(0, now - oldest)),
        "last-pass": body.Time(passed),
        "passed": screen.when(passed, now),
        "owner": str(queue.settings.get("owner", "")),
        "epoch": queue.epoch,
        "door": queue.door,
        "path": str(path),
    }


def row_elsewhere(path: Path, now: int) -> dict[str, screen.Value]:
    """What a queue elsewhere says of itself; `unreachable` where it does not answer, with what was heard of it before."""
    queue = home.Queue(path)
    place, day = ask.place_of(queue), clock.day(now)
    questions = [("alive",), ("ls",), ("ls", "done", day)]
    alive, listing, ended = remote.side_by_side(lambda words: _answer(place, words), questions)
    told = body.rows(alive)[:1] if alive else []
    state = "unreachable" if alive is None else "active" if told and told[0][1:2] == ["active"] else "frozen"
    found: list[places.Copy] = list(remote.active(queue))
    if listing is not None:
        rows = [(row[0], names.parse(row[1])) for row in body.rows(listing) if len(row) == 3]
        found = [places.Copy(parts, "", state, str(path)) for state, parts in rows if parts]
    counts: dict[str, screen.Value] = {place: sum(copy.place == place for copy in found) for place in (*places.QUEUE_PLACES, "refused")}
    oldest = min((clock.id_moment(copy.file.id) for copy in found if copy.place == "waiting"), default=None)
    return {
        "name": path.name,
        "state": state,
        **counts,
        "out": sum(copy.place in ("assigned", "sent") for copy in found),
        "done-today": None if ended is None else len(body.rows(ended)),
        "oldest": None if oldest is None else body.Time(oldest),
        "age": None if oldest is None else clock.duration_text(max(0, now - oldest)),
        "owner": str(queue.settings.get("owner", "")),
        "door": queue.door,
        "path": str(path),
    }


def _answer(place: str, words: tuple[str, ...]) -> bytes | None:
    try:
        return ask.ask(place, *words, seconds=ask.SHORT)
    except CitError:
        return None


def main(
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="@NAME or a directory; else every queue of this home"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """The queues of this home, and what lies in them."""
    messages.set_up("cit-queues", quiet)
    form = screen.form(table, tsv, json)
    now = clock.now()
    rows = remote.side_by_side(lambda path: (row_elsewhere if home.Queue(path).remote else row)(path, now), places.here(queue).queues)
    if not rows and form == screen.TABLE:
        messages.tell("note", "no queues", hint="cit init makes this home with its queue; cit push does so too")
        return OK
    screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, rows, form)
    return OK
