"""Who may say what: acceptance of a job, a builder's belief, a result's proof (docs/format/signatures.md).

Power comes from the verified prefix only. A signature vouches for every byte before it and speaks for the sections
between its predecessor and itself. Pure but for the verification itself: the clock and the lists come from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from . import arrays, clock, sshsig
from .body import Time
from .document import Document, Section
from .errors import DATA, DENIED, CitError
from .grammar import written_attributes

if TYPE_CHECKING:
    from .signers import Signers

SUBMITTED = frozenset(
    ["job", "script", "call", "source", "bundle", "change", "env", "config", "files", "needs", "keep", "secret", "after", "reply", "grant"]
    + ["published", "publishes"]
)
APPENDED = frozenset(["event", "assignment", "answer", "environment", "artefact", "result", "signature"])
ALONE = frozenset(["control", "builder", "load", "jobs", "hosts", "handover", "ticket"])  # sections of documents that are no jobs
LATER = 30 * clock.DAY  # the longest that a job may be valid
SKEW = 5 * clock.MINUTE  # clocks differ by so much at most


class Speech(NamedTuple):
    """A verified signature and the sections that it speaks for."""

    principal: str
    namespace: str
    fingerprint: str
    sections: list[Section]


def verified(document: Document, signature: Section, namespace: str | None, signers: Signers, now: int) -> Speech:
    """Check one signature of a document: bytes, namespace, key, and that `by` and `ns` say what they prove; else 77."""
    _known(document, signature)
    attributes = signature.attributes
    try:
        proof = sshsig.parse_signature(signature.body())
        wanted = namespace or proof.namespace
        sshsig.verify(proof, document.raw[: signature.start], wanted)
        principal = signers.principal(proof.key, wanted, datetime.fromtimestamp(now / clock.SECOND, timezone.utc))
    except CitError as error:
        error.where = error.where or document.label
        raise
    if attributes.get("ns") != wanted:
        raise _denied(document, f"the signature says ns={attributes.get('ns', '')}, but it is for {wanted}", "write what the signature says")
    if attributes.get("by") != principal:
        raise _denied(document, f"the signature says by={attributes.get('by', '')}, but its key is that of {principal}", "write whose key it is")
    if (signature.form, signature.written) != ("sshsig", written_attributes({"by": principal, "ns": wanted})):
        # No signature covers its own line: with one form nobody can change a byte of what was submitted.
        raise _denied(document, "the signature's line says more than by and ns", f"it reads: @begin signature 1 sshsig by={principal} ns={wanted}")
    before = [other.number for other in document.all("signature") if other.number < signature.number]
    spoken = document.sections[before[-1] if before else 0 : signature.number - 1]
    return Speech(principal, wanted, proof.key.fingerprint, spoken)


def speeches(document: Document, signers: Signers, now: int) -> Iterator[tuple[Section, Speech | CitError]]:
    """Every signature of a document with what it proves, or why it proves nothing."""
    for signature in document.all("signature"):
        try:
            yield signature, verified(document, signature, None, signers, now)
        except CitError as error:
            yield signature, error


def objection(document: Document) -> None:
    """Raise what is wrong with a job's shape, whoever signed it: 65 doubled or misplaced parts, 77 no signature."""
    if document.kind != "job":
        raise CitError(DATA, f"the first section is {document.kind or 'missing'}, not job", "a job begins with its job section", document.label)
    signature = document.find("signature")
    if signature is None:
        raise _denied(document, "no signature", "sign it: cit-format sign FILE, or make it with cit-trigger")
    kinds = [section.kind for section in document.sections]
    if kinds.count("job") > 1:
        raise CitError(DATA, "a second job section", "one document is one job", document.label)
    if kinds.count("script") + kinds.count("call") != 1:
        raise CitError(DATA, f"{kinds.count('script')} scripts and {kinds.count('call')} calls", "a job has one script or one call", document.label)
    for section in document.sections[signature.number :]:
        if section.kind in SUBMITTED:
            raise CitError(DATA, f"section {section.kind} after the signature", "what is not signed is not run; sign the job anew", document.label)
    for section in document.sections[: signature.number - 1]:
        if section.kind in APPENDED:
            raise _denied(document, f"section {section.kind} before the submitter's signature", "only the stages after it may say that")
        if section.kind in SUBMITTED:
            _known(document, section)
    if document.sections[0].form != "toml":
        raise CitError(DATA, f"the job section is {document.sections[0].form[:20]}, not toml", "it reads: @begin job 1 toml", document.label)


