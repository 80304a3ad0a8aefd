"""One job under its shim, as a pass starts it: exit status, signal, limits, what a job finds, what is measured (docs/stages/run.md)."""

from __future__ import annotations

import re
import subprocess

import pytest

from cit_run.cit_format import body, clock, document
from tests.int.cit_run.kit import Bench

ENDS = {
    "true": ("true", "COMPLETED", 0, 0),
    "false": ("exit 1", "FAILED", 1, 0),
    "three": ("exit 3", "FAILED", 3, 0),
    "try-again": ("exit 75", "FAILED", 75, 0),
    "like a limit": ("exit 124", "FAILED", 124, 0),
    "not to be run": ("/dev/null", "FAILED", 126, 0),
    "not found": ("no-such-program", "FAILED", 127, 0),
    "highest": ("exit 255", "FAILED", 255, 0),
    "killed": ("kill -KILL $$", "FAILED", 0, 9),
    "term": ("kill -TERM $$", "FAILED", 0, 15),
    "hup": ("kill -HUP $$", "FAILED", 0, 1),
    "int": ("kill -INT $$", "FAILED", 0, 2),
    "core": ("ulimit -c 0; kill -SEGV $$", "FAILED", 0, 11),
    "pipe": ("kill -PIPE $$", "FAILED", 0, 13),
}


def test_ends(bench: Bench) -> None:
    """One pass over jobs that end in every way."""
    jobs = {what: bench.send(f"#!/bin/sh\n{script}\n", name="end") for what, (script, *_) in ENDS.items()}
    bench.run()
    got = {what: tuple(bench.result(job)[key] for key in ("state", "exit", "signal")) for what, job in jobs.items()}
    assert got == {what: tuple(wanted) for what, (_, *wanted) in ENDS.items()}
    assert bench.names("inbox") == bench.names("running") == []


