"""Sealing agrees with age(1) both ways; what is sealed opens in its own job only, whole or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cit_format import body, document, keys, reader, seal, secret
from cit_format.document import Document
from cit_format.errors import CONFIG, DATA, DENIED, NOT_FOUND, CitError
from cit_format.seal import Key, Recipient

PAGE = Path(__file__).resolve().parents[3] / "docs" / "format" / "secret.md"
PASSPHRASE = "open sesame"
CONTENT = b"hunter2\0\xff\nand more\n"


def made(directory: Path, kind: str, passphrase: str = "") -> Path:
    """A private key file made by the program whose kind it is; its public half lies beside it in .pub."""
    path = directory / kind
    if kind == "age":
        run("age-keygen", "-o", str(path))
        path.with_suffix(".pub").write_bytes(run("age-keygen", "-y", str(path)))
    else:
        size = ["-b", "2048"] if kind == "rsa" else []
        run("ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-f", str(path))
    return path


def run(*command: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=30).stdout


def public(path: Path) -> Recipient:
    (found,) = seal.recipients(path.with_suffix(".pub").read_text(), str(path))
    return found


def refusal(status: int, act: object, *given: object, **named: object) -> str:
    """The words of the error that this has to raise."""
    with pytest.raises(CitError) as caught:
        act(*given, **named)  # type: ignore[operator]
    assert caught.value.status == status, caught.value
    return f"{caught.value.what}; {caught.value.hint}"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("ring")
    return {kind: made(directory, kind) for kind in ("ed25519", "rsa", "age", "ecdsa")}


@pytest.fixture(scope="module")
def builder(ring: dict[str, Path]) -> Key:
    return seal.key(ring["ed25519"])


# --- with age(1) ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "age"])
def test_age_opens_what_we_seal(ring: dict[str, Path], kind: str) -> None:
    armour = seal.sealed(CONTENT, map(public, (ring["ed25519"], ring["rsa"], ring["age"])))
    assert run("age", "-d", "-i", str(ring[kind]), stdin=armour) == CONTENT
    assert seal.opened(armour, [seal.key(ring[kind])]) == CONTENT


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "age"])
def test_we_open_what_age_seals(ring: dict[str, Path], kind: str) -> None:
    armour = run("age", "-a", "-R", str(ring[kind].with_suffix(".pub")), stdin=CONTENT)
    assert seal.opened(armour, [seal.key(ring["ed25519"]), seal.key(ring[kind])]) == CONTENT


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_key_with_a_passphrase(tmp_path: Path, kind: str) -> None:
    """It is unlocked in memory: the file stays as it is, and no other appears."""
    path = made(tmp_path, kind, PASSPHRASE)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    armour = seal.sealed(CONTENT, [public(path)])
    assert seal.opened(armour, [seal.key(path, lambda asked: PASSPHRASE if asked == path else "")]) == CONTENT
    assert "passphrase is wrong" in refusal(DENIED, seal.key, path, lambda _: "guess")
    assert "nobody can be asked" in refusal(DENIED, seal.key, path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_fingerprint_is_what_ssh_keygen_prints(ring: dict[str, Path]) -> None:
    for kind in ("ed25519", "rsa"):
        printed = run("ssh-keygen", "-l", "-f", str(ring[kind])).split()[1].decode()
        assert public(ring[kind]).fingerprint == seal.key(ring[kind]).fingerprint == printed
    assert seal.key(ring["age"]).fingerprint == public(ring["age"]).fingerprint


def test_example_of_the_page_opens(tmp_path: Path) -> None:
    example, identity = (re.search(rf"^```{fence}\n(.*?)^```$", PAGE.read_text(), re.S | re.M) for fence in ("cit name=page-secret", "text"))
    assert example and identity
    (tmp_path / "example.key").write_text(identity[1])
    (tmp_path / "example.key").chmod(0o600)
    job = reader.parse(example[1].encode())
    opened = secret.contents(job, [seal.key(tmp_path / "example.key")])
    assert opened["TOKEN"] == b"hunter2-of-the-example\n" and opened["script"].startswith(b"#!/bin/sh -e\n")
    for each in secret.sealed(job):
        plain = run("age", "-d", "-i", str(tmp_path / "example.key"), stdin=each.section.body())
        assert plain == secret.head(job.id, str(job.table("job")["key"]), each.name) + opened[each.name]


# --- keys that will not do --------------------------------------------------------------------------------------------


def test_keys_that_will_not_do(ring: dict[str, Path], tmp_path: Path) -> None:
    assert "ecdsa" in refusal(DATA, seal.recipients, ring["ecdsa"].with_suffix(".pub").read_text(), "x.pub")
    assert "no public key" in refusal(DATA, seal.recipients, "# nothing\n\n", "x.pub")
    refusal(DATA, seal.recipients, public(ring["age"]).key[:-1] + "b", "x.pub")
    wrong = public(ring["age"]).key[:-1] + ("q" if public(ring["age"]).key[-1] != "q" else "p")
    assert "cannot be sealed" in refusal(DATA, seal.sealed, b"x", [seal.recipient(wrong)])  # its checksum does not fit
    assert "cannot open" in refusal(CONFIG, seal.key, ring["ecdsa"])
    refusal(NOT_FOUND, seal.key, tmp_path / "none")
    open_to_all = tmp_path / "open"
    open_to_all.write_bytes(ring["ed25519"].read_bytes())
    open_to_all.chmod(0o644)
    assert "others can read" in refusal(CONFIG, seal.key, open_to_all)


def test_file_of_recipients(ring: dict[str, Path]) -> None:
    """As age -R takes it: several, with comments."""
    text = f"# ours\n{public(ring['age']).key}\n\n{ring['rsa'].with_suffix('.pub').read_text()}"
    assert [each.fingerprint for each in seal.recipients(text, "keys")] == [public(ring["age"]).fingerprint, public(ring["rsa"]).fingerprint]


def test_without_pyrage(ring: dict[str, Path]) -> None:
    """78 with what to do; nothing else of cit needs it."""
    program = "import sys; sys.modules['pyrage'] = None\nfrom pathlib import Path\nfrom cit_format import errors, seal, secret\n"
    program += f"try: seal.key(Path({str(ring['ed25519'])!r}))\nexcept errors.CitError as error: print(error.status, error.hint)\n"
    assert run(sys.executable, "-c", program).startswith(f"{CONFIG} pip install pyrage".encode())


def test_account_without_pyrage_publishes_no_key(tmp_path: Path) -> None:
    """So nobody seals to it what it could not open."""
    (tmp_path / "seal.pub").write_text("ssh-ed25519 AAAA x\n")
    said = "from pathlib import Path; from cit_format import home; print(home.Account(Path('{}')).seal)"
    assert run(sys.executable, "-c", said.format(tmp_path)) == b"ssh-ed25519 AAAA\n"
    without = f"import importlib.util as u; found = u.find_spec; u.find_spec = lambda name: None if name == 'pyrage' else found(name); {said}"
    assert run(sys.executable, "-c", without.format(tmp_path)) == b"None\n"


# --- whole or nothing -------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_seen(ring: dict[str, Path], builder: Key) -> None:
    armour = seal.sealed(CONTENT, [public(ring["ed25519"])])
    for at in range(len(armour)):
        for bit in (1, 32):
            bad = armour[:at] + bytes([armour[at] ^ bit]) + armour[at + 1 :]
            with pytest.raises(CitError) as caught:
                seal.opened(bad, [builder])
            assert caught.value.status in (DATA, DENIED)


def test_cut_off(ring: dict[str, Path], builder: Key) -> None:
    """age's streaming readers give out what is whole of it; here it is nothing."""
    lines = seal.sealed(os.urandom(200_000), [public(ring["ed25519"])]).splitlines(keepends=True)
    assert "does not open" in refusal(DENIED, seal.opened, b"".join([*lines[:-500], lines[-1]]), [builder])
    assert "no sealed text" in refusal(DATA, seal.opened, b"".join(lines[:-1]), [builder])


