"""Secrets go into a job sealed, to builders whom the submitter trusts and nobody else; never by way of a command line."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from cit_format import body, clock, document, keys, reader, seal, secret
from cit_format.document import Document
from cit_format.home import signed
from cit_format.seal import Key
from tests.int.cit_trigger.desk import Desk

CANARY = f"canary-{os.urandom(6).hex()}"
COMMAND = ("--", "true")


@pytest.fixture
def token(desk: Desk) -> str:
    path = desk.here / "token"
    path.write_text(CANARY)
    path.chmod(0o600)
    return f"TOKEN=@{path}"


def builder_key(desk: Desk) -> Key:
    return seal.key(desk.home / ".cit" / "seal")


def own_key(desk: Desk) -> Key:
    return seal.key(desk.home / ".cit" / "id_ed25519")


def enlist(desk: Desk, name: str, owner: str = "id_ed25519", tags: list[str] | None = None, age: int = 0, sealed: bool = True) -> Key:
    """Put the signed document of one more builder into the queue; its private sealing key."""
    place = desk.home / "keys"
    place.mkdir(exist_ok=True)
    key = keys.generate(place / f"{name}-{len(os.listdir(place))}", f"builder@{name}")
    said = {
        "name": name,
        "account": "build",
        "host": name,
        "key": key.public.fingerprint,
        "seal": " ".join(key.public.line.split()[:2]) if sealed else None,
        "slots": 1,
        "cpus": 1,
        "mem": "1G",
        "tmp": "1G",
        "tags": tags or [],
        "state": "up",
        "created": body.Time(clock.now() + age),
    }
    bare = document.new(name, document.section("builder", "toml", body.toml(said)))
    made = signed(bare, keys.generate(desk.home / ".cit" / owner, "x@y"), "ada@sun", "cit-builder")
    (desk.home / ".cit/queues/main/builders" / f"{made.id}-{name}.cit").write_bytes(made.raw)
    return seal.key(next(path for path in place.iterdir() if path.name.startswith(name) and not path.suffix and is_of(path, key.public.fingerprint)))


def is_of(path: Path, fingerprint: str) -> bool:
    return keys.load(path).public.fingerprint == fingerprint


def opens(job: Document, *by: Key) -> bool:
    """Whether each of these opens all that is sealed in a job, and is named."""
    named = secret.named(job)
    return named is not None and all(each.fingerprint in named and secret.contents(job, [each]) for each in by)


def said(ended: subprocess.CompletedProcess[bytes]) -> str:
    return ended.stderr.decode()


# --- what is sealed ---------------------------------------------------------------------------------------------------


def test_secret_of_a_job(desk: Desk, token: str) -> None:
    """The builder of the queue and its author open it; the document has nothing of it, and is one that a queue takes."""
    ended = desk.run("cit-trigger", "--secret", token, *COMMAND)
    job = reader.parse(ended.stdout)
    assert opens(job, builder_key(desk), own_key(desk))
    assert secret.contents(job, [own_key(desk)]) == {"TOKEN": CANARY.encode()}
    assert CANARY.encode() not in ended.stdout + ended.stderr and b"sealed to sun and your own key" in ended.stderr
    plain = subprocess.run(
        ["age", "-d", "-i", desk.home / ".cit/seal"], input=secret.sealed(job)[0].section.body(), capture_output=True, check=True
    ).stdout
    assert plain.decode() == f"{job.id}\n{job.table('job')['key']}\nTOKEN\n{CANARY}"
    desk.run("cit-queue", "--queue", "@main", stdin=ended.stdout)
    assert desk.run("cit-format", "check", "-", stdin=ended.stdout).stderr == b""


def test_each_job_has_its_own(desk: Desk, token: str) -> None:
    made = desk.made("--each", "-", "--secret", token, *COMMAND, stdin=b"1\n2\n3\n")
    assert len(made) == 3 and all(opens(job, builder_key(desk)) for job in made)
    assert len({secret.sealed(job)[0].section.raw for job in made}) == 3


def test_from_stdin_and_from_a_pipe(desk: Desk) -> None:
    job = desk.one("--secret", "A=@-", *COMMAND, stdin=b"\x00\xff\n")
    assert secret.contents(job, [own_key(desk)]) == {"A": b"\x00\xff\n"}
    piped = desk.run("bash", "-c", "cit-trigger --secret A=@<(printf hunter2) -- true")
    assert secret.contents(reader.parse(piped.stdout), [own_key(desk)]) == {"A": b"hunter2"}
    assert desk.refused("--secret", "A=@-", "--script", "-", status=2)[0] == "stdin can be read by one option only"


def test_sealed_script(desk: Desk) -> None:
    """No word of the command is left for the queue, not even as the job's name."""
    ended = desk.run("cit-trigger", "--seal-script", "--", "./deploy", CANARY)
    job = reader.parse(ended.stdout)
    assert secret.contents(job, [builder_key(desk)]) == {"script": f"#!/bin/sh\nexec ./deploy {CANARY}\n".encode()}
    assert job.name == "sealed" and b"deploy" not in ended.stdout
    assert desk.one("--seal-script", "-J", "x", *COMMAND).name == "x"
    desk.run("cit-queue", "--queue", "@main", stdin=ended.stdout)


