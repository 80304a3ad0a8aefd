"""Bodies: base64 in one form only, TSV, and the TOML subset, which Python's own reader of TOML must agree with."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cit_format import body
from cit_format.body import Time
from cit_format.errors import CitError

KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.one_of(
    TEXTS, st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.integers(0, 4_000_000_000).map(lambda second: Time(second * 1_000_000))
)
TABLES = st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=4)), max_size=5)
# Lines from pieces that meet at the edges of the grammar.
LINES = st.lists(
    st.sampled_from(
        [
            "a",
            " = ",
            "=",
            '"',
            "x",
            "\\",
            '\\"',
            "\\n",
            "\\u00e9",
            "\\uD800",
            "\\q",
            "1",
            "0",
            "_",
            "-",
            "+",
            "true",
            "[",
            "]",
            ",",
            " ",
            "\t",
            "#",
            "é",
        ]
        + ["2026-11-23T20:26:11Z", "2026-02-30T20:26:11Z", "2026-11-23 20:26:11z", "9223372036854775808", "0x1", "1.5", "\x7f", "'", "{"]
    ),
    max_size=9,
).map("".join)


def as_toml(value: object) -> object:
    """A value as Python's tomllib gives it."""
    if isinstance(value, Time):
        return datetime.datetime.fromtimestamp(value // 1_000_000, datetime.timezone.utc)
    return [as_toml(item) for item in value] if isinstance(value, list) else value


@given(TABLES)
def test_what_is_written_is_read_back_and_is_toml(table: dict[str, object]) -> None:
    written = body.toml(table)
    assert body.table(written) == table
    tomllib = pytest.importorskip("tomllib")
    assert tomllib.loads(written.decode()) == {key: as_toml(value) for key, value in table.items()}


@given(st.one_of(LINES.map("a = {}".format), LINES))
@example("a = [1,]")
@example("a = []  # c")
@example("a = [,]")
@example("a = [1 2]")
@example("a = [1,,2]")
@example('a = "\\"')
@example('a = "x" "y"')
@example("a = 01")
@example("a = 1__0")
@example("a = -0")
@example("= 1")
def test_a_line_that_is_accepted_means_the_same_to_any_reader_of_toml(line: str) -> None:
    tomllib = pytest.importorskip("tomllib")
    try:
        read = body.table(line.encode() + b"\n")
    except CitError as error:
        assert error.status == 65 and "line 1" in error.what
        return
    assert tomllib.loads(line + "\n") == {key: as_toml(value) for key, value in read.items()}


@pytest.mark.parametrize(
    "text, table",
    [
        ("", {}),
        ("# only a comment\n\n", {}),
        ("cpus=2\n", {"cpus": 2}),
        ('  a-b_1 =\t"x # y"  # z\n', {"a-b_1": "x # y"}),
        ('a = [ "x" , "y" , ] # z\n', {"a": ["x", "y"]}),
        ("a = 2026-11-23T20:26:11Z\n", {"a": Time(1795465571000000)}),
        ('a = "\\u00e9\\U0001F600\\t\\\\"\n', {"a": "é😀\t\\"}),
        ("a = +1_000\n", {"a": 1000}),
    ],
)
def test_tables(text: str, table: dict[str, object]) -> None:
    assert body.table(text.encode()) == table


@pytest.mark.parametrize(
    "text, what",
    [
        ("a = 1\na = 2\n", "key a is given twice"),
        ("x\n", "line 1 of the section: it is no cit TOML"),
        ("a = 1\n[table]\n", "line 2 of the section: it is no cit TOML"),
        ("a.b = 1\n", "line 1 of the section: it is no cit TOML"),
        ("a = 'x'\n", "line 1 of the section: it is no cit TOML"),
        ('a = """x"""\n', "line 1 of the section: it is no cit TOML"),
        ("a = 1.5\n", "line 1 of the section: it is no cit TOML"),
        ("a = [\n1]\n", "line 1 of the section: it is no cit TOML"),
        ("a = [[1]]\n", "line 1 of the section: it is no cit TOML"),
        ("a = 9223372036854775808\n", "line 1 of the section: an integer beyond 64 bits"),
        ('a = "\\uD800"\n', "line 1 of the section: \\uD800 is no character"),
        ("a = 2026-02-30T00:00:00Z\n", "line 1 of the section: '2026-02-30T00:00:00Z' is no UTC time"),
        ("a = 2026-11-23T20:26:11+01:00\n", "line 1 of the section: it is no cit TOML"),
        ("a = 1\n" * 10_001, "a TOML section over 1 MiB or 10000 lines"),
    ],
)
def test_what_is_no_cit_toml_is_told_with_its_line(text: str, what: str) -> None:
    with pytest.raises(CitError) as caught:
        body.table(text.encode())
    assert (caught.value.status, caught.value.what) == (65, what)


HOSTILE = {
    "array": "b'a = [' + b'1,' * (1 << 19) + b']'",
    "string": "b'a = \"' + b'x' * (1 << 20) + b'\"'",
    "escapes": "b'a = \"' + b'\\\\n' * (1 << 19) + b'\"'",
    "digits": "b'a = ' + b'1' * (1 << 20)",
    "digits apart": "b'a = 1' + b'_1' * (1 << 19)",
    "a million keys": "b'k = 1\\n' * 1_000_000",
    "sixteen MiB": "b'a = [' + b'1,' * (8 << 20) + b']'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_takes_little_memory(name: str) -> None:
    """In a process that has 96 MiB, of which the body itself takes some."""
    program = f"from cit_format import body, errors\nraw = {HOSTILE[name]} + b'\\n'\ntry: body.table(raw)\nexcept errors.CitError: pass\n"
    run = subprocess.run(["sh", "-c", 'ulimit -d 98304 && exec "$@"', "sh", sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@given(st.binary())
def test_base64_comes_back(plain: bytes) -> None:
    assert body.from_base64(body.to_base64(plain)) == plain


@given(st.lists(st.sampled_from([b"QUJD", b"QQ==", b"QR==", b"QUI=", b"QUJ=", b"A" * 76, b"\n", b"=", b" ", b"-"]), max_size=5).map(b"".join))
@example(b"QUJD")
@example(b"QQ==\n")
@example(b"A" * 76 + b"\nQUJD\n")
@example(b"QUJD\nQUJD\n")
@example(b"\n")
def test_base64_has_one_form(text: bytes) -> None:
    try:
        plain = body.from_base64(text)
    except CitError as error:
        assert error.status == 65
    else:
        assert body.to_base64(plain) == text


@given(st.lists(st.lists(TEXTS, min_size=1), max_size=4))
def test_tsv_comes_back(table: list[list[str]]) -> None:
    written = body.tsv(table)
    assert body.rows(written) == table
    assert written.count(b"\n") == len(table) and b"\r" not in written


@pytest.mark.parametrize("text", ["a\\x\n", "a\\\n", "\\\t\n"])
def test_an_unknown_escape_in_tsv_is_an_error(text: str) -> None:
    with pytest.raises(CitError, match="unknown escape"):
        body.rows(text.encode())
