"""A builder in a queue: taken in, told to take nothing more, taken out (docs/howto/add-a-builder.md).

Reads   a builder document, or a bare file with its keys; the queue's directory
Writes  builders/ID-NAME.cit, signed by the person who does it; who it is: allowed_signers, authorized_keys; builders/.removed/
Fails   65 what describes no builder; 66 no such builder; 77 a document by nobody whom we know; 78 a name that is another's already
How     What the account said of itself is the ground; what people chose when they added it before stays; what is chosen now wins.
        A document proves its account's key by that key's own signature; a bare file needs the key beside it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import bare, body, clock, document, home, introduction, reader, remarks, sign, spool, sshsig, trust
from .addition import door, signer
from .body import Time, Value
from .builder import count
from .builders import PAUSED, given
from .document import Document
from .errors import CONFIG, DATA, DENIED, LATER, NOT_FOUND, USAGE, CitError
from .heartbeat import CACHE
from .sshsig import PublicKey

if TYPE_CHECKING:
    from .keys import Signer

CHOSEN = ("slots", "ahead", "tags", "users", "hours", "can-build", "load-limit", "kind")  # stay when a builder is added again
SPEAKS = "cit-result,cit-builder"
REMOVED = ".removed"


class Told(NamedTuple):
    """What a file says of a builder: its keys; its public key where that is proven; the document itself where somebody else signed it."""

    table: dict[str, Value]
    key: PublicKey | None = None
    signed: Document | None = None


# --- decisions ------------------------------------------------------------------------------------------------------


def told(content: bytes, file: str) -> Told:
    """What a builder document or a bare file says; 65 where it is neither, 77 where the signature by its own key does not hold."""
    if not content.startswith(b"@cit "):
        for remark in bare.remarks("builder", file, content):
            if remark.status:
                raise CitError(remark.status, remark.what, remark.hint, file)
        return Told(body.table(content))
    described = reader.parse(content)
    table = described.table("builder")
    signature = described.find("signature")
    if described.kind != "builder" or signature is None:
        raise CitError(DATA, "it is no signed builder document", "cit-format describe writes one, on the builder", file)
    proof = sshsig.parse_signature(signature.body())
    if proof.key.fingerprint != table.get("key"):
        return Told(table, None, described)
    sshsig.verify(proof, described.raw[: signature.start], "cit-builder")
    return Told(table, proof.key)


def merged(said: Mapping[str, Value], before: Mapping[str, Value], chosen: Mapping[str, Value], now: int) -> dict[str, Value]:
    """The keys of the new document. An empty choice takes a key out."""
    stays = {key: before[key] for key in CHOSEN if key in before}
    table = {**said, **stays, **chosen, "created": Time(now - now % clock.SECOND)}
    table.setdefault("state", "up")
    return {key: value for key, value in table.items() if value not in ("", [])}


def unsigned(table: Mapping[str, Value]) -> Document:
    """The document of these keys; 65 where the dictionary objects."""
    made = document.new(str(table.get("name", "")), document.section("builder", "toml", body.toml(table)))
    for remark in remarks.remarks(made):
        if remark.status:
            raise CitError(remark.status, remark.what, remark.hint, made.label)
    return made


# --- the queue ------------------------------------------------------------------------------------------------------


def all_of(folder: Path) -> list[Document]:
    """The builder documents of a directory, the oldest first; what is none is passed over."""
    found = []
    for file in spool.listing(folder):
        with contextlib.suppress(CitError, FileNotFoundError):
            described = reader.parse((folder / file).read_bytes())
            if {"name", "key", "host"} <= set(described.table("builder")):
                found.append(described)
    return sorted(found, key=lambda each: str(each.table("builder").get("created")))


def known(queue: home.Queue, name: str) -> Document | None:
    """The newest document of a builder in a queue."""
    found = [each for each in all_of(queue / "builders") if each.table("builder")["name"] == name]
    return found[-1] if found else None


def enlist(queue: home.Queue, info: Told, chosen: Mapping[str, Value], mine: Signer, base: Path, public: PublicKey | None = None) -> Document:
    """Take a builder in, or say anew what it is; the document that the queue has now. `public`: its key, where nothing else says it."""
    here(queue)
    made = info.signed
    if made is None:
        wanted = {**chosen, "name": name_of(queue, info.table, chosen), **users_of(queue, info, chosen, mine)}
        made = unsigned(merged(info.table, _before(queue, info.table), wanted, clock.now()))
    elif chosen:
        raise CitError(USAGE, "its owner signed it as it is", "options change only what you sign yourself: ask the owner for another one", made.label)
    table = made.table("builder")
    key = info.key or public or _listed(queue, str(table["key"])) or _beside(str(table.get("door", "")))
    if key is None or key.fingerprint != table["key"]:
        raise CitError(DATA, f"the public key {table['key']} is not known", "--key FILE names it: key.pub of the builder's home", made.label)
    rows = [signer(f"builder@{table['host']}", SPEAKS, key)]
    if queue.door:
        rows.append(door("builder", key.fingerprint, key, f"@{queue.path.name}"))
    if info.signed is None:
        who = introduction.owner(queue, mine)
        rows.append(signer(who, "cit-builder", mine.public))
        made = made.extended(sign.signature(made, mine, "cit-builder", who))
    else:
        believed(queue, made)
    introduction.admit(queue, rows, base)
    keep(queue, made)
    queue.note([("-", "added", f"builder {made.name}")], "queue")
    return made


def here(queue: home.Queue) -> None:
    """66 where a queue lies elsewhere."""
    if queue.remote:
        raise CitError(NOT_FOUND, f"queue {queue.name} lies elsewhere", f"builders are added there, at {queue.door}")


def _before(queue: home.Queue, said: Mapping[str, Value]) -> dict[str, Value]:
    """What the queue had about the builder of this key."""
    found = [each.table("builder") for each in all_of(queue / "builders") if each.table("builder")["key"] == said.get("key")]
    return found[-1] if found else {}


def users_of(queue: home.Queue, info: Told, chosen: Mapping[str, Value], mine: Signer) -> dict[str, Value]:
    """Whose jobs it takes, where that is to be said: an account that described itself believes its owner, and whom we choose; `all` is everybody."""
    who, wanted = introduction.owner(queue, mine), chosen.get("users")
    if wanted == ["all"]:
        entries = [entry for known in queue.signers.allowed.values() for entry in known if "cit-job" in entry.namespaces]
        wanted = list(dict.fromkeys(entry.principal for entry in entries))
    if isinstance(wanted, list) and wanted:
        return {"users": [who, *(str(each) for each in wanted if each != who)]}
    if info.key is None or "users" in chosen:
        return {}
    return {"users": _before(queue, info.table).get("users", [who])}


def name_of(queue: home.Queue, said: Mapping[str, Value], chosen: Mapping[str, Value]) -> str:
    """A name of the builder's own: the chosen one, the one that its key has here, its host's, or HOST-ACCOUNT. 78 where it is taken."""
    others = {each.table("builder")["name"] for each in all_of(queue / "builders") if each.table("builder")["key"] != said.get("key")}
    plain, account = str(said.get("name", "")), str(said.get("account", "")).partition("@")[0].lower()
    wanted = [chosen["name"]] if "name" in chosen else [_before(queue, said).get("name"), plain, f"{plain}-{account}"]
    name = next((str(each) for each in wanted if each and each not in others), "")
    if not name:
        raise CitError(CONFIG, f"{wanted[-1]} is another builder of {queue.name}", "--name gives this one a name of its own")
    return name


def _listed(queue: home.Queue, fingerprint: str) -> PublicKey | None:
    """The key of this fingerprint that the queue's list has."""
    keys = (entries[0].key for entries in queue.signers.allowed.values())
    return next((key for key in keys if key.fingerprint == fingerprint), None)


