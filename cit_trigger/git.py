"""git, asked by a person who pushes: in the tree that is named, whatever a hook has set (docs/howto/push-a-git-tree.md)."""

from __future__ import annotations

import os

from .cit_format.errors import CONFIG, NOT_FOUND, CitError

# Set by git for its hooks; they would have git look at another repository than the one that it is started in.
_LOCAL = (
    ["GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE"]
    + ["GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR"]
)  # fmt: skip
PROTOCOLS = "file:git:http:https:ssh"


def git(directory: str, *words: str, given: bytes = b"", status: int = NOT_FOUND, hint: str = "", seconds: float = 0) -> bytes:
    """What git prints; where it fails, or takes longer than so many `seconds` (then it asks nobody for a password), a CitError of this status."""
    failed, answer, said = _limited(directory, words, seconds) if seconds else _run(directory, words, given)
    if failed:
        lines = said.decode("utf-8", "replace").strip().split("\n")
        told = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
        raise CitError(status, f"git {words[0]}: {told or f'status {failed}'}", hint or f"it ran in {directory}")
    return answer


def asked(directory: str, *words: str) -> bytes | None:
    """What git prints; None where it says no."""
    status, answer, _ = _run(directory, words, b"")
    return None if status else answer


def settings_of(directory: str, pattern: str, where: str = "--includes") -> list[tuple[str, str]]:
    """Keys and values of git's settings that match; none where there are none."""
    found = (entry.partition("\n") for entry in records(asked(directory, "config", "-z", where, "--get-regexp", pattern) or b""))
    return [(key, value) for key, _, value in found]


def records(answer: bytes) -> list[str]:
    """The parts of an answer that NULs end."""
    return [part for part in os.fsdecode(answer).split("\0") if part]


def _limited(directory: str, words: tuple[str, ...], seconds: float) -> tuple[int, bytes, bytes]:
    from .looks import started

    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "false", "SSH_ASKPASS": "false", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    return started(["git", *words], directory, seconds, {**_environment(), **{name: os.environ.get(name, value) for name, value in quiet.items()}})


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    environment.update(GIT_ALLOW_PROTOCOL=PROTOCOLS, LC_ALL="C.UTF-8")
    return environment


def _run(directory: str, words: tuple[str, ...], given: bytes) -> tuple[int, bytes, bytes]:
    import subprocess

    try:
        run = subprocess.run(["git", *words], cwd=directory, env=_environment(), check=False, input=given, capture_output=True)
    except FileNotFoundError:
        raise CitError(CONFIG, "git is needed for this and is not here", "install git, or push without the source: --no-source") from None
    return run.returncode, run.stdout, run.stderr
