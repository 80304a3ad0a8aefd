"""A queue account that has turned against everybody, over real ssh: with all that it holds, its keys among it, it gets nothing
forged, altered, run unsigned or read (PROMISES 18, 20, 21). What it can make of documents alone: test_hostile_documents.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_format import clock, document, frame, reader
from cit_format.body import Time
from cit_format.document import Document
from cit_format.reader import Faulty
from tests.cluster import test_hostile_documents as documents
from tests.cluster.cluster import Cluster
from tests.cluster.machine import Account, Answer, within

CANARY = "canary-5b1c9e"


class Held(documents.World):
    """The same forgeries, with the keys of a running cluster."""

    def __init__(self, cluster: Cluster, job: Document) -> None:
        self.keys = {each.identity: each.signer for each in (cluster.ada, cluster.main, *cluster.members.values())}
        self.keys["queue@else"] = cluster.ada.signer  # any key that no builder lists for cit-queue
        self.queue, self.job, self.marks = cluster.name, job, Path("marks")


@pytest.fixture
def cluster(lan) -> Cluster:
    """ada and the queue's account on one machine, which does nothing by itself; moon and star build."""
    machines = lan({"sun": ["ada", "cit"], "moon": ["build"], "star": ["build"]})
    sun = machines["sun"]
    return Cluster(sun.account("ada"), sun.account("cit"), [machines[name].account("build") for name in ("moon", "star")], **{"on-arrival": ""})


def knock(queue: Account, builder: Account, command: str, stdin: bytes = b"", options: str = "") -> Answer:
    """What the queue's account gets with its key at a builder's door."""
    key = "-i .cit/queues/main/key -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=.cit/known_hosts"
    return queue.sh(f"ssh -F none {key} {options} build@{builder.address} {command}", stdin, status=None)


def handed_over(queue: Account, builder: Account, *raw: bytes) -> list[str]:
    """The states on the tickets of documents that it hands over."""
    answer = knock(queue, builder, "put-inbox", frame.framed(b"".join(raw), len(raw)))
    tickets = list(reader.documents(frame.unframed(reader.reader_of(answer.stdout), strict=True)))
    assert not any(isinstance(each, Faulty) for each in tickets) and len(tickets) == len(raw), answer.stderr
    return [str(each.table("ticket")["state"]) for each in tickets if isinstance(each, Document)]


def test_nothing_is_forged_altered_or_run_unsigned(cluster: Cluster) -> None:
    queue, moon, star = cluster.host, cluster.builders["moon"], cluster.builders["star"]
    cluster.person.sh("cit push -q -J hello -- sh -c 'echo $CIT_JOB_NAME >>~/marks'")
    accepted = cluster.lying("waiting")[0]
    held = Held(cluster, reader.parse(accepted.submitted))
    attacks = {name: make(held) for name, make in documents.ATTACKS.items()}
    readable = [name for name in attacks if name != "a void by a builder that moon does not know"]  # star's key is not the queue's
    states = dict(zip(readable, handed_over(queue, moon, *(attacks[name] for name in readable))))
    assert set(states.values()) == {"refused"}, {name for name, state in states.items() if state != "refused"}

    real, again = held.given(accepted), held.given(accepted, assigned=Time(clock.now() + clock.SECOND))
    torn = frame.framed(real.raw, 1)[:-100]
    assert knock(queue, moon, "put-inbox", torn).returncode == 65 and not moon.path("marks").exists()
    assert handed_over(queue, moon, real.raw) == ["accepted"]
    within(10, "the job itself runs", lambda: moon.path("marks").exists())
    within(10, "its end comes", lambda: cluster.counts().get("refused") or knock(queue, moon, "have " + accepted.id).stdout.endswith(b"\t-\n"))
    assert handed_over(queue, moon, real.raw, again.raw) == ["duplicate", "refused"]
    assert handed_over(queue, star, held.given(accepted, to="star").raw) == ["accepted"]  # once at each builder that lists the queue
    within(10, "the job itself runs", lambda: star.path("marks").exists())
    assert moon.path("marks").read_text() == star.path("marks").read_text() == "hello\n"


