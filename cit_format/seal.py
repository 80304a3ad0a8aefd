"""Sealing: what only some may read, encrypted to their keys with age (docs/format/secret.md).

Reads   public keys as age takes them (ssh-ed25519, ssh-rsa, age1...), private key files of both kinds, sealed texts
Writes  ASCII armour that `age -d -i KEY` opens
Fails   65 no key that can be sealed to, no armour, too large; 77 it does not open, or was sealed for something else;
        78 a private key that cannot be used, or pyrage is missing
How     pyrage, loaded where something is sealed or opened. A text is decrypted whole before any of it is used.
Pages   docs/format/secret.md, docs/decisions/pyrage.md
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from . import keys, sshsig
from .errors import CONFIG, DATA, DENIED, NOT_FOUND, CitError

LIMIT = 1 << 20  # bytes that are sealed as one
KINDS = ("ssh-ed25519", "ssh-rsa")  # of ssh keys that age knows
BEGIN, END = b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"-----END AGE ENCRYPTED FILE-----\n"
_AGE = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_SECRET = re.compile(rb"^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$", re.M)


class Recipient(NamedTuple):
    """A public key that can be sealed to, as age takes it, and its fingerprint."""

    key: str
    fingerprint: str


class Key(NamedTuple):
    """A private key that can open, in this process's memory, and the fingerprint of its public half."""

    identity: Any
    fingerprint: str


# --- public keys ----------------------------------------------------------------------------------------------------


def recipient(text: str) -> Recipient:
    """The key in one line of text, `age1...` or `KIND BASE64 [COMMENT]`; 65 where it is none that age can encrypt to.

    The fingerprint of an ssh key is that of `ssh-keygen -l`; that of an age recipient the same digest of its text.
    """
    word = text.strip()
    if _AGE.fullmatch(word):
        digest = b2a_base64(sha256(word.encode()).digest(), newline=False).decode().rstrip("=")
        return Recipient(word, f"SHA256:{digest}")
    public = sshsig.parse_public_key(word)
    if public.kind not in KINDS:
        raise CitError(DATA, f"nothing can be sealed to a key of kind {public.kind}", "age encrypts to ssh-ed25519, ssh-rsa and age1... keys")
    return Recipient(" ".join(public.line.split()[:2]), public.fingerprint)


def recipients(text: str, where: str) -> list[Recipient]:
    """The keys of a file, one a line; empty lines and those that begin with # are passed over. 65 where there is none."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    try:
        found = [recipient(line) for line in lines]
    except CitError as error:
        raise CitError(error.status, error.what, error.hint, where) from None
    if not found:
        raise CitError(DATA, "there is no public key in it", "a public key is one line, as in ~/.ssh/id_ed25519.pub", where)
    return found


# --- private keys ---------------------------------------------------------------------------------------------------


def key(path: Path, ask: Callable[[Path], str] | None = None) -> Key:
    """The private key in a file, OpenSSH's or age's; `ask` is for its passphrase, without it such a key is 77. 66, 78 as keys.load."""
    text = keys.read_guarded(path, 0o077)
    if text is None:
        raise CitError(NOT_FOUND, "there is no such key", "a sealed text opens with one of the keys that it was sealed to", str(path))
    age, made = library(), None
    try:
        match = _SECRET.search(text)
        if match:
            made = age.x25519.Identity.from_str(match[0].decode())
            return Key(made, recipient(str(made.to_public())).fingerprint)
        fingerprint = keys.load(path).public.fingerprint
        return Key(age.ssh.Identity.from_buffer(_unlocked(text, path, ask)), fingerprint)
    except age.IdentityError as why:
        hint = "keys that open are ssh-ed25519, ssh-rsa, or of age-keygen"
        raise CitError(CONFIG, f"this key cannot open anything: {why}", hint, str(path)) from None


def _unlocked(text: bytes, path: Path, ask: Callable[[Path], str] | None) -> bytes:
    """The text of a private key without its passphrase, if it has one; it is taken off in memory."""
    if not is_locked(text):
        return text
    if ask is None:
        raise CitError(DENIED, "this key has a passphrase, and nobody can be asked for it", "ask again from a terminal", str(path))
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    load = serialization.load_ssh_private_key if text.startswith(keys.BEGIN) else serialization.load_pem_private_key
    try:
        private = load(text, ask(path).encode())
    except UnsupportedAlgorithm as why:
        raise CitError(CONFIG, f"this key cannot be unlocked: {why}", "install the Python package bcrypt", str(path)) from None
    except (ValueError, TypeError):
        raise CitError(DENIED, "the passphrase is wrong", "ssh-keygen -y -f KEY asks for the same one", str(path)) from None
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)


def is_locked(text: bytes) -> bool:
    """Whether a private key's file has a passphrase."""
    if not text.startswith(keys.BEGIN):
        return b"ENCRYPTED" in text
    try:
        blob = a2b_base64(text[len(keys.BEGIN) : text.index(keys.END)])
        return sshsig.unpack(blob[len(keys.MAGIC) :], "s*")[0] != b"none"
    except ValueError:
        return False  # it is no such key: who loads it says so


