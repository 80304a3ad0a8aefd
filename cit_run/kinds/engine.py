"""What an engine that runs the jobs of a build account has to answer: a module for each kind, with a class `Engine` that does (docs/stages/run.md).

Can it take this job? Hand over. Ask how they are. Tell it what is wished. An engine starts each job by `command` (step.py) on one of
its nodes, where the account's home is the same as here; what the job does there stands in its record, as everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..attempt import Attempt
from ..cit_format import home
from ..cit_format.errors import CONFIG, CitError

PENDING, RUNNING, ENDED = "PENDING", "RUNNING", "ENDED"
DONE, FAILED = "done", "failed"  # ends that say nothing of why; the others are those of shim.Ending
CANCEL, STOP, HOLD, RELEASE, PAUSE, RESUME = "cancel", "stop", "hold", "release", "pause", "resume"
_STEP = "import sys; sys.path[0] = {!r}; from {}.step import main; main()"


class State(NamedTuple):
    """What an engine says of a job: its own ID for it, PENDING, RUNNING or ENDED, in its own words (with the reason), and how it ended.

    `end`: done, failed, time, deadline, cancel, memory or lost. `ended` in microseconds, 0 where it does not say. `held`: it will not
    begin until it is released. `never`: it will not begin as things stand. `restarts`: how often it was put back after it had begun.
    """

    id: str
    phase: str
    told: str
    end: str = ""
    ended: int = 0
    held: bool = False
    never: bool = False
    node: str = ""
    restarts: int = 0


class Outcome(NamedTuple):
    """What became of a job that was to be handed over: the engine's ID for it, or (empty) why it refuses it."""

    own: str  # COPY-NAME
    id: str
    refusal: str = ""


class Here(NamedTuple):
    """A job as its own node sees it: rows for `environment`, variables that the engine's programs need, how often it began before."""

    rows: list[tuple[str, str]]
    variables: dict[str, str]
    restarts: int


class Engine(Protocol):
    """The questions. Each raises CitError 75 where the engine does not answer."""

    name: str  # for people

    def objection(self, wanted: Attempt) -> str:
        """Why it cannot take a job, whatever is free there; empty where it can."""

    def hand_over(self, found: Sequence[Attempt]) -> Iterator[Outcome]:
        """Have it run these, each once: told one by one, so that each is written down before the next."""

    def ask(self, wanted: Mapping[str, str]) -> dict[str, State]:
        """How all jobs of this account are there, by COPY-NAME; of `wanted` (with the engine's IDs) also what is past, as far as it knows."""

    def tell(self, wish: str, identity: str) -> None:
        """CANCEL, HOLD or RELEASE a job, by the engine's ID; or have its supervisor STOP, PAUSE or RESUME it: TERM, USR1, USR2, to it alone."""

    def here(self) -> Here:
        """Where this process runs, asked on a node."""


def engine_of(account: home.Account, kind: str, held: int = -1) -> Engine:
    """The engine of a kind; its programs keep the descriptor `held` open: as long as one of them is at work, no other pass begins. 78: unknown."""
    if kind == "slurm":
        from .slurm import Slurm

        return Slurm(account, held)
    raise CitError(CONFIG, f"kind {kind!r} is not known", "config.toml says cit or slurm")


def command(room: str = "") -> list[str]:
    """The argument vector by which an engine begins a job; COPY-NAME comes after it."""
    room = room or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, "-E", "-c", _STEP.format(room, __package__)]
