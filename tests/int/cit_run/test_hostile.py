"""Nothing of a job outlives it: not after its own end, not ten seconds after it was cancelled; other jobs run on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from cit_run import limits, recorded
from cit_run.cit_format import document
from cit_run.shim import Ending, read_status
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, is_alive, until

# Each leaves processes behind in its own way, and notes their pids in the file that $MARK names.
LEFT_BEHIND = {
    "background": "sleep 300 & echo $! >>$MARK",
    "nohup": "nohup sleep 300 >/dev/null & echo $! >>$MARK",
    "setsid": "setsid sh -c 'echo $$ >>$MARK; exec sleep 300' &",
    "double fork": "(setsid sh -c 'echo $$ >>$MARK; sleep 300 & echo $! >>$MARK; wait' &) ",
    "ignores TERM": "sh -c 'trap \"\" TERM HUP INT; echo $$ >>$MARK; while :; do sleep 1; done' &",
    "stopped": "sh -c 'echo $$ >>$MARK; kill -STOP $$; sleep 300' &",
    "clean environment": "env -i setsid sleep 300 & echo $! >>$MARK",
}
FILES = int(os.environ.get("CIT_TEST_FILES", "5000"))
FORK_LOOP = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    until = time.time() + 60
    while time.time() < until:           # a new session and a new process each time, the old one ends
        if os.fork():
            os._exit(0)
        os.setsid()
        with open(os.environ["MARK"] + ".new", "w") as note:
            note.write(str(os.getpid()))
        os.rename(os.environ["MARK"] + ".new", os.environ["MARK"] + ".loop")  # killed anywhere, it says one pid
    os._exit(0)
"""


def script(mark: Path, then: str) -> str:
    return f"#!/bin/sh\nexport MARK={mark}\n" + "\n".join(LEFT_BEHIND.values()) + f"\n{then}\n"


def marked(mark: Path) -> list[int]:
    """The pids that a job has noted, once all are there."""
    count = len(LEFT_BEHIND) + 1  # the double fork notes two
    until(lambda: mark.exists() and len(mark.read_text().split()) == count, "the marks of a job's processes")
    return [int(word) for word in mark.read_text().split()]


