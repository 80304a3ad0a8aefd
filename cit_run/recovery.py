"""What the pass before us left: jobs that have ended meanwhile, that still run under their shims, never began, or were lost."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from . import attempt, keep, leftovers, processes, sealing, secrets, storing, workspace
from .attempt import Attempt
from .cit_format import clock, home, messages, reader, spool
from .cit_format.document import Document
from .cit_format.errors import OK, CitError, worst
from .finishing import End
from .shim import Ending, Status, is_running, read_status
from .workspace import Place


class Left(NamedTuple):
    """What lay in `running`: attempts without an end, whether others only had to be moved, the worst status."""

    attempts: list[Attempt]
    moved: bool
    status: int


class Found(NamedTuple):
    """The same, told apart: ends, jobs under foreign shims, jobs not begun."""

    ends: list[End]
    adopted: list[tuple[Attempt, Place]]
    waiting: list[Attempt]
    moved: bool
    status: int


def recover(account: home.Account) -> Found:
    """Take up what the pass before us left in inbox and running."""
    same_boot = is_same_boot(account / "running" / ".boot")
    before = left(account)
    found = Found([], [], [], before.moved, before.status)
    for mine in before.attempts:
        place = workspace.place_of(f"{account.path}/work", mine.own)
        ending = standing(place.record)
        if ending == "running":
            found.adopted.append((mine, place))
        elif ending is None and same_boot:
            found.waiting.append(mine)
        else:
            if isinstance(ending, Ending):
                bury(mine, place)
            found.ends.append(End(mine, place, ending if isinstance(ending, Ending) else lost(mine, place)))
    clear(account)
    storing.swept(f"{account.path}/store")
    return found


def clear(account: home.Account, here: bool = False) -> None:
    """Remove the secrets of jobs that run no more, and seal their results; `here`: secrets on this machine alone, where jobs run on several."""
    for own in secrets.left(account):
        link, stands = secrets.place_of(account.path, own), standing(f"{account.path}/work/{own}.run")
        if stands != "running" and not (stands is None and secrets.is_young(link)) and (not here or os.path.isdir(link)):
            secrets.clear(account.path, own)
    work = f"{account.path}/work"
    for own in [] if here else sealing.left(work):
        stands = standing(f"{work}/{own}.run")
        if stands != "running" and not (stands is None and sealing.is_young(work, own)):
            try:
                keep.leave(account.path, own, os.path.realpath(f"{work}/{own}"))
            except (CitError, OSError) as error:
                messages.tell("warning", f"the results of {own} are not sealed yet: {error}", hint="it is tried again in the next pass")


def left(account: home.Account) -> Left:
    """Give back what a killed pass held of the inbox, and read what lies in running; what only had to be moved is moved."""
    spool.recover(account / "inbox")
    running = account / "running"
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(running):
            if entry.startswith(".") and entry.endswith(".cit"):  # a content that was being written when its writer was killed
                os.unlink(running / entry)
    found = Left([], False, OK)
    for name in spool.listing(running):
        try:
            job = reader.parse((running / name).read_bytes())
        except CitError as error:
            found = found._replace(status=worst(found.status, messages.complain(error, name)))
            continue
        if is_over(job):
            spool.rename_new(running / name, account / "finished" / name)
            found = found._replace(moved=True)
        else:
            found.attempts.append(attempt.attempt_of(name, job, clock.now()))
    if found.moved:
        spool.sync_directory(account / "finished")
        spool.sync_directory(running)
    return found


def is_over(job: Document) -> bool:
    """Whether the builder has said its last word of this attempt: only its move was missing."""
    return bool(job.sections) and job.sections[-1].kind == "signature" and job.sections[-1].attributes.get("ns") == "cit-result" and _is_last(job)


def _is_last(job: Document) -> bool:
    assignments = [section.number for section in job.all("assignment")]
    return not assignments or job.sections[-1].number > assignments[-1]


def standing(record: str) -> Ending | str | None:
    """How a job stands by its record: its end; `running`; `lost`, begun and nobody knows; None: never begun."""
    while True:
        status = read_status(record)
        if is_running(record):  # whatever stands there: a job can write there too
            return "running"
        if read_status(record) == status:  # else it began or ended between the two looks
            return (status.ending or "lost") if status else None


def bury(mine: Attempt, place: Place, is_sure: bool = False) -> None:
    """Kill what is left of a job whose end its record tells: its session, if its program is still there; all of it where it `is_sure` that
    the shim did not end by itself."""
    status = read_status(place.record) or Status()
    if is_sure or (status.pid and processes.start_time(status.pid) == status.start):
        _kill(mine, place, status)


def lost(mine: Attempt, place: Place) -> Ending:
    """The end of a job whose shim is dead; what is left of the job is killed first."""
    status = read_status(place.record) or Status()
    _kill(mine, place, status)
    secrets.clear(os.path.dirname(os.path.dirname(place.record)), os.path.basename(place.link))
    now = clock.now()
    return Ending(0, 0, "lost", status.begun, now, {})


def _kill(mine: Attempt, place: Place, status: Status) -> None:
    marks = {"CIT_JOB_ID": mine.job.id, "CIT_ATTEMPT": str(mine.number), "CIT_WORKSPACE": place.workspace}
    if not leftovers.ended(status, marks):
        messages.tell("warning", "processes of a lost job cannot be killed", mine.job.label, f"look for CIT_JOB_ID={mine.job.id} in /proc/*/environ")


def is_same_boot(note: Path) -> bool:
    """Whether the machine has not been started anew since the last pass: only then does a missing mark prove that a job never began."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        if note.read_text().strip() == boot:
            return True
    except FileNotFoundError:
        pass
    home.write_new(note, boot.encode() + b"\n")
    return False
