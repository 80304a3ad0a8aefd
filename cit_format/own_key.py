"""A person's own private key, to open what was sealed to it (docs/format/secret.md).

Reads: the key file that is named, else that of config.toml, those of ~/.ssh, that of the cit home. A passphrase is asked for on the terminal.
Fails: 77 none of them is meant, or only ssh-agent has it, which opens nothing; 78 a key file that others can read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from . import home, keys, seal
from .errors import DENIED, NOT_FOUND, CitError

HINT = "name its file with --key; ssh-agent signs, and opens nothing"


def private(wanted: Collection[str], given: str | None = None) -> seal.Key:
    """The first of our keys that has one of these fingerprints. 77 where none has."""
    for path in _files(given):
        if path.exists() and _fingerprint(path) in wanted:
            return seal.key(path, passphrase if keys.has_terminal() else None)
    if given is not None and keys.read_guarded(Path(given).expanduser(), 0o077) is None:
        raise CitError(NOT_FOUND, f"no file {given}", "--key names a private key")
    raise CitError(DENIED, f"the private key {' or '.join(sorted(wanted))} is not in a file of yours", HINT)


def is_here(fingerprint: str, given: str | None = None) -> bool:
    """Whether the private half of a key is in one of our files."""
    return any(path.exists() and _fingerprint(path) == fingerprint for path in _files(given))


def _files(given: str | None) -> list[Path]:
    """Where a private key of ours may lie; the file `given` first."""
    named = given or home.settings(home.path() / "config.toml").get("key")
    files = [Path(str(named)).expanduser()] if named else []
    return [*files, *(Path.home() / ".ssh" / name for name in keys.PERSONAL), home.path() / "id_ed25519"]


def _fingerprint(path: Path) -> str:
    """Of which key a file holds the private half; empty where it is none that could be used."""
    with contextlib.suppress(CitError):
        return keys.load(path).public.fingerprint
    with contextlib.suppress(CitError):
        return seal.key(path).fingerprint  # of age-keygen
    return ""


def passphrase(path: Path) -> str:
    """Ask on the terminal."""
    from getpass import getpass

    return getpass(f"passphrase of {path}: ")
