"""Every room works alone, and the suite whole (docs/decisions/layout.md): wheels are built, put into empty environments and run."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.rules.rooms import CHECKOUT, ROOMS, closure, programs, required

PAGE = "see docs/decisions/layout.md, 'A room alone'"
EVERY_MODULE = """
import importlib, pkgutil, sys
for module in pkgutil.walk_packages(importlib.import_module(sys.argv[1]).__path__, sys.argv[1] + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def run(*command: object, **env: str) -> subprocess.CompletedProcess[str]:
    """A program with nothing of this process's environment; its output is in the assertion where it fails."""
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/")
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{PAGE}"
    return done


def wheel(room: str, folder: Path) -> Path:
    """Builds the wheel of one room, or of the suite (".")."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT / room, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def environment(folder: Path, room: str) -> Path:
    """An environment with what the room declares (as links to what is installed here), and the room's wheel by pip."""
    venv.EnvBuilder(symlinks=True).create(folder)
    site = next(folder.glob("lib/python*/site-packages"))
    for distribution in closure(required(room)).values():
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(str(distribution.locate_file(top)))
    pip = ["install", "-qq", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", folder / "bin/python", *pip, wheel(room, folder), PATH=os.defpath, HOME=str(folder))
    return folder


@pytest.mark.parametrize("room", ROOMS)
def test_room_alone(room: str, tmp_path: Path) -> None:
    folder = environment(tmp_path, room)
    assert {path.name for path in folder.glob("bin/cit*")} == set(programs(room)), PAGE
    clean = {"PATH": f"{folder}/bin:{os.defpath}", "HOME": str(tmp_path)}
    run(folder / "bin/python", "-c", EVERY_MODULE, room, **clean)
    for program in programs(room):
        assert run(folder / "bin" / program, "--help", **clean).stdout


@pytest.mark.parametrize("room", ROOMS)
def test_wheel_has_all_files_of_the_room(room: str, tmp_path: Path) -> None:
    """Data files too, and the private copy of cit_format."""
    here = {
        os.path.relpath(os.path.join(folder, name), CHECKOUT)
        for folder, _, names in os.walk(CHECKOUT / room, followlinks=True)
        for name in names
        if name != "pyproject.toml" and "__pycache__" not in folder and not name.startswith(".")
    }
    packed = {name for name in zipfile.ZipFile(wheel(room, tmp_path)).namelist() if ".dist-info/" not in name}
    assert packed == here, PAGE


def test_suite(tmp_path: Path) -> None:
    """Every program of bin/ but cit-setup is in the suite's environment, and `cit` finds its words there."""
    folder = environment(tmp_path, ".")
    wanted = {path.name for path in (CHECKOUT / "bin").glob("cit*")} - {"cit-setup"}
    assert {path.name for path in folder.glob("bin/cit*")} == wanted, PAGE
    clean = {"PATH": os.defpath, "HOME": str(tmp_path)}
    assert run(folder / "bin/cit", "--version", **clean).stdout.startswith("cit ")
    assert run(folder / "bin/cit", "run", "--help", **clean).stdout
    assert next(folder.glob("lib/python*/site-packages/cit_run/cit_format/errors.py")).exists(), PAGE
