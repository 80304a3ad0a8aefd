"""Marks of other systems in a log: what they group, what they are not, and that nothing of a log is lost."""

from __future__ import annotations

import random

from cit_report import folding, marks
from cit_report.index import Index
from tests.int.cit_report.lived import Lived

GITLAB = "\x1b[0Ksection_start:1560896352:build[collapsed=true]\r\x1b[0KBuild it\nx\n\x1b[0Ksection_end:1560896353:build\r\x1b[0K\n"


def outline(text: str) -> list[tuple[int, str, str, int]]:
    return [(depth, group.kind, group.title, group.lines) for depth, group in marks.groups(marks.tree(text.split("\n")[:-1]))]


def folded(text: str) -> list[str]:
    lines = text.split("\n")[:-1]
    return list(folding.folded(marks.tree(lines), lines, [0] * (len(lines) + 1), Index()))


def test_each_system() -> None:
    assert outline("::group::Fetch\na\nb\n::endgroup::\nc\n") == [(0, "github", "Fetch", 2)]
    assert outline("##[group]Run it\na\n##[endgroup]\n") == [(0, "github", "Run it", 1)]
    assert outline(GITLAB) == [(0, "gitlab", "Build it", 1)]
    assert outline("--- One\na\n+++ Two\nb\nc\n~~~ Three\n") == [(0, "buildkite", "One", 1), (0, "buildkite", "Two", 2), (0, "buildkite", "Three", 0)]
    make = "make[1]: Entering directory '/x'\na\n"
    make += "make[2]: Entering directory '/x/y'\nb\nmake[2]: Leaving directory '/x/y'\nmake[1]: Leaving directory '/x'\nc\n"
    assert outline(make) == [(0, "make", "/x", 2), (1, "make", "/x/y", 1)]


def test_what_is_no_mark() -> None:
    assert outline("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-a\n+b\n---\n-- x\n ::group::x\nsee make[1]: Entering\n") == []
    assert outline("::endgroup::\nmake[1]: Leaving directory '/x'\nsection_end:1:x\r\n") == []


def test_what_is_not_closed_ends_with_what_it_is_in() -> None:
    assert outline("::group::A\nmake[1]: Entering directory '/x'\na\n::endgroup::\nb\n") == [(0, "github", "A", 1), (1, "make", "/x", 1)]


def test_what_is_open() -> None:
    """Where something failed, where it ended, and what says so; all else is a line."""
    assert folded("::group::Good\na\n::endgroup::\n::group::Bad\n1..1\nnot ok 1 - x\n::endgroup::\nend\n") == [
        "> Good  (1 line)",
        "v Bad  (2 lines, 1 not ok)",
        "  1..1",
        "  not ok 1 - x",
        "end",
    ]
    assert folded("+++ Open\na\n--- Last\nb\n") == ["v Open  (1 line)", "  a", "v Last  (1 line)", "  b"]
    assert folded("--- One\n::error file=x.c,line=3::broken\n--- Two\n")[0] == "v One  (1 line, 1 error)"


def test_tests_that_failed() -> None:
    text = "1..4\nok 1\nnot ok 2 - two\n    ok 1 - a\n    not ok 2 - b\nnot ok 3 - three\nnot ok 4 - later # todo x\n"
    text += "not ok 5 - \\# skip\nnot okay\nBail out! no disk\n"
    assert marks.failures(text.split("\n")) == ["not ok 2 - two", "not ok 2 - b", "not ok 5 - \\# skip", "Bail out! no disk"]


def test_any_log_keeps_its_lines() -> None:
    chance = random.Random(3)
    samples = [
        "::group::x",
        "::endgroup::",
        "--- x",
        "+++ y",
        "make[1]: Entering directory '/x'",
        "make[1]: Leaving directory '/x'",
        "ok 1",
        "text",
        "not ok 2",
        "",
    ]
    samples += GITLAB.split("\n")
    for _ in range(300):
        lines = [chance.choice(samples) for _ in range(30)]
        whole = marks.tree(lines)
        assert whole.lines == sum(
            1
            for at, line in enumerate(lines)
            if marks.mark(marks.bare(line), *(marks.bare((lines + [""])[at + 1]), lines[at - 1] if at else "")) is None
        )


def test_as_they_are_typed(lived: Lived) -> None:
    lived.push("marks", "#!/bin/sh\necho ::group::$(printf '\\033]0;x\\007')Title; echo inner; echo ::endgroup::; echo 'not ok 1 - bad'; exit 1\n")
    lived.run("cit-wait", "-q", "marks", status=1)
    assert lived.run("cit-log", "--fold", "marks") == "> \\x1b]0;x\\x07Title  (1 line, 0.00s)\nnot ok 1 - bad\n"
    [row] = lived.rows("cit-log", "--tree", "marks")
    assert (row["kind"], row["depth"], row["line"], row["ok"]) == ("github", "0", "1", "0")
    assert "tests that failed (TAP):\n  | not ok 1 - bad\n" in lived.run("cit-why", "marks")
    assert "1 not ok" in lived.on_terminal("cit-log", "--tree", "marks")
