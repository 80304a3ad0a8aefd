"""Documents written by hand, or by `--dry-run`, made whole for signing: `cit-trigger --sign < FILE` (docs/stages/trigger.md)."""

from __future__ import annotations

from collections.abc import Mapping

from .cit_format import body, clock, document, reader, remarks
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, OK, CitError
from .cit_format.messages import tell


def completed(unsigned: Document, who: Mapping[str, object], lifetime: int, more: bytes = b"") -> bytes:
    """The document with what its job section does not say yet: who, for which queue, when; and `more` sections. 65, 77 for what no
    queue would take."""
    job = unsigned.find("job")
    if unsigned.kind != "job" or job is None:
        raise CitError(DATA, f"a document that begins with {unsigned.kind or 'no section'} is no job", "its first section is job", unsigned.label)
    if unsigned.find("signature") is not None:
        raise CitError(DATA, "it is signed already", "hand it over as it is: cit-queue --to @ < FILE", unsigned.label)
    said = unsigned.table("job")
    for key in ("submitter", "key"):
        if said.get(key, who[key]) != who[key]:
            raise CitError(DENIED, f"its {key} is {said[key]}, yours is {who[key]}", "take that line out: it is filled in", unsigned.label)
    now = clock.now()
    filled = {**who, "created": body.Time(now), "expires": body.Time(now + lifetime)}
    missing = {key: value for key, value in filled.items() if key not in said}
    whole = document.section("job", "toml", job.body() + body.toml(missing))
    raw = unsigned.raw[: job.start] + whole + unsigned.raw[job.end :] + more
    look_over(raw)
    return raw


def look_over(raw: bytes) -> None:
    """65 or 77 for what the dictionary of sections has an objection to; its warnings are told."""
    checked = reader.parse(raw)
    for remark in remarks.remarks(checked):
        if remark.status != OK:
            raise CitError(remark.status, remark.what, remark.hint, ": ".join(filter(None, (checked.label, remark.where))))
        if remark.what != "not signed yet":
            tell("warning", remark.what, checked.label, remark.hint)
