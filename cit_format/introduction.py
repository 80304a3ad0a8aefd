"""Whom an account knows: an introduction (addition.py) that one account wrote is admitted by another, and taken back.

    cit-format introduce @main | ssh build@moon .cit/bin/cit-format admit

Reads   a queue: its key, its owner, its door; the introduction
Writes  allowed_signers of a queue or an account; ~/.ssh/authorized_keys; known_hosts and queues/ of the cit home
Fails   66 a person who may not push; 77 a revoked key; 78 a list that would not be accepted, or no host key for a door
Page    docs/howto/add-a-builder.md
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from . import address, allow, authorized, body, home, permission, sshsig
from .addition import Row, door, host, pinned, signer, silenced
from .errors import CONFIG, NOT_FOUND, CitError
from .messages import tell
from .spool import Lock, make_directory

if TYPE_CHECKING:
    from .keys import Signer
    from .permission import Place

OWNER = "cit-job,cit-control,cit-builder,cit-hosts,cit-grant"  # what a builder lets its owner say
USER = "cit-job,cit-control"
READER = "reader"  # role of those who push to a builder: they see logs and files of their own jobs there


# --- writing one ----------------------------------------------------------------------------------------------------


def letter(queue: home.Queue, users: list[str], mine: Signer, base: Path) -> list[Row]:
    """What a builder of this queue has to know: the queue, its owner, who else may push to this builder, and the way home."""
    who = owner(queue, mine)
    found = [*parting(queue), signer(who, OWNER, mine.public)]
    for user in [each for each in users if each != who]:
        entries = [entry for known in queue.signers.allowed.values() for entry in known if entry.principal == user]
        keys = [entry.key for entry in entries if "cit-job" in entry.namespaces]
        if not keys:
            raise CitError(NOT_FOUND, f"{user} may not push to {queue.name}", "cit allow lets a person in")
        found += [row for key in keys for row in (signer(user, USER, key), door(READER, user, key))]
    return [*found, *(host_rows(queue.door, base) if queue.door else [])]


def parting(queue: home.Queue) -> list[Row]:
    """The part of it that concerns this queue alone, and is taken back when the builder leaves it."""
    key = queue.signer.public
    found = [signer(queue.identity, "cit-queue", key), door("queue", queue.full_name, key)]
    return [*found, *([Row("queue", (queue.name, queue.fingerprint, queue.door), None)] if queue.door else [])]


def owner(queue: home.Queue, mine: Signer) -> str:
    """As whom the queue knows this key: by its list, else this account at this host."""
    entries = queue.signers.allowed.get(mine.public.blob, [])
    return next((each.principal for each in entries if "cit-job" in each.namespaces or "cit-builder" in each.namespaces), home.person())


def host_rows(place: str, base: Path) -> list[Row]:
    """The host keys of the machine that a door of ours is on: as pinned here, else those of the sshd of this machine. 78 where none is known."""
    name = address.parse(place).known_as
    lines: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        known = [line.split(None, 1) for line in (base / "known_hosts").read_text().splitlines()]
        lines = [each[1] for each in known if len(each) == 2 and name in each[0].split(",")]
    lines = lines or [path.read_text() for path in sorted(Path("/etc/ssh").glob("ssh_host_*_key.pub"))]
    if not lines:
        raise CitError(CONFIG, f"no host key of {name} is known", f"put its line into {base / 'known_hosts'}")
    return [host(name, sshsig.parse_public_key(line)) for line in lines]


# --- admitting it ---------------------------------------------------------------------------------------------------


def admit(place: Place, introduced: list[Row], base: Path) -> None:
    """Know these: signers by the list of `place` (a queue or the account), the rest by the account whose home is `base`."""
    for row in introduced:
        if row.kind == "signer":
            permission.allowed(place, permission.Permission(row.fields[0], row.known_key, tuple(row.fields[1].split(","))))
        elif row.kind == "door":
            role, who, _, to = row.fields
            try:
                allow.opened(authorized.Entry(row.known_key, role, who, tuple(to.split(",")) if to else (), allow.program()))
            except CitError as error:
                if role != READER or error.status != CONFIG:
                    raise
                tell("note", f"{who} gets no door to read here: {error.what}")
        elif row.kind == "queue":
            know_queue(base, *row.fields)
    pin(base, [row for row in introduced if row.kind == "host"])


def dismiss(place: Place, introduced: list[Row], base: Path, now: int) -> None:
    """Know these no longer: nobody comes in any more; what they signed before stays provable, and machines stay known."""
    for row in introduced:
        if row.kind == "door":
            allow.closed([row.known_key], tuple(row.fields[3].split(",")) if row.fields[3] else ())
        elif row.kind == "signer":
            silence(place, row, now)
        elif row.kind == "queue":
            found = queue_elsewhere(base, row.fields[1])
            if found:
                shutil.rmtree(found)


def silence(place: Place, row: Row, now: int) -> None:
    """From now on the key of a row says nothing more in its namespaces."""
    file = place / "allowed_signers"
    with Lock(place / permission.LOCK):
        before = file.read_text("utf-8")
        after = silenced(before, row.known_key, row.fields[1].split(","), now)
        if after != before:
            home.write_new(file, after.encode())
            place.note([("-", "dismissed", f"{row.fields[0]} {row.known_key.fingerprint} {row.fields[1]}")], "queue")


def pin(base: Path, pins: list[Row]) -> None:
    """These host keys, and no others for their names, count from now on."""
    if pins:
        file = base / "known_hosts"
        with Lock(base / permission.LOCK):
            before = file.read_text("utf-8") if file.exists() else ""
            after = pinned(before, pins)
            if after != before:
                home.write_new(file, after.encode())


def know_queue(base: Path, name: str, founder: str, place: str) -> None:
    """A directory for a queue elsewhere, so that results find their way there."""
    at = address.parse(place)
    found = queue_elsewhere(base, founder)
    taken = base / "queues" / name
    directory = found or (base / "queues" / f"{name}-{at.host.replace(':', '-')}" if taken.exists() else taken)
    make_directory(directory / "log")
    file = directory / "queue.toml"
    if home.settings(file).get("door") != place:
        home.write_new(file, body.toml({"name": name, "founder": founder, "remote": True, "door": place}))


def queue_elsewhere(base: Path, founder: str) -> Path | None:
    """The directory of a queue elsewhere that this home knows already."""
    for settings in sorted((base / "queues").glob("*/queue.toml")):
        queue = home.Queue(settings.parent)
        if queue.remote and queue.fingerprint == founder:
            return settings.parent
    return None
