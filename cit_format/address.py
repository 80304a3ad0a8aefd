"""Places where documents are handed over: a directory of this machine, or a door elsewhere (docs/stages/deliver.md).

    /home/ada/.cit                 a build account or a queue of this machine, by its directory
    ssh://cit@moon                 a build account, by its ssh door
    ssh://cit@sun:2222/@main       a queue of an account, by its ssh door

Pure. Every part is plain: none can be taken for an option or for shell by what it is handed to.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import grammar
from .errors import DATA, CitError

SCHEME = "ssh://"
PORT = 22
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class Door(NamedTuple):
    """A door elsewhere: account, host (an IPv6 address without brackets), port, and the queue's name (empty: the build account)."""

    user: str
    host: str
    port: int = PORT
    queue: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORT else f":{self.port}"
        return f"{SCHEME}{self.user}@{host}{port}{f'/@{self.queue}' if self.queue else ''}"

    @property
    def known_as(self) -> str:
        """What stands in known_hosts for it."""
        return self.host if self.port == PORT else f"[{self.host}]:{self.port}"


def is_remote(place: str) -> bool:
    """Whether a place is a door elsewhere."""
    return place.startswith(SCHEME)


def parse(place: str) -> Door:
    """The door that a place names; 65 where it is none."""
    hint = "a door is ssh://USER@HOST[:PORT], of a queue ssh://USER@HOST[:PORT]/@QUEUE"
    if not is_remote(place):
        raise CitError(DATA, f"{place[:100]!r} is no door", hint)
    account, slash, path = place[len(SCHEME) :].partition("/")
    user, _, rest = account.rpartition("@")
    match = re.fullmatch(rf"({_HOST.pattern})(?::(.+))?", rest)
    if match is None or not _USER.fullmatch(user):
        raise CitError(DATA, f"{place[:100]!r} is no door: USER or HOST is missing or strange", hint)
    port = match[2] or str(PORT)
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise CitError(DATA, f"{place[:100]!r} is no door: port {port[:10]!r}", hint)
    if slash and not (path[:1] == "@" and grammar.NAME.fullmatch(path[1:])):
        raise CitError(DATA, f"{place[:100]!r} is no door: {path[:40]!r} is no @QUEUE", hint)
    return Door(user, match[1].strip("[]"), int(port), path[1:])
