"""Commands, scripts and lines: the job gets the very words that were typed, under a name that is one, signed by who typed them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from cit_format import grammar
from tests.int.cit_trigger.desk import NASTY, Desk, documents, verified

SHOW = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"


def words_of(script: bytes, at: Path) -> list[str]:
    """The arguments that a script gives to the program that it becomes."""
    (at / "script").write_bytes(script)
    (at / "script").chmod(0o755)
    ended = subprocess.run([at / "script"], cwd=at, capture_output=True, check=True)
    assert not (at / "gone").exists()
    return [os.fsdecode(word) for word in ended.stdout.split(b"\0")]


def script_of(desk: Desk, *argv: str, stdin: bytes = b"") -> bytes:
    section = desk.one(*argv, stdin=stdin).find("script")
    assert section
    return section.body()


def test_command_gets_the_very_words(desk: Desk) -> None:
    wanted = [*NASTY, "last"]
    assert words_of(script_of(desk, "--", "python3", "-c", SHOW, *wanted), desk.here) == wanted


def test_line_is_one_word_whatever_is_in_it(desk: Desk) -> None:
    wanted = [text for text in NASTY if "\n" not in text]
    given = b"".join(os.fsencode(text) + b"\n" for text in wanted)
    made = desk.made("--each", "-", "--", "python3", "-c", SHOW, stdin=given)
    scripts = [section.body() for job in made if (section := job.find("script"))]
    assert [words_of(script, desk.here) for script in scripts] == [[text] for text in wanted]


def test_braces_stand_for_the_line_in_any_word(desk: Desk) -> None:
    words = words_of(script_of(desk, "--each", "-", "--", "python3", "-c", SHOW, "a{}b{}", "{", "$x{}", stdin=b"it's $(x)\n"), desk.here)
    assert words == ["ait's $(x)bit's $(x)", "{", "$xit's $(x)"]


def test_without_a_command_each_line_is_one(desk: Desk) -> None:
    made = desk.made("--each", "-", stdin=b"echo a; exit 3\n\n  ./run 'x y'\n")
    assert [(job.name, section.body()) for job in made if (section := job.find("script"))] == [
        ("echo", b"#!/bin/sh\necho a; exit 3\n"),
        ("run", b"#!/bin/sh\n  ./run 'x y'\n"),
    ]


def test_each_reads_a_file_whose_last_line_has_no_newline(desk: Desk) -> None:
    (desk.here / "list").write_text("one\ntwo")
    assert [job.name for job in desk.made("--each", "list", "--", "build-{}")] == ["build-one", "build-two"]


def test_jobs_of_lines_are_written_as_lines_come(desk: Desk) -> None:
    argv = ["cit-trigger", "--each", "-", "--", "true"]
    with subprocess.Popen(argv, env=desk.environment, cwd=desk.here, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            stream = b""
            while not stream.endswith(b"@end signature\n"):
                piece = os.read(process.stdout.fileno(), 65536)
                assert piece
                stream += piece
            (job,) = documents(stream)
            assert line.strip() in job.raw
        process.stdin.close()


def test_ten_thousand_lines_are_each_a_signed_job_of_its_own(desk: Desk) -> None:
    (desk.here / "list").write_text("".join(f"{number}\n" for number in range(10_000)))
    began = time.monotonic()
    made = desk.made("--each", "list", "--", "echo")
    assert time.monotonic() - began < 60  # a bound against minutes, no measurement
    assert len({job.id for job in made}) == 10_000
    assert all(job.raw.count(b"\n@begin signature ") == 1 for job in made)
    assert verified(made[-1], desk.home / ".cit/allowed_signers")


def test_script_is_taken_as_it_stands(desk: Desk) -> None:
    text = b"#!/bin/sh -e\n@end script\n\t$x `y`\n\n"
    (desk.here / "Build It.sh").write_bytes(text)
    job = desk.one("--script", "Build It.sh")
    assert (job.name, script_of(desk, "--script", "-", stdin=text), script_of(desk, "--script", "Build It.sh")) == ("build-it.sh", text, text)


def test_script_gets_the_last_newline_that_it_lacks(desk: Desk) -> None:
    job = desk.one("--script", "-", stdin=b"#!/bin/sh\ntrue")
    section = job.find("script")
    assert section and (section.body(), section.written) == (b"#!/bin/sh\ntrue\n", "")


@pytest.mark.parametrize("command", ["make", "/usr/bin/MAKE", "./a b.sh", "-x/$(y)", "ä€", "...", "a" * 100, "\udcff", "_", "x\ny", "dir/"])
def test_name_is_made_of_the_command(desk: Desk, command: str) -> None:
    job = desk.one("--", "./" + command.lstrip("-") if command.startswith("-") else command, "x")
    assert grammar.NAME.fullmatch(job.name)
    assert command != "/usr/bin/MAKE" or job.name == "make"


def test_name_that_is_none_is_refused_with_one_that_is(desk: Desk) -> None:
    for name in ["", "Zlib Nightly", "-x", "a/b", "ä", "x" * 65, "a\nb"]:
        what, hint = desk.refused("--name", name, "--", "true", status=2)
        assert "is no name of a job" in what
        assert grammar.NAME.fullmatch(hint.rpartition("--name ")[2])


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        ([], "nothing to run"),
        (["--"], "nothing to run"),
        (["--", ""], "nothing to run"),
        (["make"], "a command without -- before it"),
        (["echo", "--", "x"], "a command without -- before it"),
        (["--", "-oProxyCommand=x"], "'-oProxyCommand=x' is no command"),
        (["--script", "x", "--", "true"], "a script and a command"),
        (["--script", "x", "--each", "y"], "a script and --each"),
        (["--script", "-", "--each", "-"], "stdin can be read by one option only"),
        (["--sign", "--each", "y"], "--sign and something to run"),
        (["--no-such-option", "--", "true"], "No such option: --no-such-option"),
    ],
)
def test_command_line_that_asks_for_two_things_or_none(desk: Desk, argv: list[str], what: str) -> None:
    assert what in desk.refused(*argv, status=2)[0]


def test_files_that_are_not_there(desk: Desk) -> None:
    for argv in (["--script", "gone"], ["--each", "gone", "--", "true"], ["--files", "gone", "--", "true"], ["--config", "gone", "--", "true"]):
        assert "gone" in desk.refused(*argv, status=66)[0]


def test_empty_script_is_no_job(desk: Desk) -> None:
    assert "is empty" in desk.refused("--script", "-", stdin=b" \n", status=65)[0]


def test_signature_holds_for_ssh_keygen(desk: Desk) -> None:
    """Not for another person, and not once a byte has changed."""
    job = desk.one("--", "echo", "hi")
    allowed = desk.home / ".cit/allowed_signers"
    assert verified(job, allowed)
    assert not verified(job, allowed, by="ben@sun")
    changed = documents(job.raw.replace(b"exec echo hi", b"exec echo ho"))[0]
    assert not verified(changed, allowed)


def test_dry_run_writes_what_would_be_signed(desk: Desk) -> None:
    pinned = {"CIT_NOW": "2026-11-23T20:26:11Z", "CIT_ID": "01kax0m2ht8f0v3q6s9y2c4e7g"}
    unsigned, signed = desk.one("-n", "--", "true", **pinned), desk.one("--", "true", **pinned)
    assert unsigned.find("signature") is None
    assert signed.raw.startswith(unsigned.raw)


def test_pinned_clock_and_id_give_the_same_bytes(desk: Desk) -> None:
    pinned = {"CIT_NOW": "2026-11-23T20:26:11Z", "CIT_ID": "01kax0m2ht8f0v3q6s9y2c4e7g"}
    first, second = desk.made("--each", "-", "--", "true", stdin=b"a\nb\n", **pinned)
    assert (first.id, second.id) == ("01kax0m2ht8f0v3q6s9y2c4e7g", "01kax0m2ht8f0v3q6s9y2c4e7h")
    assert first.raw + second.raw == desk.run("cit-trigger", "--each", "-", "--", "true", stdin=b"a\nb\n", **pinned).stdout
    assert first.table("job")["created"] == second.table("job")["created"]
