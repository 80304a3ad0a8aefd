"""A builder of kind slurm behind a real Slurm of one node: what comes back is what any builder gives, nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_run.cit_format import body, clock, document, home, trust
from cit_run.cit_format.body import Time
from cit_run.cit_format.document import Document
from cit_run.kinds import handed, visit
from tests.cluster import slurm as slurms
from tests.cluster.slurm import Slurm
from tests.int.cit_format.kills import dies_at
from tests.int.cit_run import sealed
from tests.int.cit_run.kit import Bench, until


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """The one Slurm of all tests here."""
    if slurms.obstacle():
        pytest.skip(f"no Slurm: {slurms.obstacle()}")
    for above in (tmp_path_factory.getbasetemp(), *tmp_path_factory.getbasetemp().parents):
        if not above.stat().st_mode & stat.S_IXOTH and above.stat().st_uid == os.getuid():
            above.chmod(above.stat().st_mode | 0o011)  # munged wants a way that all can go
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    yield made
    made.close()


class Login(Bench):
    """A build account of kind slurm."""

    def __init__(self, place: Path, cluster: Slurm) -> None:
        place.mkdir(exist_ok=True)
        super().__init__(place)
        self.cluster = cluster
        self.set()

    def set(self, **settings: object) -> None:
        super().set(**{"kind": "slurm", "on_end": "", **settings})

    def visits(self, *jobs: Document, status: int = 0) -> None:
        """Visits until these jobs have ended."""
        end = time.monotonic() + slurms.PATIENCE
        while missing := [job.label for job in jobs if not any(job.id in name for name in self.names("finished"))]:
            assert time.monotonic() < end, f"{missing} did not end\n{self.cluster.said('squeue', '--states=all')}"
            self.run(status=status)
            time.sleep(0.1)

    def state(self, job: Document) -> str:
        """Its state in Slurm; empty where Slurm has none of this name."""
        return " ".join(self.cluster.said("squeue", "--noheader", "--states=all", "--format=%T", f"--name={self.record(job).stem}").split())

    def number(self, job: Document) -> str:
        """Slurm's ID."""
        return handed.read(str(self.record(job))).id


