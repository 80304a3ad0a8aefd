"""A trigger list in a home, looked at by a real cron whose minutes last a second, while the power fails: each commit is one job."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter

from cit_format import reader
from cit_format.errors import CitError
from tests.cluster.machine import Account, within

COMMITS = 3
COMMIT = "cd tree && echo {} >file && git add -A && git commit -qm {} && git push -q ../zlib.git main && git rev-parse HEAD"


def jobs(account: Account) -> Counter[str]:
    """How many jobs the queue has, or had, of each commit."""
    found: dict[str, str] = {}
    for path in account.path(".cit/queues/main").rglob("*.cit"):
        with contextlib.suppress(FileNotFoundError, CitError):  # it moves on
            job = reader.parse(path.read_bytes())
            for row in [row for each in job.all("source") for row in each.rows()]:
                found[job.id] = row[3]
    return Counter(found.values())


def test_each_commit_is_one_job_whatever_happens(lan) -> None:
    machines = lan({"sun": ["ada"]})
    sun, ada = machines["sun"], machines["sun"].account("ada")
    ada.sh("cit-init --cron")
    ada.sh("git config --global user.email ada@sun && git config --global user.name ada && mkdir .cit/triggers")
    ada.sh("git init -q --bare -b main zlib.git && git init -q -b main tree")
    ada.put(".cit/triggers/zlib.triggers", "repo ../../zlib.git main => -J zlib -- true\n")
    chance, made = random.Random(3), []
    sun.cron(60)
    for number in range(COMMITS):
        made.append(ada.text(COMMIT.format(number, number)))
        if number:
            time.sleep(chance.uniform(0.5, 3))
            sun.power_off()
            sun.boot()
            sun.cron(60)
        within(60, lambda: f"{jobs(ada)}\n{ada.text('cat mail 2>/dev/null; cit ls')}", lambda: jobs(ada)[made[-1]])
    within(30, "what was sent is forgotten", lambda: not list(ada.path(".cit/triggers/zlib.triggers.unsent").glob("*.cit")))
    assert jobs(ada) == dict.fromkeys(made, 1)
    ada.sh("cit fsck")
