"""scp and sftp at the door: files by digest, and no way to anything else, whatever a client sends."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from cit_queue import copying
from cit_queue.cit_format import home
from cit_queue.cit_format.errors import CitError
from cit_queue.copying import Session, text

A, B = "a" * 64, "b" * 64
NUMBER = b"\0\0\0\7"


class Place(home.Account):
    """A build account with two files in its store, and things that are none."""


@pytest.fixture
def account(tmp_path: Path) -> home.Account:
    (tmp_path / "store" / "names").mkdir(parents=True)
    (tmp_path / "store" / A).write_bytes(b"0123456789")
    (tmp_path / "store" / B).symlink_to(tmp_path / "key")
    (tmp_path / "store" / ("c" * 64)).mkdir()
    os.mkfifo(tmp_path / "store" / ("d" * 64))
    (tmp_path / "key").write_bytes(b"private")
    return Place(tmp_path)


@pytest.fixture
def session(account: home.Account) -> Session:
    return Session(copying.opener(account, None))


def asked(session: Session, kind: int, *parts: bytes) -> tuple[int, bytes]:
    """Kind and content of the answer to a request."""
    answer = session.answer(bytes([kind]) + NUMBER + b"".join(parts))
    assert answer[1:5] == NUMBER
    return answer[0], answer[5:]


def opened(session: Session, path: str, flags: int = copying.READING) -> tuple[int, bytes]:
    return asked(session, copying.OPEN, text(path.encode()), struct.pack(">II", flags, 0))


def test_file_is_read_by_its_digest(session: Session) -> None:
    assert session.answer(bytes([copying.INIT]) + struct.pack(">I", 3)) == bytes([copying.VERSION]) + struct.pack(">I", 3)
    for path in (A, f"{A}.age", f"/home/build/.cit/store/{A}", f"../../{A}"):
        kind, handle = opened(session, path)
        assert kind == copying.HANDLE, path
        got = asked(session, copying.READ, handle, struct.pack(">QI", 3, 4))
        assert got == (copying.DATA_PACKET, text(b"3456"))
        assert asked(session, copying.READ, handle, struct.pack(">QI", 10, 4))[1][:4] == struct.pack(">I", copying.END)
        assert asked(session, copying.FSTAT, handle)[1][4:12] == struct.pack(">Q", 10)
        assert asked(session, copying.CLOSE, handle)[1][:4] == struct.pack(">I", 0)
        assert asked(session, copying.READ, handle, struct.pack(">QI", 0, 4))[0] == copying.STATUS, "closed"
    assert asked(session, copying.STAT, text(A.encode()))[0] == copying.ATTRS


@pytest.mark.parametrize("path", ["", ".", "/", "key", "../key", f"{A}/../../key", B, "c" * 64, "d" * 64, "e" * 64, f"{A}x", A.upper(), f"{A}\0"])
def test_nothing_else_is_there(session: Session, path: str) -> None:
    for answer in (opened(session, path), asked(session, copying.STAT, text(path.encode())), asked(session, copying.LSTAT, text(path.encode()))):
        assert answer[0] == copying.STATUS and answer[1][:4] == struct.pack(">I", copying.NOT_THERE)


@pytest.mark.parametrize("flags", [0, 2, 3, 9, 0x1A, 0xFFFFFFFF])
def test_nothing_is_written(session: Session, account: home.Account, flags: int) -> None:
    assert opened(session, A, flags)[0] == copying.STATUS
    for kind in (*range(6, 7), *range(9, 16), *range(18, 21), 200, 201):
        assert asked(session, kind, text(A.encode()), text(b"x"))[1][:4] == struct.pack(">I", copying.UNKNOWN)
    assert (account / "store" / A).read_bytes() == b"0123456789"


def test_as_many_files_as_a_client_needs_and_no_more(session: Session) -> None:
    kinds = [opened(session, A)[0] for _ in range(copying.OPEN_FILES + 3)]
    assert kinds.count(copying.HANDLE) == copying.OPEN_FILES
    for handle in list(session.files):
        asked(session, copying.CLOSE, text(handle))
    assert opened(session, A)[0] == copying.HANDLE


def test_any_bytes_are_answered(session: Session) -> None:
    chance = random.Random(7)
    opened(session, A)
    for _ in range(20_000):
        packet = bytes([chance.choice([1, 3, 4, 5, 7, 8, 16, 17, 200, 255])]) + chance.randbytes(chance.randint(4, 40))
        assert session.answer(packet)[0] in (copying.VERSION, copying.STATUS, copying.NAME, copying.HANDLE, copying.DATA_PACKET, copying.ATTRS)


@pytest.mark.parametrize("command", ["scp -t .", "scp -f", "scp -f a b", "scp -r -f .", "scp -d -f x", "scp", "scp -fx y"])
def test_old_scp_that_wants_something_else(command: str) -> None:
    assert copying.is_asked(command)
    with pytest.raises(CitError):
        copying.wanted(command)


def test_old_scp() -> None:
    assert copying.wanted(f"scp -f {A}") == copying.wanted(f"scp -v -p -f -- {A}") == A
    assert copying.is_asked("internal-sftp") and copying.is_asked("/usr/lib/openssh/sftp-server -l INFO")
    assert not any(map(copying.is_asked, ("", "ls", "file x 0", "scp2 -f x", "sftp", "sh")))