def test_its_key_opens_nothing_but_its_door(cluster: Cluster) -> None:
    queue, moon = cluster.host, cluster.builders["moon"]
    moon.put("secret-of-build", CANARY)
    for command in ("", "id", "cat secret-of-build", "sh", "ls", "log x 0", "file x 0", "put-accept", "put-done", "'load; id'", "'load\nid'"):
        answer = knock(queue, moon, command)
        assert answer.returncode in (2, 77) and answer.stdout == b"", command
    assert b"PTY allocation request failed" in knock(queue, moon, "load", options="-tt").stderr
    assert knock(queue, moon, "sftp", options="-s").returncode in (2, 77)
    for option in ("-L 2299:127.0.0.1:22", "-R 2299:127.0.0.1:22", "-D 2299"):
        forwarded = knock(queue, moon, "load", options=f"-o ExitOnForwardFailure=yes {option}")
        assert CANARY.encode() not in forwarded.stdout + forwarded.stderr
    through = queue.sh(
        f"ssh -F none -i .cit/queues/main/key -o UserKnownHostsFile=.cit/known_hosts -W 127.0.0.1:22 build@{moon.address} </dev/null", status=None
    )
    assert through.returncode and b"SSH-2.0" not in through.stdout  # no way on to other machines
    assert moon.text("ls .cit/inbox") == ""


def test_what_is_sealed_stays_sealed(cluster: Cluster) -> None:
    queue, moon, ada = cluster.host, cluster.builders["moon"], cluster.person
    for name in ("moon", "star"):  # ada knows her builders herself
        document_of = cluster.describe(cluster.members[name])
        ada.put(f".cit/queues/team/builders/{document_of.id}-{name}.cit", document_of.raw)
    ada.put("token", CANARY)
    ada.put("job.sh", f"#!/bin/sh\n# {CANARY}\nsha256sum <$CIT_SECRETS/TOKEN >>~/marks\n")
    ada.sh("cit push -q -J sealed -w moon --secret TOKEN=@token --seal-script --script job.sh")
    queue.sh("cit-schedule -q --from waiting --to assigned --queue @main; cit-deliver -q --from assigned --to sent --queue @main")
    cluster.wait_done(1)
    assert moon.path("marks").read_text() == ada.text("printf %s $(cat token) | sha256sum") + "\n"

    raw = cluster.lying("done")[0].raw
    queue.put("sealed.age", raw[raw.index(b"-----BEGIN AGE") : raw.index(b"@end script")])
    for key in (".cit/seal", ".cit/key", ".cit/queues/main/seal", ".cit/queues/main/key"):
        assert b"no identity matched" in queue.sh(f"age -d -i {key} sealed.age", status=1).stderr
    found = queue.sh(f"grep -rl {CANARY} ~ /tmp /var/tmp /dev/shm 2>/dev/null", status=None).stdout
    assert found == b""
    moved = Held(cluster, reader.parse(raw)).made("true", builder="moon")  # its sealed parts in another job of ada's
    sections = reader.parse(raw).find("secret")
    assert sections is not None
    carried = document.Document(moved.id, moved.name, moved.raw, moved.sections).extended(raw[sections.start : sections.end])
    assert handed_over(queue, moon, Held(cluster, moved).given(carried).raw) == ["refused"]


def test_what_it_says_of_ends_is_seen_to_be_its_word(cluster: Cluster) -> None:
    queue, ada = cluster.host, cluster.person
    ada.sh("cit push -q -J hello -- sh -c 'exit 3'")
    queue.sh("cit-schedule -q --from waiting --to assigned --queue @main; cit-deliver -q --from assigned --to sent --queue @main")
    cluster.wait_done(1)
    true = cluster.lying("done")[0]
    held = Held(cluster, reader.parse(true.submitted))
    given = held.given(held.job)
    path = next(cluster.days()[0].glob("*.cit"))
    forged = {
        "another word": true.raw.replace(b'state = "FAILED"\nexit = 3', b'state = "COMPLETED"\nexit = 0'),
        "its own word": documents.result(held, given, "queue@sun", "cit-queue"),
        "its own word in the builder's name": documents.result(held, given, "queue@sun", "cit-result"),
        "nobody's word": true.raw[: true.raw.rindex(b"@begin signature")].replace(b'state = "FAILED"\nexit = 3', b'state = "COMPLETED"\nexit = 0'),
        "another job of hers": documents.result(held, held.given(held.made("true")), "queue@sun", "cit-queue"),
    }
    for name, raw in forged.items():
        queue.put(f".cit/queues/main/done/{path.parent.name}/{path.name}", raw)
        said = ada.sh("cit wait hello" if name != "its own word" else "cit trace hello", status=77)
        assert b"what queue @team tells of it cannot be" in said.stderr, name
    assert ada.text("cit ls --all --tsv | grep hello").split("\t")[2] == "PENDING"
    queue.put(f".cit/queues/main/done/{path.parent.name}/{path.name}", true.raw)
    ada.sh("cit wait -q hello", status=3)
    ada.sh("cit trace hello")