def test_sizes(ring: dict[str, Path], builder: Key) -> None:
    armour = seal.sealed(bytes(seal.LIMIT), [public(ring["ed25519"])])
    assert len(seal.opened(armour, [builder])) == seal.LIMIT
    assert "cannot be sealed as one" in refusal(DATA, seal.sealed, bytes(seal.LIMIT + 1), [])
    larger = run("age", "-a", "-R", str(ring["ed25519"].with_suffix(".pub")), stdin=bytes(seal.LIMIT + 1))
    assert "sealed in it" in refusal(DATA, seal.opened, larger, [builder])
    assert "a sealed text of" in refusal(DATA, seal.opened, seal.BEGIN + bytes(2 * seal.LIMIT) + seal.END, [builder])


# --- in a job ---------------------------------------------------------------------------------------------------------


def job(*sections: bytes, signer: str = "SHA256:" + "a" * 43, identity: str | None = None) -> Document:
    written = document.section("job", "toml", body.toml({"key": signer}))
    return document.new("deploy", written, *sections, identity=identity)


def sealed_job(to: list[Recipient], **contents: bytes) -> Document:
    empty = job()
    return job(*(secret.section(empty.id, "SHA256:" + "a" * 43, name, content, to) for name, content in contents.items()), identity=empty.id)


def test_contents(ring: dict[str, Path], builder: Key) -> None:
    to = [public(ring["ed25519"]), public(ring["rsa"])]
    made = reader.parse(sealed_job(to, TOKEN=CONTENT, script=b"#!/bin/sh\n", empty=b"").raw)
    assert secret.contents(made, [builder]) == {"TOKEN": CONTENT, "script": b"#!/bin/sh\n", "empty": b""}
    assert secret.named(made) == {each.fingerprint for each in to}
    assert secret.named(job()) is None and secret.contents(job(), [builder]) == {}


