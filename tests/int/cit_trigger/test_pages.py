"""The pages of this room show what happens, and have every option."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.ext.test_transcripts import SHAPES, faults
from tests.int.cit_report.lived import BIN, Lived

PAGE = BIN.parent / "docs/stages/trigger.md"
ANY_JOB = (re.compile(r"(?<=\bjob )[0-9a-hjkmnp-tv-z]{6}\b"), "SHORT")  # also one without a digit
COMMON = {"help", "verbose", "queue", "quiet", "key"}


@pytest.mark.parametrize("page", ["docs/stages/trigger.md", "docs/howto/push-a-git-tree.md"])
def test_a_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.setattr("tests.ext.test_transcripts.SHAPES", (ANY_JOB, *SHAPES))
    lived = Lived(tmp_path / "ada")
    lived.directory.mkdir()
    lived.environment["PATH"] = f"{BIN}:{os.defpath}"
    lived.environment.update(GIT_AUTHOR_NAME="Ada", GIT_AUTHOR_EMAIL="ada@sun", GIT_COMMITTER_NAME="Ada", GIT_COMMITTER_EMAIL="ada@sun")
    lived.run("cit-init")
    found = faults(lived, page)
    assert not found, "\n".join(found)


def test_every_option_is_on_the_page() -> None:
    said = subprocess.run([BIN / "cit-trigger", "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^  (?:-\w, )?--([a-z-]+)", said, re.M)) - COMMON
    page = PAGE.read_text()
    missing = [option for option in options if not re.search(rf"`[^`]*--{option}\b", page)]
    assert not missing and len(options) > 30, f"docs/stages/trigger.md: {missing}"
