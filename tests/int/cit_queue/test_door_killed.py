"""PROMISES of the door: its receiver is killed, behind sshd, before every call that changes a file; after one clean retry each
job is exactly once in the queue, and what had a ticket was there before (docs/directories.md)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import clock, frame, reader, spool
from cit_format.document import Document
from tests.cluster.loopback import obstacle
from tests.int.cit_queue.gate import PROGRAM, Gate
from tests.int.cit_queue.house import House, states

pytestmark = [
    pytest.mark.skipif(bool(obstacle()), reason=obstacle()),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing"),
]
CALLS = ("openat", "write", "pwrite64", "rename", "renameat2", "symlink", "link", "unlink", "mkdir", "fsync", "syncfs", "ftruncate")
WRAPPED = """#!/bin/sh
# What sshd starts here: the door, killed before the call that the file `point` names, or traced where it names none.
door() { "$@" %(program)s --door="$SSH_ORIGINAL_COMMAND" --role %(role)s --for %(who)s --to @main; }
[ -e %(path)s/point ] || { door exec; exit; }
read -r call number <%(path)s/point
rm %(path)s/point
[ -n "$call" ] || { door exec strace -f -qq -o %(path)s/trace -e trace=%(calls)s; exit; }
door exec strace -qq -o /dev/null -e trace="$call" -e inject="$call":signal=KILL:when="$number"
"""


@pytest.fixture
def gate(house: House) -> Iterator[Gate]:
    opened = Gate(house)
    yield opened
    opened.close()


def opened(gate: Gate, key: Path, role: str, who: str) -> None:
    """The key's line starts the door by way of WRAPPED."""
    wrapped = gate.path / "wrapped"
    wrapped.write_text(WRAPPED % {"program": PROGRAM, "role": role, "who": who, "path": gate.path, "calls": ",".join(CALLS)})
    wrapped.chmod(0o700)
    public = " ".join(Path(f"{key}.pub").read_text().split()[:2])
    gate.authorized.write_text(f'restrict,command="{wrapped}" {public}\n')


def points(gate: Gate, key: Path, verb: str, stream: bytes) -> list[str]:
    """`CALL NUMBER` of each call of a clean run that changes a file, after the interpreter's start."""
    (gate.path / "point").write_text("\n")
    assert gate.ssh(key, verb, stdin=stream).returncode == 0
    counts: dict[str, int] = {}
    found: list[str] = []
    main, begun = "", False
    for line in (gate.path / "trace").read_text(errors="replace").splitlines():
        match = re.match(r"(\d+)\s+(\w+)\((.*)", line)
        if match is None or (main and match[1] != main):
            continue
        main, call, rest = match.groups()
        counts[call] = counts.get(call, 0) + 1
        begun = begun or ".cit/" in rest
        if begun and (call != "openat" or "O_CREAT" in rest):
            found.append(f"{call} {counts[call]}")
    return found


def swept(house: House, gate: Gate, key: Path, verb: str, documents: list[Document], place: Path) -> int:
    """Kill at every point; `place` has each document once after the retry. How many points there were."""
    template = house.directory.parent / "template"
    shutil.copytree(house.directory, template, symlinks=True)

    def restored() -> None:
        shutil.rmtree(house.directory)
        shutil.copytree(template, house.directory, symlinks=True)

    stream = frame.framed(b"".join(each.raw for each in documents), len(documents))
    assert gate.ssh(key, verb, stdin=stream).returncode == 0  # bytecode is written now
    restored()
    found = points(gate, key, verb, stream)
    for point in found:
        restored()
        (gate.path / "point").write_text(point + "\n")
        killed = gate.ssh(key, verb, stdin=stream)
        assert killed.returncode != 0, point
        before = [path.name for path in place.rglob("*.cit") if ".tmp" not in path.parts]
        assert len(before) == len(set(before)) <= len(documents), (point, before)
        again = gate.ssh(key, verb, stdin=stream)
        tickets = states(frame.unframed(reader.reader_of(again.stdout), strict=True)(1 << 30))
        assert again.returncode == 0 and set(tickets) <= {"accepted", "duplicate"}, (point, again.stderr, tickets)
        bodies = [path.read_bytes() for path in place.rglob("*.cit") if ".tmp" not in path.parts]
        assert sorted(reader.parse(raw).submitted for raw in bodies) == sorted(each.submitted for each in documents), (point, bodies)
        assert not [path for path in place.rglob(".tmp/*") if path.stat().st_size], point
    return len(found)


def test_is_a_job_once_in_the_queue_when_the_receiver_is_killed_anywhere(house: House, gate: Gate) -> None:
    key = house.directory / "ben"
    opened(gate, key, "person", "ben@sun")
    assert swept(house, gate, key, "put-accept", [house.job("one", who="ben"), house.job("two", who="ben")], house.queue / "waiting") > 15


def test_is_a_result_once_in_done_when_the_receiver_is_killed_anywhere(house: House, gate: Gate) -> None:
    key = house.path / "key"
    shutil.copy(f"{key}.pub", gate.path / "builder.pub")
    shutil.copy(key, gate.path / "builder")
    opened(gate, gate.path / "builder", "builder", house.account.signer.public.fingerprint)
    ended = house.ended(house.assigned(house.job("zlib")))
    assert swept(house, gate, gate.path / "builder", "put-done", [ended], house.queue / "done" / clock.id_day(ended.id)) > 8
    assert spool.listing(house.queue / "sent") == []
