"""Run-as: an account that holds the keys starts each person's jobs as that person's own account (docs/howto/run-as.md).

Reads: `run-as` of config.toml: ["ada@sun=ada"], who submits and which account of this machine that is.
How: by an exact rule of sudoers the other account starts `cit-run --represent`, gets the job as its author signed it, believes it by
its own list, and runs it in its own home. Its stdin is the line of life: when we end, in whatever way, the job is cancelled.
Exits: as the job does; 125 where sudo does not let us.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from .cit_format import body
from .cit_format.document import Document
from .cit_format.errors import CONFIG, DENIED, CitError

OPTION = "--represent"
ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
FAILED = 125  # cit's own fault, not the job's


# --- decisions ------------------------------------------------------------------------------------------------------


def accounts(settings: Mapping[str, body.Value]) -> dict[str, str]:
    """The account by submitter, as `run-as` says; 78 where it says something else. Empty: jobs run as this account itself."""
    found: dict[str, str] = {}
    listed = settings.get("run-as")
    for entry in listed if isinstance(listed, list) else []:
        person, _, account = str(entry).rpartition("=")
        if not person or not ACCOUNT.fullmatch(account):
            raise CitError(CONFIG, f"run-as says {entry!r}", 'write run-as = ["ada@sun=ada"]: who submits, and the account here')
        found[person] = account
    return found


def account_of(settings: Mapping[str, body.Value], job: Document) -> str:
    """The account that runs a job; empty: this one. 77 where this builder runs nothing of the submitter."""
    known = accounts(settings)
    person = str(job.table("job").get("submitter", ""))
    if known and person not in known:
        raise CitError(DENIED, f"no account here runs jobs of {person}", "run-as in the builder's config.toml lists whose it does", job.label)
    return known.get(person, "")


def submitted(job: Document) -> bytes:
    """The job as its author signed it: all that the other account needs, and all that it believes."""
    signature = job.find("signature")
    assert signature is not None
    return job.raw[: signature.end]


def command(account: str, program: str) -> list[str]:
    """What is run: nothing of the job stands in it, so that one line of sudoers can allow exactly this."""
    return ["sudo", "-n", "-H", "-u", account, "--", program, OPTION]


def rule(ours: str, theirs: str, program: str) -> str:
    """The line of sudoers that lets our account run theirs' jobs, and nothing else."""
    return f"{ours} ALL=({theirs}) NOPASSWD:NOSETENV: {program} {OPTION}"


def handed(job: bytes) -> bytes:
    """What goes to the stdin of the other account: the length on a line, then the job; then nothing, until we end."""
    return b"%d\n%s" % (len(job), job)


def received(fd: int) -> bytes:
    """The job from the other end of that; 77 where it is cut."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 12:
        line += os.read(fd, 1) or b"\n"
    left = int(line) if line.strip().isdigit() else -1
    pieces = []
    while left > 0:
        piece = os.read(fd, min(left, 1 << 20))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    if left:
        raise CitError(DENIED, "no whole job came", f"{OPTION} is started by the builder's account, by way of sudo")
    return b"".join(pieces)


# --- the step -------------------------------------------------------------------------------------------------------


def main() -> None:
    """In place of the job's program: RECORD ACCOUNT PROGRAM as arguments."""
    import signal
    import subprocess

    record, account, program = sys.argv[1:4]
    with open(f"{record}/job", "rb") as stream:
        job = stream.read()
    child = subprocess.Popen(command(account, program), stdin=subprocess.PIPE)
    assert child.stdin is not None
    life = child.stdin
    signal.signal(signal.SIGTERM, lambda *_: life.close())  # sudo runs as root: it hears no signal of ours, its child hears the end
    try:
        life.write(handed(job))
        life.flush()
    except (BrokenPipeError, ValueError):
        pass  # its status says why
    status = child.wait()
    sys.exit(FAILED if status < 0 else status)
