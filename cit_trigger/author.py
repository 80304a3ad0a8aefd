"""Whose jobs these are and for which queue: the key that signs, and the name that the queue knows it by (docs/format/signatures.md)."""

from __future__ import annotations

from typing import NamedTuple

from .cit_format import ask, home, keys
from .cit_format.errors import CONFIG, NOT_FOUND, CitError
from .cit_format.keys import Signer
from .cit_format.messages import tell
from .cit_format.sshsig import PublicKey


class Author(NamedTuple):
    """Who signs: `user@host`, the key, and the keys of a job section that say who asks which queue."""

    person: str
    signer: Signer
    who: dict[str, object]


def queue_for(wanted: str | None) -> home.Queue:
    """The queue that is named, else the first of `queues` in config.toml that can be had; 66 where there is none.

    One elsewhere is asked whether it is alive, as only now a job may still go to another one; where there is no other, not even that.
    """
    configured = None if wanted else home.settings(home.path() / "config.toml").get("queues")
    if not isinstance(configured, list) or len(configured) < 2:
        return home.find_queue(wanted)
    known: list[home.Queue] = []
    why = "is not there"
    for name in map(str, configured):
        try:
            queue = home.find_queue(name)
        except CitError as error:
            if error.status != NOT_FOUND:
                raise
            continue
        missing = objection(queue)
        if not missing:
            if name != configured[0]:
                tell("note", f"queue {configured[0]} {why}: this goes to {name}")
            return queue
        why = missing if name == configured[0] else why
        known.append(queue)
    return known[0] if known else home.find_queue(str(configured[0]))


def objection(queue: home.Queue) -> str:
    """Why a queue takes nothing now; empty where it does, as far as can be seen."""
    if not queue.active:
        return "is not active"
    if not queue.remote:
        return ""
    try:
        return "" if ask.alive(queue)[1] == "active" else "is not active"
    except CitError as error:
        return f"cannot be had ({error.what})"


def author(queue: home.Queue, key: str | None) -> Author:
    """Who signs jobs for this queue; 78 where there is no key."""
    place = home.ensure()
    configured = key or home.settings(place / "config.toml").get("key")
    signer = keys.find_personal(place, str(configured) if configured else None)
    if signer is None:
        raise CitError(CONFIG, "no ssh key of your own", "make one: ssh-keygen -t ed25519, or name one with --key")
    person = known_as(queue, signer.public)
    return Author(person, signer, {"submitter": person, "key": signer.public.fingerprint, "queue": queue.full_name})


def known_as(queue: home.Queue, key: PublicKey) -> str:
    """The name that the queue's allowed_signers gives this key for jobs; without one, who this is here.

    Only the lines with this key are read: a fault in another one is the queue's affair.
    """
    if queue.person:
        return queue.person
    here = home.person()
    encoded = key.line.split()[1]
    try:
        lines = [line for line in (queue / "allowed_signers").read_text("utf-8", "replace").split("\n") if encoded in line]
    except OSError:
        return here
    if not lines or lines[0].startswith(f"{here} "):
        return here
    from .cit_format.signers import parse_allowed_signers

    found = parse_allowed_signers("\n".join(lines), str(queue / "allowed_signers"))
    return next((entry.principal for entry in found if entry.key.blob == key.blob and "cit-job" in entry.namespaces), here)
