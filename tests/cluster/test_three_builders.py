"""Three builders and 200 jobs; one loses its power in mid-job, one its network, one has a full disk (PROMISES 4, 11, 12).

Every job ends as the pages promise: run at most as often as it allows, what was given up and comes late replaces what the queue
assumed, and the documents say why.
"""

from __future__ import annotations

from collections import Counter

from cit_format import spool
from cit_format.document import Document
from tests.cluster.cluster import Cluster
from tests.cluster.machine import Account, within

MARK = "echo $CIT_JOB_ID.a$CIT_ATTEMPT >>~/marks || echo $CIT_JOB_ID.a$CIT_ATTEMPT >>/tmp/marks"
LIMITS = "-t 6s --start-within 3s --attempts 2 --retry-on lost"
SLOW, QUICK = 2, 194  # slow ones on each builder


def tick(cluster: Cluster, *accounts: Account) -> None:
    """A minute of cron, without the minute: doors rest no more, and the queue looks at the clock again."""
    for each in accounts:
        each.sh("rm -f .cit/queues/main/waiting/.notes .cit/queues/main/*/.doors .cit/*/.doors")
    cluster.tick(*accounts)


def test_200_jobs_end_as_promised(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"], "star": ["build"], "mars": ["build"]})
    moon, star, mars = (machines[name].account("build") for name in ("moon", "star", "mars"))
    cluster = Cluster(machines["sun"].account("ada"), machines["hub"].account("cit"), [moon, star, mars], ahead=20, grace="1s")
    ada = cluster.person

    def slow_jobs(each: Account) -> None:
        """They have begun when this returns, and go on for 3 s."""
        name = each.machine.name
        ada.sh(f"cit push -q -J slow-{name} {LIMITS} -w {name} --each -", stdin=f"{MARK}; sleep 3; echo >>/tmp/ended\n".encode() * SLOW)
        within(15, cluster.story, lambda: each.path("marks").exists() and len(each.path("marks").read_text().split()) == SLOW)

    slow_jobs(moon)
    machines["moon"].power_off()
    slow_jobs(star)
    machines["star"].cut()
    slow_jobs(mars)
    machines["mars"].fill()
    ada.sh(f"cit push -q -J quick {LIMITS} --each -", stdin=f"{MARK}\n".encode() * QUICK)
    assert cluster.counts()["waiting"] > 100
    tick(cluster, cluster.host, mars)
    machines["mars"].free()

    def given_up() -> bool:
        tick(cluster, cluster.host, mars)
        return all(cluster.log().count(f"no word from {name}") == SLOW for name in ("moon", "star"))

    within(30, cluster.story, given_up)
    machines["moon"].boot()
    machines["star"].join()

    def ended() -> bool:
        tick(cluster, cluster.host, moon, star, mars)
        return set(cluster.counts()) == {"done"}

    within(60, cluster.story, ended)

    copies: dict[str, list[Document]] = {}
    for each in cluster.lying("done"):
        copies.setdefault(each.id, []).append(each)
    assert len(copies) == 3 * SLOW + QUICK
    # What was given up ran again; of what was cut off only the end came late, and replaced what the queue had assumed.
    ends = cluster.ends()
    assert ends["slow-moon"] == ["NODE_FAIL", "COMPLETED"] * SLOW and ends["slow-star"] == ["COMPLETED", "COMPLETED"] * SLOW
    assert set(ends["slow-mars"] + ends["quick"]) == {"COMPLETED"}  # also those whose end could not be written for a while
    assert cluster.log().count("moon, late: it had been given up") + cluster.log().count("star, late: it had been given up") == 2 * SLOW
    results = [result.table() for each in cluster.lying("done") for result in each.all("result")]
    assert all(str(result.get("why", "")) for result in results if result["state"] != "COMPLETED")

    marks = Counter(" ".join(each.text("cat marks /tmp/marks", status=None) for each in (moon, star, mars)).split())
    assert marks == Counter(f"{each.id}.a{number}" for each in cluster.lying("done") for number in [len(list(each.all("assignment")))])
    for each in (moon, star, mars):
        assert [spool.listing(each.path(f".cit/{state}")) for state in ("inbox", "running", "finished", "refused")] == [[]] * 4
    assert cluster.lying("refused") == []
