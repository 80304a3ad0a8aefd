"""Benchmarks over ssh: sshd of this account on loopback ports, a home for each (tests/cluster/loopback.py); peers in the same run (docs/bench.md).

What a network adds comes on top: here a round trip takes no time, so what is seen is what the programs take.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import peers  # noqa: E402 # beside this file

from tests.cluster import loopback as loopbacks  # noqa: E402
from tests.cluster.cluster import Cluster  # noqa: E402
from tests.cluster.machine import Account  # noqa: E402

Row = tuple[str, str, str]
COUNT = 1000  # documents that are delivered
BUILDERS, HANGING = 50, 5
TURNS = 7


@contextmanager
def machines(*names: str) -> Iterator[list[Account]]:
    """An account on a machine for each name."""
    place = Path(tempfile.mkdtemp(prefix=".cit-bench-", dir=os.path.expanduser("~")))
    made = loopbacks.Loopback(place, {name: ["cit"] for name in names})
    try:
        yield [made[name].account("cit") for name in names]
    finally:
        made.close()
        time.sleep(1)  # what runs detached sees the end of its connections
        shutil.rmtree(place, ignore_errors=True)


def timed(account: Account, command: str, stdin: bytes = b"") -> float:
    """Seconds that a line of sh takes."""
    began = time.perf_counter()
    account.sh(command, stdin=stdin, status=None, timeout=600)
    return time.perf_counter() - began


def delivery() -> Iterator[Row]:
    """1,000 documents to one builder over ssh, and GNU parallel's --sshlogin beside."""
    for transport in ("fabric", "ssh"):
        with machines("sun", "hub", "moon") as (person, queue, builder):
            Cluster(person, queue, [builder], **{"on-arrival": ""})
            queue.sh(f"cit config transport {transport}")
            builder.sh("cit config on-arrival ''")
            person.sh("cit push --no-source --each - -- true", stdin=b"".join(b"%d\n" % number for number in range(COUNT)))
            queue.sh("cit-schedule -q --from waiting --to assigned --queue @main")
            before = builder.machine.said().count(b"Accepted publickey")
            taken = timed(queue, "cit-deliver -q --from assigned --to sent --queue @main")
            arrived = len(list(builder.path(".cit/inbox").glob("*.cit")))
            connections = builder.machine.said().count(b"Accepted publickey") - before
            yield f"cit-deliver by {transport}: {arrived} documents to one builder", f"{arrived / taken:.0f} a second", f"{connections} connections"
    yield parallel()


def parallel() -> Row:
    """GNU parallel running `true` over ssh, which keeps a connection open for all (ControlMaster)."""
    if not shutil.which("parallel"):
        return "GNU parallel --sshlogin", "not installed", ""
    with machines("sun", "moon") as (person, builder):
        person.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
        builder.put(".ssh/authorized_keys", person.path(".ssh/id_ed25519.pub").read_text())
        person.put(".ssh/known_hosts", builder.known)
        login = builder.place.removeprefix("ssh://").rpartition(":")
        options = f"-p {login[2]} -i {person.home}/.ssh/id_ed25519 -o UserKnownHostsFile={person.home}/.ssh/known_hosts"
        command = f"seq {COUNT // 5} | parallel --will-cite --controlmaster --ssh 'ssh {options}' -S 2/{login[0]} true {{}}"
        taken = timed(person, command)
        return f"GNU parallel --sshlogin: {COUNT // 5} x true", f"{COUNT // 5 / taken:.0f} a second", "runs them, keeps nothing"


def everywhere(account: Account) -> None:
    """Have its sshd listen on every address of the loopback network, so that one machine can stand for many."""
    configuration = account.path(".ssh/sshd_config")
    configuration.write_text(configuration.read_text().replace("ListenAddress 127.0.0.1", "ListenAddress 0.0.0.0"))
    assert isinstance(account.machine, loopbacks.Loop)
    account.machine.sshd.send_signal(signal.SIGHUP)
    time.sleep(0.5)


def passing(queue: Account) -> threading.Thread:
    """A delivery pass that has begun."""
    thread = threading.Thread(target=timed, args=(queue, "cit-deliver -q --from assigned --to sent --queue @main"), daemon=True)
    thread.start()
    return thread


