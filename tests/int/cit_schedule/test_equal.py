"""Equal jobs share a run, or are answered by one that was (docs/howto/build-once.md, docs/format/answer.md)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from cit_schedule import turn
from cit_schedule.cit_format import names, reader, same, spool
from cit_schedule.cit_format.document import Document
from tests.int.cit_schedule.conftest import DELIVER, SCHEDULE, Machine
from tests.int.cit_schedule.test_kills import every_kill

RUN = "cit-run -q --from inbox --to finished"
HOME = "cit-deliver -q --from finished"


def push(machine: Machine, options: str = "--same mine", command: str = "", name: str = "job") -> str:
    """One job that leaves a mark when it runs."""
    text = command or f"echo x >> {machine.place}/marks"
    done = machine.sh(f"cit-trigger -J {name} {options} -- sh -c '{text}' | cit-queue -q --to @main")
    assert done.returncode == 0, done.stderr
    return reader.parse(done.stdout.encode()).id


def marks(machine: Machine) -> int:
    path = machine.place / "marks"
    return len(path.read_text().splitlines()) if path.exists() else 0


def done(machine: Machine, identity: str) -> Document:
    """The last document of a job in `done`."""
    found = sorted((machine.queue / "done").rglob(f"{identity}*.cit"), key=lambda path: path.stat().st_size)
    assert found, machine.where(identity)
    return reader.parse(found[-1].read_bytes())


def state(machine: Machine, identity: str) -> str:
    return str(list(done(machine, identity).all("result"))[-1].table()["state"])


def test_what_has_run_is_answered_with_its_result(machine: Machine) -> None:
    first = push(machine)
    machine.tick()
    second = push(machine, name="another-name")
    machine.schedule()
    answered, run = done(machine, second), done(machine, first)
    given = same.answer(answered)
    assert given is not None and same.objection(answered, given, run) == ""
    assert (given.job, given.document) == (first, f"{first}.a1-job.cit") and (state(machine, second), marks(machine)) == ("COMPLETED", 1)
    assert [row[2] for section in answered.all("event") for row in section.rows()] == ["accepted", "answered"]
    assert machine.sh(f"cit-format check {machine.queue.path}/done/*/{second}*.cit").returncode == 0


def test_equal_jobs_that_wait_share_one_run(machine: Machine) -> None:
    first, second, third = push(machine), push(machine), push(machine)
    machine.schedule()
    assert machine.states(first) == ["assigned"] and machine.states(second) == machine.states(third) == ["waiting"]
    assert f"the same runs already, as {first[-6:]}-job" in machine.sh(f"cit-schedule --explain {second}").stdout
    machine.tick()
    machine.schedule()
    assert [state(machine, each) for each in (first, second, third)] == ["COMPLETED"] * 3 and marks(machine) == 1


def test_who_waited_for_a_run_shares_its_failure_and_who_comes_later_does_not(machine: Machine) -> None:
    fails = f"echo x >> {machine.place}/marks; exit 3"
    first, second = push(machine, command=fails), push(machine, command=fails)
    machine.tick()
    third = push(machine, command=fails)
    machine.tick()
    assert [state(machine, each) for each in (first, second, third)] == ["FAILED"] * 3
    assert same.answer(done(machine, second)) and not same.answer(done(machine, third)) and marks(machine) == 2
    assert list(done(machine, second).all("result"))[-1].table()["exit"] == 3


def test_a_run_that_is_tried_again_is_waited_for(machine: Machine) -> None:
    once = f"echo x >> {machine.place}/marks; test -e {machine.place}/ok || ! touch {machine.place}/ok"
    first, second = push(machine, "--same mine --attempts 2 --retry-on fail", once), push(machine, "--same mine --attempts 2 --retry-on fail", once)
    machine.tick()
    machine.schedule()
    assert "waiting" in machine.states(second)
    machine.tick(2)
    assert (state(machine, first), state(machine, second), marks(machine)) == ("COMPLETED", "COMPLETED", 2)


def test_a_job_does_not_wait_for_the_job_that_made_it(machine: Machine) -> None:
    """That one may wait for it: each would wait for the other."""
    first = push(machine)
    machine.schedule()
    inner = machine.sh(f"CIT_JOB_ID={first} cit-trigger --same mine -- sh -c 'echo x >> {machine.place}/marks' | cit-queue -q --to @main")
    machine.schedule()
    assert machine.states(reader.parse(inner.stdout.encode()).id) == ["assigned"]


def test_fresh_runs_all_the_same_and_answers_others(machine: Machine) -> None:
    first = push(machine)
    machine.tick()
    second = push(machine, "--same mine --fresh")
    machine.tick()
    third = push(machine)
    machine.schedule()
    given = same.answer(done(machine, third))
    assert marks(machine) == 2 and given is not None and given.job == second != first


DIFFERENT = ("--export A=1", "-c 2", "--keep x", "--time 1h", "--check true", "--builddir sub", "--config a=b")


def test_another_input_is_another_run(machine: Machine) -> None:
    push(machine)
    machine.tick()
    others = {options: push(machine, f"--same mine {options}") for options in DIFFERENT}
    machine.schedule()
    assert {options: machine.states(other) for options, other in others.items()} == dict.fromkeys(DIFFERENT, ["assigned"])


def test_what_says_nothing_of_the_build_does_not_count(machine: Machine) -> None:
    push(machine)
    machine.tick()
    parent = "--parent 01kax0m2ht8f0v3q6s9y2c4e7g"
    others = {options: push(machine, f"--same mine {options}") for options in ("--priority 9", "--deadline now+1h", "--expires 1h", parent)}
    machine.schedule()
    assert {options: machine.states(other) for options, other in others.items()} == dict.fromkeys(others, ["done"])
    assert marks(machine) == 1


def test_nothing_is_shared_unless_the_signed_job_says_so(machine: Machine) -> None:
    push(machine, "")
    machine.tick()
    others = [push(machine, options) for options in ("", "--same mine", "--same anyone")]
    machine.schedule()
    assert [machine.states(other) for other in others] == [["assigned"]] * 3


def test_cancelling_detaches_one_waiter_and_the_run_stops_with_the_last(machine: Machine) -> None:
    first, second, third = push(machine), push(machine), push(machine)
    machine.sh(f"{SCHEDULE}; {DELIVER}")
    machine.sh(f"cit-cancel {second} {first}")
    machine.sh(f"{SCHEDULE}; {DELIVER}")
    assert state(machine, second) == "CANCELLED" and spool.listing(machine.account / "control") == [], "one still waits for the run"
    machine.sh(f"cit-cancel {third}")
    machine.sh(f"{SCHEDULE}; {DELIVER}")
    assert state(machine, third) == "CANCELLED" and len(spool.listing(machine.account / "control")) == 1
    machine.tick()
    assert state(machine, first) == "CANCELLED" and marks(machine) == 0


def test_a_run_that_was_cancelled_or_lost_answers_nobody(machine: Machine) -> None:
    first, second = push(machine), push(machine)
    machine.sh(f"{SCHEDULE}; {DELIVER}")
    (machine.queue / "waiting" / ".notes").unlink()  # as if the pass had noted nothing: the cancel goes through
    machine.sh(f"cit-cancel {first}; {DELIVER}; {RUN}; {HOME}")
    assert state(machine, first) == "CANCELLED"
    machine.tick()
    assert state(machine, second) == "COMPLETED" and not same.answer(done(machine, second)) and marks(machine) == 1


def test_answers_come_though_no_builder_has_room(machine: Machine) -> None:
    machine.only("sun", slots=1)
    push(machine)
    machine.tick()
    push(machine, "", "sleep 60")
    machine.schedule()
    third = push(machine)
    machine.schedule()
    assert state(machine, third) == "COMPLETED"


def test_the_index_is_made_anew_from_the_documents(machine: Machine) -> None:
    first = push(machine)
    machine.tick()
    (link,) = (machine.queue / "same").iterdir()
    before = os.readlink(link)
    link.unlink()
    (machine.queue / "same" / ("0" * 64)).symlink_to("nobody")
    assert machine.sh("cit-fsck").returncode == 0
    assert {path.name: os.readlink(path) for path in (machine.queue / "same").iterdir()} == {link.name: before} == {link.name: first}
    second = push(machine)
    machine.schedule()
    assert same.answer(done(machine, second))


def test_a_lost_index_costs_a_run_and_no_more(machine: Machine) -> None:
    push(machine)
    machine.tick()
    for path in (machine.queue / "same").iterdir():
        path.unlink()
    second = push(machine)
    machine.tick()
    assert state(machine, second) == "COMPLETED" and marks(machine) == 2


# --- the digest -----------------------------------------------------------------------------------------------------


RECIPE = r"""
sed '/^@begin signature /,$d' "$1" | awk -v first="cit-same 1 $2" '
  BEGIN { print first }
  /^@cit / { next }
  /^@begin job / { inside = 1; next }
  inside && /^@end job$/ { inside = 0; while ((getline line < sorted) > 0) print line; next }
  inside { next }
  { print }' sorted="$3" | sha256sum | cut -d ' ' -f 1