# --- sealed texts ---------------------------------------------------------------------------------------------------


def sealed(plain: bytes, to: Iterable[Recipient]) -> bytes:
    """`plain` encrypted to all of these, as armour; 65 where it is over 1 MiB."""
    if len(plain) > LIMIT:
        raise CitError(DATA, f"{len(plain)} bytes cannot be sealed as one", f"{LIMIT >> 20} MiB is the most")
    age, known = library(), usable(to)
    try:
        return bytes(age.encrypt(plain, known, armored=True))
    except age.EncryptError as why:
        raise CitError(DATA, f"it cannot be sealed to one of these keys: {why}", "age -r KEY says which one") from None


def usable(to: Iterable[Recipient]) -> list[Any]:
    """The same keys as pyrage has them; 65 where one is none, 78 without pyrage."""
    age, found = library(), []
    for each in to:
        try:
            found.append((age.x25519 if each.key.startswith("age1") else age.ssh).Recipient.from_str(each.key))
        except age.RecipientError as why:
            raise CitError(DATA, f"it cannot be sealed to {each.key[:80]}: {why}", "age -r KEY says the same") from None
    return found


def opened(armour: bytes, by: Sequence[Key]) -> bytes:
    """What is sealed in an armour, whole; 65 where it is none or too large, 77 where none of these keys opens it, or it was changed."""
    if not (armour.startswith(BEGIN) and armour.endswith(END)):
        raise CitError(DATA, "this is no sealed text", f"it begins with the line {BEGIN.decode().strip()}")
    if len(armour) > 2 * LIMIT:
        raise CitError(DATA, f"a sealed text of {len(armour)} bytes", f"{LIMIT >> 20} MiB is the most that is sealed as one")
    age = library()
    try:
        plain = bytes(age.decrypt(armour, [each.identity for each in by]))
    except age.DecryptError as why:
        hint = "it is sealed to other keys, or its bytes were changed"
        raise CitError(DENIED, f"it does not open: {str(why).splitlines()[0]}", hint) from None
    if len(plain) > LIMIT:
        raise CitError(DATA, f"{len(plain)} bytes are sealed in it", f"{LIMIT >> 20} MiB is the most that is sealed as one")
    return plain


def is_possible() -> bool:
    """Whether this Python can seal and open."""
    from importlib.util import find_spec

    return find_spec("pyrage") is not None


def library() -> Any:
    """The package pyrage; 78 where it is missing."""
    try:
        import pyrage
    except ImportError as why:
        hint = "pip install pyrage, for the python that runs cit; docs/decisions/pyrage.md says for which there is one"
        raise CitError(CONFIG, f"nothing can be sealed or opened here: {why}", hint) from None
    return pyrage
