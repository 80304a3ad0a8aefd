"""The commands of cit-format about a cluster: join, hosts (docs/howto/use-a-remote-queue.md); cit-join is their short form."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from . import messages
from .errors import USAGE, CitError

NAME = "cit-join"
QUIET = typer.Option(False, "-q", "--quiet", help="Errors only")


def join(
    file: Optional[str] = typer.Argument(None, metavar="[FILE]", help="A hosts document; - is stdin; without it what was joined is written anew"),
    fingerprint: str = typer.Argument("", metavar="[FINGERPRINT]", help="The first time: of its manager's key, SHA256:..."),
    person: str = typer.Option("", "--as", metavar="USER@HOST", help="As whom its queues know your key; else this account at this host"),
    builder: bool = typer.Option(False, "--builder", help="Its queues may assign jobs to this account"),
    leaving: bool = typer.Option(False, "--leave", help="Undo: believe nothing of it any more"),
    quiet: bool = QUIET,
) -> int:
    """Join a cluster, by the hosts document that its manager signed."""
    from . import clock, home
    from . import join as joined

    messages.set_up(NAME, quiet)
    if not leaving:
        return joined.act(file, fingerprint, person, builder)
    if file:
        raise CitError(USAGE, "--leave and a file", "cit join --leave takes none")
    return joined.leave(home.ensure(), clock.now())


def hosts(
    host_keys: Optional[list[Path]] = typer.Option(
        None, "--host-key", metavar="FILE", help="Public host key of this machine; else those of /etc/ssh"
    ),
    drop: Optional[list[str]] = typer.Option(None, "--drop", metavar="NAME", help="Leave out a queue, builder, manager or machine"),
    valid: str = typer.Option("365d", "--valid", metavar="DURATION", help="How long its rows hold"),
    quiet: bool = QUIET,
) -> int:
    """Write the hosts document of this home's queues, for others to join."""
    from . import cluster

    messages.set_up(NAME, quiet)
    return cluster.act(host_keys or [], set(drop or []), valid)


ACTS = (join, hosts)
