"""Documents for a queue that lies elsewhere: cit-deliver, the one carrier, takes a group to its door and brings tickets (docs/stages/queue.md).

Only a ticket for the very bytes that were sent counts. Whatever else happens, a cut, a kill, a door that is not ready, leaves a
document where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from .accept import Answer
from .cit_format import clock, frame, home, reader, silence
from .cit_format.ask import complaint
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, LATER, NO, UNREACHABLE, CitError
from .places import HINT

FINAL = (DATA, DENIED, NO)  # refusals that are about the document itself
REFUSED, KEPT = "refused", "kept"


class Carried(NamedTuple):
    """An answer for each document in order (None: it has none, and stays here), and why some have none."""

    answers: list[Answer | None]
    away: CitError | None


# --- decisions ------------------------------------------------------------------------------------------------------


def answered(document: Document, tickets: Sequence[Document]) -> tuple[Answer | None, str]:
    """What one of these tickets says of a document, or why it says nothing that counts."""
    received = f"sha256:{hashlib.sha256(document.raw).hexdigest()}"
    said = next((each for each in tickets if each.id == document.id and each.table("ticket").get("received") == received), None)
    if said is None:
        return None, "no ticket came back"
    table = said.table("ticket")
    state, why = str(table.get("state", "")), str(table.get("why", "") or "it is not ready")
    if state == REFUSED and table.get("status") in FINAL:
        return Answer(said, REFUSED, CitError(int(str(table["status"])), why, "its queue keeps it in refused/ with why", document.label)), ""
    if state in (REFUSED, KEPT, ""):
        return None, why
    return Answer(said, state), ""


# --- one group ------------------------------------------------------------------------------------------------------


def carried(queue: home.Queue, documents: Sequence[Document], hasty: bool = False) -> Carried:
    """Have a group carried to a queue elsewhere: what it answered. `hasty`: one that gave no answer a moment ago is not tried."""
    import subprocess

    quiet = silence.why(queue, clock.now()) if hasty else ""
    if quiet:
        return Carried([None] * len(documents), _away(queue, quiet))
    began = time.monotonic()
    stream = frame.framed(b"".join(document.raw for document in documents), len(documents))
    try:
        with open(os.memfd_create("documents"), "w+b") as memory:  # no pipe, which would end this process with one that does not read
            memory.write(stream)
            memory.seek(0)
            done = subprocess.run(["cit-deliver", "-q", "--queue", str(queue.path)], stdin=memory, capture_output=True, check=False)
    except OSError as error:
        return Carried([None] * len(documents), _away(queue, f"cit-deliver does not start: {error.strerror}"))
    tickets: dict[str, list[Document]] = {}
    for ticket in reader.documents(reader.reader_of(done.stdout)):
        with contextlib.suppress(CitError):
            if isinstance(ticket, Document) and ticket.table("ticket"):  # the last one may be torn
                tickets.setdefault(ticket.id, []).append(ticket)
    answers, missing = [], ""
    for document in documents:
        answer, why = answered(document, tickets.get(document.id, []))
        answers.append(answer)
        missing = missing or why
    if tickets or not missing:
        silence.over(queue)
        return Carried(answers, _away(queue, missing) if missing else None)
    why = complaint(done.stderr) or f"cit-deliver ended with status {done.returncode}"
    if done.returncode == UNREACHABLE:
        silence.noted(queue, why, time.monotonic() - began, clock.now())
    return Carried(answers, _away(queue, why))


def _away(queue: home.Queue, why: str) -> CitError:
    return CitError(LATER, f"queue @{queue.path.name} cannot be had: {why}", HINT)
