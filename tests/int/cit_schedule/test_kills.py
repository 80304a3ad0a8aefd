"""A pass is killed before each of its changes of the disk: every document is in one state, and the next pass ends right (docs/directories.md).

Passes run in a child of this test, whose calls are counted; tests/crash does the same to whole programs by strace.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cit_schedule import deliver, ends, turn
from cit_schedule.cit_format import clock, names, reader, spool
from tests.int.cit_schedule.conftest import STATES, Machine

CALLS = ("write", "fsync", "ftruncate", "mkdir", "rmdir", "rename", "link", "symlink", "unlink", "pwrite")
MOST = 400


def dies_at(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that is killed before its n-th change of the disk; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        left = number

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*words: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*words, **named)

            return counting

        status = 99
        try:
            for name in CALLS:
                setattr(os, name, counted(getattr(os, name)))
            real = spool._libc
            vars(spool)["_libc"] = type(
                "Library", (), {"renameat2": staticmethod(counted(real.renameat2)), "syncfs": staticmethod(counted(real.syncfs))}
            )
            act()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), "the pass failed by itself"
    return status != 0


def every_kill(machine: Machine, act: Callable[[], object]) -> Iterator[int]:
    """Kill `act` before its first, second, ... change, each time from the same start; ends when it comes through."""
    template = machine.place.with_name(machine.place.name + "-template")
    shutil.copytree(machine.place, template, symlinks=True)
    try:
        for number in range(1, MOST):
            shutil.rmtree(machine.place)
            shutil.copytree(template, machine.place, symlinks=True)
            if not dies_at(number, act):
                assert number > 20, "hardly anything was counted"
                return
            yield number
    finally:
        shutil.rmtree(template)
    raise AssertionError(f"more than {MOST} changes of the disk")


def copies(machine: Machine) -> Counter[str]:
    """How many copies of each document, ID and attempt, are in states of the queue, claims included."""
    found: Counter[str] = Counter()
    for state in STATES:
        for path in (machine.queue / state).rglob("*.cit"):
            parts = names.parse(path.name)
            if parts and ".tmp" not in path.parts:
                reader.parse(path.read_bytes())  # whole, wherever it is
                found[str(parts._replace(key="", attempt=parts.attempt or 1))] += 1
    return found


def test_a_scheduling_pass_killed_anywhere(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.only("sun", ahead=9)
    machine.set("queue.toml", 'grace = "1s"')
    (lost,) = machine.push("-t 1s --attempts 2 --retry-on lost")
    machine.schedule()
    sent = machine.file(lost, "assigned")
    sent.rename(machine.queue / "sent" / sent.name)
    first, second = machine.push(count=2)
    late, begun, unwanted = machine.push("--deadline now+1h")[0], machine.push("-b now+1h")[0], machine.push("-H")[0]
    assert machine.sh(f"cit-cancel {unwanted}").returncode == 0
    # The job may still begin within 30 days; here an hour of silence is enough.
    monkeypatch.setattr(ends, "lost_at", lambda job, is_sent, moved, grace: moved + clock.HOUR if is_sent else None)
    monkeypatch.setenv("CIT_NOW", clock.iso(clock.now() + 2 * clock.HOUR))

    def one_pass() -> None:
        turn.Pass(machine.queue, machine.queue / "assigned", 1000).run()

    expected = {
        **dict.fromkeys((f"assigned/{first}.a1", f"assigned/{second}.a1", f"assigned/{begun}.a1"), 1),
        **dict.fromkeys((f"done/{late}", f"done/{unwanted}", f"done/{lost}.a1", f"assigned/{lost}.a2"), 1),
    }
    everyone = (first, second, late, begun, unwanted, lost)
    for number in every_kill(machine, one_pass):
        found = copies(machine)
        assert set(found.values()) == {1} and {name[:26] for name in found} == set(everyone), (number, found)
        one_pass()
        one_pass()  # what was put back by the first one is assigned by this one
        after = Counter(where.removesuffix("-sh.cit") for identity in everyone for where in machine.where(identity))
        assert after == expected, number
        assert not list(machine.queue.path.rglob(".claim/[!.]*")), number


def test_carrying_to_a_builder_killed_anywhere(machine: Machine) -> None:
    machine.only("sun", ahead=9)
    good, bad = machine.push(count=2)
    machine.schedule()
    path = machine.file(bad, "assigned")
    path.write_bytes(path.read_bytes().replace(b"exec sh", b"exec zsh"))
    assert machine.sh(f"cit-priority 3 {good}").returncode == 0

    def carry() -> None:
        deliver.carried(machine.queue, machine.queue / "assigned", machine.queue / "sent")

    for number in every_kill(machine, carry):
        assert machine.states(good) in (["assigned"], ["sent"]), number
        assert machine.states(bad) in (["assigned"], ["refused"], ["assigned", "refused"]), number
        carry()
        assert (machine.states(good), machine.states(bad)) == (["sent"], ["refused"]), number
        (inbox,) = spool.listing(machine.account / "inbox")
        assert good in inbox and len(spool.listing(machine.account / "control")) == 1, number


def test_carrying_home_killed_anywhere(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(machine.place))
    (identity,) = machine.push("--attempts 2 --retry-on fail", "false")
    for line in ("cit-schedule -q --from waiting", "cit-deliver -q --from assigned", "cit-run -q --from inbox --to finished"):
        machine.sh(line)
    first, second = f"{identity}.a1-sh.cit", f"{identity}.a2-sh.cit"
    finished: Path = machine.account / "finished"

    def carry() -> None:
        deliver.carried(None, finished, None)

    for number in every_kill(machine, carry):
        found = machine.where(identity)
        assert set(found) <= {f"sent/{first}", f"done/{first}", f"waiting/{second}"} and len(found) == len(set(found)), (number, found)
        assert spool.listing(finished) or sorted(found) == [f"done/{first}", f"waiting/{second}"], (number, "forgotten too early")
        carry()
        assert sorted(machine.where(identity)) == [f"done/{first}", f"waiting/{second}"], number
        assert spool.listing(finished) == [], number
