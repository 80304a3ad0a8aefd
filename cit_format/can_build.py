"""Whether an account can build something: its programs `can_build_NAME` answer yes or no, and nothing else of them is told (docs/format/builder.md).

    ~/.cit/interfaces/can_build_zlib    exits 0: yes; anything else, or no answer within a second: no

The owner lists the names in the builder document (`can-build`); a name without a program is the owner's word.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from .grammar import NAME

PATIENCE = 1.0  # seconds for one program,
ALTOGETHER = 2.0  # and for all: who asks waits meanwhile


def answers(account: Path, listed: Iterable[str]) -> list[str]:
    """Those of the listed names that the account at this cit home says it can build now."""
    end = time.monotonic() + ALTOGETHER
    return [name for name in listed if NAME.fullmatch(name) and _is_yes(account / "interfaces" / f"can_build_{name}", end)]


def _is_yes(program: Path, end: float) -> bool:
    if not os.access(program, os.X_OK):
        return not program.exists()
    import signal
    import subprocess

    environment = {"HOME": os.path.expanduser("~"), "PATH": os.environ.get("PATH", os.defpath), "LC_CTYPE": "C.UTF-8"}
    null = subprocess.DEVNULL
    try:
        running = subprocess.Popen([str(program)], cwd=program.parent, env=environment, stdin=null, stdout=null, stderr=null, start_new_session=True)
    except OSError:
        return False
    try:
        return running.wait(max(0.0, min(PATIENCE, end - time.monotonic()))) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
