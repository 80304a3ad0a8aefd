"""The git hook: a real push to a bare repository queues a signed job for each branch, whatever the branch is called (docs/howto/git-hook.md)."""

from __future__ import annotations

import shutil
from pathlib import Path

from cit_format import reader, spool
from cit_format.document import Document
from tests.int.cit_trigger.desk import BIN, Desk, verified

HOOK = BIN.parent / "docs" / "examples" / "post-receive"
NASTY = ["feature/x", "it's-$(touch${IFS}gone)", "a;touch$IFS'gone'&b|c", 'quo"te`d`', "ünï/ö", "{}", "-n", "=>", "%s%n", "a" * 200]


def bare(desk: Desk, name: str = "zlib.git", **settings: str) -> Path:
    """A bare repository with the hook."""
    place = desk.home / name
    desk.git("init", "-q", "--bare", str(place))
    shutil.copy(HOOK, place / "hooks")
    for key, value in settings.items():
        desk.git("config", f"cit.{key}", value, at=place)
    return place


def waiting(desk: Desk, queue: str = "main") -> list[Document]:
    """The jobs in a queue, in the order in which they came."""
    place = desk.home / ".cit/queues" / queue / "waiting"
    return [reader.parse((place / name).read_bytes()) for name in spool.listing(place)]


def test_each_branch_is_a_job(desk: Desk) -> None:
    """By whatever name; with the commit that it has, the newest alone wanted; a tag and a removed branch queue nothing."""
    tree, place = desk.tree(), bare(desk, run="make -s; exit 3")
    commit = desk.git("rev-parse", "HEAD", at=tree)
    desk.git("tag", "v1", at=tree)
    branches = ["main", *NASTY]
    said = desk.run("git", "push", "-q", str(place), "v1", *(f"{commit}:refs/heads/{branch}" for branch in branches), at=tree).stderr.decode()
    assert said.count(" zlib queued") == len(branches) and "error" not in said, said
    jobs = waiting(desk)
    assert [[row for each in job.all("env") for row in each.rows()] for job in jobs] == [[["CIT_BRANCH", branch]] for branch in branches]
    for job, branch in zip(jobs, branches):
        assert verified(job, desk.home / ".cit/queues/main/allowed_signers")
        assert [row for each in job.all("source") for row in each.rows()] == [[".", str(place), commit, commit, "-"]]
        assert (job.name, job.table("job")["latest"]) == ("zlib", f"{place} {branch}")
        script = job.find("script")
        assert script is not None and script.body() == b"#!/bin/sh\nexec sh -c 'make -s; exit 3'\n"
    assert not list(desk.home.rglob("gone"))
    desk.git("push", "-q", str(place), ":v1", ":feature/x", at=tree)
    second = desk.commit(tree, **{"main.c": "int x;\n"})
    desk.git("push", "-q", str(place), "main", at=tree)
    assert [row[3] for each in waiting(desk)[len(branches) :] for section in each.all("source") for row in section.rows()] == [second]


def test_what_cannot_be_queued_is_told_and_the_push_stands(desk: Desk) -> None:
    tree, place = desk.tree(), bare(desk, "My Lib_2.git", queue="@none")
    said = desk.run("git", "push", "-q", str(place), "main", at=tree).stderr.decode()
    assert "no queue @none" in said and "remote: cit: main: no job (status 66)" in said
    assert desk.git("rev-parse", "main", at=place) == desk.git("rev-parse", "HEAD", at=tree)
    desk.git("config", "--unset", "cit.queue", at=place)
    desk.git("config", "cit.url", "ssh://git@sun/srv/lib.git", at=place)
    desk.commit(tree, **{"main.c": "int y;\n"})
    desk.git("push", "-q", str(place), "main", at=tree)
    (job,) = waiting(desk)
    assert job.name == "my-lib_2" and [row[1] for each in job.all("source") for row in each.rows()] == ["ssh://git@sun/srv/lib.git"]