def test_document_by_hand(desk: Desk, token: str) -> None:
    """A dry run keeps its ID, so what is sealed in it stays good; secrets can be added when it is signed."""
    unsigned = desk.run("cit-trigger", "-n", "--secret", token, *COMMAND).stdout
    more = desk.here / "more"
    more.write_text("x")
    job = desk.one("--sign", "--secret", f"MORE=@{more}", stdin=unsigned)
    assert secret.contents(job, [builder_key(desk)]) == {"TOKEN": CANARY.encode(), "MORE": b"x"}
    assert "seal-script" in desk.refused("--sign", "--seal-script", status=2, stdin=unsigned)[0]


def test_document_by_hand_with_an_open_secret(desk: Desk) -> None:
    """Somebody who writes a secret as it is is told so, before it is signed and sent."""
    unsigned = desk.run("cit-trigger", "-n", *COMMAND).stdout + b"@begin secret 1 text name=A\nhunter2\n@end secret\n"
    assert "is not sealed" in desk.refused("--sign", status=65, stdin=unsigned)[0]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["TOKEN={}", "{}", "TOKEN", "TOKEN=", "TOKEN=@", "=@{}", "a/b=@x", "-x=@x", ".x=@x", "script=@x"])
def test_value_on_the_command_line(desk: Desk, item: str) -> None:
    """Refused before a file is read, and not repeated."""
    ended = desk.run("cit-trigger", "--secret", item.format(CANARY), *COMMAND, status=2)
    assert "--secret" in said(ended) and CANARY not in said(ended) and ended.stdout == b""


def test_files_that_will_not_do(desk: Desk, token: str) -> None:
    (desk.here / "empty").touch()
    (desk.here / "large").write_bytes(bytes(seal.LIMIT + 1))
    assert "is empty" in desk.refused("--secret", "A=@empty", *COMMAND, status=65)[0]
    assert "cannot be sealed as one" in desk.refused("--secret", "A=@large", *COMMAND, status=65)[0]
    assert "No such file" in desk.refused("--secret", "A=@none", *COMMAND, status=66)[0]
    assert "twice" in desk.refused("--secret", token, "--secret", token, *COMMAND, status=2)[0]
    assert "nothing to seal" in desk.refused("--seal-to", "@main", *COMMAND, status=2)[0]


def test_file_that_others_can_read(desk: Desk, token: str) -> None:
    (desk.here / "token").chmod(0o644)
    assert "warning: others can read" in said(desk.run("cit-trigger", "--secret", token, *COMMAND))


# --- to whom ----------------------------------------------------------------------------------------------------------


def test_default_is_every_builder_that_may_get_it(desk: Desk, token: str) -> None:
    moon, star = enlist(desk, "moon", tags=["gcc"]), enlist(desk, "star", tags=["gcc", "gpu"])
    sun, own = builder_key(desk), own_key(desk)
    for options, able in (
        ((), {moon, star, sun}),
        (("-C", "gcc"), {moon, star}),
        (("-C", "gcc", "-C", "gpu"), {star}),
        (("-w", "moon"), {moon}),
    ):
        ended = desk.run("cit-trigger", "--secret", token, *options, *COMMAND)
        assert secret.named(reader.parse(ended.stdout)) == {each.fingerprint for each in (*able, own)}, options
    assert "sealed to moon and your own key" in said(ended)
    assert "no builder of @main with fpga" in desk.refused("--secret", token, "-C", "fpga", *COMMAND, status=78)[0]


