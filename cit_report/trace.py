"""cit trace: who said what of a job, in order, and whether each signature holds; offline.

Reads: the document, allowed_signers and revoked_keys of its queue and of this account, hosts documents that were joined.
Writes: a table, TSV or JSON lines.
Exits: 0 all of it is proven; 77 a signature does not hold, or somebody says what is not theirs to say; 65; 66 (docs/messages.md).
How: a signature vouches for every byte before it and speaks for the sections since the one before; keys are judged at the time
of the statement, which is the queue's word. A key that was revoked since is named as such.
Pages: docs/stages/report.md, docs/format/signatures.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import answers, look, places, remote, screen, vouching
from .cit_format import clock, home, messages, own_events, sshsig, trust
from .cit_format.document import Document, Section
from .cit_format.errors import DENIED, OK, CitError, worst
from .cit_format.signers import Signers
from .heard import SPEAKS

GOOD, BAD, UNVERIFIED = "good", "BAD", "unverified"
COLUMNS = (
    screen.Column("time"),
    screen.Column("when", "WHEN"),
    screen.Column("by", "BY", yields=True),
    screen.Column("ns"),
    screen.Column("key"),
    screen.Column("says", "SAYS", yields=True),
    screen.Column("holds", "HOLDS"),
    screen.Column("why"),
    screen.Column("hosts"),
)
FILE_COLUMNS = tuple(column for column in COLUMNS if column.key != "when")
_NOTHING: Mapping[str, str] = {}


class Part(NamedTuple):
    """The sections that one signature speaks for, who made it, and whether it holds (`why` not); without a signature unverified."""

    sections: list[Section]
    by: str
    namespace: str
    key: str
    holds: str
    why: str = ""


# --- decisions ------------------------------------------------------------------------------------------------------


def parts(document: Document, allowed: Signers, revoked: Signers | None) -> Iterator[Part]:
    """The parts of a document, each with its signature's verdict."""
    start = 0
    for signature in document.all("signature"):
        sections = document.sections[start : signature.number - 1]
        start = signature.number
        said = signature.attributes
        moment = stated(document, sections)
        try:
            speech = trust.verified(document, signature, None, allowed, moment)
        except CitError as error:
            yield Part(sections, said.get("by", ""), said.get("ns", ""), "", BAD, error.what)
            continue
        strange = [section.kind for section in sections if section.kind not in SPEAKS.get(speech.namespace, ()) and section.kind in _KNOWN]
        why = f"{speech.namespace} may not say {strange[0]}" if strange else ""
        if not why and revoked and revoked.is_revoked(sshsig.parse_signature(signature.body()).key):
            yield Part(sections, speech.principal, speech.namespace, speech.fingerprint, GOOD, "its key was revoked since")
            continue
        yield Part(sections, speech.principal, speech.namespace, speech.fingerprint, BAD if why else GOOD, why)
    if document.sections[start:]:
        yield Part(document.sections[start:], "", "", "", UNVERIFIED, "no signature speaks for it")


_KNOWN = trust.SUBMITTED | trust.APPENDED


def stated(document: Document, sections: list[Section]) -> int:
    """The moment at which these sections were written, as they and the queue say it."""
    kinds = {section.kind for section in sections}
    if "job" in kinds:
        accepted = [row[0] for section in document.all("event") for row in section.rows() if row[2:3] == ["accepted"]]
        return clock.parse(accepted[0]) if accepted else _moment(document.table("job").get("created"))
    times = [clock.parse(row[0]) for section in sections if section.kind == "event" for row in section.rows()]
    tables = [section.table() for section in sections if section.form == "toml"]
    times += [_moment(table[key]) for table in tables for key in ("assigned", "ended", "created") if key in table]
    return max(times, default=clock.now())


def _moment(value: object) -> int:
    return value if isinstance(value, int) else clock.now()


def chain(document: Document, found: list[Part]) -> list[str]:
    """What the signatures together do not prove of a job: the keys must be those that the parts before them name."""
    faults = []
    job = document.table("job") if document.kind == "job" else {}
    given = trust.assignment(document)
    for part in found:
        if part.holds != GOOD:
            continue
        if part.namespace == "cit-job" and (job.get("key"), job.get("submitter")) != (part.key, part.by):
            faults.append(f"the job names {job.get('submitter')}, {job.get('key')}, but {part.by} signed it with {part.key}")
        if part.namespace == "cit-result" and given and given.table.get("key") != part.key:
            faults.append(f"assigned to {given.table.get('builder')}, whose key is another than the result's")
    return faults


