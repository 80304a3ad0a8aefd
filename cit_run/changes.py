"""cit-run changes COPY-NAME: what is changed in the sources of a job's workspace, as `change` sections to stdout (restart.py).

Exits: 0, also where nothing is; 66 the workspace, or what is known of it, is gone; 75 the job still runs.
Pages: docs/howto/restart-and-publish.md
"""

from __future__ import annotations

import sys

import typer

from . import restart
from .cit_format import home, messages
from .cit_format.errors import OK


def main(own: str = typer.Argument(..., metavar="COPY-NAME", help="The job, as work/ of this account calls it: cit where JOB")) -> int:
    """What is changed in the sources of a job's workspace."""
    messages.set_up("cit-run")
    sys.stdout.buffer.write(restart.told(str(home.own_account().path.absolute()), own))
    return OK
