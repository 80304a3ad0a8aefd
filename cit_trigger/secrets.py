"""What a job brings in secret: read from files, sealed to builders whom the submitter trusts (docs/howto/secrets.md).

Reads: the files that --secret and --seal-to name; who is trusted, by way of trusted.py. Writes nothing: the sections go into the job.
Fails: 2 a value on the command line; 66 no such file or builder; 78 nobody to seal to.
Pages: docs/howto/secrets.md, docs/format/secret.md
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import trusted
from .cit_format import clock, document, home, messages, seal, secret
from .cit_format.errors import CONFIG, DATA, NOT_FOUND, USAGE, CitError
from .cit_format.secret import SCRIPT
from .options import Secrecy

if TYPE_CHECKING:
    from .cit_format.keys import Signer
    from .cit_format.seal import Recipient

OWN = "your own key"


class Seal(NamedTuple):
    """What is to be sealed, by name, the keys that it is sealed to, the fingerprint of the key that signs, and whether scripts are sealed too."""

    contents: dict[str, bytes]
    to: list[Recipient]
    signer: str
    script: bool

    def written(self, identity: str, script: bytes | None = None) -> bytes:
        """The sections of one job (its ID): its script, if it is given here, and what is secret."""
        contents, opened = self.contents, b""
        if script is not None:  # in place of an old job's
            contents = {SCRIPT: script, **{name: content for name, content in contents.items() if name != SCRIPT}}
            opened = b"" if self.script else document.section(SCRIPT, "sh", contents.pop(SCRIPT))
        return opened + b"".join(secret.section(identity, self.signer, name, content, self.to) for name, content in contents.items())


# --- decisions ------------------------------------------------------------------------------------------------------


def split(item: str) -> tuple[str, str]:
    """Name and file of NAME=@FILE; 2 where a value stands there, which is not repeated."""
    name, _, source = item.partition("=")
    if not source.startswith("@") or source == "@":
        hint = "on a command line everybody here could read it: --secret NAME=@FILE, or NAME=@- for stdin"
        raise CitError(USAGE, "--secret takes the name of a file, not a value", hint)
    if secret.objection(name):
        raise CitError(USAGE, f"--secret: {secret.objection(name)}", "a plain file name, under which the job finds it: --secret TOKEN=@FILE")
    return name, source[1:]


def told(names: Iterable[str], with_own: bool) -> str:
    """`moon, sun and your own key`."""
    *first, last = [*sorted(set(names)), *([OWN] if with_own else [])]
    return f"{', '.join(first)} and {last}" if first else last


# --- secrets --------------------------------------------------------------------------------------------------------


def read(items: Iterable[str]) -> dict[str, bytes]:
    """The contents of the files that --secret names, by name of the secret."""
    found: dict[str, bytes] = {}
    for name, source in map(split, items):
        if name in found:
            raise CitError(USAGE, f"--secret {name} is given twice", "each secret has a name of its own")
        found[name] = content(name, source)
    return found


def content(name: str, source: str) -> bytes:
    """The bytes of one secret; a file that others can read is told of."""
    try:
        with open(0 if source == "-" else source, "rb", closefd=source != "-") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            got = stream.read(seal.LIMIT + 1)
    except OSError as error:
        raise CitError(NOT_FOUND, f"--secret {name}: {source}: {error.strerror}", "it names a file that is here, or - for stdin") from None
    if source != "-" and stat.S_ISREG(mode) and mode & 0o044:
        messages.tell("warning", f"others can read {source} (mode {stat.S_IMODE(mode):04o})", hint=f"chmod go-rwx {source}")
    if not got:
        raise CitError(DATA, f"--secret {name}: {source} is empty", "a secret has at least one byte")
    return got


# --- to whom --------------------------------------------------------------------------------------------------------


def meant(wanted: str, queue: home.Queue, now: int) -> tuple[list[Recipient], list[str]]:
    """The keys that one --seal-to means, and what they are called."""
    if wanted.startswith("@"):
        place, _, tag = wanted.partition(":")
        return named(trusted.some(home.find_queue(place), None, [tag] if tag else [], now))
    if "/" in wanted or wanted.endswith(".pub") or os.path.isfile(wanted):
        return seal.recipients(text(wanted), wanted), [wanted]
    if wanted.startswith("age1"):
        return [seal.recipient(wanted)], [wanted]
    return named([trusted.one(queue, wanted, now)])


def fallback(asked: Secrecy, queue: home.Queue, before: frozenset[str] | None, now: int) -> tuple[list[Recipient], list[str]]:
    """The same without --seal-to: every trusted builder that the job may go to; for an old job's secrets those that had them `before`."""
    found = trusted.some(queue, asked.builder, asked.tags, now)
    known = [each for each in found if before is None or (each.key and each.key.fingerprint in before)]
    if not known:
        raise CitError(CONFIG, "none of the builders that this was sealed to is known any more", "say to whom: --seal-to BUILDER")
    return named(known)


def named(found: Iterable[trusted.Trusted]) -> tuple[list[Recipient], list[str]]:
    """The keys of builders, and their names."""
    with_key = [each for each in found if each.key]
    return [each.key for each in with_key if each.key], [each.name for each in with_key]


def text(path: str) -> str:
    """The text of a file with public keys."""
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CitError(NOT_FOUND, f"--seal-to {path}: {getattr(error, 'strerror', None) or 'no text'}", "a file with a public key") from None


# --- all together ---------------------------------------------------------------------------------------------------


def wanted(asked: Secrecy, queue: home.Queue, own: Signer) -> Seal | None:
    """What is to be sealed to whom; None where the command line asks for nothing of it."""
    contents = read(asked.secrets)
    before = None
    if asked.old is not None:
        from .reseal import of_old

        old, before = of_old(asked.old, own, asked.key)
        contents = {**old, **contents}
    if not contents and not asked.script:
        if asked.to:
            raise CitError(USAGE, "--seal-to, and nothing to seal", "--secret NAME=@FILE, or --seal-script for the script")
        return None
    now, to, names = clock.now(), [], []
    for keys, called in [meant(each, queue, now) for each in asked.to] or [fallback(asked, queue, before, now)]:
        to += keys
        names += called
    with_own = own.public.kind in seal.KINDS
    if with_own:
        to.append(seal.recipient(own.public.line))
    hint = "" if with_own else f"age does not know keys like yours ({own.public.kind}): cit requeue will need the secrets again"
    messages.tell("info" if asked.to and with_own else "note", f"sealed to {told(names, with_own)}", hint=hint)
    keyed = {each.fingerprint: each for each in to}
    return Seal(contents, list(keyed.values()), own.public.fingerprint, asked.script)
