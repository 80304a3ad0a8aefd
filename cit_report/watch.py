"""Waiting for a change in directories: told by the kernel within milliseconds, looked for each second where it cannot tell (NFS)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

SOONEST, LATEST = 0.2, 5.0  # seconds between questions to a door
PATIENCE = 1.0  # seconds between looks where nothing is told


class Pace:
    """How long to wait until somebody elsewhere is asked again: 0.2 seconds, then longer each time, 5 at most."""

    def __init__(self) -> None:
        self.pause = SOONEST

    def __call__(self) -> float:
        """When to ask again (time.monotonic)."""
        pause, self.pause = self.pause, min(LATEST, self.pause * 1.5)
        return time.monotonic() + pause

    def again(self) -> None:
        """Something was new: more may come soon."""
        self.pause = SOONEST


class Watch:
    """Watches directories for new, renamed and changed files; those that do not exist yet can be added when they do. Used with `with`."""

    def __init__(self, listener: int | None = None) -> None:
        self.listener = listener  # a descriptor that is written to: if nobody reads it any more, that is told too
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGIO, lambda *_: None)
        self.watched: dict[str, int] = {}  # an open descriptor keeps the watch

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # what is told from now on must not end the process
        for fd in self.watched.values():
            os.close(fd)

    def add(self, directories: Iterable[Path | str]) -> None:
        """Watch these too, where they exist."""
        changes = [getattr(fcntl, name, 0) for name in ("DN_CREATE", "DN_RENAME", "DN_MODIFY", "DN_DELETE", "DN_MULTISHOT")]
        for directory in map(str, directories):
            if directory not in self.watched:
                with contextlib.suppress(OSError):
                    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    self.watched[directory] = fd
                    if any(changes):
                        fcntl.fcntl(fd, fcntl.F_NOTIFY, sum(changes))

    def wait(self, until: float | None = None) -> bool:
        """Return when something changed, after PATIENCE, or at `until` (time.monotonic), whichever is first. Whether anybody listens still."""
        left = PATIENCE if until is None else min(PATIENCE, until - time.monotonic())
        poll = select.poll()
        poll.register(self.reading, select.POLLIN)
        if self.listener is not None:
            poll.register(self.listener, 0)
        told = poll.poll(max(0, int(left * 1000)))
        with contextlib.suppress(BlockingIOError):
            os.read(self.reading, 65536)
        return all(fd != self.listener for fd, _ in told)
