"""Builders that a submitter trusts with secrets: described by somebody in their own list, whatever the queue says (docs/format/secret.md).

Reads: builder documents of a queue, here or through its door; the submitter's own allowed_signers (cit-builder).
Fails: 66 no such builder; 69 a queue elsewhere that does not answer; 78 nobody that could be sealed to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .cit_format import home, messages, reader, seal, trust
from .cit_format.document import Document, Section
from .cit_format.errors import CONFIG, DATA, NOT_FOUND, UNREACHABLE, CitError

if TYPE_CHECKING:
    from .cit_format.seal import Recipient


class Trusted(NamedTuple):
    """A builder whose document was signed by somebody in the submitter's own list; `key` is None where it has none that can be sealed to."""

    name: str
    tags: frozenset[str]
    created: int
    key: Recipient | None


# --- decisions ------------------------------------------------------------------------------------------------------


def newest(found: Iterable[Trusted]) -> dict[str, Trusted]:
    """Of each name the document that was made last."""
    last: dict[str, Trusted] = {}
    for each in found:
        if each.name not in last or each.created >= last[each.name].created:
            last[each.name] = each
    return last


def fitting(known: dict[str, Trusted], builder: str | None, tags: Sequence[str]) -> list[Trusted]:
    """The builders that can be sealed to and that a job may go to: who never gets it needs no key to it."""
    return [each for each in known.values() if each.key and builder in (None, each.name) and each.tags.issuperset(tags)]


# --- documents ------------------------------------------------------------------------------------------------------


def builders(queue: home.Queue, now: int) -> dict[str, Trusted]:
    """The builders of a queue whose documents are signed by somebody in our own list."""
    from .cit_format.signers import Signers

    mine = home.path()
    signers = Signers.read(mine / "allowed_signers", mine / "revoked_keys")
    found = []
    for described in documents(queue):
        signature = described.find("signature")
        with contextlib.suppress(CitError):
            if signature is not None:
                speech = trust.verified(described, signature, "cit-builder", signers, now)
                found += [described_by(described, section) for section in speech.sections if section.kind == "builder"][:1]
    return newest(found)


def documents(queue: home.Queue) -> list[Document]:
    """The builder documents that a queue shows; of a queue elsewhere those that lie here, where it does not answer. 69 where there are none."""
    here = b"".join(path.read_bytes() for path in sorted((queue / "builders").glob("[!.]*.cit")))
    if queue.remote:
        from .cit_format import ask, frame

        try:
            read = frame.unframed(reader.reader_of(ask.ask(ask.place_of(queue), "builders")))
            here = b"".join(iter(lambda: read(1 << 20), b""))
        except CitError as error:
            if error.status != UNREACHABLE or not here:
                raise
            messages.tell("warning", f"{error.what}: sealed to the builders that are known here", hint=error.hint)
    return [each for each in reader.documents(reader.reader_of(here)) if isinstance(each, Document)]


def described_by(described: Document, section: Section) -> Trusted:
    """What a believed document says of its builder; 65 where it has no name."""
    said = described.table_of(section)
    name, created, tags = said.get("name"), said.get("created"), said.get("tags")
    if not isinstance(name, str):
        raise CitError(DATA, "a builder without a name", "", described.label)
    key = None
    with contextlib.suppress(CitError):
        key = seal.recipient(str(said.get("seal", "")))
    return Trusted(name, frozenset(map(str, tags if isinstance(tags, list) else [])), created if isinstance(created, int) else 0, key)


def some(queue: home.Queue, builder: str | None, tags: Sequence[str], now: int) -> list[Trusted]:
    """The trusted builders of a queue that a job may go to; 78 where there are none."""
    found = fitting(builders(queue, now), builder, tags)
    if not found:
        which = " ".join(filter(None, [f"@{queue.path.name}", f"with {' '.join(tags)}" if tags else "", f"called {builder}" if builder else ""]))
        hint = f"whoever signs its document has to be in your {home.path()}/allowed_signers for cit-builder; or --seal-to FILE.pub"
        raise CitError(CONFIG, f"no builder of {which} can be trusted with a secret", hint)
    return found


def one(queue: home.Queue, name: str, now: int) -> Trusted:
    """The builder of this name; 66 where nobody whom we believe knows it, 78 where it has no key."""
    found = builders(queue, now).get(name)
    if found is None:
        hint = f"whoever signs its document has to be in your {home.path()}/allowed_signers for cit-builder; a file is ./{name}"
        raise CitError(NOT_FOUND, f"--seal-to {name[:80]}: no builder of @{queue.name} that you trust", hint)
    if found.key is None:
        raise CitError(CONFIG, f"--seal-to {name}: its document names no key to seal to", "cit add-builder, anew, makes one with it")
    return found
