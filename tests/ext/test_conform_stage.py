"""The judge of queues and what it judges: our queue passes, queues that are wrong on purpose do not (docs/stages/conformance.md).

The wrong ones are the queue in shell with one line changed, so that each has one fault.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONFORM = CHECKOUT / "tests/conformance/cit-conform"
CASES = CHECKOUT / "tests/vectors/stages/queue"


def conform(queue: object, *arguments: object) -> tuple[int, list[str]]:
    """Exit status of cit-conform and its lines."""
    command = [sys.executable, str(CONFORM), "--stage", "queue", "--cmd", str(queue), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout.splitlines()


def test_python_queue() -> None:
    status, lines = conform("bin/cit-queue")
    failures = [line for line in lines if line.startswith("not ok")]
    assert status == 0, f"{lines[-1]}; see docs/stages/conformance.md\n" + "\n".join(failures[:20])


# --- queues that are wrong on purpose -------------------------------------------------------------------------------

# What is wrong with it; in which file, what, instead of what; a case that must fail; a case that it still passes.
START = "set -u\n"
TRACEBACK = "echo 'Traceback (most recent call last):' >&2; echo 'error: no' >&2; exit 65\n"
NO_PLANS = "    sed '/^@begin x-/,/^@end x-/d' \"$1\"\n"
EVAL = """readable=yes; eval "echo $(sed -n 's/^submitter = //p' "$scratch/document")" >&2\n"""
NO_FRAME = """  sed -i '/^@cit-stream /d' "$scratch/stream"\n"""
LOG = '>>"$queue/log/${time%%T*}.tsv"'
WRONG = [
    ("takes what is not for here and now", "judge.awk", 'verdict == "" && mode == "new"', "0", "queue-without-key", "accepted"),
    ("does not verify", "cit-queue", 'verify "$scratch/document" ||', ": ||", "byte-flipped", "accepted"),
    ("verifies for any purpose", "cit-queue", '"$submitter" cit-job', '"$submitter" cit-control', "signature-for-another-namespace", "unsigned"),
    ("does not look at the clock", "judge.awk", 'if (now > value["expires"])', "if (0)", "job-expired", "accepted"),
    ("takes jobs of other queues", "judge.awk", 'if (value["queue"] != queue)', "if (0)", "queue-of-another-key", "accepted"),
    ("forgets what it has seen", "put.sh", "if ! ln -sn", "if ! ln -sfn", "duplicate", "accepted"),
    ("takes other bytes for the same", "put.sh", "became=replay", "became=duplicate", "replay", "duplicate"),
    ("loses sections that it does not know", "cit-queue", '    cat "$1"\n', NO_PLANS, "accepted-unknown-sections", "accepted"),
    ("ends with another status", "cit-queue", 'exit "$status"', '[ "$status" = 0 ] || exit 1', "unsigned", "accepted"),
    ("answers before it has put", "cit-queue", "  put\n", "  ticket accepted; put; return\n", "cannot-write", "filter"),
    ("uses a frame that was cut", "cit-queue", "  unframe\n", NO_FRAME, "frame-cut", "accepted"),
    ("gives up at the first fault", "cit-queue", "  ticket refused", "  exit 65; ticket refused", "faulty-first-of-three", "accepted-two"),
    ("throws away what it refuses", "cit-queue", "  shelve", "  : shelve", "unsigned", "accepted"),
    ("leaves what a crash left", "put.sh", "  name_it", "  exit 1; name_it", "crash-seen", "crash-not-seen"),
    ("names what was never seen", "put.sh", '[ "${there#*~}" = "$digest" ] && [', "[", "crash-other-seen", "crash-seen"),
    ("keeps no log", "cit-queue", LOG, ">/dev/null", "accepted", "filter"),
    ("does not say which document", "cit-queue", "${2:+$2: }", "${2:+}", "unsigned", "accepted"),
    ("starts no pass", "cit-queue", "  setsid sh", "  : setsid sh", "on-arrival", "accepted"),
    ("lets a job speak to the shell", "cit-queue", "readable=yes\n", EVAL, "hostile-values", "accepted"),
    ("is 65 whatever comes", "cit-queue", START, "exit 65\n", "accepted", None),
    ("crashes where it should refuse", "cit-queue", START, TRACEBACK, "frame-cut", None),
    ("is killed", "cit-queue", START, "kill -9 $$\n", "frame-cut", None),
    ("does not end", "cit-queue", START, "sleep 60\n", "frame-cut", None),
]


@pytest.mark.parametrize(("wrong", "file", "old", "new", "fails", "passes"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_queue_fails(wrong: str, file: str, old: str, new: str, fails: str, passes: str | None, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "cit_queue/sh", tmp_path / "cit_queue/sh")
    shutil.copytree(CHECKOUT / "cit_format/sh", tmp_path / "cit_queue/cit_format/sh")
    changed = tmp_path / "cit_queue/sh" / file
    text = changed.read_text()
    assert old in text, "the line that was to be changed is another now"
    changed.write_text(text.replace(old, new))
    status, lines = conform(tmp_path / "cit_queue/sh/cit-queue", "--timeout", 10 if passes else 2, fails, *([passes] if passes else []))
    assert status == 1
    assert [line.split(":")[0] for line in lines if not line.startswith("ok")][:-1] == [f"not ok - {fails}"], lines


def test_skipped_case_that_passes_fails_the_run(tmp_path: Path) -> None:
    skip = tmp_path / "skip"
    skip.write_text("frame-cut # not yet\n")
    assert conform("cit_queue/sh/cit-queue", "--skip", skip, "frame-cut")[1][-1] == "0 passed, 1 failed, 0 skipped"
    assert conform("false", "--skip", skip, "frame-cut")[1][-1] == "0 passed, 0 failed, 1 skipped"


def test_usage() -> None:
    for words in ("--stage queue", "--cmd true", "--stage no-such --cmd true", "--stage queue --cmd true --list true"):
        assert subprocess.run([sys.executable, CONFORM, *words.split()], capture_output=True).returncode == 2


# --- the vectors ----------------------------------------------------------------------------------------------------


def test_cases_are_fresh() -> None:
    done = subprocess.run([CHECKOUT / "tests/vectors/make-stages", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + "run tests/vectors/make-stages; see docs/stages/conformance.md"


def test_cases_say_what_they_are_about() -> None:
    abouts = [path.read_text() for path in CASES.glob("*/about")]
    assert len(abouts) >= 100
    assert len(set(abouts)) == len(abouts)
