"""cit log and its lines: which ones, and when each was printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

import pytest

from cit_report.cit_format import clock
from cit_report.cit_format.errors import CitError
from cit_report.index import Index
from cit_report.picking import Picker, Wish, moment_of, pattern
from tests.int.cit_report.lived import Lived

NOW = clock.parse("2026-11-24T02:08:53Z")
ROWS = b"2026-11-24T02:08:51.000Z\t4\n2026-11-24T02:08:52.500Z\t12\ntorn"


# --- decisions ------------------------------------------------------------------------------------------------------


def test_an_index_tells_moments_and_places() -> None:
    index = Index(ROWS)
    assert [index.moment(at) and clock.iso_ms(index.moment(at) or 0)[17:] for at in (0, 3, 4, 11, 12)] == [
        "51.000Z",
        "51.000Z",
        "52.500Z",
        "52.500Z",
        None,
    ]
    assert [index.start(NOW - seconds * clock.SECOND) for seconds in (9, 2, 1, 0)] == [0, 0, 4, 12]


@pytest.mark.parametrize("wrong", [b"", b"x\ty\n", b"\t\n", b"2026-11-24T02:08:51.000Z\t-4\n", b"\xff\n", b"2026-11-24T02:08:51.000Z\n"])
def test_what_is_no_index_tells_nothing(wrong: bytes) -> None:
    """A job can write into its record: nothing that lies there ends a program."""
    assert Index(wrong).moment(0) is None and Index(wrong).start(NOW) == 0


def test_since_when() -> None:
    said = ("10m", "02:08", "02:08:50", "2026-11-24T01:00:00Z")
    assert [(NOW - moment_of(text, NOW)) // clock.SECOND for text in said] == [600, 53, 3, 4133]
    for text in ("10", "yesterday", "2026-11-24", "-5m", ""):
        with pytest.raises(CitError):
            moment_of(text, NOW)
    with pytest.raises(CitError):
        pattern("(")


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_lines_however_they_are_cut(size: int) -> None:
    text = b"one\ntwo\r\nsecret!\n\nlast"

    def picked(wish: Wish, sought: tuple[bytes, ...] = ()) -> bytes:
        picker = Picker(wish, Index(ROWS), sought)
        data = text[picker.begin() :]
        return b"".join(picker(data[at : at + size]) for at in range(0, len(data), size)) + picker(b"", last=True)

    assert picked(Wish()) == text
    assert picked(Wish(fits=re.compile("^$|t$"))) == b"\nlast"
    assert picked(Wish(fits=re.compile("secret")), (b"secret!",)) == b"" and picked(Wish(), (b"secret!",)) == text.replace(b"secret!", b"***")
    assert picked(Wish(since=NOW - 2 * clock.SECOND + 1)) == text[4:], "what was printed by 51.000 is too old"
    assert picked(Wish(times=True)).split(b"\n")[1:4:2] == [b"2026-11-24T02:08:52.500Z\ttwo\r", b"-\t"]


# --- as it is typed -------------------------------------------------------------------------------------------------


def test_lines_with_times(lived: Lived) -> None:
    lived.push("slow", "#!/bin/sh\necho one; sleep 0.6; echo two; echo three >&2\n")
    live = lived.run("cit-log", "-f", "--times", "slow").splitlines()
    after = lived.run("cit-log", "--times", "slow").splitlines()
    for lines in (live, after):
        times, words = zip(*(line.split("\t") for line in lines))
        assert words == ("one", "two", "three") and clock.parse(times[1]) - clock.parse(times[0]) > 0.3 * clock.SECOND
    since = after[1].split("\t")[0]
    assert lived.run("cit-log", "--since", since, "slow") == "two\nthree\n"
    assert (
        lived.run("cit-log", "--grep", "^t.o", "slow") == "two\n" and lived.run("cit-log", "--since", "1d", "--grep", "e$", "slow") == "one\nthree\n"
    )
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3}Z  one\n", lived.on_terminal("cit-log", "--times", "slow"))
    assert lived.completed("cit-log", "--grep", "(", "slow").returncode == lived.completed("cit-log", "--since", "5", "slow").returncode == 2


def test_following_ends_when_the_home_is_removed(lived: Lived) -> None:
    lived.push("gone", "#!/bin/sh\necho begun; sleep 100\n")
    following = subprocess.Popen(["cit-log", "-f", "gone"], env=lived.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert following.stdout is not None and following.stdout.readline() == b"begun\n"
    pids = [path.read_text().split()[0] for path in lived.path.glob("work/*.run/pid")]
    shutil.rmtree(lived.path)
    began = time.monotonic()
    said = following.communicate(timeout=60)[1]
    assert following.returncode == 66 and b"error: " in said and time.monotonic() - began < 30
    subprocess.run(["kill", "-9", *pids], check=False)


PARTS = """#!/bin/sh
echo "tests 14 passed" >>"$CIT_EVENTS"
echo "lost everything" >>"$CIT_EVENTS"
cit-part build -- sh -c 'echo a; cit-part lib -- echo b; cit-part --apart test/unit -- sh -c "echo c; exit 3"; exit 2'
exit 2
"""


def test_parts_are_shown(lived: Lived) -> None:
    lived.push("parts", PARTS)
    lived.run("cit-wait", "-q", "parts", status=2)
    rows = {row["part"]: row for row in map(dict, lived.rows("cit-log", "--parts", "parts"))}
    assert [(name, row["state"], row["exit"], row["bytes"]) for name, row in rows.items()] == [
        ("build", "FAILED", "2", "6"),
        ("build/lib", "COMPLETED", "0", "2"),
        ("build/test", "FAILED", "3", "2"),
        ("build/test/unit", "FAILED", "3", "2"),
    ]
    assert [lived.run("cit-log", "--part", name, "parts") for name in ("build", "lib", "build/test", "unit")] == ["a\nb\nc\n", "b\n", "c\n", "c\n"]
    assert lived.run("cit-log", "parts") == "a\nb\nc\n", "what lay apart is in the log of the job, too"
    assert lived.run("cit-log", "-f", "--part", "unit", "--grep", "c", "--times", "parts").endswith("Z\tc\n")
    assert lived.completed("cit-log", "--part", "nope", "parts").returncode == 66
    assert [(row["word"], row["detail"]) for row in lived.rows("cit-log", "--events", "parts")] == [
        ("tests", "14 passed"),
        ("note", "lost everything"),
    ]
    shown = lived.objects("cit-show", "parts")[0]
    assert (shown["parts"], shown["state"]) == ("3 ran; 1 failed: build/test/unit: exit 3", "FAILED")
    assert "parts that failed:\n  | build/test/unit: exit 3\n" in lived.run("cit-why", "parts")
    screen = lived.on_terminal("cit-log", "--parts", "parts")
    assert "build/test/unit" in screen and "COMPLETED" in screen
    assert "what the job said: 5 rows" in lived.run("cit-trace", "parts")


def test_a_part_is_followed_while_it_runs(lived: Lived) -> None:
    lived.push("busy", "#!/bin/sh\ncit-part --apart slow -- sh -c 'for i in 1 2 3; do echo $i; sleep 0.3; done'\necho done\n")
    assert lived.run("cit-log", "-f", "--part", "slow", "busy") == "1\n2\n3\n"
    lived.push("open", "#!/bin/sh\necho word >>$CIT_EVENTS; cit-part never -- sh -c 'echo $$ >pid; kill -9 $PPID; sleep 60'\n")
    lived.run("cit-wait", "-q", "open", status=137)
    assert [row["state"] for row in lived.rows("cit-log", "--parts", "open")] == ["UNFINISHED"]
