"""What a build interface says of itself, and whether a call fits it: tables (docs/format/interface.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_format import body, description
from cit_format.body import Value
from cit_format.errors import DATA, CitError

HEAD = ["-", "interface", "-", "-", "-", "-", "Builds."]
ROWS = [
    HEAD,
    ["version", "string", "1..8", "[0-9.]+", "1", "-", "Which version."],
    ["tests", "bool", "-", "-", "0..1", "true", ""],
    ["target", "choice", "static|shared", "-", "0..", "-", ""],
    ["jobs", "int", "1..64", "-", "0..1", "2", ""],
    ["limit", "duration", "1m..2h", "-", "0..1", "-", ""],
    ["room", "size", "..4G", "-", "0..1", "-", ""],
    ["dir", "path", "-", "-", "0..1", "-", ""],
    ["names", "string", "-", "-", "1..", "-", ""],
    ["--public", "view", "-", "-", "-", "-", "A line."],
]
KNOWN = description.parse("zlib", body.tsv(ROWS))
NEEDED: dict[str, Value] = {"version": "1.3", "names": "a"}


def test_all_that_it_says() -> None:
    assert (KNOWN.help, KNOWN.view, list(KNOWN.parameters)) == ("Builds.", "A line.", [row[0] for row in ROWS[1:-1]])
    assert description.written(KNOWN) == body.tsv(ROWS)
    assert description.parse("zlib", description.written(KNOWN)) == KNOWN


FITS: dict[str, tuple[dict[str, Value], list[str]]] = {
    "what is needed, and defaults": ({}, ["--version=1.3", "--tests=true", "--jobs=2", "--names=a"]),
    "in the order of the description": (
        {"names": ["b", "a"], "target": "static", "tests": False},
        ["--version=1.3", "--tests=false", "--target=static", "--jobs=2", "--names=b", "--names=a"],
    ),
    "texts for other types": (
        {"tests": "false", "jobs": "64", "limit": "90s", "room": "4G"},
        ["--version=1.3", "--tests=false", "--jobs=64", "--limit=90s", "--room=4G", "--names=a"],
    ),
    "numbers as texts": ({"names": [1, 2]}, ["--version=1.3", "--tests=true", "--jobs=2", "--names=1", "--names=2"]),
    "a path": ({"dir": "a/..b/c"}, ["--version=1.3", "--tests=true", "--jobs=2", "--dir=a/..b/c", "--names=a"]),
    "the name of the interface": ({"interface": "zlib"}, ["--version=1.3", "--tests=true", "--jobs=2", "--names=a"]),
}


@pytest.mark.parametrize("case", FITS)
def test_fits(case: str) -> None:
    given, wanted = FITS[case]
    assert description.arguments(KNOWN, {**NEEDED, **given}) == wanted


FAULTS: dict[str, tuple[dict[str, Value], str]] = {
    "unknown": ({"versoin": "1"}, "zlib has no parameter 'versoin'"),
    "pattern": ({"version": "1.x"}, "parameter version is '1.x', which does not match"),
    "a pattern is for the whole": ({"version": "1.3\n"}, "parameter version is '1.3\\n'"),
    "too long": ({"version": "1" * 9}, "parameter version has 9 characters, not 1..8"),
    "twice": ({"version": ["1", "2"]}, "parameter version is given 2 times"),
    "none of what is needed": ({"names": []}, "parameter names is needed"),
    "no bool": ({"tests": "yes"}, "parameter tests is 'yes', neither true nor false"),
    "no choice": ({"target": ["static", "Shared"]}, "parameter target is 'Shared', not one of static, shared"),
    "two choices in one": ({"target": "static|shared"}, "not one of"),
    "below the range": ({"jobs": 0}, "parameter jobs is 0, not in 1..64"),
    "above the range": ({"jobs": "65"}, "parameter jobs is 65, not in 1..64"),
    "no integer": ({"jobs": "2x"}, "parameter jobs is '2x', no integer"),
    "a bool is no integer": ({"jobs": True}, "parameter jobs is 'true', no integer"),
    "no duration": ({"limit": "90"}, "parameter limit is wrong: 90 of what?"),
    "too short a duration": ({"limit": "59s"}, "parameter limit is 59s, not in 1m..2h"),
    "too much room": ({"room": "5G"}, "parameter room is 5G, not in ..4G"),
    "a path from the root": ({"dir": "/etc"}, "no path below the workspace"),
    "a path that leads out": ({"dir": "a/../../b"}, "no path below the workspace"),
    "a NUL": ({"names": "a\0b"}, "parameter names holds a NUL"),
    "too long without a range": ({"names": "a" * 4097}, "parameter names has 4097 characters, not 0..4096"),
    "too much altogether": ({"names": ["ä" * 4000] * 140}, "more than 1M altogether"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_does_not_fit(case: str) -> None:
    given, said = FAULTS[case]
    with pytest.raises(CitError) as caught:
        description.arguments(KNOWN, {**NEEDED, **given})
    assert caught.value.status == DATA and said in caught.value.what


WORDS: dict[str, tuple[list[str], dict[str, Value]]] = {
    "typed": (
        ["version=1.3", "tests=false", "jobs=4", "names=x=y", "target=static"],
        {"version": "1.3", "tests": False, "jobs": 4, "names": ["x=y"], "target": ["static"]},
    ),
    "an integer that is written otherwise stays as it was": (
        ["version=1", "jobs=04", "names=", "names= "],
        {"version": "1", "jobs": "04", "names": ["", " "]},
    ),
}


@pytest.mark.parametrize("case", WORDS)
def test_words(case: str) -> None:
    words, wanted = WORDS[case]
    assert description.typed(KNOWN, words) == wanted


def test_words_without_a_description() -> None:
    assert description.typed(None, ["a=1", "b=true", "b=x"]) == {"a": "1", "b": ["true", "x"]}
    for word in ("a", "=1", "A=1", "1=2", "-a=1", "--a=1", "interface=x", "describe=1", "a b=1", "ä=1"):
        with pytest.raises(CitError):
            description.typed(None, [word])


def row(**said: str) -> list[str]:
    given = {"parameter": "a", "type": "string", "range": "-", "pattern": "-", "times": "0..1", "default": "-", "help": "", **said}
    return list(given.values())


WRONG: dict[str, list[list[str]]] = {
    "nothing": [],
    "no row of its own": [row()],
    "two of its own": [HEAD, HEAD],
    "six columns": [HEAD, row()[:-1]],
    "a parameter twice": [HEAD, row(), row()],
    "no name": [HEAD, row(parameter="A b")],
    "a name that is an option of the program": [HEAD, row(parameter="describe")],
    "the call's own key": [HEAD, row(parameter="interface")],
    "no type": [HEAD, row(type="float")],
    "a parameter of type view": [HEAD, row(type="view")],
    "no times": [HEAD, row(times="-")],
    "no range": [HEAD, row(type="int", range="1-5")],
    "a range of letters": [HEAD, row(type="int", range="a..b")],
    "a range without a unit": [HEAD, row(type="duration", range="1..5")],
    "a range backwards": [HEAD, row(type="size", range="2G..1G")],
    "a choice of nothing": [HEAD, row(type="choice")],
    "a bool with a range": [HEAD, row(type="bool", range="a|b")],
    "no pattern": [HEAD, row(pattern="(")],
    "a default that does not fit": [HEAD, row(type="int", default="x")],
    "needed, with a default": [HEAD, row(times="1", default="x")],
}


@pytest.mark.parametrize("case", WRONG)
def test_is_none(case: str) -> None:
    with pytest.raises(CitError) as caught:
        description.parse("zlib", body.tsv(WRONG[case]))
    assert caught.value.status == DATA and caught.value.what.startswith("the description of zlib: ")


@pytest.mark.parametrize("raw", [b"-\tinterface\t-\t-\t-\t-\tx", b"\xff\n", b"-\tinterface\t-\t-\t-\t-\t\\q\n", b"x" * 70000, b"a\r\n"])
def test_bytes_that_are_none(raw: bytes) -> None:
    with pytest.raises(CitError) as caught:
        description.parse("zlib", raw)
    assert caught.value.status == DATA


VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "calls"


@pytest.mark.parametrize("row", body.rows((VECTORS / "calls.tsv").read_bytes()), ids=lambda row: str(row[0]))
def test_vectors_of_calls(row: list[str]) -> None:
    """The same as data, for builders in other languages."""
    known = description.parse("zlib", (VECTORS / "zlib.tsv").read_bytes())
    _, call, verdict, *wanted = row
    if verdict == "fits":
        assert description.arguments(known, body.table(call.encode())) == wanted
    else:
        with pytest.raises(CitError) as caught:
            description.arguments(known, body.table(call.encode()))
        assert caught.value.status == DATA and wanted[0] in caught.value.what


@pytest.mark.parametrize("path", sorted((VECTORS / "wrong").glob("*.tsv")), ids=lambda path: str(path.stem))
def test_vectors_of_wrong_descriptions(path: Path) -> None:
    with pytest.raises(CitError) as caught:
        description.parse("zlib", path.read_bytes())
    assert caught.value.status == DATA
