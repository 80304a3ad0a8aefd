"""The secrets of an old job of ours, opened with our own key, so that a new one can have them (cit requeue).

Reads: the old job's document, our private key; a passphrase is asked for on the terminal. Writes nothing.
Fails: 66 no such file; 77 another's job, or a key that only ssh-agent has.
Pages: docs/howto/secrets.md, docs/format/secret.md
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .cit_format import own_key, reader, secret, sshsig, trust
from .cit_format.document import Document
from .cit_format.errors import DENIED, NOT_FOUND, CitError

if TYPE_CHECKING:
    from .cit_format.keys import Signer


def of_old(path: str, own: Signer, given: str | None) -> tuple[dict[str, bytes], frozenset[str] | None]:
    """What is sealed in an old job of ours, opened with our key, and to whom it was sealed. 77 where it is another's."""
    try:
        old = reader.parse(Path(path).read_bytes())
    except FileNotFoundError:
        raise CitError(NOT_FOUND, f"no file {path}", "--secrets-of names a job's document: cit show --path JOB") from None
    if not secret.sealed(old):
        return {}, None
    check_own(old, own)
    return secret.contents(old, [own_key.private([own.public.fingerprint], given)]), secret.named(old)


def check_own(old: Document, own: Signer) -> None:
    """77 unless our own key signed an old job as it stands: another's could hold a text of ours that was copied into it."""
    trust.objection(old)
    signature = old.find("signature")
    assert signature is not None
    proof = sshsig.parse_signature(signature.body())
    sshsig.verify(proof, old.raw[: signature.start], "cit-job")
    if proof.key.blob != own.public.blob or old.table("job").get("key") != own.public.fingerprint:
        who = old.table("job").get("submitter", "somebody else")
        raise CitError(DENIED, f"its secrets are those of {who}, who signed it with another key", "push it anew, with secrets of your own", old.label)
