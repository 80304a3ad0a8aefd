"""Benchmarks: each row is measured here and now, beside a peer in the same run (docs/bench.md).

Every measurement gets a home of its own on the disk of the user's home, and all are removed at the end: a disk on which
much was just deleted is many times slower. Nothing here fails by the clock.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "bin"
TYPER = "import typer\napp = typer.Typer(add_completion=False)\n@app.command()\ndef main(x: int = 1) -> None: pass\napp()\n"
STAGES = ("trigger", "queue", "schedule", "deliver", "run", "sync", "report", "format")
Row = tuple[str, str, str]
homes: list[Path] = []  # removed at the very end: beside a mass deletion every sync waits


@contextlib.contextmanager
def home(passive: bool = False) -> Iterator[dict[str, str]]:
    """The environment of a fresh home; passive: nothing starts on arrival."""
    place = Path(tempfile.mkdtemp(prefix=".cit-bench-", dir=os.path.expanduser("~")))
    environment = {"HOME": str(place), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    run(["cit-trigger", "--", "true"], environment)
    if passive:
        (place / ".cit/queues/main/queue.toml").open("a").write('on-arrival = ""\n')
        (place / ".cit/config.toml").open("a").write('on-arrival = ""\non-end = ""\n')
    homes.append(place)
    yield environment
    until = time.time() + 5
    while time.time() < until and any((place / ".cit").glob("**/.wake")):
        time.sleep(0.1)


def run(argv: list[str], environment: dict[str, str], **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run to the end; its output is returned."""
    return subprocess.run(argv, env=environment, capture_output=True, check=False, **more)  # type: ignore[call-overload, no-any-return]


