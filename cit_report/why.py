"""cit why: why a job waits, or how it ended, in a sentence; and what to do next.

Reads: the job's document, its place, the queue's settings and wishes, the end of its log. Writes: plain text; --json one object.
Exits: 0; 65 does not parse; 66 no such job (docs/messages.md).
How: where a job lies says most of it. Why no builder takes it now, the scheduler itself is asked: `cit-schedule --explain`; how
each builder was weighed when it was given away, its document tells, however long ago that was.
Pages: docs/stages/report.md
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import again, answers, far, first, look, marks, own_words, places, queues, remote, screen, story, tally, weighed
from .cit_format import clock, control, glance, home, journal, masks, messages, names, spool
from .cit_format.errors import OK, CitError
from .ending import how_it_ended, steps
from .look import Seen
from .show import script
from .writer import Cleaner, Words

TAIL = 8  # lines of the log that are shown
TAIL_BYTES = 8192
TAP_BYTES = 4 << 20  # of a log in which TAP is looked for
_TURN = re.compile(r"one job of group |[0-9]+ of its tasks are under way")
_BEFORE = re.compile(r"[0-9]+ jobs? (is|are) before it")


class Answer(NamedTuple):
    """Why: a sentence, lines that go into it (of builders, or of the log, with their heading), and commands to go on with, each with its purpose."""

    sentence: str
    heading: str = ""
    lines: tuple[str, ...] = ()
    next: tuple[tuple[str, str], ...] = ()


# --- looking around -------------------------------------------------------------------------------------------------


def pending(job: Seen, now: int) -> Answer:
    """Why a job has not started."""
    copy = places.best(job.copies)
    queue = home.Queue(Path(copy.queue)) if copy.queue else None
    builder = screen.line(job.told.get("builder"))
    if copy.place == "outbox" and copy.directory.endswith("/sent"):
        resend = ("cit outbox resend", "send it again: harmless, a queue knows what it has")
        return Answer("its queue took it; nothing was heard of it since", next=(resend,))
    if queue and queue.remote and copy.place == "waiting":
        there = (f"cit queues --queue @{queue.path.name}", "how it is there")
        reasons = explained(queue, job.document.id)
        heading = "what the scheduler there says:" if reasons else ""
        return Answer(f"it waits for a builder in queue @{queue.path.name}, which is elsewhere", heading, tuple(reasons), (there,))
    if copy.place == "outbox":
        return Answer("its queue could not be reached, so it is kept here and tried again", next=(("cit outbox send", "try now"),))
    if queue and copy.place in ("waiting", "held") and queues.state(queue) != "active":
        return Answer(f"queue {queue.name} is {queues.state(queue)}", "who did it:", _pauses(queue), ((f"cit resume @{queue.name}", "let it go on"),))
    if copy.place == "held":
        return held(job, copy, queue)
    if copy.place == "waiting" and queue:
        reasons = explained(queue, job.document.id)
        before = sum(1 for name in spool.listing(queue / "waiting") if name < str(copy.file))
        if reasons[:1] and reasons[0].startswith("the same runs already"):
            return Answer(reasons[0])
        jobs = "" if reasons else f"; {before} before it" if before else "; it is the next"
        told = [line for line in reasons if not _BEFORE.match(line)]
        if told and all(": never: " in line for line in told):
            jobs = ", and none that there is can ever take it"
        what = "its turn" if any(map(_TURN.match, told)) else "a builder"
        return Answer(f"it waits for {what}{jobs}", "what the scheduler says:" if reasons else "", tuple(reasons))
    if copy.place == "assigned":
        return Answer(
            f"it is given to builder {builder}, and not handed over yet{_resting(queue, builder) if queue else ''}",
            next=(("cit-deliver", "hand over now"),),
        )
    account = job.there.account
    if copy.place in ("inbox", "running") and account:
        inbox = [name for name in spool.listing(account / "inbox") if name < str(copy.file)]
        running = len(spool.listing(account / "running"))
        reason = _waits(account, job.document.id) if copy.place == "inbox" else ""
        if reason:
            return Answer(f"it waits in the inbox of {builder} until it may begin: {reason}")
        return Answer(f"it is in the inbox of {builder}, where {running} run or start and {len(inbox)} wait before it")
    return Answer(f"it was handed over to builder {builder}, which has not said yet that it runs")


def _waits(account: Path, identity: str) -> str:
    """What its builder waits for before it begins a job, as it noted it (docs/howto/limits.md); empty where it has not."""
    told = [line for line in journal.lines(account / "log", 31) if line.job.startswith(identity)]
    return screen.line(told[-1].detail) if told and (told[-1].stage, told[-1].word) == ("run", "waits") else ""


def _resting(queue: home.Queue, builder: str) -> str:
    """Why what is meant for a builder cannot be handed over, as the carrier noted it."""
    from .cit_format import body

    doors = {
        each.text("door")
        for each in (glance.at(queue / "builders" / name) for name in spool.listing(queue / "builders"))
        if each.text("name") == builder
    }
    with contextlib.suppress(FileNotFoundError, CitError, ValueError):
        for place, _, until, why in body.rows((queue / "assigned" / ".doors").read_bytes()):
            if place in doors:
                return f": {screen.line(why)}; tried again at {screen.line(until)}"
    return ""


def held(job: Seen, copy: places.Copy, queue: home.Queue | None) -> Answer:
    """Why a job is held: until a time, until released; by whom."""
    if copy.file.sequence and copy.file.sequence != names.NEVER and (copy.file.attempt or 1) > 1:
        return Answer(again.held(job.document, copy.file.sequence))
    if copy.file.sequence and copy.file.sequence != names.NEVER:
        return Answer(f"it does not begin before {clock.iso(copy.file.sequence)}")
    asked = wishes(queue, job.document.id) if queue else ()
    return Answer("it is held until somebody releases it" + ("" if asked else ", as its author wished"), "wishes:" if asked else "", asked)


def wishes(queue: home.Queue, identity: str) -> tuple[str, ...]:
    """What people wish of a job, as the control documents on the queue say."""
    directory = queue / "control"
    said = [document.table("control") for document in control.read(directory, control.targets(directory).get(identity, []))]
    return tuple(f"{screen.line(one.get('created'))[:19]}Z {screen.line(one.get('submitter'))}: {screen.line(one.get('action'))}" for one in said)


def _pauses(queue: home.Queue) -> tuple[str, ...]:
    """The last line of the queue's log about pausing it."""
    from .cit_format import journal

    told = [line for line in journal.lines(queue / "log", 31) if line.word in ("paused", "frozen")]
    return tuple(f"{line.time} {line.account}@{line.host} {line.word} it" + (f": {line.detail}" if line.detail else "") for line in told[-1:])


