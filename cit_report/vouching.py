"""Whose keys are believed for a document: those that its queue and this account list, and those that a cluster's manager vouched for.

Pages: docs/format/signatures.md, docs/howto/use-a-remote-queue.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from . import places
from .cit_format import home, hosts
from .cit_format.document import Document
from .cit_format.signers import Allowed, Signers


class Vouched(NamedTuple):
    """Who may sign what, and of keys that only hosts documents list, which version vouches for each (by fingerprint)."""

    signers: Signers
    hosts: Mapping[str, str]


def lists(document: Document, there: places.Home) -> tuple[list[Path], list[Path]]:
    """The lists that are asked: of the queue that the document names, else of every queue here, and of this account; and of revoked keys."""
    full_name = str(document.table("job").get("queue", "")) if document.kind == "job" else ""
    queues = [queue for queue in there.queues if full_name and _named(queue, full_name)] or there.queues
    found = [*queues, *([there.account] if there.account else [])]
    return [place / "allowed_signers" for place in found], [place / "revoked_keys" for place in found if (place / "revoked_keys").exists()]


def _named(queue: Path, full_name: str) -> bool:
    """Whether a document names this queue; one that was made anew under the same name counts, as its list may have the old key."""
    return home.Queue(queue).name == full_name.partition("@")[0]


def merged(paths: Iterable[Path], revoked: Path | None = None, alias: Mapping[str, str] | None = None) -> Signers:
    """One list of several files; `alias` says as whom somebody in them is known at the document's queue."""
    read = [Signers.read(path, revoked) for path in paths if path.exists()]
    entries = [entry for one in read for several in one.allowed.values() for entry in several]
    both = Signers([entry._replace(principal=(alias or {}).get(entry.principal, entry.principal)) for entry in entries])
    both.name = " or ".join(map(str, paths))
    for one in read:
        both.revoked.update(one.revoked)
        both.krl = both.krl or one.krl
    return both


def alias(document: Document, there: places.Home) -> dict[str, str]:
    """As whom the queue of a document, elsewhere, knows the person here, where that is another name."""
    full_name = str(document.table("job").get("queue", "")) if document.kind == "job" else ""
    known = [queue.person for queue in map(home.Queue, there.queues) if queue.remote and queue.full_name == full_name and queue.person]
    return {home.person(): known[0]} if known else {}


def vouched(known: Signers, directory: Path) -> Vouched:
    """A list with the keys that the hosts documents in a directory add to it; what the list says itself comes first."""
    added: dict[bytes, list[Allowed]] = {}
    for entry in hosts.speakers(directory):
        if not any(set(other.namespaces) & set(entry.namespaces) for other in known.allowed.get(entry.key.blob, [])):
            added.setdefault(entry.key.blob, []).append(entry)
    both = Signers([*_entries(known.allowed.values()), *_entries(added.values())], name=known.name)
    both.revoked, both.krl, both.handovers = known.revoked, known.krl, known.handovers
    versions: dict[str, str] = {}
    for version in hosts.kept(directory):  # the newest first
        for row in version.rows:
            if row.key.blob in added:
                versions.setdefault(row.key.fingerprint, f"hosts serial {version.serial}, {version.digest}")
    return Vouched(both, versions)


def _entries(several: Iterable[Sequence[Allowed]]) -> list[Allowed]:
    return [entry for entries in several for entry in entries]
