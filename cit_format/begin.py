"""Making another queue in this home: its directory and key, its owner's leave to use it, this account as its builder (docs/directories.md)."""

from __future__ import annotations

from pathlib import Path

from . import home, keys
from .errors import CONFIG, NO, CitError
from .spool import Lock


def queue(wanted: str) -> home.Queue:
    """Make the queue that `@name` or a directory means, ready to be pushed to. 1 where it is there already, 78 without an ssh key."""
    base = home.ensure()
    directory = base / "queues" / wanted.lstrip("@") if "/" not in wanted else Path(wanted).absolute()
    account = home.Account(base)
    with Lock(base / ".lock"):
        if (directory / "queue.toml").exists():
            raise CitError(NO, f"{directory} is a queue already", "`cit queues` shows it")
        configured = account.settings.get("key")
        mine = keys.find_personal(base, str(configured) if configured else None)
        if mine is None:
            raise CitError(CONFIG, "no ssh key of your own", "make one: ssh-keygen -t ed25519, or name it: cit config key FILE")
        made = home.make_queue(directory)
        person = f'{home.person()} namespaces="cit-job,cit-control,cit-builder,cit-hosts,cit-grant" {mine.public.line}\n'
        builder = f'{account.identity} namespaces="cit-result,cit-builder" {account.signer.public.line}\n'
        itself = f'{made.identity} namespaces="cit-queue" {made.signer.public.line}\n'
        home.write_new(directory / "allowed_signers", (person + itself + builder).encode())
        described = home.describe_builder(account)
        home.write_new(directory / "builders" / f"{described.id}-{described.name}.cit", described.raw)
        believed = base / "allowed_signers"
        if itself not in believed.read_text():
            home.write_new(believed, believed.read_bytes() + itself.encode())
    return made
