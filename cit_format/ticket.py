"""Tickets: what became of each document that was handed over (docs/format/ticket.md). Unsigned: the channel vouches."""

from __future__ import annotations

import hashlib

from . import body, document
from .document import Document
from .errors import CitError


def ticket(identity: str, name: str, received: bytes, state: str, refused: CitError | None = None, **more: object) -> Document:
    """The ticket of `received` bytes: state accepted, duplicate, refused, kept or a job's present one; `more` is task, attempt."""
    values: dict[str, object] = {"state": state, "received": f"sha256:{hashlib.sha256(received).hexdigest()}", "bytes": len(received), **more}
    if refused is not None:
        values.update(status=refused.status, why=refused.what)
    return document.new(name, document.section("ticket", "toml", body.toml(values)), identity=identity)
