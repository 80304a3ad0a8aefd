"""A queue's log/DAY.tsv as its documents tell it, for when the log is gone (docs/directories.md)."""

from __future__ import annotations

from pathlib import Path

from . import places, story
from .cit_format import body, clock, spool, trust
from .cit_format.errors import CitError


def lines(path: Path) -> list[tuple[str, bytes]]:
    """The lines of a queue's log as its documents tell them, each with its day, in the order of time."""
    told_lines: list[tuple[str, str, bytes]] = []
    for copy, document in places.documents(places.everything(places.Home([path], None))):
        if isinstance(document, CitError):
            continue
        wanted = document.table("job") if document.kind == "job" else {}
        for row in story.events(document):
            if row[1] != "run":
                detail = str(wanted.get("submitter", "")) if row[2] == "accepted" else row[5]
                told_lines.append((row[0], copy.own, body.row(copy.own, *row[:5], detail)))
        told = story.told(document)
        given = trust.assignment(document)
        if given and isinstance(told.get("assigned"), int):
            time_, builder = clock.iso_ms(int(told["assigned"] or 0)), str(given.table["builder"])
            where = (spool.host(), "", builder)
            told_lines.append((time_, copy.own, body.row(copy.own, time_, "schedule", "assigned", *where)))
            if copy.place == "done" and isinstance(told.get("ended"), int):
                time_ = clock.iso_ms(int(told["ended"] or 0))
                told_lines.append((time_, copy.own, body.row(copy.own, time_, "deliver", str(told["state"]), *where)))
    return [(moment[:10], line) for moment, _, line in sorted(set(told_lines))]
