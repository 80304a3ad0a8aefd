"""Where things are: the home, queues and build accounts (docs/directories.md).

The default home is `~/.cit` (`CIT_HOME`): a queue `main` and this account as its only builder. What is missing of it is
made at first use and said once.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import body, clock, document, grammar, journal, names, small_change
from .errors import CONFIG, NOT_FOUND, CitError
from .messages import tell
from .put import Item, Putter
from .spool import Lock, host, make_directory

if TYPE_CHECKING:
    from .keys import Signer
    from .signers import Signers

STATES = ("waiting", "held", "assigned", "sent", "done")  # of a queue, in order: of two copies the later wins
QUEUE_DIRECTORIES = ("incoming", *STATES, "refused", "seen", "control", "builders", "log", "hosts")
ACCOUNT_STATES = ("inbox", "running", "finished")
ACCOUNT_DIRECTORIES = (*ACCOUNT_STATES, "work", "store", "interfaces", "control", "seen", "log", "outbox")
# What carries goes on beside: a door that hangs keeps no job from its builder. Where it is at work still, it takes up what comes.
QUEUE_ON_ARRIVAL = "cit-schedule -q --from waiting --to assigned; cit-deliver -q --from assigned --to sent &"
ACCOUNT_ON_ARRIVAL = "cit-run -q --from inbox --to finished"
_FOUNDED = "@SHA256:"  # between a queue's name and its founding key's fingerprint
ACCOUNT_ON_END = "cit-sync -q"


def path() -> Path:
    """The cit home: `CIT_HOME`, else `~/.cit`."""
    return Path(os.environ.get("CIT_HOME") or os.path.expanduser("~/.cit"))


def person() -> str:
    """Whose work this is, `user@host`."""
    return f"{journal.account()}@{host()}"


def settings(file: Path) -> dict[str, body.Value]:
    """The keys of a configuration file in cit TOML; empty where it is missing. 78 if others can write it, or it does not parse."""
    try:
        with open(file, "rb") as stream:
            guard(file, os.fstat(stream.fileno()))
            return body.table(stream.read())
    except FileNotFoundError:
        return {}
    except (CitError, UnicodeDecodeError) as error:
        what = error.what if isinstance(error, CitError) else "bytes that are no UTF-8"
        raise CitError(CONFIG, f"{file}: {what}", getattr(error, "hint", "")) from None


def guard(file: Path, status: os.stat_result) -> None:
    """78 where another account can write a file that decides what we do."""
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
        raise CitError(CONFIG, f"{file}: others can write it", f"chmod go-w {file}, and see that it is yours")


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


class _Holder:
    """What a queue and a build account have in common: a directory of spools, a key, a list of whom they believe, a log."""

    def __init__(self, directory: Path) -> None:
        self.path = directory

    def __truediv__(self, state: str) -> Path:
        return self.path / state

    @cached_property
    def signer(self) -> Signer:
        from . import keys

        return keys.load(self.path / "key")

    @cached_property
    def signers(self) -> Signers:
        from .signers import Signers

        found = Signers.read(self.path / "allowed_signers", self.path / "revoked_keys")
        if any(name.startswith("handover-") for name in _names(self.path / "hosts")):
            from . import handover

            found.hand_over(handover.known(self.path / "hosts"))
        return found

    def note(self, moves: list[tuple[str, str, str]], stage: str) -> None:
        """Lines (job, word, detail) for log/DAY.tsv."""
        journal.note(self / "log", moves, stage)


class Queue(_Holder):
    """A queue: its directory, settings, key and who may use it."""

    @cached_property
    def settings(self) -> dict[str, body.Value]:
        return settings(self.path / "queue.toml")

    @cached_property
    def name(self) -> str:
        return str(self.settings.get("name") or self.path.name)

    @cached_property
    def fingerprint(self) -> str:
        """Of the founding key: with the name it says which queue this is."""
        founded = self.settings.get("founder")
        return str(founded) if founded else self.signer.public.fingerprint

    @property
    def full_name(self) -> str:
        """`main@SHA256:...`, as jobs and assignments name it."""
        return f"{self.name}@{self.fingerprint}"

    @cached_property
    def identity(self) -> str:
        return f"queue@{host()}"

    @property
    def active(self) -> bool:
        return self.settings.get("active", True) is True

    @property
    def remote(self) -> bool:
        """Whether the queue itself lies elsewhere, at its door; this directory only says where."""
        return self.settings.get("remote", False) is True

    @property
    def door(self) -> str:
        """Where it is reached from elsewhere, `ssh://USER@HOST[:PORT]/@QUEUE`; empty where it has no door."""
        return str(self.settings.get("door", ""))

    @property
    def person(self) -> str:
        """As whom it knows the key that signs here; empty where that is this account at this host."""
        return str(self.settings.get("person", ""))

    @property
    def epoch(self) -> int:
        value = self.settings.get("epoch", 1)
        return value if isinstance(value, int) else 1

    @property
    def on_arrival(self) -> str:
        return str(self.settings.get("on-arrival", QUEUE_ON_ARRIVAL))

    def describe(self, job: document.Document) -> Item:
        """The item of a new job: `waiting`, or `held` until its begin time or release."""
        wanted = job.table("job")
        begin, priority = wanted.get("begin"), wanted.get("priority", 0)
        if job.find("published") is not None:
            priority = names.HIGHEST  # nothing is to be waited for
        elif "restart" in wanted and small_change.is_small(job, self.settings):
            priority = names.HIGHEST
        sequence = names.NEVER if wanted.get("hold") is True else int(begin) if isinstance(begin, int) and begin > clock.now() else 0
        return Item(
            job.id,
            job.digest,
            job.raw,
            names.FileName(job.id, job.name),
            f"{self.path}/{'held' if sequence else 'waiting'}",
            priority if isinstance(priority, int) and not sequence else 0,
            sequence,
        )

    @property
    def putter(self) -> Putter:
        return Putter(self / "waiting" / ".tmp", self / "seen", self.describe)


class Account(_Holder):
    """A build account: its directory, key, and whom it believes."""

    @cached_property
    def settings(self) -> dict[str, body.Value]:
        return settings(self.path / "config.toml")

    @cached_property
    def identity(self) -> str:
        return f"builder@{host()}"

    @cached_property
    def seal(self) -> str | None:
        """The public key (two words) that secrets for it are encrypted to; None for a home that was made without, or where nothing can be opened."""
        from . import seal

        try:
            return None if not seal.is_possible() else " ".join((self.path / "seal.pub").read_text().split()[:2])
        except FileNotFoundError:
            return None

    @property
    def on_arrival(self) -> str:
        return str(self.settings.get("on-arrival", ACCOUNT_ON_ARRIVAL))


def find_queue(wanted: str | None) -> Queue:
    """The queue that `@name`, `name`, NAME@FINGERPRINT or a directory means; without any the first of `queues`, else main. 66 if there is none."""
    configured = settings(path() / "config.toml").get("queues") if not wanted or _FOUNDED in wanted else None
    named = [str(each) for each in configured] if isinstance(configured, list) else []
    if wanted and _FOUNDED in wanted:
        return _of_full_name(wanted, named)
    wanted = wanted or (named or ["@main"])[0]
    if wanted in ("@main", "main"):
        ensure()
    place = path() / "queues" / wanted.lstrip("@") if "/" not in wanted else Path(wanted)
    if wanted in (".", "..") or (not wanted.startswith("@") and "/" not in wanted and (Path(wanted) / "queue.toml").exists()):
        place = Path(wanted)
    if not (place / "queue.toml").exists():
        raise CitError(NOT_FOUND, f"no queue {wanted}", f"`cit queues` lists them; `cit init {wanted}` makes one")
    return Queue(place.absolute())


def _of_full_name(wanted: str, named: list[str]) -> Queue:
    """The queue that jobs call so: of this home, or one that config.toml names by its directory."""
    places = [file.parent for file in sorted(path().glob("queues/*/queue.toml"))] + [Path(each) for each in named if "/" in each]
    for queue in map(Queue, places):
        with contextlib.suppress(CitError):  # one whose settings or key are broken is none that is meant
            if queue.full_name == wanted:
                return queue
    raise CitError(NOT_FOUND, f"no queue {wanted}", "`cit queues` lists those that are known here")


def own_account() -> Account:
    """The build account of the cit home."""
    ensure()
    return Account(path())


def ensure() -> Path:
    """Make what is missing of the home: directories, keys, queue `main`, this account as its builder. Said once; safe to race."""
    home = path()
    if (home / ".ready").exists():
        return home
    make_directory(home)
    with Lock(home / ".lock"):
        if (home / ".ready").exists():
            return home
        from . import keys

        for name in ACCOUNT_DIRECTORIES:
            make_directory(home / name)
        configured = settings(home / "config.toml").get("key")
        mine = keys.find_personal(home, str(configured) if configured else None)
        if mine is None:
            mine = keys.generate(home / "id_ed25519", person())
            tell(
                "note",
                f"made a key of your own: {home / 'id_ed25519'}",
                hint="it stays your key here until you name another one: `cit config key FILE`, and `cit allow`, which lists it",
            )
        account = Account(home)
        builder = keys.generate(home / "key", account.identity)
        keys.generate(home / "seal", account.identity)
        queue = make_queue(home / "queues" / "main")
        person_line = f'{person()} namespaces="cit-job,cit-control,cit-builder,cit-hosts,cit-grant" {mine.public.line}\n'
        queue_line = f'{queue.identity} namespaces="cit-queue" {queue.signer.public.line}\n'
        builder_line = f'{account.identity} namespaces="cit-result,cit-builder" {builder.public.line}\n'
        for file in (home / "allowed_signers", queue / "allowed_signers"):
            if not file.exists():
                write_new(file, (person_line + queue_line + builder_line).encode())
        if not any((queue / "builders").glob("*.cit")):
            described = describe_builder(account)
            write_new(queue / "builders" / f"{described.id}-{described.name}.cit", described.raw)
        write_new(home / ".ready", b"")
        tell("note", f"made {home}: a queue `main`, and this machine as its builder")
    return home


def make_queue(directory: Path) -> Queue:
    """Make a queue's directories, key and queue.toml, where missing."""
    from . import keys

    for name in QUEUE_DIRECTORIES:
        make_directory(directory / name)
    queue = Queue(directory)
    signer = keys.generate(directory / "key", queue.identity)
    keys.generate(directory / "seal", queue.identity)
    if not (directory / "queue.toml").exists():
        text = body.toml({"name": directory.name, "owner": person(), "active": True, "epoch": 1, "founder": signer.public.fingerprint})
        text += b"# on-arrival = " + body.toml({"x": QUEUE_ON_ARRIVAL})[4:]
        write_new(directory / "queue.toml", text)
    return queue


