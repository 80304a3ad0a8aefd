"""How rows are shown: a table on a terminal, TSV with a header line in a pipe, JSON lines where they are wanted (docs/stages/report.md).

Nothing from a job reaches a terminal as it is: every text passes `messages.clean`, and no markup is read in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

from .cit_format import body, clock, messages
from .cit_format.errors import CONFIG, USAGE, CitError

TABLE, TSV, JSON = "table", "tsv", "json"
LONG = 300  # rows from which on a table is padded by hand: rich takes 0.4 ms a row
COLOURS = {
    **dict.fromkeys(("COMPLETED", "good", "up", "active"), "green"),
    **dict.fromkeys(("FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "REFUSED", "BAD", "unreachable"), "bold red"),
    **dict.fromkeys(("PENDING", "HELD"), "yellow"),
    **dict.fromkeys(("CANCELLED", "drain", "paused", "frozen"), "magenta"),
    "RUNNING": "cyan",
}
CODES = {"green": "32", "cyan": "36", "yellow": "33", "magenta": "35", "bold red": "1;31"}
Value = Union[str, int, Sequence[str], Sequence[int], None]
Row = Mapping[str, Value]


class Column(NamedTuple):
    """A column: its key in TSV and JSON, its head on a terminal (empty: not shown there); figures stand to the right.

    Columns that `yields` are shortened where the terminal is too narrow for all.
    """

    key: str
    head: str = ""
    right: bool = False
    yields: bool = False


def form(table: bool, tsv: bool, json: bool) -> str:
    """Which form is wanted: by option; else TSV in a pipe, and on a terminal what CIT_OUTPUT says, or a table. 2, 78."""
    asked = [word for word, is_asked in ((TABLE, table), (TSV, tsv), (JSON, json)) if is_asked]
    if len(asked) > 1:
        raise CitError(USAGE, f"--{asked[0]} and --{asked[1]}", "take one of them")
    if asked or not sys.stdout.isatty():
        return (asked or [TSV])[0]
    configured = os.environ.get("CIT_OUTPUT") or TABLE
    if configured not in (TABLE, TSV, JSON):
        raise CitError(CONFIG, f"CIT_OUTPUT is {configured!r}", "it is table, tsv or json, or not set")
    return configured


def text(value: Value) -> str:
    """A value as text without anything that a terminal obeys; a `Time` in ISO 8601, nothing as the empty text."""
    if isinstance(value, str):
        return messages.clean(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, body.Time):
        return clock.iso_ms(value)
    return str(value) if isinstance(value, int) else messages.clean(",".join(map(str, value)))


def when(moment: int | None, now: int) -> str | None:
    """A moment for a narrow column: of today the time, else the day; UTC."""
    if moment is None:
        return None
    said = clock.iso(moment)
    return said[11:] if said[:10] == clock.day(now) else said[:10]


def wrapped(sentence: str) -> str:
    """A sentence broken between words where stdout is a terminal that is narrower."""
    if not sys.stdout.isatty():
        return sentence
    import shutil
    import textwrap

    return textwrap.fill(sentence, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)


def line(value: Value) -> str:
    """`text` as one line; `-` for nothing."""
    return " ".join(text(value).split()) or "-"


def show(columns: Sequence[Column], rows: Sequence[Row], wanted: str, shown: Sequence[Row] | None = None) -> None:
    """Write rows in the wanted form. `shown` are the same rows with values for people, where these differ."""
    if wanted == JSON:
        sys.stdout.write("".join(as_json(columns, row) for row in rows))
    elif wanted == TSV:
        lines = [body.row(*(column.key for column in columns)), *(body.row(*(text(row.get(column.key)) for column in columns)) for row in rows)]
        sys.stdout.write(b"".join(lines).decode())
    else:
        heads = [column for column in columns if column.head]
        table(heads, [[line(row.get(column.key)) for column in heads] for row in (rows if shown is None else shown)])
    sys.stdout.flush()


def as_json(columns: Sequence[Column], row: Row) -> str:
    """One JSON object a line, in ASCII alone; times as text; what is not known is left out."""
    import json

    values = {column.key: row[column.key] for column in columns if row.get(column.key) is not None}
    return json.dumps({key: clock.iso_ms(value) if isinstance(value, body.Time) else value for key, value in values.items()}) + "\n"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be, as far as the terminal is."""
    if len(rows) >= LONG or not sys.stdout.isatty():
        sys.stdout.write(padded(columns, rows))
        return
    try:
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:  # a builder has cit without it (docs/howto/add-a-builder.md)
        sys.stdout.write(padded(columns, rows))
        return

    console = Console(highlight=False)
    wanted = [max(map(cell_len, cells)) for cells in zip([column.head for column in columns], *rows)]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column, width in zip(columns, fitted(wanted, [column.yields for column in columns], console.width)):
        drawn.add_column(Text(column.head), justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        drawn.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    console.print(drawn)


def fitted(wanted: Sequence[int], yields: Sequence[bool], room: int) -> list[int]:
    """The widths of columns with two blanks between them in so much room: the widest of those that yield give way, each keeps 4."""
    widths = list(wanted)
    while sum(widths) + 2 * (len(widths) - 1) > room:
        width, at = max((width if gives and width > 4 else 0, at) for at, (width, gives) in enumerate(zip(widths, yields)))
        if not width:
            break
        widths[at] -= 1
    return widths


def padded(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """The same table in plain letters."""
    heads = [column.head for column in columns]
    widths = [max(map(len, cells)) for cells in zip(heads, *rows)]
    lines = []
    for row in (heads, *rows):
        cells = [cell.rjust(width) if column.right else cell.ljust(width) for cell, width, column in zip(row, widths, columns)]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def coloured(word: str) -> str:
    """A word in its colour, where stdout is a terminal that shows some."""
    code = CODES.get(COLOURS.get(word, ""))
    if not code or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return word
    return f"\x1b[{code}m{word}\x1b[0m"
