"""A cluster made as people make it, by `cit add`, `cit allow` and `cit join` alone; then from one person's push to their report."""

from __future__ import annotations

import re

from tests.cluster.machine import within


def test_a_cluster_made_by_verbs(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    ada, hub, moon = (machines[name].account(user) for name, user in (("sun", "ada"), ("hub", "cit"), ("moon", "build")))

    # The manager's account has a queue and may log in at the build account, which has sshd and python3 and nothing else.
    hub.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cit init; rm .cit/queues/main/builders/*")
    hub.put(".ssh/known_hosts", moon.known)
    hub.sh(f"cit config @main door {hub.place}/@main")
    ada.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
    public = ada.sh("cat .ssh/id_ed25519.pub").stdout
    hub.sh("cit allow --door ada@sun - @main", public)
    machines["moon"].sh("umount -l /opt/cit", "root")
    moon.put(".ssh/authorized_keys", hub.sh("cat .ssh/id_ed25519.pub").stdout)
    hub.sh(f"cit add build@{moon.address} --slots 2 --users ada@sun")
    moon.sh("PATH=~/.cit/bin:$PATH cit allow --door ada@sun -", public)  # she may read there, too
    made = hub.sh("cit join --make >cluster.cit")
    fingerprint = re.search(rb"SHA256:\S+", made.stderr)
    assert fingerprint, made.stderr
    ada.put("cluster.cit", hub.sh("cat cluster.cit").stdout)
    said = ada.sh(f"cit join cluster.cit {fingerprint[0].decode()} --as ada@sun").stderr.decode()
    named = re.search(r"@main-\S+", said)
    assert named, said
    ada.sh(f"cit config queues {named[0]}")

    ada.sh("cit push --wait -q -J hello -- sh -c 'hostname; exit 3'", status=3)
    assert ada.text("cit log hello") == "moon" and "\tFAILED\t3\t" in ada.text("cit report --tsv hello")
    assert ada.text("cit trace --tsv hello").count("\tgood\t") >= 6
    within(10, "nothing runs any more on moon", lambda: machines["moon"].text("ps -o args= -u build", "root", status=None) == "")
