"""ls, show, why, log, wait, builders, queues over a home in which jobs ended in every way."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from cit_report import places
from cit_report.lookup import fit
from cit_report.places import Copy
from tests.int.cit_report.lived import ENDED, Lived, plain

STATES = {"good": "COMPLETED", "bad": "FAILED", "shot": "FAILED", "late": "TIMEOUT", "missing": "FAILED", "kept": "HELD", "giant": "PENDING"}


def test_ls_tells_states_from_names_and_logs(history: Lived) -> None:
    rows = history.rows("cit-ls")
    assert {row["name"]: row["state"] for row in rows} == STATES
    assert [row["state"] for row in rows[:2]] == ["PENDING", "HELD"], "what is on its way comes first"
    ended = [row["when"] for row in rows[2:]]
    assert ended == sorted(ended, reverse=True)
    assert {row["submitter"] for row in rows} == {"ada@sun"} and {row["queue"] for row in rows} == {"main"}
    assert all(row["builder"] == "sun" and row["elapsed-ms"] for row in rows[2:])


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace on this machine")
def test_ls_opens_no_document(copied: Lived) -> None:
    """What ended is told without reading any of the documents, as long as there are logs."""
    opened = copied.directory / "opened"
    for logs in (True, False):
        copied.run("strace", "-f", "-e", "trace=openat", "-o", opened, "cit-ls", "--all")
        assert bool(re.search(r'openat\([^)]*\.cit"', opened.read_text())) is not logs
        for log in [*copied.queue.glob("log/*.tsv"), *copied.path.glob("log/*.tsv")]:
            log.unlink()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-s", "failed"], {"bad", "shot", "missing"}),
        (["-s", "TIMEOUT,HELD"], {"late", "kept"}),
        (["-J", "g*"], {"good", "giant"}),
        (["--mine", "-s", "COMPLETED"], {"good"}),
        (["--since", "1d", "-s", "TIMEOUT"], {"late"}),
        (["--since", "2099-01-01T00:00:00Z"], {"kept", "giant"}),
        (["--all"], set(STATES)),
    ],
)
def test_ls_selects(history: Lived, options: list[str], names: set[str]) -> None:
    assert {row["name"] for row in history.rows("cit-ls", *options)} == names


def test_ls_mine_is_not_anothers(history: Lived) -> None:
    assert history.run("cit-ls", "--mine", "--tsv", CIT_USER="eve").count("\n") == 1


def test_ls_without_its_logs_looks_into_the_documents(copied: Lived) -> None:
    for log in [*copied.queue.glob("log/*.tsv"), *copied.path.glob("log/*.tsv")]:
        log.unlink()
    assert {row["name"]: row["state"] for row in copied.rows("cit-ls", "--all")} == STATES


def test_ls_of_an_empty_home_makes_nothing(lived: Lived) -> None:
    assert lived.run("cit-ls").count("\n") == 1
    assert "no jobs" in lived.on_terminal("cit-ls")
    assert not lived.path.exists()


def test_ls_shows_what_was_refused_when_asked(copied: Lived) -> None:
    job = copied.run("cit-trigger", "--name", "edited", "--", "true").replace("exec true", "exec false")
    copied.run("cit-queue", "--to", "@main", stdin=job.encode(), status=77)
    assert [row["name"] for row in copied.rows("cit-ls", "-s", "REFUSED")] == ["edited"]
    assert "refused it" in copied.run("cit-why", "edited") and "signature" in copied.run("cit-why", "edited")
    copied.run("cit-wait", "-q", "edited", status=125)


# --- how a job is named -----------------------------------------------------------------------------------------------


def copy(name: str) -> Copy:
    parts = places.names.parse(name)
    assert parts
    return Copy(parts, "/q/waiting", "waiting", "/q")


@pytest.mark.parametrize(
    ("wanted", "rank"),
    [
        ("01kax0m2ht8f0v3q6s9y2c4e7g", 4),
        ("01kax0m2ht8f0v3q6s9y2c4e7g.a1-zlib", 4),
        ("2c4e7g", 3),
        ("2c4e7g-zlib", 3),
        ("e7g", 3),
        ("zlib", 2),
        ("lib", 1),
        ("8f0v", 1),
        ("zlib2", 0),
        ("2c4e7", 1),
    ],
)
def test_how_well_a_piece_fits(wanted: str, rank: int) -> None:
    assert fit(wanted, copy("1000-1795465572031000.01kax0m2ht8f0v3q6s9y2c4e7g.a1-zlib.cit")) == rank


def test_a_job_is_found_by_every_name_it_has(history: Lived) -> None:
    whole = history.run("cit-show", "--id", "bad").strip()
    assert [history.run("cit-show", "--id", word).strip() for word in (whole, whole[-6:], whole[-6:].upper(), f"{whole[-6:]}-bad")] == [whole] * 4
    (history.directory / "bad").write_text("a file is named with its directory, or ends with .cit")
    path = history.run("cit-show", "--path", "bad").strip()
    assert path.endswith(f"done/{path.split('/')[-2]}/{whole}.a1-bad.cit")
    assert history.run("cit-show", "--id", path).strip() == whole


def test_last_is_the_one_that_was_pushed_last(copied: Lived) -> None:
    newest = max(row["id"] for row in copied.rows("cit-ls", "--all"))
    assert copied.run("cit-show", "--id").strip() == newest
    bad = copied.run("cit-show", "--id", "bad").strip()
    (copied.path / "last").write_text(f"{bad} bad\n")
    assert copied.run("cit-show", "--id", "last").strip() == bad


def test_what_fits_nothing_or_several(history: Lived) -> None:
    assert b"no job 'nothing'" in history.completed("cit-show", "nothing").stderr
    assert history.completed("cit-show", "nothing").returncode == 66
    several = history.completed("cit-show", "01")
    assert several.returncode == 2 and b"fits 7 jobs" in several.stderr
    assert history.completed("cit-show", "./no.cit").returncode == 66


# --- show, report, why ------------------------------------------------------------------------------------------------


def test_show_tells_everything(history: Lived) -> None:
    said = dict(line.split("\t", 1) for line in history.run("cit-show", "bad").splitlines())
    assert (said["state"], said["exit"], said["submitter"], said["builder"]) == ("FAILED", "3", "ada@sun", "sun")
    assert said["signatures"] == "ada@sun (cit-job),queue@sun (cit-queue),queue@sun (cit-queue),builder@sun (cit-result)"
    assert (history.path / "work").as_posix() in said["log"] and said["script"] == "echo it goes wrong; exit 3"
    page = history.run("cit-show", "--table", "good")
    for word in ("state", "by", "asked", "runs", "started", "ended", "took", "document", "log", "workspace", "signed"):
        assert re.search(rf"^{word} +\S", page, re.M), page


def test_report_reads_streams_files_and_names(history: Lived) -> None:
    path = history.run("cit-show", "--path", "good").strip()
    stream = b"".join(Path(history.run("cit-show", "--path", name).strip()).read_bytes() for name in ("good", "bad"))
    assert [row["name"] for row in history.rows("cit-report", path, "shot")] == ["good", "shot"]
    said = history.completed("cit-report", "--json", stdin=stream + b"@cit 1 nonsense\n")
    assert said.returncode == 65 and [line.split(b'"')[7] for line in said.stdout.splitlines()] == [b"good", b"bad"]
    assert history.objects("cit-report", "good")[0]["exit"] == 0


def test_report_of_documents_that_are_no_jobs(history: Lived) -> None:
    builder = next((history.queue / "builders").glob("*.cit")).read_bytes()
    ticket = b'@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g zlib\n@begin ticket 1 toml\nstate = "refused"\nwhy = "no signature"\n@end ticket\n'
    rows = [line.split("\t") for line in history.run("cit-report", stdin=builder + ticket).splitlines()[1:]]
    assert [row[2:4] for row in rows] == [["builder", "up"], ["ticket", "refused"]] and rows[1][-1] == "no signature"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("good", "it ended well on sun after"),
        ("bad", "it ended with status 3 on sun after"),
        ("shot", "it was ended by signal 9 (SIGKILL) on sun"),
        ("late", "it ran longer than it may (time = 1s), and was ended on sun"),
        ("missing", "it ended with status 127: a program in it was not found"),
        ("kept", "it is held until somebody releases it"),
        ("giant", "it waits for a builder"),
    ],
)
def test_why_says_what_happened_and_what_to_do(history: Lived, name: str, sentence: str) -> None:
    said = history.run("cit-why", name)
    first, *rest = said.splitlines()
    assert re.match(rf"\w{{6}}-{name} {STATES[name]}: ", first) and sentence in first and first.endswith(".")
    assert any(line.startswith("next: cit ") for line in rest)
    assert "\n" not in history.run("cit-why", "-q", name).strip()


def test_why_shows_the_end_of_the_log_and_the_schedulers_reasons(history: Lived) -> None:
    assert "\n  | it goes wrong\n" in history.run("cit-why", "bad")
    assert re.search(r"\n  \| sun: never: 4000 cpus wanted, has \d+\n", history.run("cit-why", "giant"))
    assert history.objects("cit-why", "bad")[0]["lines"] == ["it goes wrong"]


# --- log, wait --------------------------------------------------------------------------------------------------------


def test_log_is_what_the_job_printed(history: Lived) -> None:
    assert history.run("cit-log", "good") == history.run("cit-log", "-f", "good") == "one\ntwo\n"
    assert history.completed("cit-log", "kept").returncode == 66
    assert Path(history.run("cit-log", "--path", "good").strip()).read_text() == "one\ntwo\n"


def test_log_follows_from_before_the_start_to_the_end(lived: Lived) -> None:
    lived.push("slow", "#!/bin/sh\nfor n in 1 2 3; do echo $n; sleep 0.2; done\nprintf end\n")
    assert lived.run("cit-log", "-f", "slow") == "1\n2\n3\nend"


@pytest.mark.parametrize(("name", "status"), ENDED.items())
def test_wait_exits_as_the_job_did(history: Lived, name: str, status: int) -> None:
    done = history.completed("cit-wait", name)
    assert (done.returncode, done.stdout) == (status, b"")
    assert (f"-{name}: note: " in done.stderr.decode()) is (status != 0)


def test_wait_of_several_and_for_too_long(history: Lived) -> None:
    history.run("cit-wait", "-q", "good", "bad", "late", status=124)
    began = time.monotonic()
    done = history.completed("cit-wait", "kept", "--timeout", "1s")
    assert done.returncode == 75 and b"not ended yet" in done.stderr and time.monotonic() - began < 10
    history.run("cit-wait", "nothing", status=66)


def test_wait_notices_the_end_at_once(lived: Lived) -> None:
    """The kernel tells: with patience far beyond the test's, it still returns."""
    lived.push("short", "#!/bin/sh\nsleep 0.5; exit 4\n")
    patient = "import sys; from cit_report import wait, watch; watch.PATIENCE = 3600; sys.exit(wait.main(['short'], None, None, True))"
    lived.run("python3", "-c", patient, status=4, PYTHONPATH=str(places.__file__).rsplit("/", 2)[0])