def test_moved_secret_does_not_open(ring: dict[str, Path], builder: Key) -> None:
    """Into another job, under another signer's, under another name, from a secret to a script."""
    whole = sealed_job([public(ring["ed25519"])], TOKEN=CONTENT)
    (own,) = secret.sealed(whole)
    piece = whole.raw[own.section.start : own.section.end]
    moved = {
        "another job": job(piece),
        "another signer": job(piece, signer="SHA256:" + "b" * 43, identity=whole.id),
        "another name": job(piece.replace(b"name=TOKEN", b"name=OTHER"), identity=whole.id),
    }
    for what, bad in moved.items():
        assert f"sealed for {what}" in refusal(DENIED, secret.contents, bad, [builder])
    script = piece.replace(b"secret 1 text name=TOKEN", b"script 1 sh").replace(b"@end secret", b"@end script")
    assert "another name" in refusal(DENIED, secret.contents, job(script, identity=whole.id), [builder])


def test_sealed_without_head(ring: dict[str, Path], builder: Key) -> None:
    to = public(ring["ed25519"])
    piece = document.section("secret", "text", seal.sealed(b"hunter2", [to]), name="TOKEN", enc="age", to=to.fingerprint)
    assert "does not begin with" in refusal(DENIED, secret.contents, job(piece), [builder])


def test_all_or_nothing(ring: dict[str, Path], builder: Key) -> None:
    """One that does not open, or is for others, and none is given out."""
    good, other = public(ring["ed25519"]), public(ring["rsa"])
    empty = job()
    pieces = [secret.section(empty.id, "SHA256:" + "a" * 43, "A", b"a", [good]), secret.section(empty.id, "SHA256:" + "a" * 43, "B", b"b", [other])]
    assert "sealed to others" in refusal(DENIED, secret.contents, job(*pieces, identity=empty.id), [builder])
    pieces[1] = pieces[1].replace(other.fingerprint.encode(), good.fingerprint.encode())  # it only says so
    assert "does not open" in refusal(DENIED, secret.contents, job(*pieces, identity=empty.id), [builder])
    assert secret.named(job(*pieces[:1], pieces[1].replace(b"to=SHA256:", b"to=SHA256:" + b"c" * 43 + b",SHA256:"))) == {good.fingerprint}


@pytest.mark.parametrize(
    "line, words",
    [
        ("secret 1 text name=A", "not sealed"),
        ("secret 1 text name=A enc=base64 to=", "not sealed"),
        ("secret 1 text name=A enc=age", "does not say to whom"),
        ("secret 1 text name=A enc=age to=SHA256:abc", "does not say to whom"),
        ("secret 1 text enc=age to=SHA256:" + "a" * 43, "is no name"),
        ("secret 1 text name=../A enc=age to=SHA256:" + "a" * 43, "is no name"),
        ("secret 1 text name=.A enc=age to=SHA256:" + "a" * 43, "is no name"),
        ("secret 1 text name=-rf enc=age to=SHA256:" + "a" * 43, "is no name"),
        ("secret 1 text name=A%0A enc=age to=SHA256:" + "a" * 43, "is no name"),
        ("secret 1 text name=" + "A" * 129 + " enc=age to=SHA256:" + "a" * 43, "is no name"),
        ("secret 1 text name=script enc=age to=SHA256:" + "a" * 43, "cannot be called script"),
        ("env 1 tsv enc=age to=SHA256:" + "a" * 43, "section env is sealed"),
    ],
)
def test_sections_that_are_refused(builder: Key, line: str, words: str) -> None:
    raw = f"@begin {line}\naGk=\n@end {line.split()[0]}\n".encode()
    made = reader.parse(job().raw + raw)
    assert words in refusal(DATA, secret.sealed, made)
    assert words in refusal(DATA, secret.contents, made, [builder])


def test_number_and_names(ring: dict[str, Path]) -> None:
    to = [public(ring["ed25519"])]
    piece = secret.section("x", "y", "A", b"", to)
    assert "one name" in refusal(DATA, secret.sealed, job(piece, piece))
    many = [piece.replace(b"name=A", b"name=A%d" % number) for number in range(secret.MOST + 1)]
    assert len(secret.sealed(job(*many[1:]))) == secret.MOST
    assert "64 at most" in refusal(DATA, secret.sealed, job(*many))


def test_only_what_is_signed_counts(ring: dict[str, Path], tmp_path: Path) -> None:
    piece = secret.section("x", "y", "A", b"", [public(ring["ed25519"])])
    signature = document.section("signature", "sshsig", keys.generate(tmp_path / "k", "ada@sun").sign(b"x", "cit-job"), by="ada@sun", ns="cit-job")
    assert secret.sealed(job(signature, piece)) == []
