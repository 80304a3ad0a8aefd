"""A foreign filter between two spools: `cit-format through --from waiting --to assigned -- ./mine` (docs/replace-a-stage.md).

Documents are claimed, fed to the program as one stream, and taken back: what it appended to moves on, what it left alone
goes back. Unless the program ends with 0, everything goes back. Whoever comes after a kill finishes or undoes the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from . import body, builders, clock, document, heartbeat, home, messages, names, offers, reader, spool, trust
from .document import Document
from .errors import CONFIG, DATA, LATER, OK, CitError, worst
from .reader import Faulty

LOOK_AHEAD = 1000  # documents of one pass
AT_ONCE = 64 << 20  # bytes of one pass


class Taken(NamedTuple):
    """A claimed document and its file name."""

    name: str
    document: Document


def stream_of(queue: home.Queue) -> list[Document]:
    """The builders of a queue that its list believes and nobody paused, the newest of each name, each with a `load`, what the queue gave
    it, and an `interface` for each that it offers."""
    waiting, running = given(queue / "assigned"), given(queue / "sent")
    now = clock.now()
    found, faults = builders.newest(queue, [queue / "builders" / name for name in spool.listing(queue / "builders")], now)
    for where, error in faults:
        messages.complain(error, where)
    named = [(str(described.table("builder")["name"]), described) for described in found]
    there = [(name, each) for name, each in named if not builders.pause(queue, name)]
    return [each.extended(_load(each, running[name], waiting[name], now), *_offered(queue, name, each, now)) for name, each in there]


def _offered(queue: home.Queue, name: str, described: Document, now: int) -> list[bytes]:
    """What a builder offers to be called, as it said last; of this account as it is."""
    said = described.table("builder")
    if said.get("door") == str(home.path().absolute()):
        return offers.sections(home.path())
    if heartbeat.kept(queue, name, str(said.get("key")), now) is None:
        return []
    beat = reader.parse((queue / "builders" / heartbeat.CACHE / f"{name}.cit").read_bytes())
    return [beat.raw[section.start : section.end] for section in beat.all("interface")]


def _load(described: Document, running: int, waiting: int, now: int) -> bytes:
    here = described.table("builder").get("host") == spool.host()
    load = f"{os.getloadavg()[0]:.2f}" if here else None
    return document.section("load", "toml", body.toml({"time": body.Time(now), "load": load, "running": running, "waiting": waiting}))


def given(state: Path) -> Counter[str]:
    """How many documents of a state are assigned to each builder."""
    found: Counter[str] = Counter()
    for name in spool.listing(state):
        with contextlib.suppress(FileNotFoundError):  # moved on meanwhile
            assignment = trust.assignment(reader.parse((state / name).read_bytes()))
            if assignment is not None:
                found[str(assignment.table["builder"])] += 1
    return found


def queue_of(source: Path) -> home.Queue | None:
    """The queue that a spool belongs to, if it is one's."""
    return home.Queue(source.parent) if (source.parent / "queue.toml").exists() else None


def take(claim: spool.Claim, look_ahead: int) -> tuple[list[Taken], int]:
    """Claim documents from the head of the spool; faulty ones stay there and are told. The worst status."""
    status, size = OK, 0
    taken: list[Taken] = []
    for name in spool.listing(claim.spool)[:look_ahead]:
        raw = claim.take(name)
        if raw is None:
            continue
        try:
            taken.append(Taken(name, reader.parse(raw)))
        except CitError as error:
            status = worst(status, messages.complain(error, name))
            claim.back(name)
        size += len(raw)
        if size >= AT_ONCE:
            break
    return taken, status


def grown(answer: Document, taken: list[Taken]) -> Taken | None:
    """The one that a document of the program's output continues: the longest of those that it begins with."""
    mine = [one for one in taken if answer.raw.startswith(one.document.raw)]
    return max(mine, key=lambda one: len(one.document.raw), default=None)


