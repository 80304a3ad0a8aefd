"""The drop box: what other accounts drop is read once, carefully, and nothing that they can still change gets in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cit_format import reader
from tests.int.cit_queue.house import House, statuses


@pytest.fixture
def box(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    return house.queue / "incoming"


def settled(path: Path) -> None:
    """Wait until a dropped file counts as whole: its change is told by the kernel and cannot be dated back."""
    time.sleep(max(0.0, path.lstat().st_ctime + 5.1 - time.time()))


def test_everything_that_may_lie_in_a_drop_box(house: House, box: Path) -> None:
    secret = house.directory / "ada"
    job, second, bad = house.job("dropped"), house.job("second"), house.job("bad", who="eve")
    (box / "two.cit").write_bytes(job.raw + second.raw)
    (box / "bad.cit").write_bytes(bad.raw)
    (box / ".being-written.cit").write_bytes(job.raw)
    (box / "other.txt").write_bytes(b"not ours")
    (box / "empty.cit").write_bytes(b"")
    os.symlink(secret, box / "link.cit")
    os.link(secret, box / "hard.cit")
    os.mkfifo(box / "fifo.cit")
    with open(box / "huge.cit", "wb") as file:
        file.truncate((256 << 20) + 1)
    (box / "directory.cit").mkdir()
    if os.geteuid() == 0:
        os.chown(box / "two.cit", 65534, 65534)
    ended = house.run("--to", "@main", "--incoming")
    assert (ended.returncode, ended.stdout) == (0, b""), "all of it may still be growing"
    settled(box / "directory.cit")
    (box / "young.cit").write_bytes(house.job("young").raw)
    ended = house.run("--to", "@main", "--incoming")
    assert ended.returncode == 77
    assert sorted(map(str, statuses(ended.stdout))) == ["77", "accepted", "accepted"]
    kept = [reader.parse(raw) for raw in house.lying("waiting")]
    assert [each.name for each in kept] == ["dropped", "second"]
    event = kept[0].find("event")
    assert event is not None and event.rows()[0][5] == f"main, dropped by {'nobody' if os.geteuid() == 0 else os.environ['USER']}"
    assert sorted(os.listdir(box)) == [".being-written.cit", "directory.cit", "other.txt", "young.cit"]
    assert secret.exists() and not any(b"PRIVATE KEY" in raw for raw in house.lying("refused"))
    for words in (b"Too many levels", b"a hard link", b"no regular file", b"over 256 MiB"):
        assert words in ended.stderr


def test_an_inactive_queue_leaves_the_drop_box_alone(house: House, box: Path) -> None:
    (box / "one.cit").write_bytes(house.job().raw)
    os.utime(box / "one.cit", (0, 0))
    house.set("active", False)
    ended = house.run("--to", "@main", "--incoming")
    assert (ended.returncode, os.listdir(box)) == (0, ["one.cit"])