SCRIPTS = {
    "no #! line": ("echo by sh: $0\n", 0, r"by sh: \S+/script\n"),
    "an argument on the #! line": ("#!/bin/sh -e\nfalse\necho not reached\n", 1, ""),
    "another language": ("#!/usr/bin/env python3\nprint('by python')\n", 0, "by python\n"),
    "an interpreter that is not there": ("#!/no/such/interpreter\n", 127, "cit-run: cannot start /no/such/interpreter: .*\n"),
    "an interpreter that is no program": ("#!/etc/passwd\n", 126, "cit-run: cannot start /etc/passwd: .*\n"),
    "blanks around it": ("#! /bin/sh  \necho blanks\n", 0, "blanks\n"),
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_scripts_run_as_the_kernel_would(bench: Bench, what: str) -> None:
    script, status, printed = SCRIPTS[what]
    job = bench.send(script)
    bench.run()
    result = bench.result(job)
    assert result["exit"] == status and re.fullmatch(printed, bench.log(job))
    assert ("could not be started" in str(result.get("why"))) == ("cannot start" in printed)


def test_what_a_job_finds(bench: Bench) -> None:
    """Its own variables and cit's, nothing of ours; no terminal, no input, no open files, a session of its own, a plain umask."""
    env = document.section("env", "tsv", body.tsv([("COLOUR", "blue and\tgreen"), ("LC_CTYPE", "C")]))
    listed = "import os; print('fds', *sorted(os.listdir('/proc/self/fd'))[:-1])"  # the last one is the list itself
    script = "#!/bin/sh\nenv | sort\necho umask $(umask)\necho stdin $(readlink /proc/self/fd/0)\n"
    script += f'python3 -c "{listed}"\necho sid $(cut -d" " -f6 /proc/$$/stat) $$\npwd\ncat\n'
    job = bench.send(script, env)
    subprocess.run(["env", "STRAY=1", "CIT_NOW_NOT=1", "sh", "-c", "umask 077; exec cit-run --from inbox"], check=True, stdin=subprocess.DEVNULL)
    printed = bench.log(job).splitlines()
    found = dict(line.partition("=")[::2] for line in printed if re.match(r"[A-Z_]+=", line))
    work = f"{bench.account.path}/work/job/0"
    assert (found["COLOUR"], found["LC_CTYPE"], found["HOME"]) == ("blue and\tgreen", "C", str(bench.home))
    assert (found["CIT_JOB_ID"], found["CIT_JOB_NAME"], found["CIT_ATTEMPT"], found["CIT_WORKSPACE"]) == (job.id, "job", "1", work)
    assert "STRAY" not in found and "CIT_NOW_NOT" not in found and "VIRTUAL_ENV" not in found
    assert {"umask 0022", "stdin /dev/null", work} <= set(printed)
    fds = next(line.split()[1:] for line in printed if line.startswith("fds "))
    assert fds == ["0", "1", "2"]
    session, pid = next(line.split()[1:] for line in printed if line.startswith("sid "))
    assert session == pid


def test_signals_are_as_a_login_has_them(bench: Bench) -> None:
    """Whoever started the pass may ignore signals; a job does not inherit that."""
    job = bench.send(
        "#!/usr/bin/env python3\nimport signal\nprint([s.name for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN])\n"
    )
    subprocess.run(["sh", "-c", "trap '' HUP INT QUIT USR1 PIPE; exec cit-run --from inbox"], check=True)
    assert bench.log(job) in ("['SIGPIPE', 'SIGXFSZ']\n", "[<Signals.SIGPIPE: 13>, <Signals.SIGXFSZ: 25>]\n")  # Python's own


def test_figures(bench: Bench) -> None:
    """A small job is measured as small, a large one as large; waiting is not work."""
    small = bench.send("#!/bin/sh\nsleep 0.3\n")
    large = bench.send("#!/usr/bin/env python3\nx = bytearray(200 << 20)\nwhile __import__('time').process_time() < 0.4: pass\n")
    bench.run()
    figures = bench.result(small)
    assert int(str(figures["max-rss-kib"])) < 5000, "a job is charged with the memory of its supervisor"
    assert 300 <= int(str(figures["wall-ms"])) < 5000 and int(str(figures["user-ms"])) < 200
    figures = bench.result(large)
    assert int(str(figures["max-rss-kib"])) > 200 << 10
    assert int(str(figures["user-ms"])) + int(str(figures["system-ms"])) >= 390 and int(str(figures["minor-faults"])) > 1000


def test_time_limit(bench: Bench) -> None:
    """TERM first: the job may clean up; then it is TIMEOUT, whatever it exits with."""
    job = bench.send("#!/bin/sh\ntrap 'echo cleaned; exit 0' TERM\nsleep 60 & wait\n", time="1s")
    bench.run()
    result = bench.result(job)
    assert (result["state"], result["exit"], bench.log(job)) == ("TIMEOUT", 0, "cleaned\n")
    assert "time limit" in str(result["why"]) and 1000 <= int(str(result["wall-ms"])) < 4000


def test_silence(bench: Bench) -> None:
    """A job whose log is silent for too long is ended; one that prints now and then is not."""
    silent = bench.send("#!/bin/sh\necho on; sleep 60\n", stall="1s")
    talks = bench.send("#!/bin/sh\nfor i in 1 2 3 4; do sleep 0.4; echo $i; done\n", stall="1s")
    bench.run()
    assert bench.result(silent)["state"] == "TIMEOUT" and "silent" in str(bench.result(silent)["why"])
    assert bench.result(talks)["state"] == "COMPLETED"


def test_deadline(bench: Bench) -> None:
    """A running job is ended at its deadline; one that comes too late never begins."""
    soon = bench.send("#!/bin/sh\nsleep 60\n", deadline=body.Time((clock.now() // clock.SECOND + 2) * clock.SECOND))
    late = bench.send("#!/bin/sh\ntouch begun\n", deadline=body.Time(clock.now() - clock.MINUTE))
    bench.run()
    assert (bench.result(soon)["state"], bench.events(soon)) == ("DEADLINE", ["received", "started", "ended"])
    assert (bench.result(late)["state"], bench.events(late)) == ("DEADLINE", ["received", "ended"])
    assert not (bench.account / "work" / "job" / "0" / "begun").exists()
