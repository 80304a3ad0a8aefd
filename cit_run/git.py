"""git, run for a job: nobody is asked, no hook runs, and no transport but the plain ones is used (docs/stages/run.md).

The account's own settings hold, as they say how it reaches its servers; variables of the job that steer git do not.
"""

from __future__ import annotations

import os
from pathlib import Path

from .cit_format.errors import CONFIG, UNREACHABLE, CitError

SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "init.defaultBranch=main",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "protocol.ext.allow=never",
    "advice.detachedHead=false",
)
PROTOCOLS = "file:git:http:https:ssh"


class Git:
    """Runs git, its output going to the descriptor `out`."""

    def __init__(self, out: int) -> None:
        self.out = out
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environment.update(GIT_TERMINAL_PROMPT="0", GIT_ALLOW_PROTOCOL=PROTOCOLS, LC_ALL="C.UTF-8")
        self.head = ["git", *(word for setting in SETTINGS for word in ("-c", setting))]

    def tried(self, place: Path, *words: str) -> bool:
        """Whether git does it."""
        return self._run(place, words, self.out, self.out)[0] == 0

    def must(self, place: Path, *words: str) -> None:
        """Have git do it; else CitError."""
        if not self.tried(place, *words):
            raise self.failed(words)

    def said(self, place: Path, given: bytes, *words: str) -> bytes:
        """What git says when given this; CitError where it fails."""
        import subprocess

        status, answer = self._run(place, words, subprocess.PIPE, self.out, given)
        if status:
            raise self.failed(words)
        return answer

    @staticmethod
    def failed(words: tuple[str, ...]) -> CitError:
        return CitError(UNREACHABLE, f"git {words[0]} failed", "git says why in the log")

    def _run(self, place: Path, words: tuple[str, ...], out: int, errors: int, given: bytes = b"") -> tuple[int, bytes]:
        import subprocess

        try:
            run = subprocess.run([*self.head, *words], cwd=place, env=self.environment, check=False, input=given, stdout=out, stderr=errors)
        except FileNotFoundError:
            raise CitError(CONFIG, "git is needed for this job and is not here", "install git on this builder") from None
        return run.returncode, run.stdout or b""
