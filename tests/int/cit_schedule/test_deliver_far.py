"""cit-deliver between machines: one connection a door, side by side, nothing lost and nothing left behind (docs/stages/deliver.md)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from cit_schedule import carry, deliver, over_ssh
from cit_schedule.cit_format import clock, document, handover, home, keys, reader, spool
from cit_schedule.cit_format.document import Document, section
from tests.cluster.machine import within
from tests.int.cit_schedule.far import ONCE, Far

DELIVER = "cit-deliver -q --from assigned --to sent"


def states(stream: bytes) -> list[tuple[str, str]]:
    """Of each ticket the document's ID and the state."""
    return [(each.id, str(each.table("ticket")["state"])) for each in reader.documents(reader.reader_of(stream)) if isinstance(each, Document)]


# --- jobs to their builders ---------------------------------------------------------------------------------------------


def test_jobs_go_to_their_builders_over_one_connection_each(far: Far) -> None:
    jobs = {name: [each.raw for each in far.assigned(name, 3)] for name in ("moon", "star")}
    before = {name: far.connections(name) for name in jobs}
    ended = far.hub.sh(DELIVER)
    assert (ended.stdout, ended.stderr) == (b"", b"")
    assert {name: far.inbox(name) for name in jobs} == jobs and far.counts() == {"sent": 6}
    assert {name: far.connections(name) - count for name, count in before.items()} == {"moon": 1, "star": 1}, "load and ends go over it too"
    assert {path.name for path in (far.queue / "builders/.load").glob("*.cit")} == {"moon.cit", "star.cit"}
    within(2, "nothing is left", lambda: not far.left_behind())


@ONCE
def test_the_same_again_is_there_once(far: Far) -> None:
    far.assigned("moon", 2)
    far.hub.sh(DELIVER)
    for name in spool.listing(far.queue / "sent"):
        (far.queue / "sent" / name).rename(far.queue / "assigned" / name)
    far.hub.sh(DELIVER)
    assert far.counts() == {"sent": 2} and len(far.inbox("moon")) == 2


def test_a_door_that_hangs_delays_no_other_and_a_signal_ends_it_all(far: Far) -> None:
    far.answers_with("moon", "exec sleep 60")
    (there,), (hangs,) = far.assigned("star"), far.assigned("moon")
    carrying = far.hub.start_sh(f"exec {DELIVER}")
    try:
        within(5, "star has its job", lambda: far.inbox("star") == [there.raw])
        within(5, "and it is sent", lambda: far.counts() == {"assigned": 1, "sent": 1})
        (later,) = far.assigned("star")
        within(5, "what comes meanwhile is taken along", lambda: far.inbox("star") == [there.raw, later.raw])
        within(5, "and is sent", lambda: far.counts() == {"assigned": 1, "sent": 2})
        assert carrying.poll() is None, "it still waits for moon"
    finally:
        carrying.send_signal(signal.SIGTERM)
        carrying.communicate()
    assert carrying.returncode == 128 + signal.SIGTERM
    within(2, "nothing is left", lambda: not far.left_behind())
    assert [each.raw for each in far.cluster.lying("assigned")] == [hangs.raw]


@ONCE
def test_who_comes_meanwhile_leaves_it_to_the_one_at_work(far: Far) -> None:
    """Wishes too, and builders that are new; and jobs go on being scheduled."""
    far.answers_with("moon", "exec sleep 60")
    far.assigned("moon")
    far.hub.put(".cit/queues/main/queue.toml", far.first[far.queue.path / "queue.toml"].replace(b'on-arrival = ""', b""))
    carrying = far.hub.start_sh(f"exec {DELIVER}")
    try:
        (running,) = far.assigned("star")
        within(5, "star has a job", lambda: far.inbox("star") == [running.raw])
        ended = far.hub.sh(DELIVER, status=75)
        assert ended.stderr == b""
        wish = far.wish(running, "cancel")
        within(5, "and the wish", lambda: [each.read_bytes() for each in far.star.path(".cit/control").glob("*.cit")] == [wish.raw])
        far.sun.sh("cit push -q -w star -- true")
        within(8, "and a job that was pushed now", lambda: len(far.inbox("star")) == 2)
    finally:
        carrying.send_signal(signal.SIGTERM)
        carrying.communicate()


def test_an_sshd_that_is_killed_keeps_the_jobs_and_they_come_later(far: Far) -> None:
    jobs = far.assigned("moon", 2)
    far.answers_with("moon", "echo $PPID >asked; exec sleep 60")
    asked = far.moon.path("asked")
    asked.unlink(missing_ok=True)
    carrying = far.hub.start_sh(f"exec {DELIVER}")
    within(5, "moon is asked", lambda: asked.exists() and asked.read_text().strip())
    os.kill(int(asked.read_text()), signal.SIGKILL)  # the sshd of this connection
    _, said = carrying.communicate(timeout=20)
    assert carrying.returncode == 69 and b"the connection broke" in said and far.counts() == {"assigned": 2}
    far.fresh_door("moon")
    assert far.hub.sh(DELIVER, status=75).stderr == b"", "the door rests"
    far.hub.sh(f"CIT_NOW={clock.iso(clock.now() + clock.MINUTE)} {DELIVER}")
    assert far.inbox("moon") == [job.raw for job in jobs] and far.counts() == {"sent": 2}


@ONCE
def test_many_go_in_groups_over_one_connection(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "GROUP", 4)
    jobs = far.assigned("moon", 10)
    before = far.connections("moon")
    assert deliver.carried(far.queue, far.queue / "assigned", far.queue / "sent") == 0
    assert far.counts() == {"sent": 10} and far.inbox("moon") == [job.raw for job in jobs] and far.connections("moon") - before == 1


