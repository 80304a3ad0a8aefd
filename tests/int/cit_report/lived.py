"""A cit home in which something has happened: jobs that ended in every way, one that is held, one that nobody can run."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

BIN = Path(__file__).resolve().parents[3] / "bin"
ENDED = {"good": 0, "bad": 3, "shot": 137, "late": 124, "missing": 127}

CRONTAB = """#!/bin/sh
# The table of one person, in a file: what crontab(1) does with -l, -r and a table on stdin.
file=$HOME/crontab
case $1 in
-l) [ -e "$file" ] || { echo "no crontab" >&2; exit 1; }; cat "$file" ;;
-r) rm "$file" ;;
-) cat >"$file.new" && mv "$file.new" "$file" ;;
esac
"""


class Lived:
    """One home at `directory/.cit`; ada on the machine sun works in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / ".cit"
        self.queue = self.path / "queues" / "main"
        self.environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "CIT_USER": "ada", "CIT_HOST": "sun", "LANG": "C.UTF-8"}

    def run(self, *words: object, stdin: bytes = b"", status: int | None = 0, **variables: str) -> str:
        """A program's stdout; it must end with `status`, unless that is None."""
        done = self.completed(*words, stdin=stdin, **variables)
        assert status is None or done.returncode == status, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
        return done.stdout.decode()

    def completed(self, *words: object, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(word) for word in words]
        return subprocess.run(command, input=stdin, capture_output=True, cwd=self.directory, env={**self.environment, **variables}, timeout=60)

    def rows(self, *words: object, status: int | None = 0) -> list[dict[str, str]]:
        """The rows of a TSV table with its header."""
        head, *lines = self.run(*words, "--tsv", status=status).splitlines()
        return [dict(zip(head.split("\t"), line.split("\t"))) for line in lines]

    def objects(self, *words: object) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.run(*words, "--json").splitlines()]

    def on_terminal(self, *words: object, columns: int = 80, **variables: str) -> str:
        """What a terminal of so many columns is given, byte for byte but for CR LF."""
        near, far = pty.openpty()
        subprocess.run(["stty", "-F", os.ttyname(far), "cols", str(columns), "rows", "24"], check=True)
        environment = {**self.environment, "TERM": "xterm", **variables}
        command = ["timeout", "120", *(str(word) for word in words)]
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=far, stderr=far, env=environment, cwd=self.directory)
        os.close(far)
        said = b""
        while True:
            try:
                piece = os.read(near, 65536)
            except OSError:  # how a terminal ends
                break
            if not piece:
                break
            said += piece
        os.close(near)
        running.wait()
        return said.decode().replace("\r\n", "\n")

    def push(self, name: str, script: str, *options: str) -> str:
        """Queue a job; its ID."""
        job = self.completed("cit-trigger", "--name", name, *options, "--script", "-", stdin=script.encode())
        assert job.returncode == 0, job.stderr
        self.run("cit-queue", "--to", "@main", stdin=job.stdout)
        return job.stdout.split()[2].decode()

    def until(self, name: str, state: str, seconds: float = 20) -> dict[str, str]:
        """Wait until `cit ls` shows this job in this state: its row."""
        end = time.monotonic() + seconds
        while True:
            rows = [row for row in self.rows("cit-ls", "-a", "-J", name) if row["state"] == state]
            if rows:
                return rows[0]
            assert time.monotonic() < end, self.run("cit-ls", "-a")
            time.sleep(0.05)


def happened(directory: Path) -> Lived:
    """A home with its history."""
    directory.mkdir()
    lived = Lived(directory)
    lived.push("good", "#!/bin/sh\necho one; echo two\n", "--time", "1m")
    lived.push("bad", "#!/bin/sh\necho it goes wrong; exit 3\n")
    lived.push("shot", "#!/bin/sh\nkill -9 $$\n")
    lived.push("late", "#!/bin/sh\nsleep 60\n", "--time", "1s")
    lived.push("missing", "#!/bin/sh\nnosuchprogram\n")
    lived.push("kept", "#!/bin/sh\ntrue\n", "--hold")
    lived.push("giant", "#!/bin/sh\ntrue\n", "-c", "4000")
    lived.run("cit-wait", "-q", *ENDED, status=137)
    return lived


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
