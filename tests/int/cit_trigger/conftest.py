"""A home of its own for every test, copied from one that was used for the first time once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.int.cit_trigger.builder import Builder
from tests.int.cit_trigger.desk import Desk

ADA = {"CIT_USER": "ada", "CIT_HOST": "sun"}
SETTINGS = """[user]
	name = Ada
	email = ada@sun
[init]
	defaultBranch = main
[protocol "file"]
	allow = always
"""


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after its first use; nothing in it runs on arrival."""
    directory = tmp_path_factory.mktemp("desk") / "home"
    directory.mkdir()
    (directory / ".gitconfig").write_text(SETTINGS)
    Desk(directory, **ADA).made("--", "true")
    for file in (directory / ".cit/config.toml", directory / ".cit/queues/main/queue.toml"):
        with file.open("a") as stream:
            stream.write('on-arrival = ""\n')
    return directory


@pytest.fixture
def desk(first_use: Path, tmp_path: Path) -> Desk:
    directory = tmp_path / "home"
    shutil.copytree(first_use, directory, symlinks=True)
    return Desk(directory, **ADA)


@pytest.fixture(scope="session")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A home in which jobs run as they arrive; its tests tell their jobs apart by name."""
    directory = tmp_path_factory.mktemp("lively") / "home"
    directory.mkdir()
    (directory / ".gitconfig").write_text(SETTINGS)
    return Desk(directory)


@pytest.fixture
def builder(desk: Desk) -> Builder:
    """A workspace on this person's own machine."""
    return Builder(desk.home / "work", desk.environment)
