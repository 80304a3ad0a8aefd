"""Appending to a document's file: all or nothing, under a lock, with what a killed writer left put aside."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cit_format import append, document, reader
from cit_format.document import Document
from cit_format.errors import CitError
from cit_format.spool import Lock
from tests.int.cit_format.jobs import job_like
from tests.int.cit_format.kills import every_kill

NOTE = document.section("note", "text", b"added\n")
DOCUMENT = job_like(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.cit"
    path.write_bytes(DOCUMENT.raw)
    return path


def torn(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.torn-*"))


def test_a_section_goes_to_the_end(file: Path) -> None:
    longer = append.append(file, lambda _: NOTE)
    assert file.read_bytes() == longer.raw == DOCUMENT.raw + NOTE
    assert torn(file.parent) == []


def test_what_is_appended_may_depend_on_what_is_there(file: Path) -> None:
    for number in (2, 3):
        append.append(file, lambda found: document.section("note", "text", b"%d\n" % (len(found.sections) + 1)))
        assert reader.parse(file.read_bytes()).sections[-1].body() == b"%d\n" % number


@pytest.mark.parametrize(
    "content, status",
    [(b"", 65), (b"hello\n", 65), (DOCUMENT.raw * 2, 65), (DOCUMENT.raw + b"text\n", 65), (DOCUMENT.raw + b"@begin note 1 text\n@end nose\n", 65)],
)
def test_what_is_no_document_is_left_as_it_is(file: Path, content: bytes, status: int) -> None:
    file.write_bytes(content)
    with pytest.raises(CitError) as caught:
        append.append(file, lambda _: NOTE)
    assert caught.value.status == status and file.read_bytes() == content and torn(file.parent) == []


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CitError) as caught:
        append.append(tmp_path / "a.cit", lambda _: NOTE)
    assert caught.value.status == 66 and not (tmp_path / "a.cit").exists()


@pytest.mark.parametrize("size", range(1, len(NOTE)))
def test_a_tail_torn_anywhere_is_put_aside_and_nothing_else_is(tmp_path: Path, size: int) -> None:
    file = tmp_path / "a.cit"
    file.write_bytes(DOCUMENT.raw + NOTE[:size])
    append.append(file, lambda _: NOTE)
    assert file.read_bytes() == DOCUMENT.raw + NOTE
    assert [path.read_bytes() for path in torn(tmp_path)] == [NOTE[:size]]


def test_blocks_that_a_power_failure_left_empty_are_a_torn_tail(file: Path) -> None:
    file.write_bytes(DOCUMENT.raw + NOTE[:5] + b"\0" * 100)
    append.append(file, lambda _: NOTE)
    assert file.read_bytes() == DOCUMENT.raw + NOTE


@given(st.binary(max_size=60))
def test_a_whole_part_is_a_document(tail: bytes) -> None:
    size = append.whole_part(DOCUMENT.raw + tail)
    assert size == 0 or reader.parse((DOCUMENT.raw + tail)[:size])


def always(piece: bytes) -> Callable[[Document], bytes]:
    """The same section, whatever the document."""
    return lambda _: piece


def _append(file: Path, number: int) -> None:
    for count in range(25):
        append.append(file, always(document.section("note", "text", b"%d %d\n" % (number, count))))


def test_writers_at_the_same_time_lose_nothing(file: Path) -> None:
    writers = [multiprocessing.Process(target=_append, args=(file, number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    bodies = [section.body() for section in reader.parse(file.read_bytes()).sections[1:]]
    assert sorted(bodies) == sorted(b"%d %d\n" % (number, count) for number in range(8) for count in range(25))


def test_who_waited_for_the_lock_appends_to_the_file_that_has_the_name_now(file: Path) -> None:
    """The holder puts another file in its place, as a replacing writer does."""
    lock = Lock(file)
    lock.__enter__()
    waiter = threading.Thread(target=append.append, args=(file, lambda _: NOTE))
    waiter.start()
    time.sleep(0.1)
    (file.parent / "new").write_bytes(job_like(2).raw)
    os.rename(file.parent / "new", file)
    lock.release()
    waiter.join(10)
    assert file.read_bytes() == job_like(2).raw + NOTE


def test_whatever_is_killed_the_next_append_finds_a_whole_document(tmp_path: Path) -> None:
    def prepare(number: int) -> Callable[[], object]:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.cit").write_bytes(DOCUMENT.raw + NOTE[:7])
        return lambda: append.append(tmp_path / str(number) / "a.cit", lambda _: NOTE)

    for number in every_kill(prepare):
        file = tmp_path / str(number) / "a.cit"
        assert file.read_bytes() in (DOCUMENT.raw + NOTE[:7], DOCUMENT.raw, DOCUMENT.raw + NOTE)
        had = file.read_bytes().endswith(NOTE)
        append.append(file, lambda _: NOTE)
        assert file.read_bytes() == DOCUMENT.raw + NOTE * (1 + had)
        assert NOTE[:7] in [path.read_bytes() for path in torn(file.parent)], "what was torn is kept"


def test_a_full_disk_leaves_the_file_as_it_was(file: Path) -> None:
    """A limit on file sizes stands for the full disk: the first write is cut short, the next refused."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(DOCUMENT.raw) + 20,) * 2)
        try:
            append.append(file, lambda _: NOTE)
        except CitError as error:
            os._exit(error.status if str(file) in error.what else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 74
    assert file.read_bytes() == DOCUMENT.raw


def test_an_append_that_cannot_be_synced_is_taken_back(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CitError, match="cannot sync") as caught:
        append.append(file, lambda _: NOTE)
    assert caught.value.status == 74 and file.read_bytes() == DOCUMENT.raw
