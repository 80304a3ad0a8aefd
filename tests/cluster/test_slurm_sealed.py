"""Results that only some may read, of jobs that a real Slurm runs: sealed on the node, and nowhere in the clear, also after a kill."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_run.cit_format import body, document
from tests.cluster import slurm as slurms
from tests.cluster.slurm import Slurm
from tests.cluster.test_slurm import Login, status_of
from tests.int.cit_run import sealed
from tests.int.cit_run.kit import until

WRITES = f"#!/bin/sh\necho {sealed.CANARY[::-1]} | rev | tee out\n"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Login]:
    if slurms.obstacle():
        pytest.skip(f"no Slurm: {slurms.obstacle()}")
    for above in tmp_path.parents[:4]:
        if not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(above.stat().st_mode | 0o011)  # munged wants a way that all can go
    (tmp_path / "slurm").mkdir()
    cluster = Slurm(tmp_path / "slurm")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    yield Login(tmp_path / "login node", cluster)
    cluster.close()


def test_results_are_sealed(login: Login) -> None:
    login.set(on_arrival="")
    key = " ".join(login.person.public.line.split()[:2])
    sections = document.section("keep", "tsv", b"out\n"), document.section("reply", "tsv", body.tsv([(".log", key), (".", key)]))
    done, killed = login.send(WRITES, *sections), login.send(f"{WRITES}sleep 60\n", *sections)
    login.run()
    until(lambda: login.runs(killed) and sealed.CANARY in login.log(killed), "the job")
    until(lambda: "\tended" in status_of(login, done), "the end of the other")
    login.cluster.said("scancel", "--batch", "--signal=KILL", login.number(killed))
    login.visits(killed, done)
    assert (login.result(done)["state"], login.result(killed)["state"]) == ("COMPLETED", "NODE_FAIL")
    assert sealed.holding(login.account.path) == []
    for job in (done, killed):
        artefacts = login.finished(job).find("artefact")
        assert artefacts and [row[2].rpartition("job")[2] for row in artefacts.rows()] == [".log.age", "/out.age"]
