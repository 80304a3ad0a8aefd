"""Who built a job of this name last: its directory is there, and what it left can be built upon (docs/stages/schedule.md).

`waiting/.built`, TSV, the newest last: NAME, SUBMITTER, BUILDER. Without the file the queue's log is asked; that a job went
somewhere is enough. Of a queue with one builder nothing is kept.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .cit_format import body
from .cit_format.errors import CitError

MOST = 5000  # names that are remembered
LOGGED = 8 << 20  # bytes of logs that are looked at where nothing is remembered
_MOVE = re.compile(rb"^([0-7][0-9a-z]{25})[^-\t]*-([a-z0-9][a-z0-9._-]*)\t[^\t]*\t[^\t]*\t(accepted|assigned)\t[^\t]*\t[^\t]*\t([^\t\\\n]*)$", re.M)

Who = tuple[str, str]  # name and submitter


class Affinity:
    """The builder that had a job of this name and submitter last, of one queue."""

    def __init__(self, queue: Path) -> None:
        self.path = queue / "waiting" / ".built"
        try:
            self.before: bytes | None = self.path.read_bytes()
            self.had = {(name, submitter): builder for name, submitter, builder in body.rows(self.before)}
        except (FileNotFoundError, CitError, ValueError):  # torn: as if it were missing
            self.before = None
            self.had = logged(logs(queue / "log"))

    def of(self, name: str, submitter: str) -> str:
        """The builder's name; empty where there was none."""
        return self.had.get((name, submitter), "")

    def note(self, name: str, submitter: str, builder: str) -> None:
        """A builder gets a job of this name."""
        self.had.pop((name, submitter), None)
        self.had[name, submitter] = builder

    def keep(self) -> None:
        """Write down what is new."""
        text = body.tsv((*who, builder) for who, builder in list(self.had.items())[-MOST:])
        if text != self.before:
            beside = self.path.with_name(f".built.{os.getpid()}")
            beside.write_bytes(text)
            os.rename(beside, self.path)


def logs(directory: Path) -> list[bytes]:
    """The newest logs of a queue, oldest first, as far as they are not too much."""
    found: list[bytes] = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted((name for name in os.listdir(directory) if name.endswith(".tsv")), reverse=True):
            left = LOGGED - sum(map(len, found))
            if left <= 0:
                break
            with open(directory / name, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - left))
                found.insert(0, stream.read())
    return found


def logged(texts: Iterable[bytes]) -> dict[Who, str]:
    """Who had which job last, as logs (oldest first) tell it: `accepted` has the submitter, `assigned` the builder. Pure."""
    submitters: dict[bytes, bytes] = {}
    found: dict[Who, str] = {}
    for text in texts:
        for identity, name, word, detail in _MOVE.findall(text):
            if word == b"accepted":
                submitters[identity] = detail
            elif identity in submitters:
                who = name.decode(), submitters[identity].decode("utf-8", "replace")
                found.pop(who, None)
                found[who] = detail.decode("utf-8", "replace")
    return found
