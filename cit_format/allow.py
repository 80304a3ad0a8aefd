"""cit allow: who may what on the queues and the build account of this home, and which keys its door opens to.

Reads   the lists of queues and of the build account (permission.py); ~/.ssh/authorized_keys
Writes  the same, each whole or not at all
Fails   1 allowed already; 65 no key; 66 nobody of that name; 77 a revoked key; 78 a list that would not be accepted
Pages   docs/howto/allow-people.md, docs/stages/queue.md
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from . import authorized, clock, home, limited, messages, permission, sshsig
from .authorized import Entry
from .errors import CONFIG, DATA, NO, NOT_FOUND, USAGE, CitError
from .keys import read_guarded
from .permission import LOCK, Permission, Place, called, text_of
from .signers import PLAIN
from .spool import Lock, make_directory
from .sshsig import PublicKey

PERSON = re.compile(r"[^\s@]+@[^\s@]+")
GLOB = re.compile(r"[a-z0-9._*?!\[\]-]+")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


# --- words ----------------------------------------------------------------------------------------------------------


def moment(text: str, now: int) -> datetime:
    """The end that `--until` means: a duration from now, a UTC time, or a day, which counts to its end. 2 where it is in the past."""
    end = clock.parse(f"{text}T23:59:59Z" if _DAY.fullmatch(text) else text) if text[4:5] == "-" else now + clock.duration(text)
    if end <= now:
        raise CitError(USAGE, f"--until {text} is over", "write 30d, 2026-12-31 or 2026-12-31T20:26:11Z")
    return datetime.fromtimestamp(end // clock.SECOND, timezone.utc)


def one_key(text: str) -> PublicKey:
    """The one public key of a text; 65 where it holds none or several."""
    lines = [each for each in text.splitlines() if each.strip() and not each.startswith("#")]
    if any("PRIVATE KEY" in each for each in lines):
        raise CitError(DATA, "this is a private key", "its public half lies beside it, as .pub; a private key is for nobody else's eyes")
    if len(lines) != 1:
        raise CitError(DATA, f"{len(lines)} lines where one public key is expected", "one key a call: KIND BASE64 COMMENT")
    return sshsig.parse_public_key(lines[0].strip())


def key_of(word: str) -> PublicKey:
    """The public key that a word of a command line means: a file, `-` for stdin, or the key itself. 65, 66."""
    if word == "-":
        return one_key(sys.stdin.read())
    if " " in word.strip():
        return one_key(word)
    try:
        data = read_guarded(Path(word).expanduser(), 0)
    except (IsADirectoryError, PermissionError) as error:
        raise CitError(NOT_FOUND, f"{word}: {error.strerror}", "name a .pub file") from None
    if data is None:
        raise CitError(NOT_FOUND, f"no file {word}", "a key is a .pub file, - for stdin, or the key itself in quotes")
    return one_key(data.decode("utf-8", "replace"))


# --- places ---------------------------------------------------------------------------------------------------------


def all_places() -> list[Place]:
    """The build account of this home, and its queues."""
    queues = sorted(path.parent for path in (home.path() / "queues").glob("*/queue.toml"))
    return [home.own_account(), *(queue for queue in map(home.Queue, queues) if not queue.remote)]


def places(names: Sequence[str]) -> list[Place]:
    """The queues of these names; the build account where none is named."""
    found: list[Place] = [home.find_queue(name) for name in names]
    for place in found:
        if isinstance(place, home.Queue) and place.remote:
            raise CitError(CONFIG, f"queue {place.name} lies elsewhere", f"its own account lets people in: {place.door}")
    return found or [home.own_account()]


# --- the door -------------------------------------------------------------------------------------------------------


def program() -> str:
    """What sshd is to start: cit-queue of this home, else the one on PATH or beside this program; with a CIT_HOME of its own, env before it."""
    own = home.path() / "bin" / "cit-queue"
    beside = Path(os.path.abspath(getattr(sys.modules["__main__"], "__file__", None) or "/")).parent / "cit-queue"
    found = str(own) if os.access(own, os.X_OK) else shutil.which("cit-queue") or str(beside)
    usual = home.path().absolute() == Path(os.path.expanduser("~/.cit")).absolute()
    return os.path.abspath(found) if usual else f"env CIT_HOME={home.path().absolute()} {os.path.abspath(found)}"


def entry(wanted: Permission, at: Sequence[Place]) -> Entry:
    """The door of a person: at queues as one who submits, at the build account as one who reads. 78 for a queue elsewhere."""
    for place in at:
        if isinstance(place, home.Queue) and place.path != (home.path() / "queues" / place.path.name).absolute():
            raise CitError(CONFIG, f"{place.path} has no @NAME in this home", f"a link will do: ln -s {place.path} {home.path()}/queues/")
    queues = tuple(called(place) for place in at if isinstance(place, home.Queue))
    return Entry(wanted.key, "person" if queues else "reader", wanted.person, queues, program())


def authorized_keys() -> Path:
    """The account's own file, wherever a link leads."""
    return Path(os.path.realpath(os.path.expanduser("~/.ssh/authorized_keys")))


