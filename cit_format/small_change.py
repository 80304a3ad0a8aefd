"""Whether a restart is small enough to be first in line, as its queue says: `small-change` of queue.toml. Pure.

Pages: docs/howto/restart-and-publish.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import body
from .document import Document
from .errors import CONFIG, CitError

SETTING = "small-change"
_LINES = re.compile(r"([0-9]{1,9}) lines?")


def most(settings: Mapping[str, body.Value]) -> int:
    """The most lines of a small change; -1 where none is small. 78 where the setting says something else."""
    wanted = settings.get(SETTING)
    if wanted is None:
        return -1
    found = _LINES.fullmatch(str(wanted))
    if found is None:
        raise CitError(CONFIG, f"{SETTING} says {str(wanted)[:40]!r}", f'write {SETTING} = "20 lines"')
    return int(found[1])


def lines(job: Document) -> int:
    """How many lines its author says that the changes of a job have (the builder runs none that has others); -1 where it has or says none."""
    first = job.find("signature")
    counts = [section.attributes.get("lines", "") for section in job.all("change") if first is None or section.number < first.number]
    return sum(map(int, counts)) if counts and all(count.isdecimal() for count in counts) else -1


def is_small(job: Document, settings: Mapping[str, body.Value]) -> bool:
    """Whether a job with the key `restart` is first in line."""
    return 0 <= lines(job) <= most(settings)
