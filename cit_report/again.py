"""Why a job is to be tried again, and when, in a sentence. Pure (docs/howto/try-again.md)."""

from __future__ import annotations

from . import screen
from .cit_format import attempts, backoff, clock
from .cit_format.document import Document


def last_end(document: Document) -> str:
    """How the attempt before ended, or what its check said; empty where there was none, or its builder gave it back."""
    end = attempts.ending(document)
    if end is None:
        return ""
    if end.kind == "event":
        told = [row[5] for row in end.rows() if row[2:3] == ["unready"]] if attempts.is_unready(document, end) else []
        return f"its {screen.line(told[0])}" if told else ""
    said = end.table()
    how = f"signal {said['signal']}" if said.get("signal") else f"status {said.get('exit')}"
    return f"the attempt before ended {screen.line(said.get('state'))}, {how}"


def held(document: Document, until: int) -> str:
    """Why a job waits for its next attempt."""
    times = backoff.waits(document)
    often = f" ({times} times so far)" if times > 1 else ""
    return f"{last_end(document) or 'it was given back'}{often}; it is tried again at {clock.iso(until)}"
