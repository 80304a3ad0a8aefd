"""cit log --fold and --tree: a log by the marks that other CI systems, make and TAP leave in it (docs/howto/logs-and-parts.md).

Reads: the log, wherever it is, as far as 64 MiB. Writes: with --tree the headings, as a table or TSV; with --fold the log, its groups
folded but for those that are meant to be open, in which something failed, or in which it ended.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import accumulate

from . import far, following, look, marks, opening, screen
from .cit_format import clock, masks, messages
from .index import Index
from .look import Seen
from .marks import Group
from .picking import split

LIMIT = 64 << 20  # bytes of a log
COLUMNS = (
    screen.Column("Title", "GROUP", yields=True),
    screen.Column("lines", "LINES", right=True),
    screen.Column("Elapsed", "ELAPSED", right=True),
    screen.Column("Tests", "TESTS"),
    *(screen.Column(key) for key in ("depth", "kind", "title", "elapsed-ms", "ok", "not-ok", "errors", "line")),
)
FILE_COLUMNS = (
    screen.Column("depth"),
    screen.Column("title"),
    *(each for each in COLUMNS if each.key in ("kind", "elapsed-ms", "ok", "not-ok", "errors", "line")),
)


# --- decisions ------------------------------------------------------------------------------------------------------


def elapsed(group: Group, places: list[int], index: Index) -> int | None:
    """Microseconds from its first line to its last, as far as the index tells."""
    first, last = index.moment(places[group.first]), index.moment(places[group.last])
    return None if first is None or last is None else last - first


def tests(group: Group) -> str:
    """`12 ok, 2 not ok`; empty where there are none."""
    said = [
        f"{count} {word}"
        for count, word in ((group.ok, "ok"), (group.not_ok, "not ok"), (group.errors, "error" if group.errors == 1 else "errors"))
        if count
    ]
    return ", ".join(said) if group.ok or group.not_ok or group.errors else ""


def row(depth: int, group: Group, places: list[int], index: Index) -> dict[str, screen.Value]:
    took = elapsed(group, places, index)
    return {
        "Title": "- " * depth + group.title,
        "Elapsed": None if took is None else clock.duration_text(took),
        "Tests": tests(group) or None,
        "lines": group.lines,
        "depth": depth,
        "kind": group.kind,
        "title": group.title,
        "elapsed-ms": None if took is None else took // 1000,
        "ok": group.ok,
        "not-ok": group.not_ok,
        "errors": group.errors,
        "line": group.first + 1,
    }


def folded(whole: Group, lines: list[str], places: list[int], index: Index, depth: int = 0) -> Iterator[str]:
    """The lines of a folded log."""
    for item in whole.items:
        if not isinstance(item, Group):
            yield "  " * depth + lines[item]
            continue
        took = elapsed(item, places, index)
        said = [f"{item.lines} line{'' if item.lines == 1 else 's'}", tests(item), "" if took is None else clock.duration_text(took)]
        yield f"{'  ' * depth}{'v' if item.is_open else '>'} {item.title}  ({', '.join(filter(None, said))})"
        if item.is_open:
            yield from folded(item, lines, places, index, depth + 1)


# --- the log --------------------------------------------------------------------------------------------------------


def read(job: Seen, key: str | None) -> tuple[bytes, Index]:
    """All of a job's log (up to LIMIT), without its secrets but as long, and its index. 66, 69, 77."""
    pieces: list[bytes] = []
    log, away = job.work(".log"), None
    if log is None and opening.is_for_some(job):
        sealed = job.work(".log.age")
        opening.write_log(job, key, pieces.append)
        return b"".join(pieces)[:LIMIT], following.index_of(sealed.with_suffix("")) if sealed else far.index(job)
    away = None if log else far.place(job)
    if away:
        far.copied(job, away, 0, pieces.append)
        return b"".join(pieces)[:LIMIT], far.index(job)
    log = look.log_of(job)
    sought = masks.known(str(log))
    with open(log, "rb") as stream:
        return masks.hidden(stream.read(LIMIT), sought), following.index_of(log)


def shown(job: Seen, key: str | None, as_tree: bool, form: str) -> None:
    """The log by its marks."""
    text, index = read(job, key)
    if len(text) == LIMIT:
        messages.tell("warning", "only the first 64 MiB of it are looked at", job.document.label)
    raw = split(text)
    places = [0, *accumulate(map(len, raw))]
    lines = [messages.clean(marks.bare(line.decode("utf-8", "replace"))) for line in raw]
    whole = marks.tree([line.decode("utf-8", "replace") for line in raw])
    if as_tree:
        rows = [row(depth, group, places, index) for depth, group in marks.groups(whole)]
        if whole.ok + whole.not_ok + whole.errors and form == screen.TABLE:
            rows.append({"Title": "all", "lines": whole.lines, "Tests": tests(whole)})
        screen.show(COLUMNS if form == screen.TABLE else FILE_COLUMNS, rows, form)
        return
    sys.stdout.writelines(f"{messages.clean(line)}\n" for line in folded(whole, lines, places, index))
