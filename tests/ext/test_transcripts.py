"""README and the walks in docs/ do what they show: every ```console block is typed in a fresh home, on a terminal of 80 columns.

`$ COMMAND` is typed as it stands, in one shell a page; then come the lines that it must print and, where it is not 0, its status
as `[N]`. A line `...` stands for any lines. What no two runs have in common (IDs, times, durations, sizes, digests) is compared by its shape.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.int.cit_report.lived import BIN, CRONTAB, Lived, plain

CHECKOUT = BIN.parent
FIRST = "docs/first-job.md"  # begins where there is nothing
PAGES = [
    "README.md",
    FIRST,
    "docs/stages/report.md",
    "docs/howto/when-a-job-fails.md",
    "docs/howto/cron.md",
    "docs/howto/hold-and-cancel.md",
    "docs/howto/why-does-it-wait.md",
]
PAGES += [
    "docs/howto/secrets.md",
    "docs/howto/fetch-results.md",
    "docs/howto/try-again.md",
    "docs/howto/jobs-that-make-jobs.md",
    "docs/howto/build-once.md",
]
PAGES += ["docs/howto/artefacts.md", "docs/howto/module-as-a-service.md"]
PAGES += ["docs/howto/limits.md"]
PAGES += ["docs/howto/interfaces.md", "docs/howto/trigger-lists.md", "docs/howto/git-hook.md"]
PAGES += ["docs/howto/workspaces.md", "docs/howto/restart-and-publish.md", "docs/howto/take-it-home.md"]
PAGES += ["docs/howto/logs-and-parts.md", "docs/howto/watch-it-run.md"]
PAGES += ["docs/howto/arrays.md"]
SHELL_QUEUE = CHECKOUT / "cit_queue" / "sh" / "cit-queue"
SHAPES = (  # from the longest to the shortest; both the page and what is printed are seen through them
    (re.compile(r"SHA256:[A-Za-z0-9+/]{43}"), "KEY"),
    (re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{10})\b"), "DIGEST"),
    (re.compile(r"\b[0-7][0-9a-hjkmnp-tv-z]{25}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DAY"),
    (re.compile(r"\b(\d+d)?(\d+h)?(\d+m)?\d{1,4}(\.\d+)?(s|ms)\b"), "SHORT"),  # as below: an ID can look like one
    (re.compile(r"\b[\d.]+ ?(B|K|M|G|T|KiB|MiB|GiB|bytes)\b"), "SIZE"),
    (re.compile(r"\b[0-9a-hjkmnp-tv-z]{6}(?=_\d)"), "SHORT"),  # of a task
    (re.compile(r"\b[0-9a-hjkmnp-tv-z]{6}\b"), "SHORT"),  # a word of these letters too, on both sides
    (re.compile(r"\s+"), " "),
)


class Step(NamedTuple):
    """A command of a page, the lines below it, and its status; `line` is where it stands."""

    line: int
    command: str
    shown: str
    status: int


def steps(page: str) -> Iterator[Step]:
    """The commands of a page, in order."""
    text = (CHECKOUT / page).read_text()
    for block in re.finditer(r"^```console\n(.*?)^```", text, re.S | re.M):
        for found in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block[1], re.M):
            status = re.search(r"^\[(\d+)\]\n\Z", found[2], re.M)
            shown = found[2][: status.start()] if status else found[2]
            yield Step(text.count("\n", 0, block.start(1) + found.start()) + 1, found[1], shown, int(status[1]) if status else 0)


def shape(text: str) -> str:
    """What is left to compare: how lines are broken and filled up is left out too, since a longer time may break them elsewhere."""
    for pattern, name in SHAPES:
        text = pattern.sub(name, text)
    return text.strip()


def shows(shown: str, said: str) -> bool:
    """Whether this is what a page shows."""
    return re.fullmatch(".*".join(re.escape(shape(part)) for part in shown.split("...\n")), shape(said)) is not None


def typed(lived: Lived, commands: list[str]) -> list[tuple[str, int]]:
    """Type these in one shell on a terminal: what each printed, and its status."""
    mark = "@@@"
    script = "".join(f"{command}\necho '{mark}' $?\n" for command in commands)
    (lived.directory / ".typed").write_text(script)
    said = plain(lived.on_terminal("sh", lived.directory / ".typed"))
    pieces = re.split(rf"{mark} (\d+)\n", said.replace(str(lived.directory), "/home/ada"))
    assert len(pieces) == 2 * len(commands) + 1, f"the shell ended early: {said}"
    pieces = [piece.replace(str(BIN), "/home/ada/cit/bin") for piece in pieces]
    return [(pieces[at], int(pieces[at + 1])) for at in range(0, len(pieces) - 1, 2)]


def faults(lived: Lived, page: str) -> list[str]:
    """Where a page does not show what happens."""
    todo = list(steps(page))
    assert todo, f"{page} has no transcript"
    found = []
    for step, (said, status) in zip(todo, typed(lived, [step.command for step in todo])):
        if not shows(step.shown, said) or status != step.status:
            found.append(f"{page}:{step.line}\n$ {step.command}\n{said}[{status}]\n{shape(step.shown)}\n{shape(said)}")
    return found


def test_the_judge_sees_what_differs() -> None:
    """The rule itself: what no two runs have in common is alike, a word or a line is not."""
    shown = "job 2c4e7g zlib queued at @main\nat 2026-11-23T20:26:11Z after 0.42s\n...\nlast\n"
    assert shows(shown, "job 0w0f7c zlib queued at @main\nat\n2026-11-24T01:02:03Z after 1m05s\nany\nthing\nlast\n")
    for said in (shown.replace("queued", "refused"), shown.replace("last", "lost"), shown + "more\n", shown.replace("@main", "@other")):
        assert not shows(shown, said.replace("...\n", "any\n")), said


@pytest.fixture
def home(tmp_path: Path) -> Lived:
    """A home in which nothing has happened yet, with git's name for commits, and a crontab that is not that of who runs the tests."""
    lived = Lived(tmp_path / "ada")
    lived.directory.mkdir()
    lived.environment["PATH"] = f"{tmp_path}/first:{BIN}:{os.defpath}:/usr/sbin:/sbin"
    lived.environment.update(GIT_AUTHOR_NAME="Ada", GIT_AUTHOR_EMAIL="ada@sun", GIT_COMMITTER_NAME="Ada", GIT_COMMITTER_EMAIL="ada@sun")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "crontab").write_text(CRONTAB)
    (tmp_path / "first" / "crontab").chmod(0o755)
    return lived


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(home: Lived, page: str) -> None:
    if page != FIRST:
        home.run("cit-init")
    found = faults(home, page)
    assert not found, "\n".join(found)


