"""What is decided without touching anything: what becomes of a job before it begins, and what its end is called (docs/stages/run.md)."""

from __future__ import annotations

import pytest

from cit_run import attempt, leftovers, record, shim, taking
from cit_run.attempt import Attempt
from cit_run.cit_format import body, clock, document, names
from cit_run.cit_format.control import Standing, Wish
from cit_run.shim import Ending

NOW = clock.parse("2026-11-23T20:00:00Z")
CANCEL = Wish("i", "cancel", "t", None, None, "", "ada@sun", "k", "q", 0, 0)


def made(received: int = NOW, **said: object) -> Attempt:
    job = document.new("x", document.section("job", "toml", body.toml({key.replace("_", "-"): value for key, value in said.items()})))
    return attempt.attempt_of(str(names.FileName(job.id, job.name, names.key(0, received))), job, NOW)


BEFORE = {
    "nothing wished": ({}, Standing(), "start"),
    "released": ({}, Standing(held=False), "start"),
    "held": ({}, Standing(held=True), "hold"),
    "cancelled": ({}, Standing(cancel=CANCEL), "cancel"),
    "cancelled and held": ({}, Standing(cancel=CANCEL, held=True), "cancel"),
    "before its deadline": ({"deadline": body.Time(NOW + clock.SECOND)}, Standing(), "start"),
    "at its deadline": ({"deadline": body.Time(NOW)}, Standing(), "deadline"),
    "held past its deadline": ({"deadline": body.Time(NOW - clock.SECOND)}, Standing(held=True), "deadline"),
    "within start-within": ({"start_within": "10s", "received": NOW - 9 * clock.SECOND}, Standing(), "start"),
    "after start-within": ({"start_within": "10s", "received": NOW - 10 * clock.SECOND}, Standing(), "void"),
    "held after start-within": ({"start_within": "10s", "received": NOW - 10 * clock.SECOND}, Standing(held=True), "void"),
    "deadline before void": ({"start_within": "1s", "received": 1, "deadline": body.Time(NOW)}, Standing(), "deadline"),
}


@pytest.mark.parametrize("what", BEFORE)
def test_before_it_begins(what: str) -> None:
    said, standing, wanted = BEFORE[what]
    assert attempt.verdict(made(**said), standing, NOW) == wanted  # type: ignore[arg-type]


ENDS = {
    "": [(0, 0, "COMPLETED", 0), (3, 0, "FAILED", 3), (75, 0, "FAILED", 75), (0, 9, "FAILED", 137)],
    "time": [(0, 15, "TIMEOUT", 124), (0, 0, "TIMEOUT", 124)],
    "stall": [(0, 15, "TIMEOUT", 124)],
    "deadline": [(0, 9, "DEADLINE", 124)],
    "cancel": [(0, 15, "CANCELLED", 143), (0, 9, "CANCELLED", 137), (0, 0, "CANCELLED", 143)],
    "exec": [(127, 0, "FAILED", 127), (126, 0, "FAILED", 126)],
    "before": [(0, 0, "FAILED", 125), (7, 0, "FAILED", 125)],
    "lost": [(0, 0, "NODE_FAIL", 125)],
}


@pytest.mark.parametrize("why", ENDS)
def test_names_of_ends(why: str) -> None:
    """State and status of each end; the result's keys are those of the dictionary, its figures numbers."""
    for code, number, state, status in ENDS[why]:
        ending = Ending(code, number, why, NOW, NOW + 1_500_000, {"max-rss-kib": 2048})
        assert (record.state(ending), record.status(ending)) == (state, status)
        said = body.table(b"".join(record.result(ending, 1, None).splitlines(True)[1:-1]))
        assert said["state"] == state and said["wall-ms"] == (0 if why == "lost" else 1500) and said["max-rss-kib"] == 2048
        assert ("why" in said) == bool(why) and all(isinstance(said[key], int) for key in record.FIGURES)


def test_lines_of_status() -> None:
    """A line is read as it was written; without an end there is none."""
    told = shim.ending("2026-11-23T20:26:19.007Z\tended\texit 2\tsignal 0\twall-ms 4495\tuser-ms 10\n")
    assert told == Ending(2, 0, "", clock.parse("2026-11-23T20:26:14.512Z"), clock.parse("2026-11-23T20:26:19.007Z"), {"user-ms": 10})
    assert shim.ending("2026-11-23T20:26:19.007Z\tunready\twhy No space left on device\n").why == "unready"
    assert leftovers.belonging([], [], shim.Status()) == set()


def test_version_that_is_not_known() -> None:
    """Only of sections that a run needs."""
    head = b"@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g x\n"
    for section, wanted in (
        (b"@begin keep 2 tsv\n@end keep\n", True),
        (b"@begin reply 2 tsv\n@end reply\n", True),
        (b"@begin after 2 tsv\n@end after\n", False),
    ):
        job = taking.arrival(head + section)
        assert isinstance(job, document.Document) and taking.is_beyond(job) == wanted
