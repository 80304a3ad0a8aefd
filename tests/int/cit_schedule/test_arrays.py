"""Tasks of an array are dealt out of one document, each once, as many at once as it says (docs/stages/schedule.md)."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from cit_queue import activate
from cit_schedule import array, turn
from cit_schedule.cit_format import arrays, clock, control, names, reader, spool, trust
from cit_schedule.cit_format.control import Standing, Wish
from tests.int.cit_schedule.conftest import DELIVER, SCHEDULE, Machine
from tests.int.cit_schedule.test_kills import every_kill


def tasks(machine: Machine, identity: str, state: str) -> list[str]:
    """The tasks of an array in a state, as file names tell them: `3`, or `4..9` of what is left; `all` of a whole array."""
    found = [parts for parts in spool.documents(machine.queue / state) if parts.id == identity]
    if state == "done":
        found = [parts for day in (machine.queue / "done").glob("2*") for parts in spool.documents(day) if parts.id == identity]
    return [str(parts.task) if parts.task is not None else f"{parts.span[0]}..{parts.span[1]}" if parts.span else "all" for parts in found]


# --- decisions ----------------------------------------------------------------------------------------------------------


def wish(number: int, action: str, task: int | None) -> Wish:
    return Wish(f"{number:026d}", action, "x", task, None, "", "ada@sun", "K", "Q", 0, 1)


def test_segments() -> None:
    cancel, hold = wish(1, "cancel", 3), wish(2, "hold", None)
    assert array.segments((1, 2, 3, 4), []) == [((1, 2, 3, 4), Standing())]
    assert array.segments((1, 2, 3, 4), [hold]) == [((1, 2, 3, 4), Standing(held=True))]
    assert array.segments((1, 2, 3, 4), [cancel]) == [((1, 2), Standing()), ((3,), Standing(cancel=cancel)), ((4,), Standing())]
    assert array.segments((1, 2), [cancel]) == [((1, 2), Standing())]
    assert [each for each, _ in array.segments((1, 3, 5), [hold, wish(3, "release", 5), wish(4, "release", 3)])] == [(1,), (3, 5)]


# --- on a queue ---------------------------------------------------------------------------------------------------------


def test_tasks_are_dealt_as_far_as_there_is_room(machine: Machine) -> None:
    machine.only("sun", slots=2, ahead=1)
    (identity,) = machine.push("-a 0-9")
    signed = machine.document(identity, "waiting").submitted
    assert machine.schedule().stderr == ""
    assert (tasks(machine, identity, "assigned"), tasks(machine, identity, "waiting")) == (["0", "1", "2"], ["3..9"])
    for path in (machine.queue / "assigned").glob("*.cit"):
        job = reader.parse(path.read_bytes())
        given = trust.assignment(job)
        assert job.submitted == signed and given and f"_{given.task}.a1-" in path.name
        trust.assigned(job, machine.account.signers, machine.account.signer.public.fingerprint, clock.now())
    machine.schedule()
    assert tasks(machine, identity, "waiting") == ["3..9"]
    machine.only("sun", ahead=20)
    machine.schedule()
    assert tasks(machine, identity, "assigned") == [str(task) for task in range(10)] and tasks(machine, identity, "waiting") == []
    assert [row[0][26:] for row in machine.log("assigned")] == [f"_{task}.a1-sh" for task in range(10)]


def test_no_more_at_once_than_the_array_says(machine: Machine) -> None:
    machine.only("sun", ahead=9)
    (identity,) = machine.push("-a 1-7%2")
    done = 0
    while done < 7:
        machine.schedule()
        out = tasks(machine, identity, "assigned")
        assert len(out) == min(2, 7 - done), "so many at once, and never fewer where more are left"
        assert machine.sh(f"cit-schedule --queue @main --explain {identity}").stdout.startswith("2 of its tasks are") or done >= 5
        machine.sh(f"{DELIVER}; cit-run -q --from inbox --to finished; cit-deliver -q --from finished")
        done += len(out)
    assert len(tasks(machine, identity, "done")) == 7


def test_attempts_of_one_task_leave_the_others_alone(machine: Machine) -> None:
    (identity,) = machine.push("-a 1-3 --attempts 2 --retry-on fail", "test $CIT_TASK != 2")
    machine.tick(2)
    assert sorted(where.partition("_")[2] for where in machine.where(identity)) == ["1.a1-sh.cit", "2.a1-sh.cit", "2.a2-sh.cit", "3.a1-sh.cit"]


def test_a_task_knows_which_one_it_is(machine: Machine) -> None:
    (identity,) = machine.push("-a 5-9:2", "env | grep -E ^CIT_\\(ARRAY\\|TASK\\) | sort")
    machine.tick()
    (log,) = (machine.account / "work").glob(f"{identity}_7.a1-sh.log")
    assert log.read_text() == "".join(
        f"CIT_{name}\n"
        for name in ("ARRAY_JOB_ID=" + identity, "ARRAY_TASK_COUNT=3", "ARRAY_TASK_ID=7", "ARRAY_TASK_MAX=9", "ARRAY_TASK_MIN=5", "TASK=7")
    )


def test_wishes_about_single_tasks_part_what_is_left(machine: Machine) -> None:
    machine.only("sun", state="drain")
    (identity,) = machine.push("-a 0-9")
    assert machine.sh(f"cit-cancel --task 4 {identity} && cit-hold --task 7 {identity}").returncode == 0
    assert machine.sh(f"cit-cancel --task 10 {identity}").returncode == 66
    machine.schedule()
    assert tasks(machine, identity, "waiting") == ["0..3", "5..6", "8..9"]
    assert (tasks(machine, identity, "held"), tasks(machine, identity, "done")) == (["7..7"], ["4..4"])
    assert machine.sh(f"cit-cancel --task 4 {identity}").returncode == 1, "too late"
    machine.sh(f"cit-release --task 7 {identity}; cit-priority 5 --task 9 {identity}")
    machine.only("sun", ahead=20)
    machine.schedule()
    assert sorted(tasks(machine, identity, "assigned")) == [str(task) for task in range(10) if task != 4]
    assert tasks(machine, identity, "assigned")[0] == "9"


def test_an_array_is_held_and_cancelled_as_a_whole(machine: Machine) -> None:
    machine.only("sun", slots=2)
    (identity,) = machine.push("-a 0-9")
    machine.schedule()
    machine.sh(f"cit-hold {identity}")
    machine.schedule()
    assert (tasks(machine, identity, "held"), tasks(machine, identity, "waiting")) == (["2..9"], [])
    machine.sh(f"cit-cancel {identity}")
    machine.schedule()
    assert tasks(machine, identity, "done") == ["2..9"], "one document is the end of all that were never dealt"
    machine.sh(f"{DELIVER}; cit-run -q --from inbox --to finished; cit-deliver -q --from finished")
    assert sorted(tasks(machine, identity, "done")) == ["0", "1", "2..9"]
    ends = {reader.parse(path.read_bytes()).table("result")["state"] for path in (machine.queue / "done").rglob("*.cit")}
    assert ends == {"CANCELLED"}
    machine.schedule()
    assert spool.listing(machine.queue / "control") == []


def test_what_is_left_is_too_late_together(machine: Machine) -> None:
    machine.only("sun", state="drain")
    (identity,) = machine.push("-a 0-9 --deadline now+1h")
    machine.schedule(later=2 * clock.HOUR)
    assert tasks(machine, identity, "done") == ["all"]


def test_an_array_that_nobody_can_take_is_told_once(machine: Machine) -> None:
    machine.push("-a 0-9 -w nobody")
    for _ in range(2):
        machine.schedule()
    assert len(machine.log("waits")) == 1


def test_a_filter_leaves_arrays_alone(machine: Machine) -> None:
    job = machine.sh("cit-trigger -a 1-3 -- true").stdout
    done = machine.sh("cit-schedule --queue @main", stdin=job.encode())
    assert done.stdout == job and "dealt out by its queue" in done.stderr


def test_too_large_an_array_is_refused(machine: Machine) -> None:
    done = machine.sh("(echo '#!/bin/sh'; head -c 300000 /dev/zero | tr '\\0' '#'; echo) | cit-trigger -a 1-3 --script -")
    assert done.returncode == 65 and "256K" in done.stderr
    unsigned = machine.sh("(echo '#!/bin/sh'; head -c 300000 /dev/zero | tr '\\0' '#'; echo) | cit-trigger -n --script -").stdout
    text = re.sub(r"(?m)^created", 'array = "1-3"\ncreated', unsigned, count=1)
    done = machine.sh("cit-trigger --sign | cit-queue -q --to @main", stdin=text.encode())
    assert done.returncode == 65 and "an array of" in done.stderr


def test_a_copy_made_while_tasks_were_dealt_deals_none_of_them_again(machine: Machine) -> None:
    """A replica may hold the array as it was before, and the tasks as they were after (docs/howto/replicate-a-queue.md)."""
    machine.only("sun", slots=3)
    (identity,) = machine.push("-a 0-9")
    before = machine.file(identity, "waiting")
    raw = before.read_bytes()
    machine.sh(f"cit-hold --task 5 {identity}")
    machine.schedule()
    assert tasks(machine, identity, "waiting") == ["3..4", "6..9"] and tasks(machine, identity, "held") == ["5..5"]
    activate.mended(activate.home.Queue(machine.queue.path))
    assert tasks(machine, identity, "waiting") == ["3..4", "6..9"], "parts of one array are no copies of each other"
    for path in [*(machine.queue / "waiting").glob("*.cit"), *(machine.queue / "held").glob("*.cit")]:
        path.unlink()
    before.write_bytes(raw)
    activate.mended(activate.home.Queue(machine.queue.path))
    assert tasks(machine, identity, "waiting") == ["3..9"]


# --- killed anywhere ----------------------------------------------------------------------------------------------------


def test_dealing_killed_anywhere(machine: Machine) -> None:
    """Each task is in one state, or among those that are left; the next pass deals the rest, each once."""
    machine.only("sun", slots=4)
    (identity,) = machine.push("-a 0-5")
    assert machine.sh(f"cit-cancel --task 2 {identity}; cit-hold --task 4 {identity}").returncode == 0
    whole = arrays.parse("0-5")

    def one_pass() -> None:
        turn.Pass(machine.queue, machine.queue / "assigned", 1000).run()

    for number in every_kill(machine, one_pass):
        spool.recover(machine.queue / "waiting")
        spool.recover(machine.queue / "held")
        found: Counter[int] = Counter()
        for state in ("waiting", "held", "assigned", "done"):
            for path in (machine.queue / state).rglob("*.cit"):
                parts = names.parse(path.name)
                if parts and parts.id == identity and ".tmp" not in path.parts:
                    found.update(whole.left(parts))
        assert found == dict.fromkeys(whole.tasks, 1), (number, machine.where(identity))
        one_pass()
        assert sorted(tasks(machine, identity, "assigned")) == ["0", "1", "3", "5"], number
        assert (tasks(machine, identity, "done"), tasks(machine, identity, "held")) == (["2..2"], ["4..4"]), number
        assert not list(machine.queue.path.rglob(".claim/[!.]*")), number


def test_no_task_runs_twice_whoever_deals(machine: Machine) -> None:
    """Passes that are started at once take turns."""
    (identity,) = machine.push("-a 0-99")
    machine.sh(f"for i in 1 2 3; do {SCHEDULE} & done; wait")
    assert sorted(map(int, tasks(machine, identity, "assigned"))) == list(range(100))


@pytest.mark.parametrize("count", [2500])
def test_a_long_array_is_dealt_in_groups(machine: Machine, count: int) -> None:
    machine.only("sun", ahead=count)
    (identity,) = machine.push(f"-a 1-{count}")
    assert machine.schedule().stderr == ""
    assert len(tasks(machine, identity, "assigned")) == count and spool.listing(machine.queue / "waiting") == []
    assert control.targets(machine.queue / "control") == {}