def test_wait_waits_for_the_next_attempt(lived: Lived) -> None:
    """A job that will be tried again has not ended: the second start succeeds."""
    script = f"#!/bin/sh\nmkdir {lived.directory}/mark && exit 1\nexit 0\n"
    lived.push("twice", script, "--attempts", "2", "--retry-on", "fail")
    lived.run("cit-wait", "twice")
    assert [row["state"] for row in lived.rows("cit-ls", "--all")] == ["COMPLETED"]


# --- builders, queues, terminals --------------------------------------------------------------------------------------


def test_builders_and_queues(history: Lived) -> None:
    [builder] = history.rows("cit-builders")
    assert (builder["name"], builder["state"], builder["queue"], builder["account"]) == ("sun", "up", "main", "ada@sun")
    [queue] = history.rows("cit-queues")
    assert [queue[key] for key in ("name", "state", "waiting", "held", "done-today")] == ["main", "active", "1", "1", "5"]
    assert queue["oldest"] and queue["last-pass"]


@pytest.mark.parametrize("program", ["cit-ls", "cit-queues", "cit-builders", "cit-trace", "cit-report"])
def test_tables_fit_a_terminal(history: Lived, program: str) -> None:
    words = [program, "good"] if program in ("cit-trace", "cit-report") else [program]
    lines = plain(history.on_terminal(*words)).splitlines()
    assert lines and max(map(len, lines)) <= 80, lines
    coloured = re.compile(r"\x1b\[3\dm")
    assert coloured.search(history.on_terminal("cit-ls")) and not coloured.search(history.on_terminal("cit-ls", NO_COLOR="1"))


def test_output_is_chosen(history: Lived) -> None:
    assert history.on_terminal("cit-ls", "-s", "HELD", "--tsv").startswith("id\tname\t")
    assert history.on_terminal("cit-ls", "-s", "HELD", CIT_OUTPUT="json").startswith('{"id"')
    assert history.run("cit-ls", CIT_OUTPUT="json").startswith("id\tname\t"), "a setting of a person breaks no script"
    assert history.run("cit-ls", "--table").startswith("ID ")
    assert "CIT_OUTPUT is 'xml'" in history.on_terminal("cit-ls", CIT_OUTPUT="xml")
    history.run("cit-ls", "--tsv", "--json", status=2)
