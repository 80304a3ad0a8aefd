"""The builders that jobs are dealt to: those of a queue, of files that somebody names, or of a stream (docs/stages/schedule.md)."""

from __future__ import annotations

from pathlib import Path

from .cit_format import builder, builders, home, messages
from .cit_format.builder import FRESH, Builder, number
from .cit_format.builders import brief as brief
from .cit_format.builders import of_queue as of_queue
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, OK, CitError, worst


def present(queue: home.Queue, listed: Path | None, now: int) -> tuple[list[Builder], list[Document], int]:
    """The builders of the queue, or of a file or the `*.cit` of a directory and then with their documents; and the worst status. 66 not there."""
    if listed is None:
        found, status = candidates(queue, now)
        return found, [], status
    if not listed.exists():
        raise CitError(NOT_FOUND, f"no file or directory {listed}", "--builders names a stream of builder documents, or a directory of them")
    paths = sorted(listed.glob("*.cit")) if listed.is_dir() else [listed]
    documents, faults = builders.newest(queue, paths, now)
    status = OK
    for where, error in faults:
        status = worst(status, messages.complain(error, where))
    return builders.present(queue, [builder.builder(described) for described in documents], now), documents, status


def candidates(queue: home.Queue, now: int) -> tuple[list[Builder], int]:
    """The builders of the queue that jobs may be dealt to, and the worst status."""
    found, status = of_queue(queue, now)
    return [believing(each) for each in found], status


def believing(found: Builder) -> Builder:
    """The same, taking jobs of those alone whom its account believes, where that lies on this machine and can be read."""
    if found.users or not found.door.startswith("/"):
        return found
    try:
        allowed = home.Account(Path(found.door)).signers.allowed
    except (CitError, OSError):
        return found
    return found._replace(users=tuple({entry.principal for several in allowed.values() for entry in several if "cit-job" in entry.namespaces}))


def streamed(described: Document, queue: home.Queue, now: int) -> Builder:
    """A builder that came in a stream, as busy as the `load` after it says: who runs the filter put it there."""
    found = builders.believed(described, queue, now)
    loads = [section.table() for section in described.all("load") if section.version == "1"]
    if not loads:
        return found
    said = builder.heard(loads[-1], now)
    jobs = sum(number(loads[-1], key, 0) for key in ("running", "waiting"))
    offered = tuple(section.attributes.get("name", "") for section in described.all("interface"))
    said = said._replace(interfaces=offered or None)
    return found._replace(heard=said, given=jobs if abs(now - said.time) <= FRESH else 0)
