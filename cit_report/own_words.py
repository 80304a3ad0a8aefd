"""What a job itself says happened: its events and its parts, as its record tells, or its document once that has its end (docs/format/event.md).

Nobody vouches for it but the job: it is shown, and decides nothing.
"""

from __future__ import annotations

import re

from . import far, story
from .cit_format import masks, own_events, parts
from .cit_format.document import Document
from .cit_format.own_events import Event
from .index import Index
from .look import Seen

MOST = 5  # that are shown of each
_PART = re.compile(r"(.*), ((?:exit|signal) [0-9]+), [^,]*")


def of_document(document: Document) -> list[Event]:
    """What a document has of it."""
    return [Event(story.as_moment(row[0]), row[2], row[5]) for row in story.said(document)]


def of_job(job: Seen) -> list[Event]:
    """The same of a job, which may still run here."""
    record = job.work(".run")
    if job.document.find("result") or record is None:
        return of_document(job.document)
    index = Index(parts.content(f"{record}/{own_events.FILE}.times", own_events.LIMIT))
    text = parts.content(f"{record}/{own_events.FILE}", own_events.LIMIT)
    log = job.work(".log")
    shown = masks.hidden(text, masks.known(str(log))) if log else text
    return [*own_events.events(shown, list(zip(index.moments, index.sizes))), *own_events.of_parts(parts.read(record))]


def events(job: Seen) -> list[Event]:
    """Its events, without those of its parts; of one that runs elsewhere its builder is asked."""
    if job.work(".run") is None and not job.document.find("result"):
        away = far.place(job)
        return own_events.events((away and far.noted(job, away, "events")) or b"")
    return [each for each in of_job(job) if each.word != own_events.PART]


def failures(said: list[Event]) -> list[str]:
    """`a/b: exit 2` for each run of a part that failed, without those that failed because one within them did."""
    ended = [found for found in (_PART.fullmatch(each.detail) for each in said if each.word == own_events.PART) if found]
    bad = {found[1]: found[2] for found in ended if found[2] != "exit 0"}
    return [f"{name}: {how}" for name, how in bad.items() if not any(other.startswith(f"{name}/") for other in bad)]


def summary(said: list[Event]) -> str:
    """`12 ran, 1 failed: a/b: exit 2`; empty where there are none."""
    count = len({found[1] for found in (_PART.fullmatch(each.detail) for each in said if each.word == own_events.PART) if found})
    failed = failures(said)
    if not count:
        return ""
    told = f"; {len(failed)} failed: {', '.join(failed[:MOST])}" if failed else ""
    return f"{count} ran{told}{' ...' if len(failed) > MOST else ''}"


def lines(said: list[Event]) -> list[str]:
    """The last events, a line each."""
    found = [f"{each.word} {each.detail}".strip() for each in said if each.word != own_events.PART]
    return found if len(found) <= MOST else [f"... {len(found) - MOST} before", *found[-MOST:]]
