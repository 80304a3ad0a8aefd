"""Secrets on a builder: opened by it alone, given to their job as files; what is not for it, or not for this job, is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cit_run import secrets
from cit_run.cit_format import door, home, keys, reader, seal, secret
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CONFIG, DATA, DENIED
from tests.int.cit_run.kit import Bench
from tests.int.cit_run.sealed import CANARY, PRINTS, holding, job, nothing_left, recipient, send, signed, taken

# --- handed over ------------------------------------------------------------------------------------------------------


def test_job_finds_its_secrets(bench: Bench) -> None:
    """As files that it alone can read, byte for byte, on a memory file system."""
    script = '#!/bin/sh\ncd "$CIT_SECRETS"\nstat -c "%a %F" . *\nsha256sum *\nstat -f -c %T .\nfind "$CIT_WORKSPACE"/.cit/\n'
    made = send(bench, job(bench, script, TOKEN=CANARY, **{"a key": "one\ntwo\n"}))
    bench.run()
    lines = bench.log(made).splitlines()
    assert bench.result(made)["state"] == "COMPLETED" and lines[:3] == ["700 directory", "400 regular file", "400 regular file"]
    for name, content in (("TOKEN", CANARY), ("a key", "one\ntwo\n")):
        digest = subprocess.run(["sha256sum"], input=content.encode(), capture_output=True, check=True).stdout.split()[0].decode()
        assert f"{digest}  {name}" in lines
    assert "tmpfs" in lines or not secrets.bases()
    nothing_left(bench)


def test_sealed_script(bench: Bench) -> None:
    """It runs as any other, by its own first line, from among the secrets; the record has nothing of it."""
    script = f'#!/bin/sh -e\n# {CANARY}\necho "$0"\ntest ! -e "$CIT_WORKSPACE/.cit/script"\nexit 3\n'
    made = send(bench, job(bench, script, is_sealed=True, TOKEN="something else"))
    bench.run()
    assert bench.result(made)["exit"] == 3
    assert bench.log(made).endswith("/script\n") and not bench.log(made).startswith(str(bench.account.path))
    nothing_left(bench)


def test_without_memory_file_system(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then in the record; gone as well."""
    monkeypatch.setattr(secrets, "bases", lambda: ())
    made = bench.assigned(job(bench, PRINTS))
    record = bench.record(made)
    record.mkdir(parents=True)
    directory = secrets.handed_over(made, bench.account.path, f"{made.id}.a1-{made.name}")
    assert directory == str(record / "secrets") and holding(record) == [f"{directory}/TOKEN"]
    secrets.clear(bench.account.path, f"{made.id}.a1-{made.name}")
    nothing_left(bench, directory)


