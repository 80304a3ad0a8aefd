"""A home with a history, made once and copied where a test changes it; the environment of this process is ada's on sun."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.int.cit_report.lived import Lived, happened


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """For looking only."""
    return happened(tmp_path_factory.mktemp("lived") / "home")


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    """A fresh home for a test that changes it: nothing has happened in it yet."""
    directory = tmp_path / "home"
    directory.mkdir()
    return Lived(directory)


@pytest.fixture
def copied(history: Lived, tmp_path: Path) -> Lived:
    """The history, in a copy that may be spoilt."""
    shutil.copytree(history.directory, tmp_path / "home", symlinks=True)
    return Lived(tmp_path / "home")


@pytest.fixture
def inside(history: Lived, monkeypatch: pytest.MonkeyPatch) -> Lived:
    """The history, also for what the test does itself."""
    for name, value in history.environment.items():
        monkeypatch.setenv(name, value)
    return history
