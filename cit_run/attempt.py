"""One attempt of a job on this builder: what its document asks for, the order that its shim gets, what is appended at its end.

Pages: docs/stages/run.md, docs/format/environment-artefact-result.md
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import (
    calls,
    check,
    checkout,
    environment,
    held,
    keep,
    limits,
    maintainers,
    own_record,
    public,
    reached,
    record,
    recorded,
    restart,
    reuse,
    run_as,
    sealing,
    secrets,
    service,
    workspace,
)
from .cit_format import body, clock, control, home, names, reply, secret, trust
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, CitError
from .shim import Ending, Order
from .workspace import Place

CANCEL, DEADLINE, VOID, FAULT, REFUSED, HOLD, REST, START = "cancel", "deadline", "void", "fault", "refused", "hold", "rest", "start"
TERM, SCREEN = "xterm-256color", "80x24"  # of a job's terminal, where it says nothing else
_SCREEN = re.compile(r"[1-9][0-9]{0,2}x[1-9][0-9]{0,2}")
_STEP = "import sys; sys.path += {!r}; from {}.{} import main; main()"


class Attempt(NamedTuple):
    """A job that is ours to run: its file name, document, `COPY-NAME` (how its log, record and link are called), what its job
    section says, number, task, and when it was received (microseconds)."""

    name: str
    job: Document
    own: str
    said: dict[str, body.Value]
    number: int
    task: int | None
    received: int

    @property
    def cpus(self) -> int:
        """Processors that it keeps busy."""
        return self.integer("cpus") or 1

    def integer(self, key: str) -> int:
        """A number or moment of its job section; 0 where it says none."""
        value = self.said.get(key)
        return value if isinstance(value, int) else 0

    def duration(self, key: str) -> int:
        """A duration of its job section in microseconds; 0 where it says none."""
        value = self.said.get(key)
        return clock.duration(value) if isinstance(value, str) else 0


# --- decisions ------------------------------------------------------------------------------------------------------


def own_name(file_name: str) -> str:
    """`COPY-NAME` of a file name."""
    parts = names.parse(file_name)
    return f"{parts.copy}-{parts.name}" if parts else file_name


def id_of(file_name: str) -> str:
    """The job's ID in a file name; empty where it is no document's name."""
    parts = names.parse(file_name)
    return parts.id if parts else ""


def attempt_of(name: str, job: Document, now: int) -> Attempt:
    """The attempt that a document in `inbox` or `running` is. KEY of its name says when it was received."""
    given, parts = trust.assignment(job), names.parse(name)
    received = parts.sequence if parts and parts.sequence else now
    number, task = (given.attempt, given.task) if given else (1, None)
    return Attempt(name, job, f"{parts.copy}-{parts.name}" if parts else name, job.table("job"), number, task, received)


def checked(attempt: Attempt) -> None:
    """65 where a job asks for what this program cannot make out, before anything of it is begun."""
    job = attempt.job
    if calls.named(job) is None:
        signed_script(job)
    reply.check(job)
    if job.find("published"):
        raise CitError(DATA, "it was built already, and is published", "cit requeue has it built here", job.label)
    if job.find("needs"):
        from . import needs

        needs.needed(job)
    environment.asked_for(job)
    limits.check(job, attempt.said)
    if not _SCREEN.fullmatch(str(attempt.said.get("tty-size", SCREEN))):
        raise CitError(DATA, f"tty-size {str(attempt.said['tty-size'])[:40]!r} is no size of a terminal", "as 120x40", job.label)
    directory = attempt.said.get("builddir", ".")
    if not isinstance(directory, str) or directory.startswith("/") or ".." in directory.split("/"):
        raise CitError(DATA, f"builddir {str(directory)[:80]!r} is not below the workspace", "name a directory without .. in it", job.label)


def signed_script(job: Document) -> bytes:
    """The script that the submitter signed; 65 where the job has none."""
    script = job.find("script")
    if script is None:
        raise CitError(DATA, "a job without a script or a call", "a job has one of them", job.label)
    return script.body()


def verdict(attempt: Attempt, standing: control.Standing, now: int) -> str:
    """What is to be done with a job that has not begun: START it, HOLD it here, or end it by CANCEL, DEADLINE or VOID."""
    if standing.cancel is not None:
        return CANCEL
    deadline, within = attempt.integer("deadline"), attempt.duration("start-within")
    if deadline and now >= deadline:
        return DEADLINE
    if within and now >= attempt.received + within:
        return VOID
    return HOLD if standing.held else START


def called(account: home.Account, mine: Attempt, found: str) -> tuple[str, str]:
    """The verdict `found` on a job that has not begun, and why, once the interface that it calls has been looked at too: VOID where it is
    not offered here, since somebody else may have it; FAULT where its parameters do not fit; REFUSED where it does not serve this key."""
    if found not in (START, HOLD) or mine.job.find(calls.CALL) is None or run_as.account_of(account.settings, mine.job):
        return found, ""
    error = calls.objection(account, mine.job)
    return (found, "") if error is None else ({DATA: FAULT, DENIED: REFUSED}.get(error.status, VOID), error.what)


def program(script: bytes, path: str) -> list[str]:
    """The argument vector that runs a script as the kernel would, by its #! line; without one /bin/sh runs it."""
    first = script.split(b"\n", 1)[0]
    if first[:2] != b"#!" or not first[2:].strip():
        return ["/bin/sh", path]
    words = os.fsdecode(first[2:].strip()).split(None, 1)
    return [os.path.join(".", words[0]), *words[1:], path]


