"""A queue moves to another machine: every acknowledged job is done once, results come to the new place, the old one is refused."""

from __future__ import annotations

from tests.cluster.cluster import Cluster, Member
from tests.cluster.machine import within

JOBS = 8


def test_does_a_queue_move_with_all_that_it_has(loopback) -> None:
    machines = loopback({"sun": ["ada"], "hub": ["cit"], "new": ["cit"], "moon": ["build"]})
    ada, hub, new, moon = (machines[name].account(machines[name].user) for name in ("sun", "hub", "new", "moon"))
    cluster = Cluster(ada, hub, [moon])

    # The new place: ssh rights for its owner's rsync from the hub, known host keys both ways; its queue does not exist yet.
    new.sh("cit-format init 2>/dev/null; rm -rf .cit/queues/main")
    hub.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
    new.put(".ssh/authorized_keys", hub.path(".ssh/id_ed25519.pub").read_text())
    hub.put(".ssh/known_hosts", new.known)
    hub.put(".ssh/config", f"Host new\n HostName {new.machine.address}\n Port {new.machine.port}\n User {new.place.split('//')[1].split('@')[0]}\n")
    own = "-F $HOME/.ssh/config -o UserKnownHostsFile=$HOME/.ssh/known_hosts -i $HOME/.ssh/id_ed25519"
    hub.put("ssh", f'#!/bin/sh\nexec /usr/bin/ssh {own} "$@"\n', 0o700)

    hub.sh("cit pause @main")
    pushed = ada.text(f"seq {JOBS} | cit push --no-source --each - -- sh -c 'echo {{}} >>$HOME/marks'").splitlines()
    assert [line.split("\t")[2] for line in pushed] == ["accepted"] * JOBS
    hub.sh("cit pause --freeze @main")
    hub.sh(f"PATH=$HOME:$PATH cit replicate @main new:{new.home}/.cit/queues/main")

    # Its owner logs in there, with the key that the queue lists for cit-hosts; the builder lets the new key in (cit add does that).
    for file in ("id_ed25519", "id_ed25519.pub"):
        new.put(f".ssh/{file}", ada.path(f".ssh/{file}").read_text())
    assert "epoch 2" in new.text("cit activate -n @main")
    new.put(".cit/known_hosts", moon.known)
    new.sh(f"cit-queue --activate --to @main --at {new.place}/@main")
    spoken = Member(new, "queue", ".cit/queues/main/key")
    door = f'{moon.program("cit-queue")} --door=\\"$SSH_ORIGINAL_COMMAND\\"'
    moon.put(".ssh/authorized_keys", moon.path(".ssh/authorized_keys").read_text() + spoken.let_in(f"{door} --role queue --for {cluster.name}"))
    moon.put(".cit/known_hosts", moon.path(".cit/known_hosts").read_text() + new.known)
    entry = f'{new.program("cit-queue")} --door=\\"$SSH_ORIGINAL_COMMAND\\"'
    member = cluster.members["moon"]
    new.put(".ssh/authorized_keys", member.let_in(f"{entry} --role builder --for {member.signer.public.fingerprint} --to @main"))
    new.sh("cit-tick")

    done = new.path(".cit/queues/main/done")
    within(30, "all jobs done at the new place", lambda: len(list(done.glob("2*/*.cit"))) == JOBS)
    assert sorted(moon.text("cat marks").split(), key=int) == [str(number) for number in range(1, JOBS + 1)]
    assert spoken.public.split()[1] not in moon.path(".cit/allowed_signers").read_text()  # believed by the handover alone
    identity = pushed[0].split("\t")[0]
    assert new.sh(f"cit trace {identity}", status=None).returncode == 0

    # The old one comes back, and believes that it is the queue.
    hub.sh("cit resume @main", status=77)
    within(30, "the old queue's jobs refused", lambda: len(list(hub.path(".cit/queues/main/refused").glob("*.cit"))) == JOBS)
    assert "handed over" in hub.text("cat .cit/queues/main/refused/*.cit")
    assert len(moon.text("cat marks").split()) == JOBS

    # Given the handover, it takes nothing more.
    handover = next(new.path(".cit/queues/main/hosts").glob("handover-*.cit")).read_bytes()
    hub.sh("cit-queue -q --to @main", stdin=handover)
    kept = ada.sh("cit push --no-source -- true", status=75)
    assert b"not active" in kept.stderr, kept