def test_nothing_is_left_at_a_normal_end(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job = bench.send(script(mark, f"while [ $(wc -l <$MARK) -lt {len(LEFT_BEHIND) + 1} ]; do sleep 0.01; done; exit 3"))
    bench.run()
    assert bench.result(job)["exit"] == 3
    assert [pid for pid in marked(mark) if is_alive(pid)] == []


@pytest.mark.parametrize("then", ["trap '' TERM; while :; do sleep 1; done", "exec sleep 300"], ids=["ignores TERM", "sleeps"])
def test_nothing_is_left_after_cancel(bench: Bench, tmp_path: Path, then: str) -> None:
    """Ten seconds after the wish nothing is alive, and the job beside it has not noticed."""
    mark = tmp_path / "mark"
    job, other = bench.send(script(mark, then)), bench.send("#!/bin/sh\nsleep 1\necho unharmed\n", name="other")
    started = bench.start("--slots", "2")
    pids = marked(mark)
    assert all(is_alive(pid) for pid in pids)
    began = time.monotonic()
    bench.wish(job, "cancel")
    until(lambda: bench.names("finished") and not any(is_alive(pid) for pid in pids), "the end of a cancelled job")
    assert time.monotonic() - began < 10
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "CANCELLED" and "cancelled" in str(bench.result(job)["why"])
    assert (bench.result(other)["state"], bench.log(other)) == ("COMPLETED", "unharmed\n")


def test_fork_loop_is_caught(bench: Bench, tmp_path: Path) -> None:
    """A process that lives for a moment, and is another one in a session of its own by then."""
    (tmp_path / "loop.py").write_text(FORK_LOOP)
    job = bench.send(f"#!/bin/sh\nexport MARK={tmp_path}/mark\npython3 {tmp_path}/loop.py\nuntil [ -s $MARK.loop ]; do sleep 0.01; done\n")
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED"
    last = (tmp_path / "mark.loop").read_text()
    time.sleep(0.1)
    assert (tmp_path / "mark.loop").read_text() == last and not is_alive(int(last))


def test_job_cannot_speak_for_its_shim(bench: Bench) -> None:
    """No descriptor of the shim's is open in a job, and what it writes into its record changes nothing of its end while it runs."""
    forged = "2026-11-24T00:00:00.000Z\\tended\\texit 0\\tsignal 0\\twall-ms 1\\n"
    job = bench.send(f"#!/bin/sh\nfor fd in 3 4 5 6 7 8 9; do printf '{forged}' >&$fd; done 2>/dev/null\nexit 5\n")
    bench.run()
    assert bench.result(job)["exit"] == 5


def test_pause(bench: Bench, tmp_path: Path) -> None:
    """hold stops a running job with all that belongs to it, release lets it go on; the time limit does not run meanwhile."""
    beat = tmp_path / "beat"
    job = bench.send(f"#!/bin/sh\nsetsid sh -c 'while [ ! -e {tmp_path}/stop ]; do echo x >>{beat}; sleep 0.02; done' &\nwait\n", time="4s")
    started = bench.start()
    until(lambda: beat.exists() and beat.stat().st_size > 4)
    bench.wish(job, "hold")
    until(lambda: "\tpaused" in (bench.record(job) / "status").read_text())
    before = beat.stat().st_size
    time.sleep(0.5)
    assert beat.stat().st_size == before
    bench.wish(job, "release")
    until(lambda: beat.stat().st_size > before)
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "COMPLETED"


def test_cancel_of_a_paused_job(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\ntrap 'echo asked; exit 1' TERM\nwhile :; do sleep 0.05; done\n")
    started = bench.start()
    until(lambda: bench.runs(job))
    bench.wish(job, "hold")
    until(lambda: "\tpaused" in (bench.record(job) / "status").read_text())
    bench.wish(job, "cancel")
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == "CANCELLED" and bench.log(job).endswith("asked\n")


def test_zombies_of_a_job_are_waited_for(bench: Bench) -> None:
    """A job that loses children by the hundred does not fill the table of processes."""
    job = bench.send("#!/bin/sh\ni=0; while [ $i -lt 100 ]; do (true &) ; i=$((i+1)); done\nsleep 0.3\nps -o stat= --ppid $PPID | grep -c Z\ntrue\n")
    bench.run()
    assert bench.log(job) == "0\n" and os.path.exists("/proc")


# --- what a job does to its supervisor, its record and what lies around it --------------------------------------------------


def shim_of() -> str:
    """Shell: the pid of the job's own shim."""
    return "$(sed -n 's/.*shim //p' .cit/status | cut -f 1)"


OTHER = "#!/bin/sh\nuntil [ -e {stop} ]; do sleep 0.05; done\necho unharmed\nexit 4\n"
HOSTILE = {  # script, and what its own end must be
    "closes its descriptors": ("exec 0<&- 1>&- 2>&-; sleep 0.2", {"COMPLETED"}),
    "stops its shim": (f"kill -STOP {shim_of()}; sleep 0.3; exit 3", {"FAILED"}),
    "stops its shim again and again": (f"for i in 1 2 3 4 5 6 7 8 9; do kill -STOP {shim_of()}; sleep 0.05; done; exit 3", {"FAILED"}),
    "removes its workspace": ("rm -rf $CIT_WORKSPACE; exit 3", {"FAILED"}),
    "removes its record": ("rm -rf $(readlink -f .cit); exit 3", {"FAILED"}),
    "removes its record and kills its shim": (f"s={shim_of()}; rm -rf $(readlink -f .cit); kill -9 $s; sleep 60", {"NODE_FAIL"}),
    "has rubbish for a record": (
        "cd .cit/; for f in status pid script environment why artefacts keep machine handed times left before stashed events parts.tsv hold; do"
        " rm -rf $f; head -c 5000 /dev/urandom >$f; done; exit 3",
        {"FAILED"},
    ),
    "has fifos for a record": (
        "cd .cit/; for f in status pid script environment why artefacts keep machine handed times left before stashed events parts.tsv hold log; do"
        " rm -rf $f; mkfifo $f; done; exit 3",
        {"FAILED"},
    ),
    "has directories for a record": (
        "cd .cit/; for f in status pid script environment why artefacts keep machine times left before stashed events hold; do"
        " rm -rf $f; mkdir -p $f/x; done; exit 3",
        {"FAILED"},
    ),
    "has links for a record": (
        "cd .cit/; for f in status pid environment why artefacts keep times left before stashed events hold; do"
        " rm -rf $f; ln -s /dev/zero $f; done; exit 3",
        {"FAILED"},
    ),
    "tells its end before it has ended": (
        "printf '2026-11-24T00:00:00.000Z\\tended\\texit 0\\tsignal 0\\twall-ms 1\\n' >>.cit/status; sleep 0.5; exit 3",
        {"FAILED"},
    ),
    "names another shim as its own": (
        "printf '2026-11-24T00:00:00.000Z\\tstarted\\tshim 1\\n' >.cit/status; sleep 0.2; exit 3",
        {"FAILED"},
    ),
    "has a fifo for a log": ("echo x; l=$(ls -d ../../$CIT_JOB_ID*.log); rm $l; mkfifo $l; exit 3", {"FAILED"}),
    "has a directory for a log": ("l=$(ls -d ../../$CIT_JOB_ID*.log); rm $l; mkdir $l; exit 3", {"FAILED"}),
    "makes many processes": ("i=0; while [ $i -lt 300 ]; do (trap '' TERM; sleep 300) & i=$((i+1)); done; exit 3", {"FAILED"}),
}


RUBBISH = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('.cit/tty'); s.sendall(open('/dev/urandom', 'rb').read(99999))"
ON_A_TERMINAL = {
    "kills its terminal": ("kill -9 $PPID; sleep 60", {"FAILED"}, 9),
    "stops its terminal": ("kill -STOP $PPID; exit 3", {"TIMEOUT"}, 0),
    "writes rubbish to its socket": (f'for i in 1 2 3 4 5; do python3 -c "{RUBBISH}" || :; done; exit 3', {"FAILED"}, 0),
    "has something else for a socket": ("rm -f .cit/tty; mkfifo .cit/tty; exit 3", {"FAILED"}, 0),
    "floods its terminal": ("head -c 30000000 /dev/zero; exit 3", {"FAILED"}, 0),
}


@pytest.mark.parametrize("what", ON_A_TERMINAL)
def test_hostile_job_on_a_terminal(bench: Bench, what: str) -> None:
    """The same with a terminal of its own: an end that says what is so, the one after it is not harmed."""
    script, states, number = ON_A_TERMINAL[what]
    bench.set(on_end="", log_limit="1M")
    job = bench.send(f"#!/bin/sh\n{script}\n", name="hostile", tty=True, time="5s" if "stops" in what else "50s")
    later = bench.send("#!/bin/sh\necho later\n", name="hostile")
    bench.run("--slots", "1")
    result = bench.result(job)
    assert result["state"] in states and (result["state"] == "TIMEOUT" or (result["signal"], result["exit"]) == (number, 0 if number else 3)), result
    assert (bench.account / "work" / f"{job.id}.a1-hostile.log").stat().st_size <= 1 << 20
    assert bench.log(later) == "later\n" and not holders(f"CIT_JOB_ID={job.id}".encode())


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_job_has_one_end_and_others_go_on(bench: Bench, tmp_path: Path, what: str) -> None:
    """It has an end that says what is so; the job beside it has its own; the account goes on, and nothing of it is left running."""
    script, states = HOSTILE[what]
    job = bench.send(f"#!/bin/sh\necho ran >>{tmp_path}/mark\n{script}\n", document.section("keep", "tsv", b"*.txt\n"), name="hostile")
    other = bench.send(OTHER.format(stop=tmp_path / "stop"), name="other")
    started = bench.start("--slots", "2")
    until(lambda: any(job.id in name for name in bench.names("finished")), "the end of a hostile job")
    later = bench.send("#!/bin/sh\necho later\n", name="hostile")
    until(lambda: any(later.id in name for name in bench.names("finished")), "a job after it, in its slot")
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0, started.stderr and started.stderr.read()
    result = bench.result(job)
    assert result["state"] in states and (result["state"] != "FAILED" or result["exit"] == 3), result
    assert (bench.result(other)["exit"], bench.log(other)) == (4, "unharmed\n")
    assert (bench.result(later)["state"], bench.log(later)) == ("COMPLETED", "later\n")
    bench.run()
    assert (tmp_path / "mark").read_text() == "ran\n", "it ran once"
    assert not holders(f"CIT_JOB_ID={job.id}".encode())


def holders(mark: bytes) -> list[int]:
    """The processes that were started with a variable."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and is_alive(int(entry)):
                    found.append(int(entry))
            except OSError:
                continue
    return found


def test_forged_end_of_a_job_whose_pass_was_killed(bench: Bench, tmp_path: Path) -> None:
    """What a job writes about its end is not believed while its shim lives; and when that is dead, nothing of the job is left behind such an end."""
    forged = "2026-11-24T00:00:00.000Z\\tended\\texit 0\\tsignal 0\\twall-ms 1\\n"
    job = bench.send(f"#!/bin/sh\nprintf '{forged}' >>.cit/status\ntouch {tmp_path}/there\nsleep 300\n")
    started = bench.start()
    until(lambda: (tmp_path / "there").exists())
    status = read_status(str(bench.record(job)))
    assert status is not None
    started.kill()
    started.wait()
    second = bench.start()
    until(lambda: (bench.account / "running" / ".lock").exists())
    time.sleep(0.5)
    assert second.poll() is None and bench.names("finished") == [], "its shim is alive: so it runs"
    os.kill(status.shim, signal.SIGKILL)
    assert second.wait(30) == 0
    assert bench.names("finished") and not holders(f"CIT_JOB_ID={job.id}".encode())


BOMB = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(300)
        made += 1
except OSError:
    open(os.environ["CIT_WORKSPACE"] + "/full", "w").close()
time.sleep(300)
"""


def test_fork_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel holds the account to its processes; cit waits until it can make one again, and loses no job over it."""
    if os.getuid():
        pytest.skip("another account needs root")
    place = Path(tempfile.mkdtemp(prefix="cit-bomb-", dir="/tmp"))
    as_nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    if subprocess.run([*as_nobody, str(CHECKOUT / "bin" / "cit-run"), "--help"], capture_output=True, cwd="/").returncode:
        pytest.skip("this checkout is not for other accounts")
    try:
        monkeypatch.setenv("HOME", str(place))
        monkeypatch.chdir("/")
        bench = Bench(place)
        bench.set(on_end="", processes=40)
        bomb, quick = bench.send(f"#!/usr/bin/python3\n{BOMB}", name="bomb", time="3s"), bench.send("#!/bin/sh\necho quick\n", name="quick")
        late = [bench.send("#!/bin/sh\necho late\n", name=f"late{number}") for number in range(3)]
        aside = [path.rename(place / path.name) for path in (bench.account / "inbox").glob("*-late?.cit")]
        subprocess.run(["chown", "-R", "65534:65534", str(place)], check=True)
        started = bench.start("--slots", "3", before=as_nobody)
        until(lambda: (bench.account / "work" / "bomb" / "0" / "full").exists(), "the end of all processes")
        for path in aside:
            path.rename(bench.account / "inbox" / path.name)
        assert started.wait(60) == 0, started.stderr and started.stderr.read()
        assert bench.result(bomb)["state"] == "TIMEOUT"
        assert {bench.result(job)["state"] for job in (quick, *late)} == {"COMPLETED"}
        assert holders(f"CIT_JOB_ID={bomb.id}".encode()) == []
    finally:
        shutil.rmtree(place)


def test_many_files_and_deep_paths(bench: Bench) -> None:
    """So many files and a path of 4,000 directories: removed for the next build."""
    code = f"import os\nos.mkdir('m')\nfor i in range({FILES}): open('m/%d' % i, 'w').close()\nfor _ in range(4000): os.mkdir('d'); os.chdir('d')\n"
    script = f"#!/usr/bin/env python3\n{code}"
    job = bench.send(script, name="hostile")
    again = bench.send("#!/bin/sh\nls -A | grep -v .cit\nexit 0\n", name="hostile")
    bench.run("--slots", "1")
    assert [bench.result(each)["state"] for each in (job, again)] == ["COMPLETED"] * 2
    assert bench.log(again) == "" and [path.name for path in (bench.account / "work" / "hostile").glob(".old*")] == []


def test_full_disk(bench: Bench, tmp_path: Path) -> None:
    """A job fills the disk on which it runs: it has its end, and the next one, when its files have gone, runs."""
    if os.getuid():
        pytest.skip("mounts need root")
    job = bench.send("#!/bin/sh\necho begun\nhead -c 100000000 /dev/zero >filler; echo more >second; exit 3\n", name="hostile")
    other = bench.send("#!/bin/sh\necho ran\n", name="hostile")
    work = bench.account / "work"
    script = f"mount -t tmpfs -o size=4m tmpfs {work} && cit-run --from inbox --slots 1; s=$?; tar -C {work} -cf {tmp_path}/work.tar .; exit $s"
    ended = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    if "permission" in ended.stderr.lower() or "unshare" in ended.stderr:
        pytest.skip("no mounts here")
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    assert (bench.result(job)["state"], bench.result(job)["exit"]) == ("FAILED", 3)
    assert bench.result(other)["state"] == "COMPLETED"
    bench.run()


def test_list_of_files_that_is_too_long(bench: Bench) -> None:
    """What a document cannot hold is left out of it, and it says how much."""
    rows = [("0" * 64, "1", f"work/x/{number}") for number in range(1000)]
    fitting, more = recorded.listed(rows, 80 * 500)
    assert fitting == rows[: len(fitting)] and len(fitting) + more == 1000 and 400 < len(fitting) < 600
    assert recorded.listed(rows) == (rows, 0)
    assert "7 of the files that it keeps are not listed" in limits.why({}, Ending(0, 0, "", 0, 0, {}), 7)