def explained(queue: home.Queue, identity: str) -> list[str]:
    """A line a builder: why it does not take the job now, as the scheduler of this queue says it; none where it cannot say."""
    if queue.remote:
        with contextlib.suppress(CitError):
            answer = remote.Asker().ask(queue, "why", identity)
            return [screen.line(line) for line in (answer or b"").decode("utf-8", "replace").splitlines()]
        return []
    import subprocess

    asked = ["cit-schedule", "-q", "--queue", str(queue.path), "--explain", identity]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError:
        return []
    return [screen.line(line) for line in done.stdout.splitlines()]


def tail(log: Path | None) -> tuple[str, ...]:
    """The last lines of a log, for a terminal, without the job's secrets."""
    if log is None:
        return ()
    sought = masks.known(str(log))
    with open(log, "rb") as stream:
        start = max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES)
        before = min(start, masks.reach(sought))
        stream.seek(start - before)
        cleaner = Words() if log.with_suffix(".cast").exists() else Cleaner()
        lines = cleaner(masks.hidden(stream.read(), sought)[before:], last=True).rstrip("\n").split("\n")
    return tuple(lines[-TAIL:]) if lines != [""] else ()


def failures(job: Seen) -> list[tuple[str, tuple[str, ...]]]:
    """Under their headings, which parts and tests of a job failed."""
    if job.state == "COMPLETED":
        return []
    found = [("parts that failed:", own_words.failures(own_words.of_job(job))), ("tests that failed (TAP):", tests(job.work(".log")))]
    more = {heading: [f"and {len(failed) - TAIL} more"] if len(failed) > TAIL else [] for heading, failed in found}
    return [(heading, (*failed[:TAIL], *more[heading])) for heading, failed in found if failed]


def tests(log: Path | None) -> list[str]:
    """What failed as the end of a log tells it in TAP, without the job's secrets."""
    if log is None:
        return []
    with open(log, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAP_BYTES))
        text = masks.hidden(stream.read(), masks.known(str(log)))
    if b"ok " not in text and b"Bail out!" not in text:
        return []
    return marks.failures(text.decode("utf-8", "replace").split("\n"))


