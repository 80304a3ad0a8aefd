"""Private keys: whose key signs here, and signing with it.

Reads   OpenSSH private key files, `.pub` files, ssh-agent
Writes  by `generate` only: an ed25519 key pair, PATH (0600) and PATH.pub
Fails   66 no such key; 77 the key did not sign; 78 a key file that others can read, or that is none
How     an unencrypted key signs in this process. One with a passphrase, a security key and ssh-agent sign by way of
        `ssh-keygen -Y sign`, which asks on the terminal by itself.
Pages   docs/format/signatures.md, docs/decisions/sshsig-in-process.md
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shlex
import stat
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from hashlib import sha512
from pathlib import Path
from typing import NamedTuple

from . import sshsig
from .errors import CONFIG, DENIED, NOT_FOUND, USAGE, CitError
from .sshsig import PublicKey, pack, pack_number, unpack

BEGIN, END = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"
MAGIC, ED25519 = b"openssh-key-v1\0", b"ssh-ed25519"
PERSONAL = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
FILE_LIMIT = 1 << 24  # bytes of a key or signers file
AGENT_SECONDS = 10

Sign = Callable[[bytes, str], bytes]


class Signer(NamedTuple):
    """A key that can sign: `sign(message, namespace)` gives the armour, which ends with a newline.

    `asks` says that signing may want a person: a passphrase, a touch, a key unlocked in ssh-agent.
    """

    public: PublicKey
    sign: Sign
    asks: bool


def load(path: Path) -> Signer:
    """The key of the private key file `path`, or of a `.pub` file whose private half is in ssh-agent."""
    if path.suffix == ".pub" and path.with_suffix("").exists():
        path = path.with_suffix("")
    text = None if path.suffix == ".pub" else read_guarded(path, 0o077)
    public = _beside(path)
    if text is None:
        if public is None:
            raise CitError(NOT_FOUND, "there is no such key", "ssh-keygen -t ed25519 makes one", str(path))
        return Signer(public, functools.partial(_sign_elsewhere, public, None), asks=True)
    try:
        if text.startswith(BEGIN):
            return _opened(text, path, public)
        if b"PRIVATE KEY-----" in text and public:  # an older form, which ssh-keygen knows how to read
            return Signer(public, functools.partial(_sign_elsewhere, public, path), asks=True)
        raise ValueError("it is not an OpenSSH private key, or its .pub file is missing")
    except ValueError as why:
        hint = f"look at it with: ssh-keygen -y -f {shlex.quote(str(path))}"
        raise CitError(CONFIG, f"this key cannot be used: {why}", hint, str(path)) from None


def find_personal(home: Path, configured: str | None) -> Signer | None:
    """The key of the person who runs this: the `configured` one, the one that this cit home made, the first of ~/.ssh, of ssh-agent.

    A home makes one where there is no other. That one is listed everywhere then, so one in ~/.ssh that comes later does not take its place by itself.
    Without a terminal a key that signs without asking goes before one that asks.
    """
    if configured:
        return load(Path(configured).expanduser())
    own = home / "id_ed25519"
    if own.exists():
        return load(own)
    terminal, held = has_terminal(), functools.lru_cache(maxsize=1)(agent_keys)
    asking = None
    for path in (Path(os.path.expanduser("~"), ".ssh", name) for name in PERSONAL):
        usable, pub = os.path.exists(path), Path(f"{path}.pub")
        if usable or os.path.exists(pub):
            signer = load(path if usable else pub)
            if (terminal and usable) or not signer.asks or signer.public.blob in held():
                return signer
            asking = asking or (signer if usable else None)
    if asking:
        return asking
    for public in held().values():
        return Signer(public, functools.partial(_sign_elsewhere, public, None), asks=True)
    return None


def at_hand(home: Path) -> Iterator[Signer]:
    """Every key that the person has here, in no order that means anything: of the cit home, of ~/.ssh, of ssh-agent."""
    for path in (home / "id_ed25519", *(Path(os.path.expanduser("~"), ".ssh", name) for name in PERSONAL)):
        with contextlib.suppress(CitError):
            if path.exists():
                yield load(path)
    for public in agent_keys().values():
        yield Signer(public, functools.partial(_sign_elsewhere, public, None), asks=True)


def agent_keys() -> dict[bytes, PublicKey]:
    """The keys of an accepted kind that ssh-agent holds, by blob, in its order; none where there is no agent."""
    if not os.environ.get("SSH_AUTH_SOCK"):
        return {}
    import subprocess

    try:
        lines = subprocess.run(["ssh-add", "-L"], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=AGENT_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for line in lines.decode(errors="replace").splitlines():
        with contextlib.suppress(CitError):  # "The agent has no identities.", certificates
            key = sshsig.parse_public_key(line)
            found[key.blob] = key
    return found


def has_terminal() -> bool:
    """Whether there is a terminal on which ssh-keygen could ask for a passphrase."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def read_guarded(path: Path, forbidden: int) -> bytes | None:
    """The bytes of a plain file, None where there is none; CitError 78 when its mode has one of the `forbidden` bits."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) or os.fstat(fd).st_size > FILE_LIMIT:
            raise CitError(CONFIG, "this is not a plain file, or far too large for what it should be", "name another file", str(path))
        if mode & forbidden:
            act, change = ("read", "go-rwx") if forbidden & 0o044 else ("write", "go-w")
            hint = f"chmod {change} {shlex.quote(str(path))}"
            raise CitError(CONFIG, f"others can {act} this file (mode {stat.S_IMODE(mode):04o})", hint, str(path))
        return file.read()


def _beside(path: Path) -> PublicKey | None:
    """The public key in PATH.pub (or in PATH, if it is one), None where there is none."""
    path = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        return sshsig.parse_public_key(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (CitError, UnicodeDecodeError) as why:
        raise CitError(CONFIG, f"this is not a public key: {why}", "ssh-keygen -y -f PATH prints what belongs there", str(path)) from None


# Signing in this process


def _opened(text: bytes, path: Path, beside: PublicKey | None) -> Signer:
    """The signer of an OpenSSH private key file; ValueError when it is malformed."""
    blob = a2b_base64(text[len(BEGIN) : text.index(END)])
    magic, rest = blob[: len(MAGIC)], blob[len(MAGIC) :]
    cipher, _, _, count, public_blob, private, _ = unpack(rest, "sss4ss*")
    if magic != MAGIC or count != b"\0\0\0\1":
        raise ValueError("it is not of the version that OpenSSH writes, or holds several keys")
    public = sshsig.public_key(public_blob, beside.comment if beside else "")
    if beside and beside.blob != public_blob:
        raise ValueError(f"{path}.pub is the public half of another key")
    if cipher != b"none" or public.kind.startswith("sk-"):
        return Signer(public, functools.partial(_sign_elsewhere, public, path), asks=True)
    if public.kind == ED25519.decode():
        *_, secret, comment, _ = unpack(private, "44ssss*")
        named = sshsig.public_key(public_blob, comment.decode(errors="replace") or public.comment)
        return Signer(named, _ed25519_sign(public, secret[:32]), asks=False)
    return Signer(public, _other_sign(public, text), asks=False)


def _ed25519_sign(public: PublicKey, seed: bytes) -> Sign:
    @functools.lru_cache(maxsize=1)
    def raw_sign() -> Callable[[bytes], bytes]:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(seed)
        if pack(ED25519, key.public_key().public_bytes_raw()) != public.blob:
            raise CitError(CONFIG, f"the two halves of the key {public.fingerprint} do not belong together", "make or choose another key")
        return key.sign

    def sign(message: bytes, namespace: str) -> bytes:
        raw = raw_sign()(sshsig.signed_data(namespace, sha512(message).digest()))
        return sshsig.armour(public.blob, namespace, pack(ED25519, raw))

    return sign


def _other_sign(public: PublicKey, text: bytes) -> Sign:
    """ecdsa and rsa, which cost a larger import."""

    @functools.lru_cache(maxsize=1)
    def raw_sign() -> Callable[[bytes], bytes]:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key

        try:
            key = load_ssh_private_key(text, None)
        except ValueError as why:
            raise CitError(CONFIG, f"the key {public.fingerprint} cannot be used: {why}", "make or choose another key") from None
        if isinstance(key, rsa.RSAPrivateKey):
            return lambda data: pack(b"rsa-sha2-512", key.sign(data, padding.PKCS1v15(), hashes.SHA512()))
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.key_size]

        def ecdsa(data: bytes) -> bytes:
            pair = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
            return pack(public.kind.encode(), pack(*map(pack_number, pair)))

        return ecdsa

    def sign(message: bytes, namespace: str) -> bytes:
        data = sshsig.signed_data(namespace, sha512(message).digest())
        return sshsig.armour(public.blob, namespace, raw_sign()(data))

    return sign


# Signing by way of ssh-keygen


def _sign_elsewhere(public: PublicKey, path: Path | None, message: bytes, namespace: str) -> bytes:
    """`ssh-keygen -Y sign` with the private key file `path`, or with ssh-agent where there is none."""
    import subprocess
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
        file.write(public.line + "\n")
        file.flush()
        command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(path.absolute() if path else file.name)]
        # A security key is asked for its touch on stderr, so that has to reach the person.
        errors = None if public.kind.startswith("sk-") else subprocess.PIPE
        try:
            run = subprocess.run(command, check=False, input=message, stdout=subprocess.PIPE, stderr=errors)
        except FileNotFoundError:
            raise CitError(CONFIG, "ssh-keygen is needed for this key and is not here", "install OpenSSH's client programs") from None
    if run.returncode:
        said = (run.stderr or b"").decode(errors="replace").strip().replace("\n", "; ")
        hint = f"ssh-add {shlex.quote(str(path))}, or ask again from a terminal" if path else "ssh-add -L lists what ssh-agent holds"
        raise CitError(DENIED, f"the key {public.fingerprint} did not sign: {said}", hint)
    if sshsig.parse_signature(run.stdout).key.blob != public.blob:
        raise CitError(CONFIG, f"another key than {public.fingerprint} signed", f"make {path}.pub again with ssh-keygen -y")
    return run.stdout


# Making a key


def generate(path: Path, comment: str) -> Signer:
    """A new ed25519 key in `path` (0600) and PATH.pub; the key that is there already, if there is one.

    Complete or not at all, also when several processes begin at once or one is killed: the private key gets its name by
    link(2) when all of it is on the disk, and what a killed one left in PATH.new the next one takes away.
    """
    if not comment.isprintable():
        raise CitError(USAGE, f"a key's comment is one line of plain text, not {comment!a}", "use USER@HOST")
    new, pub = path.with_name(path.name + ".new"), path.with_name(path.name + ".pub")
    if not (path.exists() and pub.exists()) or new.exists():
        with _held(new) as fd:
            if not path.exists():
                os.fchmod(fd, 0o600)
                _fill(fd, _private_file(os.urandom(32), comment))
                pub.unlink(missing_ok=True)  # of a key that is gone
                os.link(new, path)
            _keep_public(path, pub)
            new.unlink()
    return load(path)


def _private_file(seed: bytes, comment: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    point = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    check = os.urandom(4)
    private = check + check + pack(ED25519, point, seed + point, comment.encode())
    private += bytes(range(1, 1 + -len(private) % 8))
    blob = MAGIC + pack(b"none", b"none", b"") + b"\0\0\0\1" + pack(pack(ED25519, point), private)
    return sshsig.wrap(BEGIN, blob, END)


def _keep_public(path: Path, pub: Path) -> None:
    """PATH.pub, if it is missing; its bytes follow from the private key."""
    if not pub.exists():
        beside = pub.with_name(pub.name + ".new")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            _fill(fd, (load(path).public.line + "\n").encode())
        finally:
            os.close(fd)
        beside.rename(pub)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _fill(fd: int, data: bytes) -> None:
    """The file has exactly `data`, on the disk."""
    os.ftruncate(fd, 0)
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    os.fsync(fd)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    """The file `path` (0600, made if missing), locked, and still of that name when the lock is had."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(fd), os.stat(path))
            except FileNotFoundError:
                same = False
            if same:
                yield fd
                return
        finally:
            os.close(fd)
