"""The next attempt waits, longer each time, as the document's own attempts tell; and comes by itself (docs/howto/try-again.md)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from cit_schedule import alarm
from cit_schedule.cit_format import attempts, backoff, body, clock, document, journal, names, reader, spool
from cit_schedule.cit_format.document import Document
from cit_schedule.cit_format.errors import CONFIG, CitError
from tests.int.cit_schedule import test_attempts
from tests.int.cit_schedule.conftest import Machine
from tests.int.cit_schedule.test_attempts import NOW, assignment, job, result, signature, void

SECOND = clock.SECOND


def unready(by: str = "cit-result") -> bytes:
    rows = journal.event("run", "unready", "", NOW) + journal.event("run", "void", "", NOW)
    return document.section("event", "tsv", rows) + signature(by)


FAILED = (assignment(1), result("FAILED", 3))
DUE = {
    "the first failure": (job(*FAILED, attempts=9, retry_on=["fail"]), 10),
    "the second": (job(*FAILED, assignment(2), result("FAILED", 75), attempts=9, retry_on=["fail"]), 20),
    "the third": (job(*FAILED, assignment(2), result("FAILED"), assignment(3), result("FAILED"), attempts=9, retry_on=["fail"]), 40),
    "not ready": (job(assignment(1), unready()), 10),
    "not ready again": (job(assignment(1), unready(), assignment(2), unready()), 20),
    "what a builder gave back waits for nobody": (job(assignment(1), void()), 0),
    "nor what was lost": (job(assignment(1), result("NODE_FAIL"), attempts=2, retry_on=["lost"]), 0),
    "bounded": (job(*[part for number in range(1, 20) for part in (assignment(number), unready())]), 30 * 60),
}


@pytest.mark.parametrize("case", DUE)
def test_due(case: str) -> None:
    ended, seconds = DUE[case]
    assert backoff.due(ended, {}, NOW) == (NOW + seconds * SECOND if seconds else 0)


def test_it_is_set_in_queue_toml() -> None:
    ended: Document = DUE["the third"][0]
    assert backoff.due(ended, {"retry-after": "1m", "retry-most": "3m"}, NOW) == NOW + 3 * clock.MINUTE
    assert backoff.due(ended, {"retry-after": "0s"}, NOW) == 0
    with pytest.raises(CitError) as caught:
        backoff.due(ended, {"retry-after": "10"}, NOW)
    assert caught.value.status == CONFIG and "retry-after" in caught.value.what


def test_after_a_thousand_times_it_waits_for_its_end() -> None:
    tried = job(*[part for number in range(1, backoff.OFTEN + 1) for part in (assignment(number), unready())])
    assert backoff.due(tried, {}, NOW) == tried.table("job")["expires"]


def test_unready_counts_only_as_a_builders_word() -> None:
    claimed = job(assignment(1), unready("cit-queue"))
    assert not attempts.again(claimed, NOW) and not backoff.due(claimed, {}, NOW)


def test_a_failed_job_is_held_until_its_next_attempt_is_due(machine: Machine) -> None:
    machine.set_line("queue.toml", "retry-after", '"10s"')
    (identity,) = machine.push("--attempts 3 --retry-on fail --priority 7", f"echo x >> {machine.place}/marks; exit 3")
    machine.tick()
    assert sorted(machine.states(identity)) == ["done", "held"]
    machine.schedule()
    assert sorted(machine.states(identity)) == ["done", "held"], "too soon"
    machine.sh(f"cit-priority 9 {identity}")
    machine.schedule()
    assert sorted(machine.states(identity)) == ["done", "held"], "a wish does not make it due"
    machine.schedule(later=11 * SECOND)
    assert sorted(machine.states(identity)) == ["assigned", "done"]
    parts = names.parse(machine.file(identity, "assigned").name)
    assert parts is not None and (parts.attempt, parts.priority) == (2, 9)


def test_it_ends_at_its_deadline_while_it_waits(machine: Machine) -> None:
    machine.set_line("queue.toml", "retry-after", '"10m"')
    (identity,) = machine.push("--attempts 3 --retry-on fail --deadline now+1m", "exit 3")
    machine.tick()
    machine.schedule(later=3 * clock.MINUTE)
    assert machine.states(identity) == ["done", "done"]
    (path,) = (machine.queue / "done").rglob(f"{identity}.a2-*.cit")
    assert list(reader.parse(path.read_bytes()).all("result"))[-1].table()["state"] == "DEADLINE"


def test_a_check_puts_a_job_back_until_what_it_needs_is_there(machine: Machine) -> None:
    need = machine.place / "libz"
    done = machine.sh(f"cit-trigger --check 'test -e {need}' -- sh -c 'echo x >> {machine.place}/marks' | cit-queue -q --to @main")
    identity = reader.parse(done.stdout.encode()).id
    machine.tick(3)
    assert sorted(machine.where(identity)) == [*(f"done/{identity}.a{n}-sh.cit" for n in (2, 3)), f"waiting/{identity}.a4-sh.cit"]
    assert test_attempts.marks(machine) == 0, "it allows one start, and had none"
    need.touch()
    machine.tick(2)
    assert test_attempts.marks(machine) == 1 and machine.states(identity) == ["done"] * 3
    last = reader.parse(next((machine.queue / "done").rglob(f"{identity}.a4-*.cit")).read_bytes())
    assert last.sections[-2].table()["state"] == "COMPLETED"


def test_of_many_noes_the_last_two_ends_stay(machine: Machine) -> None:
    """Each copy has all that the ones before have; one that is handed over once more after it was removed is a duplicate."""
    done = machine.sh("cit-trigger --check false -- true | cit-queue -q --to @main")
    identity = reader.parse(done.stdout.encode()).id
    for line in ("cit-schedule -q --from waiting", "cit-deliver -q --from assigned", "cit-run -q --from inbox --to finished"):
        machine.sh(line)
    (name,) = spool.listing(machine.account / "finished")
    first = (machine.account / "finished" / name).read_bytes()
    machine.sh("cit-deliver -q --from finished")
    machine.tick(4)
    assert sorted(machine.where(identity)) == [f"done/{identity}.a4-true.cit", f"done/{identity}.a5-true.cit", f"waiting/{identity}.a6-true.cit"]
    (machine.account / "finished" / name).write_bytes(first)
    assert machine.sh("cit-deliver -q --from finished").returncode == 0
    assert spool.listing(machine.account / "finished") == [] and spool.listing(machine.queue / "refused") == []
    assert len(machine.where(identity)) == 3


def test_it_comes_by_itself_when_it_is_due(machine: Machine) -> None:
    """Nobody ticks: the sleeper of the last pass wakes the queue."""
    machine.set_line("queue.toml", "retry-after", '"1s"')
    machine.set_line("queue.toml", "on-arrival", body.toml({"x": "cit-schedule -q --from waiting --to assigned"})[4:-1].decode())
    (identity,) = machine.push("--attempts 2 --retry-on fail", "exit 3")
    end = time.monotonic() + 30
    machine.tick()
    while "assigned" not in machine.states(identity):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_sleeper_that_was_killed_is_replaced(machine: Machine) -> None:
    machine.set_line("queue.toml", "on-arrival", '"true"')
    machine.push("-b now+5m")
    alarm_file = machine.queue / "held" / ".alarm"
    for _ in range(2):
        machine.schedule()
        end = time.monotonic() + 30
        while not (groups := holders(alarm_file)):
            assert time.monotonic() < end
            time.sleep(0.05)
        machine.schedule()
        (group,) = holders(alarm_file)
        assert {group} == groups, "one is enough"
        os.killpg(group, signal.SIGKILL)
        while holders(alarm_file):
            assert time.monotonic() < end


def holders(path: Path) -> set[int]:
    """The groups of the processes that have a file open."""
    found = set()
    for process in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            links = [f"/proc/{process}/fd/{number}" for number in os.listdir(f"/proc/{process}/fd")]
            if any(os.readlink(link) == str(path) for link in links):
                found.add(os.getpgid(int(process)))
    return found


def test_a_sleeper_for_what_is_soon_alone() -> None:
    held = [f"{names.key(0, moment)}.01kax0m2ht8f0v3q6s9y2c4e7g-x.cit" for moment in (NOW - 1, NOW + 5 * SECOND, NOW + 9 * SECOND)]
    far = [f"{names.key(0, moment)}.01kax0m2ht8f0v3q6s9y2c4e7g-x.cit" for moment in (NOW + clock.HOUR, names.NEVER)]
    assert alarm.first(held + far, NOW) == NOW + 5 * SECOND
    assert alarm.first(far, NOW) == 0
