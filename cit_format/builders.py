"""The builders of a queue: whom it believes, what was heard of each, who paused it, and what the queue has given it (docs/format/builder.md).

    builders/ID-NAME.cit      signed by the owner; of one name the newer counts
    builders/.load/NAME.cit   what it said last of itself (heartbeat.py)
    builders/NAME.paused      the queue gives it nothing more: when, who, why (TSV; cit pause)
    builders/.asked           when it was asked last, how often in vain, why (TSV: name, time, failures, why)

Who has which job stands in the last assignment of each document in `assigned` and `sent`: its end is read, no more.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from . import body, builder, can_build, clock, heartbeat, home, lent, messages, offers, reader, spool, trust
from .builder import Builder, Heard
from .document import Document
from .errors import DENIED, OK, CitError, worst

END = 1 << 16  # bytes at the end of a document in which its last assignment is looked for
HEAD = 1 << 12  # bytes at its start in which its job section is
PAUSED = ".paused"
_BUILDER = re.compile(rb'^builder = "([a-z0-9][a-z0-9._-]*)"$', re.M)
_CPUS = re.compile(rb"^cpus = ([0-9]{1,9})$", re.M)
_MEM = re.compile(rb'^mem = "([0-9]{1,15}[KMGT])"$', re.M)


class Given(NamedTuple):
    """What a queue has given a builder: the jobs (`COPY-NAME`), processors, memory (bytes)."""

    jobs: frozenset[str] = frozenset()
    cpus: int = 0
    mem: int = 0


class Asked(NamedTuple):
    """When a builder was asked last (microseconds), how often in vain since it answered, and why."""

    time: int
    failures: int
    why: str


# --- whom a queue believes ----------------------------------------------------------------------------------------------


def of_queue(queue: home.Queue, now: int) -> tuple[list[Builder], int]:
    """The builders of a queue, one a name, as they are; and the worst status of documents that do not count."""
    paths = [queue / "builders" / name for name in spool.listing(queue / "builders")]
    found, faults = newest(queue, paths, now)
    status = OK
    for where, error in faults:
        status = worst(status, messages.complain(error, where))
    return present(queue, [builder.builder(described) for described in found], now), status


def newest(queue: home.Queue, paths: Iterable[Path], now: int) -> tuple[list[Document], list[tuple[str, CitError]]]:
    """The builder documents in these files that the queue believes, of each name the newest, by name; and what does not count, by file name."""
    found: dict[str, Document] = {}
    faults = []
    for path in paths:
        try:
            for described in reader.documents(reader.reader_of(path.read_bytes())):
                try:
                    if isinstance(described, reader.Faulty):
                        raise described.error
                    said = believed(described, queue, now)
                    if said.name not in found or said.created >= builder.builder(found[said.name]).created:
                        found[said.name] = described
                except CitError as error:
                    faults.append((path.name, error))
        except FileNotFoundError:
            continue  # replaced by a newer one
    return [found[name] for name in sorted(found)], faults


def believed(described: Document, queue: home.Queue, now: int) -> Builder:
    """The builder that a document describes, if somebody signed it whom the queue lets (`cit-builder`); else 65 or 77."""
    signature = described.find("signature")
    if signature is None:
        raise CitError(DENIED, "no signature", "a builder document is signed by its owner: cit-format sign FILE --ns cit-builder", described.label)
    speech = trust.verified(described, signature, "cit-builder", queue.signers, now)
    if all(section.kind != "builder" for section in speech.sections):
        raise CitError(DENIED, "the first signature does not speak for the builder", "its owner signs the builder section", described.label)
    return builder.builder(described)


# --- how they are -------------------------------------------------------------------------------------------------------


def present(queue: home.Queue, known: Iterable[Builder], now: int) -> list[Builder]:
    """Builders as they are now, as far as the queue knows it: paused, heard, asked, and what they were given."""
    several = list(known)
    beats = {each.name: heartbeat.kept(queue, each.name, each.key, now) for each in several}
    asked, taken, resting = asked_before(queue), given(queue, lent_by(several, beats, now)), doors_that_rest(queue, now)
    found = []
    for each in several:
        mine = taken.get(each.name, Given())
        each = each._replace(paused=pause(queue, each.name), given=len(mine.jobs), cpus_taken=mine.cpus, mem_taken=mine.mem, mem_new=0, tmp_new=0)
        each = as_heard(each, beats[each.name], mine.jobs, asked.get(each.name), now)
        found.append(each._replace(unreached=each.unreached or resting.get(each.door, "")))
    return builder.boxed(found)


def as_heard(each: Builder, beat: heartbeat.Heartbeat | None, jobs: frozenset[str], asked: Asked | None, now: int) -> Builder:
    """A builder with what it said last, if that is fresh, and whether it was asked in vain since. The load of this machine is looked at."""
    heard = Heard(beat.time) if beat else Heard()
    if beat and abs(now - beat.time) <= builder.FRESH:
        listed = [job for job in beat.jobs if job.state != heartbeat.ENDED]
        ended = sum(job.copy in jobs for job in beat.jobs) - sum(job.copy in jobs for job in listed)
        others = max(0, beat.running + beat.waiting - len(listed))
        heard = Heard(beat.time, beat.load, beat.mem_free, beat.tmp_free, others, ended, beat.can_build, beat.interfaces)
    if each.host == spool.host() and each.kind == "cit":
        heard = heard._replace(load=os.getloadavg()[0])
    if each.door == str(home.path().absolute()):  # this very account
        heard = heard._replace(interfaces=tuple(offers.good(home.path())))
        if each.can_build:
            heard = heard._replace(can_build=tuple(can_build.answers(home.path(), each.can_build)))
    failed = asked is not None and asked.failures > 0 and heard.time < asked.time
    return each._replace(heard=heard, unreached=f"not reached at {clock.iso(asked.time)}: {asked.why}" if failed and asked else "")


def pause(queue: home.Queue, name: str) -> str:
    """By whom a builder is paused, when and why; empty where it is not. Whatever stands in the file, it is."""
    try:
        said = (queue / "builders" / f"{name}{PAUSED}").read_bytes()
    except FileNotFoundError:
        return ""
    try:
        [(time, who, why)] = body.rows(said)
    except (CitError, ValueError, UnicodeDecodeError):
        return "somebody"
    return f"{who} at {time}" + (f": {why}" if why else "")


def asked_before(queue: home.Queue) -> dict[str, Asked]:
    """When each builder was asked last; what is torn was not noted."""
    with contextlib.suppress(FileNotFoundError, CitError, ValueError):
        rows = body.rows((queue / "builders" / ".asked").read_bytes())
        return {name: Asked(clock.parse(time), int(failures), why) for name, time, failures, why in rows}
    return {}


def doors_that_rest(queue: home.Queue, now: int) -> dict[str, str]:
    """Why nothing is handed over at a door at present, by door, as cit-deliver noted it (`assigned/.doors`: place, failures, until when, why)."""
    with contextlib.suppress(FileNotFoundError, CitError, ValueError):
        rows = body.rows((queue / "assigned" / ".doors").read_bytes())
        return {place: f"not reached, tried again at {until}: {why}" for place, _, until, why in rows if now < clock.parse(until)}
    return {}


# --- what they were given -----------------------------------------------------------------------------------------------


def lent_by(several: Iterable[Builder], beats: Mapping[str, heartbeat.Heartbeat | None], now: int) -> frozenset[str]:
    """The jobs (`COPY-NAME`) that wait for others and have lent their slots, as their builders said last; this very account is looked at."""
    found: set[str] = set()
    for each in several:
        beat = beats.get(each.name)
        if each.door == str(home.path().absolute()):
            found |= lent.lent_here(home.path())
        elif beat and abs(now - beat.time) <= builder.FRESH:
            found |= {job.copy for job in beat.jobs if job.state == heartbeat.LENT}
    return frozenset(found)


def given(queue: home.Queue, but: frozenset[str] = frozenset()) -> dict[str, Given]:
    """What lies in `assigned` and `sent`, by builder, `but` for these jobs; a job that moves on meanwhile is counted once."""
    found: dict[str, tuple[set[str], int, int]] = {}
    met: set[str] = set()
    for state in ("assigned", "sent"):
        for name in spool.listing(queue / state):
            with contextlib.suppress(FileNotFoundError):
                own = name[22:-4] if name[21:22] == "." else name[:-4]  # without KEY
                if name not in met and own not in but:
                    met.add(name)
                    who, cpus, mem = brief(queue / state / name)
                    jobs, cpus_before, mem_before = found.setdefault(who, (set(), 0, 0))
                    jobs.add(own)
                    found[who] = jobs, cpus_before + cpus, mem_before + mem
    return {who: Given(frozenset(jobs), cpus, mem) for who, (jobs, cpus, mem) in found.items()}


def brief(path: Path) -> tuple[str, int, int]:
    """Of an assigned job: its builder (empty where none can be made out), processors and memory in bytes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        head = os.pread(fd, HEAD, 0)
        end = head if size <= HEAD else os.pread(fd, END, max(0, size - END))
    finally:
        os.close(fd)
    # Control lines are found by their first letter alone: in a body it would be written with one more.
    _, begun, last = end.rpartition(b"\n@begin assignment 1 toml\n")
    who = _BUILDER.search(last.partition(b"\n@end ")[0]) if begun else None
    said = head.partition(b"\n@begin job 1 toml\n")[2].partition(b"\n@end ")[0]
    cpus, mem = _CPUS.search(said), _MEM.search(said)
    name = who[1].decode() if who else _parsed(path) if not begun else ""
    return name, int(cpus[1]) if cpus else 1, clock.size(mem[1].decode()) if mem else 0


def _parsed(path: Path) -> str:
    with contextlib.suppress(CitError):
        assigned = trust.assignment(reader.parse(path.read_bytes()))
        return str(assigned.table["builder"]) if assigned else ""
    return ""
