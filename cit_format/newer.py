"""A newer job as its submitter's word that older ones are not wanted any more (docs/format/control.md, docs/stages/schedule.md).

The queue makes a control document about an older job, and puts the newer one into it as it was signed. So nobody has to believe the
queue: the newer job says by its author's own signature that of the jobs with this word only the newest counts.

    @cit 1 ID OF THE NEWER latest
    @begin control 1 toml      cancel, of the older one
    @begin newer 1 cit         the newer job, through its first signature
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import body, clock, document, reader, trust
from .document import Document
from .errors import DATA, DENIED, CitError

if TYPE_CHECKING:
    from .signers import Signers

LIMIT = 8 << 20  # bytes of a newer job that is put into a control document
NAME = "latest"


class Newer(NamedTuple):
    """The newer job that a wish stands on: how people call it, its ID, submitter and queue, its word, whether it ends what runs too."""

    label: str
    id: str
    submitter: str
    queue: str
    word: str
    running: bool

    def ends(self, job: Document) -> bool:
        """Whether this older job is not wanted any more: of the same submitter, queue and word."""
        said = job.table("job")
        return job.id < self.id and (said.get("submitter"), said.get("queue"), said.get("latest")) == (self.submitter, self.queue, self.word)


def about(target: str, newer: Document) -> Document:
    """The control document by which a newer job cancels an older one, `target`. The same each time it is made."""
    said = newer.table("job")
    keys = {"action": "cancel", "target": target, **{key: said[key] for key in ("submitter", "key", "queue", "created", "expires")}}
    return document.new(
        NAME, document.section("control", "toml", body.toml(keys)), document.section("newer", "cit", newer.submitted), identity=newer.id
    )


def proven(found: Document, signers: Signers, now: int) -> Newer:
    """The newer job in a control document, if its submitter's signature holds and the document says nothing else than it; else 65 or 77."""
    section = found.find("newer")
    assert section is not None
    newer = reader.parse(section.body())
    trust.submission(newer, signers, now)
    said, asked = newer.table("job"), found.table("control")
    word, expires = said.get("latest"), said.get("expires")
    if not isinstance(word, str) or not word:
        raise CitError(DENIED, "the newer job has no word by which it is the latest", "a job says it itself: cit push --latest WORD", found.label)
    if any(asked.get(key) != said.get(key) for key in ("submitter", "key", "queue", "created", "expires")) or found.id != newer.id:
        raise CitError(DENIED, "the control says something else than the newer job in it", "it is made by cit-schedule from that job", found.label)
    if asked.get("action") != "cancel" or not isinstance(asked.get("target"), str) or not str(asked["target"]) < newer.id:
        raise CitError(DENIED, "a newer job can only cancel an older one", "the greater ID is the newer job", found.label)
    if not isinstance(expires, int):
        raise CitError(DATA, "the newer job says no expires", "a job needs it", found.label)
    if now > expires:
        raise CitError(DENIED, f"the newer job expired at {clock.iso(expires)}", "it has no word any more", found.label)
    return Newer(newer.label, newer.id, str(said["submitter"]), str(said["queue"]), word, said.get("latest-running") is True)
