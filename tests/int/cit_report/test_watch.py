"""cit attach and cit play, on a real terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.int.cit_report.lived import Lived

ASKS = '#!/bin/sh\nprintf "\\033]0;evil\\007\\033[32mready\\033[0m \\033[6n\\n"\nread x; echo "got $x"; read y; exit 5\n'


class Screen:
    """A program on a pty: what it has shown, and keys for it."""

    def __init__(self, lived: Lived, *words: str) -> None:
        self.near, far = pty.openpty()
        environment = {**lived.environment, "TERM": "xterm"}
        self.before = termios.tcgetattr(far)
        self.program = subprocess.Popen(words, stdin=far, stdout=far, stderr=far, env=environment, cwd=lived.directory, start_new_session=True)
        self.far = far
        self.shown = b""

    def until(self, text: bytes) -> None:
        end = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < end and (self.program.poll() is None or select.select([self.near], [], [], 1)[0]), self.shown
            if select.select([self.near], [], [], 0.2)[0]:
                self.shown += os.read(self.near, 65536)

    def type(self, keys: bytes) -> None:
        os.write(self.near, keys)

    def end(self) -> int:
        status = self.program.wait(timeout=30)
        while select.select([self.near], [], [], 0.2)[0]:
            self.shown += os.read(self.near, 65536)
        assert termios.tcgetattr(self.far)[:4] == self.before[:4], "the terminal is as it was"
        os.close(self.far)
        os.close(self.near)
        return status


@pytest.fixture
def asks(lived: Lived) -> Lived:
    lived.push("asks", ASKS, "--tty")
    lived.until("asks", "RUNNING")
    end = time.monotonic() + 30
    while not list(lived.path.glob("work/*-asks.run/tty")):
        assert time.monotonic() < end
        time.sleep(0.02)
    return lived


def test_attached_to_ones_own_job(asks: Lived) -> None:
    looks = Screen(asks, "cit-attach", "--watch", "asks")
    looks.until(b"ready")
    looks.type(b"never\r")
    types = Screen(asks, "cit-attach", "asks")
    types.until(b"ready")
    types.type(b"hello\r")
    types.until(b"got hello")
    looks.until(b"got hello")
    assert b"got never" not in looks.shown and b"you only watch" in looks.shown and b"your keys go in" in types.shown
    types.type(b"\x1d")
    assert types.end() == 0 and b"you left it" in types.shown
    looks.type(b"q")
    assert looks.end() == 0
    for shown in (looks.shown, types.shown):
        assert b"\x1b[32mready" in shown and b"evil" not in shown and b"\x1b[6n" not in shown
    again = Screen(asks, "cit-attach", "asks")
    again.until(b"got hello")
    again.type(b"end\r")
    assert again.end() == 0 and b"it has ended" in again.shown
    asks.run("cit-wait", "-q", "asks", status=5)
    assert asks.completed("cit-attach", "asks").returncode == 66
    assert asks.run("cit-play", "asks") == "ready \nhello\ngot hello\nend\n"
    rows = asks.run("cit-play", "--tsv", "asks").splitlines()
    assert rows[0] == "ms\ttext" and rows[1].endswith("ready \\n")
    played = asks.on_terminal("cit-play", "--idle", "1s", "--speed", "10", "asks")
    assert "\x1b[32mready" in played and "evil" not in played and "\x1b[6n" not in played
    [recording] = asks.path.glob("work/*.cast")
    assert asks.run("cit-play", recording) == asks.run("cit-play", "asks")
    shown = asks.on_terminal("cit-log", "asks")
    assert shown == "ready \nhello\ngot hello\nend\n"


def test_there_as_ssh_starts_it(asks: Lived) -> None:
    """What bin/cit-attach has started on the builder: the account's own name of the job, and nothing else."""
    [record] = asks.path.glob("work/*-asks.run")
    there = Screen(asks, "cit-report", "attach", "--watch", "--there", record.name[: -len(".run")])
    there.until(b"ready")
    there.type(b"\x03")
    assert there.end() == 0
    assert asks.run("cit-report", "attach", "--owner", "asks") == "keys\n"
    assert asks.run("cit-report", "attach", "--owner", "asks", CIT_USER="eve") == "watch\n"
    for name in ("../../etc", "x", "a b"):
        assert asks.completed("cit-report", "attach", "--there", name).returncode == 66
    asks.run("cit-cancel", "asks")
    asks.run("cit-wait", "-q", "asks", status=143)


