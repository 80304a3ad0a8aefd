"""The program cit-format, run as people run it: files or a pipe in, statuses and words out."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cit_format import append, clock, document, listing, reader, upto
from cit_format.document import Document, section
from tests.int.cit_format.jobs import ID, NOW, Yard, job_like

NOTE = section("note", "text", b"hello\n@end note\n")


def run(*words: object, stdin: bytes = b"", cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[bytes]:
    """cit-format with a clock, and a home that is not there."""
    environment = {**os.environ, "CIT_NOW": clock.iso(NOW), "CIT_HOST": "sun", "CIT_HOME": "/nonexistent", **more}
    command = [sys.executable, "-m", "cit_format", *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, env=environment)


def said(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """The lines of stderr without time and pid."""
    return [line.split("]: ", 1)[-1] for line in done.stderr.decode().splitlines()]


@pytest.fixture
def job(tmp_path: Path, yard: Yard) -> Path:
    path = tmp_path / "job.cit"
    path.write_bytes(yard.job().raw)
    return path


@pytest.fixture
def allowed(tmp_path: Path, yard: Yard) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(yard.allowed)
    path.chmod(0o600)
    return path


# all of them


def test_without_a_command_the_menu_is_shown_and_an_unknown_one_is_usage() -> None:
    assert all(
        word in run("--help").stdout.decode()
        for word in ["list", "check", "get", "add", "sign", "verify", "upto", "fmt", "frame", "unframe", "through"]
    )
    done = run("frobnicate")
    assert done.returncode == 2 and said(done)[-1] == "hint: cit-format --help says what it takes"


def test_a_missing_file_does_not_stop_the_others(job: Path) -> None:
    done = run("list", "missing.cit", job, "absent.cit")
    assert done.returncode == 66 and done.stdout.count(b"\n") == 3
    assert said(done)[0] == "missing.cit: error: no such file"


def test_a_faulty_document_does_not_stop_the_others_and_the_worst_status_wins(job: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.cit").write_bytes(job_like(1).raw + b"text\n" + job_like(2).raw)
    done = run("list", "missing.cit", tmp_path / "bad.cit", job)
    assert done.returncode == 65
    assert [line.split("\t")[0] for line in done.stdout.decode().splitlines()] == [job_like(2).id] + [ID] * 3
    assert f"{tmp_path}/bad.cit: {job_like(1).label}: line 5: error: text between sections" in said(done)


def test_a_frame_is_taken_everywhere_whatever_the_clock(job: Path) -> None:
    framed = run("frame", job).stdout
    assert framed.startswith(b"@cit-stream 1 1 ")
    assert run("list", stdin=framed, CIT_NOW="2030-01-01T00:00:00Z").stdout == run("list", job).stdout
    assert run("get", "script", stdin=framed[:-5]).returncode == 65


def test_a_reader_that_ends_early_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "many.cit").write_bytes(b"".join(job_like(number).raw for number in range(5000)))
    command = f"{sys.executable} -m cit_format list {tmp_path}/many.cit | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True)
    assert done.stdout.count(b"\n") == 1 and done.stderr == b""


# list, get, upto


def test_list_prints_the_canonical_listing() -> None:
    one = document.new("a", section("note", "text", b"@end\n", 1, by="x y"), section("files", "tar", b"\0"), identity=ID)
    lines = [line.split("\t") for line in run("list", stdin=one.raw).stdout.decode().splitlines()]
    assert [line[:7] for line in lines] == [[ID, "1", "note", "1", "text", "by=x%20y", "5"], [ID, "2", "files", "1", "tar", "enc=base64", "1"]]
    assert "".join(listing.listed(reader.reader_of(one.raw))) == "".join("\t".join(line) + "\n" for line in lines)  # type: ignore[arg-type]


def test_get_gives_the_body_itself(yard: Yard) -> None:
    one = document.new("a", NOTE, section("files", "tar", b"\0\xff"), section("note", "text", b"two\n"), identity=ID)
    assert run("get", "note", stdin=one.raw).stdout == b"hello\n@end note\n"
    assert run("get", "files", stdin=one.raw).stdout == b"\0\xff"
    assert run("get", "note", "--number", 2, stdin=one.raw).stdout == b"two\n"
    assert run("get", "files", "--header", stdin=one.raw).stdout == b"@begin files 1 tar enc=base64\n\0\xff"
    missing = run("get", "note", "--number", 3, stdin=one.raw)
    assert (missing.returncode, said(missing)[0]) == (66, f"{one.label}: error: no section note number 3")


def test_get_signed_gives_only_what_the_first_signature_covers(yard: Yard) -> None:
    late = yard.job().extended(section("note", "text", b"late\n"))
    assert run("get", "note", stdin=late.raw).stdout == b"late\n"
    assert run("get", "--signed", "note", stdin=late.raw).returncode == 66
    assert run("get", "--signed", "script", stdin=late.raw).stdout == b"#!/bin/sh\necho hi\n"
    assert run("get", "--signed", "note", stdin=job_like(1).raw).returncode == 66


@pytest.fixture(scope="session")
def story(yard: Yard) -> dict[str, Document]:
    """A job that was given out twice, at each of its ends."""
    event = section("event", "tsv", b"2026-11-23T20:30:00.000Z\tqueue\taccepted\tsun\tcit\t\n")
    submitted = yard.job(attempts=2)
    accepted = yard.signed(submitted.extended(event), "queue@sun", "cit-queue")
    first = yard.assigned(accepted)
    ended = yard.ended(first)
    second = yard.assigned(ended, attempt=2)
    done = yard.ended(second)
    return {"submitted": submitted, "accepted": accepted, "first": first, "ended": ended, "second": second, "done": done}


@pytest.mark.parametrize(
    "stage, attempt, end",
    [
        ("queue", None, "submitted"),
        ("schedule", None, "ended"),
        ("schedule", 1, "accepted"),
        ("deliver", None, "second"),
        ("run", None, "second"),
        ("run", 1, "first"),
        ("sync", 1, "ended"),
        ("sync", None, "done"),
        ("report", None, "done"),
    ],
)
def test_upto_is_what_the_stage_read(story: dict[str, Document], stage: str, attempt: int | None, end: str) -> None:
    words = ["--attempt", attempt] if attempt else []
    whole = story["done"].extended(section("event", "tsv", b"2026-11-23T20:30:00.000Z\tqueue\tdone\tsun\tcit\t\n"))
    wanted = whole.raw if stage == "report" else story[end].raw
    assert run("upto", stage, *words, stdin=whole.raw).stdout == wanted


@pytest.mark.parametrize(
    "stage, attempt, end, what",
    [
        ("run", None, "accepted", "no assignment"),
        ("run", 3, "done", "no assignment of attempt 3"),
        ("sync", None, "second", "no signature for cit-result"),
        ("sync", 1, "first", "no signature for cit-result"),
    ],
)
def test_upto_where_the_document_did_not_come_so_far(story: dict[str, Document], stage: str, attempt: int | None, end: str, what: str) -> None:
    with pytest.raises(Exception, match=f"^[^:]*: {what}$") as caught:
        upto.upto(story[end], stage, attempt)
    assert getattr(caught.value, "status", None) == 66


def test_upto_of_a_job_that_still_waits_is_all_of_it_for_the_scheduler(story: dict[str, Document]) -> None:
    assert upto.upto(story["accepted"], "schedule") == story["accepted"].raw
    assert run("upto", "fly", stdin=b"").returncode == 0
    assert run("upto", "fly", stdin=story["done"].raw).returncode == 2


# add, sign, verify


def test_add_appends_to_a_file(job: Path) -> None:
    before = job.read_bytes()
    assert run("add", "note", "text", "colour=light blue", "--to", job, stdin=b"hi\n").returncode == 0
    assert job.read_bytes() == before + b"@begin note 1 text colour=light%20blue\nhi\n@end note\n"


def test_add_is_a_filter_with_the_body_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\0")
    stream = job_like(1).raw + job_like(2).raw
    done = run("add", "files", "tar", "--file", tmp_path / "body", stdin=stream)
    piece = section("files", "tar", b"\0")
    assert done.stdout == job_like(1).raw + piece + job_like(2).raw + piece


@pytest.mark.parametrize(
    "words, status",
    [
        (["note", "text"], 2),
        (["No", "text", "--to", "JOB"], 2),
        (["note", "Text", "--to", "JOB"], 2),
        (["note", "text", "novalue", "--to", "JOB"], 2),
        (["note", "text", "a=1", "a=2", "--to", "JOB"], 2),
        (["note", "text", "enc=hex", "--to", "JOB"], 2),
        (["script", "sh", "--to", "JOB"], 77),
        (["note", "text", "--to", "missing.cit"], 66),
    ],
)
def test_add_refuses_and_changes_nothing(job: Path, words: list[str], status: int) -> None:
    before = job.read_bytes()
    done = run("add", *(str(job) if word == "JOB" else word for word in words), stdin=b"x\n")
    assert done.returncode == status and job.read_bytes() == before and len(said(done)) == 2, done.stderr


def test_sign_closes_a_job_for_its_submitter(tmp_path: Path, yard: Yard, allowed: Path) -> None:
    unsigned = document.new("zlib", yard.head(), section("script", "sh", b"echo\n"), identity=ID)
    key = tmp_path / "key"
    key.write_bytes(_private(yard, "ada"))
    key.chmod(0o600)
    done = run("sign", "--key", key, stdin=unsigned.raw)
    assert done.returncode == 0, done.stderr
    verified = run("verify", "--signers", allowed, "--ns", "cit-job", "--identity", "ada@sun", stdin=done.stdout)
    fingerprint = yard.keys["ada@sun"].public.fingerprint
    assert verified.stdout.decode() == f"{ID}\t3\tcit-job\tada@sun\t{fingerprint}\tjob,script\tholds\n"
    (tmp_path / "a.cit").write_bytes(unsigned.raw)
    assert run("sign", "--key", key, tmp_path / "a.cit").returncode == 0
    assert (tmp_path / "a.cit").read_bytes() == done.stdout, "ed25519 signs the same bytes in the same way"


def _private(yard: Yard, name: str) -> bytes:
    return (Path(yard.place) / name).read_bytes()


def test_sign_asks_for_the_role_where_it_is_not_plain(job: Path, yard: Yard, tmp_path: Path, allowed: Path) -> None:
    for name in ("queue", "ben"):
        (tmp_path / name).write_bytes(_private(yard, name))
        (tmp_path / name).chmod(0o600)
    before = job.read_bytes()
    assert run("sign", "--key", tmp_path / "queue", job).returncode == 2 and job.read_bytes() == before
    assert run("sign", "--key", tmp_path / "queue", "--ns", "cit-queue", "--by", "queue@sun", job).returncode == 0
    assert run("verify", "--signers", allowed, "--ns", "cit-queue", job).returncode == 0
    unsigned = document.new("zlib", yard.head(), identity=ID)
    other = run("sign", "--key", tmp_path / "ben", stdin=unsigned.raw)
    assert other.returncode == 77 and "it names key" in said(other)[0] and other.stdout == b""


def test_verify_tells_each_signature_and_77_where_one_does_not_hold(yard: Yard, allowed: Path) -> None:
    whole = yard.ended(yard.assigned(yard.job()))
    assert [
        line.split("\t")[2:4] + line.split("\t")[5:] for line in run("verify", "--signers", allowed, stdin=whole.raw).stdout.decode().splitlines()
    ] == [
        ["cit-job", "ada@sun", "job,script", "holds"],
        ["cit-queue", "queue@sun", "assignment", "holds"],
        ["cit-result", "builder@sun", "result", "holds"],
    ]
    forged = run("verify", "--signers", allowed, stdin=whole.raw.replace(b"COMPLETED", b"FAILED"))
    assert forged.returncode == 77
    assert [line.split("\t")[-1].split(":")[0] for line in forged.stdout.decode().splitlines()] == ["holds", "holds", "does not hold"]
    assert any(line.startswith(f"{whole.label}: section 7: error: the signature by") for line in said(forged))


def test_verify_counts_only_what_a_role_may_say(yard: Yard, allowed: Path) -> None:
    """A builder's signature over an assignment holds, and does not speak for it."""
    odd = yard.signed(yard.job().extended(section("assignment", "toml", b"")), "builder@sun", "cit-result")
    assert run("verify", "--signers", allowed, stdin=odd.raw).stdout.decode().splitlines()[1].split("\t")[5:] == ["-", "holds"]


