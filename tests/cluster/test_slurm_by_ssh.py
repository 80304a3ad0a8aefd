"""A Slurm behind a login account elsewhere: from `cit push` on one machine through a queue on a second to a third, and home again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import clock, home, names, trust
from cit_format.document import Document
from cit_run.kinds import handed
from tests.cluster import lan as lans
from tests.cluster import slurm as slurms
from tests.cluster.cluster import PERSON, Cluster, Member
from tests.cluster.lan import Lan
from tests.cluster.machine import Account, within
from tests.cluster.slurm import Slurm

PATIENCE = 120.0
CPUS = 16


class Site(Cluster):
    """An ordinary builder, `moon`, and `login`: an account that may use a Slurm, added by `cit add`."""

    def __init__(self, machines: Lan) -> None:
        super().__init__(machines["sun"].account("ada"), machines["hub"].account("cit"), [machines["moon"].account("build")], slots=60)
        self.login = self.builders["login"] = machines["login"].account("build")
        machines["login"].sh("mkdir /srv/slurm", "root")
        self.slurm = Slurm(Path("/srv/slurm"), CPUS, machines["login"])
        self.host.sh(f"ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cit config @main door {self.host.place}/@main")
        owner = Member(self.host, "cit", ".cit/id_ed25519")  # made before there was another
        self.host.sh("cat >>.cit/queues/main/allowed_signers", stdin=owner.listed(PERSON).encode())
        self.login.put(".ssh/authorized_keys", self.host.text("cat .ssh/id_ed25519.pub"))
        self.host.put(".ssh/known_hosts", self.login.known)
        self.host.sh(f"cit add {self.login.place} --kind slurm --slots 60 --tags linux,gcc,fast --users ada@sun")
        # What the account said of itself is its login node.
        self.host.sh(f"cit-format get builder .cit/queues/main/builders/*-login.cit >cluster.toml; sed -i 's/^cpus = .*/cpus = {CPUS}/' cluster.toml")
        self.host.sh("cit add cluster.toml")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The one of all tests here."""
    if slurms.obstacle() or lans.obstacle():
        pytest.skip(f"no Slurm on a test machine: {slurms.obstacle() or lans.obstacle()}")
    machines = Lan({"sun": ["ada"], "hub": ["cit"], "login": ["build"], "moon": ["build"]})
    try:
        yield Site(machines)
    finally:
        machines.close()


def record(builder: Account, name: str) -> Path | None:
    """The record of the job of this name, once it is there."""
    return next(iter(builder.path(".cit/work").glob(f"*-{name}.run")), None)


def runs(builder: Account, name: str) -> bool:
    found = record(builder, name)
    return found is not None and (found / "pid").exists()


def shape(done: Document) -> list[tuple[str, list[str]]]:
    """What a builder has appended: sections and their keys; of events the words."""
    found = []
    for section in done.sections[-5:]:
        if section.kind == "event":
            found.append((section.kind, [row[2] for row in section.rows()]))
        elif section.kind == "environment":
            found.append((section.kind, [row[0] for row in section.rows() if row[0] not in ("cluster", "node", "slurm-job")]))
        else:
            found.append((section.kind, sorted(done.table_of(section)) if section.form == "toml" else []))
    return found


def ended(site: Site, builder: str) -> dict[tuple[str, int], Document]:
    """What this builder has ended, each result verified, by name and number."""
    found: dict[tuple[str, int], Document] = {}
    signers = home.Queue(site.queue_path()).signers
    for each in site.lying("done"):
        trust.completed(each, signers, clock.now())
        if next(each.all("assignment")).table()["builder"] == builder:
            found[each.name, sum(name == each.name for name, _ in found)] = each
    return found


