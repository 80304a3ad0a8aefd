"""OpenSSH's SSHSIG: reads, writes and verifies signatures. Values in, values out, no files.

Reads   public keys (one line of text) and signatures (the armour that `ssh-keygen -Y sign` writes)
Fails   65 a public key that is none; 77 a signature that is none, or that does not hold, each cause in words of its own
How     a signature is over the namespace and the sha512 of the message, so who has the digest need not hold the message.
        cryptography is loaded at the first verification, and of it only what the key at hand needs.
Pages   docs/format/signatures.md, docs/decisions/sshsig-in-process.md
"""

from __future__ import annotations

import functools
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from hashlib import sha256, sha512
from typing import NamedTuple

from .errors import DATA, DENIED, CitError

BEGIN, END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
COLUMNS = 70
MAGIC, VERSION, HASH = b"SSHSIG", b"\0\0\0\1", b"sha512"
ARMOUR_LIMIT = 64 * 1024  # bytes; a signature by the largest RSA key has 6 KiB
RSA_BITS = range(2048, 16384 + 1)
USER_PRESENT = 1  # the flag by which a security key says that somebody touched it

# The fields of each accepted kind of public key, as `unpack` reads them; the first is the kind itself.
KEY_SHAPES = {
    "ssh-ed25519": "ss",  # point
    "ecdsa-sha2-nistp256": "sss",  # curve, point
    "ecdsa-sha2-nistp384": "sss",
    "ecdsa-sha2-nistp521": "sss",
    "ssh-rsa": "sss",  # exponent, modulus
    "sk-ssh-ed25519@openssh.com": "sss",  # point, application
    "sk-ecdsa-sha2-nistp256@openssh.com": "ssss",  # curve, point, application
}
POINT_BYTES = {b"nistp256": 65, b"nistp384": 97, b"nistp521": 133}

Check = Callable[[bytes, bytes], None]


class PublicKey(NamedTuple):
    """A public key of an accepted kind: `blob` is what OpenSSH writes in base64; the comment has no power."""

    kind: str
    blob: bytes
    comment: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    @property
    def line(self) -> str:
        """The key as it stands in a `.pub` file, without a newline."""
        return f"{self.kind} {b2a_base64(self.blob, newline=False).decode()} {self.comment}".rstrip()


class Signature(NamedTuple):
    """A signature as it was read; that it holds is not said before `verify`. `algorithm` is the message's hash."""

    key: PublicKey
    namespace: str
    algorithm: str
    blob: bytes


def fingerprint(blob: bytes) -> str:
    """`SHA256:` and unpadded base64, as `ssh-keygen -l` prints a key's blob."""
    return "SHA256:" + b2a_base64(sha256(blob).digest(), newline=False).decode().rstrip("=")


# SSH's wire format


def pack(*fields: bytes) -> bytes:
    """Each field with its length before it, in four bytes."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def unpack(blob: bytes, shape: str) -> list[bytes]:
    """The fields of `blob`: `s` is a string with its length before it, a digit that many bytes, `*` the rest.

    ValueError when the blob is shorter or longer than its fields.
    """
    fields, at = [], 0
    for part in shape:
        if part == "s":
            size = int.from_bytes(blob[at : at + 4], "big")
            at += 4
        else:
            size = len(blob) - at if part == "*" else int(part)
        if at + size > len(blob):
            raise ValueError("it is cut short")
        fields.append(blob[at : at + size])
        at += size
    if at != len(blob):
        raise ValueError("there are bytes after its end")
    return fields


def pack_number(number: int) -> bytes:
    """A positive number as the bytes of an SSH mpint."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def unpack_number(field: bytes) -> int:
    """The positive number of an SSH mpint; ValueError unless it is written in the one shortest way."""
    number = int.from_bytes(field, "big")
    if not number or field != pack_number(number):
        raise ValueError("a number in it is not positive or not in its shortest form")
    return number


# Public keys


