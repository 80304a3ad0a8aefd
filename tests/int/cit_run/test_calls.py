"""Calls of build interfaces: checked by the interface's own word, run without a shell, shown as it says (docs/format/interface.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cit_run.cit_format import body, document, home, keys, reader, spool
from cit_run.cit_format.document import Document
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench
from tests.int.cit_trigger.desk import NASTY

HEAD = ["-", "interface", "-", "-", "-", "-", "Prints what it is given."]
ROWS = [
    HEAD,
    ["version", "string", "1..8", "[0-9.]+", "1", "-", "Which version."],
    ["tests", "bool", "-", "-", "0..1", "true", ""],
]
VIEW = ["--public", "view", "-", "-", "-", "-", "How many lines."]


def offer(bench: Bench, rows: list[list[str]], act: str = 'printf "%s\\0" "$@"', view: str = "wc -l", name: str = "zlib") -> Path:
    """An interface of the account: what it says of itself, does, and shows to outsiders."""
    (bench.account / "interfaces" / f".{name}.tsv").write_bytes(body.tsv(rows))
    program = bench.account / "interfaces" / name
    program.write_text(f"#!/bin/sh\ncase $1 in\n--describe) cat .{name}.tsv ;;\n--public) {view} ;;\n*) {act} ;;\nesac\n")
    program.chmod(0o700)
    return program


def call(bench: Bench, said: dict[str, object], *sections: bytes, **more: object) -> Document:
    """A job that calls, as its author signs it."""
    job = bench.job("", *sections, name="called", **more)
    first, *others = [job.raw[section.start : section.end] for section in job.sections if section.kind not in ("script", "signature")]
    called = document.section("call", "toml", body.toml({"interface": "zlib", **said}))
    return home.signed(document.new("called", first, called, *others), bench.person, home.person(), "cit-job")


def send(bench: Bench, said: dict[str, object], *sections: bytes, **more: object) -> Document:
    job = bench.assigned(call(bench, said, *sections, **more))
    bench.give(job)
    return job


def arguments(bench: Bench, job: Document) -> list[str]:
    """What the interface was given."""
    log = bench.account / "work" / f"{job.id}.a1-{job.name}.log"
    return log.read_bytes().decode().split("\0")[:-1]


def test_it_runs_with_its_parameters(bench: Bench) -> None:
    """As the account, in the workspace, with what other jobs find; defaults among the arguments."""
    offer(bench, ROWS, 'printf "%s\\0" "$@" "$PWD" "$CIT_JOB_ID" "$MARK"; echo made >out')
    env, keep = document.section("env", "tsv", b"MARK\tset\n"), document.section("keep", "tsv", b"out\n")
    job = send(bench, {"version": "1.3"}, env, keep)
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED" and bench.events(job) == ["received", "started", "ended"]
    assert arguments(bench, job) == ["--version=1.3", "--tests=true", str(bench.account / "work" / "called" / "0"), job.id, "set"]
    kept = [row[2] for section in bench.finished(job).all("artefact") for row in section.rows()]
    assert [path.rpartition("/")[2] for path in kept] == [f"{job.id}.a1-called.log", "out"]
    assert body.rows((bench.record(job) / "call").read_bytes())[0][1:] == ["--version=1.3", "--tests=true"]


def test_nasty_strings_arrive_as_they_are(bench: Bench) -> None:
    """No shell, no pattern, no option parser: byte for byte, whatever stands in them (promise 22)."""
    offer(bench, [HEAD, ["text", "string", "..6000", "-", "0..", "-", ""]])
    strings = [text for text in NASTY if text.isprintable() or text.encode("utf-8", "replace").decode() == text]
    strings += [f"{start}{text}{end}" for text in strings for start, end in (("", "\n"), ("'", "'"), ("$(", ")"), ("--", "=x"))]
    assert len(strings) > 200
    job = send(bench, {"text": strings})
    bench.run()
    assert arguments(bench, job) == [f"--text={text}" for text in strings]
    assert not list(bench.account.path.rglob("gone"))


DECLINED = {
    "pattern": ({"version": "1.x"}, "parameter version is '1.x'"),
    "unknown": ({"version": "1", "v": "1"}, "zlib has no parameter 'v'"),
    "missing": ({}, "parameter version is needed"),
    "a NUL": ({"version": "1\0"}, "parameter version holds a NUL"),
}


@pytest.mark.parametrize("case", DECLINED)
def test_parameters_that_do_not_fit(bench: Bench, case: str) -> None:
    """Signed by who had another description, or none: it ends before it begins, and says which parameter."""
    said, why = DECLINED[case]
    offer(bench, ROWS)
    job = send(bench, said)
    bench.run()
    result = bench.result(job)
    assert (result["state"], result["exit"], bench.events(job)) == ("FAILED", 65, ["received", "ended"])
    assert why in str(result["why"]) and not bench.record(job).exists()


def test_what_is_not_offered_goes_back(bench: Bench) -> None:
    """No such interface, one that others can write, one that does not describe itself: another builder may have it."""
    jobs = {}
    offer(bench, ROWS, name="open").chmod(0o722)
    offer(bench, [["nonsense"]], name="broken")
    for name in ("zlib", "open", "broken", "../../bin/sh", "can_build_x"):
        jobs[name] = send(bench, {"interface": name, "version": "1"})
    bench.run()
    for name, job in jobs.items():
        done = reader.parse(next((bench.account / "finished").glob(f"*{job.id}*")).read_bytes())
        said = [row for section in done.all("event") for row in section.rows() if row[2] == "void"]
        assert len(said) == 1 and done.find("result") is None, name
        why = {"zlib": "no interface zlib here", "open": "others can write", "broken": "does not describe itself"}.get(name, "no interface")
        assert why in said[0][5]


def test_it_is_looked_at_as_it_is_when_the_job_begins(bench: Bench) -> None:
    """Taken while another job runs, begun when the interface has changed: the description of that moment counts."""
    offer(bench, ROWS)
    wait = bench.send("#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done\n", name="first")
    job = send(bench, {"version": "1.3"})
    started = bench.start("--slots", "1")
    while not bench.runs(wait):
        assert started.poll() is None
    offer(bench, [HEAD, ["version", "int", "-", "-", "1", "-", ""]])
    (bench.account / "work" / "first" / "0" / "go").touch()
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 0, errors
    assert "parameter version is '1.3', no integer" in str(bench.result(job)["why"])


def test_as_a_filter(bench: Bench) -> None:
    offer(bench, ROWS)
    done = bench.filtered(call(bench, {"version": "1.3"}))
    assert done.returncode == 0 and reader.parse(done.stdout).table("result")["state"] == "COMPLETED"
    refused = bench.filtered(call(bench, {"version": "x"}))
    assert refused.returncode == 65 and b"parameter version" in refused.stderr and refused.stdout == b""
    assert bench.filtered(call(bench, {"interface": "other"})).returncode == 66


def test_a_script_and_a_call_are_no_job(bench: Bench) -> None:
    offer(bench, ROWS)
    job = bench.job("#!/bin/sh\n", document.section("call", "toml", b'interface = "zlib"\nversion = "1"\n'))
    assert bench.filtered(job).returncode == 65


def test_a_public_view(bench: Bench) -> None:
    """What the filter prints lies beside the log and is an artefact; where it fails nothing is shown."""
    offer(bench, [*ROWS, VIEW], "echo one; echo two", 'shift; echo "$(wc -l) lines of $1"')
    job = send(bench, {"version": "1.3"}, watch="all")
    bench.run()
    view = bench.account / "work" / f"{job.id}.a1-called.public"
    assert view.read_text() == "2 lines of --version=1.3\n"
    paths = [row[2] for section in bench.finished(job).all("artefact") for row in section.rows()]
    assert paths == [f"work/{job.id}.a1-called.log", f"work/{job.id}.a1-called.public"]
    eve = keys.generate(bench.home / "eve", "eve@sun")
    with open(bench.account / "allowed_signers", "a") as stream:
        stream.write(f'eve@sun namespaces="cit-job" {eve.public.line}\n')
    door = [str(CHECKOUT / "bin" / "cit-queue"), f"--door=log {job.id}.a1-called 0", "--role", "reader", "--for"]
    seen = {who: subprocess.run([*door, who], capture_output=True, timeout=60).stdout for who in ("eve@sun", home.person())}
    assert seen == {"eve@sun": b"2 lines of --version=1.3\n", home.person(): b"one\ntwo\n"}
    offer(bench, [*ROWS, VIEW], "echo secret; exit 3", "cat; exit 1")
    job = send(bench, {"version": "1.3"}, watch="all")
    bench.run()
    assert (bench.account / "work" / f"{job.id}.a1-called.public").read_text() == "" and bench.result(job)["exit"] == 3


def test_a_kill_loses_and_doubles_nothing(bench: Bench) -> None:
    """cit-run killed while calls run: the next pass ends them, each begun once."""
    marks = bench.home / "marks"
    offer(bench, ROWS, f'echo "$CIT_JOB_ID" >>{marks}; sleep 1')
    jobs = [send(bench, {"version": "1.3"}) for _ in range(3)]
    started = bench.start("--slots", "2")
    while not bench.runs(jobs[0]):
        assert started.poll() is None
    started.kill()
    started.communicate()
    bench.run("--slots", "2")
    assert sorted(marks.read_text().split()) == sorted(job.id for job in jobs)
    assert [bench.result(job)["state"] for job in jobs] == ["COMPLETED"] * 3 and not spool.listing(bench.account / "running")
