"""A job in a terminal: it is one, it is recorded and watched, and its end is the program's."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from cit_run import terminal
from cit_run.cit_format import parts
from tests.int.cit_run import sealed
from tests.int.cit_run.kit import Bench, is_alive, until
from tests.int.cit_run.test_reply import Keys, everything, ring  # noqa: F401


def cast(bench: Bench, job: object, suffix: str = ".cast") -> Path:
    record = bench.record(job)  # type: ignore[arg-type]
    return record.with_name(f"{record.name[: -len('.run')]}{suffix}")


def shown(path: Path) -> str:
    """All that a recording shows."""
    _, *lines = path.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert all(kind == "o" for _, kind, _ in events) and [time for time, _, _ in events] == sorted(time for time, _, _ in events)
    return "".join(text for _, _, text in events)


class Watching:
    """A connection to the terminal of a running job."""

    def __init__(self, bench: Bench, job: object, wish: str) -> None:
        path = bench.record(job) / "tty"  # type: ignore[arg-type]
        until(path.exists, "the socket")
        directory = os.open(path.parent, os.O_RDONLY)
        self.socket = socket.socket(socket.AF_UNIX)
        until(lambda: self.socket.connect_ex(f"/proc/self/fd/{directory}/tty") == 0, "the terminal")
        os.close(directory)
        self.socket.settimeout(20)
        self.socket.sendall(f"{wish}\n".encode())
        self.seen = b""

    def until(self, text: bytes) -> None:
        while text not in self.seen[-20000:]:
            piece = self.socket.recv(4096)
            assert piece, f"it ended after {self.seen[-1000:]!r}"
            self.seen += piece

    def end(self) -> bytes:
        while piece := self.socket.recv(4096):
            self.seen += piece
        return self.seen


# --- decisions ------------------------------------------------------------------------------------------------------


def test_what_a_new_watcher_is_shown() -> None:
    assert terminal.recent(b"old\x1b[2Jnew") == b"\x1b[2Jnew" and terminal.recent(b"all") == b"all" and terminal.recent(b"") == b""
    assert json.loads(terminal.event(1.5, 'a"\x1b\u00fc\n')) == [1.5, "o", 'a"\x1b\u00fc\n']
    assert json.loads(terminal.header(80, 24, 7.9, "xterm")) == {"version": 2, "width": 80, "height": 24, "timestamp": 7, "env": {"TERM": "xterm"}}


# --- a job ----------------------------------------------------------------------------------------------------------


def test_it_is_a_terminal_and_recorded(bench: Bench) -> None:
    job = bench.send(
        "#!/bin/sh\ntest -t 0 && test -t 1 && test -t 2 && stty size && tty && echo $TERM; ls /proc/$$/fd | tr '\\n' ' '\nexit 3\n", tty=True
    )
    wide = bench.send("#!/bin/sh\nstty size; echo $TERM >/dev/tty\n", bench_env("TERM", "vt100"), tty=True, tty_size="120x40")
    bench.run()
    log = bench.log(job)
    assert log.startswith("24 80\n") or log.startswith("24 80\r\n")
    assert "xterm-256color" in log and "/dev/pts/" in log
    assert bench.result(job)["exit"] == 3 and bench.result(wide)["state"] == "COMPLETED"
    assert shown(cast(bench, job)) == cast(bench, job, ".log").read_bytes().decode()
    assert "40 120" in bench.log(wide) and "vt100" in bench.log(wide) and json.loads(cast(bench, wide).read_text().splitlines()[0])["width"] == 120
    paths = [row[2] for section in bench.finished(job).all("artefact") for row in section.rows()]
    assert paths == [f"work/{cast(bench, job, suffix).name}" for suffix in (".log", ".cast")]
    assert not (bench.record(job) / "tty").exists()


def bench_env(name: str, value: str) -> bytes:
    from cit_run.cit_format import body, document

    return document.section("env", "tsv", body.row(name, value))


@pytest.mark.parametrize(
    ("script", "state", "code", "signal"),
    [
        ("kill -9 $$", "FAILED", 0, 9),
        ("kill -TERM $$", "FAILED", 0, 15),
        ("exit 75", "FAILED", 75, 0),
        ("rm .cit/tty .cit/log; exit 5", "FAILED", 5, 0),
        ("exec 0<&- 1<&- 2<&-; sleep 0.5; exit 4", "FAILED", 4, 0),
    ],
)
def test_its_end_is_the_programs(bench: Bench, script: str, state: str, code: int, signal: int) -> None:
    job = bench.send(f"#!/bin/sh\n{script}\n", tty=True)
    bench.run()
    result = bench.result(job)
    assert (result["state"], result["exit"], result["signal"]) == (state, code, signal)


def test_what_cannot_be_started(bench: Bench) -> None:
    job = bench.send("#!/nosuch\n", tty=True)
    bench.run()
    assert bench.result(job)["exit"] == 127 and "cannot start /nosuch" in bench.log(job)


def test_cancel_and_time_reach_the_program(bench: Bench) -> None:
    """TERM first, then nothing of it is left: what ignores it, what runs in the background, what has another terminal session."""
    polite = bench.send("#!/bin/sh\ntrap 'echo told; exit 0' TERM; while :; do sleep 0.1; done\n", name="polite", tty=True, time="1s")
    script = (
        "#!/bin/sh\ntrap '' TERM HUP; sleep 600 & echo $! >pids; setsid sleep 600 & echo $! >>pids; echo $$ >>pids; while :; do sleep 0.1; done\n"
    )
    stubborn = bench.send(script, name="stubborn", tty=True, time="1s")
    bench.run()
    assert bench.result(polite)["state"] == bench.result(stubborn)["state"] == "TIMEOUT" and "told" in bench.log(polite)
    pids = (bench.account / "work" / "stubborn" / "0" / "pids").read_text().split()
    assert len(pids) == 3 and not any(is_alive(int(pid)) for pid in pids)


def test_what_is_left_behind_ends_with_the_job(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\n(trap '' HUP; exec sleep 600) & echo $! >pid\n", tty=True)
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED" and not is_alive(int((bench.account / "work/job/0/pid").read_text()))


def test_it_is_watched_and_typed_into(bench: Bench) -> None:
    job = bench.send('#!/bin/sh\necho ready; read x; echo "got $x"; read y; exit 7\n', tty=True)
    started = bench.start()
    looks, types = Watching(bench, job, "watch"), Watching(bench, job, "keys")
    looks.until(b"ready")
    looks.socket.sendall(b"never\n")
    types.until(b"ready")
    time.sleep(0.2)
    types.socket.sendall(b"typed\n")
    looks.until(b"got typed")
    late = Watching(bench, job, "watch")
    late.until(b"got typed")
    types.socket.sendall(b"end\n")
    assert b"never" not in looks.end() + late.end()
    assert started.wait(30) == 0 and bench.result(job)["exit"] == 7
    assert "never" not in bench.log(job)


def test_a_watcher_who_does_not_read_holds_nobody_up(bench: Bench) -> None:
    job = bench.send("#!/bin/sh\nread x; seq 600000; echo over; exit 6\n", tty=True)
    started = bench.start()
    idle, types = Watching(bench, job, "watch"), Watching(bench, job, "keys")
    types.socket.sendall(b"go\n")
    types.until(b"over")
    assert started.wait(60) == 0 and bench.result(job)["exit"] == 6
    idle.socket.close()


def test_secrets_are_in_no_recording(bench: Bench) -> None:
    bare = bench.job('#!/bin/sh\nv=$(cat "$CIT_SECRETS/TOKEN"); printf "%s" "it is ${v%????}"; sleep 0.2; echo "${v#${v%????}}."; read x\n', tty=True)
    piece = sealed.secret.section(bare.id, bench.person.public.fingerprint, "TOKEN", sealed.CANARY.encode(), [sealed.recipient(bench)])
    job = sealed.signed(bench, bare, *(bare.raw[part.start : part.end] for part in bare.sections[:-1]), piece)
    bench.give(bench.assigned(job))
    started = bench.start()
    watching = Watching(bench, job, "keys")
    watching.until(b"it is ***.")
    watching.socket.sendall(b"\n")
    assert started.wait(30) == 0 and sealed.CANARY.encode() not in watching.end()
    assert "it is ***." in shown(cast(bench, job)) and f"it is {sealed.MASK}." in bench.log(job)


def test_a_recording_that_is_for_some_only(bench: Bench, ring: Keys) -> None:  # noqa: F811
    job = bench.send("#!/bin/sh\necho seen\n", *everything(ring), tty=True)
    bench.run()
    assert not cast(bench, job).exists() and cast(bench, job, ".cast.age").exists() and parts.content(str(cast(bench, job, ".log")), 9) == b""


def test_its_supervisor_is_killed(bench: Bench) -> None:
    """kill -9 of the process that holds the terminal: the job ends by that, and nothing of it is left."""
    job = bench.send("#!/bin/sh\ntrap '' HUP; echo $$ >pid; while :; do sleep 0.1; done\n", tty=True)
    started = bench.start()
    pid = bench.account / "work" / "job" / "0" / "pid"
    until(lambda: bench.runs(job) and pid.exists() and pid.read_text().endswith("\n"))
    os.kill(int((bench.record(job) / "pid").read_text()), 9)
    assert started.wait(30) == 0
    assert bench.result(job)["signal"] == 9 and not is_alive(int(pid.read_text()))
