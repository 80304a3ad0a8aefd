"""How builders were weighed for each attempt of a job: its assignments tell it, years later and offline (docs/stages/schedule.md). Pure."""

from __future__ import annotations

from typing import NamedTuple

from . import screen
from .cit_format import attempts, clock
from .cit_format.document import Document

BACK = "given back"  # an attempt that its builder did not begin


class Weighed(NamedTuple):
    """An attempt: its number, the builder that got it, when, how it ended if it was not the last one, and a line for each builder that there was."""

    attempt: int
    builder: str
    assigned: str
    end: str
    lines: tuple[str, ...]


def weighed(document: Document) -> list[Weighed]:
    """How builders were weighed for each attempt, as the assignments of a job tell it."""
    found: list[Weighed] = []
    for section in document.sections:
        if section.kind == "assignment" and section.version == "1":
            said = section.table()
            lines, number, when = said.get("weighed"), said.get("attempt"), said.get("assigned")
            told = tuple(screen.line(line) for line in lines) if isinstance(lines, list) else ()
            attempt = number if isinstance(number, int) else len(found) + 1
            found.append(Weighed(attempt, screen.line(said.get("builder")), clock.iso(when) if isinstance(when, int) else "-", "", told))
        elif found and section.kind == "result" and section.version == "1":
            found[-1] = found[-1]._replace(end=screen.line(section.table().get("state")))
        elif found and attempts.is_void(document, section):
            why = next((screen.line(row[5]) for row in section.rows() if row[2:3] == ["void"] and row[5:6]), "")
            found[-1] = found[-1]._replace(end=f"{BACK}: {why}" if why else BACK)
    return found


def told(found: list[Weighed]) -> list[tuple[str, tuple[str, ...]]]:
    """What people are told of that: a heading for each attempt, and its lines. Of one builder and one attempt there is nothing to tell."""
    if len(found) == 1 and len(found[0].lines) < 2:
        return []
    last = found[-1:]
    return [(f"attempt {each.attempt} was given to {each.builder} at {each.assigned}{_ended(each, [each] == last)}:", each.lines) for each in found]


def _ended(each: Weighed, is_last: bool) -> str:
    """How an attempt ended, where nothing else tells it."""
    return f" ({each.end})" if each.end and (not is_last or each.end.startswith(BACK)) else ""
