"""docs/directories.md and docs/stages/queue.md name what the code has: directories, hidden files, settings, verbs, options."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cit_format import home
from cit_queue import roles
from tests.int.cit_queue.house import ROOT, House

DIRECTORIES = (ROOT / "docs" / "directories.md").read_text()
QUEUE = (ROOT / "docs" / "stages" / "queue.md").read_text()


@pytest.mark.parametrize("name", sorted({*home.QUEUE_DIRECTORIES, *home.ACCOUNT_DIRECTORIES}))
def test_every_directory_has_its_row(name: str) -> None:
    assert re.search(rf"^\| `{name}/", DIRECTORIES, re.M), "docs/directories.md has no row for it"


def test_every_setting_has_its_row() -> None:
    rows = [line.split("\t") for line in (ROOT / "cit_format" / "settings.tsv").read_text().splitlines()[1:]]
    for file, _, key, *_ in rows:
        page = DIRECTORIES.partition(f"| {file} |")[2].partition("\n\n")[0]
        assert key == "-" or f"| `{key}` |" in page, f"docs/directories.md has no row for {key} of {file}"


def test_every_verb_and_option_is_on_the_page() -> None:
    for verb, known in roles.VERBS.items():
        usage = known.usage.replace("|", "\\|")  # as a table of Markdown has it
        assert f"\n| `{usage}` |" in QUEUE, verb
    for word, role in roles.ROLES.items():
        row = re.search(rf"^\| `{word}` \|.*\| `(.*)` \|$", QUEUE, re.M)
        assert row and row[1].split() == list(role.verbs), word
    said = subprocess.run([str(ROOT / "bin" / "cit-queue"), "--help"], capture_output=True, text=True, check=True).stdout
    for option in set(re.findall(r"--[a-z]+", said)) - {"--help", "--quiet", "--verbose"}:
        assert option in QUEUE, option


def test_what_a_run_leaves_is_on_the_page(house: House) -> None:
    house.set("active", False)
    house.push(house.job("kept"))
    house.set("active", True)
    house.push(house.job(), house.control("cancel", house.job().id), house.job(who="eve"))
    known = set(re.findall(r"`(?:[^`|]*/)?([^`/|]+?)/?`", DIRECTORIES.replace("` in a queue", "`")))
    known |= {word.strip("`,") for word in re.findall(r"`[^`]+`,?", DIRECTORIES)} | {".shelf"}
    for path in [*house.path.iterdir(), *house.queue.path.iterdir(), *Path(house.path / "outbox").iterdir()]:
        name = path.name
        assert name in known or f"{name}/" in DIRECTORIES or name.endswith((".cit", ".pub")), f"docs/directories.md does not know {path}"
