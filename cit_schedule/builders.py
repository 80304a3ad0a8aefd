"""The builders of a queue, verified, each with what the queue has given it (docs/format/builder.md).

Who has which job stands in the last assignment of each document in `assigned` and `sent`: its end is read, no more.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from . import choose
from .choose import Builder
from .cit_format import clock, home, messages, reader, spool, trust
from .cit_format.document import Document
from .cit_format.errors import DENIED, OK, CitError, worst

END = 1 << 16  # bytes at the end of a document in which its last assignment is looked for
HEAD = 1 << 12  # bytes at its start in which its job section is
_BUILDER = re.compile(rb'^builder = "([a-z0-9][a-z0-9._-]*)"$', re.M)
_CPUS = re.compile(rb"^cpus = ([0-9]{1,9})$", re.M)
_MEM = re.compile(rb'^mem = "([0-9]{1,15}[KMGT])"$', re.M)


class Given(NamedTuple):
    """What a queue has given to builders, by builder: jobs, processors, memory (bytes)."""

    jobs: Counter[str]
    cpus: Counter[str]
    mem: Counter[str]


def of_queue(queue: home.Queue, now: int) -> tuple[list[Builder], int]:
    """The builders of a queue, one a name, with their load; and the worst status of documents that do not count."""
    found: dict[str, Builder] = {}
    status = OK
    for name in spool.listing(queue / "builders"):
        with contextlib.suppress(FileNotFoundError):
            try:
                described = believed(reader.parse((queue / "builders" / name).read_bytes()), queue, now)
            except CitError as error:
                status = worst(status, messages.complain(error, name))
                continue
            if described.name not in found or described.created >= found[described.name].created:
                found[described.name] = described
    return loaded(found.values(), given(queue, list(found))), status


def believed(described: Document, queue: home.Queue, now: int) -> Builder:
    """The builder that a document describes, if somebody signed it whom the queue lets (`cit-builder`); else 65 or 77."""
    signature = described.find("signature")
    if signature is None:
        raise CitError(DENIED, "no signature", "a builder document is signed by its owner: cit-format sign FILE --ns cit-builder", described.label)
    trust.verified(described, signature, "cit-builder", queue.signers, now)
    return choose.builder(described, now)


def loaded(found: Iterable[Builder], taken: Given) -> list[Builder]:
    """The builders with what they have been given, and what all of their host have; a load limit is judged by this machine's own load."""
    builders = list(found)
    hosts = {builder.name: [other.name for other in builders if other.host == builder.host] for builder in builders}
    return [
        builder._replace(
            jobs=taken.jobs[builder.name],
            cpus_taken=sum(taken.cpus[name] for name in hosts[builder.name]),
            mem_taken=sum(taken.mem[name] for name in hosts[builder.name]),
            load=os.getloadavg()[0] if builder.host == spool.host() else builder.load,
        )
        for builder in builders
    ]


def given(queue: home.Queue, builders: list[str]) -> Given:
    """What lies in `assigned` and `sent`, counted by builder; a job that moves on meanwhile is counted once."""
    taken = Given(Counter(), Counter(), Counter())
    met: set[str] = set()
    for state in ("assigned", "sent"):
        for name in spool.listing(queue / state):
            with contextlib.suppress(FileNotFoundError):
                if name not in met:
                    met.add(name)
                    builder, cpus, mem = brief(queue / state / name)
                    taken.jobs[builder] += 1
                    taken.cpus[builder] += cpus
                    taken.mem[builder] += mem
    return taken


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
    builder = _BUILDER.search(last.partition(b"\n@end ")[0]) if begun else None
    said = head.partition(b"\n@begin job 1 toml\n")[2].partition(b"\n@end ")[0]
    cpus, mem = _CPUS.search(said), _MEM.search(said)
    name = builder[1].decode() if builder else _parsed(path) if not begun else ""
    return name, int(cpus[1]) if cpus else 1, clock.size(mem[1].decode()) if mem else 0


def _parsed(path: Path) -> str:
    with contextlib.suppress(CitError):
        assigned = trust.assignment(reader.parse(path.read_bytes()))
        return str(assigned.table["builder"]) if assigned else ""
    return ""
