"""Calls of interfaces: which description checks them, and that what was typed is what is signed (docs/howto/interfaces.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_format import body, clock, document, heartbeat, home
from tests.int.cit_trigger.desk import Desk, documents, verified

ROWS = [
    ["-", "interface", "-", "-", "-", "-", "Builds zlib."],
    ["version", "string", "1..8", "[0-9.]+", "1", "-", "Which version."],
    ["tests", "bool", "-", "-", "0..1", "true", ""],
    ["target", "choice", "static|shared", "-", "0..", "-", ""],
]


def described(*more: list[str]) -> bytes:
    return body.tsv([*ROWS, *more])


def offer(place: Path, rows: bytes, name: str = "zlib") -> None:
    """An interface of the account at this cit home."""
    program = place / "interfaces" / name
    program.write_text(f"#!/bin/sh\ncat <<'end'\n{rows.decode()}end\n")
    program.chmod(0o700)


def test_a_call_is_typed_and_signed(desk: Desk) -> None:
    offer(desk.home / ".cit", described())
    job = desk.one("--call", "zlib", "version=1.3", "target=static", "tests=false", "target=shared")
    assert verified(job, desk.home / ".cit/queues/main/allowed_signers")
    assert job.name == "zlib" and job.find("script") is None
    assert job.table("call") == {"interface": "zlib", "version": "1.3", "tests": False, "target": ["static", "shared"]}
    assert job.table("job")["same"] == "mine"
    assert desk.one("--call", "zlib", "-J", "other", "--same", "no", "--", "version=1").table("job").get("same") is None


REFUSED = {
    "a parameter that does not fit": (["zlib", "version=x"], 65, "parameter version is 'x'"),
    "one that is missing": (["zlib"], 65, "parameter version is needed"),
    "one that it does not have": (["zlib", "version=1", "v=1"], 65, "zlib has no parameter 'v'"),
    "no parameter": (["zlib", "version"], 65, "'version' is no parameter"),
    "no name": (["../zlib", "version=1"], 2, "no name of an interface"),
    "a script beside it": (["zlib", "--script", "x"], 2, "--call and something else to run"),
    "documents beside it": (["zlib", "--sign"], 2, "--call and something else to run"),
    "a sealed script beside it": (["zlib", "--seal-script"], 2, "--call and something else to run"),
    "no such file": (["zlib", "--interface", "none", "version=1"], 66, "none"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(desk: Desk, case: str) -> None:
    words, status, why = REFUSED[case]
    offer(desk.home / ".cit", described())
    what, _ = desk.refused("--call", *words, status=status)
    assert why in what


def test_a_file_says_what_it_is(desk: Desk) -> None:
    """What was printed elsewhere, or stands in a document; it goes before what is known here."""
    offer(desk.home / ".cit", described())
    (desk.here / "zlib.tsv").write_bytes(described(["jobs", "int", "1..4", "-", "0..1", "-", ""]))
    assert desk.one("--call", "zlib", "--interface", "zlib.tsv", "version=1", "jobs=4").table("call")["jobs"] == 4
    what, _ = desk.refused("--call", "zlib", "--interface", "zlib.tsv", "version=1", "jobs=5", status=65)
    assert "parameter jobs is 5" in what
    section = document.section("interface", "tsv", described(["jobs", "int", "-", "-", "0..1", "-", ""]), name="zlib")
    (desk.here / "moon.cit").write_bytes(document.new("moon", section).raw)
    assert desk.one("--call", "zlib", "--interface", "moon.cit", "version=1", "jobs=5").table("call")["jobs"] == 5
    what, _ = desk.refused("--call", "other", "--interface", "moon.cit", "version=1", status=65)
    assert "no description of other" in what


def test_what_builders_said_last(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several the call has to fit one; a builder that is asked for counts alone."""
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    load = desk.home / ".cit/queues/main/builders/.load"
    load.mkdir(mode=0o700)
    for builder, rows in (("moon", described()), ("star", described(["jobs", "int", "-", "-", "1", "-", ""]))):
        account = home.Account(desk.home / ".cit")
        offer(account.path, rows)
        beat = heartbeat.heartbeat(account, clock.now())
        (load / f"{builder}.cit").write_bytes(beat.raw.replace(b" sun\n", f" {builder}\n".encode(), 1))
    (desk.home / ".cit/interfaces/zlib").unlink()
    assert "jobs" not in desk.one("--call", "zlib", "version=1").table("call")
    assert desk.one("--call", "zlib", "version=1", "jobs=2").table("call")["jobs"] == 2
    assert "jobs" in desk.refused("--call", "zlib", "-w", "moon", "version=1", "jobs=2", status=65)[0]
    assert desk.one("--call", "zlib", "-w", "star", "version=1", "jobs=2").table("call")["jobs"] == 2


def test_where_nothing_is_known_it_is_signed_and_said(desk: Desk) -> None:
    ended = desk.run("cit-trigger", "--call", "docs", "version=1", "all=true", "all=x")
    assert b"its parameters are not checked here" in ended.stderr
    job = desk.one("--call", "docs", "version=1", "all=true", "all=x")
    assert job.table("call") == {"interface": "docs", "version": "1", "all": ["true", "x"]}


def test_a_call_for_each_line(desk: Desk) -> None:
    """The line in a value, or as one parameter more; a wrong one is refused where it stands."""
    offer(desk.home / ".cit", described(["text", "string", "-", "-", "0..1", "-", ""]))
    given = b"1.2\n1.3\n"
    assert [job.table("call")["version"] for job in desk.made("--call", "zlib", "--each", "-", "version={}", stdin=given)] == ["1.2", "1.3"]
    lines = ["version=1", *(f"text={text}" for text in ("$(touch gone)", "{}", "a=b", " ", "'"))]
    jobs = desk.made("--call", "zlib", "--each", "-", "version=7", stdin="".join(f"{line}\n" for line in lines[1:]).encode())
    assert [f"text={job.table('call')['text']}" for job in jobs] == lines[1:]
    ended = desk.run("cit-trigger", "--call", "zlib", "--each", "-", "version={}", stdin=b"1\nx\n", status=65)
    assert [job.table("call")["version"] for job in documents(ended.stdout)] == ["1"] and b"parameter version is 'x'" in ended.stderr
    desk.run("cit-trigger", "--call", "zlib", "--each", "-", "version=1", stdin=b"text=\xff\n", status=65)


def test_who_else_may_see_it(desk: Desk) -> None:
    assert desk.one("--watch", "all", "--", "true").table("job")["watch"] == "all"
    desk.refused("--watch", "nobody", "--", "true", status=2)


def test_with_secrets_and_files(desk: Desk) -> None:
    """What else a job may bring, a call may too."""
    offer(desk.home / ".cit", described())
    (desk.here / "token").write_text("hunter2-of-ada")
    (desk.here / "token").chmod(0o600)
    job = desk.one("--call", "zlib", "--secret", "TOKEN=@token", "--files", "token", "--keep", "*.a", "version=1")
    assert [section.kind for section in job.sections] == ["job", "call", "secret", "keep", "files", "signature"]
