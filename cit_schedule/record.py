"""A job that was assigned on its way, in a pipe, is recorded in its queue before it is carried (docs/stages/deliver.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from .carry import Ways
from .cit_format import address, clock, home, names, put, trust
from .cit_format.document import Document
from .cit_format.errors import DENIED, LATER, NOT_FOUND, CitError


def queue_of(job: Document, known: Ways) -> home.Queue:
    """The queue that a job names; 66 where it is not known here, 77 where it is not of this machine, 75 where it is not active."""
    wanted = str(job.table("job").get("queue", ""))
    if wanted not in known.queues:
        raise CitError(NOT_FOUND, f"no way to queue {wanted}", "the queue has to know what runs in its name", job.label)
    if address.is_remote(known.queues[wanted]):
        raise CitError(
            DENIED, f"queue {wanted} lies elsewhere, and itself gives jobs to builders", "send it the job as its author signed it", job.label
        )
    queue = home.Queue(Path(known.queues[wanted]))
    if not queue.active:
        raise CitError(LATER, f"queue {queue.name} is not active", "another one may be: `cit queues`", job.label)
    return queue


def believed(job: Document, queue: home.Queue, now: int) -> None:
    """77 unless the job is one that the queue would accept, and the queue's own key has assigned it."""
    trust.accepted(job_alone(job), queue.signers, queue.full_name, now)
    last = list(job.all("assignment"))[-1]
    signature = next((each for each in job.all("signature") if each.number > last.number), None)
    if signature is None or trust.verified(job, signature, "cit-queue", queue.signers, now).fingerprint != queue.signer.public.fingerprint:
        raise CitError(DENIED, "not assigned by the queue that it names", "cit-schedule --queue signs with the queue's key", job.label)


def job_alone(job: Document) -> Document:
    """The job as its submitter signed it."""
    first = job.find("signature")
    return Document(job.id, job.name, job.submitted, job.sections[: first.number if first else None])


def put_item(job: Document, queue: home.Queue) -> put.Item:
    """The job as it is put into `assigned`; `seen` knows it as it would know it in `waiting`."""
    given = trust.assignment(job)
    priority = job.table("job").get("priority", 0)
    name = names.FileName(job.id, job.name, "", given.task if given else None, given.attempt if given else None)
    return put.Item(job.id, job.digest, job.raw, name, f"{queue.path}/assigned", priority if isinstance(priority, int) else 0)


def put_in(jobs: list[Document], queue: home.Queue) -> list[Union[str, CitError]]:
    """Put each into `assigned` once: its file name there; empty where the queue knows the job already; or why it must not be there."""
    now = clock.now()
    became: list[Union[str, CitError]] = []
    for job in jobs:
        try:
            believed(job, queue, now)
            became.append("")
        except CitError as error:
            became.append(error)
    fit = [number for number, error in enumerate(became) if error == ""]
    putter = put.Putter(queue / "assigned" / ".tmp", queue / "seen", lambda other: put_item(other, queue))
    items = [put_item(jobs[number], queue) for number in fit]
    for number, item, outcome in zip(fit, items, putter.put(items)):
        became[number] = outcome.error or (str(item.name._replace(key=outcome.key)) if outcome.word == put.ACCEPTED else "")
    fresh = [job for job, name in zip(jobs, became) if isinstance(name, str) and name]
    queue.note([(f"{job.id}-{job.name}", "accepted", str(job.table("job")["submitter"])) for job in fresh], "deliver")
    return became
