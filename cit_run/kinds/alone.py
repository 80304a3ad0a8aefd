"""The bare process beside a job that another engine started: supervise.py for one order, with nobody to tell (docs/stages/run.md, Kinds).

Reads: (order or nothing, command, its variables) marshalled on stdin. Writes: the job's record, as a shim does. Then the command, which makes
the next visit. Imports next to nothing, as supervise.py.
Exits: as the job did, 128 + signal; 1 where a bound ended it.
"""

from __future__ import annotations

import marshal
import os
import sys

from ..supervise import attended
from ..watching import SOCKET, Job, listen


def main() -> None:
    """Run the order, then the command."""
    with open(0, "rb", closefd=False) as stream:
        order, after, variables = marshal.load(stream)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(null, SOCKET)  # where a shim tells ends; a write there fails, so that the record alone counts
    status = 0
    if order is not None:
        os.umask(0o022)
        listen()
        status = own(attended(Job(order))[0])
        os.umask(0o077)
    if after:
        next_visit(after, variables)
    sys.exit(status)


def own(end: str) -> int:
    """The exit status for a line of `status` that tells an end."""
    said = dict(field.partition(" ")[::2] for field in end.rstrip("\n").split("\t")[2:])
    number, signal = int(said.get("exit", "0")), int(said.get("signal", "0"))
    return number or (128 + signal if signal else int("why" in said))


def next_visit(command: list[str], variables: dict[str, str]) -> None:
    """Say that something is to be looked at, and have it looked at, unless somebody is about to. What that starts may end too."""
    directory = command[2]
    os.close(os.open(f"{directory}/.wake", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    log = os.open(f"{directory}/log/on-arrival", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.posix_spawn(command[0], command, variables, file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)])
    while True:  # what a visit leaves behind becomes our child; with us Slurm would end it
        try:
            os.wait()
        except ChildProcessError:
            return