def test_what_has_no_terminal(lived: Lived, tmp_path: Path) -> None:
    lived.push("plain", "#!/bin/sh\necho hi\n")
    lived.run("cit-wait", "plain")
    for verb in ("cit-play", "cit-attach"):
        done = lived.completed(verb, "plain")
        assert done.returncode == 66 and b"hint: " in done.stderr
    (tmp_path / "x.cast").write_text("no recording\n")
    assert lived.completed("cit-play", tmp_path / "x.cast").returncode == 65
    assert lived.completed("cit-play", "--idle", "5", tmp_path / "x.cast").returncode == 2


def test_step_by_step(lived: Lived) -> None:
    lived.push("parts", "#!/bin/sh\ncit-part all -- sh -c 'cit-part one -- echo first; cit-part two -- sh -c \"echo second; exit 3\"'\n")
    lived.run("cit-wait", "-q", "parts", status=3)
    rows = lived.rows("cit-step", "parts")
    assert [(row["what"], row["state"]) for row in rows[3:5]] == [("all/one", "COMPLETED"), ("all/two", "FAILED")]
    assert rows[2]["what"] == "run started" and rows[5]["what"].startswith("run ended FAILED, exit 3")
    assert lived.run("cit-step", "parts", "5").split("\n", 1)[1] == "second\n"
    assert lived.completed("cit-step", "parts", "7").returncode == 66
    walks = Screen(lived, "cit-step", "parts")
    walks.until(b"1/6  ")
    walks.type(b"4\n")
    walks.until(b"first\r\n")
    walks.type(b"\n")
    walks.until(b"second\r\n")
    walks.type(b"p\n")
    walks.until(b"[4/6]")
    walks.type(b"l\n")
    walks.until(b"run started")
    walks.type(b"q\n")
    assert walks.end() == 0
    lived.push("marks", "#!/bin/sh\necho ::group::Fetch; echo inner; echo ::endgroup::; echo --- Tests; echo not ok 1 - x\n")
    lived.push("plain", "#!/bin/sh\necho a; echo b\n")
    lived.run("cit-wait", "-q", "marks", "plain")
    assert [(row["what"], row["state"]) for row in lived.rows("cit-step", "marks")[3:5]] == [("Fetch", ""), ("Tests", "FAILED")]
    assert lived.run("cit-step", "plain", "4").split("\n", 1)[1] == "a\nb\n"


@pytest.mark.skipif(not shutil.which("tmux"), reason="no tmux")
def test_on_a_real_screen(lived: Lived) -> None:
    """tmux is the terminal: what it shows in the end is what the job showed, its title is not what the job said, and colours are put back."""
    script = 'printf "\\033]0;evil\\007\\033[2J\\033[H\\033[?25l\\033[31mone\\033[3;5Htwo\\033(0qq\\033(B\\033[6n\\n"\n'
    lived.push("draws", f"#!/bin/sh\n{script}", "--tty", "--tty-size", "60x20")
    lived.run("cit-wait", "draws")
    tmux = ["tmux", "-L", f"cit-{os.getpid()}", "-f", "/dev/null"]
    environment = {**lived.environment, "TERM": "xterm-256color"}

    def said(*words: str) -> str:
        return subprocess.run([*tmux, *words], env=environment, cwd=lived.directory, capture_output=True, text=True, timeout=30).stdout

    try:
        said("new-session", "-d", "-x", "80", "-y", "24", "sh -c 'cit-play draws; printf after; exec sleep 60'")
        end = time.monotonic() + 30
        while "after" not in said("capture-pane", "-p"):
            assert time.monotonic() < end
            time.sleep(0.1)
        plain, coloured = said("capture-pane", "-p").split("\n"), said("capture-pane", "-p", "-e").split("\n")
        assert (plain[0], plain[1], plain[2][:7], plain[3]) == ("one", "", "    two", "after")
        assert coloured[0].startswith("\x1b[31mone") and coloured[3].startswith("\x1b[39m")
        assert said("display-message", "-p", "#{pane_title} #{cursor_flag}").endswith(" 1\n") and "evil" not in said(
            "display-message", "-p", "#{pane_title}"
        )
    finally:
        said("kill-server")