def seconds(argv: list[str], environment: dict[str, str], times: int = 11) -> float:
    """The median of several runs, the first left out."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        null = subprocess.DEVNULL
        # Not where the person stands: in a git tree `cit push` sends it.
        subprocess.run(argv, env=environment, cwd=environment["HOME"], stdin=null, stdout=null, stderr=null, check=False)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def typer_start(environment: dict[str, str]) -> float:
    """The start of a one-command Typer program."""
    return seconds([sys.executable, "-c", TYPER], environment)


def start() -> Iterator[Row]:
    """Start of each stage with nothing to do, as a multiple of a one-command Typer program."""
    with home(passive=True) as environment:
        plain = seconds([sys.executable, "-c", "pass"], environment)
        typer = typer_start(environment)
        yield "start: python3 -c pass", f"{plain * 1000:.0f} ms", f"{plain / typer:.2f} of Typer"
        yield "start: one-command Typer program", f"{typer * 1000:.0f} ms", "1"
        extra = {
            "schedule": ["--queue", "@main", "--from", "waiting", "--to", "assigned"],
            "queue": ["--to", "@main"],
            "run": ["--from", "inbox", "--to", "finished"],
            "trigger": ["--each", "/dev/null", "--", "true"],
            "format": ["list"],
        }
        for stage in STAGES:
            taken = seconds([f"cit-{stage}", *extra.get(stage, [])], environment)
            yield f"start: cit-{stage}", f"{taken * 1000:.0f} ms", f"{taken / typer:.2f} of Typer (aim 1.4)"


def push() -> Iterator[Row]:
    """`cit push -- true` to its ticket."""
    with home(passive=True) as environment:
        typer = typer_start(environment)
        taken = seconds(["cit", "push", "--", "true"], environment)
        yield "cit push -- true, to its ticket", f"{taken * 1000:.0f} ms", f"{taken / typer:.2f} of Typer (aim 2.5)"


def wait() -> Iterator[Row]:
    """`cit push --wait -- true`: from the key press to the status; the peers beside."""
    with home() as environment:
        taken = seconds(["cit", "push", "--wait", "--", "true"], environment, 7)
        yield "cit push --wait -- true", f"{taken * 1000:.0f} ms", "aim 600 ms"
    import peers  # beside this file

    yield from peers.wait()


def lines(environment: dict[str, str], count: int) -> Path:
    path = Path(environment["HOME"]) / "lines"
    path.write_text("".join(f"{number}\n" for number in range(count)))
    return path


def burst() -> Iterator[Row]:
    """10,000 documents in one stream through cit-queue: durable, signed, verified."""
    with home(passive=True) as environment:
        place = Path(environment["HOME"])
        made = run(["cit-trigger", "--name", "t", "--each", str(lines(environment, 10_000)), "--", "true"], environment).stdout
        (place / "stream").write_bytes(made)
        began = time.perf_counter()
        with open(place / "stream", "rb") as stream:
            timed = ["/usr/bin/time", "-f", "%M", "cit-queue", "-q", "--to", "@main"]
            ended = subprocess.run(timed, stdin=stream, env=environment, capture_output=True, check=False)
        taken = time.perf_counter() - began
        count = len(list((place / ".cit/queues/main/waiting").glob("*.cit")))
        memory = int(ended.stderr.split()[-1]) / 1024
        yield f"cit-queue, {count} documents in one stream", f"{count / taken:.0f} a second", "aim 3000"
        yield "  its memory", f"{memory:.0f} MB", "aim below 100"


def parse() -> Iterator[Row]:
    """A 200 MB stream through cit-format list, digests included."""
    with home(passive=True) as environment:
        place = Path(environment["HOME"])
        body = b"".join(b"line %d of a log, long enough to look like one\n" % number for number in range(20_000))
        (place / "big").write_bytes(b"@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g log\n" + b"".join([b"@begin note 1 text\n%s@end note\n" % body] * 60))
        with open(place / "stream", "wb") as stream:
            for _ in range(200_000_000 // (len(body) * 60) + 1):
                stream.write((place / "big").read_bytes())
        small = run(["cit-trigger", "--name", "t", "--each", str(lines(environment, 10_000)), "--", "true"], environment).stdout
        (place / "small").write_bytes(small)
        for what, name in (("sections of 1 MB", "stream"), ("jobs of 700 bytes", "small")):
            size = (place / name).stat().st_size
            taken = seconds(["cit-format", "list", str(place / name)], environment, 3)
            digest = seconds(["sha256sum", str(place / name)], environment, 3)
            yield (
                f"cit-format list, {size / 1e6:.0f} MB, {what}",
                f"{size / taken / 1e6:.0f} MB a second",
                f"sha256sum {size / digest / 1e6:.0f} (aim 150)",
            )


def until_done(place: Path, count: int, limit: float = 120) -> float:
    """Seconds until `count` documents are in done/."""
    began = time.perf_counter()
    while time.perf_counter() - began < limit:
        if sum(len(os.listdir(day)) for day in (place / ".cit/queues/main/done").glob("[0-9]*")) >= count:
            break
        time.sleep(0.02)
    return time.perf_counter() - began


def jobs() -> Iterator[Row]:
    """1,000 `true` jobs until all are recorded as done; the peers beside, two at once each."""
    count = 1000
    with home() as environment:
        place = Path(environment["HOME"])
        each = lines(environment, count)
        began = time.perf_counter()
        subprocess.run(f"cit-trigger --name t --each {each} -- true | cit-queue -q --to @main > /dev/null", shell=True, env=environment, check=False)
        pushed = time.perf_counter() - began
        until_done(place, count)
        taken = time.perf_counter() - began
        yield f"cit: {count} jobs pushed, on disk", f"{count / pushed:.0f} a second", ""
        yield f"cit: {count} `true` jobs until done/", f"{count / taken:.0f} a second", "aim 200"
    import peers  # beside this file

    yield from peers.jobs(count)


def depth() -> Iterator[Row]:
    """What the 100,001st push and a scheduling pass cost beside a queue of 100,000 waiting jobs."""
    with home(passive=True) as environment:
        place = Path(environment["HOME"])
        queue = place / ".cit/queues/main"
        one = run(["cit-trigger", "--name", "t", "--", "true"], environment).stdout
        (place / "one").write_bytes(one)
        feed = "cit-trigger --name t -- true | cit-queue -q --to @main"
        first = seconds(["sh", "-c", feed], environment, 7)
        template = next((queue / "waiting").glob("*.cit"))
        raw, (key, _, rest) = template.read_bytes(), template.name.partition(".")
        identity = rest[:26]
        for number in range(100_000):
            fresh = f"{identity[:18]}{number:08d}"
            name = f"{key[:5]}{int(key[5:]) + 1_000_000 + number:016d}.{fresh}-t.cit"
            (queue / "waiting" / name).write_bytes(raw.replace(identity.encode(), fresh.encode()))
        later = seconds(["sh", "-c", feed], environment, 7)
        yield "push into an empty queue", f"{first * 1000:.0f} ms", ""
        yield "push behind 100,000 jobs", f"{later * 1000:.0f} ms", f"{later / first:.2f} of the first (aim 1.5)"
        builder = next((queue / "builders").glob("*.cit"))
        full = seconds(["cit-schedule", "--queue", "@main", "--from", "waiting", "--to", "assigned", "--look-ahead", "1"], environment, 1)
        yield "scheduling pass over 100,000, one looked at", f"{full * 1000:.0f} ms", "aim 2 s"
        began = time.perf_counter()
        run(["cit-schedule", "--queue", "@main", "--from", "waiting", "--to", "assigned"], environment)
        yield "scheduling pass over 100,000, up to 1,000 assigned", f"{(time.perf_counter() - began) * 1000:.0f} ms", "aim 2 s"
        assert builder.exists()


def array() -> Iterator[Row]:
    """10,000 tasks in one array, and 10,000 jobs: to be queued, and dealt out to one builder that has room for all."""
    count = 10_000
    wishes = {"an array of": ["-a", f"1-{count}", "--", "true"], "jobs,": ["--each", "LINES", "--", "true"]}
    for what, words in wishes.items():
        with home(passive=True) as environment:
            queue = Path(environment["HOME"]) / ".cit/queues/main"
            roomy(queue, environment, count)
            asked = [str(lines(environment, count)) if word == "LINES" else word for word in words]
            began = time.perf_counter()
            pipe = 'cit-trigger --name t "$@" | cit-queue -q --to @main'
            subprocess.run(["sh", "-c", pipe, "sh", *asked], env=environment, stdout=subprocess.DEVNULL, check=False)
            pushed = time.perf_counter() - began
            began = time.perf_counter()
            run(["cit-schedule", "-q", "--queue", "@main", "--from", "waiting", "--to", "assigned"], environment)
            taken = time.perf_counter() - began
            dealt = len(list((queue / "assigned").glob("*.cit")))
            yield f"{what} {count}: queued", f"{pushed * 1000:.0f} ms", "aim 300 ms" if "array" in what else ""
            yield f"{what} {count}: {dealt} dealt to a builder", f"{dealt / taken:.0f} a second", ""


def roomy(queue: Path, environment: dict[str, str], count: int) -> None:
    """Have the queue's only builder take this many jobs ahead."""
    [path] = (queue / "builders").glob("*.cit")
    unsigned = re.sub(rb"(?m)^ahead = .*", b"ahead = %d" % count, path.read_bytes().partition(b"@begin signature ")[0])
    signed = run(["cit-format", "sign", "--ns", "cit-builder"], environment, input=unsigned).stdout
    path.write_bytes(signed)


def supervisors() -> Iterator[Row]:
    """200 sleeping jobs: the memory of their supervisors, and their wake-ups (supervisors.py)."""
    from supervisors import supervisors as rows  # beside this file

    with home() as environment:
        yield from rows(environment)


def network() -> Iterator[Row]:
    """Over ssh: delivery, many builders, latency (network.py)."""
    from network import network as rows  # beside this file

    yield from rows()


BENCHES = {each.__name__: each for each in (start, push, wait, burst, parse, jobs, depth, array, supervisors, network)}


def main(wanted: list[str]) -> int:
    """Print the table, a line as soon as it is known."""
    unknown = [name for name in wanted if name not in BENCHES]
    if unknown:
        print(f"no bench {unknown[0]}; there are: {' '.join(BENCHES)}", file=sys.stderr)
        return 2
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"# {os.cpu_count()} cores, {model[1] if model else 'unknown'}, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    try:
        for name in wanted or BENCHES:
            for what, figure, beside in BENCHES[name]():
                print(f"{what:55} {figure:>18}   {beside}", flush=True)
    finally:
        for place in homes:
            shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
