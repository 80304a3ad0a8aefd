"""A process of our own that is killed before the n-th call that changes the disk: every n in turn shows every state that a kill can leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from cit_format import spool

CALLS = ("write", "fsync", "ftruncate", "mkdir", "rmdir", "rename", "link", "symlink", "unlink", "pwrite")
MOST = 400


class _Counter:
    def __init__(self, last: int) -> None:
        self.left = last

    def wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **named)

        return counted


class _Library:
    """The C library, whose two calls that spools make are counted too."""

    def __init__(self, real: Any, counter: _Counter) -> None:
        self.renameat2 = counter.wrapped(real.renameat2)
        self.syncfs = counter.wrapped(real.syncfs)


def dies_at(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a process that is killed before its n-th change of the disk; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            counter = _Counter(number)
            for call in CALLS:
                setattr(os, call, counter.wrapped(getattr(os, call)))
            vars(spool)["_libc"] = _Library(spool._libc, counter)
            act()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), "the process failed by itself"
    return status != 0


def every_kill(prepare: Callable[[int], Callable[[], object]]) -> Iterator[int]:
    """For n = 1, 2, ...: prepare a place, kill what is to be done there before its n-th change; ends when it came through."""
    for number in range(1, MOST):
        if not dies_at(number, prepare(number)):
            assert number > 3, "nothing was counted"
            return
        yield number
    raise AssertionError(f"more than {MOST} changes of the disk")
