"""What a document says about itself, as one row. Pure: a document in, values out (docs/stages/report.md).

It tells what stands there; whether the signatures hold is for cit-trace to say.
"""

from __future__ import annotations

from typing import Union

from . import first
from .cit_format import body, clock, own_events, same, trust
from .cit_format.document import Document
from .cit_format.errors import CitError

FINAL = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")
ENDED_BY_EVENT = {"cancelled": "CANCELLED", "lost": "NODE_FAIL", "deadline": "DEADLINE", "refused": "REFUSED"}
FIGURES = (
    "wall-ms",
    "user-ms",
    "system-ms",
    "max-rss-kib",
    "major-faults",
    "minor-faults",
    "inputs",
    "outputs",
    "voluntary-switches",
    "involuntary-switches",
)
Story = dict[str, Union[str, int, None]]


def told(document: Document) -> Story:
    """The story of a document: id, name, kind, state and, of a job, who, where, when and how it ended. What it does not say is None."""
    story: Story = {"id": document.id, "name": document.name, "kind": document.kind, "state": None}
    if document.kind == "job":
        story.update(_job(document))
        story["changed"] = "; ".join(first.changes(document)) or None
    else:
        said = _table(document, document.kind)
        word = said.get("state") or said.get("action")
        story["state"] = str(word) if word else None
        if document.kind == "refused" or document.name == "refused":
            story["state"] = "REFUSED"
        story["why"] = str(said.get("why") or "") or None
    return story


def _job(document: Document) -> Story:
    wanted, given, result = _table(document, "job"), trust.assignment(document), last_result(document)
    story: Story = {"submitter": str(wanted.get("submitter", "")), "queue": str(wanted.get("queue", "")).partition("@")[0]}
    story["created"] = _time(wanted.get("created"))
    if given:
        story.update(attempt=given.attempt, task=given.task, builder=str(given.table["builder"]), account=str(given.table.get("account", "")))
        story["assigned"] = _time(given.table.get("assigned"))
    state = "PENDING" if document.find("event") or given else "NEW"
    if wanted.get("hold") is True or (isinstance(wanted.get("begin"), int) and state == "PENDING" and not given):
        state = "HELD"
    for row in events(document):
        word, moment = row[2], as_moment(row[0])
        if word in ("accepted", "received", "started", "ended"):
            story[word] = moment
        if word in ("released", "retried"):
            state = "PENDING"
        elif word == "held":
            state = "HELD"
        elif word == "started":
            state = "RUNNING"
        elif word in ENDED_BY_EVENT:
            state, story["ended"], story["why"] = ENDED_BY_EVENT[word], moment, row[5] or None
    if result:
        state = str(result.get("state", state))
        story.update({key: _number(result.get(key)) for key in ("exit", "signal", *FIGURES)})
        story["why"] = str(result.get("why") or "") or story.get("why")
        story["started"] = story.get("started") or _time(result.get("started"))
        story["ended"] = story.get("ended") or _time(result.get("ended"))
    story["state"] = state
    answer = same.answer(document)
    if answer:
        story["answered"] = f"as {answer.job[-6:]}"
    log = next(
        (
            row
            for section in document.all("artefact")
            for row in section.rows()
            if row[2:] and row[2].endswith((".log", ".log.age")) and row[2].count("/") == 1
        ),
        None,
    )
    if log:
        story["log"], story["log-bytes"] = log[2], int(log[1]) if log[1].isdigit() else None
    return story


def events(document: Document) -> list[list[str]]:
    """The rows of all event sections that a stage says, in order; those that are no events left out."""
    return [row for row in all_events(document) if row[1] != own_events.STAGE]


def said(document: Document) -> list[list[str]]:
    """What the job itself said, its parts among it: shown, and never believed."""
    return [row for row in all_events(document) if row[1] == own_events.STAGE]


def all_events(document: Document) -> list[list[str]]:
    return [row for section in document.all("event") for row in section.rows() if len(row) == 6]


def last_result(document: Document) -> dict[str, body.Value]:
    """The keys of the last result; empty where there is none."""
    sections = list(document.all("result"))
    return sections[-1].table() if sections else {}


def status(story: Story) -> int:
    """The status that a shell would give the job: 124 time limit, 125 where cit itself failed, 128 + signal (docs/messages.md)."""
    state, code, signal = story["state"], story.get("exit"), story.get("signal")
    if state in ("TIMEOUT", "DEADLINE"):
        return 124
    if state in ("NODE_FAIL", "REFUSED"):
        return 125
    if isinstance(signal, int) and signal:
        return 128 + signal
    if isinstance(code, int) and code:
        return code
    return {"COMPLETED": 0, "CANCELLED": 143, "OUT_OF_MEMORY": 137}.get(str(state), 1)


def elapsed(story: Story, now: int) -> int | None:
    """How long it has run, or ran, in microseconds; None before its start."""
    wall, started, ended = story.get("wall-ms"), story.get("started"), story.get("ended")
    if isinstance(wall, int):
        return wall * 1000
    if not isinstance(started, int):
        return None
    return max(0, (ended if isinstance(ended, int) else now) - started)


def _table(document: Document, kind: str) -> dict[str, body.Value]:
    try:
        return document.table(kind)
    except CitError:
        return {}  # another version: what it says is not known here


def _time(value: object) -> body.Time | None:
    return body.Time(value) if isinstance(value, int) and not isinstance(value, bool) else None


def as_moment(text: str) -> body.Time | None:
    try:
        return body.Time(clock.parse(text))
    except CitError:
        return None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
