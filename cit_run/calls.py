"""Jobs that call a build interface of this account: what it says of itself decides, and its program gets arguments, never a shell.

Reads: `call` before the first signature; interfaces/NAME and its description. Writes: `call` in the record, TSV: the words that are run;
`public` beside it where the interface has a public view. Pages: docs/format/script-call.md, docs/format/interface.md, docs/stages/run.md
"""

from __future__ import annotations

import os

from . import public, service
from .cit_format import body, description, home, offers
from .cit_format.document import Document
from .cit_format.errors import DATA, CitError

CALL = "call"  # a section of the job, and a file of the record


def named(job: Document) -> dict[str, body.Value] | None:
    """The call that a job is, with its parameters; None for one with a script. 65 where it is sealed or names nothing."""
    call = job.find(CALL)
    if call is None:
        return None
    if "enc" in call.attributes or not isinstance(call.table().get("interface"), str):
        raise CitError(DATA, "a call that names no interface", "it is never sealed, and its key interface is a name", job.label)
    return call.table()


def words(account: home.Account, job: Document) -> list[str]:
    """The program of a call and its arguments; 65 a parameter that does not fit, 66 not offered here, 78 the interface itself is wrong."""
    said = named(job)
    assert said is not None
    name = str(said["interface"])
    try:
        return [str(offers.program(account.path, name)), *description.arguments(offers.described(account.path, name), said)]
    except CitError as error:
        error.where = error.where or job.label
        raise


def objection(account: home.Account, job: Document) -> CitError | None:
    """Why a call cannot be run here: 65 by its own fault, else somebody else may be able to. None where it can, or the job has a script."""
    try:
        if job.find(CALL) is not None:
            run = words(account, job)
            return service.objection(account.path, job, os.path.basename(run[0]))
    except CitError as error:
        return error
    return None


def files(account: home.Account, job: Document) -> dict[str, bytes]:
    """What a call lays into the record."""
    run = words(account, job)
    stranger = service.objection(account.path, job, os.path.basename(run[0]))
    if stranger is not None:
        raise stranger
    found = {CALL: body.row(*run)}
    found.update(service.files(account.path, job, os.path.basename(run[0]), run, bool(offers.described(account.path, os.path.basename(run[0])).same)))
    if offers.described(account.path, os.path.basename(run[0])).view:
        found[public.FILE] = body.row(run[0], "--public", *run[1:])
    return found


def noted(record: str) -> list[str]:
    """The words that are run, as the record has them; none where the job has a script."""
    return public.words(f"{record}/{CALL}")
