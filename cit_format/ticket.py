"""Tickets: what became of each document that was handed over (docs/format/ticket.md). Unsigned: the channel vouches."""

from __future__ import annotations

import hashlib
from typing import Union

from . import body
from .document import Document, Section
from .errors import CitError
from .reader import Faulty

_BEGIN, _END = b"@begin ticket 1 toml\n", b"@end ticket\n"


def ticket(identity: str, name: str, received: Union[bytes, Faulty], state: str, refused: CitError | None = None, **more: object) -> Document:
    """The ticket of what was received, all of it: state accepted, duplicate, refused, kept or a job's present one; `more` is task, attempt."""
    if isinstance(received, Faulty):
        digest, size = received.sha256, received.size
    else:
        digest, size = hashlib.sha256(received).hexdigest(), len(received)
    text = b'state = "%s"\nreceived = "sha256:%s"\nbytes = %d\n' % (state.encode(), digest.encode(), size)
    if refused is not None:
        more = {**more, "status": refused.status, "why": refused.what}
    text += body.toml(more)
    head = b"@cit 1 %s %s\n" % (identity.encode(), name.encode())
    raw = b"".join((head, _BEGIN, text, _END))
    return Document(identity, name, raw, [Section(1, "ticket", "1", "toml", "", len(head), len(raw), text)])
