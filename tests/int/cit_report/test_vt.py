"""What of a terminal's output passes: nothing but what a list says, however it is written and cut."""

from __future__ import annotations

import random
import re

import pytest

from cit_report import recording, vt
from cit_report.cit_format.errors import CitError

PASSES = re.compile(
    r"\x1b\[[0-9;:]*m|\x1b\[[0-9;]{0,24}[ABCDEFGHJKLMPSTXZ@dfrsu]|\x1b\[\?(?:7|12|25|47|1047|1048|1049|1|2004)(?:;[0-9]+)*[hl]"
    r"|\x1b[78DEM=>]|\x1b\([0B]|[\n\r\x08\t]|[ -~]|[\u00a0-\U0010ffff]"
)
BIDI = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SAMPLES = [
    "\x1b]0;title\x07",
    "\x1b]52;c;Y2xpcGJvYXJk\x1b\\",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1bPzz\x1b\\",
    "\x1b_apc\x1b\\",
    "\x1b^pm\x1b\\",
    "\x1bXsos\x1b\\",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[6n",
    "\x1b[?6n",
    "\x1b[5i",
    "\x1b[21t",
    "\x1b[?1000h",
    "\x1b[?1006;25;1000l",
    "\x1b[>4;2m",
    "\x1b[1;2;3;4;5T",
    "\x1b[!p",
    "\x1b[2 q",
    "\x1b[x",
    "\x1b#8",
    "\x1b(A",
    "\x1b)0",
    "\x1b%G",
    "\x1b=",
    "\x1bZ",
    "\x1bc",
    "\x1bN\x1bO\x1bn\x1bo",
    "\x1b[\x1b[\x1b]",
    "\x1b[99999999999A",
    "\x1b[" + "1;" * 400 + "m",
    "\x9b31m\x9d0;x\x9c\x90q\x9c",
    "\u202eevil\u2066\u2069\u200f\u061c",
    "\x00\x07\x0e\x0f\x0b\x0c\x11\x13\x7f\x85",
    "\x1b]never ended",
    "\x1bPnever ended\x18text",
]
FINE = [
    "plain \u00fc\u2500",
    "\x1b[31;1mred\x1b[0m",
    "\x1b[2J\x1b[H\x1b[10;20Hat",
    "\x1b[?25l\x1b[?1049h",
    "\x1b(0qq\x1b(B",
    "\x1b7\x1b8\x1bM",
    "a\r\nb\tc\x08d",
]


def passed(text: str, sizes: int = 1 << 20, keyed: bool = False) -> str:
    passing = vt.Passing(keyed)
    return "".join(passing(text[at : at + sizes]) for at in range(0, len(text), sizes)) + passing.ending()


def faults(shown: str) -> str:
    """What is left when all that may pass is taken away."""
    return PASSES.sub("", BIDI.sub("!", shown))


@pytest.mark.parametrize("sample", SAMPLES, ids=ascii)
def test_what_a_terminal_would_obey_is_dropped(sample: str) -> None:
    for keyed in (False, True):
        for sizes in (1, 3, 1000):
            shown = passed(f"<{sample}", sizes, keyed)
            assert shown.startswith("<") and faults(shown) == "", ascii(shown)
    assert not re.search("\\x1b\\[[?0-9;]*[cnitqx]|\\x1b\\]|\\x1bP", passed(sample))


@pytest.mark.parametrize("sample", FINE, ids=ascii)
def test_what_shows_something_passes(sample: str) -> None:
    for sizes in (1, 2, 1000):
        passing = vt.Passing()
        assert "".join(passing(sample[at : at + sizes]) for at in range(0, len(sample), sizes)) == sample


def test_any_mix_passes_the_same_however_it_is_cut() -> None:
    chance = random.Random(7)
    letters = [*SAMPLES, *FINE, *"\x1b[]P;?0123456789mhlHJ\x07\\ \n\r", "\u202e", "\x9b"]
    for _ in range(400):
        text = "".join(chance.choice(letters) for _ in range(40))
        whole = passed(text)
        assert faults(whole) == "", ascii(text)
        assert faults(passed(text, chance.randint(1, 7))) == "", ascii(text)


def test_keys_of_a_keyboard_change_only_for_who_types() -> None:
    sample = "\x1b[?1h\x1b=\x1b[?2004h"
    assert passed(sample) == "" and passed(sample, keyed=True) == sample + "\x1b[0m\x1b[?1l\x1b[?2004l\x1b>"


def test_a_terminal_is_put_right_again() -> None:
    assert passed("\x1b[?1049h\x1b[?25l\x1b[31m\x1b(0\x1b[2;5r").endswith("\x1b[0m\x1b(B\x1b[?1049l\x1b7\x1b[r\x1b8\x1b[?25h")
    assert passed("text") == "text", "nothing where nothing was changed"


def test_words_alone() -> None:
    assert vt.words("\x1b[31mred\x1b[0m\r\n10%\r50%\r100%\r\nab\x08c\x1b]0;t\x07\n\x1b[2Jend") == "red\n100%\nac\nend"


# --- recordings -----------------------------------------------------------------------------------------------------


def test_a_recording_is_read_with_care() -> None:
    assert recording.head(b'{"version": 2, "width": 80, "height": 24, "env": {"TERM": "xterm"}}') == recording.Shape(80, 24, "xterm")
    for wrong in (b"", b"[]", b"{}", b'{"version": 1, "width": 80, "height": 24}', b'{"version": 2, "width": -1, "height": 24}', b"[" * 100000):
        with pytest.raises(CitError):
            recording.head(wrong)
    lines = [
        b'[1.5, "o", "a"]',
        b"nonsense",
        b'[1, "o", "b"]',
        b'[2, "i", "typed"]',
        b'[3, "o", 7]',
        b'["x", "o", "c"]',
        b'[1e999, "o", "d"]',
        b'[4, "o", "\\ud800"]',
    ]
    assert list(recording.shown(lines)) == [(1.5, "a"), (1.5, "b"), (4.0, "?")]
    assert list(recording.paced([(1.0, "a"), (9.0, "b")], 2.0, 3.0)) == [(0.5, "a"), (1.5, "b")]