def test_seal_to(desk: Desk, token: str, tmp_path: Path) -> None:
    moon, star = enlist(desk, "moon", tags=["gcc"]), enlist(desk, "star")
    own = own_key(desk)
    subprocess.run(["age-keygen", "-o", tmp_path / "age"], check=True, capture_output=True)
    word = subprocess.run(["age-keygen", "-y", tmp_path / "age"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "age.pub").write_text(f"# two\n{word}\n{keys.load(desk.home / '.cit' / 'seal').public.line}\n")
    file = seal.key(tmp_path / "age")
    for options, able in (
        (["moon"], {moon}),
        (["moon", "star"], {moon, star}),
        (["@main:gcc"], {moon}),
        (["@main"], {moon, star, builder_key(desk)}),
        ([word], {file}),
        ([str(tmp_path / "age.pub")], {file, builder_key(desk)}),
        ([str(desk.home / ".cit/seal.pub"), "star"], {builder_key(desk), star}),
    ):
        job = desk.one("--secret", token, *(word for option in options for word in ("--seal-to", option)), *COMMAND)
        assert secret.named(job) == {each.fingerprint for each in (*able, own)}, options
        assert opens(job, *able, own)
    assert "no builder of @main that you trust" in desk.refused("--secret", token, "--seal-to", "nobody", *COMMAND, status=66)[0]
    assert "no queue @none" in desk.refused("--secret", token, "--seal-to", "@none", *COMMAND, status=66)[0]
    assert "No such file" in desk.refused("--secret", token, "--seal-to", "./none", *COMMAND, status=66)[0]


def test_builder_without_a_sealing_key(desk: Desk, token: str) -> None:
    enlist(desk, "moon", sealed=False)
    assert "names no key" in desk.refused("--secret", token, "--seal-to", "moon", *COMMAND, status=78)[0]
    assert "sealed to sun and" in said(desk.run("cit-trigger", "--secret", token, *COMMAND))


def test_queue_that_names_builders_of_its_own(desk: Desk, token: str) -> None:
    """A queue can show any document it likes, and a newer one of a builder's name: nobody whom the submitter lists has signed it."""
    moon = enlist(desk, "moon")
    spy = enlist(desk, "moon", owner="spy", age=clock.HOUR)
    enlist(desk, "spy", owner="spy")
    unsigned = document.new("bare", document.section("builder", "toml", b'name = "bare"\n'))
    (desk.home / ".cit/queues/main/builders" / f"{unsigned.id}-bare.cit").write_bytes(unsigned.raw)
    queue_list = desk.home / ".cit/queues/main/allowed_signers"  # the queue's own list does not matter
    line = keys.load(desk.home / ".cit/spy").public.line
    queue_list.write_text(f'{queue_list.read_text()}spy@y namespaces="cit-builder" {line}\n')
    job = desk.one("--secret", token, *COMMAND)
    assert opens(job, moon, builder_key(desk)) and spy.fingerprint not in (secret.named(job) or ())
    assert "that you trust" in desk.refused("--secret", token, "--seal-to", "spy", *COMMAND, status=66)[0]
    own_list = desk.home / ".cit/allowed_signers"
    own_list.write_text(re.sub(r",cit-builder", "", own_list.read_text()))
    assert "can be trusted with a secret" in desk.refused("--secret", token, *COMMAND, status=78)[0]


def test_own_key_that_age_does_not_know(desk: Desk, token: str) -> None:
    (desk.home / ".cit/id_ed25519").unlink()  # as in a home whose person had a key of theirs from the start
    ssh = desk.home / ".ssh"
    ssh.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", ssh / "id_ecdsa"], check=True)
    ended = desk.run("cit-trigger", "--secret", token, *COMMAND)
    assert "note: sealed to sun\nhint: age does not know keys like yours" in said(ended)
    assert secret.named(reader.parse(ended.stdout)) == {builder_key(desk).fingerprint}


# --- an old job's -----------------------------------------------------------------------------------------------------


def test_secrets_of_an_old_job(desk: Desk, token: str) -> None:
    """Sealed anew, for the new job and for those who had them; a builder that came later gets none."""
    old = desk.here / "old.cit"
    old.write_bytes(desk.run("cit-trigger", "--secret", token, "--seal-script", "--", "./old").stdout)
    moon = enlist(desk, "moon")
    job = desk.one("--secrets-of", "old.cit", *COMMAND)
    assert secret.contents(job, [builder_key(desk)]) == {"TOKEN": CANARY.encode()}
    assert moon.fingerprint not in (secret.named(job) or ())
    assert opens(desk.one("--secrets-of", "old.cit", "--seal-to", "moon", *COMMAND), moon)
    for path in (desk.home / ".cit/queues/main/builders").glob("*-sun.cit"):
        path.unlink()
    assert "is known any more" in desk.refused("--secrets-of", "old.cit", *COMMAND, status=78)[0]


def test_old_job_of_somebody_else(desk: Desk, token: str, tmp_path: Path) -> None:
    """A text of ours in a job that another one signed, under its ID: nobody has us open it."""
    mine = desk.one("--secret", token, *COMMAND)
    spy = keys.generate(tmp_path / "spy", "spy@y")
    raw = mine.raw[: mine.sections[-1].start]
    forged = signed(reader.parse(raw), spy, "spy@y", "cit-job")
    renamed = signed(reader.parse(raw.replace(str(mine.table("job")["key"]).encode(), spy.public.fingerprint.encode())), spy, "spy@y", "cit-job")
    changed = mine.raw.replace(b"exec true", b"exec evil")
    for what, words in ((forged.raw, "another key"), (renamed.raw, "another key"), (changed, "does not match the bytes"), (raw, "no signature")):
        (desk.here / "old.cit").write_bytes(what)
        assert words in desk.refused("--secrets-of", "old.cit", *COMMAND, status=77)[0]


def test_requeue(desk: Desk, token: str) -> None:
    """The verb, on a document: script and secrets are those of the old job, in one that names it as its parent."""
    old = desk.run("cit-trigger", "-J", "deploy", "--secret", token, "--seal-script", "--", "./deploy").stdout
    (desk.here / "old.cit").write_bytes(old)
    desk.run("cit-requeue", "./old.cit")
    [path] = (desk.home / ".cit/queues/main/waiting").glob("*.cit")
    job, before = reader.parse(path.read_bytes()), reader.parse(old)
    assert secret.contents(job, [builder_key(desk)]) == secret.contents(before, [builder_key(desk)])
    assert (job.name, job.table("job")["parent"]) == ("deploy", before.id) and job.id != before.id
    assert CANARY.encode() not in path.read_bytes()
