"""cit-run --shell COPY-NAME: a shell, or a command, in the workspace of a job, with the variables and in the directory that the job had.

Reads: the link `work/COPY-NAME` and the record. Exits: as the shell or command; 66 the workspace is gone.
How: what the job asked for stands in its record where that matters (job.cit); its secrets went when it ended, and it tells no events any more.
Pages: docs/howto/at-the-build.md, docs/howto/workspaces.md
"""

from __future__ import annotations

import os
from pathlib import Path

from . import attempt, environment, secrets, workspace
from .cit_format import clock, home, messages, names, reader
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, USAGE, CitError

TERMINAL = ("TERM", "COLORTERM", "SSH_AUTH_SOCK", "SSH_TTY", "DISPLAY")  # of whoever looks, beside the job's own


def variables(account: home.Account, own: str, place: workspace.Place, job: Document | None) -> dict[str, str]:
    """The variables that the job had; without its document those that every job has."""
    base = environment.of_account(account.settings)
    parts = names.parse(f"{own.partition('~')[0]}.cit")
    if parts is None:
        raise CitError(USAGE, f"{own[:80]} is no job's own name in work/", "ID[_TASK][.aN]-NAME: `cit where JOB` says it")
    private = secrets.place_of(account.path, own) if os.path.lexists(secrets.place_of(account.path, own)) else ""
    private = os.path.realpath(private) if private else ""
    if job is not None:
        return environment.of_job(base, job, parts.attempt or 1, parts.task, place.workspace, private)
    cit = {"CIT_JOB_ID": parts.id, "CIT_JOB_NAME": parts.name, "CIT_ATTEMPT": str(parts.attempt or 1), "CIT_WORKSPACE": place.workspace}
    return {**base, **cit, **({"CIT_TASK": str(parts.task)} if parts.task is not None else {})}


def recorded(place: workspace.Place) -> Document | None:
    """The job's document, where its record has it."""
    try:
        return reader.parse(Path(place.record, "job.cit").read_bytes())
    except FileNotFoundError:
        return None


def entered(account: home.Account, own: str, command: list[str]) -> int:
    """Become the shell or the command."""
    if "/" in own or not os.path.isdir(f"{account.path}/work/{own}/"):
        raise CitError(NOT_FOUND, f"its workspace is gone: {account.path}/work/{own}", "a later build has it: cit ls; the log stays: cit log")
    place = workspace.place_of(f"{account.path}/work", own)
    job = recorded(place)
    asked = variables(account, own, place, job)
    if job is not None and secrets.has_any(job) and "CIT_SECRETS" not in asked:
        messages.tell("note", "its secrets are not here: they go when a job ends")
    directory = attempt.directory_of(attempt.attempt_of(f"{own.partition('~')[0]}.cit", job, clock.now()), place) if job else place.workspace
    os.chdir(directory if os.path.isdir(directory) else place.workspace)
    asked.update((name, os.environ[name]) for name in TERMINAL if name in os.environ)
    words = command or [asked.get("SHELL") or "/bin/sh"]
    try:
        os.execvpe(words[0], words, asked)
    except OSError as error:
        raise CitError(NOT_FOUND, f"cannot start {words[0][:80]}: {error.strerror}", "is it on the job's PATH?") from None