@ONCE
def test_what_a_builder_refuses_is_set_aside_and_the_others_go(far: Far) -> None:
    good, bad = far.assigned("moon", 2)
    path = next(path for path in (far.queue / "assigned").glob(f"*{bad.id}*"))
    path.write_bytes(bad.raw.replace(b"\ntrue\n", b"\nfalse\n"))
    assert b"refused by ssh://" in far.hub.sh(DELIVER, status=77).stderr
    assert far.inbox("moon") == [good.raw] and far.counts() == {"sent": 1} and len(spool.listing(far.queue / "refused")) == 1


@ONCE
def test_wishes_and_a_handover_come_before_the_jobs(far: Far) -> None:
    ada, queue = far.cluster.ada, far.queue
    said = handover.made(queue.full_name, 2, queue.signer.public, queue.identity, "", clock.now())
    moved = home.signed(document.new("main", section("handover", "toml", said)), ada.signer, ada.identity, "cit-hosts")
    handover.keep(queue / "hosts", moved, handover.said(moved))
    job = far.assigned("moon", 1)[0]
    wish = far.wish(job, "cancel")
    far.hub.sh(DELIVER, status=77)  # of epoch 1: nobody takes it any more
    assert [path.name for path in far.moon.path(".cit/hosts").glob("*.cit")] == [handover.file_name(queue.full_name)]
    assert [path.read_bytes() for path in far.moon.path(".cit/control").glob("*.cit")] == [wish.raw]
    rows = (queue / "control" / ".carried").read_text().splitlines()
    assert sorted(row.split("\t")[1:] for row in rows) == [["moon", "accepted"]] * 2 and far.inbox("moon") == []
    for path in far.moon.path(".cit/hosts").glob("*.cit"):
        path.unlink()


# --- ends to their queue ------------------------------------------------------------------------------------------------


def test_ends_go_home_with_a_heartbeat(far: Far) -> None:
    ended = far.ended("moon", 3)
    before = far.connections("hub")
    far.moon.sh("cit-sync -q")
    assert far.counts() == {"done": 3} and sorted(each.raw for each in far.cluster.lying("done")) == sorted(each.raw for each in ended)
    assert spool.listing(far.moon.path(".cit/finished")) == [] and far.connections("hub") - before == 1
    assert (far.queue / "builders/.load/moon.cit").exists()


@ONCE
def test_an_end_waits_while_its_queue_is_away(far: Far) -> None:
    far.ended("moon")
    far.hub.path(".ssh/authorized_keys").write_text("")
    assert b"did not let this key in" in far.moon.sh("cit-sync -q", status=69).stderr
    assert len(spool.listing(far.moon.path(".cit/finished"))) == 1 and far.counts() == {"sent": 1}


# --- a stream -----------------------------------------------------------------------------------------------------------


@ONCE
def test_a_stream_goes_to_a_queue_elsewhere_and_its_tickets_come_in_order(far: Far) -> None:
    jobs = [far.job() for _ in range(5)]
    before = far.connections("hub")
    ended = far.sun.sh("cit-deliver -q", stdin=b"".join(job.raw for job in jobs))
    assert states(ended.stdout) == [(job.id, "accepted") for job in jobs] and far.counts() == {"waiting": 5}
    assert far.connections("hub") - before == 1
    again = far.sun.sh("cit-deliver -q", stdin=b"".join(job.raw for job in reversed(jobs)))
    assert states(again.stdout) == [(job.id, "duplicate") for job in reversed(jobs)]


@ONCE
def test_a_stream_that_cannot_go_is_kept_by_who_sent_it(far: Far) -> None:
    far.sun.path(".cit/known_hosts").write_text("")
    jobs = [far.job() for _ in range(2)]
    ended = far.sun.sh("cit-deliver -q", stdin=b"".join(job.raw for job in jobs), status=78)
    assert states(ended.stdout) == [(job.id, "kept") for job in jobs] and ended.stderr.count(b"is not known here") == 1
    assert far.counts() == {}


# --- by which key -------------------------------------------------------------------------------------------------------


def test_a_person_comes_with_the_key_that_config_names(far: Far) -> None:
    other = keys.generate(far.sun.path(".cit/other"), "ada@sun")
    lines = far.hub.path(".ssh/authorized_keys").read_text().replace(far.cluster.ada.public, " ".join(other.public.line.split()[:2]))
    far.hub.path(".ssh/authorized_keys").write_text(lines)
    assert far.sun.sh("cit-deliver -q --ask @team alive", status=69).stdout == b""
    with open(far.sun.path(".cit/config.toml"), "a") as stream:
        stream.write('key = "~/.cit/other"\n')
    assert b"ada@sun" in far.sun.sh("cit-deliver -q --ask @team alive").stdout


def test_without_any_a_person_comes_with_the_key_of_the_cit_home(far: Far) -> None:
    own = far.sun.path(".ssh")
    own.rename(own.with_name("away"))
    try:
        (far.sun.path(".cit/id_ed25519")).write_bytes((own.with_name("away") / "id_ed25519").read_bytes())
        far.sun.path(".cit/id_ed25519").chmod(0o600)
        assert b"ada@sun" in far.sun.sh("cit-deliver -q --ask @team alive").stdout
    finally:
        far.sun.path(".cit/id_ed25519").unlink()
        own.with_name("away").rename(own)


def test_old_directories_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_ssh, "PLACE", str(tmp_path))
    old, new, other = (tmp_path / name for name in (f"{over_ssh.PREFIX}a", f"{over_ssh.PREFIX}b", "other"))
    for directory in (old, new, other):
        directory.mkdir()
    (old / "log").touch()
    os.utime(old, (time.time() - 4000,) * 2)
    os.utime(other, (time.time() - 4000,) * 2)
    over_ssh.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{over_ssh.PREFIX}b", "other"]
