"""Of a submitter's jobs with the same `latest` only the newest is wanted: what is older ends, wherever it is (docs/stages/schedule.md).

Each job is looked at once, when it has come into `waiting` or `held`: its first lines, no more. Newer is the greater ID, so one that comes
late is itself superseded. What the queue still has it ends itself; of what builders have, they are told by a control document in which the
newer job lies as it was signed (newer.py).

    waiting/.latest    TSV: SUBMITTER, WORD, ID, NAME of the newest job, for as long as an older one could still be submitted
    waiting/.looked    up to which sequence `waiting` was looked at, and when `held` had changed then; without it all is looked at again

Both are written when all else is done: after a kill the same jobs are looked at again.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from . import ends, files
from .cit_format import body, clock, glance, home, messages, names, newer, shelf, spool, trust
from .cit_format.document import Document
from .cit_format.errors import CitError
from .ends import End

KEY, ID = slice(5, 21), slice(22, 48)  # of file names that begin with KEY: its sequence, and the ID
MOST = 10_000  # jobs that are looked at in one pass, the oldest first
OUT = ("assigned", "sent")

Key = tuple[str, str]  # submitter and word


class Newest(NamedTuple):
    """The newest job of a submitter and word: its ID and name."""

    id: str
    name: str

    @property
    def label(self) -> str:
        return f"{self.id[-6:]}-{self.name}"


class Arrival(NamedTuple):
    """A job that has come: the state in which it lies, its file name taken apart, whose it is and its word."""

    state: str
    parts: names.FileName
    key: Key


# --- decisions ----------------------------------------------------------------------------------------------------------


def key_of(said: dict[str, body.Value]) -> Key | None:
    """The word of which a job is the newest, perhaps, and whose it is; None where it says none."""
    word = said.get("latest")
    return (str(said.get("submitter", "")), word) if isinstance(word, str) and word else None


def why(by: Newest) -> str:
    """Why an older job ends."""
    return f"superseded by {by.label}"


# --- what is remembered -------------------------------------------------------------------------------------------------


class Latest:
    """The newest jobs of a queue, by submitter and word."""

    def __init__(self, queue: home.Queue, now: int) -> None:
        self.queue = queue
        self.now = now
        self.path = queue / "waiting" / ".latest"
        self.looked_path = self.path.with_name(".looked")
        self.before: bytes | None = None
        self.newest: dict[Key, Newest] = {}
        self.looked, self.changed = "", ""
        with contextlib.suppress(FileNotFoundError):
            self.before = self.path.read_bytes()
            self.newest = {(submitter, word): Newest(identity, name) for submitter, word, identity, name in body.rows(self.before)}
            self.looked, _, self.changed = self.looked_path.read_text().partition(" ")
        self.looked_before = (self.looked, self.changed)

    def superseded(self, job: Document) -> str:
        """Why a job is not wanted any more; empty where it is."""
        key = key_of(job.table("job"))
        by = self.newest.get(key) if key else None
        return why(by) if by and job.id < by.id else ""

    def apply(self, waiting: list[str]) -> bool:
        """Look at what has come, and end what is older; whether anything of `waiting` was, perhaps."""
        came = self._came(waiting)
        older = {each.parts.id for each in came}  # and those of which one of these is the newer
        news: set[Key] = set()
        for each in came:
            known = self.newest.get(each.key)
            if known is None or known.id < each.parts.id:
                news.add(each.key)
                self.newest[each.key] = Newest(each.parts.id, each.parts.name)
                if known:
                    older.add(known.id)
            elif known.id > each.parts.id:
                news.add(each.key)
        if news:
            self._end_here(older)
            self._tell_builders(news)
        self._keep()
        return bool(news)

    def _came(self, waiting: list[str]) -> list[Arrival]:
        """The jobs with a word that have come since the last look."""
        fresh = sorted((name for name in waiting if name[KEY] > self.looked), key=lambda name: name[KEY])[:MOST]
        held = str(os.stat(self.queue / "held").st_mtime_ns)
        come = [("waiting", name) for name in fresh]
        if held != self.changed:
            come += [("held", name) for name in spool.listing(self.queue / "held")[:MOST]]
        found = []
        for state, name in come:
            with contextlib.suppress(FileNotFoundError):
                key, parts = key_of(glance.at(self.queue / state / name).said), names.parse(name)
                if key and parts:
                    found.append(Arrival(state, parts, key))
        self.looked, self.changed = fresh[-1][KEY] if fresh else self.looked, held
        return found

    def _end_here(self, identities: set[str]) -> None:
        """End those of these jobs that lie in `waiting` or `held` and are not the newest."""
        for state in ("waiting", "held"):
            found = []
            for name in (name for name in spool.listing(self.queue / state) if name[ID] in identities):
                with contextlib.suppress(FileNotFoundError, CitError):
                    reason = self.superseded(files.document(self.queue / state / name))
                    if reason:
                        found.append(End(name, "CANCELLED", reason, self.now))
            ends.finish(self.queue, state, found)

    def _tell_builders(self, news: set[Key]) -> None:
        """Put a wish into control/ for each older job that was handed out: cit-deliver carries it."""
        wanted: dict[str, Key] = {}
        for state in OUT:
            for parts in spool.documents(self.queue / state):
                with contextlib.suppress(FileNotFoundError):
                    key = key_of(glance.at(self.queue / state / str(parts)).said)
                    if key in news and key and parts.id < self.newest[key].id:
                        wanted[parts.id] = key
        moves = []
        for target, key in wanted.items():
            by = self._document(self.newest[key].id)
            if by is None:
                continue
            if len(by.submitted) > newer.LIMIT:
                what = f"{clock.size_text(len(by.submitted))}, so no builder is told that {target[-6:]} is superseded by it"
                messages.tell("warning", what, by.label, f"up to {newer.LIMIT >> 20}M: have the job fetch large data itself")
                continue
            asked = newer.about(target, by)
            path = f"{self.queue.path}/control/{target}.{by.id}.cit"
            if shelf.shelve(self.queue / "control" / ".tmp", [(path, asked.raw)])[0] == shelf.NEW:
                moves.append((f"{by.id}-{by.name}", "supersedes", target))
        self.queue.note(moves, "schedule")

    def _document(self, identity: str) -> Document | None:
        """The newest job, in whatever state of the queue it is; None where it has ended meanwhile."""
        for state in ("waiting", "held", *OUT):
            for name in (name for name in spool.listing(self.queue / state) if name[ID] == identity):
                with contextlib.suppress(FileNotFoundError, CitError):
                    return files.document(self.queue / state / name)
        return None

    def _keep(self) -> None:
        """Write down what is to be known next time; what no straggler can come after any more is forgotten."""
        oldest = self.now - trust.LATER - clock.DAY
        rows = [(*key, *by) for key, by in sorted(self.newest.items()) if clock.id_moment(by.id) >= oldest]
        text = body.tsv(rows)
        if text != self.before:
            spool.replace_contents({self.path: text})
            spool.sync_directory(self.path.parent)
        if (self.looked, self.changed) != self.looked_before:
            beside = self.looked_path.with_name(f".looked.{os.getpid()}")
            beside.write_text(f"{self.looked} {self.changed}")
            os.rename(beside, self.looked_path)
