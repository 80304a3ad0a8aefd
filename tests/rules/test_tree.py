"""What holds for every file of the tree (CONTRIBUTING.md): said once in one place, in files that one can read, from no one's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.rules.rooms import CHECKOUT, ROOMS, programs, project

PAGE = "see CONTRIBUTING.md, 'Rules that tests hold'"


def tracked() -> list[Path]:
    """The files that git knows; links left out."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def findings(pattern: str) -> list[str]:
    """FILE:LINE of each line of a tracked text file where the pattern is found."""
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        if re.search(pattern, text):
            lines = [number for number, line in enumerate(text.split("\n"), 1) if re.search(pattern, line)]
            found += [f"{path.relative_to(CHECKOUT)}:{number}" for number in lines]
    return found


def test_no_path_of_one_machine() -> None:
    """A place that only one machine has; ~/work or $HOME/work is anybody's."""
    assert not findings(r"(?<![\w.~}*/-])/(wor[k]/(main|shared)|roo[t]/|home/(?!ada|ben|build|cit|USER|me\b|[{$]))"), PAGE


def test_no_unfinished_marks() -> None:
    assert not findings(r"\b(TOD[O]|FIXM[E]|XX[X])\b"), PAGE


def test_no_file_of_code_is_too_long() -> None:
    code = [path for path in tracked() if path.suffix in {".py", ".sh", ".awk", ".go"}]
    long = {str(path.relative_to(CHECKOUT)): len(path.read_bytes().splitlines()) for path in code}
    assert not {name: lines for name, lines in long.items() if lines > 400}, f"an idea in it wants a file with its own name; {PAGE}"


def test_one_version() -> None:
    version = re.search(r'VERSION = "(.*)"', (CHECKOUT / "cit_format/version.py").read_text())
    assert version and f"\nversion={version[1]}\n" in (CHECKOUT / "bin/cit").read_text(), PAGE


def test_suite_asks_for_what_its_rooms_ask_for() -> None:
    """Dependencies and programs of the suite are those of the rooms, extras included."""
    wanted, scripts = set(), {}
    for room in ROOMS:
        wanted |= {*project(room)["dependencies"], *(each for extra in project(room).get("optional-dependencies", {}).values() for each in extra)}
        scripts.update(programs(room))
    assert set(project(".")["dependencies"]) == wanted, PAGE
    assert programs(".") == scripts, PAGE


def test_pages_that_rules_name_are_there() -> None:
    """`see FILE, 'HEADING'` in tests/rules leads somewhere."""
    for path in (CHECKOUT / "tests/rules").glob("test_*.py"):
        for page, heading in re.findall(r"see ([\w/.]+\.md), '([^'{]+)'", path.read_text()):
            assert f"\n## {heading}\n" in (CHECKOUT / page).read_text(), f"{path.name}: {page} has no heading {heading}"
