"""bin/cit and the launcher of the stages, as they are started: from PATH, through links, from folders with hostile files."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = CHECKOUT / "bin"


def run(*command: object, path: str = os.defpath, cwd: object = "/") -> subprocess.CompletedProcess[str]:
    """A program under env -i with this PATH."""
    return subprocess.run([str(word) for word in command], env={"PATH": path}, cwd=str(cwd), capture_output=True, text=True, stdin=subprocess.DEVNULL)


def program(path: Path, body: str) -> Path:
    """An executable shell script at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_word_runs_the_program_with_its_arguments_as_they_are(tmp_path: Path) -> None:
    program(tmp_path / "cit-hello", 'printf "<%s>" "$0" "$@"; exit 7')
    done = run(BIN / "cit", "hello", "a b", "", "*", path=f"{tmp_path}:{os.defpath}")
    assert (done.stdout, done.returncode) == (f"<{tmp_path}/cit-hello><a b><><*>", 7)


def test_program_earlier_on_path_replaces_a_stage(tmp_path: Path) -> None:
    program(tmp_path / "cit-queue", "echo mine")
    assert run(BIN / "cit", "queue", path=f"{tmp_path}:{os.defpath}").stdout == "mine\n"
    program(tmp_path / "cit-nest", "cit queue")
    assert run(BIN / "cit", "nest", path=f"{tmp_path}:{os.defpath}").stdout == "mine\n", "cit finds itself from within a verb"


def test_own_folder_comes_last_on_path_once(tmp_path: Path) -> None:
    program(tmp_path / "cit-whither", 'echo "$PATH"')
    path = f"{tmp_path}:{os.defpath}"
    assert run(BIN / "cit", "whither", path=path).stdout == f"{path}:{BIN}\n"
    assert run("cit", "whither", path=f"{BIN}:{path}").stdout == f"{BIN}:{path}\n"


@pytest.mark.parametrize("how", ["link", "relative", "in its folder"])
def test_cit_finds_its_folder(tmp_path: Path, how: str) -> None:
    (tmp_path / "c").symlink_to(BIN / "cit")
    shutil.copy(program(tmp_path / "my bin" / "cit-hello", "echo hi"), tmp_path)
    shutil.copy(BIN / "cit", tmp_path / "my bin/cit")
    if how == "link":
        assert run(tmp_path / "c", "queue", "--help").returncode == 0
    elif how == "relative":
        assert run("my bin/cit", "hello", cwd=tmp_path).stdout == "hi\n"
    else:
        assert run("sh", "cit", "hello", cwd=tmp_path / "my bin").stdout == "hi\n"


def test_unknown_word_is_a_usage_error_with_the_nearest_verb(tmp_path: Path) -> None:
    program(tmp_path / "cit-push", "exit 99")
    for typed, meant in {"psuh": "push", "pusj": "push", "queeu": "queue", "hepl": "help"}.items():
        done = run(BIN / "cit", typed, path=f"{tmp_path}:{os.defpath}")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"cit: error: no verb '{typed}'\nhint: did you mean '{meant}'? cit help lists the verbs\n"


@pytest.mark.parametrize("typed", ["frobnicate", "../cit-queue", "a b", "QUUX", "*"])
def test_word_like_no_other_gets_no_guess(typed: str) -> None:
    done = run(BIN / "cit", typed)
    assert (done.returncode, done.stderr) == (2, f"cit: error: no verb '{typed}'\nhint: cit help lists the verbs\n")


def test_unknown_option_is_a_usage_error() -> None:
    assert run(BIN / "cit", "--psuh").stderr == "cit: error: no option '--psuh'\nhint: cit --help\n"


def test_short_forms(tmp_path: Path) -> None:
    program(tmp_path / "cit-check", 'echo "check $*"')
    path = f"{tmp_path}:{os.defpath}"
    assert run(BIN / "cit", "-c", "FILE", path=path).stdout == "check FILE\n"
    assert run(BIN / "cit", "help", "check", path=path).stdout == "check --help\n"
    assert run(BIN / "cit", "--version").stdout.startswith("cit ")


def test_menu_shows_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(BIN / "cit", tmp_path / "cit")
    program(tmp_path / "cit-push", "")
    program(tmp_path / "cit-mine", "")
    menus = [run(tmp_path / "cit", *words) for words in ([], ["help"], ["--help"])]
    assert {menu.returncode for menu in menus} == {0} and len({menu.stdout for menu in menus}) == 1
    menu = menus[0].stdout
    assert "\njobs\n  push  " in menu and "\nalso on PATH\n  mine\n" in menu
    assert "  why  " not in menu and "  queue  " not in menu


def test_stage_starts_from_anywhere_and_imports_nothing_from_there(tmp_path: Path) -> None:
    for name in ("typer.py", "cit_queue.py", "sys.py", "os.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the caller')")
    link = tmp_path / "cit-queue"
    link.symlink_to(BIN / "cit-queue")
    for command in (BIN / "cit-queue", link, os.path.relpath(BIN / "cit-queue", tmp_path)):
        done = run(command, "--help", cwd=tmp_path)
        assert done.returncode == 0 and "cit-queue" in done.stdout, done.stderr


def test_missing_dependency_is_told_with_what_to_do(tmp_path: Path) -> None:
    """A checkout whose Python has nothing installed: no traceback, 78, a hint."""
    shutil.copytree(CHECKOUT / "cit_run", tmp_path / "cit_run")
    (tmp_path / "bin").mkdir()
    for name in (".stage", ".stage.py"):
        shutil.copy(BIN / name, tmp_path / "bin")
    (tmp_path / "bin/cit-run").symlink_to(".stage")
    venv.EnvBuilder(symlinks=True).create(tmp_path / ".venv")
    done = run(tmp_path / "bin/cit-run", "--help")
    assert done.returncode == 78
    assert done.stderr.startswith(f"cit-run: error: {tmp_path}/.venv/bin/python has no module ")
    assert done.stderr.endswith(f"hint: {tmp_path}/bin/cit-setup installs what cit needs into {tmp_path}/.venv\n")


@pytest.mark.skipif(not (CHECKOUT / ".venv/ready").exists(), reason="this checkout was not made ready by cit-setup")
def test_setup_of_a_ready_checkout_does_nothing() -> None:
    before = (CHECKOUT / ".venv/ready").stat().st_mtime_ns
    done = run(BIN / "cit-setup")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (CHECKOUT / ".venv/ready").stat().st_mtime_ns == before


def test_setup_refuses_what_it_does_not_know() -> None:
    assert run(BIN / "cit-setup", "--nonsense").returncode == 2
    assert "--tests" in run(BIN / "cit-setup", "--help").stdout
