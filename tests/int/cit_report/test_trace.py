"""trace verifies every signature and what it speaks for; ssh-keygen agrees; what is not proven is named."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cit_format import document, home, keys
from cit_format.reader import parse
from tests.int.cit_report.lived import Lived, plain


def traced(lived: Lived, path: Path, status: int) -> list[dict[str, str]]:
    return lived.rows("cit-trace", path, status=status)


@pytest.fixture
def bad(copied: Lived) -> Path:
    """A finished job's file, to be spoilt."""
    return Path(copied.run("cit-show", "--path", "bad").strip())


def test_a_finished_job_is_proven_from_end_to_end(history: Lived) -> None:
    rows = history.rows("cit-trace", "bad")
    assert {row["holds"] for row in rows} == {"good"}
    assert [(row["by"], row["says"].split(" ")[0]) for row in rows[:3]] == [("ada@sun", "wrote"), ("queue@sun", "queue"), ("queue@sun", "assigned")]
    assert rows[-1]["says"] == "result FAILED, exit 3" and rows[-1]["by"] == "builder@sun"
    assert "all 4 signatures hold" in plain(history.on_terminal("cit-trace", "bad"))


def test_ssh_keygen_agrees(history: Lived) -> None:
    path = Path(history.run("cit-show", "--path", "bad").strip())
    for program in (f"sed '/^@begin signature /,$d' {path}", "printf 'something else'"):
        signature = f"sed -n '/^@begin signature /,/^@end/{{/^@/d;p}};/^@end signature/q' {path} >sig"
        check = f"{signature}; {program} | ssh-keygen -Y verify -f {history.path}/allowed_signers -I ada@sun -n cit-job -s sig"
        done = subprocess.run(["sh", "-c", check], cwd=history.directory, capture_output=True)
        assert (done.returncode == 0) is program.startswith("sed"), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "spoilt"),
    [
        (b"it goes wrong", b"it goes right", ["ada@sun", "queue@sun", "builder@sun"]),
        (b"exit = 3\n", b"exit = 0\n", ["builder@sun"]),
        (b"weighed = ", b"weighea = ", ["queue@sun", "builder@sun"]),
    ],
)
def test_an_edit_breaks_what_comes_after_it(copied: Lived, bad: Path, old: bytes, new: bytes, spoilt: list[str]) -> None:
    bad.write_bytes(bad.read_bytes().replace(old, new))
    rows = traced(copied, bad, 77)
    assert list(dict.fromkeys(row["by"] for row in rows if row["holds"] == "BAD")) == spoilt
    assert b"does not match the bytes" in copied.completed("cit-trace", bad).stderr


def test_what_nobody_signed_is_unverified(copied: Lived, bad: Path) -> None:
    bad.write_bytes(bad.read_bytes() + document.section("event", "tsv", b"2026-11-23T20:26:12.031Z\trun\tended\tsun\tada\tall is well\n"))
    rows = traced(copied, bad, 0)
    assert (rows[-1]["holds"], rows[-1]["says"]) == ("unverified", "run ended all is well")


def test_a_builder_may_not_assign(copied: Lived, bad: Path) -> None:
    """A signature of the wrong role is named, though it verifies."""
    job = parse(bad.read_bytes())
    given = next(job.all("assignment"))
    longer = job.extended(job.raw[given.start : given.end])
    builder = keys.load(copied.path / "key")
    bad.write_bytes(home.signed(longer, builder, "builder@sun", "cit-result").raw)
    rows = traced(copied, bad, 77)
    assert rows[-1]["holds"] == "BAD" and rows[-1]["why"] == "cit-result may not say assignment"


def test_a_result_by_another_builder_than_the_assigned_one(copied: Lived, bad: Path) -> None:
    other = keys.generate(copied.directory / "other", "other@sun")
    with open(copied.queue / "allowed_signers", "a") as file:
        file.write(f'other@sun namespaces="cit-result" {other.public.line}\n')
    job = parse(bad.read_bytes())
    result = next(job.all("result"))
    bad.write_bytes(home.signed(job.extended(job.raw[result.start : result.end]), other, "other@sun", "cit-result").raw)
    done = copied.completed("cit-trace", bad)
    assert done.returncode == 77 and b"whose key is another than the result's" in done.stderr


def test_keys_are_judged_at_the_time_of_the_statement(copied: Lived, bad: Path) -> None:
    listed = (copied.queue / "allowed_signers").read_text()
    (copied.queue / "revoked_keys").write_text(next(re.finditer(r"ssh-ed25519 \S+", listed))[0] + "\n")
    (copied.queue / "revoked_keys").chmod(0o600)
    rows = traced(copied, bad, 0)
    assert rows[0]["why"] == "its key was revoked since" and {row["why"] for row in rows[1:]} == {""}
    strict = copied.directory / "strict"
    strict.write_text(listed.replace('namespaces="cit-job', 'valid-before="20200101Z",namespaces="cit-job'))
    strict.chmod(0o600)
    done = copied.completed("cit-trace", "--signers", strict, bad)
    assert done.returncode == 77 and b"is not valid after" in done.stderr


def test_an_unsigned_document_proves_nothing(history: Lived) -> None:
    unsigned = history.directory / "unsigned.cit"
    unsigned.write_text(history.run("cit-trigger", "-n", "--", "true"))
    done = history.completed("cit-trace", unsigned)
    assert done.returncode == 77 and b"nothing is signed" in done.stderr
