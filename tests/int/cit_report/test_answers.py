"""A job that another one's run answers: every view follows to the run, and believes nothing that does not hold (docs/format/answer.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.int.cit_report.lived import Lived, plain

SAME = ("--same", "mine")


@pytest.fixture
def answered(lived: Lived) -> Lived:
    """`first` has run, `second` was answered with its result."""
    lived.run("cit-init")
    lived.push("first", "#!/bin/sh\necho built; echo more > kept\n", *SAME, "--keep", "kept")
    lived.run("cit-wait", "first")
    lived.push("second", "#!/bin/sh\necho built; echo more > kept\n", *SAME, "--keep", "kept")
    lived.run("cit-wait", "second")
    return lived


def run_of(lived: Lived) -> Path:
    (path,) = (lived.queue / "done").rglob("*-first.cit")
    return path


def test_every_view_follows_to_the_run(answered: Lived) -> None:
    first, second = answered.objects("cit-show", "first")[0], answered.objects("cit-show", "second")[0]
    assert second["state"] == "COMPLETED" and str(first["id"]) in str(second["answered"]) and first.get("answered") is None
    assert second["log"] == first["log"] and second["artefacts"] == first["artefacts"]
    assert answered.run("cit-log", "second") == "built\n"
    assert "it did not run, but is answered by the run of" in plain(answered.run("cit-why", "second")).replace("\n", " ")
    rows = answered.rows("cit-ls", "-a")
    assert [row["state"] for row in rows] == ["COMPLETED", "COMPLETED"] and rows[0]["builder"] == f"as {str(first['id'])[-6:]}"
    answered.run("cit-fetch", "second", "kept")
    assert (answered.directory / "kept").read_text() == "more\n"


def test_the_trace_goes_on_into_the_run(answered: Lived) -> None:
    said = plain(answered.run("cit-trace", "--table", "second"))
    assert "answered by" in said and "assigned attempt 1" in said and "it is the run that answers" in said
    assert said.count("signatures hold") == 2


TAMPERED = {
    "another end": (rb"state = \"COMPLETED\"", b'state = "FAILED"'),
    "one byte more": (rb"\Z", b"@begin note 1 text\nhi\n@end note\n"),
    "another script": (rb"echo built", b"echo stolen"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_run_that_is_another_answers_nothing(answered: Lived, how: str) -> None:
    path = run_of(answered)
    old, new = TAMPERED[how]
    path.write_bytes(re.sub(old, new, path.read_bytes(), count=1))
    assert "the run's document is another than the answer names" in answered.completed("cit-trace", "second").stderr.decode()
    answered.run("cit-trace", "second", status=77)
    answered.run("cit-log", "second", status=77)
    answered.run("cit-fetch", "second", status=77)
    assert "another than the answer names" in str(answered.objects("cit-show", "second")[0]["answered"])


def test_a_run_that_is_gone_is_missed(answered: Lived) -> None:
    run_of(answered).unlink()
    answered.run("cit-log", "second", status=66)
    assert "is not here" in answered.completed("cit-trace", "second").stderr.decode()
    answered.run("cit-trace", "second", status=66)


def test_who_waits_for_a_run_is_told_and_shown_what_it_prints(lived: Lived) -> None:
    lived.run("cit-init")
    go = lived.directory / "go"
    script = f"#!/bin/sh\necho begun; until test -e {go}; do sleep 0.02; done; echo done\n"
    lived.push("first", script, *SAME)
    lived.until("first", "RUNNING")
    lived.push("second", script, *SAME)
    assert "the same runs already" in plain(lived.run("cit-why", "second")).replace("\n", " ")
    go.touch()
    assert lived.run("cit-log", "-f", "second") == "begun\ndone\n"


def test_a_requeue_runs(answered: Lived) -> None:
    """Whoever wants it again does not want the answer of before."""
    answered.run("cit-requeue", "--wait", "second")
    assert answered.objects("cit-show", "second")[0].get("answered") is None


def test_the_log_is_made_anew(answered: Lived) -> None:
    before = {(row["name"], row["state"]) for row in answered.rows("cit-ls", "-a")}
    for path in (answered.queue / "log").glob("*.tsv"):
        path.unlink()
    answered.run("cit-fsck", "--rebuild-log")
    assert {(row["name"], row["state"]) for row in answered.rows("cit-ls", "-a")} == before
