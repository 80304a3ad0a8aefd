"""A home of its own in which nothing starts by itself: real queue, real account, real keys; stages are run as cron would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cit_schedule.cit_format import body, clock, document, home, names, reader
from cit_schedule.cit_format.document import Document
from tests.cluster.loopback import obstacle
from tests.int.cit_schedule.far import Far

ROOT = Path(__file__).resolve().parents[3]
SCHEDULE = "cit-schedule -q --from waiting --to assigned"
DELIVER = "cit-deliver -q --from assigned --to sent"
TICK = (SCHEDULE, DELIVER, "cit-run -q --from inbox --to finished", "cit-deliver -q --from finished")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
STATES = ("waiting", "held", "assigned", "sent", "done", "refused")


class Machine:
    """One machine: its home, its queue `main`, its build account."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {"HOME": str(place), "PATH": f"{ROOT}/bin:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        self.account = home.Account(place / ".cit")

    def set_up(self) -> None:
        """A new home, as the first use makes it; but nothing is woken."""
        self.sh("cit-trigger -- true > /dev/null 2>&1")
        self.set("queue.toml", 'on-arrival = ""\nretry-after = "0s"')
        with open(self.place / ".cit/config.toml", "a") as stream:
            stream.write('on-arrival = ""\non-end = ""\n')

    def move_in(self) -> None:
        """After it was copied here: its builder's door is here too."""
        for path in (self.queue / "builders").glob("*.cit"):
            described = home.describe_builder(self.account)
            path.write_bytes(described.raw)
            path.rename(path.with_name(f"{described.id}-{described.name}.cit"))

    @property
    def queue(self) -> home.Queue:
        """The queue, its settings read anew."""
        return home.Queue(self.place / ".cit/queues/main")

    def set(self, file: str, line: str) -> None:
        """One line more in a file of the queue."""
        with open(self.queue / file, "a") as stream:
            stream.write(line + "\n")

    def set_line(self, file: str, key: str, value: str) -> None:
        """Another value for a key of a file of the queue."""
        kept = [line for line in (self.queue / file).read_text().splitlines() if line.partition(" ")[0] != key]
        (self.queue / file).write_text("".join(f"{line}\n" for line in [*kept, f"{key} = {value}"]))

    def sh(self, line: str, stdin: bytes = b"", later: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a line of sh as the user; `later`: with a clock that is so many microseconds ahead."""
        environment = {**self.environment, **({"CIT_NOW": clock.iso(clock.now() + later)} if later else {}), **more}
        done = subprocess.run(["sh", "-c", line], input=stdin, env=environment, capture_output=True, timeout=60)
        return subprocess.CompletedProcess(line, done.returncode, done.stdout.decode(), done.stderr.decode())

    def push(self, options: str = "", command: str = "true", count: int = 1) -> list[str]:
        """Queue jobs; their IDs, in order."""
        done = self.sh(f"seq {count} | cit-trigger {options} --each - -- sh -c '{command}' | cit-queue -q --to @main")
        found = re.findall(r"^@cit 1 (\S+)", done.stdout, re.M)
        assert done.returncode == 0 and len(found) == count, done.stderr
        return found

    def schedule(self, later: int = 0) -> subprocess.CompletedProcess[str]:
        return self.sh(SCHEDULE, later=later)

    def deliver(self, later: int = 0) -> subprocess.CompletedProcess[str]:
        return self.sh(DELIVER, later=later)

    def tick(self, rounds: int = 1) -> None:
        """What cron would do."""
        for _ in range(rounds):
            for line in TICK:
                assert self.sh(line).stderr == "", line

    def where(self, identity: str) -> list[str]:
        """`STATE/FILE NAME` of each copy in the queue, without KEY; claims included."""
        found = []
        for state in STATES:
            for path in (self.queue / state).rglob("*.cit"):
                parts = names.parse(path.name)
                if parts and parts.id == identity and ".tmp" not in path.parts:
                    claimed = "CLAIMED " if ".claim" in path.parts else ""
                    found.append(f"{claimed}{state}/{parts._replace(key='')}")
        return found

    def states(self, identity: str) -> list[str]:
        """The states of the queue in which a job lies."""
        return [each.partition("/")[0] for each in self.where(identity)]

    def file(self, identity: str, state: str) -> Path:
        """The path of a job's only document in a state."""
        (path,) = [path for path in (self.queue / state).rglob(f"*{identity}*.cit") if ".tmp" not in path.parts]
        return path

    def document(self, identity: str, state: str) -> Document:
        return reader.parse(self.file(identity, state).read_bytes())

    def log(self, word: str) -> list[list[str]]:
        """The lines of the queue's log with this word."""
        rows = [row for path in sorted((self.queue / "log").glob("*.tsv")) for row in body.rows(path.read_bytes())]
        return [row for row in rows if row[3] == word]

    def builder(self, name: str, **changes: Any) -> Document:
        """A builder of the queue, signed by the account, whose door and key are the account's; with `changes`."""
        said = {
            "name": name,
            "account": "cit@sun",
            "host": name,
            "key": self.account.signer.public.fingerprint,
            "door": str(self.account.path),
            "slots": 2,
            "ahead": 0,
            "cpus": 4,
            "mem": "8G",
            "tmp": "100G",
            "state": "up",
            "created": body.Time(clock.now()),
        }
        table = {key.replace("_", "-"): value for key, value in {**said, **changes}.items() if value is not None}
        described = home.signed(
            document.new(name, document.section("builder", "toml", body.toml(table))), self.account.signer, self.account.identity, "cit-builder"
        )
        (self.queue / "builders" / f"{described.id}-{name}.cit").write_bytes(described.raw)
        return described

    def only(self, name: str, **changes: Any) -> Document:
        """The same, as the queue's only builder."""
        for path in (self.queue / "builders").glob("*.cit"):
            path.unlink()
        return self.builder(name, **changes)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A home that every test gets a copy of. In memory: what a power failure leaves is tried elsewhere."""
    with tempfile.TemporaryDirectory(prefix="cit-", dir=MEMORY) as place:
        Machine(Path(place)).set_up()
        yield Path(place)


@pytest.fixture
def machine(template: Path) -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="cit-", dir=MEMORY) as place:
        shutil.copytree(template, place, symlinks=True, dirs_exist_ok=True)
        moved = Machine(Path(place))
        moved.move_in()
        yield moved


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """Four machines with an sshd each, made once."""
    if obstacle():
        pytest.skip(f"no sshd on loopback: {obstacle()}")
    made = Far(tmp_path_factory.mktemp("far"))
    yield made
    made.close()


@pytest.fixture(params=["ssh", "fabric"])
def far(machines: Far, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Far:
    """The four machines as they were made, by each transport. What this process itself does, it does as the queue's account."""
    machines.fresh(request.param)
    for setting in machines.machine("hub").environment():
        monkeypatch.setenv(*setting.split("=", 1))
    return machines
