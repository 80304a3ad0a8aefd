"""The neighbours in the same run and on the same machine: nq, task-spooler, and a Slurm of one node, started for this (docs/bench.md).

None of them signs anything, and none has a job on disk when its submission returns; so they show what that costs.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.cluster import slurm as slurms  # noqa: E402

Row = tuple[str, str, str]
NOTHING = "signs nothing, syncs nothing"


@contextmanager
def folder() -> Iterator[str]:
    """A directory on the disk of the user's home."""
    with tempfile.TemporaryDirectory(prefix=".cit-bench-", dir=os.path.expanduser("~")) as place:
        yield place


@contextmanager
def slurm(cpus: int = 2) -> Iterator[slurms.Slurm]:
    """A Slurm of one node on loopback, with munge, and set to look at its queue at once."""
    place = Path(tempfile.mkdtemp(prefix="cit-bench-", dir="/tmp"))  # munged wants a way that all can go
    made = slurms.Slurm(place, cpus)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(place, ignore_errors=True)


def taken(script: str, environment: dict[str, str]) -> float:
    """Seconds that a line of sh takes."""
    began = time.perf_counter()
    subprocess.run(["sh", "-c", script], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def median(script: str, environment: dict[str, str], times: int = 7) -> str:
    """The median of several runs, the first left out."""
    return f"{statistics.median([taken(script, environment) for _ in range(times + 1)][1:]) * 1000:.0f} ms"


def spooler(place: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "TS_SOCKET": f"{place}/socket", "TS_MAXFINISHED": "2000", "TMPDIR": place, "TS_SLOTS": "2"}


def jobs(count: int) -> Iterator[Row]:
    """`true` jobs submitted one by one, until all have ended, two at once."""
    yield nq(count)
    yield task_spooler(count)
    why = slurms.obstacle()
    if why:
        yield "Slurm", "not measured", why
        return
    for cpus, fewer in ((2, count // 20), (16, count // 5)):
        with slurm(cpus) as made:
            submitted = taken(f"for i in $(seq {fewer}); do sbatch -Q -o /dev/null --wrap true; done", made.variables)
            ended = submitted + taken('while [ -n "$(squeue -h -o %i)" ]; do sleep 0.05; done', made.variables)
        said = f"sbatch alone {fewer / submitted:.0f} a second; signs nothing, no accounting"
        yield f"Slurm: {fewer} `true` jobs, one node, {cpus} at once", f"{fewer / ended:.0f} a second", said


def nq(count: int) -> Row:
    """nq: submission and end, two queues at once."""
    if not shutil.which("nq"):
        return "nq", "not installed", ""
    with folder() as place:
        each = f"NQDIR={place}/a nq -q true; NQDIR={place}/b nq -q true"
        script = f"for i in $(seq {count // 2}); do {each}; done; NQDIR={place}/a nq -w; NQDIR={place}/b nq -w"
        return f"nq: {count} `true` jobs, two queues", f"{count / taken(script, dict(os.environ)):.0f} a second", NOTHING


def task_spooler(count: int) -> Row:
    """task-spooler with two slots; it keeps its queue in memory."""
    if not shutil.which("tsp"):
        return "task-spooler", "not installed", ""
    with folder() as place:
        script = f"for i in $(seq {count}); do tsp -n true >/dev/null; [ $((i % 500)) = 0 ] && tsp -w; done; tsp -w; tsp -K"
        figure = f"{count / taken(script, spooler(place)):.0f} a second"
        return f"task-spooler: {count} `true` jobs, two slots", figure, "signs nothing, keeps nothing on disk"


def wait() -> Iterator[Row]:
    """One `true` job, from the key press until its end is known."""
    with folder() as place:
        if shutil.which("nq"):
            yield "  nq true; nq -w", median(f"NQDIR={place}/a nq -q true; NQDIR={place}/a nq -w", dict(os.environ)), NOTHING
        if shutil.which("tsp"):
            yield "  tsp -n true; tsp -w", median("tsp -n true >/dev/null; tsp -w", spooler(place)), "keeps nothing on disk"
            taken("tsp -K", spooler(place))
    yield from of_slurm()


def of_slurm() -> Iterator[Row]:
    """srun, which waits at the terminal, and sbatch --wait, which asks every two seconds and more."""
    why = slurms.obstacle()
    if why:
        yield "  srun true", "not measured", why
        return
    with slurm() as made:
        yield "  srun true, on a Slurm of one node", median("srun -Q --ntasks=1 true", made.variables), "signs, keeps and copies nothing"
        yield "  sbatch --wait of true", median("sbatch -Q --wait -o /dev/null --wrap true", made.variables, 2), "it asks again after 2 s and more"
