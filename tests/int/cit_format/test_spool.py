"""What spools stand on: renames that never replace, locks, synced contents, sweeping."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_format import spool
from cit_format.errors import CitError
from cit_format.spool import Lock, is_held, rename_new
from tests.int.cit_format.jobs import ID
from tests.int.cit_format.kills import every_kill


def test_listing_is_in_order_of_bytes_and_shows_documents_only(tmp_path: Path) -> None:
    for name in ["b.cit", "a.cit", "a-.cit", "Z.cit", ".hidden.cit", "note.txt"]:
        (tmp_path / name).touch()
    assert spool.listing(tmp_path) == ["Z.cit", "a-.cit", "a.cit", "b.cit"]
    assert spool.listing(tmp_path / "missing") == []


def test_documents_are_those_whose_names_say_so(tmp_path: Path) -> None:
    for name in [f"{ID}-zlib.cit", "other.cit"]:
        (tmp_path / name).touch()
    assert [parts.name for parts in spool.documents(tmp_path)] == ["zlib"]


class _NoRenameat2:
    """A file system that has no rename without replacing."""

    def renameat2(self, *_: object) -> int:
        import ctypes

        ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.mark.parametrize("old_system", [False, True], ids=["renameat2", "link and unlink"])
def test_a_rename_never_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_system: bool) -> None:
    if old_system:
        monkeypatch.setattr(spool, "_libc", _NoRenameat2())
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_text() == "a" and (tmp_path / "b").read_text() == "b"
    rename_new(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "a" and not (tmp_path / "a").exists()
    with pytest.raises(FileNotFoundError):
        rename_new(tmp_path / "a", tmp_path / "d")


def test_a_lock_is_held_by_one_and_freed_by_death(tmp_path: Path) -> None:
    program = "import sys, time\nfrom pathlib import Path\nfrom cit_format.spool import Lock\n"
    program += "Lock(Path(sys.argv[1])).__enter__()\nprint(1, flush=True)\ntime.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
    assert is_held(tmp_path / "lock") and not Lock(tmp_path / "lock").try_now()
    holder.send_signal(signal.SIGSTOP)
    assert is_held(tmp_path / "lock"), "a stopped process is alive"
    holder.kill()
    holder.wait()
    assert not is_held(tmp_path / "lock")
    assert not is_held(tmp_path / "missing") and not (tmp_path / "missing").exists()


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path: Path) -> None:
    """Who waited on a file that the holder removed gets the lock of the new file."""
    path = tmp_path / "lock"
    with Lock(path) as first:
        path.unlink()
        assert Lock(path).try_now()
        assert os.fstat(first.fd).st_nlink == 0


def test_missing_directories_are_made_once(tmp_path: Path) -> None:
    assert spool.make_directory(tmp_path / "a/b/c") is True
    assert spool.make_directory(tmp_path / "a/b/c") is False
    assert (tmp_path / "a/b/c").is_dir() and (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("count", [1, 3, spool.GROUP, spool.GROUP + 5])
def test_contents_are_replaced_all_or_nothing(tmp_path: Path, count: int) -> None:
    contents = {tmp_path / str(number): b"new" * number for number in range(count)}
    for path in contents:
        path.write_bytes(b"old")
    spool.replace_contents(contents)
    assert {path: path.read_bytes() for path in contents} == contents
    assert len(list(tmp_path.iterdir())) == count


def test_a_kill_leaves_each_content_old_or_new(tmp_path: Path) -> None:
    def prepare(number: int) -> Callable[[], object]:
        place = tmp_path / str(number)
        place.mkdir()
        contents = {place / name: b"new" for name in "abc"}
        for path in contents:
            path.write_bytes(b"old")
        return lambda: spool.replace_contents(contents)

    for number in every_kill(prepare):
        assert {(tmp_path / str(number) / name).read_bytes() for name in "abc"} <= {b"old", b"new"}


def test_a_full_disk_names_the_path_and_leaves_what_was(tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: the write is cut short, then refused."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            spool.replace_contents({path: b"n" * 8192})
        except CitError as error:
            os._exit(error.status if str(path) in error.what else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 74
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("count", [1, spool.GROUP])
def test_a_failed_sync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    paths = [str(tmp_path / str(number)) for number in range(count)]
    for path in paths:
        Path(path).touch()

    class Failing:
        def syncfs(self, _fd: int) -> int:
            return -1

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(spool, "_libc", Failing())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CitError, match="cannot sync") as caught:
        spool.sync_files(paths)
    assert caught.value.status == 74


def test_what_lies_in_tmp_for_36_hours_is_swept_unless_its_writer_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old", "young", "locked"):
        (tmp_path / name).touch()
    for name in ("old", "locked"):
        os.utime(tmp_path / name, (time.time() - 37 * 3600,) * 2)
    with Lock(tmp_path / "locked"):
        os.utime(tmp_path / "locked", (time.time() - 37 * 3600,) * 2)
        assert spool.sweep_temporary(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == ["locked", "young"]
    assert spool.sweep_temporary(tmp_path / "missing") == 0
