"""A builder's heartbeat: what it says, what its queue believes, and that it comes home with results (docs/format/builder.md)."""

from __future__ import annotations

import subprocess

import pytest

from cit_format import clock, frame, heartbeat, home, keys, reader, spool
from cit_format.document import Document, section
from cit_format.errors import CitError
from tests.int.cit_queue.house import ROOT, House, statuses


def handed(house: House, *documents: Document) -> list[object]:
    """State or status of each ticket of a put-done."""
    ended = house.run("--to", "@main", "--door=put-done", stdin=frame.framed(b"".join(each.raw for each in documents), len(documents)))
    return statuses(frame.unframed(reader.reader_of(ended.stdout), strict=True)(1 << 30))


def lies(house: House, state: str, job: Document) -> str:
    """The job, assigned, in a state of the build account: how it is called there."""
    given = house.assigned(job, state="")
    (house.account / state / f"1000-{clock.now():016d}.{job.id}.a1-{job.name}.cit").write_bytes(given.raw)
    return f"{job.id}.a1-{job.name}"


def beat(house: House, now: int | None = None, queue: str = "") -> Document:
    return heartbeat.heartbeat(house.account, clock.now() if now is None else now, queue)


def key(house: House) -> str:
    return house.account.signer.public.fingerprint


def test_it_tells_load_and_jobs_and_keeps_the_owners_part(house: House) -> None:
    waits, runs, ended = (lies(house, state, house.job(state)) for state in ("inbox", "running", "finished"))
    (house.account / "inbox" / ".claim" / "sun~1~2").mkdir(parents=True)
    name = spool.listing(house.account / "inbox")[0]
    (house.account / "inbox" / name).rename(house.account / "inbox" / ".claim" / "sun~1~2" / name)
    described = home.describe_builder(house.account)
    (house.account / "builder.cit").write_bytes(described.raw + section("load", "toml", b'load = "9"\n'))
    answer = beat(house)
    assert answer.raw.startswith(described.raw) and [each.kind for each in answer.sections[2:]] == ["load", "jobs", "signature"]
    heard = heartbeat.believed(reader.parse(answer.raw), key(house), clock.now())
    assert {job.copy: job.state for job in heard.jobs} == {waits: "PENDING", runs: "RUNNING", ended: "ENDED"}
    assert all(abs(job.since - clock.now()) < clock.MINUTE for job in heard.jobs)
    assert (heard.running, heard.waiting) == (1, 1) and heard.load >= 0 and heard.tmp_free and heard.mem_free
    checked = subprocess.run([ROOT / "bin" / "cit-format", "check"], input=answer.raw, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_queue_is_told_of_its_own_jobs_alone(house: House) -> None:
    mine = lies(house, "inbox", house.job("mine"))
    other = lies(house, "inbox", house.job("other", queue="other@SHA256:" + "q" * 43))
    everything = heartbeat.believed(beat(house), key(house), clock.now())
    assert {job.copy for job in everything.jobs} == {mine, other}
    told = heartbeat.believed(beat(house, queue=house.queue.full_name), key(house), clock.now())
    assert [job.copy for job in told.jobs] == [mine] and told.waiting == 2, "the load is of all"


def test_what_is_not_the_builders_own_word_is_not_believed(house: House) -> None:
    answer, now = beat(house), clock.now()
    other = keys.generate(house.directory / "other", "builder@moon")
    before = home.describe_builder(house.account)
    parts = [answer.raw[each.start : each.end] for each in answer.sections]
    resigned = home.signed(before.extended(*parts[2:4]), other, "builder@moon", "cit-builder")
    wrong = {
        "changed": reader.parse(answer.raw.replace(b"running = 0", b"running = 7")),
        "unsigned": reader.parse(answer.raw[: answer.sections[-1].start]),
        "by another": resigned,
        "in another role": home.signed(before.extended(*parts[2:4]), house.account.signer, "builder@sun", "cit-result"),
        "no load": home.signed(before.extended(parts[3]), house.account.signer, "builder@sun", "cit-builder"),
        "of the future": beat(house, now + 10 * clock.MINUTE),
        "a job": house.assigned(house.job(), state=""),
    }
    heartbeat.believed(answer, key(house), now)
    for why, document in wrong.items():
        with pytest.raises(CitError) as error:
            heartbeat.believed(document, key(house), now)
        assert error.value.status in (65, 77), why


def test_it_comes_home_with_results_and_the_newest_one_stays(house: House) -> None:
    ended = house.ended(house.assigned(house.job()))
    now = clock.now()
    first, newer, older = beat(house, now - clock.MINUTE), beat(house, now), beat(house, now - 2 * clock.MINUTE)
    assert handed(house, first, ended) == ["accepted", "accepted"]
    kept = house.queue / "builders" / ".load" / "sun.cit"
    assert kept.read_bytes() == first.raw and kept.stat().st_mode & 0o777 == 0o600
    assert handed(house, newer, older, newer) == ["accepted", "duplicate", "duplicate"] and kept.read_bytes() == newer.raw
    heard = heartbeat.kept(house.queue, "sun", key(house), now)
    assert heard is not None and heard.time // clock.SECOND == now // clock.SECOND
    assert heartbeat.kept(house.queue, "sun", "SHA256:other", now) is None


def test_a_heartbeat_of_nobody_known_here_is_refused_and_leaves_nothing(house: House) -> None:
    other = keys.generate(house.directory / "other", "builder@moon")
    before = home.describe_builder(house.account)
    answer = beat(house)
    stolen = home.signed(before.extended(*(answer.raw[each.start : each.end] for each in answer.sections[2:4])), other, "b@moon", "cit-builder")
    (house.account / "builder.cit").write_bytes(before.raw.replace(b'name = "sun"', b'name = "../sun"', 1))
    renamed = beat(house)
    assert handed(house, stolen, renamed) == [77, 77]
    assert not list((house.queue / "builders" / ".load").glob("*.cit")) and house.lying("refused") == []
