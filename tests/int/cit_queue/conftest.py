"""A home of its own for every test, copied from one that was used for the first time once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.int.cit_queue.house import House


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after its first use."""
    directory = tmp_path_factory.mktemp("house") / "home"
    House(directory).settle()
    return directory


@pytest.fixture
def house(first_use: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A home of this test's own; what the test does itself happens in it too."""
    directory = tmp_path / "home"
    shutil.copytree(first_use, directory, symlinks=True)
    for name, value in (("HOME", str(directory)), ("CIT_USER", "ada"), ("CIT_HOST", "sun")):
        monkeypatch.setenv(name, value)
    return House(directory)
