"""cit-run: runs jobs as the account that it is started by, and records how they ended.

Reads: `inbox` of a build account; as a filter a stream of jobs, assigned to this builder or signed by its own account.
Appends: events, environment, artefact, result and a cit-result signature. Side effect: the job runs in work/.
Exits: of one job as a filter the job's own status (124 time limit, 126, 127, 128+signal, 125 where cit failed); else 0; 65 74 77.
How: one pass holds running/.lock; documents go inbox -> running -> finished; a shim serves each slot and outlives us;
what a killed pass left is taken up by the next one. It ends when nothing runs and nothing has arrived.
Pages: docs/stages/run.md, docs/directories.md, docs/format/environment-artefact-result.md
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import select
import signal
import sys
from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import record, workspace
from .cit_format import clock, command, frame, home, messages, names, reader, refuse, spool, trust, wake
from .cit_format.document import Document
from .cit_format.errors import DENIED, OK, CitError, worst
from .cit_format.reader import Faulty
from .cit_format.version import VERSION
from .shim import Ending, Order, Shim, read_ending

READS = {"assignment": "1", "env": "1", "job": "1", "script": "1", "signature": "1"}
WRITES = {"artefact": "1", "environment": "1", "event": "1", "result": "1", "signature": "1"}
AHEAD = 4  # jobs made ready for each slot, so that a slot never waits for the disk
LOST = Ending("", 0, 0, "lost", 0.0, 0.0, {})


class Running(NamedTuple):
    """A job that is ours: its file name, document, attempt, task, paths, and when it was received (microseconds)."""

    name: str
    job: Document
    attempt: int
    task: int | None
    place: workspace.Place
    received: int


# --- decisions ------------------------------------------------------------------------------------------------------


def order(job: Document, place: workspace.Place, variables: dict[str, str]) -> Order:
    """What a shim is told of a job."""
    limit = job.table("job").get("time")
    return Order(
        str(place.record),
        str(place.workspace),
        str(place.log),
        [str(place.record / "script")],
        {**variables, **own_variables(job, place)},
        clock.duration(str(limit)) / clock.SECOND if limit else 0.0,
    )


def own_variables(job: Document, place: workspace.Place) -> dict[str, str]:
    """The variables that a job finds set: its own `env`, then cit's."""
    said = job.find("env")
    own = {row[0]: row[1] for row in said.rows()} if said else {}
    return {**own, "CIT_JOB_ID": job.id, "CIT_JOB_NAME": job.name, "CIT_WORKSPACE": str(place.workspace)}


def signed_script(job: Document) -> bytes:
    """The script that the submitter signed; 65 where the job has none that this builder can run."""
    script = job.find("script")
    if script is None:
        raise CitError(65, "a job without a script", "calls of interfaces need a builder that offers them", job.label)
    return script.body()


# --- one document ---------------------------------------------------------------------------------------------------


def base_environment() -> dict[str, str]:
    """The environment that jobs start from: the account's own, not that of whoever started this pass."""
    account = pwd.getpwuid(os.getuid())
    path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {"HOME": os.path.expanduser("~"), "USER": account.pw_name, "LOGNAME": account.pw_name, "SHELL": "/bin/sh", "PATH": path, "LANG": "C.UTF-8"}


def described(variables: dict[str, str]) -> list[tuple[str, str]]:
    """The rows of the `environment` section: where the job ran."""
    machine = os.uname()
    return [
        ("host", spool.host()),
        ("system", f"{machine.sysname} {machine.release} {machine.machine}"),
        ("cpus", str(len(os.sched_getaffinity(0)))),
        ("cit", VERSION),
        *sorted(variables.items()),
    ]


def artefacts(running: Running, account: home.Account) -> list[tuple[str, str, str]]:
    """The log as an artefact: digest, bytes, path."""
    try:
        with open(running.place.log, "rb") as stream:
            digest = hashlib.sha256()
            while piece := stream.read(1 << 20):
                digest.update(piece)
            return [(f"sha256:{digest.hexdigest()}", str(stream.tell()), str(running.place.log.relative_to(account.path)))]
    except FileNotFoundError:
        return []


def ended(running: Running, ending: Ending, account: home.Account, variables: dict[str, str]) -> Document:
    """The job's document with all that the run has to say, signed by the builder."""
    written = record.sections(running.received, ending, running.attempt, running.task, described(variables), artefacts(running, account))
    return home.signed(running.job.extended(*written), account.signer, account.identity, "cit-result")