"""


@pytest.mark.parametrize("wish", ["mine", "anyone"])
def test_the_digest_by_other_means(machine: Machine, tmp_path: Path, wish: str) -> None:
    """What the page says, done by sed, sort, awk and sha256sum."""
    made = machine.sh(f"cit-trigger --same {wish} -c 2 --export A=b --keep x --priority 3 -C gcc -C arm -- echo hi").stdout
    (tmp_path / "job.cit").write_text(made)
    out = "created|expires|priority|begin|deadline|hold|parent|chain|watch|same|fresh" + ("|submitter|key" if wish == "anyone" else "")
    keys = [line for line in made.partition("@end job")[0].splitlines()[2:] if not re.match(rf"({out}) = ", line)]
    (tmp_path / "keys").write_text("".join(f"{line}\n" for line in sorted(keys)))
    command = ["sh", "-c", RECIPE, "recipe", tmp_path / "job.cit", wish, tmp_path / "keys"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert said == same.digest(reader.parse(made.encode()))
    assert machine.sh(f"cit-format same {tmp_path}/job.cit").stdout.split("\t")[1:] == ["echo", wish, f"{said}\n"]


def test_sealed_jobs_and_arrays_are_the_same_as_none(machine: Machine) -> None:
    (machine.place / "token").write_text("secret\n")
    (machine.place / "token").chmod(0o600)
    for options in (f"--secret T=@{machine.place}/token", "--seal-results", "--seal-script", "-a 0-3"):
        made = machine.sh(f"cit-trigger -q --same mine {options} -- true").stdout
        assert made and same.asked(reader.parse(made.encode())) == "", options


# --- killed ---------------------------------------------------------------------------------------------------------


def test_a_pass_that_answers_and_joins_killed_anywhere(machine: Machine) -> None:
    machine.only("sun", ahead=9)
    push(machine)
    machine.tick()
    answered = push(machine)
    first, second = push(machine, command="true"), push(machine, command="true")

    def one_pass() -> None:
        turn.Pass(machine.queue, machine.queue / "assigned", 1000).run()

    for number in every_kill(machine, one_pass):
        for identity in (answered, first, second):
            assert len([where for where in machine.where(identity) if ".tmp" not in where]) == 1, (number, identity)
        one_pass()
        one_pass()
        assert (machine.states(answered), machine.states(first), machine.states(second)) == (["done"], ["assigned"], ["waiting"]), number
        assert same.answer(done(machine, answered)), number
        assert names.parse(machine.file(second, "waiting").name)


# --- between people -------------------------------------------------------------------------------------------------


def signed(machine: Machine, person: str, watch: str) -> str:
    """A job for anyone's run by a person, with this `watch`, in the queue."""
    text = f"echo x >> {machine.place}/marks"
    made = f"cit-trigger -n -q --key {machine.place}/{person} --same anyone -- sh -c '{text}' | sed '/^same = /a watch = \"{watch}\"'"
    done = machine.sh(f"{made} | cit-trigger --key {machine.place}/{person} --sign | cit-queue -q --to @main")
    assert done.returncode == 0, done.stderr
    return reader.parse(done.stdout.encode()).id


def test_another_persons_run_answers_where_its_owner_opened_it(machine: Machine) -> None:
    for person in ("ada", "ben"):
        machine.sh(f"ssh-keygen -q -t ed25519 -N '' -f {machine.place}/{person}")
        line = f'{person}@sun namespaces="cit-job" {(machine.place / f"{person}.pub").read_text()}'
        for file in (machine.queue / "allowed_signers", machine.account / "allowed_signers"):
            file.write_text(file.read_text() + line)
    closed = signed(machine, "ada", "me")
    machine.tick()
    other = signed(machine, "ben", "me")
    machine.schedule()
    assert machine.states(other) == ["assigned"], "ada's run is hers"
    machine.tick()
    opened = signed(machine, "ada", "all")
    machine.schedule()
    assert machine.states(opened) == ["assigned"], "ben's run is his"
    machine.tick()
    last = signed(machine, "ben", "me")
    machine.schedule()
    given = same.answer(done(machine, last))
    assert given is not None and given.job == opened != closed and marks(machine) == 3