@pytest.mark.parametrize(
    "words, what", [(["--ns", "cit-queue"], "no signature for cit-queue holds"), (["--identity", "ben@sun"], "no signature by ben@sun holds")]
)
def test_verify_wants_the_role_and_person_that_are_asked_for(job: Path, allowed: Path, words: list[str], what: str) -> None:
    done = run("verify", "--signers", allowed, *words, job)
    assert done.returncode == 77 and what in said(done)[0]


def test_verify_of_what_is_unsigned_or_without_lists(job: Path, allowed: Path) -> None:
    assert run("verify", "--signers", allowed, stdin=job_like(1).raw).returncode == 77
    assert run("verify", job).returncode == 66


# fmt


TYPED = b"""\xef\xbb\xbf@cit  1  01kax0m2ht8f0v3q6s9y2c4e7g   zlib\r
@begin job\r
# what I want\r
cpus=2\t# two\r
time   =   "30m"\r
retry-on=["fail","75",]\r
@end  job\t\r
\r
@begin   script 1  sh\r
#!/bin/sh
echo 'a = b'
@end script
@begin weather 3 json at=here
{ }
@end weather"""
FORMATTED = b"""@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g zlib
@begin job 1 toml
# what I want
cpus = 2  # two
time = "30m"
retry-on = ["fail", "75"]
@end job
@begin script 1 sh
#!/bin/sh
echo 'a = b'
@end script
@begin weather 3 json at=here
{ }
@end weather
"""


