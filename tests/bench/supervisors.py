"""What it costs to watch jobs that sleep: the memory of one supervisor, 200 of them at once, and how often they wake up."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, str, str]
COUNT = 200
WATCHED = 3.0  # seconds


def supervisors(environment: dict[str, str]) -> Iterator[Row]:
    """200 jobs that wait for a word, in a home whose passes start by themselves."""
    place = Path(environment["HOME"])
    (place / ".cit/config.toml").open("a").write(f"slots = {COUNT}\ncpus = {COUNT}\n")
    gate = place / "gate"
    os.mkfifo(gate)
    (place / "lines").write_text("".join(f"{number}\n" for number in range(COUNT)))
    began = time.perf_counter()
    line = f"cit-trigger --name sleeps --each lines -- sh -c 'read x <{gate}' | cit-queue -q --to @main >/dev/null"
    subprocess.run(line, shell=True, env=environment, cwd=place, check=False)
    records = begun(place)
    taken = time.perf_counter() - began
    shims = [int(found[1]) for record in records if (found := re.search(r"shim (\d+)", (record / "status").read_text()))]
    time.sleep(1)
    before = sum(switches(pid) for pid in shims)
    time.sleep(WATCHED)
    woken = sum(switches(pid) for pid in shims) - before
    memory = [proportional(pid) for pid in shims]
    fd = os.open(gate, os.O_RDWR)
    os.write(fd, b"\n" * COUNT)
    yield "supervisor of a sleeping job, memory (PSS)", f"{max(memory) / 1024:.1f} MB", "aim 4 MB"
    yield f"{len(shims)} of them at once, all together", f"{sum(memory) >> 10} MB", f"{taken:.1f} s from push until all run"
    yield f"wake-ups of these in {WATCHED:g} s", str(woken), "aim 0"


def begun(place: Path) -> list[Path]:
    """The records of the jobs that run, once all do."""
    until = time.time() + 120
    while True:
        found = [path.parent for path in (place / ".cit/work").glob("*-sleeps.run/pid")]
        if len(found) == COUNT or time.time() > until:
            return found
        time.sleep(0.05)


def proportional(pid: int) -> int:
    """KiB of memory, what is shared in shares."""
    found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) if found else 0


def switches(pid: int) -> int:
    """How often a process gave up its processor by itself."""
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1]) if found else 0
