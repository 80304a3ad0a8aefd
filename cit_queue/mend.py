"""Finishing what killed processes left in a queue (docs/directories.md, "After a crash").

Every run that puts does the cheap part for itself; `--recover` and every tick do all of it. Twice is as good as once.
"""

from __future__ import annotations

import os

from .cit_format import aging, attempts, clock, home, names, put, spool, trust
from .cit_format.document import Document

CLAIMED = ("waiting", "held", "assigned", "sent")
SHELVES = ("done", "refused", "control")
PUT_INTO = ("waiting", "assigned")


def described(queue: home.Queue, job: Document) -> put.Item:
    """What a killed put was about: a new job, the next attempt of one that has ended, or a job that its submitter assigned himself."""
    given = trust.assignment(job)
    if given is None:
        return queue.describe(job)
    if attempts.ending(job):
        return attempts.next_item(queue, job, clock.now())
    return put.Item(job.id, job.digest, job.raw, names.FileName(job.id, job.name, "", given.task, given.attempt), f"{queue.path}/assigned")


def putter(queue: home.Queue, state: str) -> put.Putter:
    """Finishes whatever was being put by way of this state's .tmp."""
    return put.Putter(queue / state / ".tmp", queue / "seen", lambda job: described(queue, job))


def in_passing(queue: home.Queue) -> None:
    """Before a put: documents that a killed put had already made known get their names."""
    try:
        left = os.listdir(queue / "waiting" / ".tmp")
    except FileNotFoundError:
        return
    if left:
        putter(queue, "waiting").recover()


def whole(queue: home.Queue) -> int:
    """All of it: half-done puts are finished, dead claims given back, stale leftovers removed. How many documents went on."""
    count = sum(putter(queue, state).recover() for state in PUT_INTO)
    for state in CLAIMED:
        count += spool.recover(queue / state)
    for state in SHELVES:
        spool.sweep_temporary(queue / state / ".tmp")
    age(queue)
    return count


def age(queue: home.Queue) -> None:
    """What is too old in seen and refused goes; once a day."""
    stamp, now = queue / "seen" / ".aged", clock.now()
    try:
        if now - os.stat(stamp).st_mtime * clock.SECOND < clock.DAY:
            return
    except FileNotFoundError:
        pass
    for _ in aging.aged(queue.path, queue.settings, now):
        pass
    spool.make_directory(queue / "seen")
    with open(stamp, "wb"):
        os.utime(stamp, (now / clock.SECOND, now / clock.SECOND))
