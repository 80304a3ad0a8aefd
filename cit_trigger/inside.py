"""A job that is made inside a job: which one that is, and the chain from the first one on (docs/howto/jobs-that-make-jobs.md). Pure.

Reads: CIT_JOB_ID, CIT_CHAIN, CIT_QUEUE, as cit-run sets them.
"""

from __future__ import annotations

from collections.abc import Mapping

from .cit_format import grammar


def family(environment: Mapping[str, str]) -> dict[str, object]:
    """The keys `parent` and `chain` of a job that is made here; none of them outside of jobs."""
    here = environment.get("CIT_JOB_ID", "")
    if not grammar.ID.fullmatch(here):
        return {}
    before = [identity for identity in environment.get("CIT_CHAIN", "").split(" ") if grammar.ID.fullmatch(identity)]
    return {"parent": here, "chain": [*before, here]}


def following(before: str, keys: Mapping[str, object]) -> dict[str, object]:
    """The same of a job that follows the one with this ID and these keys (section `after`)."""
    chain = keys.get("chain")
    return {"parent": before, "chain": [*(chain if isinstance(chain, list) else []), before]}


def queue(environment: Mapping[str, str]) -> str | None:
    """The queue that the job around came from: where a job made in it goes, unless another is named."""
    return (environment.get("CIT_QUEUE") or None) if environment.get("CIT_JOB_ID") else None
