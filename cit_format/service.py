"""A module as a service: whom an interface serves, with what, and that a call of it is a call and nothing else (docs/howto/module-as-a-service.md).

    interfaces/NAME.users       of the build account, for the interface NAME: without it, it is no service

    # who is served: public keys, ssh or age, one a line; SHA256:... is the fingerprint of one
    portions lib/*.a,include    what they may ask for; without such a line whatever the interface leaves in its workspace
    ssh-ed25519 AAAA... ada@sun
    age1qyqszqgp...

Pure but for reading that file. Fails: 65 a call that asks for what no service gives; 77 a key that is not served; 78 the file is wrong.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from . import globs, home, reply, sshsig
from .document import Document, Section
from .errors import CONFIG, DATA, DENIED, CitError

SUFFIX = ".users"
PORTIONS = "portions"
BARE = frozenset(["job", "call", "keep", "reply", "grant"])  # all that a request consists of
# Keys of a job that say when and where it runs; any other (workspace, check, ...) would say what or how.
KEYS = frozenset(["submitter", "key", "queue", "created", "expires", "parent", "chain", "group", "same", "latest", "latest-running", "watch"])
KEYS |= {"builder", "constraint", "begin", "deadline", "hold", "priority", "attempts", "retry-on", "start-within"}
KEYS |= {"cpus", "time", "mem", "tmp", "stall", "nice", "load-limit"}
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


class Users(NamedTuple):
    """Who is served: fingerprints of ssh keys and recipients of age; and the patterns of what they may ask for (none: all)."""

    keys: frozenset[str]
    portions: tuple[str, ...]


# --- decisions ------------------------------------------------------------------------------------------------------


def parse(text: str, where: str) -> Users:
    """The file as its owner wrote it; 78 with the number of a line that is none."""
    keys, portions = set(), []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == PORTIONS and len(words) == 2:
                portions += words[1].split(",")
                if any(globs.parts_of(glob) is None for glob in words[1].split(",")):
                    raise CitError(CONFIG, "a portion that is not below the workspace")
            else:
                keys.add(key_of(line.strip()))
        except CitError as error:
            raise CitError(CONFIG, f"{where}, line {number}: {error.what}", "a public key a line, or: portions GLOB,GLOB") from None
    return Users(frozenset(keys), tuple(portions))


def key_of(text: str) -> str:
    """What a key is compared by: the fingerprint of one of ssh, the recipient itself of age. 65 where it is neither."""
    if text.startswith("age1") or _FINGERPRINT.fullmatch(text):
        return text
    return sshsig.parse_public_key(text).fingerprint


def objection(users: Users, name: str, job: Document) -> CitError | None:
    """Why a request is not served: 77 its key or one that it wants results for is not listed, or it is more than a call; 65 what is asked for."""
    said = job.table("job")
    more = next((section.kind for section in signed(job) if section.kind not in BARE), "")
    more = more or next((key for key in said if key not in KEYS), "")
    if more:
        return CitError(
            DENIED, f"{name} is a service: a request brings no {more}", "a call, what it keeps, and for whom: cit push --call --keep --reply"
        )
    wanted, rows = [row[0] for section in signed(job) if section.kind == "keep" for row in section.rows()], reply.rows(job)
    asking = [str(said.get("key")), *(key_of(row.to.key) for row in rows)]
    stranger = next((key for key in asking if key not in users.keys), None)
    if stranger is not None:
        return CitError(DENIED, f"{name} serves no key {stranger}", "its owner says whom it serves: interfaces/NAME.users")
    if not wanted or any(glob not in {row.glob for row in rows} and not reply.is_all(rows) for glob in wanted):
        return CitError(DATA, f"{name} is a service: what is asked for has to be sealed", "--keep GLOB --reply GLOB=KEY, or --seal-results")
    return None


def is_given(users: Users, path: str) -> bool:
    """Whether a file may be handed out, by its path below the workspace."""
    return not users.portions or any(globs.matches(path, glob) for glob in users.portions)


def signed(job: Document) -> list[Section]:
    """The sections that the submitter signed."""
    first = job.find("signature")
    return job.sections[: first.number - 1] if first else job.sections


# --- the file -------------------------------------------------------------------------------------------------------


def users(account: Path, name: str) -> Users | None:
    """Whom an interface of this account serves; None where it is no service. 78 where the file is wrong, or others can write it."""
    path = account / "interfaces" / f"{name}{SUFFIX}"
    try:
        with open(path, "rb") as stream:
            home.guard(path, os.fstat(stream.fileno()))
            return parse(stream.read().decode("utf-8", "replace"), path.name)
    except FileNotFoundError:
        return None
