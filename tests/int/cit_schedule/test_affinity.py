"""The builder that built a job of this name last is preferred: told from the log, remembered in a small file (docs/stages/schedule.md)."""

from __future__ import annotations

from pathlib import Path

from cit_schedule import affinity
from cit_schedule.affinity import Affinity
from cit_schedule.cit_format import body, clock, trust
from tests.int.cit_schedule.conftest import Machine

IDS = [clock.encode(number, 26) for number in range(9)]


def line(identity: str, name: str, word: str, detail: str) -> bytes:
    return body.row(f"{identity}-{name}", "2026-11-23T20:26:11.000Z", "queue", word, "hub", "cit", detail)


def test_the_log_tells_who_had_what() -> None:
    first, second, third, fourth, fifth, *_ = IDS
    texts = [
        line(first, "zlib", "accepted", "ada@sun") + line(second, "zlib", "accepted", "ben@sun"),
        line(f"{first}.a1", "zlib", "assigned", "moon") + line(f"{second}.a1", "zlib", "assigned", "star") + b"torn line\n",
        line(third, "curl-8.1", "accepted", "ada@sun") + line(f"{third}_17.a1", "curl-8.1", "assigned", "mars"),
        line(fourth, "zlib", "accepted", "ada@sun") + line(f"{fourth}.a1", "zlib", "assigned", "star"),
        line(f"{fourth}.a1", "zlib", "COMPLETED", "star") + line(f"{fifth}.a1", "gone", "assigned", "star"),
    ]
    assert affinity.logged(texts) == {("zlib", "ben@sun"): "star", ("curl-8.1", "ada@sun"): "mars", ("zlib", "ada@sun"): "star"}
    assert affinity.logged([]) == {}


def test_it_is_remembered_the_newest_last_and_not_for_ever(tmp_path: Path) -> None:
    (tmp_path / "waiting").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "2026-11-23.tsv").write_bytes(line(IDS[0], "zlib", "accepted", "ada@sun") + line(IDS[0], "zlib", "assigned", "moon"))
    known = Affinity(tmp_path)
    assert (known.of("zlib", "ada@sun"), known.of("zlib", "ben@sun")) == ("moon", "")
    for number in range(affinity.MOST + 5):
        known.note(f"n{number}", "ada@sun", "star")
    known.note("n6", "ada@sun", "mars")
    known.keep()
    again = Affinity(tmp_path)
    assert len(again.had) == affinity.MOST and list(again.had)[-1] == ("n6", "ada@sun")
    assert [again.of(name, "ada@sun") for name in ("n6", "n7", "n4", "zlib")] == ["mars", "star", "", ""]
    before = (tmp_path / "waiting" / ".built").stat().st_mtime_ns
    again.keep()
    assert (tmp_path / "waiting" / ".built").stat().st_mtime_ns == before, "nothing new, nothing written"
    (tmp_path / "waiting" / ".built").write_bytes(b"torn\trow\n")
    assert Affinity(tmp_path).of("zlib", "ada@sun") == "moon", "the log is asked again"


def test_of_long_logs_the_end_is_enough(tmp_path: Path) -> None:
    whole = affinity.LOGGED // 15 * 10
    for day in ("2026-11-21", "2026-11-22", "2026-11-23"):
        (tmp_path / f"{day}.tsv").write_bytes(day.encode() * (whole // 10))
    (tmp_path / "on-arrival").write_bytes(b"no log\n")
    found = affinity.logs(tmp_path)
    assert [len(text) for text in found] == [affinity.LOGGED - whole, whole]
    assert found[0].endswith(b"2026-11-22") and affinity.logs(tmp_path / "none") == []


def given(machine: Machine, identity: str) -> tuple[str, list[str]]:
    """The builder of a job in `assigned`, and how it was weighed."""
    assigned = trust.assignment(machine.document(identity, "assigned"))
    assert assigned is not None
    return str(assigned.table["builder"]), list(assigned.table["weighed"])  # type: ignore[call-overload]


def test_the_builder_of_the_last_build_is_chosen_and_it_is_said(machine: Machine) -> None:
    machine.only("moon", slots=4)
    machine.builder("star", slots=4)
    (first,) = machine.push("-w star -J zlib")
    machine.schedule()
    (second,), (other,) = machine.push("-J zlib"), machine.push("-J curl")
    machine.schedule()
    assert given(machine, first)[0] == "star"
    assert given(machine, second) == ("star", ["moon: could take it too: 0 of 4 slots busy", "star: chosen: built it last, 1 of 4 slots busy"])
    assert given(machine, other)[0] == "moon", "the one with the fewest jobs"
    (machine.queue / "waiting" / ".built").unlink()
    (third,) = machine.push("-J zlib")
    assert "\nstar: chosen: built it last, 2 of 4" in machine.sh(f"cit-schedule --explain {third}").stdout
    assert not (machine.queue / "waiting" / ".built").exists(), "to explain is to change nothing"
    machine.builder("star", slots=2)
    machine.schedule()
    assert given(machine, third)[0] == "moon", "it has no slot"
    (fourth,) = machine.push("-J zlib")
    machine.builder("star", slots=9)
    machine.schedule()
    assert given(machine, fourth)[0] == "moon", "now that one had it last"


def test_with_one_builder_nothing_is_kept(machine: Machine) -> None:
    machine.push("-J zlib")
    machine.schedule()
    assert not (machine.queue / "waiting" / ".built").exists()