def ready(name: str, job: Document, account: home.Account) -> Running:
    """Lay out the workspace of a job."""
    given = trust.assignment(job)
    attempt, task = (given.attempt, given.task) if given else (1, None)
    copy = names.FileName(job.id, job.name, "", task, attempt if given else None).copy
    place = workspace.prepared(account / "work", copy, job.name, signed_script(job))
    return Running(name, job, attempt, task, place, clock.now())


# --- the loop: between spools ---------------------------------------------------------------------------------------


class Pass:
    """One pass over a build account, under its lock."""

    def __init__(self, account: home.Account, slots: int) -> None:
        self.account = account
        self.slots = slots
        self.variables = base_environment()
        self.shims: list[Shim] = []
        self.waiting: list[Running] = []  # in running/, not yet with a shim
        self.by_record: dict[str, Running] = {}  # with a shim of ours
        self.adopted: list[Running] = []  # with a shim of a pass before us
        self.status = OK

    def run(self) -> int:
        """Until nothing runs and nothing has arrived."""
        self.recover()
        arrivals = Watch(self.account / "inbox")
        while True:
            self.fill()
            if not self.by_record and not self.adopted and not self.waiting:
                break
            listening = [shim.socket.fileno() for shim in self.shims if shim.busy]
            found, _, _ = select.select([*listening, arrivals.fd], [], [], 0.2 if self.adopted else 30.0)
            arrivals.clear()
            ends = []
            for shim in [shim for shim in self.shims if shim.socket.fileno() in found]:
                ends += self.heard(shim)
            self.hand_out()
            for running in list(self.adopted):
                if not spool.is_held(running.place.record / "lock"):
                    self.adopted.remove(running)
                    ends.append((running, read_ending(running.place.record) or LOST))
            self.finish(ends)
        for shim in self.shims:
            shim.dismiss()
        return self.status

    def heard(self, shim: Shim) -> list[tuple[Running, Ending]]:
        """The end that a shim tells of; a shim that died leaves its job to the record."""
        ending = shim.ended()
        if ending is not None:
            return [(self.by_record.pop(ending.record), ending)]
        self.shims.remove(shim)
        lost = [running for running in self.by_record.values() if not spool.is_held(running.place.record / "lock")]
        for running in lost:
            del self.by_record[str(running.place.record)]
        return [(running, read_ending(running.place.record) or LOST) for running in lost]

    def fill(self) -> None:
        """Take from the inbox what the slots will want next, and hand out."""
        wanted = self.slots * AHEAD - len(self.waiting)
        if wanted > 0 and len(self.waiting) < self.slots:
            self.take(spool.listing(self.account / "inbox")[:wanted])
        self.hand_out()

    def take(self, found: list[str]) -> None:
        """inbox -> running: verified, workspace laid out, moved, synced."""
        if not found:
            return
        with spool.Claim(self.account / "inbox") as claim:
            taken = []
            for name in found:
                raw = claim.take(name)
                if raw is None:
                    continue
                try:
                    job = reader.parse(raw)
                    trust.assigned(job, self.account.signers, self.account.signer.public.fingerprint, clock.now())
                    taken.append(ready(name, job, self.account))
                    claim.move(name, self.account / "running")
                except CitError as error:
                    self.status = worst(self.status, messages.complain(error, name))
                    claim.drop(name)
                    refuse.keep(self.account / "refused", reader.parse(raw), error, "run")
            claim.settle()
            self.waiting += taken

    def hand_out(self) -> None:
        """Give what is ready to idle shims; start shims up to the slots."""
        moves = []
        while self.waiting and len(self.by_record) + len(self.adopted) < self.slots:
            shim = next((shim for shim in self.shims if not shim.busy), None)
            if shim is None:
                shim = Shim()
                self.shims.append(shim)
            running = self.waiting.pop(0)
            self.by_record[str(running.place.record)] = running
            shim.give(order(running.job, running.place, self.variables))
            moves.append((job_of(running.name), "started", str(running.place.link)))
        self.account.note(moves, "run")

    def finish(self, ends: list[tuple[Running, Ending]]) -> None:
        """running -> finished: results signed, written beside, synced together, moved."""
        if not ends:
            return
        running_dir, finished = self.account / "running", self.account / "finished"
        results = {running.name: ended(running, ending, self.account, self.variables) for running, ending in ends}
        spool.replace_contents({running_dir / name: result.raw for name, result in results.items()})
        for name in results:
            spool.rename_new(running_dir / name, finished / name)
        spool.sync_directory(finished)
        spool.sync_directory(running_dir)
        self.account.note([(job_of(running.name), record.state(ending), str(record.status(ending))) for running, ending in ends], "run")
        wake.arrived(finished, str(self.account.settings.get("on-end", home.ACCOUNT_ON_END)))

    def recover(self) -> None:
        """Take up what the pass before us left in running/: ended, running under its shim, not yet begun, or lost."""
        for claim, _lock in spool.dead_claims(self.account / "inbox"):
            for name in spool.listing(claim):
                spool.give_back(claim / name, self.account / "inbox")
            spool.drop_claim(claim)
        same_boot = self.same_boot()
        ends = []
        for name in spool.listing(self.account / "running"):
            job = reader.parse((self.account / "running" / name).read_bytes())
            if job.find("result") is not None:  # only its last move was missing
                spool.rename_new(self.account / "running" / name, self.account / "finished" / name)
                wake.arrived(self.account / "finished", str(self.account.settings.get("on-end", home.ACCOUNT_ON_END)))
                continue
            given = trust.assignment(job)
            assert given is not None
            link = self.account / "work" / job_of(name)
            place = workspace.place(self.account / "work", link.name[: -len(job.name) - 1], job.name, link.resolve())
            running = Running(name, job, given.attempt, given.task, place, clock.now())
            ending = read_ending(place.record)
            if ending is not None:
                ends.append((running, ending))
            elif spool.is_held(place.record / "lock"):
                self.adopted.append(running)
            elif same_boot and not (place.record / "started").exists():
                self.waiting.append(ready(name, job, self.account))
            else:
                ends.append((running, LOST))
        self.finish(ends)

    def same_boot(self) -> bool:
        """Whether the machine has not been started anew since the last pass: only then is a missing mark a proof."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        note = self.account / "running" / ".boot"
        if note.exists() and note.read_text().strip() == boot:
            return True
        home.write_new(note, boot.encode() + b"\n")
        return False


class Watch:
    """Tells by a readable `fd` that a directory has got a new name."""

    def __init__(self, directory: Path) -> None:
        self.fd, writing = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGIO, lambda *_: None)
        self.directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.fcntl(self.directory, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT)

    def clear(self) -> None:
        """Forget what was told so far."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            return