def test_fmt_writes_the_one_form_and_leaves_it_then() -> None:
    assert run("fmt", stdin=TYPED).stdout == FORMATTED
    assert run("fmt", stdin=FORMATTED).stdout == FORMATTED


def test_fmt_gives_a_document_an_id_where_it_has_none() -> None:
    assert run("fmt", stdin=b"@cit zlib\n", CIT_ID=ID).stdout == f"@cit 1 {ID} zlib\n".encode()


def test_fmt_refuses_what_is_signed_and_goes_on(job: Path) -> None:
    done = run("fmt", stdin=job.read_bytes() + FORMATTED)
    assert (done.returncode, done.stdout) == (1, FORMATTED)


@pytest.mark.parametrize("typed", [b"hello\n", FORMATTED.replace(b"@end job\n", b""), FORMATTED.replace(b"@end job", b"@end jop"), b"@cit 1 A B C\n"])
def test_fmt_guesses_nothing(typed: bytes) -> None:
    done = run("fmt", stdin=typed)
    assert (done.returncode, done.stdout) == (65, b"")


# frames


def test_unframe_gives_all_or_nothing(job: Path) -> None:
    framed = run("frame", job, job).stdout
    assert run("unframe", stdin=framed).stdout == job.read_bytes() * 2
    for cut in (framed[:-1], framed + b"x", framed.replace(b" 2 ", b" 1 ", 1)):
        done = run("unframe", stdin=cut)
        assert (done.returncode, done.stdout) == (65, b"")
    assert run("unframe", stdin=framed, CIT_NOW="2030-01-01T00:00:00Z").returncode == 78
    assert run("unframe", stdin=job.read_bytes()).stdout == job.read_bytes()
    assert run("unframe", "--strict", stdin=job.read_bytes()).returncode == 65
    assert run("frame", stdin=job.read_bytes() + b"x\n").stdout == b""


# on a terminal


def test_on_a_terminal_verify_shows_a_table_with_a_header(job: Path, allowed: Path) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "cit_format", "verify", "--signers", str(allowed), str(job)]
    subprocess.run(command, stdout=child, stdin=subprocess.DEVNULL, check=True, env={**os.environ, "CIT_NOW": clock.iso(NOW)})
    os.close(child)
    lines = os.read(parent, 10_000).decode().splitlines()
    os.close(parent)
    assert lines[0].split()[:4] == ["id", "number", "namespace", "by"] and lines[1].split()[:4] == [ID, "3", "cit-job", "ada@sun"]
    assert lines[0].index("verdict") == lines[1].index("holds")


def test_words_of_a_command_line_make_one_section() -> None:
    assert append.added("note", "text", b"x", ["a=b=c", "d="]) == b"@begin note 1 text a=b=c d= enc=base64\neA==\n@end note\n"