@pytest.fixture
def login(tmp_path: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Login:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    return Login(tmp_path / "login node", cluster)


def make(place: Path) -> Path:
    place.mkdir()
    return place


def test_limits_are_slurms(login: Login) -> None:
    """What the job says is in Slurm's own options, and the step's argument is its name alone."""
    begin = Time((clock.now() // clock.SECOND + 3600) * clock.SECOND)
    said = {"cpus": 3, "mem": "33000K", "tmp": "50M", "time": "90s", "constraint": ["linux", "gcc", "fast"], "begin": begin}
    login.set(kind_options="--time=50 --nice=7")
    job = login.send("#!/bin/sh\necho secret-word\n", name="wide", **said)
    login.run()
    shown = login.cluster.said("scontrol", "show", "job", login.number(job))
    for words in (
        f"JobName={login.record(job).stem}",
        f"Comment={job.id}",
        "CPUs/Task=3",
        "MinMemoryNode=33M",
        "MinTmpDiskNode=50M",
        "TimeLimit=00:02:00",
        "Nice=7",
        "Features=gcc&fast",
        "Requeue=0",
        "Reason=BeginTime",
    ):
        assert words in shown, f"{words} in\n{shown}"
    assert handed.read(str(login.record(job))).told == "PENDING BeginTime"
    batch = login.cluster.said("scontrol", "write", "batch_script", login.number(job), "-")
    assert "secret-word" not in batch and batch.rstrip().endswith(f" {login.record(job).stem}")
    login.wish(job, "cancel")
    login.run()
    assert login.result(job)["why"] == f"cancelled by {home.person()} before it began" and login.state(job) == "CANCELLED"
    assert login.events(job) == ["received", "ended"]


def test_a_call(login: Login) -> None:
    """On the node the interface runs as everywhere; a parameter that does not fit, or no interface, needs no node to be told."""
    from tests.int.cit_run.test_calls import ROWS, offer, send

    offer(login, ROWS)
    good, bad, other = send(login, {"version": "1.3"}), send(login, {"version": "x"}), send(login, {"interface": "other"})
    login.visits(good, bad, other)
    assert login.result(good)["state"] == "COMPLETED" and login.log(good) == "--version=1.3\0--tests=true\0"
    assert (login.result(bad)["exit"], login.number(bad)) == (65, "") and "parameter version" in str(login.result(bad)["why"])
    assert login.number(other) == "" and "void" in login.events(other)


def test_hold_release_pause(login: Login, tmp_path: Path) -> None:
    """A wish about a pending job is told to Slurm; one about a running one reaches its supervisor."""
    job = login.send(f"#!/bin/sh\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n", begin=Time(clock.now() + 3600 * clock.SECOND))
    login.run()
    login.wish(job, "hold")
    login.run()
    assert handed.read(str(login.record(job))).told == "PENDING JobHeldUser"
    login.wish(job, "release")
    login.run()
    assert "JobHeldUser" not in handed.read(str(login.record(job))).told
    login.cluster.said("scontrol", "update", f"JobId={login.number(job)}", "StartTime=now")
    until(lambda: login.runs(job), "the job")
    login.wish(job, "hold")
    login.run()
    until(lambda: "\tpaused" in (login.record(job) / "status").read_text(), "the pause")
    login.wish(job, "release")
    login.run()
    until(lambda: "\tresumed" in (login.record(job) / "status").read_text(), "its end")
    (tmp_path / "stop").touch()
    login.visits(job)
    assert login.result(job)["state"] == "COMPLETED"


def test_never_begun(login: Login) -> None:
    """What Slurm does not begin in time goes back to the queue; a deadline is kept; a job of a full account waits in the inbox."""
    begin = Time(clock.now() + 3600 * clock.SECOND)
    job = login.send("#!/bin/sh\n", begin=begin, start_within="2s")
    late = login.send("#!/bin/sh\n", begin=begin, deadline=Time((clock.now() // clock.SECOND + 2) * clock.SECOND), name="late")
    login.run("--slots", "2")
    waits = login.send("#!/bin/sh\n", name="waits")
    login.run("--slots", "2")
    assert len(login.names("inbox")) == 1 and not login.state(waits)
    time.sleep(2)
    login.run("--slots", "2")
    _, void = trust.completed(login.finished(job), login.account.signers, clock.now())
    assert [row[2] for row in void.rows()] == ["received", "void"] and login.state(job) == "CANCELLED"
    assert login.result(late)["state"] == "DEADLINE" and login.state(late) == "CANCELLED"
    login.visits(waits)


def test_array_is_an_array(login: Login, tmp_path: Path) -> None:
    """Tasks that come together are one array of Slurm's; an index above its limit is a job by itself; each runs as its own."""
    job = login.job(f"#!/bin/sh\necho $CIT_TASK >>{tmp_path}/mark\n", array="2,5,6,7000")
    tasks = [task_of(login, job, task) for task in (2, 5, 7000)]
    login.give(*tasks[:2])
    login.run()
    ids = [handed.read(f"{login.account.path}/work/{job.id}_{task}.a1-job.run").id for task in (2, 5)]
    assert ids[0].split("_")[0] == ids[1].split("_")[0] and [each.split("_")[1] for each in ids] == ["2", "5"]
    login.give(tasks[2], task_of(login, job, 6))
    login.run()
    until(lambda: len(login.names("finished")) == 4, "the ends of all tasks")
    assert sorted((tmp_path / "mark").read_text().split()) == ["2", "5", "6", "7000"]


def task_of(login: Login, job: Document, task: int) -> Document:
    """A task of an array, dealt out to this builder."""
    said = next(login.assigned(job).all("assignment")).table()
    given = job.extended(document.section("assignment", "toml", body.toml({**said, "task": task})))
    return home.signed(given, login.queue.signer, login.queue.identity, "cit-queue")


def test_refused(login: Login) -> None:
    """What the cluster cannot do goes back to the queue, signed, with Slurm's own words; what comes after it runs."""
    memory = login.send("#!/bin/sh\n", mem="9000G", name="memory")
    cpus = login.send("#!/bin/sh\n", cpus=99, name="cpus")
    tag = login.send("#!/bin/sh\n", constraint=["gcc|fast"], name="tag")
    fine = login.send("#!/bin/sh\n", name="fine")
    login.visits(memory, cpus, tag, fine)
    for job, words in ((memory, "Memory specification can not be satisfied"), (cpus, "PartitionConfig"), (tag, "cannot be a feature")):
        _, void = trust.completed(login.finished(job), login.account.signers, clock.now())
        assert words in list(void.rows())[1][5], list(void.rows())
    assert login.result(fine)["state"] == "COMPLETED"
    assert login.state(cpus) == "CANCELLED"
    login.set(kind_options="--partition=nowhere")
    nowhere = login.send("#!/bin/sh\n")
    login.visits(nowhere)
    assert "invalid partition" in login.finished(nowhere).raw.decode()


def test_slurm_is_away(login: Login, cluster: Slurm, tmp_path: Path) -> None:
    """75 and kept while slurmctld is down; what ended meanwhile is written down all the same; afterwards it goes on."""
    login.set(on_arrival="")
    job = login.send(f"#!/bin/sh\necho ran >>{tmp_path}/mark\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    login.run()
    until(lambda: login.runs(job), "the job")
    cluster.stop("slurmctld")
    try:
        waits = login.send("#!/bin/sh\n", name="waits")
        gone = login.send("#!/bin/sh\n", name="gone")
        login.wish(gone, "cancel")
        (tmp_path / "stop").touch()
        until(lambda: "\tended" in (login.record(job) / "status").read_text(), "its end")
        assert "Unable to contact slurm controller" in login.run(status=75)
        assert login.result(job)["state"] == "COMPLETED" and login.result(gone)["state"] == "CANCELLED"
        assert len(login.names("inbox")) == 1 and not login.names("running")
    finally:
        cluster.start("slurmctld")
    login.visits(waits)
    assert (tmp_path / "mark").read_text() == "ran\n"


def test_ends_that_slurm_makes(login: Login, cluster: Slurm, tmp_path: Path) -> None:
    """Cancelled in Slurm while pending and while running; a supervisor that is killed; a job that kills itself: told with Slurm's words."""
    login.set(on_arrival="")
    pending = login.send("#!/bin/sh\n", begin=Time(clock.now() + 3600 * clock.SECOND), name="pending")
    running = login.send("#!/bin/sh\nsleep 60\n", name="running")
    killed = login.send("#!/bin/sh\nsleep 60\n", name="killed")
    itself = login.send("#!/bin/sh\nkill -9 $$\n", name="itself")
    login.run()
    until(lambda: login.runs(running) and login.runs(killed), "the jobs")
    cluster.said("scancel", login.number(pending), login.number(running))
    cluster.said("scancel", "--batch", "--signal=KILL", login.number(killed))
    login.visits(pending, running, killed, itself)
    assert (login.result(pending)["state"], login.events(pending)) == ("CANCELLED", ["received", "ended"])
    assert (login.result(running)["state"], login.result(running)["why"]) == ("CANCELLED", "Slurm: CANCELLED")
    assert login.result(killed)["state"] == "NODE_FAIL" and str(login.result(killed)["why"]).startswith("Slurm: FAILED")
    assert (login.result(itself)["state"], login.result(itself)["signal"]) == ("FAILED", signal.SIGKILL)


def test_secrets_are_gone(login: Login, cluster: Slurm) -> None:
    """A sealed job finds its secret on its node; also where its supervisor is killed nothing of it is left, in no memory and no log."""
    login.set(on_arrival="")
    done = sealed.send(login, sealed.job(login, sealed.PRINTS))
    killed = sealed.send(login, sealed.job(login, sealed.WAITS))
    login.run()
    until(lambda: login.runs(killed) and sealed.CANARY in login.log(killed), "the job")
    until(lambda: "\tended" in status_of(login, done), "the end of the other")
    assert login.log(done) == f"it is {sealed.MASK}.\n"
    cluster.said("scancel", "--batch", "--signal=KILL", login.number(killed))
    login.visits(killed, done)
    assert login.result(killed)["state"] == "NODE_FAIL" and sealed.MASK in login.log(killed)
    login.run()
    sealed.nothing_left(login)


def requeued(login: Login, mark: Path, start: str, after: str = "", **said: object) -> Document:
    """A job that was put back by Slurm once it ran, and may begin again at `start`: by itself Slurm lets two minutes pass."""
    script = f"#!/bin/sh\n{after}\necho ran >>{mark}\nuntil [ -e {mark.parent}/stop ]; do sleep 0.02; done\n"
    job = login.send(script, **said)
    login.run()
    login.cluster.until(lambda: mark.exists(), "the job")
    number = login.number(job)
    login.cluster.said("scontrol", "update", f"JobId={number}", "Requeue=1")  # an administrator may
    login.cluster.said("scontrol", "requeue", number)
    login.cluster.until(lambda: login.state(job) == "PENDING", "the requeue")
    login.cluster.said("scontrol", "update", f"JobId={number}", f"StartTime={start}")
    return job


@pytest.mark.parametrize("attempts", [1, 2])
def test_requeue_is_an_attempt(login: Login, tmp_path: Path, attempts: int) -> None:
    """A requeued job begins again only where its author said so, and says it; else it is lost."""
    said = {"attempts": 2, "retry_on": ["lost"]} if attempts == 2 else {}
    job = requeued(login, tmp_path / "mark", "now+2", **said)
    if attempts == 2:
        login.cluster.until(lambda: (tmp_path / "mark").read_text() == "ran\n" * 2, "its second beginning")
        (tmp_path / "stop").touch()
    login.visits(job)
    assert (tmp_path / "mark").read_text() == "ran\n" * attempts
    assert login.result(job)["state"] == ("COMPLETED" if attempts == 2 else "NODE_FAIL")
    assert login.events(job).count("restarted") == attempts - 1


def test_requeue_that_slurm_refuses(login: Login, tmp_path: Path) -> None:
    """slurmd does not begin anew what was killed in the same second, and Slurm says FAILED. The job was taken from its node for all that."""
    job = requeued(login, tmp_path / "mark", "now", attempts=2, retry_on=["lost"])
    login.cluster.until(lambda: login.state(job) == "FAILED" or (tmp_path / "mark").read_text() == "ran\n" * 2, "Slurm's word")
    (tmp_path / "stop").touch()
    login.visits(job)
    began = (tmp_path / "mark").read_text().count("ran")
    assert login.result(job)["state"] == {1: "NODE_FAIL", 2: "COMPLETED"}[began], "a slow machine is late for the second"
    assert login.events(job).count("restarted") == began - 1


def test_who_is_put_back_did_not_fail(login: Login, tmp_path: Path) -> None:
    """A program that hears TERM and ends as programs do, with a status of its own, was ended by the cluster."""
    job = requeued(login, tmp_path / "mark", "now+2", after="trap 'exit 2' TERM")
    login.visits(job)
    assert (login.result(job)["state"], login.events(job)) == ("NODE_FAIL", ["received", "started", "ended"])


def test_many_visits_do_what_one_does(login: Login, tmp_path: Path) -> None:
    """Six at once: each job is handed over once, and runs once."""
    jobs = [login.send(f"#!/bin/sh\necho {number} >>{tmp_path}/mark\n", name=f"job{number}") for number in range(6)]
    visits = [login.start() for _ in range(6)]
    assert [each.wait(60) for each in visits] == [0] * 6
    until(lambda: len(login.names("finished")) == 6, "all ends")
    assert sorted((tmp_path / "mark").read_text().split()) == [str(number) for number in range(6)]
    names = login.cluster.said("squeue", "--noheader", "--states=all", "--format=%j").split()
    assert all(names.count(login.record(job).stem) == 1 for job in jobs)


@pytest.mark.parametrize("when", ["after sbatch", "before sbatch"])
def test_killed_beside_sbatch(login: Login, tmp_path: Path, when: str) -> None:
    """kill -9 between sbatch and the note of its ID, and while sbatch is on its way: the job is found, not submitted again."""
    programs = make(tmp_path / "programs")
    real = subprocess.run(["sh", "-c", "command -v sbatch"], capture_output=True, text=True).stdout.strip()
    lines = {"after sbatch": f'{real} "$@"\nkill -9 $PPID\n', "before sbatch": f'kill -9 $PPID\nsleep 1\nexec {real} "$@"\n'}
    (programs / "sbatch").write_text(f"#!/bin/sh\n{lines[when]}")
    (programs / "sbatch").chmod(0o755)
    login.set(path=str(programs))
    job = login.send(f"#!/bin/sh\necho ran >>{tmp_path}/mark\n")
    started = login.start()
    assert started.wait(30) == -signal.SIGKILL
    login.set()
    login.visits(job)
    assert (tmp_path / "mark").read_text() == "ran\n"
    names = login.cluster.said("squeue", "--noheader", "--states=all", "--format=%j").split()
    assert names.count(login.record(job).stem) == 1


def test_killed_anywhere(tmp_path: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before each change of the disk in turn, handing over and finishing: the next visit goes on, each job runs once and ends once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    logins, jobs = [], []
    for number in range(1, 100):
        logins.append(Login(tmp_path / str(number), cluster))
        logins[-1].set(on_arrival="")
        jobs.append(logins[-1].send(f"#!/bin/sh\necho ran >>{tmp_path}/mark{number}\n"))
        if not dies(logins[-1], number):
            break
    assert 10 < len(logins) < 99
    for login in logins:
        dies(login, 1000)
    for login, job in zip(logins, jobs):
        until(lambda login=login, job=job: "\tended" in status_of(login, job), "the end")
    reached = [dies(login, number) for number, login in enumerate(logins, 1)]
    assert reached[0] and not reached[-1], "the ends took all numbers"
    for number, (login, job) in enumerate(zip(logins, jobs), 1):
        os.environ["HOME"] = str(login.home)
        dies(login, 1000)
        assert login.result(job)["state"] == "COMPLETED", number
        assert (tmp_path / f"mark{number}").read_text() == "ran\n"
        assert not login.names("running") and not login.names("inbox")
    names = cluster.said("squeue", "--noheader", "--states=all", "--format=%j").split()
    assert [names.count(login.record(job).stem) for login, job in zip(logins, jobs)] == [1] * len(jobs)


def status_of(login: Login, job: Document) -> str:
    file = login.record(job) / "status"
    return file.read_text() if file.exists() else ""


def dies(login: Login, number: int) -> bool:
    """A visit that is killed before its n-th change of the disk; whether it came so far."""
    os.environ["HOME"] = str(login.home)

    def act() -> None:
        visit.visit(home.Account(login.account.path), visit.MOST)

    return dies_at(number, act)
