"""cit show: one job whole: who, what, state, times, figures, and where everything lies.

Reads: the job's document, wherever it is now, or a file. Writes: a page on a terminal, TSV `key value` in a pipe, one JSON object.
Exits: 0; 65 does not parse; 66 no such job (docs/messages.md).
How: what the document says, the state as its place tells it; the bodies are left in the file: `less $(cit show --path JOB)`.
Pages: docs/stages/report.md
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Optional

import typer

from . import answers, far, first, look, own_words, places, remote, screen, story
from .cit_format import arrays, body, clock, messages
from .cit_format.errors import NOT_FOUND, OK, CitError
from .cit_format.parts import FOLDER
from .look import Seen

ASKED = (
    "cpus",
    "time",
    "mem",
    "tmp",
    "constraint",
    "builder",
    "begin",
    "deadline",
    "hold",
    "priority",
    "attempts",
    "retry-on",
    "array",
    "group",
    "latest",
    "latest-running",
    "parent",
    "workspace",
    "environment",
    "hold-on-failure",
    "chain",
    "check",
    "same",
    "fresh",
)


# --- decisions ------------------------------------------------------------------------------------------------------


def facts(job: Seen) -> dict[str, screen.Value]:
    """Everything that is known of the job, in the order in which it is shown."""
    wanted = job.document.table("job") if job.document.kind == "job" else {}
    run, answered = answers.told(job)
    ran = run or job
    log, workspace, own = ran.log, ran.work(), own_words.of_job(ran)
    held = first.held_until(wanted.get("hold-on-failure"), job.state, job.told.get("ended"))
    return {
        **job.told,
        "changed": first.changes(job.document),
        "key": str(wanted["key"]) if "key" in wanted else None,
        "asked": [f"{key}={_written(wanted[key])}" for key in ASKED if key in wanted],
        "script": script(job),
        "signatures": [f"{each.attributes.get('by', '')} ({each.attributes.get('ns', '')})" for each in job.document.all("signature")],
        "events": own_words.lines(own),
        "parts": own_words.summary(own) or None,
        "artefacts": [] if job.tally else kept(ran),
        "answered": answered or None,
        "document": os.path.abspath(job.path),
        "log": str(log) if log else ran.told.get("log"),
        "workspace": os.path.realpath(workspace) if workspace else None,
        "built": first.built(job.document),
        "held-until": None if held is None else body.Time(held),
    }


def kept(job: Seen) -> list[str]:
    """The files that it left, with their sizes."""
    return [f"{row[2]} ({row[1]} bytes)" for each in job.document.all("artefact") for row in each.rows() if len(row) == 3]


def _written(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def script(job: Seen) -> str | None:
    """What it runs: its script without the first line that names the shell, or the call."""
    section = job.document.find("script") or job.document.find("call")
    if section is None:
        return None
    if section.attributes.get("enc") == "age":
        return f"a sealed script, for {section.attributes.get('to', 'nobody')}"
    if section.kind == "call":
        said = section.table()
        values = [(name, each) for name, value in said.items() if name != "interface" for each in (value if isinstance(value, list) else [value])]
        return " ".join([f"call {said.get('interface')}", *(f"{name}={shlex.quote(_written(value))}" for name, value in values)])
    lines = section.body().decode("utf-8", "replace").rstrip("\n").split("\n")
    return "\n".join(lines[1:] if lines[0].startswith("#!") and len(lines) > 1 else lines)


def page(job: Seen, now: int) -> list[tuple[str, str]]:
    """The page for people: a word on the left, what there is to say on the right, which may have several lines."""
    told, known = job.told, facts(job)
    held = known["held-until"]
    rows = [
        ("changed", listed(known["changed"])),
        ("state", state(told)),
        ("tasks", screen.text(told.get("tasks"))),
        ("why", screen.text(told.get("why"))),
        ("job", f"{job.document.name}  {job.document.id}"),
        ("by", " ".join(filter(None, (screen.text(known.get("submitter")), screen.text(known["key"]))))),
        ("queue", screen.text(told.get("queue"))),
        ("builder", builder(told)),
        ("asked", " ".join(known["asked"]) if isinstance(known["asked"], list) else ""),
        ("runs", shortened(screen.text(known["script"]), 6)),
        *times(told, now),
        ("took", took(told)),
        ("answered", screen.text(known["answered"])),
        ("document", str(known["document"])),
        ("says", listed(known["events"])),
        ("parts", screen.text(known["parts"])),
        ("log", "  ".join(filter(None, (screen.text(known["log"]), size(job))))),
        ("workspace", screen.text(known["workspace"])),
        ("built", listed(known["built"])),
        ("held", f"until {clock.iso(held)}: cit shell {job.short}" if isinstance(held, int) and held > now else ""),
        (
            "kept",
            listed([path for path in known["artefacts"][1:] if f".run/{FOLDER}/" not in str(path)]) if isinstance(known["artefacts"], list) else "",
        ),
        ("signed", ", ".join(signatures(known))),
    ]
    return [(word, said) for word, said in rows if said]


def listed(several: screen.Value) -> str:
    """Several things, a line each."""
    return "\n".join(map(str, several)) if isinstance(several, list) else ""


def state(told: story.Story) -> str:
    """The state, and in brackets how the program ended."""
    word = screen.coloured(screen.line(told["state"]))
    if told.get("signal"):
        return f"{word} (signal {told['signal']})"
    return f"{word} (exit {told['exit']})" if told.get("exit") is not None and told["state"] != "RUNNING" else word


def builder(told: story.Story) -> str:
    """The builder, its account, and which attempt."""
    said = [str(told[key]) for key in ("builder", "account") if told.get(key)]
    attempt = told.get("attempt")
    return "  ".join([*said, f"attempt {attempt}"] if isinstance(attempt, int) and attempt > 1 else said)


def times(told: story.Story, now: int) -> list[tuple[str, str]]:
    """Created, accepted, started, ended; with how long it waited and ran."""
    rows = []
    for key in ("created", "accepted", "started", "ended"):
        moment = told.get(key)
        if isinstance(moment, int):
            rows.append([key, clock.iso(moment)])
            before = told.get("accepted") or told.get("created")
            if key == "started" and isinstance(before, int):
                rows[-1][1] += f"  after {clock.duration_text(max(0, moment - before))} of waiting"
            ran = story.elapsed(told, now)
            if ran is not None and key == "ended":
                rows[-1][1] += f"  after {clock.duration_text(ran)}"
            elif ran is not None and key == "started" and told["state"] == "RUNNING":
                rows.append(["runs for", clock.duration_text(ran)])
    return [(key, said) for key, said in rows]


def took(told: story.Story) -> str:
    """Processor time and memory."""
    user, system, memory = told.get("user-ms"), told.get("system-ms"), told.get("max-rss-kib")
    if not isinstance(user, int) or not isinstance(system, int) or not isinstance(memory, int):
        return ""
    cpu = f"{clock.duration_text(user * 1000)} user, {clock.duration_text(system * 1000)} system"
    return f"{cpu}, {clock.size_text(memory * 1024)} of memory at most"


def size(job: Seen) -> str:
    """How large its log is by now."""
    log = job.log
    return f"({clock.size_text(log.stat().st_size)})" if log else ""


def signatures(known: dict[str, screen.Value]) -> list[str]:
    """Who signed, each once, with how often."""
    listed = known["signatures"] if isinstance(known["signatures"], list) else []
    return [each + (f" x{listed.count(each)}" if listed.count(each) > 1 else "") for each in dict.fromkeys(listed)]


def shortened(text: str, most: int) -> str:
    """The first lines of a text, and how many there are more."""
    lines = text.split("\n")
    return text if len(lines) <= most else "\n".join([*lines[: most - 1], f"... {len(lines) - most + 1} lines more"])


def found(wanted: str, there: places.Home, now: int, is_known: bool) -> list[Seen]:
    """The job that is meant; where to know it at all will do (`is_known`), nobody elsewhere is asked of what is known here."""
    asker = remote.Asker()
    if is_known:
        try:
            return look.seen(wanted, there, now)
        except CitError as error:
            if error.status != NOT_FOUND:
                raise
    return [far.looked_at(job) for job in look.seen(wanted, there, now, asker)]


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    jobs: Optional[list[str]] = typer.Argument(
        None, metavar="[JOB|FILE]...", help="A piece of an ID, a name, `last`, or a cit file; without any, last"
    ),
    path: bool = typer.Option(False, "--path", help="Only where its document lies now"),
    identity: bool = typer.Option(False, "--id", help="Only its whole ID, with _TASK of a task; with --path both"),
    bad: bool = typer.Option(False, "--bad", help="Only the tasks of an array that ended badly, as indices"),
    raw: bool = typer.Option(False, "--raw", help="Only the document itself, byte for byte"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV: key, value; as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
) -> int:
    """One job whole: who, what, state, times, figures, and where everything lies."""
    form = screen.form(table, tsv, json)
    there, now = places.here(queue), clock.now()
    is_first = True
    for job in [each for wanted in jobs or ["last"] for each in found(wanted, there, now, path or identity)]:
        if bad:
            print(arrays.written(job.tally.bad) if job.tally else "")
        elif raw:
            sys.stdout.buffer.write(job.document.raw)
        elif path or identity:
            print("\t".join(each for each, is_asked in ((job.key, identity), (os.path.abspath(job.path), path)) if is_asked))
        elif form == screen.JSON:
            known = facts(job)
            sys.stdout.write(screen.as_json([screen.Column(key) for key in known], known))
        elif form == screen.TSV:
            rows = [(key, screen.text(value)) for key, value in facts(job).items() if value not in (None, [], "")]
            sys.stdout.write(b"".join(body.row(key, said) for key, said in [("key", "value"), *rows]).decode())
        else:
            sys.stdout.write("" if is_first else "\n")
            for word, said in page(job, now):
                lines = messages.clean(said).split("\n") if word != "state" else [said]
                sys.stdout.write("".join(f"{word if number == 0 else '':<10} {line}\n" for number, line in enumerate(lines)))
        is_first = False
    return OK