def public_key(blob: bytes, comment: str = "") -> PublicKey:
    """The key that `blob` is; ValueError when it is malformed or of a kind that is not accepted."""
    kind = unpack(blob, "s*")[0].decode("ascii")
    if kind not in KEY_SHAPES:
        raise ValueError(f"keys of kind {kind!a} are not accepted")
    _, first, *others = unpack(blob, KEY_SHAPES[kind])
    if kind == "ssh-rsa":
        unpack_number(first)
        if unpack_number(others[0]).bit_length() > RSA_BITS[-1]:
            raise ValueError(f"an RSA key has at most {RSA_BITS[-1]} bits")
    elif "ed25519" in kind:
        if len(first) != 32:
            raise ValueError("its point has not 32 bytes")
    elif first.decode("ascii") not in kind or len(others[0]) != POINT_BYTES.get(first) or others[0][0] != 4:
        raise ValueError("its curve or point is not of its kind")
    return PublicKey(kind, blob, " ".join(comment.split()))


def parse_public_key(line: str) -> PublicKey:
    """The key of one line `KIND BASE64 [COMMENT]`; CitError 65 for anything else."""
    try:
        kind, text, comment = (*line.strip().split(None, 2), "", "", "")[:3]
        blob = a2b_base64(text)
        if b2a_base64(blob, newline=False) != text.encode() or "\n" in line.strip():
            raise ValueError("it is not as ssh-keygen writes it")
        key = public_key(blob, comment)
        if key.kind != kind:
            raise ValueError(f"it is called {kind!a} and is {key.kind!a}")
    except ValueError as why:
        hint = "a public key is one line: KIND BASE64 COMMENT, as in ~/.ssh/id_ed25519.pub"
        raise CitError(DATA, f"this is not a public key that can be used: {why}", hint) from None
    return key


# Signatures


def signed_data(namespace: str, digest: bytes) -> bytes:
    """What the key signs, for a message with this sha512."""
    return MAGIC + pack(namespace.encode(), b"", HASH, digest)


def wrap(head: bytes, blob: bytes, tail: bytes) -> bytes:
    """`blob` in base64 between two lines, as OpenSSH writes keys and signatures; it ends with a newline."""
    text = b2a_base64(blob, newline=False)
    rows = [text[at : at + COLUMNS] for at in range(0, len(text), COLUMNS)]
    return b"\n".join([head, *rows, tail, b""])


def armour(key_blob: bytes, namespace: str, signature_blob: bytes) -> bytes:
    """The signature as `ssh-keygen -Y sign` writes it."""
    return wrap(BEGIN, MAGIC + VERSION + pack(key_blob, namespace.encode(), b"", HASH, signature_blob), END)


def parse_signature(armour: bytes) -> Signature:
    """The signature in `armour`, which is exactly what `ssh-keygen -Y sign` writes; CitError 77 for anything else."""
    try:
        if len(armour) > ARMOUR_LIMIT:
            raise ValueError(f"it has more than {ARMOUR_LIMIT} bytes")
        if not (armour.startswith(BEGIN + b"\n") and armour.endswith(b"\n" + END + b"\n")):
            raise ValueError(f"it has to begin with the line {BEGIN.decode()} and to end with the line {END.decode()}")
        blob = a2b_base64(armour[len(BEGIN) : -len(END) - 1])
        magic, version, key, namespace, reserved, algorithm, signature = unpack(blob, "64sssss")
        if magic + version != MAGIC + VERSION or reserved:
            raise ValueError("it is not of SSHSIG's version 1")
        if algorithm != HASH:
            raise ValueError(f"the message was hashed with {algorithm.decode()!a}, only sha512 is accepted")
        if wrap(BEGIN, blob, END) != armour:
            raise ValueError("its base64 is not as ssh-keygen writes it")
        return Signature(public_key(key), namespace.decode(), algorithm.decode(), signature)
    except ValueError as why:
        raise CitError(DENIED, f"the signature cannot be read: {why}", "sign again; ssh-keygen -Y sign writes the accepted form") from None


