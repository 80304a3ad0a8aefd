"""Whether what a queue elsewhere says of a job can be: nobody there is trusted to say how it ended (docs/security.md).

A document may be old, or not be told at all. What is told begins with the bytes that were sent from here, every signature in it holds for
the bytes before it and speaks for what its kind may say, and an end is the assigned builder's own, or one that a queue may write.
"""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from pathlib import Path

from . import vouching
from .cit_format import home, names, reader, sshsig, trust
from .cit_format.document import Document, Section
from .cit_format.errors import DENIED, CitError
from .cit_format.signers import Signers

SPEAKS = {  # what each role may write (docs/format/signatures.md)
    "cit-job": trust.SUBMITTED,
    "cit-queue": frozenset(["event", "assignment", "answer", "result"]),
    "cit-result": frozenset(["event", "environment", "artefact", "result"]),
    "cit-control": frozenset(["control"]),
    "cit-builder": frozenset(["builder"]),
}
QUEUES_OWN = ("CANCELLED", "DEADLINE", "NODE_FAIL")  # ends that a queue writes itself, as no builder can


# --- decisions ------------------------------------------------------------------------------------------------------


def objection(document: Document, identity: str, sent: bytes, known: Signers) -> str:
    """Why a document is no answer about the job of this ID; empty where it is one. `sent`: what was sent from here, if it was."""
    if document.id != identity:
        return "it answers with another job"
    if not document.raw.startswith(sent):
        return "it does not begin with what was sent from here"
    if document.kind != "job":
        return ""
    start = 0
    for signature in document.all("signature"):
        why = fault(document, signature, document.sections[start : signature.number - 1], known)
        if why:
            return why
        start = signature.number
    loose = {section.kind for section in document.sections[start:]} & trust.APPENDED
    return f"nobody signed its {min(loose)}" if loose and document.name != "refused" and not _is_refusal(document.sections[start:]) else ""


def fault(document: Document, signature: Section, spoken: list[Section], known: Signers) -> str:
    """What is wrong with a signature and the sections that it speaks for; empty where nothing is."""
    try:
        proof = sshsig.parse_signature(signature.body())
        sshsig.verify(proof, document.raw[: signature.start], proof.namespace)
    except CitError as error:
        return error.what
    if signature.attributes.get("ns") != proof.namespace:
        return f"a signature says ns={signature.attributes.get('ns', '')}, but it is for {proof.namespace}"
    listed = known.allowed.get(proof.key.blob, [])
    if listed and not any(proof.namespace in entry.namespaces for entry in listed):
        return f"{listed[0].principal} signed it for {proof.namespace}, and may not"
    strange = [section.kind for section in spoken if section.kind in trust.SUBMITTED | trust.APPENDED]
    strange = [kind for kind in strange if kind not in SPEAKS.get(proof.namespace, ())]
    if strange:
        return f"{proof.namespace} may not say {strange[0]}"
    ends = [str(section.table().get("state", "")) for section in spoken if section.kind == "result"]
    is_answer = any(section.kind == "answer" for section in spoken)  # then the run that answers tells (answers.py)
    if proof.namespace == "cit-queue" and not is_answer and any(state not in QUEUES_OWN for state in ends):
        return f"the queue itself says {ends[-1]}, which only a builder can"
    given = [section.table() for section in document.all("assignment") if section.number < signature.number]
    if proof.namespace == "cit-result" and (not given or given[-1].get("key") != proof.key.fingerprint):
        return "its end is signed by a key that it was not assigned to"
    return ""


def _is_refusal(sections: list[Section]) -> bool:
    """Whether these say only that a queue refused it, which nobody signs."""
    rows = [row for section in sections for row in (section.rows() if section.kind == "event" else [[]])]
    return bool(rows) and all(row[2:3] == ["refused"] for row in rows)


# --- what is known here ---------------------------------------------------------------------------------------------


def wrong(document: Document, identity: str, queue: home.Queue) -> CitError | None:
    """What has to be said where a queue's answer about a job cannot be; 77."""
    why = objection(document, identity, sent_from_here(identity), _known(queue.path, home.path()))
    what = f"what queue @{queue.path.name} tells of it cannot be: {why}"
    return CitError(DENIED, what, "it is not used; ask the queue's owner, and the builder itself: cit log", document.label) if why else None


def sent_from_here(identity: str) -> bytes:
    """The job as it was signed here; empty where it was not sent from this home."""
    sent = home.path() / "outbox" / "sent"
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(sent):
            parts = names.parse(name)
            if parts and parts.id == identity:
                return reader.parse((sent / name).read_bytes()).submitted
    return b""


@lru_cache(maxsize=16)
def _known(queue: Path, here: Path) -> Signers:
    """Who may sign what, by the lists of this home and its hosts documents."""
    known = vouching.merged([queue / "allowed_signers", here / "allowed_signers"])
    return vouching.vouched(known, here / "hosts").signers