def of_array(job: Seen, known: tally.Tally) -> Answer:
    """Why an array is as it is: how many of its tasks are how, what the rest waits for, which ones ended badly."""
    bad = known.bad
    sentence = f"{known.told}, of {len(known.array.tasks)} tasks"
    todo = [(f"cit ls {job.short}", "a line for each of them")]
    if bad:
        sentence += f"; {tally.shortened(bad)} ended badly"
        todo += [(f"cit why {job.short}_{bad[0]}", "how this one ended"), (f"cit requeue --failed {job.short}", "these again, as a new array")]
    if known.state in ("RUNNING", "PENDING", "HELD"):
        todo += [(f"cit wait {job.short}", "wait for the last one"), (f"cit cancel {job.short}", "drop what has not ended")]
    left = [copy for copy in job.copies if copy.place == "waiting" and copy.queue and copy.file.task is None]
    queue = home.Queue(Path(str(left[0].queue))) if left else None
    reasons = explained(queue, job.document.id if queue.remote else str(left[0].file)) if queue else []
    return Answer(sentence, "what the scheduler says of the rest:" if reasons else "", tuple(reasons), tuple(todo))


def answer(job: Seen, now: int) -> Answer:
    """Why a job is as it is."""
    if job.tally:
        return of_array(job, job.tally)
    run, answered = answers.told(job)
    log = (run or job).work(".log")
    todo = steps(job.state, job.short, (run or job).log is not None)
    if job.state in ("PENDING", "HELD") and job.copies:
        found, copy = pending(job, now), places.best(job.copies)
        if copy.place == "held" and copy.file.sequence != names.NEVER:
            todo = tuple(step for step in todo if not step[0].startswith("cit release"))  # that lifts a hold, not a moment
        return found._replace(next=(*found.next, *todo))
    limit = job.document.table("job").get("time") if job.document.kind == "job" else None
    if job.state == "RUNNING":
        ran = story.elapsed(job.told, now)
        since = f" for {clock.duration_text(ran)}" if ran is not None else ""
        may = f"; it may take {limit}" if limit else ""
        lines = tail(log)
        return Answer(f"it runs on {screen.line(job.told.get('builder'))}{since}{may}", "it says:" if lines else "", lines[-1:], todo)
    lines = tail(log) if job.state != "COMPLETED" else ()
    limits = f" (time = {limit})" if limit else ""
    sentence = f"it did not run, but is answered {answered}: {how_it_ended(run.told, limits)}" if run else how_it_ended(job.told, limits)
    if answered and not run:
        sentence = f"{sentence}; but {answered}"
    runs = script(job) if job.state == "FAILED" and job.told.get("exit") in (126, 127) else None
    if runs and not lines:
        return Answer(sentence, "what it ran:", tuple(runs.split("\n")[:TAIL]), todo)
    return Answer(sentence, "the end of its log:" if lines else "", lines, todo)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    jobs: Optional[list[str]] = typer.Argument(
        None, metavar="[JOB|FILE]...", help="A piece of an ID, a name, `last`, or a cit file; without any, last"
    ),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="The sentence alone"),
) -> int:
    """Why a job waits, or how it ended, and what to do next."""
    messages.set_up("cit-why", quiet)
    there, now = places.here(queue), clock.now()
    asker = remote.Asker()
    for job in map(far.looked_at, [each for wanted in jobs or ["last"] for each in look.seen(wanted, there, now, asker)]):
        found, given = answer(job, now), [] if job.tally else weighed.weighed(job.document)
        if json:
            values = {"id": job.document.id, "name": job.document.name, "state": job.state, "why": found.sentence, "lines": found.lines}
            values["changed"], values["built"] = tuple(first.changes(job.document)), tuple(first.built(job.document))
            values["weighed"] = tuple(f"attempt {each.attempt}: {line}" for each in given for line in each.lines)
            values["failed"] = tuple(line for _, lines in failures(job) for line in lines)
            todo = [command for command, _ in found.next]
            sys.stdout.write(screen.as_json([screen.Column(key) for key in (*values, "next")], {**values, "next": todo}))
            continue
        for change in first.changes(job.document):
            print(f"changed: {messages.clean(change)}")
        state = screen.line(job.state)
        sentence = screen.wrapped(f"{job.short}-{job.document.name} {state}: {messages.clean(found.sentence)}.")
        print(sentence.replace(f" {state}:", f" {screen.coloured(state)}:", 1))
        if not quiet:
            print("".join(f"{line}\n" for line in [*built(job), *page(found, [*failures(job), *weighed.told(given)])]), end="")
    return OK


def built(job: Seen) -> list[str]:
    """How it was built, where that is told."""
    return [f"built {messages.clean(line)}" for line in first.built(job.document)]


def page(found: Answer, told: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """What stands below the sentence."""
    width = max((len(command) for command, _ in found.next), default=0)
    head = ["next:", *[""] * len(found.next)]
    return [
        *([found.heading] if found.heading else []),
        *(f"  | {messages.clean(line)}" for line in found.lines),
        *(line for heading, lines in told for line in [messages.clean(heading), *(f"  | {messages.clean(each)}" for each in lines)]),
        *(f"{word:<6}{command:<{width}}   {purpose}" for word, (command, purpose) in zip(head, found.next)),
    ]
