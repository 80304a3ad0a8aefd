"""What the logs of queues and accounts say of jobs, without opening a document (docs/directories.md, log/DAY.tsv)."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from . import story
from .cit_format import body, clock
from .cit_format.errors import CitError

_ENDED = re.compile(rb"^([0-7][0-9a-z]{25}(?:_[0-9]+)?)[^\t]*\t[^\t]*\t[^\t]*\t(?:%s)\t" % b"|".join(word.encode() for word in story.FINAL), re.M)
_FINAL = frozenset(word.encode() for word in story.FINAL)


class Facts:
    """What the logs say of one job; times in microseconds, None where they do not say it."""

    __slots__ = ("submitter", "accepted", "builder", "started", "ended", "state", "queue")

    def __init__(self) -> None:
        self.submitter: str | None = None
        self.accepted: int | None = None
        self.builder: str | None = None
        self.started: int | None = None
        self.ended: int | None = None
        self.state: str | None = None  # RUNNING, or how it ended
        self.queue: str | None = None  # NAME@FINGERPRINT of the queue that it was kept for here, or sent to from here


def read(directories: Iterable[Path], since: str = "") -> Iterator[bytes]:
    """The logs of queues and accounts from the day `since` on; of each directory the newest first, the last directory first."""
    for directory in reversed(list(directories)):
        try:
            logs = sorted(entry for entry in os.listdir(directory / "log") if entry.endswith(".tsv") and entry >= since)
        except FileNotFoundError:
            continue
        for entry in reversed(logs):
            yield (directory / "log" / entry).read_bytes()


def ended(logs: Iterable[bytes], enough: int | None = None) -> list[str]:
    """The jobs that these logs (newest first) saw end, each once; of each log only the last `enough`."""
    jobs: dict[bytes, None] = {}
    for log in logs:
        met: set[bytes] = set()  # IDs: the tasks of an array count as one
        for job in reversed(_ENDED.findall(log)):
            if len(met) == enough and job[:26] not in met:
                break
            met.add(job[:26])
            jobs.setdefault(job)
    return [job.decode() for job in jobs]


def facts(logs: Iterable[bytes], wanted: Container[bytes] | None = None) -> dict[str, Facts]:
    """What the logs (oldest first) say of each job, `ID` or `ID_TASK`; of the wanted IDs only, if any are named."""
    found: dict[str, Facts] = {}
    for log in logs:
        for line in log.split(b"\n"):
            if wanted is not None and line[:26] not in wanted:
                continue
            fields = line.split(b"\t")
            if len(fields) == 7:
                job = fields[0].partition(b"-")[0].partition(b".")[0].decode("ascii", "replace")
                of = found.get(job)
                if of is None:
                    of = found[job] = Facts()
                _add(of, fields)
    return found


def _add(of: Facts, fields: list[bytes]) -> None:
    _, time, stage, word, _, _, detail = fields
    if word in _FINAL:
        of.state = word.decode()
        if of.ended is None or stage == b"run":
            of.ended = _moment(time)
        if stage == b"deliver" and detail:
            of.builder = _text(detail)
    elif word in (b"kept", b"sent") and stage == b"queue":
        of.queue = _text(detail)
    elif word == b"accepted":
        of.submitter, of.accepted = _text(detail), _moment(time)
    elif word == b"assigned":
        of.builder = _text(detail)
        of.started = of.ended = of.state = None
    elif word == b"received":
        of.builder = of.builder or _text(detail)
    elif word == b"started":
        of.started, of.ended, of.state = _moment(time), None, "RUNNING"


def _text(detail: bytes) -> str:
    return body.rows(detail + b"\n")[0][0] if b"\\" in detail else detail.decode("utf-8", "replace")


def _moment(time: bytes) -> int | None:
    try:
        return clock.parse(time.decode("ascii", "replace"))
    except CitError:
        return None
