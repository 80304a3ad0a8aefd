"""A clock that is three hours off, is set back, or is in 2038: jobs run as long as they may, and what is noted is in order (PROMISES 15)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cit_run.cit_format import clock, reader
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, until

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
PRINTS = "#!/bin/sh\nfor i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done\nexit 5\n"

pytestmark = pytest.mark.skipif(not os.path.exists(FAKETIME), reason="libfaketime is missing")


def wrong(monkeypatch: pytest.MonkeyPatch, offset: str, file: Path | None = None) -> None:
    """From here on programs see another time; only that of the day, as if somebody had set it."""
    monkeypatch.setenv("LD_PRELOAD", FAKETIME)
    monkeypatch.setenv("DONT_FAKE_MONOTONIC", "1")
    if file:
        file.write_text(offset)
        monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
        monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    else:
        monkeypatch.setenv("FAKETIME", offset)


@pytest.mark.parametrize("offset", ["+3h", "-3h"])
def test_hours_off(bench: Bench, monkeypatch: pytest.MonkeyPatch, offset: str) -> None:
    """Neither the time limit nor silence is counted by it: log and kernel have the right time."""
    job = bench.send(PRINTS, stall="2s", time="20s")
    silent = bench.send("#!/bin/sh\nexec sleep 60\n", name="silent", stall="1s")
    wrong(monkeypatch, offset)
    bench.run("--slots", "2")
    monkeypatch.undo()
    assert (bench.result(job)["state"], bench.result(job)["exit"]) == ("FAILED", 5), bench.result(job)
    assert bench.result(silent)["state"] == "TIMEOUT" and 900 < int(str(bench.result(silent)["wall-ms"])) < 15_000


@pytest.mark.parametrize("step", ["-3h", "+3h"])
def test_set_while_a_job_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str) -> None:
    job = bench.send(PRINTS, stall="2s", time="20s")
    home = os.environ["HOME"]
    wrong(monkeypatch, "+0s", tmp_path / "offset")
    started = bench.start()
    monkeypatch.undo()
    monkeypatch.setenv("HOME", home)
    until(lambda: bench.runs(job))
    (tmp_path / "offset").write_text(step)
    assert started.wait(60) == 0
    result = bench.result(job)
    assert (result["state"], result["exit"]) == ("FAILED", 5), result
    assert 2_000 < int(str(result["wall-ms"])) < 20_000, "as long as it took"
    assert clock.iso(int(str(int(result["started"])))) <= clock.iso(int(str(int(result["ended"]))))  # type: ignore[arg-type]


def test_in_2038(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, signed, run and signed again, after the second that does not fit into 31 bits."""
    wrong(monkeypatch, "@2038-01-20 00:00:00")
    line = "cit-trigger -J late -t 1m -- sh -c 'echo ran; exit 3' | cit-run"
    path = f"{CHECKOUT}/bin:{os.environ['PATH']}"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, env={**os.environ, "PATH": path}, timeout=120)
    monkeypatch.undo()
    assert ended.returncode == 3, ended.stderr
    result = reader.parse(ended.stdout).table("result")
    assert result["state"] == "FAILED" and clock.iso(int(result["started"])).startswith("2038-01-20T")  # type: ignore[arg-type]
