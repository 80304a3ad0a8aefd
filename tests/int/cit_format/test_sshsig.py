"""SSHSIG against the real ssh-keygen: both read what the other wrote, and where cit is stricter the test says so."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256, sha512
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from cit_format import sshsig
from cit_format.errors import DATA, DENIED, CitError
from cit_format.sshsig import armour, pack, pack_number, parse_public_key, parse_signature, signed_data, verify

MESSAGE = b"@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g hello\n"
STRONG = ("ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa")


def signed_by_ssh_keygen(key: Path, *options: str) -> bytes:
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", "cit-job", *options, "-f", str(key)]
    return subprocess.run(command, input=MESSAGE, capture_output=True, check=True).stdout


def ssh_keygen_accepts(signature: bytes, message: bytes, directory: Path, namespace: str = "cit-job") -> bool:
    (directory / "sig").write_bytes(signature)
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", namespace, "-s", str(directory / "sig")]
    return subprocess.run(command, input=message, capture_output=True).returncode == 0


class SecurityKey:
    """A security key in software: it signs as PROTOCOL.u2f describes."""

    def __init__(self, curve: str = "") -> None:
        self.ecdsa = ec.generate_private_key(ec.SECP256R1()) if curve else None
        self.ed25519 = Ed25519PrivateKey.generate()
        if self.ecdsa:
            numbers = self.ecdsa.public_key().public_numbers()
            point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
            self.kind = b"sk-ecdsa-sha2-nistp256@openssh.com"
            self.blob = pack(self.kind, b"nistp256", point, b"ssh:")
        else:
            self.kind = b"sk-ssh-ed25519@openssh.com"
            self.blob = pack(self.kind, self.ed25519.public_key().public_bytes_raw(), b"ssh:")

    def sign(self, message: bytes, flags: int) -> bytes:
        tail = bytes([flags]) + (7).to_bytes(4, "big")
        data = sha256(b"ssh:").digest() + tail + sha256(signed_data("cit-job", sha512(message).digest())).digest()
        if self.ecdsa:
            raw = pack(*map(pack_number, utils.decode_dss_signature(self.ecdsa.sign(data, ec.ECDSA(hashes.SHA256())))))
        else:
            raw = self.ed25519.sign(data)
        return armour(self.blob, "cit-job", pack(self.kind, raw) + tail)


def rsa_signature(key: Path, algorithm: bytes, digest: hashes.HashAlgorithm) -> bytes:
    private = load_ssh_private_key(key.read_bytes(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    raw = private.sign(signed_data("cit-job", sha512(MESSAGE).digest()), padding.PKCS1v15(), digest)
    return armour(public(key).blob, "cit-job", pack(algorithm, raw))


def public(key: Path) -> sshsig.PublicKey:
    return parse_public_key(Path(f"{key}.pub").read_text())


def refusal(signature: bytes, message: bytes = MESSAGE) -> str:
    """Why cit does not accept the signature."""
    with pytest.raises(CitError) as caught:
        verify(parse_signature(signature), message, "cit-job")
    assert caught.value.status == DENIED and caught.value.hint
    return caught.value.what


@pytest.mark.parametrize("name", STRONG)
def test_what_ssh_keygen_signs_holds(name: str, key_files: dict[str, Path]) -> None:
    text = signed_by_ssh_keygen(key_files[name])
    signature = parse_signature(text)
    verify(signature, MESSAGE, "cit-job")
    verify(signature, memoryview(b"-" + MESSAGE)[1:], "cit-job")
    sshsig.verify_digest(signature, sha512(MESSAGE).digest(), "cit-job")
    assert (signature.namespace, signature.algorithm) == ("cit-job", "sha512")
    assert signature.key.blob == public(key_files[name]).blob
    assert armour(signature.key.blob, "cit-job", signature.blob) == text
    assert "does not match the bytes" in refusal(text, MESSAGE + b" ")


@pytest.mark.parametrize("name", STRONG)
def test_public_keys_read_as_ssh_keygen_reads_them(name: str, key_files: dict[str, Path]) -> None:
    line = Path(f"{key_files[name]}.pub").read_text()
    key = parse_public_key(line)
    said = subprocess.run(["ssh-keygen", "-l", "-f", f"{key_files[name]}.pub"], capture_output=True, text=True, check=True).stdout
    assert key.line + "\n" == line and key.comment == f"{name}@sun"
    assert key.fingerprint == said.split()[1]


@pytest.mark.parametrize("curve", ["", "nistp256"])
def test_a_security_key_has_to_be_touched(curve: str, tmp_path: Path) -> None:
    key = SecurityKey(curve)
    good, lax = key.sign(MESSAGE, flags=1), key.sign(MESSAGE, flags=0)
    verify(parse_signature(good), MESSAGE, "cit-job")
    verify(parse_signature(key.sign(MESSAGE, flags=5)), MESSAGE, "cit-job")
    assert "does not match" in refusal(good, b"other bytes")
    assert "nobody touched" in refusal(lax)
    assert ssh_keygen_accepts(good, MESSAGE, tmp_path) and ssh_keygen_accepts(lax, MESSAGE, tmp_path)


def test_rsa_needs_2048_bits_and_no_sha1(key_files: dict[str, Path], tmp_path: Path) -> None:
    weak = signed_by_ssh_keygen(key_files["rsa-1024"])
    assert "1024 bits is too weak" in refusal(weak) and ssh_keygen_accepts(weak, MESSAGE, tmp_path)
    sha1 = rsa_signature(key_files["rsa"], b"ssh-rsa", hashes.SHA1())
    assert "uses sha1" in refusal(sha1) and not ssh_keygen_accepts(sha1, MESSAGE, tmp_path)
    shorter_hash = rsa_signature(key_files["rsa"], b"rsa-sha2-256", hashes.SHA256())
    verify(parse_signature(shorter_hash), MESSAGE, "cit-job")
    assert ssh_keygen_accepts(shorter_hash, MESSAGE, tmp_path)
    assert "does not match" in refusal(rsa_signature(key_files["rsa"], b"rsa-sha2-512", hashes.SHA256()))


def test_a_namespace_is_not_another(key_files: dict[str, Path]) -> None:
    signature = parse_signature(signed_by_ssh_keygen(key_files["ed25519"]))
    with pytest.raises(CitError, match="is for 'cit-job', not for 'cit-queue'") as caught:
        verify(signature, MESSAGE, "cit-queue")
    assert caught.value.status == DENIED and "ssh-keygen -Y sign -n cit-queue" in caught.value.hint
    renamed = armour(signature.key.blob, "cit-queue", signature.blob)
    with pytest.raises(CitError, match="does not match the bytes"):
        verify(parse_signature(renamed), MESSAGE, "cit-queue")


def test_the_message_is_hashed_with_sha512_only(key_files: dict[str, Path], tmp_path: Path) -> None:
    text = signed_by_ssh_keygen(key_files["ed25519"], "-Ohashalg=sha256")
    assert "only sha512 is accepted" in refusal(text) and ssh_keygen_accepts(text, MESSAGE, tmp_path)


FORMS = {
    "junk after it": (lambda text: text + b"junk\n", True),
    "a blank line after it": (lambda text: text + b"\n", True),
    "text before it": (lambda text: b"junk\n" + text, False),
    "a blank line within": (lambda text: text.replace(b"\n", b"\n\n", 1), True),
    "CRLF": (lambda text: text.replace(b"\n", b"\r\n"), False),
    "no newline at its end": (lambda text: text[:-1], True),
    "lines of another length": (lambda text: text[:60] + b"\n" + text[60:], True),
    "a blank in a line": (lambda text: text[:60] + b" " + text[60:], True),
    "cut in the middle": (lambda text: text[:100] + text[-27:], False),
    "nothing": (lambda text: b"", False),
    "far too long": (lambda text: text[:60] + b"A" * 70000 + text[60:], False),
}


@pytest.mark.parametrize("form", FORMS)
def test_only_one_form_of_armour_is_accepted(form: str, key_files: dict[str, Path], tmp_path: Path) -> None:
    change, ssh_keygen_is_lax = FORMS[form]
    text = change(signed_by_ssh_keygen(key_files["ed25519"]))
    assert "the signature cannot be read" in refusal(text)
    assert ssh_keygen_accepts(text, MESSAGE, tmp_path) == ssh_keygen_is_lax


def test_spare_bits_of_base64_are_zero() -> None:
    """Two texts that decode to the same signature are not two signatures."""
    text = SecurityKey().sign(MESSAGE, 1)
    at = text.index(b"=") - 1
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:at] + letters[letters.index(text[at]) + 1 :][:1] + text[at + 1 :]
    assert "not as ssh-keygen writes it" in refusal(other)


POINT = pack(b"ssh-ed25519", bytes(32))
BLOBS = {
    "a certificate": (pack(b"ssh-ed25519-cert-v01@openssh.com", b"x"), "are not accepted"),
    "dsa": (pack(b"ssh-dss", b"p", b"q", b"g", b"y"), "are not accepted"),
    "short point": (pack(b"ssh-ed25519", bytes(31)), "32 bytes"),
    "bytes after": (POINT + b"\0", "after its end"),
    "cut short": (POINT[:-1], "cut short"),
    "curve of another kind": (pack(b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" + bytes(96)), "curve or point"),
    "compressed point": (pack(b"ecdsa-sha2-nistp256", b"nistp256", b"\x02" + bytes(32)), "curve or point"),
    "no curve": (pack(b"ecdsa-sha2-nistp256", b"", b""), "curve or point"),
    "negative modulus": (pack(b"ssh-rsa", b"\x03", b"\x80" * 256), "not positive"),
    "padded exponent": (pack(b"ssh-rsa", b"\0\x03", b"\x7f" * 256), "shortest form"),
    "modulus of a megabit": (pack(b"ssh-rsa", b"\x03", b"\x7f" * 131072), "at most 16384 bits"),
    "empty": (b"", "cut short"),
}


@pytest.mark.parametrize("name", BLOBS)
def test_malformed_keys_are_refused(name: str) -> None:
    blob, why = BLOBS[name]
    with pytest.raises(ValueError, match=why):
        sshsig.public_key(blob)
    if len(blob) < 60000:
        assert why in refusal(armour(blob, "cit-job", pack(b"ssh-ed25519", bytes(64))))


def test_a_point_off_the_curve_is_refused() -> None:
    blob = pack(b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(63) + b"\x01")
    assert "is not accepted" in refusal(armour(blob, "cit-job", pack(b"ecdsa-sha2-nistp256", pack(b"\x01", b"\x01"))))


def test_a_signature_is_of_its_keys_kind(key_files: dict[str, Path]) -> None:
    signature = parse_signature(signed_by_ssh_keygen(key_files["ed25519"]))
    raw = signature.blob[-64:]
    assert "its key is" in refusal(armour(signature.key.blob, "cit-job", pack(b"rsa-sha2-512", raw)))
    assert "after its end" in refusal(armour(signature.key.blob, "cit-job", signature.blob + b"\0"))


LINES = ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 \u00e9", "hello world", "# ssh-ed25519 AAAA", "ssh-ed25519 ===="]


@pytest.mark.parametrize("line", LINES)
def test_rubbish_is_no_public_key(line: str) -> None:
    with pytest.raises(CitError, match="not a public key") as caught:
        parse_public_key(line)
    assert caught.value.status == DATA and caught.value.hint


def test_a_public_key_says_its_own_kind_and_is_one_line(key_files: dict[str, Path]) -> None:
    line = public(key_files["ed25519"]).line
    for other in (line.replace("ssh-ed25519", "ssh-rsa"), line + "\n" + line, line.replace(" AAAA", " AAAA-"), "x" + line):
        with pytest.raises(CitError, match="not a public key"):
            parse_public_key(other)
    assert parse_public_key(f"  {line}\t\n").line == line


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256", "ecdsa-521", "rsa", "sk"])
def test_no_flipped_byte_is_accepted(kind: str, key_files: dict[str, Path]) -> None:
    text = SecurityKey().sign(MESSAGE, 1) if kind == "sk" else signed_by_ssh_keygen(key_files[kind])
    verify(parse_signature(text), MESSAGE, "cit-job")

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        whole = bytearray(text + MESSAGE)
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        refusal(bytes(whole[: len(text)]), bytes(whole[len(text) :]))

    flip()


def test_threads_do_not_disturb_each_other(key_files: dict[str, Path]) -> None:
    signatures = [parse_signature(signed_by_ssh_keygen(key_files[name])) for name in STRONG]
    sshsig._check.cache_clear()

    def holds(number: int) -> bool:
        try:
            verify(signatures[number % len(signatures)], MESSAGE if number % 3 else b"changed", "cit-job")
        except CitError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(holds, range(300))) == [bool(number % 3) for number in range(300)]


def test_only_what_a_key_needs_is_loaded(key_files: dict[str, Path]) -> None:
    code = (
        "import sys; from cit_format import keys, signers, sshsig; assert 'cryptography' not in sys.modules, 'at start-up'\n"
        f"from pathlib import Path; signer = keys.load(Path({str(key_files['ed25519'])!r}))\n"
        "sshsig.verify(sshsig.parse_signature(signer.sign(b'm', 'cit-job')), b'm', 'cit-job')\n"
        "print(*(name for name in sys.modules if name.startswith('cryptography.hazmat.primitives.')))"
    )
    root = Path(__file__).parents[3]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    loaded = {name.rpartition(".")[2] for name in said}
    assert "ed25519" in loaded and not loaded & {"rsa", "ec", "serialization", "ssh", "ciphers"}


def test_signed_data_is_what_the_page_says() -> None:
    """PROTOCOL.sshsig's blob, written out."""
    digest = sha512(b"m").digest()
    strings = [b"cit-job", b"", b"sha512", digest]
    assert signed_data("cit-job", digest) == b"SSHSIG" + b"".join(len(s).to_bytes(4, "big") + s for s in strings)
    assert [*map(partial(sshsig.unpack, pack(b"ab", b"")), ("ss", "6*", "42*"))] == [
        [b"ab", b""], [b"\0\0\0\x02ab", b"\0\0\0\0"], [b"\0\0\0\x02", b"ab", b"\0\0\0\0"],
    ]  # fmt: skip
