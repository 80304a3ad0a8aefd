"""Which documents somebody at the door may see: their own, and those whose job says so (docs/stages/queue.md).

person, reader    submitted by them; `watch = "all"`; `watch = "readers"` where their key is listed for cit-read;
                  all, where it is listed for cit-control: who may end every job of the place may see them.
                  Of a job that they see by its `watch` alone they get what its interface shows, if it says what (outside.py)
builder           assigned to its key
queue             of that queue
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from .cit_format import clock, glance, reader
from .cit_format.errors import DENIED, CitError
from .cit_format.glance import Glance
from .looks import Place, Sees
from .roles import Asker

if TYPE_CHECKING:
    from .cit_format.signers import Signers

PEOPLE = frozenset(["cit-job", "cit-control", "cit-read"])  # with one of these a person has business here
BUILDERS = frozenset(["cit-result"])


# --- decisions ------------------------------------------------------------------------------------------------------


def is_for(seen: Glance, who: str, roles: frozenset[str]) -> bool:
    """Whether a person with these namespaces may see a job (or a wish), by its first section."""
    if seen.kind not in ("job", "control"):
        return False
    watch = seen.text("watch")
    return seen.text("submitter") == who or "cit-control" in roles or watch == "all" or (watch == "readers" and "cit-read" in roles)


def namespaces(signers: Signers, is_theirs: Callable[[str, str], bool], now: int) -> frozenset[str]:
    """In which namespaces somebody's keys may speak now; `is_theirs` is asked for principal and fingerprint."""
    moment = datetime.fromtimestamp(now / clock.SECOND, timezone.utc)
    found = set()
    for entries in signers.allowed.values():
        for entry in entries:
            for namespace in entry.namespaces if is_theirs(entry.principal, entry.key.fingerprint) else ():
                with contextlib.suppress(CitError):
                    signers.principal(entry.key, namespace, moment)
                    found.add(namespace)
    return frozenset(found)


# --- a place --------------------------------------------------------------------------------------------------------


def of(by: Asker, place: Place) -> Sees:
    """What this asker sees at a place; None: all. 77 where the place's list of keys knows them no more."""
    if by.role in ("person", "reader"):
        roles = namespaces(place.signers, lambda principal, _: principal == by.who, clock.now()) & PEOPLE
        _listed(by, bool(roles))
        return lambda path: is_for(glance.at(path), by.who, roles)
    if by.role == "builder":
        _listed(by, bool(namespaces(place.signers, lambda _, fingerprint: fingerprint == by.who, clock.now()) & BUILDERS))
        return lambda path: _is_assigned_to(path, by.who)
    if by.role == "queue":
        return lambda path: glance.at(path).text("queue") == by.who
    return None


def whole(by: Asker, place: Place) -> Sees:
    """Of which documents this asker sees log and files as they are, and not what an interface shows outsiders; None: all."""
    if by.role not in ("person", "reader"):
        return None
    manages = "cit-control" in namespaces(place.signers, lambda principal, _: principal == by.who, clock.now())
    return lambda path: manages or glance.at(path).text("submitter") == by.who


def _listed(by: Asker, is_listed: bool) -> None:
    if not is_listed:
        raise CitError(DENIED, f"{by.who} is not listed here, or not any more", "allowed_signers says who may; cit allow adds a key")


def _is_assigned_to(path: Path, key: str) -> bool:
    return any(section.table().get("key") == key for section in reader.parse(path.read_bytes()).all("assignment"))
