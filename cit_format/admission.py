"""One new job that comes into a queue: judged, then closed with `accepted` and the queue's signature (docs/stages/queue.md).

Whoever brings it, a person, the door, or a job that has ended (after.py): it is this judgement. Errors: 65, 77.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import after, arrays, document, grammar, home, journal, limited, names, trust
from .body import Time, Value
from .document import Document
from .errors import CONFIG, DATA, CitError

CHAIN = 10  # jobs, one inside the other, where queue.toml says nothing


class Admission:
    """Admits jobs to a queue at one moment: all get the same event; `remark` stands in it after the queue's name."""

    def __init__(self, queue: home.Queue, now: int, remark: str = "") -> None:
        self.queue = queue
        self.now = now
        self.event = document.section("event", "tsv", journal.event("queue", "accepted", queue.name + remark, now))
        self.begin, self.end = document.section("signature", "sshsig", b"", by=queue.identity, ns="cit-queue").split(b"\n", 1)
        self.limits = limited.read(queue.path)
        _ = queue.signers, queue.signer, queue.full_name  # read here, once

    def admitted(self, job: Document) -> bytes:
        """The job with `accepted` and the queue's signature; else why it is refused."""
        queue = self.queue
        try:
            check_order(job.table("job"))
            arrays.check(job)
            speech = trust.accepted(job, queue.signers, queue.full_name, self.now)
            limited.check(self.limits, speech.fingerprint, job)
            after.check(job)
            check_chain(job.table("job"), queue)
        except CitError as error:
            error.where = error.where or job.label
            raise
        raw = job.raw + self.event
        return b"%s%s\n%s%s" % (raw, self.begin, queue.signer.sign(raw, "cit-queue"), self.end)


def check_chain(job: Mapping[str, Value], queue: home.Queue) -> None:
    """65 where a job comes out of more jobs, one inside the other, than the queue takes: so jobs that make themselves again come to an end."""
    chain, most = job.get("chain", []), queue.settings.get("chain-most", CHAIN)
    if not isinstance(chain, list) or not all(grammar.ID.fullmatch(str(identity)) for identity in chain):
        raise CitError(DATA, "a chain that is no list of IDs", "the jobs inside which this one was made, root first")
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise CitError(CONFIG, f"chain-most = {most}", f"a number of jobs, as {CHAIN}")
    if len(chain) > most:
        hint = f"does a job make itself again? if it is meant: cit config @{queue.name} chain-most {2 * max(most, 1)}"
        raise CitError(DATA, f"it comes out of {len(chain)} jobs, one inside the other, and {most} may be", hint)


def check_order(job: Mapping[str, Value]) -> None:
    """65 where the keys that decide a job's place in the queue are not what they must be: its file name is made of them."""
    priority, begin, hold = job.get("priority", 0), job.get("begin", Time(0)), job.get("hold", False)
    if type(priority) is not int or not names.LOWEST <= priority <= names.HIGHEST:
        raise CitError(DATA, f"priority {priority}", f"an integer from {names.LOWEST} to {names.HIGHEST}")
    if not isinstance(begin, Time) or begin >= names.NEVER:
        raise CitError(DATA, f"begin {begin}", "a UTC time before 2286, as 2026-11-23T20:26:11Z")
    if not isinstance(hold, bool):
        raise CitError(DATA, f"hold {hold}", "true or false")
