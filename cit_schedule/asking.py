"""`cit-deliver --ask`: one verb of a door, its answer byte for byte, its status ours (docs/stages/deliver.md).

Of this machine it is the same verb of the same program, `cit-queue --door`, which then takes our place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import transport
from .builders import of_queue
from .cit_format import address, clock, grammar, home, messages
from .cit_format.errors import NOT_FOUND, UNREACHABLE, USAGE, CitError
from .wire import NONE

PUT = "put-"  # how verbs begin that read stdin


def asked(target: str, words: list[str], queue: str | None) -> int:
    """Ask a verb of a place, of `@QUEUE`, or of a builder of the queue; the door's status, 69 where none came."""
    if not words or not all(word.isascii() and word.isprintable() and " " not in word for word in words):
        raise CitError(USAGE, "a verb and its words", "cit-deliver --ask @main ls waiting")
    verb = words[0]
    place = place_of(target, queue)
    if not address.is_remote(place):
        _become(Path(place), " ".join(words), verb)
    owner = home.find_queue(queue) if queue is not None or not _names_a_place(target) else None
    with transport.Doors(owner if owner is not None and not owner.remote else None) as doors:
        door = doors.at(place, lasting=False)
        assert isinstance(door, transport.Remote)
        stdin = sys.stdin.buffer.read() if verb.startswith(PUT) else b""
        ended = door.ask(verb, words[1:], stdin, _write)
    if ended.status == NONE:
        raise CitError(UNREACHABLE, "the connection broke, or a signal ended what answered", "ask again", place)
    if ended.said:
        what, hint = transport.complaint(ended.said)
        messages.tell("error" if ended.status else "info", what, place, hint)
    return ended.status


def place_of(target: str, queue: str | None) -> str:
    """The place that words mean: a directory or a door as it stands, a queue of this home, or a builder of the queue. 66 where there is none."""
    if target.startswith("/") or address.is_remote(target):
        return target
    if target.startswith("@"):
        return way_to(home.find_queue(target))
    if not grammar.NAME.fullmatch(target):
        raise CitError(USAGE, f"--ask {target[:80]!r}", "it is a directory, ssh://USER@HOST[:PORT], @QUEUE or a builder's name")
    here = home.find_queue(queue)
    found = next((builder for builder in of_queue(here, clock.now())[0] if builder.name == target), None)
    if found is None:
        raise CitError(NOT_FOUND, f"queue {here.name} has no builder {target}", "`cit builders` lists them; --queue says which queue")
    return found.door


def way_to(queue: home.Queue) -> str:
    """The place where a queue is reached from here."""
    return queue.door if queue.remote else str(queue.path)


def _names_a_place(target: str) -> bool:
    return target.startswith(("/", "@")) or address.is_remote(target)


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _become(place: Path, command: str, verb: str) -> None:
    """Take the place of `cit-queue --door` for a queue or build account of this machine."""
    if not place.is_dir():
        raise CitError(UNREACHABLE, f"{place} is not there", "is it mounted?")
    if not verb.startswith(PUT):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    words = ["cit-queue", "--door", command]
    environment = dict(os.environ)
    if (place / "queue.toml").exists():
        words += ["--to", str(place)]
    else:
        environment["CIT_HOME"] = str(place)
    os.execvpe(words[0], words, environment)
