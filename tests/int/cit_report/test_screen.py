"""Nothing that a terminal obeys comes from a job: names, results, logs, refusals (docs/messages.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cit_report import screen
from cit_report.writer import Cleaner
from tests.int.cit_report.lived import Lived

NASTY = "".join(chr(code) for code in (*range(1, 0x20), *range(0x7F, 0xA0))) + "\u202e\u2066 [bold]x[/y] \x1b]0;title\x07 \x1b[2J"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def without_ours(text: str) -> str:
    """What is left when the colours that cit itself sets are taken out."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_rows_are_clean_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (screen.Column("a", "A"), screen.Column("b", "B", right=True))
    for wanted in (screen.TABLE, screen.TSV, screen.JSON):
        screen.show(columns, [{"a": NASTY, "b": [NASTY, "two"]}, {"a": None, "b": 3}], wanted)
        said = capsys.readouterr().out
        assert not OBEYED.search(said) and said.count("\n") == (2 if wanted == screen.JSON else 3), wanted


@pytest.mark.parametrize(
    ("wanted", "yields", "room", "widths"),
    [
        ([6, 10, 9], [False, True, False], 80, [6, 10, 9]),
        ([6, 10, 9], [False, True, False], 25, [6, 6, 9]),
        ([6, 30, 20], [False, True, True], 40, [6, 15, 15]),
        ([6, 30, 20], [False, True, True], 10, [6, 4, 4]),
        ([90], [False], 80, [90]),
    ],
)
def test_the_widest_column_that_yields_gives_way(wanted: list[int], yields: list[bool], room: int, widths: list[int]) -> None:
    assert screen.fitted(wanted, yields, room) == widths


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_a_log_is_cleaned_however_it_is_cut(size: int) -> None:
    log = f"good\r\n\x1b[31mred\x1b[0m\x1b[K é\n{NASTY}\n".encode() + b"\xff\xfe not utf-8\n"
    cleaner = Cleaner()
    said = "".join(cleaner(log[at : at + size]) for at in range(0, len(log), size)) + cleaner(b"", last=True)
    assert said.startswith("good\nred é\n") and not OBEYED.search(said)
    assert said.endswith("\\xff\\xfe not utf-8\n") and "[bold]x[/y]" in said


def test_a_job_cannot_reach_the_terminal(lived: Lived) -> None:
    """By its log, its script, its own words in a document that was never verified."""
    lived.push("nasty", f"#!/bin/sh\ncat <<'END'\n{NASTY.replace(chr(13), '')}\nEND\nexit 1\n")
    lived.run("cit-wait", "-q", "nasty", status=1)
    path = Path(lived.run("cit-show", "--path", "nasty").strip())
    words = NASTY.translate(dict.fromkeys((*range(0x20), 0x7F)))
    said = path.read_text().replace('state = "FAILED"', f'state = "FAI{words}LED"\nwhy = "{words}"')
    spoilt = lived.directory / "spoilt.cit"
    spoilt.write_text(said)
    for words_ in (["cit-log", "nasty"], ["cit-why", "nasty"], ["cit-show", "nasty"], ["cit-ls"]):
        assert not OBEYED.search(without_ours(lived.on_terminal(*words_))), words_
    for program in ("cit-why", "cit-show", "cit-report", "cit-trace"):
        assert not OBEYED.search(without_ours(lived.on_terminal(program, spoilt))), program
    assert NASTY.replace("\r", "") in lived.completed("cit-log", "nasty").stdout.decode(), "in a pipe the log is as it is"


EVERY = "".join(chr(code) for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0x80, 0xA0)))
SEQUENCES = [  # what terminals and pagers obey, each in the form that they know
    *(f"\x1b]{number};x{end}" for number in (0, 2, 4, 7, 8, 9, 10, 52, 133, 777, 1337) for end in ("\x07", "\x1b\\", "\x9c")),
    *(f"\x1b{letter}" for letter in "=>78cDEHMNOZ[]^_P\\(#%"),
    *(f"\x1b[{what}" for what in ("2J", "H", "3J", "?1049h", "?25l", "6n", "c", "21t", "1;1r", "38;5;1m", "999999999A", ">c", "?2004h", "5i")),
    *(f"\x9b{what}" for what in ("2J", "31m", "6n")),
    "\x1bP$q\x1b\\", "\x1bPtmux;\x1b\x1b]0;x\x07\x1b\\", "\x1bX sos \x1b\\", "\x1b^pm\x1b\\", "\x1b_apc\x1b\\", "\x9d0;x\x9c", "\x90q\x9c",
    "a\bb", "a\rb", "\x0e\x0f", "\x7f", "[/bold]", "[link=file:///x]y[/link]", "[red", ":smile:", "<script>alert(1)</script>", "&lt;", "\u0000",
    "::group::\x1b[2J", "##[section]\x1b]0;x\x07", "section_start:1:\x1b[2J\r\x1b[0K", "--- :bell:\x07", "^^^ +++", "ok 1 - \x1b[2J", "not ok \x9b2J",
    "make[1]: Entering directory '\x1b[2J'",
]  # fmt: skip


def test_every_view_of_a_job_is_clean(lived: Lived) -> None:
    """Whatever it prints, calls its parts and says of itself: on a terminal no byte of it is obeyed, and nothing is raised."""
    words = [EVERY, *(chr(code) for code in range(1, 0x20)), *SEQUENCES]
    file = lived.directory / "words"
    file.write_text("\n".join(text.replace("\n", "") for text in words) + "\n", newline="")
    rows = "".join(f"2026-11-24T00:00:00.000Z\\tpart\\t{number}\\t" for number in range(3))
    script = f"""#!/bin/sh
cat {file}
head -c 20000 /dev/urandom
while IFS= read -r line; do
  printf '%s\\t%s\\n' "$line" "$line" >>"$CIT_EVENTS"
  printf '{rows}%s\\n%s\\n' "$line" "$line" >>.cit/parts.tsv
done <{file}
while IFS= read -r line; do cit-part "$line" -- echo "$line"; done <{file}
exit 1
"""
    lived.push("nasty", script)
    lived.run("cit-wait", "-q", "nasty", status=1)
    document = lived.run("cit-show", "--path", "nasty").strip()
    views = [["cit-log", *more, "nasty"] for more in ([], ["--times"], ["--grep", "."], ["--parts"], ["--events"], ["--since", "1h"], ["-f"])]
    views += [["cit-why", "nasty"], ["cit-show", "nasty"], ["cit-ls"], ["cit-trace", document], ["cit-report", document], ["cit-stats"]]
    for view in views:
        said = without_ours(lived.on_terminal(*view))
        assert not re.search(OBEYED.pattern[:-1] + "\u061c\u200e\u200f\u2028\u2029]", said.replace("\r\n", "\n")), (view, said[:300])
        assert "Traceback" not in said and "a bug in" not in said, (view, said[-600:])
