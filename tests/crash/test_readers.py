"""Readers never see a part of a file: four writers put 10,000 documents each beside one that reads all (docs/directories.md)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep import Machine

from cit_format import reader
from cit_format.spool import listing

WRITERS, EACH = 4, int(os.environ.get("CIT_TEST_PUTS", "2500"))


@pytest.fixture
def machine() -> Iterator[Machine]:
    place = Path(tempfile.mkdtemp(prefix=".cit-readers-", dir=os.path.expanduser("~")))
    yield Machine(place)
    shutil.rmtree(place, ignore_errors=True)


def test_does_a_reader_ever_see_a_part_of_a_file(machine: Machine) -> None:
    machine.sh(f"seq {EACH} > $HOME/lines")
    for writer in range(WRITERS):
        machine.sh(f"cit-trigger --name w{writer} --each $HOME/lines -- true > $HOME/{writer}.cit")
    writers = [
        subprocess.Popen(["sh", "-c", f"cit-queue -q --to @main < $HOME/{writer}.cit > /dev/null"], env=machine.environment)
        for writer in range(WRITERS)
    ]
    waiting = machine.home / ".cit/queues/main/waiting"
    seen: set[str] = set()
    running = True
    while running:
        running = any(writer.poll() is None for writer in writers)
        for name in listing(waiting):
            if name not in seen:
                document = reader.parse((waiting / name).read_bytes())
                assert document.sections[-1].kind == "signature", name
                seen.add(name)
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    assert len(seen) == WRITERS * EACH
    keys = [name.split(".")[0] for name in sorted(seen)]
    assert len(set(keys)) == len(keys), "each document has a sequence of its own"
    order = [name.split(".")[1][:26] for name in sorted(seen)]
    for writer in range(WRITERS):
        pushed = re.findall(r"^@cit 1 (\S+)", (machine.home / f"{writer}.cit").read_text(), re.M)
        mine = set(pushed)
        assert [identity for identity in order if identity in mine] == pushed, "each stream keeps its order, group after group"