def verify(signature: Signature, message: bytes | memoryview, namespace: str) -> None:
    """Returns if `signature` is over these bytes and for this namespace; else CitError 77 that says why not.

    That the key may speak is another question: `signers.Signers`. Safe in threads.
    """
    verify_digest(signature, sha512(message).digest(), namespace)


def verify_digest(signature: Signature, digest: bytes, namespace: str) -> None:
    """`verify` for a message of which the sha512 is known (64 bytes)."""
    if signature.namespace != namespace:
        hint = f"a signature counts in its own namespace only; sign with: ssh-keygen -Y sign -n {namespace}"
        raise CitError(DENIED, f"the signature is for {signature.namespace!a}, not for {namespace!a}", hint)
    try:
        check = _check(signature.key.blob)
        from cryptography.exceptions import InvalidSignature

        try:
            check(signature.blob, signed_data(namespace, digest))
        except InvalidSignature:
            hint = "the bytes were changed after signing, or this signature belongs to others; sign again"
            raise CitError(DENIED, f"the signature by {signature.key.fingerprint} does not match the bytes", hint) from None
    except ValueError as why:
        hint = "docs/format/signatures.md lists what is accepted"
        raise CitError(DENIED, f"the signature by {signature.key.fingerprint} is not accepted: {why}", hint) from None


# Verification, by kind of key. A check gets a signature's blob and the signed bytes; it raises ValueError for what is
# malformed or too weak, InvalidSignature for what does not match.


@functools.lru_cache(maxsize=1024)
def _check(key_blob: bytes) -> Check:
    """The check for this key; kept, since one key signs many documents."""
    kind, *fields = unpack(key_blob, KEY_SHAPES[public_key(key_blob).kind])
    if kind == b"ssh-rsa":
        checks = _rsa_checks(*fields)
    elif b"ed25519" in kind:
        checks = {kind: _ed25519_check(fields[0])}
    else:
        checks = {kind: _ecdsa_check(fields[0], fields[1])}
    sk = kind.startswith(b"sk-")

    def check(signature: bytes, data: bytes) -> None:
        algorithm, raw, *touch = unpack(signature, "ss14" if sk else "ss")
        if algorithm == b"ssh-rsa":
            raise ValueError("it uses sha1 (ssh-rsa); sign with rsa-sha2-512")
        if algorithm not in checks:
            raise ValueError(f"it says {algorithm!a} and its key is {kind!a}")
        if sk:
            flags, counter = touch
            if not flags[0] & USER_PRESENT:
                raise ValueError("nobody touched the security key; it has to be made without no-touch-required")
            data = sha256(fields[-1]).digest() + flags + counter + sha256(data).digest()
        checks[algorithm](raw, data)

    return check


def _ed25519_check(point: bytes) -> Check:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(point).verify


def _ecdsa_check(curve: bytes, point: bytes) -> Check:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    curves: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
        b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
        b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
        b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
    }
    group, digest = curves[curve]
    key, scheme = ec.EllipticCurvePublicKey.from_encoded_point(group, point), ec.ECDSA(digest)

    def check(raw: bytes, data: bytes) -> None:
        r, s = map(unpack_number, unpack(raw, "ss"))
        key.verify(utils.encode_dss_signature(r, s), data, scheme)

    return check


def _rsa_checks(exponent: bytes, modulus: bytes) -> dict[bytes, Check]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    numbers = rsa.RSAPublicNumbers(unpack_number(exponent), unpack_number(modulus))
    if numbers.n.bit_length() not in RSA_BITS:
        raise ValueError(f"an RSA key of {numbers.n.bit_length()} bits is too weak; {RSA_BITS[0]} is the least")
    key = numbers.public_key()

    def check(digest: hashes.HashAlgorithm, raw: bytes, data: bytes) -> None:
        key.verify(raw, data, padding.PKCS1v15(), digest)

    return {
        b"rsa-sha2-512": functools.partial(check, hashes.SHA512()),
        b"rsa-sha2-256": functools.partial(check, hashes.SHA256()),
    }
