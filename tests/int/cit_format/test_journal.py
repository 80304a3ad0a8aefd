"""log/DAY.tsv: one whole line a move, whoever writes at the same time; torn and foreign lines are passed over."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from cit_format import body, journal


def test_a_move_is_a_line_with_who_where_and_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIT_NOW", "2026-11-23T20:26:11.031Z")
    monkeypatch.setenv("CIT_HOST", "sun")
    monkeypatch.setenv("CIT_USER", "ada")
    journal.note(tmp_path / "log", [("id-a", "accepted", "main\twith a tab"), ("id-b", "refused", "")], "queue")
    assert (tmp_path / "log/2026-11-23.tsv").read_text() == (
        "id-a\t2026-11-23T20:26:11.031Z\tqueue\taccepted\tsun\tada\tmain\\twith a tab\nid-b\t2026-11-23T20:26:11.031Z\tqueue\trefused\tsun\tada\t\n"
    )
    assert [line.detail for line in journal.lines(tmp_path / "log")] == ["main\twith a tab", ""]
    assert body.rows(journal.event("queue", "accepted", "main"))[0] == ["2026-11-23T20:26:11.031Z", "queue", "accepted", "sun", "ada", "main"]


def test_no_moves_write_no_log(tmp_path: Path) -> None:
    journal.note(tmp_path / "log", [], "queue")
    assert not (tmp_path / "log").exists() and list(journal.lines(tmp_path / "log")) == []


def _write(log: Path, name: str) -> None:
    for number in range(100):
        journal.note(log, [(f"{name}-{number}", "accepted", "x" * 500)], "queue")


def test_writers_at_the_same_time_lose_no_line(tmp_path: Path) -> None:
    writers = [multiprocessing.Process(target=_write, args=(tmp_path, f"w{number}")) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    jobs = [line.job for line in journal.lines(tmp_path)]
    assert len(jobs) == len(set(jobs)) == 400


def test_torn_and_foreign_lines_are_left_out_and_days_are_read_in_order(tmp_path: Path) -> None:
    row = body.row("id-a", "2026-11-22T00:00:00.000Z", "queue", "accepted", "sun", "ada", "")
    (tmp_path / "2026-11-22.tsv").write_bytes(row + b"id-b\tonly two\n" + b"\xff\n" + row[:20])
    (tmp_path / "2026-11-21.tsv").write_bytes(row.replace(b"id-a", b"id-0"))
    (tmp_path / "on-arrival").write_text("not a log\n")
    assert [line.job for line in journal.lines(tmp_path)] == ["id-0", "id-a"]
    assert [line.job for line in journal.lines(tmp_path, days=1)] == ["id-a"]