def order(attempt: Attempt, place: Place, base: Mapping[str, str], before: list[list[str]], account: Path, bound: bool = False) -> Order:
    """What a shim is told of a job."""
    own = environment.of_job(base, attempt.job, attempt.number, attempt.task, place.workspace, place.private)
    own.update(own_record.variables(place))
    if attempt.said.get("tty") is True:
        own.setdefault("TERM", TERM)
    is_sealed = bool(reply.text(attempt.job))
    viewed = public.is_wanted(place.record) and not is_sealed
    leaves = is_incremental(attempt) and not is_sealed
    return Order(
        record=place.record,
        workspace=place.workspace,
        log=place.log,
        directory=directory_of(attempt, place),
        remove=list(place.remove),
        before=before,
        program=on_terminal(attempt, place, service.program(place.record, calls.noted(place.record)) or program(*script_of(attempt.job, place))),
        after=[
            *([step("public", place.record, place.log)] if viewed else []),
            step("keep", str(account), os.path.basename(place.link), place.workspace, packages=is_sealed),
            *([step("leaving", place.record, place.workspace)] if leaves else []),
        ],
        always=is_sealed or viewed or leaves or attempt.job.find("keep") is not None,
        environment=own,
        conceal=step("conceal", place.log, place.private) if place.private else [],
        private=[place.private, secrets.place_of(account, os.path.basename(place.link))] if place.private else [],
        limit=attempt.duration("time") / clock.SECOND,
        deadline=attempt.integer("deadline") / clock.SECOND,
        stall=attempt.duration("stall") / clock.SECOND,
        bound=bound,
        check=check.command(attempt.said),
        patience=check.patience(attempt.duration("time")),
    )


def on_terminal(attempt: Attempt, place: Place, argv: list[str]) -> list[str]:
    """The program in a terminal of its own, where the job asks for one."""
    if attempt.said.get("tty") is not True:
        return argv
    return [*step("terminal", place.record, place.log, str(attempt.said.get("tty-size", SCREEN)), place.private), *argv]


def order_as(given: Order, account: home.Account, job: Document) -> Order:
    """The same order where another account runs the job (run_as.py): what it keeps is kept there."""
    other = run_as.account_of(account.settings, job)
    if not other:
        return given
    program = str(account.settings.get("run-as-program") or os.path.join(environment.own_programs(), "cit-run"))
    return given._replace(
        program=step("run_as", given.record, other, program),
        directory=given.workspace,
        always=bool(reply.text(job)),
        mem=0,  # these are held there
        tmp=0,
        nice=0,
    )


def script_of(job: Document, place: Place) -> tuple[bytes, str]:
    """What is run, and the file in which it lies: in the record, or among the secrets where it is sealed."""
    path = f"{place.private}/{secret.SCRIPT}"
    if job.find(calls.CALL) is not None:  # it could not be laid out, and is not begun
        return b"", f"{place.record}/{calls.CALL}"
    if not place.private or not os.path.exists(path):
        return signed_script(job), f"{place.record}/{secret.SCRIPT}"
    with open(path, "rb") as stream:
        return stream.read(), path


def directory_of(attempt: Attempt, place: Place) -> str:
    """Where the program starts."""
    below = str(attempt.said.get("builddir", "."))
    return place.workspace if below == "." else f"{place.workspace}/{below}"


def step(module: str, *arguments: str, packages: bool = False) -> list[str]:
    """The argument vector that runs `main` of a module of this room in a process of its own, with the `packages` of this one or without."""
    here = [os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *(sys.path if packages else [])]
    return [sys.executable, "-I", "-S", "-c", _STEP.format(here, __package__, module), *arguments]


# --- one document ---------------------------------------------------------------------------------------------------