def describe_builder(account: Account) -> document.Document:
    """The signed `builder` document of this machine: cores as slots, its memory, disk and tags (docs/format/builder.md)."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    disk = os.statvfs(account.path)
    machine = os.uname()
    described = document.new(
        builder_name(),
        document.section(
            "builder",
            "toml",
            body.toml(
                {
                    "name": builder_name(),
                    "account": person(),
                    "host": host(),
                    "key": account.signer.public.fingerprint,
                    "door": str(account.path),
                    "seal": account.seal,
                    "slots": cores,
                    "ahead": 1000,
                    "cpus": cores,
                    "mem": f"{memory >> 20}M",
                    "tmp": f"{disk.f_bavail * disk.f_frsize >> 20}M",
                    "tags": [machine.sysname.lower(), machine.machine],
                    "state": "up",
                    "created": body.Time(clock.now()),
                }
            ),
        ),
    )
    return signed(described, account.signer, account.identity, "cit-builder")


def builder_name() -> str:
    """This machine's name as a builder: its host name in the letters that names allow."""
    name = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in host().lower() if letter.isascii())
    return (name.lstrip("._-") or "local")[:64]


def signed(unsigned: document.Document, signer: Signer, by: str, namespace: str) -> document.Document:
    """The document closed with a signature over all it has (docs/format/signatures.md)."""
    return unsigned.extended(b"%s\n%s@end signature\n" % (_signature_line(by, namespace), signer.sign(unsigned.raw, namespace)))


@lru_cache(maxsize=16)
def _signature_line(by: str, namespace: str) -> bytes:
    return f"@begin signature 1 sshsig {grammar.written_attributes({'by': by, 'ns': namespace})}".encode()


def write_new(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a small file whole or not at all, synced."""
    from .spool import sync_directory, sync_files, write_all

    beside = file.with_name(f".{file.name}.{os.getpid()}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(fd, content, str(file))
    finally:
        os.close(fd)
    sync_files([str(beside)])
    os.rename(beside, file)
    sync_directory(file.parent)
