"""For whom a job's results are encrypted: --reply and --seal-results, as the section `reply` (docs/howto/fetch-results.md).

Reads: files with public keys. Writes nothing: the section goes into the job.
Fails: 2 what does not fit; 65 no key that age knows; 66 no such file; 78 an own key that nothing can be encrypted to.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .cit_format import body, document, globs, messages, own_key, reply, seal
from .cit_format.errors import CONFIG, NOT_FOUND, USAGE, CitError

if TYPE_CHECKING:
    from .cit_format.seal import Recipient
    from .cit_format.sshsig import PublicKey

USE = "--reply GLOB=PUBKEYFILE, GLOB=age1... or 'GLOB=ssh-ed25519 AAAA...'"


def sections(items: Iterable[str], own: PublicKey | None, key: str | None, keep: Iterable[str]) -> list[bytes]:
    """The section, if anything is asked for; `own`: everything is for this key too, whose file may be `key`."""
    rows = [(glob, to.key) for item in items for glob, to in meant(item)]
    useless = next((glob for glob, _ in rows if glob not in (reply.LOG, reply.ALL)), None)
    if useless is not None and not list(keep):
        raise CitError(USAGE, f"--reply {useless!r}, and nothing is kept", f"--keep {useless!r} keeps it; {reply.LOG} means the log")
    if own is not None:
        rows += [(glob, of_own(own, key).key) for glob in (reply.LOG, reply.ALL)]
    return [document.section(reply.SECTION, "tsv", body.tsv(rows))] if rows else []


def meant(item: str) -> list[tuple[str, Recipient]]:
    """Pattern and keys of one --reply."""
    glob, given, whom = item.partition("=")
    if not given or not whom or globs.parts_of(glob) is None:
        raise CitError(USAGE, f"--reply {item[:80]!r}", USE)
    if whom.startswith(("age1", "ssh-")) and not Path(whom).exists():
        found = [seal.recipient(whom)]
    else:
        try:
            found = seal.recipients(Path(whom).read_text("utf-8"), whom)
        except (OSError, UnicodeDecodeError) as error:
            raise CitError(NOT_FOUND, f"--reply {whom}: {getattr(error, 'strerror', None) or 'no text'}", USE) from None
    if seal.is_possible():
        seal.usable(found)
    return [(glob, to) for to in found]


def of_own(own: PublicKey, key: str | None) -> Recipient:
    """The author's own key; 78 where age does not know its kind. One that only ssh-agent has is told of: it would open nothing here."""
    if own.kind not in seal.KINDS:
        what = f"--seal-results: age does not know keys like yours ({own.kind})"
        raise CitError(CONFIG, what, f"name another one: --reply {reply.LOG}=KEY --reply {reply.ALL}=KEY")
    if not own_key.is_here(own.fingerprint, key):
        hint = "ssh-agent signs, and opens nothing: open the results where the key's file is"
        messages.tell("warning", "--seal-results: your private key is in no file here", hint=hint)
    return seal.recipient(own.line)