def test_fifty_jobs_end_as_on_an_ssh_builder(site: Site) -> None:
    """50 jobs on each of the two, one cancelled and one over its time limit among them: the same sections, keys, states and statuses."""
    ada, login = site.person, site.login
    for name in site.builders:
        push = f"cit push -q --no-source -w {name}"
        ada.sh(f"{push} -J long -- sh -c 'echo long; exec sleep 300'")
        ada.sh(f"seq 47 | {push} -J many --mem 20M --each - -- echo")
        ada.sh(f"{push} -J slow -t 1s -- sh -c 'echo over; exec sleep 300'; {push} -J fails -- sh -c 'exit 5'")
    for builder in site.builders.values():
        within(PATIENCE, site.story, lambda builder=builder: runs(builder, "long"))
    ada.sh(f"cit cancel {' '.join(each.id for state in ('assigned', 'sent') for each in site.lying(state) if each.name == 'long')}")
    site.wait_done(100, PATIENCE)
    ours, theirs = ended(site, "login"), ended(site, "moon")
    assert len(ours) == 50 and ours.keys() == theirs.keys()
    for key, mine in ours.items():
        assert shape(mine) == shape(theirs[key]), key
        ends = [[document.table("result").get(word) for word in ("state", "exit", "signal", "why")] for document in (mine, theirs[key])]
        assert ends[0] == ends[1], key
        environment = {row[0]: row[1] for row in next(mine.all("environment")).rows()}
        own = names.FileName(mine.id, mine.name, "", None, 1).copy
        number = handed.read(str(login.path(f".cit/work/{own}-{mine.name}.run"))).id
        assert (environment["cluster"], environment["node"], environment["slurm-job"]) == ("lab", slurms.NODE, number), key
    assert site.ends()["slow"] == ["TIMEOUT"] * 2 and site.ends()["long"] == ["CANCELLED"] * 2 and site.ends()["fails"] == ["FAILED"] * 2
    assert site.host.text(f"cit trace --tsv {ours['long', 0].id}").count("\tgood\t") >= 6
    assert "--role reader --for ada@sun" in login.path(".ssh/authorized_keys").read_text()
    ada.sh("cat >>.cit/known_hosts", stdin=login.known.encode())
    assert ada.text(f"cit log {ours['slow', 0].id}") == "over"  # who may push there may read there
    for state in ("inbox", "running", "finished", "refused"):
        assert list(login.path(f".cit/{state}").glob("*.cit")) == []
    for account in (site.host, login):
        assert account.text("PATH=$PATH:~/.cit/bin cit-fsck").splitlines()[1:] == []


def test_limits_are_slurms_and_go_with_the_builder(site: Site) -> None:
    """What the job says is in Slurm's own options. `cit remove --now` cancels what runs there, and takes back what only waits there."""
    ada, hub, login = site.person, site.host, site.login
    push = "cit push -q --no-source"
    ada.sh(f"{push} -J runs -w login -c 3 --mem 33000K --tmp 50M -t 90s -C gcc,fast --nice 5 -- sleep 300")
    within(PATIENCE, site.story, lambda: runs(login, "runs"))
    shown = site.slurm.said("scontrol", "show", "job", handed.read(str(record(login, "runs"))).id)
    asked = ("CPUs/Task=3", "MinMemoryNode=33M", "MinTmpDiskNode=50M", "TimeLimit=00:02:00", "Features=gcc&fast", "Nice=5", "UserId=build")
    assert [each for each in asked if each not in shown] == [], shown
    ada.sh(f"{push} -J waits -c 14 -C gcc -- hostname")
    within(PATIENCE, site.story, lambda: (found := record(login, "waits")) and handed.read(str(found)).told.startswith("PENDING"))
    assert re.search(r"waits\s+PENDING", ada.text("cit ls @team"))
    hub.sh("cit remove --now login")
    assert site.slurm.said("squeue", "--noheader").strip() == "" and site.ends()["runs"] == ["CANCELLED"]
    [given_back] = [each for each in site.lying("waiting") if each.name == "waits"]
    assert [row[2] for row in list(given_back.all("event"))[-1].rows()][-1] == "void", given_back.raw
    assert list(login.path(".cit/running").glob("*.cit")) == list(login.path(".cit/finished").glob("*.cit")) == []
