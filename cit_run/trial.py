"""cit-run try: somebody's job, run here and now; cit-run try --commands: the commands that do it by hand (docs/howto/take-it-home.md).

Reads: one job on stdin, whoever is to build it. Writes: its output to stdout as it comes; who signed it and what cannot be had here to stderr.
Side effect: it runs as this account, in `try/` of the cit home, which has a work/ and a store/ of its own. Nothing is sent.
Exits: as the job did; 65 it does not parse; 66 its script cannot be had; 77 its signature does not hold, or is by nobody whom this home lists.
How: its author is believed by the lists of this account and its queues; only what the author signed is looked at.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

import typer

from . import attempt, calls, commands, environment, finishing, limits, local, record, workspace
from .cit_format import clock, frame, home, messages, names, reader, sshsig, trust
from .cit_format.body import Value
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, NOT_FOUND, OK, USAGE, CitError
from .finishing import End
from .plan import signed
from .shim import Shim

FOLDER = "try"  # in the cit home
LEFT_OUT = ("restart", "workspace", "check", "hold-on-failure", "array")  # keys that mean the queue, or the place where it was
HERE = ("secret", "reply")  # sections that need its builder


# --- decisions ------------------------------------------------------------------------------------------------------


def author(job: Document, account: home.Account, now: int) -> tuple[str, bool]:
    """Who signed a job, in words, and whether a list of this home knows them; 65 or 77 where the signature does not hold."""
    lists = [account.signers, *(home.Queue(path.parent).signers for path in sorted(account.path.glob("queues/*/queue.toml")))]
    for signers in lists:
        try:
            speech = trust.submission(job, signers, now)
            return f"signed by {speech.principal} with {speech.fingerprint}", True
        except CitError as error:
            if error.status != DENIED:
                raise
    trust.objection(job)
    signature = job.find("signature")
    assert signature is not None
    proof = sshsig.parse_signature(signature.body())
    sshsig.verify(proof, job.raw[: signature.start], "cit-job")
    said = job.table("job")
    if said.get("key") != proof.key.fingerprint:
        raise CitError(DENIED, f"the job names key {said.get('key')}, but {proof.key.fingerprint} signed it", "it has been changed", job.label)
    return f"signed with {proof.key.fingerprint}, which no list of this home has; it says that it is {said.get('submitter')}", False


def alone(job: Document) -> Document:
    """The job as its author signed it, without what only its builder has."""
    first = job.find("signature")
    sections = job.sections[: first.number if first else None]
    return Document(job.id, job.name, job.submitted, [each for each in sections if each.kind not in HERE])


def wanted(said: dict[str, Value]) -> dict[str, Value]:
    """What its job section asks for that means something here."""
    return {key: value for key, value in said.items() if key not in LEFT_OUT}


# --- one job --------------------------------------------------------------------------------------------------------


def given() -> Document:
    """The one job on stdin."""
    found = list(reader.documents(frame.unframed(lambda size: os.read(0, size))))
    if len(found) != 1:
        raise CitError(DATA, f"{len(found)} documents where one is expected", "cit try FILE, or cit try JOB")
    if isinstance(found[0], reader.Faulty):
        raise found[0].error
    return found[0]


def ran(job: Document, account: home.Account, task: int | None) -> int:
    """Run it; its own status."""
    here = home.Account(account.path / FOLDER)
    for directory in ("work", "store", "log"):
        (here / directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    if (account / "interfaces").is_dir() and not os.path.lexists(here / "interfaces"):
        os.symlink("../interfaces", here / "interfaces")
    now = clock.now()
    mine = attempt.attempt_of(str(names.FileName(job.id, job.name, "", task)), job, now)
    mine = mine._replace(said=wanted(mine.said), task=task)
    attempt.checked(mine)
    base = {**environment.of_account(account.settings), "PATH": os.environ.get("PATH", environment.PATH)}
    shim, interrupt = Shim(limits.rlimits(account.settings)), local.Interrupt()
    local.waited(mine, account, interrupt)
    if interrupt.number:
        return 128 + interrupt.number
    place, before = attempt.laid_out(mine, here, 1, local.unused(here / "work", mine.own))
    messages.tell("note", f"it runs in {place.workspace}")
    shim.give(local.limited(mine, attempt.order(mine, place, base, before, here.path, bound=True), account))
    ending = local.attended(shim, mine, place, interrupt, local.Show(place, raw=not sys.stdout.isatty()))
    shim.dismiss()
    end = End(mine, place, ending)
    workspace.written(f"{place.record}/job.cit", finishing.document_of(end, account, base).raw)
    messages.tell("note", f"{finishing.move_of(end)[2]}; nothing was sent; all of it: {place.record}/job.cit")
    return record.status(ending)


def main(
    show: bool = typer.Option(False, "--commands", help="Run nothing; write the shell commands that set it up by hand"),
    anyone: bool = typer.Option(False, "--anyone", help="Also the job of somebody whom no list of this home has"),
    task: Optional[int] = typer.Option(None, "--task", min=0, metavar="N", help="Of an array, as this task"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Run somebody's job here."""
    messages.set_up("cit-try", quiet)
    account = home.Account(home.own_account().path.absolute())
    job, now = given(), clock.now()
    who, is_known = author(job, account, now)
    if show:
        sys.stdout.write(commands.commands(job, who))
        return OK
    messages.tell("note", who, job.label)
    if not is_known and not anyone:
        raise CitError(DENIED, "its author is not known here", "cit try --commands shows what it would run; --anyone runs it", job.label)
    if "array" in job.table("job") and task is None:
        raise CitError(USAGE, f"an array: {job.table('job')['array']}", "cit try --task N runs one of its tasks", job.label)
    for each in commands.missing(job, needs=False):
        messages.tell("warning", f"not here: {each}", job.label)
    script = next((each for each in signed(job) if each.kind == "script"), None)
    if script is not None and script.attributes.get("enc") == "age":
        raise CitError(NOT_FOUND, "its script is sealed, and not for here", "its author can run it: cit-run with the key", job.label)
    if script is None and job.find(calls.CALL) is None:
        raise CitError(NOT_FOUND, "it has no script", "", job.label)
    return ran(alone(job), account, task)
