"""What has ended is fetched where its builder has no way home; doors are asked, each verb as its role may (docs/stages/deliver.md)."""

from __future__ import annotations

import pytest

from cit_schedule.cit_format import body, clock, frame, heartbeat, home, reader, spool
from cit_schedule.cit_format.document import Document
from tests.int.cit_schedule.far import ONCE, Far

FETCH = "cit-sync -q --queue @main"


def documents(answer: bytes) -> list[Document]:
    """Those of a framed answer."""
    whole = frame.unframed(reader.reader_of(answer), strict=True)
    return [each for each in reader.documents(whole) if isinstance(each, Document)]


# --- fetching -----------------------------------------------------------------------------------------------------------


def test_what_has_ended_is_fetched_and_forgotten_there(far: Far) -> None:
    ended = far.ended("moon", 2) + far.ended("star")
    before = {name: far.connections(name) for name in ("moon", "star")}
    assert far.hub.sh(FETCH).stderr == b""
    assert far.counts() == {"done": 3} and sorted(each.raw for each in far.cluster.lying("done")) == sorted(each.raw for each in ended)
    assert spool.listing(far.moon.path(".cit/finished")) == spool.listing(far.star.path(".cit/finished")) == []
    assert {name: far.connections(name) - count for name, count in before.items()} == {"moon": 1, "star": 1}
    load = reader.parse((far.queue / "builders/.load/moon.cit").read_bytes())
    heard = heartbeat.believed(load, far.member("moon").signer.public.fingerprint, clock.now())
    assert (heard.name, heard.running) == ("moon", 0)


@ONCE
def test_who_has_no_job_of_ours_is_not_asked(far: Far) -> None:
    before = far.connections("moon"), far.connections("star")
    far.ended("moon")
    far.hub.sh(FETCH)
    far.hub.sh(FETCH)
    assert (far.connections("moon") - before[0], far.connections("star") - before[1]) == (1, 0)


@ONCE
def test_both_ways_at_once_do_no_harm(far: Far) -> None:
    far.ended("moon", 20)
    away = far.moon.start_sh("cit-sync -q")
    far.hub.sh(FETCH)
    assert away.wait(20) == 0, away.communicate()
    assert far.counts() == {"done": 20} and spool.listing(far.moon.path(".cit/finished")) == []


@ONCE
def test_what_the_queue_does_not_believe_is_refused_on_both_sides(far: Far) -> None:
    good, bad = far.ended("moon", 2)
    path = next(path for path in far.moon.path(".cit/finished").glob(f"*{bad.id}*"))
    path.write_bytes(bad.raw.replace(b"COMPLETED", b"FAILED"))
    assert b"from moon: " in far.hub.sh(FETCH, status=77).stderr
    assert far.counts() == {"sent": 1, "done": 1} and [each.id for each in far.cluster.lying("done")] == [good.id]
    assert len(spool.listing(far.queue / "refused")) == len(spool.listing(far.moon.path(".cit/refused"))) == 1
    far.hub.sh(FETCH)


@ONCE
def test_a_builder_that_lies_about_its_load_is_not_believed(far: Far) -> None:
    """What another key signed is said and forgotten; ends come all the same."""
    far.ended("moon")
    far.answers_with("moon", f'{far.program("moon")} --role queue --for {far.cluster.name} | sed "s/^running = 0/running = 1/" > said\ncat said')
    assert far.hub.sh(FETCH, status=69).stderr.count(b"error: ") == 1, "the frame's digest is another: nothing of it counts"
    assert not (far.queue / "builders/.load/moon.cit").exists() and far.counts() == {"sent": 1}


@ONCE
def test_a_door_that_does_not_answer_rests(far: Far) -> None:
    far.ended("moon"), far.ended("star")
    far.answers_with("moon", "exit 1")
    assert far.hub.sh(FETCH, status=69).stderr.count(b"error: ") == 1 and far.counts() == {"sent": 1, "done": 1}
    assert far.hub.sh(FETCH, status=75).stderr == b""
    far.fresh_door("moon")
    far.hub.sh(f"CIT_NOW={clock.iso(clock.now() + clock.MINUTE)} {FETCH}")
    assert far.counts() == {"done": 2}


@ONCE
def test_a_tick_fetches(far: Far) -> None:
    far.ended("moon")
    far.hub.sh("cit-tick")
    assert far.counts() == {"done": 1}


# --- asking -------------------------------------------------------------------------------------------------------------


