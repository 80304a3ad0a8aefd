"""Patterns of parameters: the same verdict as grep -xE, and no text or pattern that takes long (docs/format/interface.md)."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from cit_format import body
from cit_format.errors import DATA, CitError
from cit_format.pattern import compiled, is_match

PATTERNS = [
    "[0-9]+(\\.[0-9]+)*",
    "a{2,3}b?",
    "(a|b)*abb",
    "[^x-z]+",
    "[]a]+",
    "a|",
    "",
    "(a*)*b",
    "[[:digit:]_-]+",
    "\\.\\*",
    "^ab$",
    ".*",
    "(a|b|)c{2,}",
    "[a-]+",
    "((a|ab)(c|bcd))*",
    "[[:alpha:][:space:]]?",
    "x{0}a",
]
NONE = ["(", "a**", "[a", "\\1", "a{300}", "(a{255}){255}", "*a", ")", "a{2", "a{3,2}"]
NONE += ["[z-a]", "[[:nought:]]", "(" * 60 + ")" * 60, "\\", "a{x}", "a^b"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_grep_agrees(pattern: str) -> None:
    dice = random.Random(pattern)
    texts = ["", *{"".join(dice.choice("abcd10.-_]x *") for _ in range(dice.randint(1, 7))) for _ in range(80)}]
    run = subprocess.run(["grep", "-nxE", "-e", pattern], input="\n".join(texts) + "\n", env={"LC_ALL": "C.UTF-8"}, capture_output=True, text=True)
    matched = {int(line.partition(":")[0]) - 1 for line in run.stdout.splitlines()}
    assert {number for number, text in enumerate(texts) if is_match(pattern, text)} == matched


@pytest.mark.parametrize("pattern", NONE)
def test_what_is_none(pattern: str) -> None:
    with pytest.raises(CitError) as caught:
        compiled(pattern)
    assert caught.value.status == DATA


def test_no_text_takes_long() -> None:
    """What a backtracking matcher would need longer than the world for; and beyond that it is refused, not tried."""
    began = time.monotonic()
    for pattern in ("(a*)*b", "(a|aa)+b", "a*a*a*a*a*a*b", "(a|a)*(a|a)*b", "(.*.*)*x"):
        assert not is_match(pattern, "a" * 4000)
    with pytest.raises(CitError):
        is_match("[ab]{255}[ab]{255}[ab]{255}", "a" * 100_000)
    assert time.monotonic() - began < 20


def test_vectors() -> None:
    """The same as data, for other languages."""
    rows = body.rows((Path(__file__).resolve().parents[2] / "vectors" / "calls" / "patterns.tsv").read_bytes())
    assert {verdict for _, _, verdict in rows} == {"yes", "no", "none"}
    for pattern, text, verdict in rows:
        try:
            found = "yes" if is_match(pattern, text) else "no"
        except CitError:
            found = "none"
        assert found == verdict, (pattern, text)
