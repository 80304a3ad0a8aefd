"""`handed` of a job's record: what is between a build account and its engine, a line a step, as in `status` (docs/stages/run.md).

2026-11-23T20:26:14.512Z  handed     id 123
2026-11-23T20:26:14.530Z  state      is PENDING Resources
2026-11-23T20:27:02.114Z  began      at n7
2026-11-23T20:31:40.009Z  restarted  count 1
"""

from __future__ import annotations

import os
from typing import NamedTuple

from .. import recorded, status
from ..cit_format import clock


class Handed(NamedTuple):
    """The engine's ID (empty: not handed over as far as is known), its last word, whether a beginning was seen, when it began anew
    (microseconds), why it is to be given back, why it is lost, whether its supervisor was told
    to end it, and how often the engine had put it back when it began last."""

    id: str = ""
    told: str = ""
    began: bool = False
    restarts: tuple[int, ...] = ()
    declined: str = ""
    lost: str = ""
    stopped: bool = False
    put_back: int = 0


def read(record: str) -> Handed:
    """What a job's record says."""
    lines = (recorded.read(f"{record}/handed") or b"").decode("utf-8", "replace").split("\n")[:-1]
    found = Handed()
    for line in lines:
        time, word, said = (*line.split("\t"), "", "")[:3]
        value = said.partition(" ")[2]
        if word == "handed":
            found = Handed(value, restarts=found.restarts)  # once more: what was said of the one before is over
        elif word == "state":
            found = found._replace(told=value)
        elif word == "began":
            found = found._replace(began=True)
        elif word == "declined":
            found = found._replace(declined=value or "not taken")
        elif word == "stopped":
            found = found._replace(stopped=True)
        elif word == "lost":
            found = found._replace(lost=value)
        elif word in ("restarted", "put-back"):
            found = found._replace(put_back=int(value) if value.isdigit() else 0)
            if word == "restarted":
                found = found._replace(restarts=(*found.restarts, clock.parse(time)))
    return found


def note(record: str, word: str, **said: object) -> None:
    """Append a line; the record is made where it is missing."""
    os.makedirs(record, mode=0o700, exist_ok=True)
    fd = os.open(f"{record}/handed", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        status.note(fd, status.line(word, **{key: plain(str(value)) for key, value in said.items()}))
    finally:
        os.close(fd)


def plain(text: str) -> str:
    """Foreign words in one line of printable characters, 300 of them at most."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]