def rows(part: Part) -> Iterator[dict[str, screen.Value]]:
    """A row for each statement of a part: events one by one, other sections in a sentence."""
    common: dict[str, screen.Value] = {"by": part.by, "ns": part.namespace, "key": part.key, "holds": part.holds, "why": part.why}
    submitted = [section.kind for section in part.sections if section.kind in trust.SUBMITTED]
    for section in part.sections:
        own = section.rows() if section.kind == "event" else []
        if own and all(row[1:2] == [own_events.STAGE] for row in own):
            yield {**common, "time": "", "says": f"what the job said: {len(own)} row{'' if len(own) == 1 else 's'}"}
        elif section.kind == "event":
            for row in (row for row in section.rows() if len(row) == 6):
                yield {**common, "time": row[0], "says": " ".join(filter(None, (row[1], row[2], row[5])))}
        elif section.kind == "job":
            yield {**common, "time": _iso(section.table().get("created")), "says": f"wrote {', '.join(submitted)}"}
        elif section.kind not in trust.SUBMITTED:
            time, sentence = statement(section)
            yield {**common, "time": time, "says": sentence}


def statement(section: Section) -> tuple[str, str]:
    """When and what a section says, in a few words."""
    if section.kind == "assignment":
        said = section.table()
        return _iso(said.get("assigned")), f"assigned attempt {said.get('attempt')} to {said.get('builder')}"
    if section.kind == "answer":
        return "", f"answered by {section.table().get('document')}"
    if section.kind == "result":
        said = section.table()
        signal = f", signal {said.get('signal')}" if said.get("signal") else ""
        return _iso(said.get("ended")), f"result {said.get('state')}, exit {said.get('exit')}{signal}"
    if section.form == "tsv":
        count = len(section.rows())
        return "", f"{section.kind}: {count} row{'' if count == 1 else 's'}"
    return "", section.kind


def _iso(value: object) -> str:
    return clock.iso(value) if isinstance(value, int) else ""


# --- the loop -------------------------------------------------------------------------------------------------------


def traced(
    document: Document, allowed: Signers, revoked: Signers | None, vouching: Mapping[str, str] = _NOTHING
) -> tuple[list[dict[str, screen.Value]], list[str]]:
    """The rows of a document and what is not proven; `vouching` says of keys which hosts document has them."""
    if document.find("grant") is not None:
        from .cit_format import grant

        with contextlib.suppress(CitError):  # then the submitter's signature is shown as what it is without the grant
            allowed = grant.extended(allowed, document, stated(document, document.sections))
    found = list(parts(document, allowed, revoked))
    faults = [f"{part.by}: {part.why}" for part in found if part.holds == BAD] + chain(document, found)
    if not any(part.holds == GOOD for part in found):
        faults = faults or ["nothing is signed"]
    return [{**row, "hosts": vouching.get(part.key)} for part in found for row in rows(part)], faults


def with_runs(jobs: list[look.Seen], asker: remote.Asker) -> Iterator[tuple[look.Seen, str | CitError | None]]:
    """Jobs, each with what is wrong with the answer by another's run, if there is one and it is wrong; after it that run, with whom it answers."""
    for job in jobs:
        try:
            run = answers.run_of(job, asker) if answers.is_answered(job) else None
        except CitError as error:
            yield job, error
            continue
        yield job, None
        if run:
            yield run, job.document.label


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    jobs: Optional[list[str]] = typer.Argument(
        None, metavar="[JOB|FILE]...", help="A piece of an ID, a name, `last`, or a cit file; without any, last"
    ),
    signers_file: Optional[Path] = typer.Option(None, "--signers", metavar="FILE", help="An allowed_signers file, instead of those of this home"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where jobs are looked up: @NAME or a directory"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Who said what of a job, in order, and whether each signature holds."""
    messages.set_up("cit-trace", quiet)
    form = screen.form(table, tsv, json)
    there = places.here(queue)
    asker = remote.Asker()
    status, lines, told = OK, [], []
    for job, answered in with_runs([each for wanted in jobs or ["last"] for each in look.seen(wanted, there, clock.now(), asker)], asker):
        if isinstance(answered, CitError):
            status = worst(status, messages.complain(answered))
        lists, revoked = ([signers_file], []) if signers_file else vouching.lists(job.document, there)
        alias = vouching.alias(job.document, there)
        known = vouching.merged(lists, alias=alias)
        vouched = vouching.vouched(known, home.path() / "hosts") if not signers_file else vouching.Vouched(known, {})
        gone = vouching.merged(lists, revoked[0], alias) if revoked else None
        found, faults = traced(job.document, vouched.signers, gone, vouched.hosts)
        lines += found
        for fault in faults:
            status = worst(status, DENIED)
            messages.tell("error", fault, job.document.label, f"the lists asked: {', '.join(map(str, lists))}")
        if not faults:
            by = sorted({str(row["hosts"]) for row in found if row["hosts"]})
            keys = f"; keys of {' and '.join(by)}" if by else ""
            count = sum(1 for _ in job.document.all("signature"))
            whose = f", and it is the run that answers {answered}" if isinstance(answered, str) else ""
            told.append(f"{job.document.label}: all {count} signatures hold{keys}{whose}")
    status = worst(status, DENIED) if asker.wrong else status
    now = clock.now()
    shown = [{**row, "when": screen.when(clock.parse(str(row["time"])), now) if row["time"] else None} for row in lines]
    screen.show(FILE_COLUMNS if form != screen.TABLE else COLUMNS, lines, form, shown)
    if form == screen.TABLE:
        print("".join(f"{line}\n" for line in told), end="")
    return status
