"""Lines of known_hosts, read as ssh(1) reads them, for a library that is less careful (docs/decisions/fabric.md). Pure."""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import hmac
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator
from typing import NamedTuple


class Known(NamedTuple):
    """A line that is about a host: FILE:LINE, the key's type and blob, and whether it is revoked."""

    where: str
    type: str
    blob: bytes
    revoked: bool


def about(host: str, text: str, file: str) -> Iterator[Known]:
    """The lines that name a host, plainly or hashed. Patterns and certificate authorities are not ours; a revoked key may be anybody's."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        revoked = words[:1] == ["@revoked"]
        words = words[1:] if revoked else words
        if len(words) < 3 or words[0][0] in "#@":
            continue
        names = words[0].split(",")
        if host in names or any(is_hash_of(name, host) for name in names) or (revoked and words[0] == "*"):
            with contextlib.suppress(binascii.Error):
                yield Known(f"{file}:{number}", words[1], a2b_base64(words[2]), revoked)


def is_hash_of(name: str, host: str) -> bool:
    """Whether `|1|SALT|HASH` is this host's name."""
    mark, _, rest = name.partition("|1|")
    salt, _, hashed = rest.partition("|")
    if mark or not hashed:
        return False
    try:
        return hmac.compare_digest(hmac.new(a2b_base64(salt), host.encode(), hashlib.sha1).digest(), a2b_base64(hashed))
    except binascii.Error:
        return False


def fingerprint(blob: bytes) -> str:
    """`SHA256:...` of a public key."""
    return "SHA256:" + b2a_base64(hashlib.sha256(blob).digest(), newline=False).decode().rstrip("=")
