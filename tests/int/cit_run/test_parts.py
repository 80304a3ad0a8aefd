"""cit-part and CIT_EVENTS: what a job says of itself, and that a part changes nothing of what a command does."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cit_run.cit_format import attempts, clock, document, own_events, parts, trust
from cit_run.cit_format.document import Document
from tests.conftest import CHECKOUT
from tests.int.cit_run import sealed
from tests.int.cit_run.kit import Bench, is_alive, until

PART = str(CHECKOUT / "bin" / "cit-part")
MAKEFILE = "all: one two\none:\n\t@echo first; sleep 0.2; echo last\ntwo:\n\t@echo between; exit 3\n"


def said(job: Document) -> list[list[str]]:
    return [row for section in job.all("event") for row in section.rows() if row[1] == "job"]


# --- decisions ------------------------------------------------------------------------------------------------------

LIST = b"10.00\tclock\t2026-11-24T02:08:53.000Z\n11.00\tbegan\t7.1\ta/b\tfrom 3\n11.50\tbegan\t8.1\ta/c\tfrom 0\tfile a/c.log\n"


def test_runs_of_a_list() -> None:
    found = parts.runs(LIST + b"12.25\tended\t7.1\ta/b\texit 2\tsignal 0\tto 9\n")
    start = clock.parse("2026-11-24T02:08:54.000Z")
    assert found == [
        parts.Run("a/b", start, start + 1_250_000, 2, 0, "", 3, 9),
        parts.Run("a/c", start + 500_000, file="a/c.log", start=0),
    ]
    tree = parts.tree(found)
    assert [(part.name, part.state, part.elapsed) for part in tree] == [
        ("a", "RUNNING", None),
        ("a/b", "FAILED", 1_250_000),
        ("a/c", "RUNNING", None),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"x\tbegan\t1\ta\tfrom 0",
        b"1\tbegan",
        b"1\tbegan\t1\t../x\tfrom 0",
        b"1\tbegan\t1\ta b\tfrom 0",
        b"1\tbegan\t1\t\x1b[31m\tfrom 0",
        b"1\tended\t9\ta\texit 0",
        b"9" * 400 + b"\tbegan\t1\ta",
        b"\xff\xfe",
        b"",
    ],
)
def test_what_is_no_run_tells_nothing(line: bytes) -> None:
    assert parts.runs(LIST + line + b"\n") == parts.runs(LIST)


@pytest.mark.parametrize("file", ["../x.log", "/etc/x.log", "a/../../x.log", "a", "a/./b.log", "a//b.log"])
def test_a_list_names_files_below_it_alone(file: str) -> None:
    [run] = parts.runs(b"10.00\tclock\t2026-11-24T02:08:53.000Z\n11.00\tbegan\t7.1\ta\tfrom 0\tfile " + file.encode() + b"\n")
    assert (run.file, run.start) == ("", None)


def test_events_are_checked_and_bounded() -> None:
    text = b"tests 14 passed\nvoid \x1b[31mx\nrestarted\nNo Word\n\nok\ttab\xff\npart a\ncut"
    found = own_events.events(text, [(5, 16), (9, 38)])
    assert found[:4] == [
        own_events.Event(5, "tests", "14 passed"),
        own_events.Event(9, "note", "void \\x1b[31mx"),
        own_events.Event(9, "note", "restarted"),
        own_events.Event(None, "note", "No Word"),
    ]
    assert [(event.word, event.detail) for event in found[4:]] == [("ok", "tab\ufffd"), ("note", "part a")]
    many = own_events.events(b"x y\n" * 5000)
    assert len(many) == own_events.ROWS and many[-1].detail == "and more, which are not kept"
    assert len(own_events.events(b"w " + b"x" * 9000 + b"\n")[0].detail) < own_events.LONGEST
    runs = [parts.Run(f"p{number}", 0, number, int(number == 7)) for number in range(3000)]
    rows = own_events.of_parts(runs)
    assert len(rows) == own_events.ROWS and rows[0].detail.startswith("p7, exit 1") and rows[-1].detail == "and 2001 runs of parts more"


def test_what_a_job_says_is_no_word_of_its_builder() -> None:
    """`void` and `restarted` change how often a job may be begun: a row of the stage `job` never counts."""
    rows = b"".join(b"2026-11-24T02:08:53.000Z\tjob\t%s\tsun\tada\t\n" % word for word in (b"void", b"restarted", b"unready"))
    told = document.new("x", document.section("event", "tsv", rows), document.section("signature", "sshsig", b"", by="builder@sun", ns="cit-result"))
    [section] = told.all("event")
    assert not trust._is_void(section) and not trust._rows(section, "restarted")
    assert not attempts.is_void(told, section) and not attempts.is_unready(told, section) and attempts.starts(told, 1) == 1


# --- in a job -------------------------------------------------------------------------------------------------------


def test_parts_and_events_of_a_job(bench: Bench) -> None:
    script = f"""#!/bin/sh
