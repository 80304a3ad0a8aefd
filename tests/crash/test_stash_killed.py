"""cit stash killed before every call that changes a file: no name leads to missing or torn bytes, and the next one carries on."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep import Machine

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
OLD, NEW = b"old\n" * 1000, b"new\n" * 1000


@pytest.fixture
def machine() -> Iterator[Machine]:
    place = Path(tempfile.mkdtemp(prefix=".cit-sweep-", dir=os.path.expanduser("~")))
    yield Machine(place)
    shutil.rmtree(place, ignore_errors=True)


def led_to(machine: Machine, name: str) -> bytes | None:
    """The bytes that a name leads to, which are those of its digest; None where there is no such name."""
    link = machine.home / ".cit/store/names" / name
    if not link.is_symlink():
        return None
    content = link.read_bytes()
    assert hashlib.sha256(content).hexdigest() == link.resolve().name, "a name leads to torn bytes"
    return content


def test_no_name_without_its_bytes_after_a_kill_anywhere(machine: Machine) -> None:
    file = machine.home / "thing"
    file.write_bytes(OLD)
    machine.sh('cit-stash -q "$HOME/thing" "other=$HOME/thing"')
    old = led_to(machine, "thing")
    file.write_bytes(NEW)
    machine.keep()
    line = 'cit-stash -q "$HOME/thing"'
    machine.sh(line)
    new = led_to(machine, "thing")
    assert old is not None and new is not None and old != new
    machine.restore()
    points = machine.points(line)
    assert len(points) > 8, points
    for point in points:
        machine.restore()
        machine.killed_at(line, point)
        assert led_to(machine, "thing") in (old, new) and led_to(machine, "other") == old, point
        machine.sh(line)
        assert led_to(machine, "thing") == new, point
        said = [text.split("\t") for text in (machine.home / ".cit/store/history.tsv").read_text().splitlines()]
        assert all(len(row) == 6 for row in said) and said[-1][1] == "thing", point


def test_error_of_the_disk_is_said_and_names_nothing(machine: Machine) -> None:
    """Each fsync and each write fails in turn: 74, no name that was not there, and all is well afterwards."""
    file = machine.home / "thing"
    file.write_bytes(OLD)
    machine.sh('cit-stash -q "$HOME/thing"')
    old = led_to(machine, "thing")
    file.write_bytes(NEW)
    machine.keep()
    machine.sh('cit-stash -q "$HOME/thing"')
    new = led_to(machine, "thing")
    for call, error, number in (*(("fsync", "EIO", n) for n in range(1, 5)), ("renameat", "ENOSPC", 1), ("symlink", "ENOSPC", 1)):
        machine.restore()
        inject = f"-e trace={call} -e inject={call}:error={error}:when={number}"
        ended = machine.sh(f"strace -qq -o /dev/null {inject} sh -c 'exec cit-stash -q \"$HOME/thing\"'", check=False)
        assert ended.returncode == 74 and "error" in ended.stderr, (call, number, ended.returncode, ended.stderr)
        assert led_to(machine, "thing") in (old, new) and not list((machine.home / ".cit/store/.tmp").iterdir()), (call, number)
        machine.sh('cit-stash -q "$HOME/thing"')
        assert led_to(machine, "thing") == new, (call, number)
