"""A cluster on test machines: a person, a queue and builders who know each other, as `cit add`, `cit allow` and `cit join` leave it.

    cluster = Cluster(lan["sun"].account("ada"), lan["hub"].account("cit"), [lan["moon"].account("build")])
    cluster.person.text("cit push --wait -- echo hi")

Everybody has an account of their own. The queue is `@main` there, `@team` here. The person owns the builders and signs their documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cit_format import body, clock, document, home, keys, reader, spool
from cit_format.body import Time
from cit_format.document import Document, section
from tests.cluster.machine import Account, within

PERSON = "cit-job,cit-control,cit-builder,cit-hosts"
BUILDER = "cit-result,cit-builder"
STATES = ("waiting", "held", "assigned", "sent")


class Member:
    """An account with a cit home: what others have to know of it."""

    def __init__(self, account: Account, role: str, key: str, name: str = "") -> None:
        self.account, self.machine = account, account.machine
        self.name = name or account.machine.name
        self.identity = f"{role}@{account.machine.name}"
        self.signer = keys.load(account.path(key))

    @property
    def public(self) -> str:
        return " ".join(self.signer.public.line.split()[:2])

    def listed(self, namespaces: str) -> str:
        """Its line in allowed_signers."""
        return f'{self.identity} namespaces="{namespaces}" {self.public}\n'

    def let_in(self, command: str) -> str:
        """Its line in authorized_keys: what its key may do there, and nothing else."""
        return f'restrict,command="{command}" {self.public} {self.identity}\n'

    def signers(self) -> str:
        return self.account.path(".cit/allowed_signers").read_text()


class Cluster:
    """The accounts and what they have; `queue` lists jobs by the states of the queue, `builders` by name."""

    def __init__(self, person: Account, queue: Account, builders: Sequence[Account], slots: int = 2, ahead: int = 1000, **settings: object) -> None:
        alone = len({each.machine.name for each in builders}) == len(builders)  # on its machine
        self.person, self.host = person, queue
        self.builders = {each.machine.name if alone else each.user: each for each in builders}
        self.slots, self.ahead, self.settings = slots, ahead, settings
        with ThreadPoolExecutor() as pool:
            key = "ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519 && "
            list(pool.map(lambda each: each.sh(f"{key if each is person else ''}cit-format init"), [person, queue, *builders]))
        self.ada = Member(person, person.user, ".ssh/id_ed25519")
        self.main = Member(queue, "queue", ".cit/queues/main/key")
        self.members = {name: Member(each, "builder", ".cit/key", name) for name, each in self.builders.items()}
        self.name = f"main@{self.main.signer.public.fingerprint}"
        self.door = f"{queue.place}/@main"
        self.settle_person()
        self.settle_queue()
        for each in self.members.values():
            self.settle_builder(each)

    # --- who knows whom

    def all_signers(self) -> str:
        """Lists of all: results of every builder, as one gives back what another one may then take."""
        return self.ada.listed(PERSON) + self.main.listed("cit-queue") + "".join(each.listed(BUILDER) for each in self.members.values())

    def settle_person(self) -> None:
        self.person.put(".cit/config.toml", body.toml({"queues": ["@team"]}))
        self.person.put(".cit/queues/team/queue.toml", self.way(person=self.ada.identity))
        self.person.put(".cit/known_hosts", self.main.account.known + "".join(each.account.known for each in self.members.values()))
        self.person.put(".cit/allowed_signers", self.ada.signers() + self.all_signers())

    def way(self, **more: object) -> bytes:
        """What a home elsewhere says of the queue."""
        founder = self.name.partition("@")[2]
        return body.toml({"name": "main", "founder": founder, "remote": True, "door": self.door, **more})

    def settle_queue(self) -> None:
        queue = self.host
        queue.sh("rm .cit/queues/main/builders/*.cit")
        own = [line for line in queue.path(".cit/queues/main/queue.toml").read_text().splitlines(True) if line.split(" ")[0] not in self.settings]
        queue.put(".cit/queues/main/queue.toml", "".join(own) + body.toml(self.settings).decode())
        queue.put(".cit/queues/main/allowed_signers", self.main.listed("cit-queue") + self.all_signers().replace(self.main.listed("cit-queue"), ""))
        queue.put(".cit/known_hosts", "".join(each.account.known for each in self.members.values()))
        door = f'{queue.program("cit-queue")} --door=\\"$SSH_ORIGINAL_COMMAND\\"'
        lines = [self.ada.let_in(f"{door} --role person --for {self.ada.identity} --to @main")]
        lines += [each.let_in(f"{door} --role builder --for {each.signer.public.fingerprint} --to @main") for each in self.members.values()]
        queue.put(".ssh/authorized_keys", "".join(lines))

    def settle_builder(self, member: Member) -> None:
        builder = member.account
        described = self.describe(member)
        builder.put(".cit/builder.cit", described.raw)
        self.host.put(f".cit/queues/main/builders/{described.id}-{described.name}.cit", described.raw)
        builder.put(".cit/allowed_signers", member.listed(BUILDER) + self.all_signers().replace(member.listed(BUILDER), ""))
        builder.put(".cit/queues/team/queue.toml", self.way())
        builder.put(".cit/config.toml", body.toml({"queues": ["@team"], "slots": self.slots}))
        builder.put(".cit/known_hosts", self.main.account.known)
        door = f'{builder.program("cit-queue")} --door=\\"$SSH_ORIGINAL_COMMAND\\"'
        lines = [self.main.let_in(f"{door} --role queue --for {self.name}"), self.ada.let_in(f"{door} --role reader --for {self.ada.identity}")]
        builder.put(".ssh/authorized_keys", "".join(lines))

    def describe(self, member: Member, **changes: object) -> Document:
        """The builder document of an account, signed by its owner."""
        said = {
            "name": member.name,
            "account": f"{member.account.user}@{member.machine.name}",
            "host": member.machine.name,
            "key": member.signer.public.fingerprint,
            "door": member.account.place,
            "seal": " ".join(member.account.path(".cit/seal.pub").read_text().split()[:2]),
            "slots": self.slots,
            "ahead": self.ahead,
            "cpus": self.slots,
            "mem": "4G",
            "tmp": "1G",
            "tags": ["linux"],
            "state": "up",
            "created": Time(clock.now()),
            **changes,
        }
        unsigned = document.new(member.name, section("builder", "toml", body.toml(said)))
        return home.signed(unsigned, self.ada.signer, self.ada.identity, "cit-builder")

    # --- looking

    def queue_path(self, state: str = "") -> Path:
        return self.host.path(f".cit/queues/main/{state}")

    def days(self) -> list[Path]:
        return sorted(self.queue_path("done").glob("[0-9]*"))

    def lying(self, state: str) -> list[Document]:
        """The documents in a state of the queue (`done`: of all days), in order."""
        folders = self.days() if state == "done" else [self.queue_path(state)]
        return [reader.parse((folder / name).read_bytes()) for folder in folders for name in spool.listing(folder)]

    def counts(self) -> dict[str, int]:
        """How many documents lie in each state of the queue; those with none are left out."""
        found = {state: len(spool.listing(self.queue_path(state))) for state in STATES}
        found["done"] = sum(len(spool.listing(day)) for day in self.days())
        return {state: count for state, count in found.items() if count}

    def ends(self) -> dict[str, list[str]]:
        """State of the last result (or `void`) of each document in done, by the job's name."""
        found: dict[str, list[str]] = {}
        for each in self.lying("done"):
            results = list(each.all("result"))
            found.setdefault(each.name, []).append(str(results[-1].table()["state"]) if results else "void")
        return found

    def log(self) -> str:
        """What the queue wrote into its log."""
        return self.host.text("cat .cit/queues/main/log/2*")

    def wait_done(self, count: int, seconds: float = 30) -> None:
        """Waits until so many documents lie in done, and nothing anywhere else in the queue."""
        within(seconds, lambda: f"{count} documents in done\n{self.story()}", lambda: self.counts() == {"done": count})

    def tick(self, *accounts: Account) -> None:
        """What cron does each minute, on these accounts (all of them, without any), at the same time."""
        everybody = accounts or (self.host, *self.builders.values(), self.person)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: each.sh("cit-tick", status=None), everybody))

    def story(self) -> str:
        """What to look at when a test fails: where documents lie, and what passes that nobody waits for had to say."""
        found = "find {0} -name '*.cit' ! -path '*/work/*' ! -path '*/builders/*' ! -path '*/done/*'; tail -n 5 {0}/log/on-arrival {0}/*/.doors"
        look = f"({found}) 2>/dev/null"
        said = [f"queue: {self.counts()}", self.host.text(look.format(".cit/queues/main"), status=None)]
        for name, each in self.builders.items():
            states = " ".join(f".cit/{state}" for state in ("inbox", "running", "finished", "refused"))
            said += [
                f"builder {name}:",
                each.text(f"{look.format('.cit')}; ls -A {states}", status=None) if getattr(each.machine, "pid", 1) else "is off",
            ]
        return "\n".join(said)