def sorted_out(answers: Iterator[Document | Faulty], taken: list[Taken], ignored: set[str]) -> tuple[dict[str, Document], int]:
    """By file name, the documents that came back longer. What is faulty, foreign, changed or there twice is told and left out."""
    status = OK
    by_id: dict[str, list[Taken]] = {}
    for one in taken:
        by_id.setdefault(one.document.id, []).append(one)
    seen: set[str] = set()
    longer: dict[str, Document] = {}
    for answer in answers:
        try:
            if isinstance(answer, Faulty):
                raise answer.error
            if answer.id in ignored:
                continue
            mine = grown(answer, by_id.get(answer.id, []))
            if mine is None:
                what = "the program changed what it was given" if answer.id in by_id else "the program wrote a document that it was not given"
                raise CitError(DATA, what, "it may only append to what it reads; this one is left where it was", answer.label)
            if mine.name in seen:
                longer.pop(mine.name, None)
                raise CitError(DATA, "the program wrote this document twice", "it is left where it was", answer.label)
            seen.add(mine.name)
            if is_undealt(mine.name, answer) and trust.assignment(answer) is not None:
                hint = "tasks are dealt out of it one by one: the scheduler of cit does that; this one is left where it was"
                raise CitError(DATA, "an array was assigned", hint, answer.label)
            if len(answer.raw) > len(mine.document.raw):
                longer[mine.name] = answer
        except CitError as error:
            status = worst(status, messages.complain(error))
    return longer, status


def is_undealt(name: str, job: Document) -> bool:
    """Whether a job is an array, or what is left of one, and no task of it."""
    parts = names.parse(name)
    return job.kind == "job" and "array" in job.table("job") and (parts is None or parts.task is None)


def new_name(name: str, before: Document, after: Document) -> str:
    """The file name in the next state: an assignment that was appended adds its task and attempt."""
    parts = names.parse(name)
    assigned = trust.assignment(after)
    if parts is None or assigned is None or len(list(after.all("assignment"))) == len(list(before.all("assignment"))):
        return name
    return str(parts._replace(attempt=assigned.attempt, task=parts.task if assigned.task is None else assigned.task))


def fed(program: list[str], stream: list[bytes]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start the program with these bytes on its stdin; its output is read from what is returned."""
    try:
        process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise CitError(CONFIG, f"cannot start {program[0]}: {error.strerror}", "is it executable, and on PATH?") from None
    assert process.stdin is not None and process.stdout is not None
    stdin = process.stdin

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), stdin:  # it need not read all
            for piece in stream:
                stdin.write(piece)

    threading.Thread(target=feed, daemon=True).start()
    return process, process.stdout


def through(source: Path, target: Path, program: list[str], look_ahead: int = LOOK_AHEAD, stage: str = "") -> int:
    """One pass: the worst status; the program's own where it failed, 75 where it was killed."""
    for place in (source, target):
        if not place.is_dir():
            raise CitError(CONFIG, f"no spool {place}", "a spool is a directory; `cit init` makes those of a queue")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a program that does not read all of its input is no reason to end
    spool.recover(source)
    if not spool.listing(source):
        return OK
    queue = queue_of(source)
    others = stream_of(queue) if queue is not None and source.name == "waiting" else []
    moves = []
    with spool.Claim(source) as claim:
        taken, status = take(claim, look_ahead)
        if not taken:
            return status
        process, output = fed(program, [each.raw for each in [*others, *(one.document for one in taken)]])
        answers = reader.documents(lambda size: os.read(output.fileno(), size))
        longer, found = sorted_out(answers, taken, {other.id for other in others})
        ended = process.wait()
        output.close()
        if ended:
            what = f"{program[0]} was ended by signal {-ended}" if ended < 0 else f"{program[0]} ended with status {ended}"
            messages.tell("error", what, hint=f"everything is back in {source}; what it wrote was not used")
            return LATER if ended < 0 else ended
        for name, before in taken:
            after = longer.get(name)
            if after is None:
                claim.back(name)
                continue
            as_name = new_name(name, before, after)
            claim.move(name, target, as_name, after.raw)
            parts = names.parse(as_name)
            moves.append((f"{parts.copy}-{parts.name}" if parts else as_name, target.name, _detail(after)))
        claim.settle()
    if queue is not None:
        queue.note(moves, stage or Path(program[0]).name.removeprefix("cit-"))
    return worst(status, found)


def _detail(moved: Document) -> str:
    assigned = trust.assignment(moved)
    return str(assigned.table["builder"]) if assigned else moved.sections[-1].kind