def many() -> Iterator[Row]:
    """A delivery pass over 50 builders, one document each; then with 5 of them accepting connections and saying nothing."""
    with machines("sun", "hub", "moon") as (person, queue, builder):
        cluster = Cluster(person, queue, [builder], **{"on-arrival": ""})
        builder.sh("cit config on-arrival ''")
        member = cluster.members["moon"]
        everywhere(builder)
        silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(HANGING)]
        kept: list[socket.socket] = []

        def swallow(server: socket.socket) -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        for server in silent:
            threading.Thread(target=swallow, args=(server,), daemon=True).start()
        for hanging in (0, HANGING):
            queue.sh("rm -f .cit/queues/main/builders/*.cit .cit/queues/main/assigned/.doors")
            for number in range(BUILDERS):
                # Each builder is a connection of its own: the same account under another name of the loopback network.
                place = builder.place.replace("127.0.0.1", f"127.0.0.{number + 2}")
                if number < hanging:
                    place = f"{builder.place.rpartition(':')[0]}:{silent[number].getsockname()[1]}"
                described = cluster.describe(member, name=f"b{number}", door=place, host=f"b{number}", tags=[f"b{number}"])
                queue.put(f".cit/queues/main/builders/{described.id}-b{number}.cit", described.raw)
            known = "".join(builder.known.replace("127.0.0.1", f"127.0.0.{number + 2}") for number in range(BUILDERS))
            queue.put(".cit/known_hosts", builder.known + known)
            person.sh("".join(f"cit push -q --no-source -C b{number} -- true;" for number in range(BUILDERS)))
            queue.sh("cit-schedule -q --from waiting --to assigned --queue @main")
            before = len(list(queue.path(".cit/queues/main/sent").glob("*.cit")))
            whole = passing(queue)
            began = time.perf_counter()
            while whole.is_alive() and len(list(queue.path(".cit/queues/main/sent").glob("*.cit"))) - before < BUILDERS - hanging:
                time.sleep(0.01)
            taken = time.perf_counter() - began
            whole.join()
            arrived = len(list(queue.path(".cit/queues/main/sent").glob("*.cit"))) - before
            what = f"a pass over {BUILDERS} builders" + (f", {hanging} of which hang" if hanging else "")
            figure = f"{taken:.1f} s" if arrived == BUILDERS - hanging else f"only {arrived} arrived"
            yield f"{what}: the others have theirs", figure, f"the whole pass {time.perf_counter() - began:.1f} s"
        for server in silent:
            server.close()


def latency() -> Iterator[Row]:
    """From `cit push` on A, through the queue on B and a builder on C, until A has the result; plain ssh beside."""
    with machines("sun", "hub", "moon") as (person, queue, builder):
        Cluster(person, queue, [builder])
        person.sh("cit push --no-source --wait -- true")
        for transport in ("fabric", "ssh"):
            for account in (person, queue, builder):
                account.sh(f"cit config transport {transport}")
            taken = sorted(timed(person, "cit push --no-source --wait -- true") for _ in range(TURNS))
            yield f"cit push --wait -- true, A to B to C and back, by {transport}", f"{taken[TURNS // 2]:.2f} s", f"best {taken[0]:.2f} s (aim 2 s)"
        builder.put(".ssh/authorized_keys", person.path(".ssh/id_ed25519.pub").read_text())
        port = builder.place.rpartition(":")[2]
        known = "-o UserKnownHostsFile=.cit/known_hosts -o StrictHostKeyChecking=yes"
        plain = f"ssh -F none -p {port} -i .ssh/id_ed25519 {known} {builder.place[6:].rpartition(':')[0]} true"
        once = sorted(timed(person, plain) for _ in range(TURNS))
        yield "  ssh C true, one connection", f"{once[TURNS // 2]:.2f} s", "four such connections are in the way above"


def network() -> Iterator[Row]:
    """All of these."""
    why = loopbacks.obstacle()
    if why:
        yield "over ssh", "not measured", why
        return
    for bench in (delivery, many, latency, peers.of_slurm):
        yield from bench()