def job_of(name: str) -> str:
    """`COPY-NAME` of a file name: how logs and workspaces call a job."""
    parts = names.parse(name)
    return f"{parts.copy}-{parts.name}" if parts else name


# --- the loop: a filter ---------------------------------------------------------------------------------------------


def filtered(account: home.Account) -> int:
    """Run each job of a stream in order and write it, with its result, to stdout."""
    variables = base_environment()
    shim: Shim | None = None
    status = OK
    for count, item in enumerate(reader.documents(frame.unframed(lambda size: os.read(0, size))), 1):
        try:
            if isinstance(item, Faulty):
                raise item.error
            if trust.assignment(item) is None:
                trust.submission(item, account.signers, clock.now())
            else:
                trust.assigned(item, account.signers, account.signer.public.fingerprint, clock.now())
            running = ready(f"{item.id}-{item.name}.cit", item, account)
            if (running.place.record / "started").exists():
                raise CitError(DENIED, "this job was started here before", "cit requeue makes a new one of it", item.label)
            shim = shim or Shim()
            shim.give(order(item, running.place, variables))
            ending = shim.ended() or read_ending(running.place.record) or LOST
            sys.stdout.buffer.write(ended(running, ending, account, variables).raw)
            sys.stdout.buffer.flush()
            own = record.status(ending)
            status = own if count == 1 else worst(status if status in (OK, 1) or count > 2 else 1, 1 if own else OK)
        except CitError as error:
            status = worst(status, messages.complain(error))
    if shim:
        shim.dismiss()
    return status


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    source: Optional[str] = typer.Option(None, "--from", metavar="SPOOL", help="inbox: make a pass over the account; without it, a filter"),
    to: Optional[str] = typer.Option(None, "--to", metavar="SPOOL", help="finished: where results go"),
    slots: Optional[int] = typer.Option(None, "--slots", min=1, help="Jobs at once; else as many as this account has cores"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Run jobs and record how they ended."""
    messages.set_up("cit-run", quiet, verbose)
    account = home.own_account()
    if source is None:
        return filtered(account)
    lock = spool.Lock(account / "running" / ".lock")
    if not lock.try_now():
        return OK  # another pass is at work; it sees what arrives
    return Pass(account, slots or len(os.sched_getaffinity(0))).run()


def run() -> None:
    """The program cit-run."""
    command.start("cit-run", main, lambda: command.speaks(READS, WRITES))
