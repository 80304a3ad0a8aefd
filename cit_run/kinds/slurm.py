"""Kind slurm: jobs are handed to an existing Slurm by its own programs, as the account that may use it (docs/howto/slurm.md).

Runs: sbatch with a script on its stdin, squeue (one call for all), sacct for what squeue knows no longer, scancel, scontrol, sinfo.
How: Slurm knows a job by its name, so one is found again whose ID was never written down (slurm_terms.py).
Fails: 75 where slurmctld does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import environment
from ..attempt import Attempt
from ..cit_format import home, spool
from ..cit_format.errors import LATER, CitError
from . import engine, slurm_terms
from .engine import Here, Outcome, State
from .handed import plain

if TYPE_CHECKING:
    from subprocess import CompletedProcess

PATIENCE = 120.0  # seconds for one of Slurm's programs; they give up by themselves long before
LATER_HINT = "jobs stay where they are; the next pass asks again"
WORDS = {
    engine.CANCEL: ["scancel"],
    engine.HOLD: ["scontrol", "uhold"],
    engine.RELEASE: ["scontrol", "release"],
    engine.STOP: ["scancel", "--batch", "--signal=TERM"],
    engine.PAUSE: ["scancel", "--batch", "--signal=USR1"],
    engine.RESUME: ["scancel", "--batch", "--signal=USR2"],
}


class Slurm:
    """The Slurm that this account can use. Its programs hold the pass's lock (descriptor `held`) while they run."""

    name = "Slurm"

    def __init__(self, account: home.Account, held: int) -> None:
        self.account = account
        self.held = [held] if held >= 0 else []
        carried = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
        own = {"CIT_HOST": spool.host(), "TZ": "UTC", "LC_ALL": "C"}
        self.variables = {**environment.of_account(account.settings), **carried, **own}

    def objection(self, wanted: Attempt) -> str:
        """A constraint that would mean something else there."""
        strange = [each for each in slurm_terms.tags(wanted) if not slurm_terms.TAG.fullmatch(each)]
        return f"{strange[0]!r:.80} cannot be a feature of Slurm" if strange else ""

    def hand_over(self, found: Sequence[Attempt]) -> Iterator[Outcome]:
        """One sbatch a job or array."""
        features = self.features() if any(slurm_terms.tags(each) for each in found) else frozenset()
        for group in slurm_terms.groups(found):
            yield from self.submitted(group, features)

    def submitted(self, group: Sequence[Attempt], features: frozenset[str]) -> Iterator[Outcome]:
        """One sbatch. An array that Slurm refuses, perhaps for an index above its limit, is tried task by task."""
        more = str(self.account.settings.get("kind-options", ""))
        done = self.run(["sbatch", "--parsable"], slurm_terms.script(group, features, f"{self.account.path}/work", more, engine.command()))
        number = done.stdout.strip().partition(";")[0]
        if done.returncode == 0 and number.isdigit():
            yield from (Outcome(each.own, f"{number}_{each.task}" if len(group) > 1 else number) for each in group)
            return
        there = self.ask({})  # 75 where it is out of reach; else what it has taken it has, whatever sbatch says
        for each in group:
            said = there.get(each.own)
            if said and said.phase != engine.ENDED:
                yield Outcome(each.own, said.id)
            elif len(group) > 1:
                yield from self.submitted([each], features)
            else:
                yield Outcome(each.own, "", plain(done.stderr) or f"sbatch ended with {done.returncode}")

    def ask(self, wanted: Mapping[str, str]) -> dict[str, State]:
        """squeue, and sacct for those of `wanted` that it has forgotten."""
        found = slurm_terms.present(
            self.said(["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--Format={slurm_terms.SHOWN}"])
        )
        gone = sorted(identity for mine, identity in wanted.items() if identity and mine not in found)
        return {**self.past(gone), **found} if gone else found

    def past(self, identities: Sequence[str]) -> dict[str, State]:
        """What accounting or, without it, the job completion log knows of these; nothing where Slurm has neither."""
        words = ["sacct", "--noheader", "--parsable2", "--allocations", f"--format={slurm_terms.PAST}", f"--jobs={','.join(identities)}"]
        done = self.run(words)
        if done.returncode and "disabled" in done.stderr:
            done = self.run([*words, "--completion"])
        elif done.returncode:
            raise silence(done)
        return slurm_terms.past(done.stdout) if done.returncode == 0 else {}

    def features(self) -> frozenset[str]:
        """The features of the cluster's nodes."""
        shown = self.said(["sinfo", "--noheader", "--format=%f"])
        return frozenset(each for line in shown.split() for each in line.split(","))

    def tell(self, wish: str, identity: str) -> None:
        """Where it is not obeyed, the next look shows it."""
        self.run([*WORDS[wish], identity])

    def here(self) -> Here:
        """A job's variables say it."""
        said = os.environ
        array = said.get("SLURM_ARRAY_JOB_ID")
        identity = f"{array}_{said.get(slurm_terms.TASK)}" if array else said.get("SLURM_JOB_ID", "")
        node = said.get("SLURMD_NODENAME") or os.uname().nodename
        rows = [("cluster", said.get("SLURM_CLUSTER_NAME", "")), ("node", node), ("slurm-job", identity)]
        restarts = said.get("SLURM_RESTART_COUNT", "")
        variables = {name: value for name, value in said.items() if name.startswith("SLURM")}
        return Here(rows, variables, int(restarts) if restarts.isdigit() else 0)

    def said(self, words: Sequence[str]) -> str:
        """What one of Slurm's programs prints; 75 where it fails."""
        done = self.run(words)
        if done.returncode:
            raise silence(done)
        return done.stdout

    def run(self, words: Sequence[str], text: str = "") -> CompletedProcess[str]:
        """One of Slurm's programs, with this text on its stdin. 75 where it does not end, or is missing."""
        import subprocess
        import tempfile

        # Its stdin is a file, no pipe: were we killed while we write, it would take a part for the whole.
        with tempfile.TemporaryFile(dir=f"{self.account.path}/work") as given:
            given.write(text.encode())
            given.seek(0)
            try:
                return subprocess.run(
                    words,
                    stdin=given,
                    capture_output=True,
                    cwd=self.account.path,  # a job begins where it was submitted, which is there on every node
                    env=self.variables,
                    pass_fds=self.held,
                    timeout=PATIENCE,
                    encoding="utf-8",
                    errors="replace",
                )
            except subprocess.TimeoutExpired:
                raise CitError(LATER, f"{words[0]} does not end", LATER_HINT) from None
            except FileNotFoundError:
                raise CitError(LATER, f"no {words[0]} on PATH", "is this a login node? `path` in config.toml leads to Slurm's programs") from None


def silence(done: CompletedProcess[str]) -> CitError:
    """The error of a Slurm that does not answer."""
    return CitError(LATER, f"Slurm does not answer: {plain(done.stderr)}", LATER_HINT)