@ONCE
def test_a_person_asks_a_queue(far: Far) -> None:
    job = far.job()
    put = far.sun.sh("cit-deliver -q --ask @team put-accept", stdin=frame.framed(job.raw, 1)).stdout
    assert [str(each.table("ticket")["state"]) for each in documents(put)] == ["accepted"]
    (row,) = body.rows(far.sun.sh("cit-deliver -q --ask @team alive").stdout)
    assert row[:2] == [far.cluster.name, "active"]
    assert body.rows(far.sun.sh(f"cit-deliver -q --ask @team have {job.id}").stdout) == [[job.id, "waiting"]]
    assert far.sun.sh("cit-deliver -q --ask @team have 01kax0m2ht8f0v3q6s9y2c4e7g", status=1).stdout != b""
    (got,) = documents(far.sun.sh(f"cit-deliver -q --ask @team get {job.id}").stdout)
    assert got.raw.startswith(job.raw)
    assert far.sun.sh("cit-deliver -q --ask @team ls waiting").stdout.startswith(b"waiting\t")
    assert {each.name for each in documents(far.sun.sh("cit-deliver -q --ask @team builders").stdout)} == {"moon", "star"}
    place = far.cluster.door
    assert body.rows(far.sun.sh(f"cit-deliver -q --ask {place} have {job.id}").stdout) == [[job.id, "waiting"]]


@ONCE
def test_a_queue_asks_a_builder_by_its_name(far: Far) -> None:
    (ended,) = far.ended("moon")
    (said,) = documents(far.hub.sh("cit-deliver -q --ask moon load").stdout)
    assert said.kind == "builder" and said.name == "moon"
    assert [each.raw for each in documents(far.hub.sh("cit-deliver -q --queue @main --ask moon finished").stdout)] == [ended.raw]
    assert documents(far.hub.sh(f"cit-deliver -q --queue @main --ask {far.moon.place} load").stdout)[0].kind == "builder"
    (job,) = far.assigned("moon")
    far.hub.sh("cit-deliver -q --ask moon put-inbox", stdin=frame.framed(job.raw, 1))
    assert far.inbox("moon") == [job.raw]
    assert b"no builder mars" in far.hub.sh("cit-deliver -q --ask mars load", status=66).stderr


@ONCE
def test_a_person_reads_at_a_builder(far: Far) -> None:
    place = far.moon.place
    row = body.rows(far.sun.sh(f"cit-deliver -q --ask {place} alive").stdout)[0]
    assert row[-1] == far.cluster.ada.identity
    refused = far.sun.sh(f"cit-deliver -q --ask {place} put-inbox", stdin=frame.framed(b"", 0), status=77)
    assert refused.stdout == b"" and b"may not ask put-inbox" in refused.stderr


@ONCE
@pytest.mark.parametrize("verb", ["alive", "ls", "load"])
def test_a_place_of_this_machine_is_asked_the_same(far: Far, verb: str) -> None:
    home_of = far.moon.path(".cit")
    here = far.hub.sh(f"cit-deliver -q --ask {home_of} {verb}", stdin=b"not read").stdout
    assert far.hub.sh(f"cit-deliver -q --ask {far.queue.path} alive").stdout.startswith(far.cluster.name.encode())
    if verb == "load":
        assert documents(here)[0].name == "moon"


def test_an_answer_comes_as_it_is_made(far: Far) -> None:
    """Byte for byte, at once, and with the door's own status."""
    far.answers_with("moon", "printf '\\000\\377'; sleep 5; exit 3")
    asking = far.hub.start_sh("exec cit-deliver -q --ask moon alive")
    assert asking.stdout is not None and asking.stdout.read(2) == b"\0\xff" and asking.poll() is None
    asking.stdout.close()
    asking.terminate()
    asking.wait()
    far.answers_with("moon", "printf x; exit 3")
    assert far.hub.sh("cit-deliver -q --ask moon alive", status=3).stdout == b"x"
    far.answers_with("moon", "printf x; kill -9 $$")
    assert far.hub.sh("cit-deliver -q --ask moon alive", status=69).stdout == b"x"


@ONCE
def test_words_that_are_none(far: Far) -> None:
    for words in ("--ask @main", "--ask 'a b' alive", "--ask @main 'ls waiting'", "alive", "--ask @nowhere alive"):
        assert far.hub.sh(f"cit-deliver -q {words}", status=None).returncode in (2, 66), words


@ONCE
def test_fetching_without_builders_elsewhere_is_nothing(far: Far) -> None:
    assert far.sun.sh("cit-deliver -q --fetch --queue @main").stderr == b""
    assert home.Queue(far.sun.path(".cit/queues/main")).active
