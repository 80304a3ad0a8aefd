"""What is said of a job before all else: what a person changed in its sources; and how its workspace came about and how long it stays. Pure
but for `is_changed`, which looks into a file (docs/howto/workspaces.md, docs/howto/restart-and-publish.md).
"""

from __future__ import annotations

import mmap

from .cit_format import body, clock
from .cit_format.document import Document, Section
from .cit_format.errors import CitError

FAILED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE")  # ends after which a workspace is held
MARK = "*"  # behind the name of a job with a change, in tables


def changes(document: Document) -> list[str]:
    """A line for each patch upon its sources: how much, where, upon which commit; whose own build it is; and of which job it is the restart."""
    found = []
    for section in _signed(document, "change"):
        said = section.attributes
        path = said.get("path", "")
        place = "" if path == "." else f" in {path}"
        found.append(f"{_count(said.get('files'), 'file')}, {_count(said.get('lines'), 'line')}{place} upon {said.get('base', '')[:10]}")
    wanted = _table(document)
    for section in _signed(document, "published"):
        told = section.table()
        control = "" if told.get("environment") else ", uncontrolled: nobody told with what"
        found.append(f"a local build, published by {wanted.get('submitter', '')}: built on {told.get('host', '')}{control}")
    if wanted.get("restart"):
        found.append(f"by hand, in the workspace of {str(wanted['restart'])[20:26]}: cit show {str(wanted.get('parent', ''))[-6:]}")
    return found


def _count(said: str | None, noun: str) -> str:
    return f"{said} {noun}{'' if said == '1' else 's'}"


def _signed(document: Document, kind: str) -> list[Section]:
    first = document.find("signature")
    return [each for each in document.all(kind) if first is None or each.number < first.number]


def _table(document: Document) -> dict[str, body.Value]:
    try:
        return document.table("job") if document.kind == "job" else {}
    except CitError:
        return {}


def built(document: Document) -> list[str]:
    """How the workspace of an incremental build came about, and each component in it: as the builder signed it."""
    sections = list(document.all("environment"))
    rows = {row[0]: row[1] for row in sections[-1].rows() if len(row) > 1} if sections else {}
    found = [f"{rows['workspace']}: {rows.get('workspace why', '')}"] if "workspace" in rows else []
    return found + [f"{key.partition(' ')[2]}: {value}" for key, value in rows.items() if key.startswith("built ")]


def held_until(wanted: object, state: str, ended: object) -> int | None:
    """Until when the workspace of a failed job stays for its author (microseconds), by its `hold-on-failure`; None where it does not."""
    if state not in FAILED or not isinstance(ended, int) or not isinstance(wanted, str):
        return None
    try:
        return ended + clock.duration(wanted)
    except CitError:
        return None


def is_changed(path: str) -> bool:
    """Whether the document in a file is a job with a change: told by its lines alone. A file that has moved on is none."""
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            found, signed = (raw.find(mark) for mark in (b"\n@begin change ", b"\n@begin signature "))
            return 0 <= found < signed or raw.find(b"\n@begin published ", 0, max(0, signed)) >= 0
    except (OSError, ValueError):
        return False
