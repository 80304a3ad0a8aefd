"""allowed_names: keys that may submit jobs of certain names only, a cron's for example (docs/howto/allow-people.md).

    SHA256:Xy3...	nightly-*,release        fingerprint, patterns of job names; TSV, one key a line

OpenSSH's allowed_signers has no option for it, so it is a list of its own beside it. A key that is not in it is not limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from . import body, home
from .document import Document
from .errors import CONFIG, DENIED, CitError
from .keys import read_guarded

FILE = "allowed_names"
Limits = Mapping[str, tuple[str, ...]]


def parsed(text: str, name: str) -> Limits:
    """The patterns of each limited key; 78 at NAME:LINE for a line that is not accepted."""
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fingerprint, tab, names = line.partition("\t")
        if line.strip() and line[0] != "#":
            if not tab or not names:
                raise CitError(CONFIG, "it is not FINGERPRINT, tab, NAMES", "cit allow --names writes it", f"{name}:{number}")
            found[fingerprint] = (*found.get(fingerprint, ()), *names.split(","))
    return found


def read(place: Path) -> Limits:
    """The limits of a queue; 78 where the list does not parse, or others can write it."""
    path = place / FILE
    return parsed((read_guarded(path, 0o022) or b"").decode("utf-8", "replace"), str(path))


def limit(place: Path, fingerprint: str, names: tuple[str, ...]) -> None:
    """Limit a key to jobs of these names, in place of what it was limited to before; without any, to nothing in particular."""
    before = read(place)
    rows = {each: globs for each, globs in {**before, fingerprint: names}.items() if globs}
    if rows != before:
        home.write_new(place / FILE, body.tsv((each, ",".join(globs)) for each, globs in rows.items()))


def check(limits: Limits, fingerprint: str, job: Document) -> None:
    """77 where the key may submit, but not a job of this name."""
    names = limits.get(fingerprint)
    if names is not None and not any(fnmatchcase(job.name, pattern) for pattern in names):
        raise CitError(DENIED, f"this key may submit jobs named {', '.join(names)}", "name it so, or sign with another key", job.label)
