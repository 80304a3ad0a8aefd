"""What a pass remembers for the next one, in the file `.notes` of `waiting`: nothing that cannot be found out again.

looked  2026-11-23T20:26:11Z     when the clock was last held against deadlines and silence
builders  DIGEST                 of the builders, to which the rows below belong
never  FILE NAME                 a job that none of them can ever take: said once, not opened again
joined  FILE NAME=ID             a job that waits for the run of an equal one (equal.py)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .cit_format import body, clock
from .cit_format.builder import Builder
from .cit_format.errors import CitError

SAID = Builder._fields.index("created") + 1  # what its document says of a builder comes first


class Notes:
    """The notes of one pass: `looked` (microseconds), and `never`, the file names that need not be opened."""

    def __init__(self, spool: Path) -> None:
        self.path = spool / ".notes"
        self.looked = 0
        self.builders = ""
        self.never: set[str] = set()
        self.joined: dict[str, str] = {}  # file names, and the ID of the job for whose run they wait
        try:
            self.before = self.path.read_bytes()
        except FileNotFoundError:
            self.before = b""
        with contextlib.suppress(CitError, ValueError):  # torn: as if nothing had been noted
            for word, value in body.rows(self.before):
                if word == "looked":
                    self.looked = clock.parse(value)
                elif word == "builders":
                    self.builders = value
                elif word == "never":
                    self.never.add(value)
                elif word == "joined":
                    name, _, identity = value.partition("=")
                    self.joined[name] = identity

    def about(self, builders: Iterable[Builder]) -> None:
        """Forget what was noted of other builders than these; what they have to do at present does not matter."""
        plain = sorted(repr(each[:SAID]) for each in builders)
        digest = hashlib.sha256("\n".join(plain).encode()).hexdigest()[:16]
        if digest != self.builders:
            self.builders = digest
            self.never = set()

    def keep(self, present: Iterable[str]) -> None:
        """Write the notes, if they changed; of file names those that are still there."""
        if self.never or self.joined:
            there = set(present)
            self.never.intersection_update(there)
            self.joined = {name: identity for name, identity in self.joined.items() if name in there}
        joined = [("joined", f"{name}={identity}") for name, identity in sorted(self.joined.items())]
        rows = [("looked", clock.iso(self.looked)), ("builders", self.builders), *(("never", name) for name in sorted(self.never)), *joined]
        text = body.tsv(rows)
        if text != self.before:
            beside = self.path.with_name(f".notes.{os.getpid()}")
            beside.write_bytes(text)
            os.rename(beside, self.path)
