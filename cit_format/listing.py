"""The canonical listing, by which implementations are compared (docs/format/index.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from .document import Section
from .reader import LIMITS, Faulty, Head, Limits, scan


def line(identity: str, section: Section) -> str:
    """ID, number, SECTION, VERSION, FORMAT, attributes as written (`-` if none), bytes of the body, its sha256."""
    body = section.body()
    digest = hashlib.sha256(body).hexdigest()
    fields = (
        identity,
        str(section.number),
        section.kind,
        section.version,
        section.form,
        section.written or "-",
        str(len(body)),
        digest,
    )
    return "\t".join(fields) + "\n"


def listed(read: Callable[[int], bytes], limits: Limits = LIMITS) -> Iterator[str | Faulty]:
    """The lines of each document of a stream as one text, once the document is known to be whole; a `Faulty` otherwise."""
    identity, lines = "", []
    for item in scan(read, limits):
        if isinstance(item, Section):
            lines.append(line(identity, item))
        elif isinstance(item, Head):
            identity, lines = item.id, []
        elif isinstance(item, Faulty):
            yield item
        else:
            yield "".join(lines)
