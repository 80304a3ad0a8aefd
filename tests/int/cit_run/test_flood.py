"""A log has a limit: its first half and its end stay, what is cut out is said there and in the result (docs/howto/limits.md)."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

from cit_report.cit_format import clock as report_clock
from cit_report.index import Index
from cit_run import flood
from cit_run.flood import Flood
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, until

PRINTS = "import sys; line = b'x' * 1023 + b'\\n'; [sys.stdout.buffer.write(line * 1024) for _ in range({})]"


def flooding(mebibytes: int, last: str = "echo the end") -> str:
    return f'#!/bin/sh\necho the beginning\npython3 -c "{PRINTS.format(mebibytes)}"\n{last}\n'


def test_a_gigabyte_in_seconds(bench: Bench) -> None:
    """The job has its own end; its log has its beginning, its end, and what is gone between them. At no moment was it much too long."""
    bench.set(on_end="", log_limit="16M")
    job = bench.send(flooding(1024, "sleep 0.2; echo the end; exit 3"))
    quiet = bench.send("#!/bin/sh\necho quiet\n", name="quiet")
    seen = [0]
    log = bench.account / "work" / f"{job.id}.a1-job.log"
    started = bench.start("--slots", "2")

    def look() -> None:
        while started.poll() is None:
            seen.append(log.stat().st_size if log.exists() else 0)

    looking = threading.Thread(target=look)
    looking.start()
    assert started.wait(120) == 0
    looking.join()
    result, text = bench.result(job), log.read_bytes()
    assert (result["state"], result["exit"]) == ("FAILED", 3)
    assert re.fullmatch(r"10\d\dM of its output are cut out of the log \(log-limit\)", str(result["why"])), result["why"]
    assert len(text) <= 16 << 20 and max(seen) < 512 << 20, max(seen)
    assert text.startswith(b"the beginning\nxxx") and text.endswith(b"x\nthe end\n")
    ((notice, told),) = re.findall(rb"(\ncit-run: (\d+) MiB of output cut out here \(log-limit\)\n)", text)
    assert abs(int(told) + (len(text) >> 20) - 1024) <= 1, "what is gone and what is there is all that there was"
    assert {len(line) for line in text.split(b"\n")[1:-2]} <= {0, len(notice) - 2, 1023}, "lines are whole"
    assert (bench.result(quiet).get("why"), bench.log(quiet)) == (None, "quiet\n")


def test_a_log_of_its_length_is_not_touched(bench: Bench) -> None:
    bench.set(on_end="", log_limit="2M")
    job = bench.send(flooding(1) + "head -c 1000000 /dev/zero\n")
    bench.run()
    assert len(bench.log(job)) == len("the beginning\nthe end\n") + (1 << 20) + 1_000_000 and "why" not in bench.result(job)


def test_who_reads_along(bench: Bench) -> None:
    """On a terminal the output is shown as it comes, to its end, also where the log becomes shorter meanwhile."""
    bench.set(on_end="", log_limit="1M")
    job = bench.job(flooding(64, "sleep 0.3; echo the end"))
    file = bench.home / "job.cit"
    file.write_bytes(job.raw)
    shown = bench.home / "shown"
    status = os.system(f"script -qefc 'cit-run < {file}' {shown} >/dev/null 2>&1 </dev/null")
    assert status == 0 and b"the beginning" in shown.read_bytes() and b"the end\r\n" in shown.read_bytes()


def test_who_follows(bench: Bench) -> None:
    """cit log -f ends with the job, and with the last that it printed."""
    bench.set(on_end="", log_limit="1M")
    job = bench.send(flooding(64, "sleep 0.5; echo the end"))
    started = bench.start()
    until(lambda: bench.runs(job))
    followed = subprocess.run([CHECKOUT / "bin" / "cit-log", "-f", job.id], capture_output=True, timeout=60)
    assert started.wait(60) == 0 and followed.returncode == 0, followed.stderr
    assert followed.stdout.endswith(b"the end\n")


def test_cuts_add_up(tmp_path: Path) -> None:
    """A log that is cut again says all that is gone; binary output and a log without a newline are cut too."""
    log = tmp_path / "log"
    kept = Flood(str(log), 1 << 20)
    written = 0
    for piece in (b"line\n" * 300_000, b"\0" * 900_000, b"\xff" * 5_000_000, b"last\n" * 10):
        with open(log, "ab") as stream:
            stream.write(piece)
        written += len(piece)
        kept.look(0.0, False)
    text = log.read_bytes()
    notice = flood.notice(kept.cut)
    assert text.count(notice) == 1 and len(text) - len(notice) + kept.cut == written
    assert text.startswith(b"line\n") and text.endswith(b"last\n" * 10) and len(text) <= 1 << 20
    log.unlink()
    kept.look(0.0, False)
    os.mkfifo(log)
    kept.shorten()


def test_when_it_looks(tmp_path: Path) -> None:
    """A log that does not grow wakes nobody; one that does is looked at so often that it cannot become much longer."""
    assert flood.pause(0) == flood.pause(-1) == 0.02 and flood.pause(1 << 40) == 1.0
    assert flood.pause(256 << 20) == 0.125
    (tmp_path / "log").write_text("x")
    kept = Flood(str(tmp_path / "log"), 1 << 20)
    kept.look(100.0, True)
    assert kept.due == 0.0
    kept.look(100.0, False)
    assert 100.0 < kept.due <= 101.0
    Flood(str(tmp_path / "log"), 0).look(100.0, False)


def test_times_of_a_log_that_was_cut() -> None:
    """Rows of what is gone do not count; what stands there now was printed later."""
    rows = "".join(f"2026-11-23T20:26:{second:02d}.000Z\t{size}\n" for second, size in ((1, 100), (2, 500), (3, 900), (4, 450), (5, 600)))
    index = Index(rows.encode())
    assert index.sizes == [100, 450, 600]
    assert [index.moment(at) for at in (50, 300, 500, 700)] == [
        *(report_clock.parse(f"2026-11-23T20:26:0{second}Z") for second in (1, 4, 5)),
        None,
    ]


def test_a_flood_of_a_job_that_is_cancelled(bench: Bench) -> None:
    """A flood does not keep its shim from hearing what is wished, and stays within its limit until it is killed."""
    bench.set(on_end="", log_limit="1M")
    job = bench.send("#!/bin/sh\ntrap '' TERM\nyes\nyes\n")
    started = bench.start()
    until(lambda: bench.runs(job))
    bench.wish(job, "cancel")
    assert started.wait(60) == 0
    assert bench.result(job)["state"] == "CANCELLED" and len(bench.log(job)) <= 1 << 20
