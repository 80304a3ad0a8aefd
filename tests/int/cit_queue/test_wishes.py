"""Control documents: whose wish counts, when it is too late, where it lies."""

from __future__ import annotations

from cit_format import clock, control
from tests.int.cit_queue.house import House, statuses


def wished(house: House) -> list[str]:
    return sorted(path.name for path in (house.queue / "control").glob("*.cit"))


def test_a_wish_lies_under_its_target_with_a_ticket(house: House) -> None:
    job = house.job()
    cancel = house.control("cancel", job.id)
    assert house.push(job, cancel, cancel) == ["accepted", "accepted", "duplicate"]
    assert wished(house) == [f"{job.id}.{cancel.id}.cit"]
    assert (house.queue / "control" / wished(house)[0]).read_bytes() == cancel.raw
    assert house.push(cancel) == ["duplicate"]
    said = control.look(house.queue / "control", job, None, None, house.queue.signers, clock.now())
    assert said.cancel is not None and said.cancel.id == cancel.id


def test_the_submitter_and_the_keys_of_the_place_are_honoured(house: House) -> None:
    bens, adas = house.job("bens", who="ben"), house.job("adas")
    house.push(bens, adas)
    wishes = [
        house.control("hold", bens.id, who="ben"),
        house.control("hold", bens.id, who="ada"),
        house.control("hold", adas.id, who="ben"),
        house.control("hold", adas.id, who="eve"),
    ]
    ended = house.run("--to", "@main", stdin=b"".join(each.raw for each in wishes))
    assert statuses(ended.stdout) == ["accepted", "accepted", 77, 77] and ended.returncode == 77
    assert b"another's job" in ended.stderr and b"is not in" in ended.stderr
    assert len(house.lying("refused")) == 2 and len(wished(house)) == 2


def test_a_wish_may_come_before_its_job(house: House) -> None:
    early = house.control("cancel", clock.new_id(), who="ben")
    assert house.push(early) == ["accepted"] and len(wished(house)) == 1


def test_what_is_wrong_with_a_wish_is_named(house: House) -> None:
    job = house.job()
    house.push(job)
    good = house.control("cancel", job.id)
    cases = {
        good.raw.replace(b'action = "cancel"', b'action = "hold"'): 77,
        good.raw.partition(b"@begin signature")[0]: 77,
        house.control("explode", job.id).raw.replace(b" explode\n", b" cancel\n", 1): 65,
        house.control("priority", job.id, value="high").raw: 65,
        house.control("cancel", job.id, queue="main@SHA256:other").raw: 77,
        house.control("cancel", job.id, target="hello").raw: 65,
    }
    ended = house.run("--to", "@main", stdin=b"".join(cases))
    assert statuses(ended.stdout) == list(cases.values())
    assert wished(house) == [] and len(house.lying("waiting")) == 1


def test_too_late_is_1_and_nothing_is_kept(house: House) -> None:
    done, again = house.assigned(house.job("done")), house.job("again")
    for each in (done, house.assigned(again)):
        day = house.queue / "done" / clock.id_day(each.id)
        day.mkdir(exist_ok=True)
        (day / f"{each.id}.a1-{each.name}.cit").write_bytes(house.ended(each).raw)
    for path in (house.queue / "sent").glob("*.cit"):
        path.unlink()
    house.assigned(house.ended(house.assigned(again, state="")), attempt=2)
    ended = house.run("--to", "@main", stdin=house.control("cancel", done.id).raw)
    assert (ended.returncode, statuses(ended.stdout)) == (1, [1]) and b"too late" in ended.stderr
    assert wished(house) == [] and house.lying("refused") == []
    wishes = [
        house.control("note", done.id, value="well done"),
        house.control("cancel", again.id),
        house.control("cancel", again.id, attempt="1"),
        house.control("cancel", again.id, attempt="2"),
    ]
    ended = house.run("--to", "@main", stdin=b"".join(each.raw for each in wishes))
    assert statuses(ended.stdout) == ["accepted", "accepted", 1, "accepted"]


def test_a_wish_whose_queue_cannot_be_had_is_kept(house: House) -> None:
    job = house.job()
    house.push(job)
    house.set("active", False)
    ended = house.run("--to", "@main", stdin=house.control("cancel", job.id).raw)
    assert ended.returncode == 75
    house.set("active", True)
    assert house.push(house.job("next")) == ["accepted"] and len(wished(house)) == 1
