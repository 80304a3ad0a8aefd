"""What is decided about jobs that another engine runs, and the words that Slurm gets and gives; the engine itself: tests/cluster/test_slurm.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cit_run import attempt
from cit_run.attempt import Attempt
from cit_run.cit_format import clock, control, names, reader
from cit_run.cit_format.body import Time
from cit_run.cit_format.errors import CitError
from cit_run.kinds import engine, handed, slurm_terms, turn
from cit_run.kinds.engine import ENDED, PENDING, RUNNING, State
from cit_run.kinds.handed import Handed
from cit_run.shim import Ending, Status
from tests.int.cit_run.kit import Bench

ID = "01kax0m2ht8f0v3q6s9y2c4e7g"
MINE = "01kax0m2ht8f0v3q6s9y2c4e7g.a1-zlib"
CANCEL = control.Wish("", "cancel", ID, None, None, "", "", "", "", 0, 0)
WAITS, RUNS = State("7", PENDING, "PENDING"), State("7", RUNNING, "RUNNING")
NO = control.Standing()


def over(end: str) -> State:
    return State("7", ENDED, end.upper(), end)


def end(why: str = "", number: int = 0) -> Ending:
    return Ending(0, number, why, 1, 2, {})


# record, state, handed, verdict, wished, paused: what is done
ACTS = {
    "new": (None, None, Handed(), attempt.START, NO, False, turn.HAND_OVER),
    "new, but held": (None, None, Handed(), attempt.HOLD, NO, False, turn.BACK),
    "new, but cancelled": (None, None, Handed(), attempt.CANCEL, NO._replace(cancel=CANCEL), False, turn.NOT_BEGUN),
    "new, but its call does not fit": (None, None, Handed(), attempt.FAULT, NO, False, turn.NOT_BEGUN),
    "waits, and its interface is another one now": (None, WAITS, Handed("7"), attempt.FAULT, NO, False, engine.CANCEL),
    "forgotten there": (None, None, Handed("7"), attempt.START, NO, False, turn.ENDED_THERE),
    "forgotten there, too late": (None, None, Handed("7"), attempt.VOID, NO, False, turn.NOT_BEGUN),
    "forgotten there, still supervised": ("running", None, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "forgotten there, supervisor dead": ("lost", None, Handed("7"), attempt.START, NO, False, turn.ENDED_THERE),
    "waits": (None, WAITS, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "waits, ID not noted": (None, WAITS, Handed(), attempt.START, NO, False, turn.WAIT),
    "waits, cancelled": (None, WAITS, Handed("7"), attempt.CANCEL, NO._replace(cancel=CANCEL), False, engine.CANCEL),
    "waits too long": (None, WAITS, Handed("7"), attempt.VOID, NO, False, engine.CANCEL),
    "waits, deadline": (None, WAITS, Handed("7"), attempt.DEADLINE, NO, False, engine.CANCEL),
    "waits for ever": (None, WAITS._replace(never=True), Handed("7"), attempt.START, NO, False, turn.DECLINE),
    "declined, not yet gone": (None, WAITS, Handed("7", declined="no"), attempt.START, NO, False, engine.CANCEL),
    "declined": (None, over("cancel"), Handed("7", declined="no"), attempt.START, NO, False, turn.NOT_BEGUN),
    "waits, to be held": (None, WAITS, Handed("7"), attempt.HOLD, NO._replace(held=True), False, engine.HOLD),
    "waits, is held": (None, WAITS._replace(held=True), Handed("7"), attempt.HOLD, NO._replace(held=True), False, turn.WAIT),
    "waits, to be released": (None, WAITS._replace(held=True), Handed("7"), attempt.START, NO._replace(held=False), False, engine.RELEASE),
    "held by somebody else": (None, WAITS._replace(held=True), Handed("7"), attempt.START, NO, False, turn.WAIT),
    "waits once more, too late for a beginning": ("lost", WAITS, Handed("7"), attempt.VOID, NO, False, turn.WAIT),
    "its check said no": (end("check"), over("failed"), Handed("7"), attempt.START, NO, False, turn.END),
    "its check took too long": (end("check", 15), over("failed"), Handed("7"), attempt.START, NO, False, turn.END),
    "runs": ("running", RUNS, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "runs, to be stopped": ("running", RUNS, Handed("7"), attempt.HOLD, NO._replace(held=True), False, engine.PAUSE),
    "just starts, to be stopped": (None, RUNS, Handed("7"), attempt.HOLD, NO._replace(held=True), False, turn.WAIT),
    "stopped": ("running", RUNS, Handed("7"), attempt.HOLD, NO._replace(held=True), True, turn.WAIT),
    "stopped, to go on": ("running", RUNS, Handed("7"), attempt.START, NO._replace(held=False), True, engine.RESUME),
    "runs, cancelled": ("running", RUNS, Handed("7"), attempt.CANCEL, NO._replace(cancel=CANCEL), False, engine.STOP),
    "cancelled, but runs on": ("running", RUNS, Handed("7", stopped=True), attempt.CANCEL, NO._replace(cancel=CANCEL), False, engine.CANCEL),
    "cancelled while it starts": (None, RUNS, Handed("7"), attempt.CANCEL, NO._replace(cancel=CANCEL), False, engine.CANCEL),
    "cancelled, no supervisor any more": ("lost", RUNS, Handed("7"), attempt.CANCEL, NO._replace(cancel=CANCEL), False, engine.CANCEL),
    "cancelled, killed by somebody": (end(number=15), RUNS, Handed("7"), attempt.CANCEL, NO._replace(cancel=CANCEL), False, turn.WAIT),
    "runs, no supervisor any more": ("lost", RUNS, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "ended": (end(), RUNS, Handed("7"), attempt.START, NO, False, turn.END),
    "ended over its time": (end("time"), RUNS, Handed("7"), attempt.START, NO, False, turn.END),
    "ended by a signal of its own": (end(number=11), RUNS, Handed("7"), attempt.START, NO, False, turn.END),
    "killed by somebody": (end(number=9), RUNS, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "killed by somebody, and told why": (end(number=9), over("memory"), Handed("7"), attempt.START, NO, False, turn.END),
    "killed by somebody, forgotten": (end(number=9), None, Handed("7"), attempt.START, NO, False, turn.END),
    "cancelled there": (end("cancel"), RUNS, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "cancelled by us": (end("cancel", 15), RUNS, Handed("7"), attempt.CANCEL, NO._replace(cancel=CANCEL), False, turn.END),
    "requeued": (end("cancel"), WAITS, Handed("7"), attempt.START, NO, False, turn.WAIT),
    "left alone by its step": (None, over("done"), Handed("7"), attempt.START, NO, False, turn.HAND_OVER),
    "left alone for a hold": (None, over("done"), Handed("7"), attempt.HOLD, NO._replace(held=True), False, turn.BACK),
    "left alone for a deadline": (None, over("done"), Handed("7"), attempt.DEADLINE, NO, False, turn.NOT_BEGUN),
    "its node could not begin it": (None, over("failed"), Handed("7"), attempt.START, NO, False, turn.NOT_BEGUN),
    "cancelled there before it began": (None, over("cancel"), Handed("7"), attempt.START, NO, False, turn.ENDED_THERE),
    "its node failed before it began": (None, over("lost"), Handed("7"), attempt.START, NO, False, turn.ENDED_THERE),
    "its supervisor died": ("lost", over("failed"), Handed("7"), attempt.START, NO, False, turn.ENDED_THERE),
    "its node died, the lock did not": ("running", over("lost"), Handed("7"), attempt.START, NO, False, turn.ENDED_THERE),
}


@pytest.mark.parametrize("case", ACTS)
def test_what_is_done(case: str) -> None:
    *given, expected = ACTS[case]
    assert turn.act(*given) == expected


UNASKED = {
    "ended": (end(), False, attempt.START, turn.END),
    "killed by somebody": (end(number=9), False, attempt.START, turn.WAIT),
    "perhaps handed over": (None, False, attempt.VOID, turn.WAIT),
    "too late, just taken": (None, True, attempt.VOID, turn.NOT_BEGUN),
    "just taken": (None, True, attempt.START, turn.WAIT),
}


@pytest.mark.parametrize("case", UNASKED)
def test_what_is_done_while_it_is_silent(case: str) -> None:
    record, fresh, verdict, expected = UNASKED[case]
    assert turn.unasked(record, fresh, verdict, NO) == expected


@pytest.mark.parametrize(
    ("said", "why"),
    [("time", "time"), ("memory", "memory"), ("lost", "lost"), ("deadline", "deadline"), ("cancel", "cancel"), ("done", "lost"), ("failed", "lost")],
)
def test_ends_that_only_the_engine_knows(said: str, why: str) -> None:
    found = turn.ending(Status(begun=5), over(said)._replace(ended=9), 77)
    assert (found.why, found.started, found.ended) == (why, 5, 9)
    assert turn.ending(None, None, 77) == Ending(0, 0, "lost", 0, 77, {})


def test_a_signal_gets_its_reason() -> None:
    killed = end(number=9)
    assert turn.refined(killed, over("memory"), 0).why == "memory"
    assert turn.refined(end("cancel"), over("time"), 0).why == "time"
    assert {turn.refined(end("cancel"), each, 0).why for each in (over("failed"), over("done"), None)} == {"lost"}, "nobody here wished it"
    assert turn.refined(killed, over("failed"), 0) == turn.refined(killed, over("done"), 0) == turn.refined(killed, None, 0) == killed


def test_the_end_of_a_start_that_never_was() -> None:
    """Killed and put back; what Slurm then says FAILED is that its node would not begin it once more."""
    killed, again = end(number=15), over("failed")._replace(restarts=1)
    assert turn.refined(killed, again, 0).why == "lost"
    assert turn.refined(killed, again, 1) == killed, "it ended in its second start"


# --- Slurm's words ----------------------------------------------------------------------------------------------------


def wanted(task: int | None = None, number: int = 1, **said: Any) -> Attempt:
    own = str(names.FileName(ID, "zlib", "", task, number))[: -len(".cit")]
    job = reader.parse(b"@cit 1 %s zlib\n@begin job 1 toml\n@end job\n" % ID.encode())
    return Attempt(f"{own}.cit", job, own, said, number, task, 0)


LIMITS = {
    "none": ({}, ["--cpus-per-task=1"]),
    "all": (
        {"cpus": 3, "time": "1h", "mem": "4G", "tmp": "500K", "constraint": ["gcc", "debian-12"], "begin": Time(clock.parse("2026-12-01T08:30:00Z"))},
        ["--cpus-per-task=3", "--time=60", "--mem=4096M", "--tmp=1M", '--constraint="gcc"', "--begin=2026-12-01T08:30:00"],
    ),
    "minutes are begun": ({"time": "61s"}, ["--cpus-per-task=1", "--time=2"]),
    "stands back": ({"nice": 10}, ["--cpus-per-task=1", "--nice=10"]),
    "two features": ({"constraint": ["gcc", "fast"]}, ["--cpus-per-task=1", '--constraint="gcc&fast"']),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits_in_words_of_sbatch(case: str) -> None:
    said, expected = LIMITS[case]
    assert slurm_terms.limits(wanted(**said), frozenset(["gcc", "fast"])) == expected


def test_script_of_a_job() -> None:
    text = slurm_terms.script([wanted()], frozenset(), '/a b/50%/"x"', "--partition=short", ["/p y/python", "-c", "x = 1"])
    assert text == (
        "#!/bin/sh\n#SBATCH --partition=short\n"
        f"#SBATCH --job-name={MINE}\n#SBATCH --comment={ID}\n#SBATCH --nodes=1\n#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=1\n"
        f'#SBATCH --export=ALL\n#SBATCH --open-mode=append\n#SBATCH --output="/a b/50%%/\\"x\\"/{MINE}.run/slurm.out"\n#SBATCH --no-requeue\n'
        f"exec '/p y/python' -c 'x = 1' {MINE}\n"
    )


def test_script_of_an_array() -> None:
    text = slurm_terms.script([wanted(2), wanted(17)], frozenset(), "/work", "", ["step"])
    assert f"--job-name={MINE}\n" in text and "--array=2,17\n" in text
    assert f'--output="/work/{ID}_%a.a1-zlib.run/slurm.out"' in text
    assert text.endswith(f"exec step {ID}_${{SLURM_ARRAY_TASK_ID}}.a1-zlib\n")
    alone = slurm_terms.script([wanted(2)], frozenset(), "/work", "", ["step"])
    assert f"--job-name={ID}_2.a1-zlib\n" in alone and "--array" not in alone and alone.endswith(f"exec step {ID}_2.a1-zlib\n")


def test_tasks_go_together() -> None:
    tasks = [wanted(1), wanted(), wanted(2), wanted(3, number=2)]
    assert [[each.task for each in group] for group in slurm_terms.groups(tasks)] == [[1, 2], [None], [3]]


@pytest.mark.parametrize(
    ("said", "restarts", "expected"),
    [
        ({}, 1, False),
        ({"attempts": 2}, 1, False),
        ({"attempts": 2, "retry-on": ["fail"]}, 1, False),
        ({"attempts": 2, "retry-on": ["lost"]}, 1, True),
        ({"attempts": 2, "retry-on": ["lost"]}, 2, False),
        ({"attempts": 3, "retry-on": ["fail", "lost"]}, 2, True),
    ],
)
def test_a_requeue_needs_the_authors_word(said: dict[str, Any], restarts: int, expected: bool) -> None:
    assert turn.may_begin_anew(wanted(**said), restarts) is expected
    assert ("#SBATCH --requeue" in slurm_terms.script([wanted(**said)], frozenset(), "/w", "", [])) is turn.may_begin_anew(wanted(**said), 1)


STATES = {
    "PENDING": (PENDING, ""),
    "CONFIGURING": (PENDING, ""),
    "RUNNING": (RUNNING, ""),
    "COMPLETING": (RUNNING, ""),
    "SUSPENDED": (RUNNING, ""),
    "A_WORD_OF_TOMORROW": (RUNNING, ""),
    "COMPLETED": (ENDED, "done"),
    "FAILED": (ENDED, "failed"),
    "TIMEOUT": (ENDED, "time"),
    "CANCELLED by 1000": (ENDED, "cancel"),
    "CANCELLED+": (ENDED, "cancel"),
    "NODE_FAIL": (ENDED, "lost"),
    "BOOT_FAIL": (ENDED, "lost"),
    "PREEMPTED": (ENDED, "lost"),
    "OUT_OF_MEMORY": (ENDED, "memory"),
    "DEADLINE": (ENDED, "deadline"),
}


@pytest.mark.parametrize("word", STATES)
def test_states_of_slurm(word: str) -> None:
    found = slurm_terms.state("7", word, "None", "2026-11-24T03:57:35", "n1")
    assert (found.phase, found.end) == STATES[word]
    assert found.ended == (clock.parse("2026-11-24T03:57:35Z") if found.phase == ENDED else 0)


def test_lines_of_squeue() -> None:
    """Jobs of others, of other programs, and odd lines are nothing to us; of two of one name the one that is under way counts."""
    shown = "\n".join(
        [
            f"3_17\tPENDING\tResources\tN/A\t\t2\t{MINE}\t",
            f"4\tCOMPLETED\tNone\t2026-11-24T03:57:35\tn1\t0\t{MINE}\t",
            f"5\tRUNNING\tNone\tN/A\tn2\t0\t{MINE}\t",
            f"6\tCANCELLED\tNone\tN/A\t\t0\t{MINE}\t",
            f"7\tPENDING\tJobHeldUser\tN/A\t\t0\t{ID}_3.a2-other\t",
            f"8\tPENDING\tPartitionConfig\tN/A\t\t0\t{ID}_4.a2-other\t",
            "9\tRUNNING\tNone\tN/A\tn2\t0\tsomebody's\tjob\t",
            f"10\tRUNNING\tNone\tN/A\tn2\t0\t{ID}-no-attempt\t",
            "half a line",
        ]
    )
    found = slurm_terms.present(shown)
    assert {own: state.id for own, state in found.items()} == {
        f"{ID}_17.a1-zlib": "3_17",
        MINE: "5",
        f"{ID}_3.a2-other": "7",
        f"{ID}_4.a2-other": "8",
    }
    assert (found[f"{ID}_17.a1-zlib"].told, found[f"{ID}_17.a1-zlib"].restarts) == ("PENDING Resources", 2)
    assert found[f"{ID}_3.a2-other"].held and found[f"{ID}_4.a2-other"].never


def test_lines_of_sacct() -> None:
    found = slurm_terms.past(f"12|FAILED|127:0|2026-11-24T03:57:35|n1|{MINE}\n13_4|TIMEOUT|0:0|Unknown||{MINE}\n")
    assert found[MINE] == State("12", ENDED, "FAILED exit 127:0", "failed", clock.parse("2026-11-24T03:57:35Z"), node="n1")
    assert found[f"{ID}_4.a1-zlib"].end == "time"


def test_what_a_record_says(tmp_path: Path) -> None:
    record = str(tmp_path / "record")
    assert handed.read(record) == Handed()
    handed.note(record, "handed", id="7")
    handed.note(record, "state", **{"is": "PENDING \tRes\nources\x1b"})
    handed.note(record, "restarted", count=1)
    found = handed.read(record)
    assert (found.id, found.told, len(found.restarts), found.declined) == ("7", "PENDING Res ources", 1, "")
    handed.note(record, "declined", why="Slurm: no")
    assert handed.read(record).declined == "Slurm: no"
    handed.note(record, "handed", id="8")
    assert (handed.read(record).declined, len(handed.read(record).restarts)) == ("", 1)


def test_unknown_kind(bench: Bench) -> None:
    """78, and the job stays."""
    job = bench.send("#!/bin/sh\n")
    bench.set(kind="abacus")
    assert "kind 'abacus' is not known" in bench.run(status=78)
    assert len(bench.names("inbox")) == 1 and job.id in bench.names("inbox")[0]
    with pytest.raises(CitError):
        engine.engine_of(bench.account, "abacus")


def test_no_slurm_here(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """75, said in plain words; the job stays, and one that is cancelled ends all the same."""
    (tmp_path / "slurm.conf").write_text("none\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))  # where its programs are here, they find no cluster
    bench.set(kind="slurm", on_end="")
    stays = bench.send("#!/bin/sh\n", name="stays")
    cancelled = bench.send("#!/bin/sh\n", name="cancelled")
    bench.wish(cancelled, "cancel")
    said = bench.run(status=75)
    assert ("warning: Slurm does not answer" in said or "warning: no squeue on PATH" in said) and "hint: " in said
    assert bench.result(cancelled)["state"] == "CANCELLED"
    assert [name for name in bench.names("inbox") if stays.id in name]
    assert bench.run("-q", status=75) == "", "cron is not told each minute"