def laid_out(attempt: Attempt, account: home.Account, slots: int, own: str) -> tuple[Place, list[list[str]]]:
    """Workspace and record of an attempt, under the name `own`, and the steps that come before its program."""
    for_whom = reply.text(attempt.job)
    if for_whom:
        sealing.begin(f"{account.path}/work", own, for_whom)
    if run_as.account_of(account.settings, attempt.job):
        return workspace.laid_out(f"{account.path}/work", own, attempt.job.name, {"job": run_as.submitted(attempt.job)}, slots), []
    job, is_secret = attempt.job, secrets.has_any(attempt.job)
    files, why = program_files(account, job)
    files.update(held.file(attempt.duration("hold-on-failure"), account.settings))
    globs = job.find("keep")
    if globs is not None:
        files["keep"] = globs.body()
    before = modules_before(attempt) + (["service"] if service.FILE in files else [])
    if before or is_secret or held.HOLD in files or "builddir" in attempt.said or job.find("env") is not None:
        files[checkout.INPUT] = job.raw
    place, objection = restart.taken(f"{account.path}/work", own, job, files) if is_restart(attempt) else (None, "")
    why = why or objection
    if place is None:
        place = workspace.laid_out(f"{account.path}/work", own, job.name, files, slots, reuse.owner(job) if is_incremental(attempt) else "")
    maintainers.let_in(str(account.path), place.workspace, maintainers.access(account.settings))
    if is_incremental(attempt):
        workspace.written(f"{place.record}/{reuse.BEFORE}", reuse.written(place.before))
    steps = [step(module, place.record, place.workspace) for module in before]
    try:
        place = place._replace(private=secrets.handed_over(job, account.path, own) if is_secret else "")
    except CitError as error:
        why = error.what
    if why:  # what was fine when it was taken: it ends before it begins, and says why
        workspace.written(f"{place.record}/why", body.row(why))
        return place, [["/bin/false"]]
    return place, steps


def is_restart(attempt: Attempt) -> bool:
    """Whether it runs in the workspace of another job, as that stands (restart.py)."""
    return "restart" in attempt.said


def is_incremental(attempt: Attempt) -> bool:
    """Whether it builds upon what a build before left (reuse.py)."""
    return attempt.said.get("workspace") == "incremental" and not is_restart(attempt)


def modules_before(attempt: Attempt) -> list[str]:
    """The steps that come before the program, in order."""
    wanted = {
        "restart": is_restart(attempt),
        "reuse": is_incremental(attempt),
        "checkout": checkout.needed(attempt.job) and not is_restart(attempt),
        "needs": attempt.job.find("needs") is not None and not is_restart(attempt),
        "components": "environment" in attempt.said,
    }
    return [module for module, is_wanted in wanted.items() if is_wanted]


def program_files(account: home.Account, job: Document) -> tuple[dict[str, bytes], str]:
    """What the program that is run lays into the record, and why it cannot be run after all; empty where it can."""
    if job.find(calls.CALL) is None:
        return ({} if is_sealed(job) else {secret.SCRIPT: signed_script(job)}), ""
    try:
        return calls.files(account, job), ""
    except CitError as error:
        return {}, error.what


def is_sealed(job: Document) -> bool:
    """Whether its script is sealed."""
    script = job.find(secret.SCRIPT)
    return script is not None and script.attributes.get("enc") == "age"


def ended(
    attempt: Attempt, place: Place, ending: Ending, account: home.Account, base: Mapping[str, str], other: record.Elsewhere | None = None
) -> Document:
    """The job's document with all that its run has to say, signed by the builder; `other` where it ran on another machine than this."""
    directory = directory_of(attempt, place)
    rows = environment.described(base, attempt.job, directory, other.machine if other else ()) + noted(f"{place.record}/environment")
    artefacts, more = recorded.listed(keep.left_by(attempt.job, place))
    if not (ending.exit or ending.signal or ending.why):
        service.remember(place.record, os.path.basename(place.link), artefacts)
    why = (noted(f"{place.record}/why") or [("", "")])[0][0] if ending.why == "before" else other.why if other else ""
    why = why or limits.why(attempt.said, ending, more) or (superseded(attempt, account) if ending.why == CANCEL else "")
    restarts = other.restarts if other else ()
    said, at = own_record.said(attempt.job, place), reached.url(account.path, account.settings, [row[2] for row in artefacts])
    written = record.ran(attempt.received, ending, attempt.number, attempt.task, rows, artefacts, why, restarts, said, at)
    return home.signed(attempt.job.extended(*written), account.signer, account.identity, "cit-result")


def superseded(attempt: Attempt, account: home.Account) -> str:
    """By which newer job one that was cancelled is superseded; empty where a person cancelled it."""
    wished = control.look(account / "control", attempt.job, attempt.task, attempt.number, account.signers, clock.now()).cancel
    return wished.why if wished and wished.newer else ""


def noted(file: str) -> list[tuple[str, str]]:
    """The rows (at most two columns) that a step left in a file of the record; none where there is no file."""
    return [(row[0], row[1] if len(row) > 1 else "") for row in recorded.rows(file)]


def not_begun(attempt: Attempt, why: str, account: home.Account, by: str, now: int) -> Document:
    """The document of a job that was never begun: VOID gives it back to the queue, all else is its end; `by`: who or what."""
    if why == VOID:
        written = record.void(attempt.received, now, by)
    else:
        written = record.ended_before(attempt.received, why, attempt.number, attempt.task, by, now)
    return home.signed(attempt.job.extended(*written), account.signer, account.identity, "cit-result")