def submission(document: Document, signers: Signers, now: int) -> Speech:
    """Verify the submitter's signature, and that the job names its key and its submitter; else 65 or 77."""
    objection(document)
    missing = [key for key in ("submitter", "key", "queue", "created", "expires") if key not in document.table("job")]
    if missing:
        raise CitError(DATA, f"the job says no {missing[0]}", f"a job needs {', '.join(missing)}", document.label)
    signature = document.find("signature")
    assert signature is not None
    if document.find("grant") is not None:
        from . import grant

        signers = grant.extended(signers, document, now)
    speech = verified(document, signature, "cit-job", signers, now)
    job = document.table("job")
    if job["key"] != speech.fingerprint:
        raise _denied(document, f"the job names key {job['key']}, but {speech.fingerprint} signed it", "the key in the job is the one that signs it")
    if job["submitter"] != speech.principal:
        raise _denied(document, f"the job names {job['submitter']} as submitter, but its key is that of {speech.principal}", "say who you are")
    return speech


def accepted(document: Document, signers: Signers, queue: str, now: int) -> Speech:
    """The rule by which a queue accepts a new job (`queue` is NAME@FINGERPRINT); its ID is looked up by `put` later. Else 65 or 77."""
    speech = submission(document, signers, now)
    signature = document.find("signature")
    assert signature is not None
    for section in document.sections[signature.number :]:
        if section.kind in APPENDED or section.kind in ALONE:
            raise _denied(document, f"a new job has section {section.kind} after its signature", "submit the job as its author signed it")
    job = document.table("job")
    if job["queue"] != queue:
        raise _denied(document, f"the job is for queue {job['queue']}, this is {queue}", "make it for this queue: cit-trigger --queue")
    created, expires = job["created"], job["expires"]
    if not isinstance(created, Time) or not isinstance(expires, Time):
        raise CitError(DATA, "created or expires is no time", "write it as 2026-11-23T20:26:11Z", document.label)
    if now < created - SKEW:
        raise _denied(document, f"made in the future, at {clock.iso(created)}", "see that both clocks are right")
    if now > expires:
        raise _denied(document, f"expired at {clock.iso(expires)}", "make it anew: cit requeue")
    if expires - created > LATER:
        raise _denied(document, "valid for more than 30 days", "let it expire sooner: cit-trigger --expires 7d")
    return speech


class Assignment(NamedTuple):
    """What a builder needs of the last assignment."""

    attempt: int
    task: int | None
    table: dict[str, object]


def assignment(document: Document) -> Assignment | None:
    """The last assignment as it stands, unverified; None where there is none. 65 where it is incomplete."""
    sections = list(document.all("assignment"))
    if not sections:
        return None
    found = sections[-1]
    _known(document, found)
    table = document.table_of(found)
    attempt, task = table.get("attempt"), table.get("task")
    # type(): `true` and times are ints too, and would be yet another attempt by their name.
    if type(attempt) is not int or attempt < 1 or not isinstance(table.get("builder"), str) or (task is not None and type(task) is not int):
        raise CitError(DATA, "an assignment without attempt or builder", "the scheduler that wrote it is at fault", document.label)
    return Assignment(attempt, task, dict(table))


