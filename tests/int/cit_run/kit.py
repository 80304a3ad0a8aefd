"""A build account in a directory of its own, jobs assigned to it, and cit-run as the process that it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cit_run.attempt import own_name
from cit_run.cit_format import body, clock, control, document, door, home, keys, reader, spool, trust
from cit_run.cit_format.document import Document
from tests.conftest import CHECKOUT

PATIENCE = 20.0  # seconds after which what a test waits for will not come


def until(true: Callable[[], object], what: str = "what the test waits for", patience: float = PATIENCE) -> None:
    """Wait until something is so."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Bench:
    """A home with a queue `main` and this account as its builder."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.home.mkdir()
        os.environ["HOME"] = str(self.home)
        home.ensure()
        self.queue = home.find_queue("@main")
        self.account = home.own_account()
        self.person = keys.load(self.home / ".cit" / "id_ed25519")
        self.set(on_end="")

    def set(self, **settings: object) -> None:
        """Write config.toml."""
        (self.account.path / "config.toml").write_bytes(body.toml({key.replace("_", "-"): value for key, value in settings.items()}))

    def job(self, script: str, *sections: bytes, name: str = "job", **said: object) -> Document:
        """A job as its author signs it; keys of the job section with _ for -."""
        now = clock.now()
        wanted = {
            "submitter": home.person(),
            "key": self.person.public.fingerprint,
            "queue": self.queue.full_name,
            "created": body.Time(now),
            "expires": body.Time(now + clock.DAY),
            **{key.replace("_", "-"): value for key, value in said.items()},
        }
        written = (document.section("job", "toml", body.toml(wanted)), *sections, document.section("script", "sh", script.encode()))
        return home.signed(document.new(name, *written), self.person, home.person(), "cit-job")

    def assigned(self, job: Document, attempt: int = 1) -> Document:
        """The job, assigned by the queue to this builder."""
        said = {
            "queue": self.queue.full_name,
            "epoch": 1,
            "attempt": attempt,
            "builder": home.builder_name(),
            "key": self.account.signer.public.fingerprint,
            "account": home.person(),
            "assigned": body.Time(clock.now()),
        }
        given = job.extended(document.section("assignment", "toml", body.toml(said)))
        return home.signed(given, self.queue.signer, self.queue.identity, "cit-queue")

    def give(self, *jobs: Document) -> None:
        """Put assigned jobs into the inbox, as the door does."""
        tickets = door.put_inbox(self.account, list(jobs))
        assert [ticket.table("ticket")["state"] for ticket in tickets] == ["accepted"] * len(jobs)

    def send(self, script: str, *sections: bytes, name: str = "job", **said: object) -> Document:
        """A job of this script in the inbox."""
        job = self.assigned(self.job(script, *sections, name=name, **said))
        self.give(job)
        return job

    def wish(self, job: Document, action: str) -> None:
        """Put a control document of the job's author where the builder looks."""
        now = clock.now()
        said = {
            "action": action,
            "target": job.id,
            "submitter": home.person(),
            "key": self.person.public.fingerprint,
            "queue": self.queue.full_name,
            "created": body.Time(now),
            "expires": body.Time(now + clock.DAY),
        }
        made = home.signed(document.new(action, document.section("control", "toml", body.toml(said))), self.person, home.person(), "cit-control")
        control.keep(self.account / "control", made, control.verified(made, self.account.signers, clock.now()))

    # --- cit-run ------------------------------------------------------------------------------------------------------

    def start(self, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a pass."""
        command = [*before, str(CHECKOUT / "bin" / "cit-run"), "--from", "inbox", *options]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *options: str, status: int = 0) -> str:
        """Make a pass to its end; what it said on stderr."""
        started = self.start(*options)
        _, said = started.communicate(timeout=60)
        assert started.returncode == status, said.decode()
        return said.decode()

    def filtered(self, *jobs: Document) -> subprocess.CompletedProcess[bytes]:
        """cit-run as a filter."""
        return subprocess.run([CHECKOUT / "bin" / "cit-run"], input=b"".join(job.raw for job in jobs), capture_output=True, timeout=60)

    # --- what came of it ----------------------------------------------------------------------------------------------

    def names(self, state: str) -> list[str]:
        """The documents in a spool of the account, without KEY."""
        return [own_name(name) for name in spool.listing(self.account / state)]

    def finished(self, job: Document) -> Document:
        """The document that lies in finished, its result verified."""
        found = [name for name in spool.listing(self.account / "finished") if job.id in name]
        assert len(found) == 1, f"{found} in finished; {self.names('running')} in running, {self.names('inbox')} in inbox"
        done = reader.parse((self.account / "finished" / found[0]).read_bytes())
        assert done.raw.startswith(job.raw)
        trust.completed(done, self.account.signers, clock.now())
        return done

    def result(self, job: Document) -> dict[str, body.Value]:
        """How a job ended."""
        return self.finished(job).table("result")

    def log(self, job: Document, attempt: int = 1) -> str:
        """What a job printed."""
        return (self.account / "work" / f"{job.id}.a{attempt}-{job.name}.log").read_text()

    def record(self, job: Document, attempt: int = 1) -> Path:
        """The record of a job."""
        return self.account / "work" / f"{job.id}.a{attempt}-{job.name}.run"

    def runs(self, job: Document) -> bool:
        """Whether its program has been started."""
        return (self.record(job) / "pid").exists() and (self.record(job) / "pid").read_text().endswith("\n")

    def events(self, job: Document) -> list[str]:
        """The words of the builder's events."""
        return [row[2] for section in self.finished(job).all("event") for row in section.rows() if row[1] == "run"]


def killed(pid: int) -> None:
    """kill -9, and gone."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), f"the end of {pid}")
