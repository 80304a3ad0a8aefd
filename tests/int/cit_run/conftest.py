"""A build account for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.int.cit_run.kit import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HOME", str(tmp_path))  # put back afterwards, whatever Bench makes of it
    return Bench(tmp_path)
