"""The queue's host loses its power again and again, at any moment: every acknowledged job runs once (PROMISES 1, 3, 8, 13).

After each boot the same pids come again, in another pid namespace, while claims and locks of the dead lie about.
"""

from __future__ import annotations

import random
import time

from cit_format import spool
from tests.cluster.cluster import Cluster
from tests.cluster.machine import within

FAILURES, EACH = 6, 4


def test_a_queue_whose_power_fails_again_and_again(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    ada, hub, moon = (machines[name].account(user) for name, user in (("sun", "ada"), ("hub", "cit"), ("moon", "build")))
    cluster = Cluster(ada, hub, [moon])
    chance = random.Random(7)
    for failure in range(FAILURES):
        pushing = ada.start_sh(f"seq {EACH} | cit push -q -J f{failure} --each - -- sh -c 'echo {failure}.{{}} >>~/marks'")
        time.sleep(chance.uniform(0.3, 2))
        machines["hub"].power_off()
        machines["hub"].boot()
        pushing.communicate(timeout=60)
        hub.sh("cit-tick", status=None)

    def ended() -> bool:
        hub.sh("rm -f .cit/queues/main/*/.doors; cit-tick", status=None)
        moon.sh("rm -f .cit/finished/.doors; cit-tick", status=None)
        return cluster.counts() == {"done": FAILURES * EACH}

    ada.sh("cit outbox send >sent", status=None)
    within(30, cluster.story, ended)
    assert sorted(moon.path("marks").read_text().split()) == sorted(
        f"{failure}.{number + 1}" for failure in range(FAILURES) for number in range(EACH)
    )
    assert cluster.ends() == {f"f{failure}": ["COMPLETED"] * EACH for failure in range(FAILURES)}
    assert spool.listing(ada.path(".cit/outbox")) == [] and cluster.lying("refused") == []
    hub.sh("cit fsck")
    moon.sh("cit fsck")
