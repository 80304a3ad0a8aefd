"""The judge of readers and what it judges: our readers pass, readers that are wrong on purpose do not (docs/format/index.md)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONFORM = CHECKOUT / "tests/conformance/cit-conform"
MAKE = CHECKOUT / "tests/vectors/make"
AWK_READER = CHECKOUT / "cit_format/sh/cit-list"
ORACLE = f"{sys.executable} {MAKE} --list"


def conform(reader: str, *arguments: object) -> tuple[int, list[str]]:
    """Exit status of cit-conform and its lines."""
    command = [sys.executable, str(CONFORM), "--list", reader, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout.splitlines()


def assert_passes(reader: str, *arguments: object) -> None:
    status, lines = conform(reader, *arguments)
    failures = [line for line in lines if line.startswith("not ok")]
    assert status == 0, f"{lines[-1]}; see docs/format/index.md\n" + "\n".join(failures[:20])


# --- our readers ----------------------------------------------------------------------------------------------------


def test_awk_reader() -> None:
    assert_passes(str(AWK_READER))


@pytest.mark.parametrize("awk", ["mawk", "gawk", "busybox awk"])  # awk is one of them
def test_awk_reader_with_every_awk(awk: str) -> None:
    if not shutil.which(awk.split()[0]):
        pytest.skip(f"{awk} is not installed")
    where_awks_differ = ["*/utf8-*", "*/base64-b*", "*/body-*", "valid/quoted-*", "invalid/nul-*", "valid/attribute-[bcu]*", "limit/control-*"]
    assert_passes(f"AWK='{awk}' {AWK_READER}", *where_awks_differ)


def test_python_reader() -> None:
    assert_passes(f"{sys.executable} -m cit_format list")


# --- readers that are wrong on purpose ------------------------------------------------------------------------------

BEGIN = f"""
import importlib.util, os, re, sys, time
from importlib.machinery import SourceFileLoader
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_loader("make", SourceFileLoader("make", {str(MAKE)!r}))
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
stream = sys.stdin.buffer.read()
TRACEBACK = "Traceback (most recent call last):"
"""
END = "sys.stdout.buffer.write(rows)\nsys.stdout.flush()\nsys.exit(65 if faults else 0)\n"

# What is wrong with it; its code; a case that must fail; cases that it still passes.
WRONG = [
    ("takes CR LF for LF", "stream = stream.replace(b'\\r\\n', b'\\n')", "invalid/cr-everywhere", "valid/body-*"),
    ("gives up at the first fault", "AFTER: rows = b'' if faults else rows", "invalid/document-first-of-three", "valid/base64-*"),
    ("does not take the @ away", "make.QUOTED = re.compile(b'(?!)')", "valid/quoted-begin", "valid/not-quoted-t*"),
    ("takes base64 of any width", "make.decoded = make.base64.b64decode", "invalid/base64-lines-of-72", "valid/tar"),
    ("uses a frame that was cut", "stream = re.sub(b'^@cit-stream .*\\n', b'', stream)", "invalid/frame-cut", "valid/name-*"),
    ("answers 65 with a traceback", "AFTER: if faults: print(TRACEBACK, file=sys.stderr)", "invalid/end-alone", "valid/n*"),
    ("is killed where it should refuse", "AFTER: if faults: os.kill(os.getpid(), 9)", "invalid/end-alone", "valid/n*"),
    ("ends with 1 where it should refuse", "AFTER: if faults: sys.stdout.buffer.write(rows); sys.exit(1)", "invalid/end-alone", "valid/n*"),
    ("says no to everything", "AFTER: rows, faults = b'', ['no']", "valid/document-minimal", "invalid/only-text"),
    ("does not end", "AFTER: if faults: time.sleep(60)", "invalid/end-alone", "valid/name-64"),
]


@pytest.mark.parametrize(("wrong", "code", "fails", "passes"), WRONG)
def test_wrong_reader_fails(wrong: str, code: str, fails: str, passes: str, tmp_path: Path) -> None:
    before, after = ("", code[len("AFTER: ") :]) if code.startswith("AFTER: ") else (code, "")
    program = tmp_path / "reader.py"
    program.write_text("\n".join([BEGIN, before, "rows, faults = make.listing(stream)", after, END]))
    status, lines = conform(f"{sys.executable} {program}", "--timeout", 2, fails, passes)
    assert status == 1
    assert [line.split(":")[0] for line in lines if not line.startswith("ok")][:-1] == [f"not ok - {fails}"], lines


def test_skipped_case_that_passes_fails_the_run(tmp_path: Path) -> None:
    skip = tmp_path / "skip"
    skip.write_text("# not yet\nvalid/name-64 # names are short here\n")
    status, lines = conform(ORACLE, "--skip", skip, "valid/name-*")
    assert (status, lines[-1]) == (1, "3 passed, 1 failed, 0 skipped")
    status, lines = conform("false", "--skip", skip, "valid/name-64")
    assert lines[-1] == "0 passed, 0 failed, 1 skipped"
    assert "# SKIP exit status 1" in lines[0]


def test_a_name_that_is_no_case_is_no_success() -> None:
    assert conform(ORACLE, "valid/no-such-*") == (1, ["0 passed, 0 failed, 0 skipped"])


# --- vectors and pages ----------------------------------------------------------------------------------------------


def test_vectors_and_pages_are_fresh() -> None:
    done = subprocess.run([str(MAKE), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + "run tests/vectors/make; see docs/format/index.md"
    assert len(list((CHECKOUT / "tests/vectors/format").glob("*/*.cit"))) >= 100


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("docs/format/job.md", "cpus = 2", "cpus = 3", "valid/page-job.cit is stale"),
        ("docs/format/job.md", "cpus = 2", "cups = 2", "job: not as the dictionary has it: cups"),
        ("cit_format/sections.tsv", "Greater is sooner.", "Less is later.", "docs/format/job.md is stale"),
        ("tests/vectors/format/valid/name-64.list", "\t1\t", "\t2\t", "name-64.list is stale"),
        ("tests/vectors/format/invalid/end-alone.cit", "@end\n", "@end note\n", "invalid/end-alone.cit: there is no fault in it"),
        ("docs/format/control.md", "<!-- keys: control -->", "", "section control has no page"),
    ],
)
def test_what_is_stale_is_named(path: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    for part in ("docs/format", "cit_format/sections.tsv", "tests/vectors"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (CHECKOUT / part).is_dir() else shutil.copy)(CHECKOUT / part, tmp_path / part)
    changed = tmp_path / path
    text = changed.read_text()
    assert old in text
    changed.write_text(text.replace(old, new, 1))
    done = subprocess.run([str(tmp_path / "tests/vectors/make"), "--check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert said in done.stderr