echo "tests 14 passed" >>"$CIT_EVENTS"
echo before
cit-part configure -- sh -c 'echo inner; cit-part deep/down -- echo deepest; exit 5'
echo "status $?"
printf '{MAKEFILE}' >Makefile
cit-part build -- make -k -j2 SHELL='cit-part --shell $@'
true
"""
    job = bench.send(script)
    bench.run()
    done, log = bench.finished(job), bench.log(job)
    assert log.startswith("before\ninner\ndeepest\nstatus 5\n") and "first\nlast\n" in log, "what runs beside others comes as a whole"
    rows = [(row[2], row[5].rpartition(", ")[0] or row[5]) for row in said(done)]
    assert rows[0] == ("tests", "14 passed")
    assert dict(row[::-1] for row in rows[1:]) == {
        "configure, exit 5": "part",
        "configure/deep/down, exit 0": "part",
        "build, exit 2": "part",
        "build/one, exit 0": "part",
        "build/two, exit 3": "part",
    }
    record = bench.record(job)
    runs = {run.name: run for run in parts.read(record)}
    whole = log.encode()
    inner = runs["configure/deep/down"]
    assert whole[inner.start : inner.to] == b"deepest\n" and (record / "parts/build/one.log").read_bytes() == b"first\nlast\n"
    kept = {row[2].rpartition(".run/")[2]: row[0] for section in done.all("artefact") for row in section.rows()}
    assert kept["parts/build/two.log"] == hashlib.sha256(b"between\n").hexdigest()
    assert bench.result(job)["state"] == "COMPLETED"


def test_secrets_are_hidden_in_parts_and_events(bench: Bench) -> None:
    script = '#!/bin/sh\nv=$(cat "$CIT_SECRETS/TOKEN"); echo "got $v" >>"$CIT_EVENTS"; cit-part --apart show -- echo "it is $v"\n'
    job = sealed.job(bench, script)
    bench.give(bench.assigned(job))
    bench.run()
    done = bench.finished(job)
    assert [row[5] for row in said(done) if row[2] == "got"] == [sealed.MASK]
    assert (bench.record(job) / "parts/show.log").read_text() == f"it is {sealed.MASK}\n"
    assert not [path for path in bench.account.path.rglob("*") if path.is_file() and sealed.CANARY.encode() in path.read_bytes()]


def test_a_part_is_no_silence(bench: Bench) -> None:
    """What a part prints into a log of its own counts as output of the job."""
    job = bench.send("#!/bin/sh\ncit-part --apart long -- sh -c 'for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done'\n", stall="2s")
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED"


# --- what a command does --------------------------------------------------------------------------------------------


@pytest.fixture(params=["in a job", "apart", "outside"])
def under(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str], Path]:
    """cit-part before a command, its variables, and the log."""
    log = tmp_path / "x.log"
    log.touch()
    (tmp_path / "x.run").mkdir()
    inside = {"CIT_PARTS": str(tmp_path / "x.run"), "CIT_LOG": str(log)}
    words = [PART, *(["--apart"] if request.param == "apart" else []), "some/name", "--"]
    return words, {"PATH": os.environ["PATH"], **(inside if request.param != "outside" else {})}, log


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 75", 75), ("kill -9 $$", -9), ("kill -TERM $$", -15), ("kill -INT $$", -2), ("exec /nosuch", 127)],
)
def test_the_status_is_the_commands(under: tuple[list[str], dict[str, str], Path], command: str, status: int) -> None:
    words, environment, log = under
    with open(log, "ab") as out:
        done = subprocess.run([*words, "/bin/sh", "-c", command], env=environment, stdout=out, stderr=out)
    assert done.returncode == status


def test_what_cannot_be_started(under: tuple[list[str], dict[str, str], Path]) -> None:
    words, environment, log = under
    with open(log, "ab") as out:
        found = [subprocess.run([*words, program], env=environment, stdout=out, stderr=out).returncode for program in ("nosuch", "/etc/passwd")]
    assert found == [127, 126]


def test_input_output_and_words_pass(under: tuple[list[str], dict[str, str], Path]) -> None:
    words, environment, log = under
    nasty = ["", " ", "'", '"', "$(x)", "a\nb", "-n", "--", "*", "\\", "\u00fc"]
    with open(log, "ab") as out:
        subprocess.run([*words, "/bin/sh", "-c", 'cat; printf "<%s>" "$@"', "sh", *nasty], env=environment, input=b"in\n", stdout=out, check=True)
    assert log.read_text() == "in\n" + "".join(f"<{word}>" for word in nasty)


def test_signals_reach_the_command(under: tuple[list[str], dict[str, str], Path]) -> None:
    """`kill` of what looks like the command is meant for it; it may refuse."""
    words, environment, log = under
    script = "trap 'echo usr' USR1; trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with open(log, "ab") as out:
        started = subprocess.Popen([*words, "/bin/sh", "-c", script], env=environment, stdout=out)
    own = log.parent / "x.run/parts/some/name.log"
    until(lambda: "ready" in log.read_text() + (own.read_text() if own.exists() else ""))
    started.send_signal(signal.SIGUSR1)
    until(lambda: "usr" in log.read_text() + (own.read_text() if own.exists() else ""))
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=20) == 9 and log.read_text() == "ready\nusr\nterm\n"


def test_an_ignored_signal_stays_ignored(under: tuple[list[str], dict[str, str], Path]) -> None:
    words, environment, log = under
    line = "trap '' INT; exec " + " ".join(words) + " /bin/sh -c 'kill -INT $$; echo alive'"
    with open(log, "ab") as out:
        subprocess.run(["/bin/sh", "-c", line], env=environment, stdout=out, check=True)
    assert log.read_text() == "alive\n"


def test_a_terminal_stays_one(tmp_path: Path) -> None:
    near, far = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "CIT_PARTS": str(tmp_path), "CIT_LOG": str(tmp_path / "no.log")}
    started = subprocess.Popen(
        [PART, "x", "--", "/bin/sh", "-c", "test -t 0 && test -t 1 && test -t 2"], env=environment, stdin=far, stdout=far, stderr=far
    )
    os.close(far)
    assert started.wait(timeout=20) == 0
    os.close(near)


def test_what_it_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A daemon that a part starts keeps its log open; the part has ended."""
    (tmp_path / "x.log").touch()
    environment = {"PATH": os.environ["PATH"], "CIT_PARTS": str(tmp_path), "CIT_LOG": str(tmp_path / "x.log")}
    with open(tmp_path / "x.log", "ab") as out:
        began = time.monotonic()
        subprocess.run([PART, "--apart", "x", "--", "/bin/sh", "-c", f"sleep 100 & echo $! >{tmp_path}/pid"], env=environment, stdout=out, check=True)
    pid = int((tmp_path / "pid").read_text())
    assert time.monotonic() - began < 50 and is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_hostile_names_stay_below_parts(tmp_path: Path) -> None:
    (tmp_path / "x.log").touch()
    environment = {"PATH": os.environ["PATH"], "CIT_PARTS": str(tmp_path), "CIT_LOG": str(tmp_path / "x.log")}
    names = ["../../etc/x", "/", "a/./b", "\x1b[31m", "a b\tc\nd", "-x", "x" * 3000, "e.log/f", "\u202e", "..", "$(id)"]
    with open(tmp_path / "x.log", "ab") as out:
        for name in names:
            assert subprocess.run([PART, "--apart", name, "--", "echo", "hi"], env=environment, stdout=out).returncode == 0
    assert (tmp_path / "x.log").read_text() == "hi\n" * len(names)
    found = {run.name for run in parts.read(tmp_path)}
    assert {"_/_/etc/x", "part", "a/_/b", "__31m", "a_b_c_d", "-x", "e_log/f", "__id_"} <= found
    assert {path.name for path in tmp_path.iterdir()} == {"x.log", "parts.tsv", "parts"}
