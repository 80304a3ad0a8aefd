"""How tickets come: at once where the pipe stays open, framed or not, and in which form."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from typing import IO

import pytest

from cit_format import document, frame
from tests.int.cit_queue.house import ROOT, House, states

COMMAND = [str(ROOT / "bin" / "cit-queue"), "--to", "@main"]


def waited_for(pipe: IO[bytes], seconds: float) -> bytes:
    """What comes out of a pipe within so many seconds; empty where nothing does."""
    ready, _, _ = select.select([pipe], [], [], seconds)
    return os.read(pipe.fileno(), 1 << 16) if ready else b""


def test_a_ticket_comes_while_the_pipe_stays_open_once_the_next_document_begins(house: House) -> None:
    one, two, three = (house.job(name) for name in ("one", "two", "three"))
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=house.environment) as process:
        assert process.stdin and process.stdout
        process.stdin.write(one.raw)
        process.stdin.flush()
        assert waited_for(process.stdout, 1) == b"", "nobody can know yet that it is complete"
        for following, complete in ((two, one), (three, two)):
            process.stdin.write(following.raw[:100])
            process.stdin.flush()
            began = time.monotonic()
            said = waited_for(process.stdout, 5)
            assert states(said) == ["accepted"] and complete.id.encode() in said
            assert time.monotonic() - began < 1
            assert any(raw.startswith(complete.raw) for raw in house.lying("waiting"))
            process.stdin.write(following.raw[100:])
            process.stdin.flush()
        process.stdin.close()
        assert states(process.stdout.read()) == ["accepted"]
    assert len(house.lying("waiting")) == 3


def test_a_framed_stream_is_used_whole_or_not_at_all(house: House) -> None:
    jobs = [house.job("one"), house.job("two")]
    framed = frame.framed(b"".join(job.raw for job in jobs), 2)
    for cut in (30, 200, len(framed) - 1):
        ended = house.run("--to", "@main", stdin=framed[:cut])
        assert (ended.returncode, ended.stdout) == (65, b"")
    assert house.run("--to", "@main", stdin=framed + b"x").returncode == 65
    assert house.lying("waiting") == [] and house.lying("refused") == []
    assert states(house.run("--to", "@main", stdin=framed).stdout) == ["accepted", "accepted"]


def test_clocks_that_are_apart_are_named_with_the_difference(house: House) -> None:
    framed = frame.framed(house.job().raw, 1)
    ended = house.run("--to", "@main", stdin=framed, CIT_NOW="2030-01-01T00:00:00Z")
    assert ended.returncode == 78 and b"apart" in ended.stderr and ended.stdout == b""


def test_an_empty_stream_is_nothing_to_do(house: House) -> None:
    for stream in (b"", frame.framed(b"", 0)):
        ended = house.run("--to", "@main", stdin=stream)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_tickets_as_tsv_and_json(house: House) -> None:
    job, bad = house.job("ok"), document.new("bad")
    ended = house.run("--to", "@main", "--tsv", stdin=job.raw + bad.raw)
    rows = [line.split("\t") for line in ended.stdout.decode().splitlines()]
    assert rows == [[job.id, "ok", "accepted", "", ""], [bad.id, "bad", "refused", "65", "the first section is missing, not job"]]
    ended = house.run("--to", "@main", "--json", stdin=job.raw, CIT_OUTPUT="tsv")
    (said,) = (json.loads(line) for line in ended.stdout.splitlines())
    assert (said["id"], said["name"], said["state"], said["bytes"]) == (job.id, "ok", "duplicate", len(job.raw))


def on_terminal(house: House, stdin: bytes, **environment: str) -> tuple[int, str]:
    """Status of cit-queue, and what a person sees of its output."""
    ours, its = pty.openpty()
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=its, stderr=subprocess.DEVNULL, env={**house.environment, **environment})
    os.close(its)
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how a terminal ends
            break
        shown += piece
    os.close(ours)
    return process.wait(30), shown.decode()


def test_a_terminal_shows_a_line_a_document(house: House) -> None:
    job, bad = house.job("ok"), house.job("bad", who="eve")
    status, shown = on_terminal(house, job.raw + bad.raw)
    assert status == 77
    lines = shown.splitlines()
    assert lines[0] == f"{job.id[-6:]}  accepted   ok"
    assert lines[1].startswith(f"{bad.id[-6:]}  refused    bad  the key ") and len(lines) == 2
    assert on_terminal(house, job.raw, CIT_OUTPUT="tsv")[1].splitlines() == [f"{job.id}\tok\tduplicate\t\t"]
    assert on_terminal(house, job.raw, CIT_OUTPUT="picture")[0] == 78


@pytest.mark.parametrize("words", [("--to", "@main", "--queue", "@main"), ("--outbox", "eat"), ("--nonsense",)])
def test_wrong_usage_is_2_with_a_hint(house: House, words: tuple[str, ...]) -> None:
    ended = house.run(*words)
    assert ended.returncode == 2 and b"hint: " in ended.stderr and b"Traceback" not in ended.stderr


def test_a_reader_that_goes_away_ends_it_without_a_word(house: House) -> None:
    stream = b"".join(house.job(f"n{number}").raw for number in range(40))
    line = f"{ROOT}/bin/cit-queue --to @main | true"
    ended = subprocess.run(["sh", "-c", line], input=stream, env=house.environment, capture_output=True, check=False)
    assert ended.stderr == b""
    assert set(house.push(house.job("next"))) == {"accepted"}


def test_what_arrives_wakes_the_queue_once_a_stream_and_only_if_something_was_taken(house: House) -> None:
    house.set("on-arrival", "echo woken >> woken; test -e .wake || ls waiting | wc -l >> woken")
    assert house.run("--to", "@main", stdin=house.job(who="eve").raw).returncode == 77
    time.sleep(0.3)
    assert not (house.queue / "woken").exists()
    assert house.push(*(house.job(f"n{number}") for number in range(5))) == ["accepted"] * 5
    until = time.monotonic() + 5
    while time.monotonic() < until and not (house.queue / "woken").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    assert (house.queue / "woken").read_text().split() == ["woken", "5"]
