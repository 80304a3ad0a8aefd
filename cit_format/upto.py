"""What a stage read: a document cut back to before what that stage appended, to run the stage again (docs/stages/format.md). Pure."""

from __future__ import annotations

from .document import Document, Section
from .errors import NOT_FOUND, USAGE, CitError

STAGES = ("queue", "schedule", "deliver", "run", "sync", "report")


def upto(document: Document, stage: str, attempt: int | None = None) -> bytes:
    """The bytes that `stage` read, for the last attempt or that of this number. 66 where the document did not come so far."""
    if stage not in STAGES:
        raise CitError(USAGE, f"no stage {stage!r}", f"stages are {', '.join(STAGES)}")
    if stage == "queue":
        return document.raw[: _signature(document, 0, "cit-job").end]
    if stage == "report":
        return document.raw
    assignment = _assignment(document, attempt)
    if stage == "schedule":
        return document.raw[: assignment.start] if assignment else document.raw
    if assignment is None:
        raise _missing(document, "no assignment" if attempt is None else f"no assignment of attempt {attempt}")
    signature = _signature(document, assignment.number, "cit-queue")
    if stage == "sync":
        signature = _signature(document, signature.number, "cit-result")
    return document.raw[: signature.end]


def _assignment(document: Document, attempt: int | None) -> Section | None:
    found = list(document.all("assignment"))
    if attempt is not None:
        found = [section for section in found if section.table().get("attempt") == attempt]
        if not found:
            raise _missing(document, f"no assignment of attempt {attempt}")
    return found[-1] if found else None


def _signature(document: Document, after: int, namespace: str) -> Section:
    """The first signature of this namespace behind section number `after`; for an assignment, before the next one."""
    for section in document.sections[after:]:
        if section.kind == "signature" and section.attributes.get("ns") == namespace:
            return section
        if section.kind == "assignment":
            break
    raise _missing(document, f"no signature for {namespace}")


def _missing(document: Document, what: str) -> CitError:
    return CitError(NOT_FOUND, what, "the document did not come so far; cit-format list shows its sections", document.label)
