"""What a job finds set, and what is recorded of where it ran (docs/stages/run.md, docs/format/environment-artefact-result.md).

A job's variables are those of the account, not of whoever started this pass; then what the job itself says; then cit's.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache

from .cit_format import arrays, body, spool
from .cit_format.document import Document
from .cit_format.errors import DATA, CitError
from .cit_format.version import VERSION

PATH = "/usr/local/bin:/usr/bin:/bin"
PINNED = ("CIT_HOME", "CIT_HOST", "CIT_USER")


def of_account(settings: Mapping[str, body.Value]) -> dict[str, str]:
    """The variables that every job of this account starts from; `path` in config.toml is put before the usual PATH."""
    account = pwd.getpwuid(os.getuid())
    path = ":".join(filter(None, (str(settings.get("path", "")), own_programs(), PATH)))
    found = {"HOME": os.path.expanduser("~"), "USER": account.pw_name, "LOGNAME": account.pw_name, "SHELL": "/bin/sh", "PATH": path}
    found["LC_CTYPE"] = "C.UTF-8"  # letters; LANG would have each program open a dozen files for sorting, money and days
    found.update((name, os.environ[name]) for name in PINNED if name in os.environ)  # who pushes jobs from here is the same person as outside
    return found


def own_programs() -> str:
    """The directory of cit's programs, so that a job can push jobs; empty where they are not together."""
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    places = (os.path.join(checkout, "bin"), os.path.dirname(os.path.abspath(sys.argv[0])), os.path.dirname(sys.executable))
    return next((place for place in places if os.access(os.path.join(place, "cit-run"), os.X_OK)), "")


def asked_for(job: Document) -> dict[str, str]:
    """The variables that a job's `env` sections set; 65 where one cannot be."""
    found: dict[str, str] = {}
    for section in job.all("env"):
        for row in section.rows():
            if len(row) != 2 or not row[0] or "=" in row[0]:
                raise CitError(DATA, f"env has a row {row[:2]!r:.60}", "each row is a variable's name and its value", job.label)
            found[row[0]] = row[1]
    return found


def of_job(base: Mapping[str, str], job: Document, attempt: int, task: int | None, workspace: str, private: str = "") -> dict[str, str]:
    """All variables of one attempt; `private` is the directory of its secrets, if it has any."""
    own = {"CIT_JOB_ID": job.id, "CIT_JOB_NAME": job.name, "CIT_ATTEMPT": str(attempt), "CIT_WORKSPACE": workspace}
    said = job.table("job")
    own["CIT_QUEUE"] = str(said.get("queue", ""))
    chain = said.get("chain")
    if isinstance(chain, list):
        own["CIT_CHAIN"] = " ".join(map(str, chain))
    if task is not None:
        own["CIT_TASK"] = str(task)
        own.update(of_array(job, task))
    if private:
        own["CIT_SECRETS"] = private
    return {**base, **asked_for(job), **own}


def of_array(job: Document, task: int) -> dict[str, str]:
    """What Slurm tells a task of its array, with CIT_ for SLURM_: a script of Slurm's needs no more than that."""
    array = arrays.of(job)
    told = {"JOB_ID": job.id, "TASK_ID": task}
    if array is not None:
        told.update(TASK_COUNT=len(array.tasks), TASK_MIN=array.tasks[0], TASK_MAX=array.tasks[-1])
    return {f"CIT_ARRAY_{name}": str(value) for name, value in told.items()}


@lru_cache(maxsize=1)
def machine() -> tuple[tuple[str, str], ...]:
    """The rows that are the same for every job of a pass."""
    system = os.uname()
    return (
        ("host", spool.host()),
        ("system", f"{system.sysname} {system.release} {system.machine}"),
        ("cpus", str(len(os.sched_getaffinity(0)))),
        ("cit", VERSION),
    )


def described(base: Mapping[str, str], job: Document, directory: str, ran_on: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """The rows of the `environment` section: where (`ran_on`, or here) and with what the job ran, and the variables that it asked for."""
    asked = asked_for(job)
    return [
        *(ran_on or machine()),
        ("cwd", directory),
        ("PATH", asked.get("PATH", base["PATH"])),
        *sorted((name, value) for name, value in asked.items() if name != "PATH"),
    ]
