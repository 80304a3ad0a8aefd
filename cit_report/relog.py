"""A queue's log/DAY.tsv as its documents tell it, for when the log is gone (docs/directories.md)."""

from __future__ import annotations

from pathlib import Path

from . import places, story
from .cit_format import body, clock, spool, trust
from .cit_format.document import Document
from .cit_format.errors import CitError


def lines(path: Path) -> list[tuple[str, bytes]]:
    """The lines of a queue's log as its documents tell them, each with its day, in the order of time."""
    found: list[tuple[str, str, bytes]] = []
    for copy, document in places.documents(places.everything(places.Home([path], None))):
        if not isinstance(document, CitError):
            found += [(moment, copy.own, line) for moment, line in told(document, copy.own, copy.place == "done")]
    return [(moment[:10], line) for moment, _, line in sorted(set(found))]


def told(document: Document, own: str, ended: bool) -> list[tuple[str, bytes]]:
    """The lines that one document tells, each with its moment; `own` is `COPY-NAME`, `ended`: it lies in done."""
    wanted = document.table("job") if document.kind == "job" else {}
    found = []
    for row in story.events(document):
        if row[1] != "run":
            detail = str(wanted.get("submitter", "")) if row[2] == "accepted" else row[5]
            found.append((row[0], body.row(own, *row[:5], detail)))
    said = story.told(document)
    given = trust.assignment(document)
    builder = str(given.table["builder"]) if given else ""
    if isinstance(said.get("assigned"), int):
        moment = clock.iso_ms(int(said["assigned"] or 0))
        found.append((moment, body.row(own, moment, "schedule", "assigned", spool.host(), "", builder)))
    if ended and isinstance(said.get("ended"), int):
        moment, stage = clock.iso_ms(int(said["ended"] or 0)), "deliver" if given else "schedule"
        found.append((moment, body.row(own, moment, stage, str(said["state"]), spool.host(), "", builder)))
    return found
