"""An array is one to those who look, wait and ask why; its tasks have names of their own (docs/howto/arrays.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cit_report import tally
from tests.int.cit_report.lived import Lived

STATES = {
    "all good": ({"COMPLETED": 3}, "COMPLETED"),
    "one runs": ({"COMPLETED": 3, "RUNNING": 1, "FAILED": 1}, "RUNNING"),
    "one waits": ({"FAILED": 3, "PENDING": 1, "HELD": 1}, "PENDING"),
    "one is held": ({"COMPLETED": 3, "HELD": 1}, "HELD"),
    "the worst end": ({"COMPLETED": 3, "CANCELLED": 1, "TIMEOUT": 1}, "TIMEOUT"),
    "failed before all": ({"NODE_FAIL": 3, "FAILED": 1}, "FAILED"),
    "cancelled": ({"COMPLETED": 3, "CANCELLED": 1}, "CANCELLED"),
}


@pytest.mark.parametrize("case", STATES)
def test_state_of_the_whole(case: str) -> None:
    counts, expected = STATES[case]
    assert tally.state_of(counts) == expected


def test_tasks_in_words() -> None:
    assert tally.shortened([4]) == "task 4" and tally.shortened([4, 5, 6, 9]) == "tasks 4-6,9"
    assert tally.shortened(range(0, 200, 2)).endswith(",...") and len(tally.shortened(range(0, 200, 2))) < 80
    assert tally.counted({"PENDING": 2, "COMPLETED": 7}) == "7 COMPLETED, 2 PENDING"


@pytest.fixture
def ended(lived: Lived) -> Lived:
    """An array of four, one of which failed, and one that nobody takes, of which a task is cancelled."""
    lived.run("cit-push", "-q", "-a", "1-4%2", "-J", "many", "--", "sh", "-c", "echo task $CIT_TASK; test $CIT_TASK != 3")
    lived.run("cit-wait", "-q", "many", status=1)
    lived.run("cit-push", "-q", "-a", "1-9", "-w", "nobody", "-J", "idle", "--", "true")
    lived.run("cit-cancel", "idle_4")
    lived.run("cit-wait", "-q", "--timeout", "50s", "idle_4", status=143)
    return lived


def test_an_array_as_one_and_task_by_task(ended: Lived) -> None:
    rows = {row["name"]: row for row in ended.rows("cit-ls")}
    assert [(rows[name]["state"], rows[name]["tasks"]) for name in ("many", "idle")] == [("FAILED", "4 of 4"), ("PENDING", "1 of 9")]
    identity = rows["many"]["id"]
    one_by_one = {row["id"]: row["state"] for row in ended.rows("cit-ls", "many")}
    assert one_by_one == {f"{identity}_{task}": "FAILED" if task == 3 else "COMPLETED" for task in (1, 2, 3, 4)}
    assert {row["id"] for row in ended.rows("cit-ls", "--tasks", "-s", "FAILED", "--mine")} == {f"{identity}_3"}
    assert [row["id"] for row in ended.rows("cit-ls", "-s", "FAILED")] == [identity]
    assert ended.run("cit-show", "--bad", "many").strip() == "3"
    assert ended.run("cit-log", "many_2") == "task 2\n" and "each task has a log" in ended.completed("cit-log", "many").stderr.decode()
    assert ended.run("cit-show", "--id", identity[-6:]).strip() == identity and Path(ended.run("cit-show", "--path", "many").strip()).exists()
    assert ended.run("cit-show", "--id", "last_4").strip().endswith("_4")
    for word in ("many", identity, identity[-6:], f"{identity[-6:]}-many"):
        assert "3 COMPLETED, 1 FAILED, of 4 tasks; task 3 ended badly" in ended.run("cit-why", "-q", word), word
    assert "ended with status 1" in ended.run("cit-why", "-q", "many_3")
    assert "TASKS" in ended.on_terminal("cit-ls")
    [told] = [json.loads(line) for line in ended.run("cit-why", "--json", "idle").splitlines()]
    assert told["why"] == "8 PENDING, 1 CANCELLED, of 9 tasks" or told["why"] == "1 CANCELLED, 8 PENDING, of 9 tasks"
    assert any("never" in line for line in told["lines"])
    idle = rows["idle"]["id"][-6:]
    assert f"{idle}_7-idle PENDING" in ended.run("cit-why", "-q", f"{idle}_7-idle")
    assert "cancelled" in ended.run("cit-why", "-q", "idle_4") and "PENDING" in ended.run("cit-why", "-q", "idle_7")
    ended.run("cit-why", "many_9", status=66)
    ended.run("cit-cancel", "many", status=1)
    ended.run("cit-cancel", "many_3", status=1)
    assert ended.run("cit-fsck") == "path\twhat\tmend\n"
    [rest] = (ended.queue / "waiting").glob("*_5..9-idle.cit")
    rest.rename(rest.with_name(rest.name.replace("_5..9", "_4..9")))
    assert "task 4 of it lies elsewhere too" in ended.run("cit-fsck", status=1)


def test_what_failed_is_queued_again_as_an_array(ended: Lived) -> None:
    def arrays() -> list[str]:
        texts = [path.read_text() for path in ended.queue.rglob("*-many.cit") if ".tmp" not in path.parts]
        return sorted({line for text in texts for line in text.splitlines() if line.startswith("array = ")})

    ended.run("cit-requeue", "--failed", "many")
    ended.run("cit-wait", "-q", "last", status=1)
    assert arrays() == ['array = "1-4%2"', 'array = "3%2"']
    assert [row["tasks"] for row in ended.rows("cit-ls", "-s", "FAILED")] == ["1 of 1", "4 of 4"]
    ended.run("cit-requeue", f"{ended.rows('cit-ls', '-s', 'FAILED')[1]['id']}_2")
    ended.run("cit-wait", "-q", "last")
    assert arrays() == ['array = "1-4%2"', 'array = "2%2"', 'array = "3%2"']
    assert "no task of idle has failed" in ended.completed("cit-requeue", "--failed", "idle").stderr.decode()