def opened(new: Entry) -> bool:
    """Put a door into authorized_keys, in place of what the same key had of ours; whether anything changed."""
    path = authorized_keys()
    make_directory(path.parent)
    with Lock(home.ensure() / LOCK):
        before = text_of(path)
        after = authorized.placed(before, new)
        if after != before:
            home.write_new(path, after.encode())
    return after != before


def closed(keys: Iterable[PublicKey], queues: tuple[str, ...]) -> int:
    """Take the doors of these keys out of authorized_keys (with `queues`: those queues alone); how many lines changed."""
    path = authorized_keys()
    if not path.exists():
        return 0
    with Lock(home.ensure() / LOCK):
        before = after = text_of(path)
        for key in keys:
            after = authorized.taken_out(after, key, queues)
        if after != before:
            home.write_new(path, after.encode())
    return len(set(before.split("\n")) - set(after.split("\n")))


# --- who may what ---------------------------------------------------------------------------------------------------

HEADER = ["place", "who", "may", "until", "names", "door", "key"]


def rows() -> Iterator[list[str]]:
    """Who may what: place, who, namespaces (`revoked`: none any more), until, job names, role and queues at the door, key."""
    doors = authorized.entries(text_of(authorized_keys()))
    for place in all_places():
        limits = limited.read(place.path)
        for entries in place.signers.allowed.values():
            for each in entries:
                mine = [door for door in doors if door.key.blob == each.key.blob and bool(door.queues) == isinstance(place, home.Queue)]
                mine = [door for door in mine if not door.queues or called(place) in door.queues]
                may = "revoked" if place.signers.is_revoked(each.key) else ",".join(each.namespaces)
                until = f"{each.valid_before.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}" if each.valid_before else "-"
                names = ",".join(limits.get(each.key.fingerprint, ())) or "-"
                yield [called(place), each.principal, may, until, names, ",".join(door.role for door in mine) or "-", each.key.fingerprint]


# --- the command ----------------------------------------------------------------------------------------------------


def add(words: Sequence[str], namespaces: tuple[str, ...], until: str | None, names: str | None, door: bool) -> str:
    """`cit allow USER@HOST KEY [@QUEUE...]`: the line of authorized_keys, for somebody to paste; empty where it was put in place."""
    person, *rest = words
    queues = [word for word in rest if word[:1] == "@"]
    key = key_of(" ".join(word for word in rest if word[:1] != "@")) if len(rest) > len(queues) else None
    if not PERSON.fullmatch(person) or not PLAIN.fullmatch(person):
        raise CitError(USAGE, f"{person[:80]!r} is no USER@HOST", "it is how jobs call their submitter: ada@sun")
    if key is None:
        raise CitError(USAGE, "no key", f"cit allow {person} KEYFILE [@QUEUE...]; - reads the key from stdin")
    at = places(queues)
    globs = tuple(filter(None, (names or "").split(",")))
    if not all(map(GLOB.fullmatch, globs)):
        raise CitError(USAGE, f"--names {names}", "patterns of job names, a comma between several: nightly-*,release")
    if globs and not queues:
        raise CitError(USAGE, "--names without @QUEUE", "a queue limits names; for a build account: cit grant --names")
    wanted = Permission(person, key, namespaces, moment(until, clock.now()) if until else None, globs)
    new = entry(wanted, at)
    text = new.line
    if door:
        authorized.placed(text_of(authorized_keys()), new)  # 78 before anything is changed
    known = [called(place) for place in at if not permission.allowed(place, wanted)]
    if door:
        opened(new)
        return ""
    if len(known) == len(at):
        raise CitError(NO, f"{person} with this key is allowed already at {', '.join(known)}", "--door puts its line into authorized_keys")
    return text


def revoke(what: str, words: Sequence[str], keep_old: bool) -> None:
    """`cit allow --revoke USER@HOST|KEYFILE|FINGERPRINT [@QUEUE...]`: at these queues; without any, at all of this home."""
    at = places(words) if words else all_places()
    person, keys = what, []
    if what.startswith("SHA256:"):
        found = [each.key for place in all_places() for entries in place.signers.allowed.values() for each in entries]
        found += [door.key for door in authorized.entries(text_of(authorized_keys()))]
        person, keys = "", [key for key in {key.blob: key for key in found}.values() if key.fingerprint == what]
    elif not (PERSON.fullmatch(what) and PLAIN.fullmatch(what)) or os.path.exists(what):
        person, keys = "", [key_of(what)]
    met = [key for place in at for key in permission.revoked(place, person, keys, keep_old)]
    changed = closed([*met, *keys], tuple(called(place) for place in at) if words else ())
    if not met and not changed and (person or what.startswith("SHA256:")):
        raise CitError(NOT_FOUND, f"{what[:100]} is allowed nothing here", "`cit allow` lists who may what")
    for fingerprint in dict.fromkeys(key.fingerprint for key in [*met, *keys]):
        messages.tell("info", f"{fingerprint} is out, at {', '.join(map(called, at))}")
