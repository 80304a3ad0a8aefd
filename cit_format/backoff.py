"""When the next attempt of a job is due: at once after what was no fault of its own, else later and later (docs/stages/schedule.md).

Reads: what the document tells of its attempts, `retry-after` and `retry-most` of queue.toml. Nothing is remembered elsewhere: the
moment is KEY of the file in `held`, as with a begin time.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import attempts, body, clock
from .document import Document
from .errors import CONFIG, CitError

AFTER, MOST = "10s", "30m"
OFTEN = 1000  # waits of one job, after which it is tried no more and ends by its deadline or expiry: a document has its limits


def waits(job: Document) -> int:
    """How many ends of this job so far were followed by a wait: its own failures, and what its check said was not there yet."""
    ends = [section for section in job.sections if attempts.is_unready(job, section)]
    ends += [section for section in job.all("result") if {"fail", "75"} & set(attempts.causes_of(section))]
    return len(ends)


def delay(count: int, first: int, most: int) -> int:
    """Microseconds until the next attempt after `count` waits: `first`, then twice as much each time, at most `most`."""
    return 0 if count < 1 else min(most, first << min(count - 1, 40))


def due(job: Document, settings: Mapping[str, body.Value], now: int) -> int:
    """When the next attempt of an ended job may begin; 0 at once."""
    end = attempts.ending(job)
    if end is None or not (attempts.is_unready(job, end) or {"fail", "75"} & set(attempts.causes_of(end) if end.kind == "result" else ())):
        return 0
    count = waits(job)
    expires = job.table("job").get("expires")
    if count >= OFTEN and isinstance(expires, int):
        return expires
    wait = delay(count, setting(settings, "retry-after", AFTER), setting(settings, "retry-most", MOST))
    return now + wait if wait else 0


def setting(settings: Mapping[str, body.Value], key: str, default: str) -> int:
    """A duration of queue.toml in microseconds; 78 where it is none."""
    try:
        return clock.duration(str(settings.get(key, default)))
    except CitError as error:
        raise CitError(CONFIG, f"{key}: {error.what}", error.hint) from None
