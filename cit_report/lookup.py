"""Which job a person means: by its last six characters, any unique piece, its name, or `last` (docs/stages/report.md)."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from .cit_format import home
from .cit_format.errors import NOT_FOUND, USAGE, CitError
from .places import Copy, Home, active, copies_of, days, done, refused

TASK = re.compile(r"(.+)_([0-9]{1,9})(|-[a-z0-9][a-z0-9._-]*)")


def fit(wanted: str, copy: Copy) -> int:
    """How well a typed piece fits: 4 the whole ID, 3 the end of it (its name after it or not), 2 the name, 1 any piece, 0 not at all."""
    labelled, array = f"{copy.job}-{copy.file.name}", f"{copy.file.id}-{copy.file.name}"
    if wanted in (copy.job, copy.file.id, copy.file.copy, copy.own, labelled):
        return 4
    if copy.job.endswith(wanted) or (len(wanted) > len(copy.file.name) + 1 and (labelled.endswith(wanted) or array.endswith(wanted))):
        return 3
    return 2 if wanted == copy.file.name else 1 if wanted in copy.own else 0


def look_up(wanted: str, there: Home) -> str:
    """The job that is meant, as `ID` or `ID_TASK`: by its last six characters, any unique piece, a name (its newest), or `last`. Else 2 or 66."""
    if wanted == "last":
        return last(there)
    if wanted.startswith("last_") and wanted[5:].isdigit():
        wanted = f"{last(there)}_{int(wanted[5:])}"
    wanted = wanted.lower()
    try:
        return _look_up(wanted, there)
    except CitError as error:
        match = TASK.fullmatch(wanted)
        if error.status != NOT_FOUND or match is None:
            raise
    found = f"{_look_up(match[1] + match[3], there).partition('_')[0]}_{int(match[2])}"  # a task that has not been dealt out
    if not copies_of(found, there):
        raise CitError(NOT_FOUND, f"no job {wanted!r}", f"`cit show {match[1]}` tells what tasks it has")
    return found


def _look_up(wanted: str, there: Home) -> str:
    piece = wanted.rpartition("-")[2]
    for _ in range(2):  # a job that is put back just now is not met the first time
        found: dict[int, dict[str, str]] = {}
        for several in (active(there, piece), *(done(there, day, piece) for day in days(there)), refused(there, piece)):
            for copy in several:
                rank = fit(wanted, copy)
                if rank:
                    found.setdefault(rank, {})[copy.job] = f"{copy.file.label}"
            if max(found, default=0) > 1:
                break
        if found:
            return _the_one(wanted, *max(found.items()))
    raise CitError(NOT_FOUND, f"no job {wanted!r}", "`cit ls --all` lists every job of this home")


def is_file(wanted: str) -> bool:
    """Whether a typed word names a file rather than a job: it has a directory, or ends with .cit."""
    return "/" in wanted or wanted.endswith(".cit")


def present(wanted: str, there: Home) -> list[Copy]:
    """Every copy of the job that is meant (see `look_up`); 66 where none is left."""
    job = look_up(wanted, there)
    found = copies_of(job, there) or copies_of(job, there)
    if not found:
        raise CitError(NOT_FOUND, f"job {job[-6:]} is not here", "`cit ls --all` lists every job of this home")
    return found


def _the_one(wanted: str, rank: int, jobs: dict[str, str]) -> str:
    identities = {job.partition("_")[0] for job in jobs}
    if rank == 2:
        return max(identities)
    if len(jobs) == 1 and "_" in wanted:
        return next(iter(jobs))
    if len(identities) == 1:
        return identities.pop()  # a job; or an array, whichever of its tasks are met
    some = ", ".join(list(jobs.values())[:5])
    raise CitError(USAGE, f"{wanted!r} fits {len(jobs)} jobs: {some}", "type more of the ID")


def last(there: Home) -> str:
    """The ID of the job that this person made last (inside a job, of those made there); 66 where there is none."""
    identity = ""
    inside = [Path(os.environ.get("CIT_WORKSPACE", "")) / ".cit"] if "CIT_JOB_ID" in os.environ else []
    for place in [*inside, home.path()]:
        with contextlib.suppress(FileNotFoundError):
            identity = identity or (place / "last").read_text().split(" ", 1)[0].strip()
    if identity:
        return identity
    newest = max((copy.file.id for copy in active(there)), default="")
    for day in days(there):
        newest = max(newest, max((copy.file.id for copy in done(there, day)), default=""))
        if newest:
            return newest
    if not newest:
        raise CitError(NOT_FOUND, "no job yet", "make one: cit push -- COMMAND")
    return newest