def _beside(door: str) -> PublicKey | None:
    """The key of a build account of this machine, by its directory."""
    with contextlib.suppress(OSError):
        return sshsig.parse_public_key(Path(door, "key.pub").read_text()) if door.startswith("/") else None
    return None


def keep(queue: home.Queue, made: Document) -> None:
    """Put a signed builder document into the queue; others of its name or key go."""
    said = made.table("builder")
    home.write_new(queue / "builders" / f"{made.id}-{made.name}.cit", made.raw)
    for other in all_of(queue / "builders"):
        if other.id != made.id and (other.table("builder")["name"] == said["name"] or other.table("builder")["key"] == said["key"]):
            drop(queue, other)


def drop(queue: home.Queue, described: Document) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(queue / "builders" / f"{described.id}-{described.name}.cit")


def believed(queue: home.Queue, described: Document) -> None:
    """77 where nobody signed it whom the queue lets."""
    signature = described.find("signature")
    if signature is None:
        raise CitError(DENIED, "no signature", "cit-format sign FILE", described.label)
    trust.verified(described, signature, "cit-builder", queue.signers, clock.now())


# --- the way out ----------------------------------------------------------------------------------------------------


def drain(queue: home.Queue, name: str, mine: Signer) -> Document:
    """Say that a builder takes no new jobs; 66 where there is none."""
    here(queue)
    found = known(queue, name)
    if found is None:
        raise CitError(NOT_FOUND, f"no builder {name} in {queue.name}", "cit builders lists them")
    if found.table("builder").get("state") == "drain":
        return found
    described = unsigned({**found.table("builder"), "state": "drain", "created": Time(clock.now() - clock.now() % clock.SECOND)})
    made = described.extended(sign.signature(described, mine, "cit-builder", introduction.owner(queue, mine)))
    keep(queue, made)
    queue.note([("-", "drained", f"builder {name}")], "queue")
    return made


def delist(queue: home.Queue, name: str, base: Path) -> Document:
    """Take a builder out, to builders/.removed: nobody comes in with its key any more, what it signed until now stays provable.

    Again it changes nothing. 66 where there never was one, 75 while it has jobs of this queue.
    """
    here(queue)
    jobs = given(queue).get(name)
    if jobs and jobs.jobs:
        raise CitError(LATER, f"{name} has {count(len(jobs.jobs))} of @{queue.path.name}", "again when they have come home; cit remove --wait waits")
    found, gone = known(queue, name), queue / "builders" / REMOVED
    if found is None:
        before = [each for each in all_of(gone) if each.table("builder")["name"] == name]
        if not before:
            raise CitError(NOT_FOUND, f"no builder {name} in {queue.name}", "cit builders lists them")
        return before[-1]
    table = found.table("builder")
    key = _listed(queue, str(table["key"]))
    if key is not None:
        rows = [door("builder", key.fingerprint, key, f"@{queue.path.name}"), signer(f"builder@{table['host']}", SPEAKS, key)]
        introduction.dismiss(queue, rows, base, clock.now())
    spool.make_directory(gone)
    home.write_new(gone / f"{found.id}-{found.name}.cit", found.raw)
    for each in all_of(queue / "builders"):
        if each.table("builder")["name"] == name:
            drop(queue, each)
    for cached in (f"{name}{PAUSED}", f"{CACHE}/{name}.cit"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(queue / "builders" / cached)
    queue.note([("-", "removed", f"builder {name}")], "queue")
    return found
