"""The transcripts and the script of this room's pages do what the pages show."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PINNED = {"CIT_NOW": "2026-11-23T20:30:00Z", "CIT_HOST": "sun", "CIT_ID": "01kax0m2ht8f0v3q6s9y2c4e7h", "CIT_HOME": "/nonexistent"}
HEAD = re.compile(r"^\S+Z (cit-[a-z]+)\[\d+\]: ", re.M)  # as in a log; the pages show a terminal's


def blocks(page: str, fence: str) -> list[str]:
    return re.findall(rf"^```{fence}\b.*?\n(.*?)^```", (DOCS / page).read_text(), re.S | re.M)


def transcripts(page: str) -> list[tuple[str, str, int]]:
    """Command, what it prints (a line ... stands for any), and its status, which `[N]` says."""
    found = []
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks(page, "console")), re.M):
        status = re.search(r"^\[(\d+)\]\n\Z", shown, re.M)
        found.append((command, shown[: status.start()] if status else shown, int(status[1]) if status else 0))
    return found


@pytest.mark.parametrize("page", ["stages/format.md", "replace-a-stage.md"])
def test_a_page_shows_what_happens(tmp_path: Path, page: str) -> None:
    (tmp_path / "hello.cit").write_text(blocks("format/signatures.md", "cit")[0])
    (tmp_path / "allowed_signers").write_text(blocks("format/signatures.md", "text")[0])
    (tmp_path / "allowed_signers").chmod(0o600)
    commands = transcripts(page)
    assert commands
    for command, shown, status in commands:
        run = subprocess.run(["sh", "-c", f"{{ {command}\n}} 2>&1"], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **PINNED})
        wanted = re.escape(shown).replace(re.escape("...\n"), "(?:.*\n)*")
        printed = HEAD.sub(r"\1: ", run.stdout)
        assert re.fullmatch(wanted, printed) and run.returncode == status, f"$ {command}\n{printed}[{run.returncode}]"
