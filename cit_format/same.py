"""Jobs that are the same: what they have in common, and when one run answers another one (docs/format/answer.md). Pure.

Reads: `same`, `watch` of the signed job, all its signed sections; section `answer`, by which a queue says which run answered a job.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from . import attempts, body
from .document import Document, Section

MINE, ANYONE = "mine", "anyone"
# What says nothing of how a job is built, or for whom.
LEFT_OUT = frozenset(["created", "expires", "priority", "begin", "deadline", "hold", "parent", "chain", "watch", "same", "fresh"])
WHO = frozenset(["submitter", "key"])  # left out, too, where anyone's run may answer
SHARED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY")  # ends of a run that are those of all who waited for it


class Answer(NamedTuple):
    """Which run answers a job: its ID, the name of its document in `done` and the sha256 of that, and what both have in common."""

    job: str
    document: str
    sha256: str
    digest: str


# --- what a job asks for --------------------------------------------------------------------------------------------


def signed(job: Document) -> list[Section]:
    """The sections that its author signed."""
    first = job.find("signature")
    return job.sections[: first.number - 1] if first else job.sections


def asked(job: Document) -> str:
    """Whose equal run may answer this job: `mine`, `anyone`; empty where none may. Never that of a sealed job, or of an array."""
    said = job.table("job")
    wish = said.get("same")
    if wish not in (MINE, ANYONE) or "array" in said:
        return ""
    is_sealed = any(section.kind in ("secret", "reply") or "enc=age" in section.written for section in signed(job))
    return "" if is_sealed else str(wish)


def is_fresh(job: Document) -> bool:
    """Whether it is to run though an equal one has run."""
    return job.table("job").get("fresh") is True


def digest(job: Document) -> str:
    """sha256 (hex) of what equal jobs have in common; of one that asks for none of it what it would be for `mine`.

    A line `cit-same 1 mine` (or anyone), the other keys of `job` in order, then the other signed sections, line by line as they stand.
    """
    wish = asked(job) or MINE
    but = LEFT_OUT | WHO if wish == ANYONE else LEFT_OUT
    said = {key: value for key, value in sorted(job.table("job").items()) if key not in but}
    rest = b"".join(job.raw[section.start : section.end] for section in signed(job)[1:])
    return hashlib.sha256(b"cit-same 1 %s\n" % wish.encode() + body.toml(said) + rest).hexdigest()


def may_answer(job: Document, run: Document) -> bool:
    """Whether the run of another job may be this one's: its own author's, or one that its author opened to all (B is the same digest)."""
    mine, other = job.table("job"), run.table("job")
    if mine.get("submitter") == other.get("submitter"):
        return True
    return asked(job) == asked(run) == ANYONE and other.get("watch") == "all"


# --- what an answer says --------------------------------------------------------------------------------------------


def answer(job: Document) -> Answer | None:
    """The answer that its queue wrote; None where it ran itself, or has not ended."""
    found = [section for section in job.all("answer") if section.version == "1"]
    if not found:
        return None
    said = found[-1].table()
    return Answer(*(str(said.get(key, "")) for key in Answer._fields))


def end_of_run(run: Document) -> Section | None:
    """The result that a builder gave; None where its queue wrote the end, or there is none."""
    end = attempts.ending(run)
    if end is None or end.kind != "result":
        return None
    speaking = next((section for section in run.all("signature") if section.number > end.number), None)
    return end if speaking is not None and speaking.attributes.get("ns") == "cit-result" else None


def objection(job: Document, given: Answer, run: Document) -> str:
    """Why this run does not answer that job as its queue says; empty where it does. Signatures are another question."""
    end, mine = end_of_run(run), attempts.ending(job)
    if run.id != given.job or hashlib.sha256(run.raw).hexdigest() != given.sha256:
        return "the run's document is another than the answer names"
    if not asked(job) or not (digest(job) == digest(run) == given.digest):
        return "the run was not of the same input"
    if not may_answer(job, run):
        return "the run is another person's, who did not open it"
    if end is None or mine is None or mine.kind != "result":
        return "the run has no end by a builder"
    keys = ("state", "exit", "signal")
    return "" if [end.table().get(key) for key in keys] == [mine.table().get(key) for key in keys] else "the run ended otherwise"
