"""bin/ (docs/decisions/layout.md): each program is a link to the launcher or POSIX sh with a head that explains it, and cit's menu knows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.rules.rooms import CHECKOUT, programs

PAGE = "see CONTRIBUTING.md, 'A verb in bin/'"
BIN = CHECKOUT / "bin"
SCRIPTS = sorted(path for path in [*BIN.glob("cit*"), BIN / ".stage", CHECKOUT / "tests/run"] if not path.is_symlink())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_posix_sh_and_says_what_it_does(path: Path) -> None:
    """First line, head of comments with its name and use; every shell here can read it."""
    lines = path.read_text().split("\n")
    assert lines[0] == "#!/bin/sh" and os.access(path, os.X_OK), PAGE
    head = lines[1 : next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    assert len(head) >= 3 and re.match(rf"# (\S+/)?{re.escape(path.name)}: ", head[0]), f"{path.name}: head of comments; {PAGE}"
    assert path.name == ".stage" or any(line.startswith("# Usage: ") for line in head), f"{path.name}: '# Usage: ' in its head; {PAGE}"
    for shell in ("dash", "bash", "busybox"):
        if shutil.which(shell):
            command = [shell, "sh", "-n", path] if shell == "busybox" else [shell, "-n", path]
            done = subprocess.run(command, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, ""), f"{path.name} under {shell}: {done.stderr}; {PAGE}"


def test_every_stage_has_its_link() -> None:
    links = {path.name: os.readlink(path) for path in BIN.glob("cit*") if path.is_symlink()}
    assert links == dict.fromkeys(programs("."), ".stage"), PAGE


def test_menu_knows_every_program() -> None:
    """One line each in bin/cit; what is on PATH but not there is shown without its purpose."""
    shown = subprocess.run([BIN / "cit"], env={"PATH": os.defpath}, capture_output=True, text=True)
    words = {line.split()[0] for line in shown.stdout.split("\n") if re.match(r"  [a-z-]+ {2,}", line)}
    assert words - {"cit", "help"} == {path.name[4:] for path in BIN.glob("cit-*")} - {"help"}, f"verbs() in bin/cit; {PAGE}"
