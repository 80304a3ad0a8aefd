"""Signing a document, and what each of its signatures proves, as `cit-format sign` and `verify` do (docs/format/signatures.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import dictionary, document, home, trust
from .document import Document, Section
from .errors import DENIED, NOT_FOUND, USAGE, CitError
from .trust import Speech

if TYPE_CHECKING:
    from .keys import Signer
    from .signers import Signers

# The namespace in which a new document of a kind is signed.
NAMESPACES = {
    "job": "cit-job",
    "control": "cit-control",
    "builder": "cit-builder",
    "load": "cit-builder",
    "hosts": "cit-hosts",
    "handover": "cit-hosts",
}


def signer(key: str | None) -> Signer:
    """The key in the file `key`, else the person's own; 66 where there is none."""
    from . import keys

    place = home.path()
    configured = key or home.settings(place / "config.toml").get("key")
    found = keys.find_personal(place, str(configured) if configured else None)
    if found is None:
        raise CitError(NOT_FOUND, "there is no key to sign with", "ssh-keygen -t ed25519 makes one; --key names another")
    return found


def signature(unsigned: Document, by_key: Signer, namespace: str | None, by: str | None) -> bytes:
    """The signature section over all that the document has. 2 where the namespace has to be said, 77 where nobody would accept it."""
    first = unsigned.find("signature")
    wanted = namespace or (NAMESPACES.get(unsigned.kind) if first is None else None)
    if wanted is None:
        what = f"a {unsigned.kind or 'document without sections'} can be signed in several roles" if first is None else "it is signed already"
        raise CitError(USAGE, what, "--ns says in which role: cit-queue, cit-result, ...", unsigned.label)
    said = unsigned.table(unsigned.kind) if unsigned.kind in ("job", "control") and first is None else {}
    named = said.get("key")
    if named not in (None, by_key.public.fingerprint):
        hint = "--key names the key that the document names, or change the document first"
        raise CitError(DENIED, f"it names key {named}, this one is {by_key.public.fingerprint}", hint, unsigned.label)
    who = by or str(said.get("submitter") or home.person())
    return document.section("signature", "sshsig", by_key.sign(unsigned.raw, wanted), by=who, ns=wanted)


class Verdict(NamedTuple):
    """One signature: who, in which role, with which key, for which sections it speaks; or the error where it does not hold."""

    number: int
    by: str
    namespace: str
    fingerprint: str
    speaks_for: list[str]
    error: CitError | None

    @property
    def row(self) -> list[str]:
        held = "holds" if self.error is None else f"does not hold: {self.error.what}"
        return [str(self.number), self.namespace, self.by, self.fingerprint or "-", ",".join(self.speaks_for) or "-", held]


HEADER = ["id", "number", "namespace", "by", "key", "speaks for", "verdict"]


def verdicts(checked: Document, signers: Signers, now: int) -> Iterator[Verdict]:
    """What each signature of a document proves; the first one of a job also has to be by the key and person that the job names."""
    for section, said in trust.speeches(checked, signers, now):
        if isinstance(said, Speech) and checked.kind == "job" and section is checked.find("signature"):
            try:
                trust.submission(checked, signers, now)
            except CitError as error:
                said = error
        attributes = section.attributes
        by, namespace = attributes.get("by", ""), attributes.get("ns", "")
        if isinstance(said, CitError):
            yield Verdict(section.number, by, namespace, "", [], said)
        else:
            spoken = [each.kind for each in said.sections if _may_say(namespace, each)]
            yield Verdict(section.number, by, namespace, said.fingerprint, list(dict.fromkeys(spoken)), None)


def _may_say(namespace: str, section: Section) -> bool:
    """Whether a section is one that the role of this namespace may write; unknown sections have no power."""
    entry = dictionary.read().get((section.kind, section.version))
    return entry is not None and bool(dictionary.ROLES.get(namespace, set()) & entry.writers)


def signers_of(allowed: Path | None, revoked: Path | None) -> Signers:
    """The lists to judge by: the named files, else those of the cit home; 66 where there are none."""
    from .signers import Signers

    place = allowed or home.path() / "allowed_signers"
    if not place.exists():
        raise CitError(NOT_FOUND, "there is no such list of keys", "--signers FILE, in the format of OpenSSH's allowed_signers", str(place))
    return Signers.read(place, revoked or place.with_name("revoked_keys"))


def complaints(found: list[Verdict], label: str, namespace: str | None, identity: str | None) -> Iterator[CitError]:
    """What keeps a document from being verified: no signature, one that does not hold, none by whom it should be."""
    if not found:
        yield CitError(DENIED, "no signature", "cit-format sign FILE", label)
        return
    for one in found:
        if one.error is not None:
            yield CitError(one.error.status, one.error.what, one.error.hint, f"{label}: section {one.number}")
    held = [one for one in found if one.error is None]
    if (namespace or identity) and not any(one.namespace == (namespace or one.namespace) and one.by == (identity or one.by) for one in held):
        wanted = " ".join(filter(None, (f"for {namespace}" if namespace else "", f"by {identity}" if identity else "")))
        yield CitError(DENIED, f"no signature {wanted} holds", "", label)
