"""Tells that something has come into a directory, without looking again and again (docs/stages/run.md).

How: dnotify, by which the kernel sends a signal; on file systems and systems that have none of it, look every second.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path

POLL = 1.0  # seconds between two looks where the kernel does not tell
SAFETY = 30.0  # and where it does: another machine may write to a shared directory


class Arrivals:
    """`fd` is readable when a name has come into one of the directories, or a child has ended or was stopped; `pause`: how long to trust it (s)."""

    def __init__(self, directories: list[Path]) -> None:
        self.fd, writing = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGIO, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self.pause = SAFETY
        self.watched = [os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for directory in directories]
        for directory in self.watched:
            try:
                fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT)
            except OSError:
                self.pause = POLL

    def clear(self) -> None:
        """Forget what was told so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def close(self) -> None:
        """Be told no more: what arrives from now on must not end the process on its way out."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)