def starts(document: Document, number: int, signers: Signers, now: int) -> int:
    """How often a job was begun by its first `number` assignments, by its builders' signed word: an assignment may end without a start
    (event `void`), and a cluster may begin a lost job anew (`restarted`)."""
    proven = [speech for _, speech in speeches(document, signers, now) if isinstance(speech, Speech) and speech.namespace == "cit-result"]
    told = [section for speech in proven for section in speech.sections if section.kind == "event"]
    return number - sum(_is_void(section) - len(_rows(section, "restarted")) for section in told)


def _is_void(section: Section) -> bool:
    return section.kind == "event" and bool(_rows(section, "void"))


def _rows(section: Section, word: str) -> list[list[str]]:
    """The rows of this word, but for those that a builder only passes on: what a job says of itself counts for nothing."""
    return [row for row in section.rows() if row[2:3] == [word] and row[1] != "job"]


def assigned(document: Document, signers: Signers, builder_key: str, now: int) -> tuple[Speech, Assignment]:
    """The rule by which a builder believes a job: submitter and queue verified against its own list, itself named; else 65 or 77."""
    submission(document, signers, now)
    given = assignment(document)
    if given is None:
        raise _denied(document, "no assignment", "a builder takes jobs that a queue assigned to it")
    last = list(document.all("assignment"))[-1]
    speaking = next((signature for signature in document.all("signature") if signature.number > last.number), None)
    if speaking is None:
        raise _denied(document, "the assignment is not signed by a queue", "the queue signs what it assigns")
    queue = verified(document, speaking, "cit-queue", signers, now)
    if given.table.get("queue") != document.table("job")["queue"]:
        raise _denied(document, "assigned by another queue than the job names", "a job runs where its author sent it")
    if signers.handovers:
        from .handover import objection as handed_over

        why = handed_over(str(given.table["queue"]), given.table.get("epoch"), queue.fingerprint, signers.handovers)
        if why:
            raise _denied(document, why, "the queue that has it now assigns it anew")
    array = document.table("job").get("array")
    if given.task is None and array is not None:
        raise _denied(document, "an array assigned as a whole", "each of its tasks is assigned by itself: the assignment's key task")
    if given.task is not None and not arrays.is_task(array, given.task):
        raise _denied(document, f"assigned as task {given.task}, which the job does not have", "its author says which tasks there are: array")
    if given.table.get("key") != builder_key:
        raise _denied(document, f"assigned to {given.table.get('builder')}, not to this builder", "deliver it to the builder that it names")
    expires = document.table("job")["expires"]
    if isinstance(expires, int) and now > expires:
        raise _denied(document, f"expired at {clock.iso(expires)}", "make it anew: cit requeue")
    allowed = document.table("job").get("attempts", 1)
    if isinstance(allowed, int) and given.attempt > min(1, allowed) and starts(document, given.attempt, signers, now) > allowed:
        raise _denied(document, f"attempt {given.attempt}, but the job allows {allowed}", "its author says how often: cit push --attempts")
    return queue, given


def completed(document: Document, signers: Signers, now: int) -> tuple[Speech, Section]:
    """The verified last word of a builder: its result (or void) and the speech that covers it; else 65 or 77."""
    signatures = list(document.all("signature"))
    if not signatures:
        raise _denied(document, "no signature", "a result is signed by its builder")
    speech = verified(document, signatures[-1], "cit-result", signers, now)
    for section in reversed(speech.sections):
        if section.kind == "result" or _is_void(section):
            return speech, section
    raise CitError(DATA, "no result before the last signature", "a builder hands back what has ended", document.label)


def _known(document: Document, section: Section) -> None:
    """65 for a section in a version that this program does not know, where it has to."""
    if section.version != "1":
        raise CitError(DATA, f"section {section.kind} has version {section.version[:20]}", "this program knows version 1", document.label)


def _denied(document: Document, what: str, hint: str) -> CitError:
    return CitError(DENIED, what, hint, document.label)