@pytest.mark.skipif(not SHELL_QUEUE.exists(), reason="there is no queue in shell yet")
def test_first_job_with_the_queue_in_shell(home: Lived, tmp_path: Path) -> None:
    """Another cit-queue earlier on PATH: nothing else changes."""
    (tmp_path / "first" / "cit-queue").symlink_to(SHELL_QUEUE)
    found = faults(home, FIRST)
    assert not found, "\n".join(found)
    assert home.run("which", "cit-queue") == f"{tmp_path}/first/cit-queue\n"


def test_first_job_with_a_scheduler_of_thirty_lines(home: Lived, tmp_path: Path) -> None:
    """The one of docs/replace-a-stage.md, run by `cit-format through` in the place of cit-schedule."""
    page = (CHECKOUT / "docs" / "replace-a-stage.md").read_text()
    script = next(block for block in re.findall(r"^```sh\n(.*?)^```", page, re.S | re.M) if block.startswith("#!/bin/sh") and "assignment" in block)
    for name, body in {"mine": script, "cit-schedule": THROUGH}.items():
        path = tmp_path / "first" / name
        path.write_text(body)
        path.chmod(0o755)
    found = faults(home, FIRST)
    assert not found, "\n".join(found)
    assert "\tmine\tassigned\t" in "".join(log.read_text() for log in home.queue.glob("log/*.tsv")), "it was the one that chose"


THROUGH = f"""#!/bin/sh
# A pass of cit-schedule, by cit-format through; what is asked of it otherwise, the one behind it on PATH does.
queue=$PWD
case " $* " in *" --from "*) ;; *) exec '{BIN}/cit-schedule' "$@" ;; esac
while [ $# -gt 0 ]; do [ "$1" != --queue ] || queue=$2; shift; done
export KEY=$queue/key
exec cit-format through -q --queue "$queue" --from waiting --to assigned -- mine
"""


def test_core_alone_runs_first_job(home: Lived, tmp_path: Path) -> None:
    """With every verb removed but those of which the walk is made, the seven stages and cit-format carry it."""
    words = {word for step in steps(FIRST) for word in re.findall(r"\bcit[- ]([a-z]+)", step.command)}
    stages = {"trigger", "queue", "schedule", "deliver", "run", "sync", "report", "format"}
    kept = tmp_path / "core"
    kept.mkdir()
    for program in BIN.iterdir():
        if program.name[0] == "." or program.name == "cit" or program.name.removeprefix("cit-") in words | stages:
            shutil.copy(program, kept, follow_symlinks=False)
    for room in CHECKOUT.glob("cit_*"):
        (tmp_path / room.name).symlink_to(room)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    home.environment["PATH"] = f"{kept}:{os.defpath}"
    found = faults(home, FIRST)
    assert not found, "\n".join(found)