def test_full_memory_file_system(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next place is taken, and nothing stays in the first."""
    full = tmp_path / "full"
    full.mkdir()
    monkeypatch.setattr(secrets, "bases", lambda: (str(full),))
    monkeypatch.setattr(secrets, "written", lambda path, content: fails(path, str(full), content))
    made = bench.assigned(job(bench, PRINTS))
    bench.record(made).mkdir(parents=True)
    assert secrets.handed_over(made, bench.account.path, f"{made.id}.a1-{made.name}") == str(bench.record(made) / "secrets")
    assert list(full.iterdir()) == []


def fails(path: str, below: str, content: bytes) -> None:
    if path.startswith(below):
        raise OSError(28, "No space left on device")
    Path(path).write_bytes(content)


@pytest.mark.parametrize(
    "kind, mounts, path", [("tmpfs", "a / ext4 r\nb /dev/shm tmpfs r\n", "/dev/shm"), ("ext4", "a / ext4 r\nb /dev tmpfs r", "/devs")]
)
def test_kind_of_file_system(kind: str, mounts: str, path: str) -> None:
    assert secrets.type_of(mounts, path) == kind


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(bench: Bench, made: Document, words: str, status: int = DENIED) -> None:
    """By the door with a ticket, by a pass, and as a filter; no byte of the secret is written, and the job does not run."""
    assigned = bench.assigned(made)
    (ticket,) = door.put_inbox(bench.account, [assigned])
    said = ticket.table("ticket")
    assert (said["state"], said["status"]) == ("refused", status) and words in str(said["why"])
    (bench.account / "inbox" / f"1000-0000000000000001.{assigned.id}.a1-{assigned.name}.cit").write_bytes(assigned.raw)
    assert words in bench.run(status=status)
    assert [name for name in os.listdir(bench.account / "refused") if assigned.id in name]
    run = bench.filtered(made)
    assert run.returncode == status and words in run.stderr.decode() and b"result" not in run.stdout
    assert not list((bench.account / "work").glob("*.log"))
    nothing_left(bench)


def test_builder_that_is_not_named(bench: Bench, tmp_path: Path) -> None:
    other = seal.recipient(keys.generate(tmp_path / "other", "x@y").public.line)
    refused(bench, job(bench, PRINTS, [other]), "is sealed to others")


def test_builder_that_is_named_once_only(bench: Bench, tmp_path: Path) -> None:
    """It could open the one and lacks the other: it gets none."""
    other = seal.recipient(keys.generate(tmp_path / "other", "x@y").public.line)
    bare = bench.job(PRINTS)
    to = {"TOKEN": [recipient(bench), other], "OTHER": [other]}
    pieces = [secret.section(bare.id, bench.person.public.fingerprint, name, CANARY.encode(), keyed) for name, keyed in to.items()]
    refused(bench, signed(bench, bare, bare.raw[bare.sections[0].start : bare.sections[-1].start], *pieces), "is sealed to others")


def test_flipped_byte(bench: Bench) -> None:
    """Signed as it is: its author's mistake, or somebody who had the key. Not a byte of the whole secret is used."""
    made = job(bench, PRINTS, A="good", TOKEN=CANARY)
    (_, broken) = secret.sealed(made)
    for at in range(len(seal.BEGIN), len(broken.section.raw) - len(seal.END) - 1, 97):
        flipped = bytearray(made.raw[: made.sections[-1].start])
        place = flipped.index(broken.section.raw) + at
        flipped[place] = ord("A") if flipped[place] != ord("A") else ord("B")
        bad = home.signed(reader.parse(bytes(flipped)), bench.person, home.person(), "cit-job")
        (ticket,) = door.put_inbox(bench.account, [bench.assigned(bad)])
        assert ticket.table("ticket")["state"] == "refused", at
    refused(bench, bad, "does not open")


def test_secret_of_another_job(bench: Bench) -> None:
    mine, bare = job(bench, PRINTS), bench.job(PRINTS)
    (own,) = secret.sealed(mine)
    moved = mine.raw[own.section.start : own.section.end]
    refused(bench, signed(bench, bare, bare.raw[bare.sections[0].start : bare.sections[-1].start], moved), "sealed for another job")


def test_sealed_section_of_another_kind(bench: Bench) -> None:
    bare = bench.job(PRINTS)
    keyed = f"@begin env 1 tsv enc=age to={recipient(bench).fingerprint}\nx\n@end env\n".encode()
    whole = bare.raw[bare.sections[0].start : bare.sections[-1].start] + keyed
    refused(bench, signed(bench, bare, whole), "section env is sealed", DATA)


def test_key_that_others_can_read(bench: Bench) -> None:
    """The account's fault, not the job's: it stays in the inbox until that is mended."""
    made = send(bench, job(bench, PRINTS))
    (bench.account / "seal").chmod(0o644)
    assert "others can read" in bench.run(status=CONFIG)
    assert bench.names("inbox") and not bench.names("refused")
    (bench.account / "seal").chmod(0o600)
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED"


def test_key_that_changed_before_the_start(bench: Bench) -> None:
    """It opened when it was taken, and does not when it begins: the job ends without a start, and says why; the one behind it runs."""
    made = taken(bench, job(bench, PRINTS))
    for name in ("seal", "seal.pub"):
        (bench.account / name).unlink()
    keys.generate(bench.account / "seal", "x@y")
    behind = bench.send("#!/bin/sh\n")
    bench.run("--slots", "1")
    result = bench.result(made)
    assert (result["state"], result["exit"]) == ("FAILED", 125) and "sealed to others" in str(result["why"])
    assert bench.result(behind)["state"] == "COMPLETED"
