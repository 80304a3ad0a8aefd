"""Who imports whom (docs/decisions/layout.md): a stage is itself, the standard library, what it declares, and its own cit_format."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.rules.rooms import CHECKOUT, ROOMS, STAGES, bare_name, imports, optional, programs, required, sources

PAGE = "see docs/decisions/layout.md, 'Who imports whom'"
HEAVY = {"cryptography", "fabric", "invoke", "paramiko", "pyrage", "rich", "tomlkit"}
MODULES = sorted(target.split(":")[0] for room in ROOMS for target in programs(room).values())


def objections(room: str, path: Path) -> list[str]:
    """The imports of one file that the rule does not allow, each as a sentence."""
    owners = metadata.packages_distributions()
    depth = len(path.relative_to(CHECKOUT / room).parts)
    found = []
    for each in imports(path):
        where = f"{path.relative_to(CHECKOUT)}:{each.line}"
        top = each.name.split(".")[0]
        if each.level:
            if each.level > depth:
                found.append(f"{where}: relative import leaves {room}")
        elif top.startswith("cit_"):
            if room == "cit_format":
                found.append(f"{where}: cit_format is copied into each stage, so it imports itself by dots only, not {each.name}")
            elif top != room:
                found.append(f"{where}: {room} imports {top}; stages talk through documents only, and cit_format is `.cit_format`")
        elif top not in sys.stdlib_module_names:
            declared = required(room) | (optional(room) if each.lazy else set())
            if not declared & {bare_name(owner) for owner in owners.get(top, [top])}:
                found.append(f"{where}: imports {top}, which {room}/pyproject.toml does not declare" + (" for every use" * (not each.lazy)))
    return found


@pytest.mark.skipif(sys.version_info < (3, 10), reason="lists of the standard library begin with Python 3.10")
@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_it_may(room: str) -> None:
    found = [each for path in sources(room) for each in objections(room, path)]
    assert not found, "\n".join([*found, PAGE])


@pytest.mark.skipif(sys.version_info < (3, 10), reason="lists of the standard library begin with Python 3.10")
def test_rule_sees_what_it_forbids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule itself: one file with each fault, and the same imports where they are allowed."""
    monkeypatch.setattr("tests.rules.test_imports.CHECKOUT", tmp_path)
    path = tmp_path / "cit_schedule" / "bad.py"
    path.parent.mkdir()
    path.write_text("import os, cit_run.main\nfrom ..cit_format import errors\nimport fabric\nimport pytest\ndef f():\n    import fabric, rich\n")
    faults = [fault.split(": ")[0].rsplit(":")[-1] for fault in objections("cit_schedule", path)]
    assert faults == ["1", "2", "3", "4", "6"]
    path.write_text("import os, typer\nfrom .cit_format import errors\nfrom cit_schedule import main\ndef f():\n    import fabric\n")
    assert objections("cit_schedule", path) == []


@pytest.mark.parametrize("module", MODULES)
def test_start_stays_light(module: str) -> None:
    """What takes long to import is imported by the function that uses it: PAGE 'Start-up'."""
    program = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [], f"import {module} brings these at start; see docs/decisions/layout.md, 'Start-up'"


@pytest.mark.parametrize("room", STAGES)
def test_stage_carries_the_one_cit_format(room: str) -> None:
    assert os.readlink(CHECKOUT / room / "cit_format") == "../cit_format", PAGE
