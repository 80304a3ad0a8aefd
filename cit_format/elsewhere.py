"""Queues that lie elsewhere, as a home knows them: a directory with a queue.toml that says where (docs/howto/use-a-remote-queue.md).

    queues/NAME/queue.toml    name, founder, remote = true, door, person

The directory also holds what was heard of their jobs (docs/directories.md); that stays when a queue is forgotten.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from . import address, body, configure, home, hosts, messages
from .hosts import Hosts, Row
from .introduction import queue_elsewhere
from .spool import make_directory


def know_queues(found: Hosts, base: Path, person: str, now: int) -> None:
    """A directory for each queue elsewhere that has a door; a queue of this home stays as it is."""
    here = {queue.full_name: queue for queue in local_queues(base)}
    for row in found.valid("queue", now):
        if row.door and row.queue not in here:
            know_queue(row, base, person)


def local_queues(base: Path) -> list[home.Queue]:
    """The queues of a home that lie in it."""
    return [queue for queue in map(home.Queue, sorted(path.parent for path in base.glob("queues/*/queue.toml"))) if not queue.remote]


def know_queue(row: Row, base: Path, person: str) -> None:
    """Write, or change, the queue.toml that says where a queue elsewhere is."""
    name, _, founder = row.queue.partition("@")
    known = queue_elsewhere(base, founder)
    if known is None:
        known = free(base, name, row.door)
        make_directory(known)
        said = {"name": name, "founder": founder, "remote": True, "door": row.door, "person": person or None}
        home.write_new(known / "queue.toml", body.toml(said))
        messages.tell(
            "note", f"queue @{known.name} is at {row.door}", hint=f"cit push --queue @{known.name}; cit config queues @{known.name} makes it yours"
        )
        return
    for key, value in (("door", row.door), ("person", person)):
        if value and home.settings(known / "queue.toml").get(key) != value:
            configure.change(known / "queue.toml", key, [value])
            messages.tell("note", f"queue @{known.name}: its {key} is {value} now")


def free(base: Path, name: str, door: str) -> Path:
    """A directory for a queue: its name, else with its host's after it, where that is taken."""
    place = base / "queues" / name
    if not os.path.lexists(place):
        return place
    host = address.parse(door).host if address.is_remote(door) else "there"
    return base / "queues" / f"{name}-{re.sub('[^a-z0-9._-]', '-', host.lower())}"[:64]


def withdraw(found: Hosts, base: Path, now: int) -> None:
    """Queues that the newest version has no more are no queues of this home any more; what is known of their jobs stays."""
    left = {row.queue for row in found.valid("queue", now)}
    gone = {row.queue: row for version in hosts.kept(base / "hosts") for row in version.rows if row.kind == "queue" and row.queue not in left}
    for row in gone.values():
        forget(row, base)


def forget(row: Row, base: Path) -> None:
    """Take away the queue.toml of a queue elsewhere."""
    known = queue_elsewhere(base, row.queue.partition("@")[2])
    if known is not None:
        for name in ("queue.toml", ".alive", ".silent"):
            (known / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            known.rmdir()
        messages.tell("note", f"queue @{known.name} is none of this home's any more")
