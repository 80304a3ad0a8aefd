"""The run that answers a job, where its queue says that another one's is this one's too; looked at before it is believed (docs/format/answer.md).

Reads: the run's document in `done`, here or heard of. Fails: 66 it is not here; 77 it does not answer as the queue says.
"""

from __future__ import annotations

from . import look, places, remote
from .cit_format import clock, same
from .cit_format.document import Document
from .cit_format.errors import DENIED, NOT_FOUND, CitError
from .look import Seen

HINT = "cit trace shows who says what; the queue's owner can tell more"


def is_answered(job: Seen) -> bool:
    """Whether another job's run is this one's."""
    return job.document.kind == "job" and same.answer(job.document) is not None


def run_of(job: Seen, asker: remote.Asker | None = None) -> Seen:
    """The run that answers a job, as the queue names it; 66 where it is not here, 77 where it is no answer."""
    given = same.answer(job.document)
    assert given is not None
    copies = _copies(job, given)
    if not copies and asker is not None:
        queue = remote.of_job(job.copies, job.there)
        if queue:
            asker.job(queue, given.job)
            copies = _copies(job, given)
    if not copies:
        raise CitError(NOT_FOUND, f"the run that answers it is not here: {given.document}", HINT, job.document.label)
    run = look.opened(given.job, copies, job.there, clock.now())
    why = same.objection(job.document, given, run.document)
    if why:
        raise CitError(DENIED, f"it is not answered by {run.document.label}: {why}", HINT, job.document.label)
    return run


def _copies(job: Seen, given: same.Answer) -> list[places.Copy]:
    return [copy for copy in places.at_end(job.there, [given.job]) if str(copy.file) == given.document]


def ran(job: Seen, asker: remote.Asker | None = None) -> Seen:
    """The job as it ran: itself, or the run that answers it."""
    return run_of(job, asker) if is_answered(job) else job


def told(job: Seen, asker: remote.Asker | None = None) -> tuple[Seen | None, str]:
    """The run that answers a job (None: it ran itself, or the run is not here), and what people are told of that."""
    if not is_answered(job):
        return None, ""
    try:
        run = run_of(job, asker)
    except CitError as error:
        return None, error.what
    return run, f"by the run of {run.document.label}, {run.document.id}"


def wrong(document: Document, runs: list[Document]) -> str:
    """What is wrong with an answer, where these are the documents of the job that it names; empty where nothing is, or it is none."""
    given = same.answer(document)
    if given is None:
        return ""
    objections = [same.objection(document, given, run) for run in runs]
    return "" if "" in objections else objections[0] if objections else "the run that it names is not shown"
