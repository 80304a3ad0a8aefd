"""A job in Slurm's terms, and Slurm's terms in ours. Pure (docs/howto/slurm.md).

Nothing of a job stands in an argument: its limits are #SBATCH lines of a script of ours, which begins cit's own step (step.py).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from ..attempt import Attempt
from ..cit_format import clock, names
from .engine import DONE, ENDED, FAILED, PENDING, RUNNING, State
from .turn import may_begin_anew

TAG = re.compile(r"[A-Za-z0-9_.+-]+")  # in a constraint all else means something
WAITING = frozenset(["PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"])
ENDS = {
    "COMPLETED": DONE,
    "FAILED": FAILED,
    "TIMEOUT": "time",
    "DEADLINE": "deadline",
    "CANCELLED": "cancel",
    "REVOKED": "cancel",
    "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "lost",
    "BOOT_FAIL": "lost",
    "PREEMPTED": "lost",
}
# Reasons for which a job waits until somebody changes the cluster or the job; so do all that end in PerJobLimit.
NEVER = frozenset(
    ["BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "AccountNotAllowed", "InvalidAccount", "InvalidQOS"]
)
SHOWN = ",".join(f"{each}:\t" for each in ("JobArrayID", "State", "Reason", "EndTime", "NodeList", "RestartCnt", "Name"))  # columns of squeue
PAST = "JobID,State,ExitCode,End,NodeList,JobName"  # and of sacct
TASK = "SLURM_ARRAY_TASK_ID"


# --- ours to Slurm's ------------------------------------------------------------------------------------------------


def tag(wanted: Attempt) -> str:
    """The name by which Slurm knows an array of its own: COPY-NAME without the task."""
    return str(names.FileName(wanted.job.id, wanted.job.name, "", None, wanted.number))[: -len(".cit")]


def groups(found: Iterable[Attempt]) -> list[list[Attempt]]:
    """Tasks of one array together, all else by itself, in order."""
    together: dict[str, list[Attempt]] = {}
    for each in found:
        together.setdefault(each.own if each.task is None else f"{tag(each)} tasks", []).append(each)
    return list(together.values())


def tags(wanted: Attempt) -> list[str]:
    """A job's constraint."""
    said = wanted.said.get("constraint", [])
    return [str(each) for each in said] if isinstance(said, list) else []


def limits(wanted: Attempt, features: frozenset[str]) -> list[str]:
    """What a job may use, as options of sbatch. Of its constraint Slurm gets what it knows; the rest is the builder's word for all its nodes."""
    found = [f"--cpus-per-task={wanted.cpus}"]
    if wanted.duration("time"):
        found.append(f"--time={rounded(wanted.duration('time'), clock.MINUTE)}")
    for key in ("mem", "tmp"):
        if key in wanted.said:
            found.append(f"--{key}={rounded(clock.size(str(wanted.said[key])), 1 << 20)}M")
    known = [each for each in tags(wanted) if each in features]
    if known:
        found.append(f'--constraint="{"&".join(known)}"')
    if wanted.integer("begin"):
        found.append(f"--begin={clock.iso(wanted.integer('begin'))[:-1]}")  # sbatch is run in UTC
    if wanted.integer("nice"):
        found.append(f"--nice={wanted.integer('nice')}")
    return found


def rounded(amount: int, unit: int) -> int:
    """How many units an amount takes, the last one begun."""
    return -(-amount // unit)


def script(group: Sequence[Attempt], features: frozenset[str], work: str, more: str, begin: Sequence[str]) -> str:
    """What sbatch reads: the owner's options `more`, then the job's own, and the command `begin`. A group of several is an array."""
    first = group[0]
    given = [
        f"--job-name={tag(first) if len(group) > 1 else first.own}",
        f"--comment={first.job.id}",
        "--nodes=1",
        "--ntasks=1",
        *limits(first, features),
        "--export=ALL",  # of sbatch's own environment, which is the account's and not that of whoever started the pass
        "--open-mode=append",
        f'--output="{escaped(work)}/{named(group, "%a")}.run/slurm.out"',
        "--requeue" if all(may_begin_anew(each, 1) for each in group) else "--no-requeue",
    ]
    if len(group) > 1:
        given.append(f"--array={','.join(str(each.task) for each in group)}")
    lines = ["#!/bin/sh", *(f"#SBATCH {each}" for each in [more, *given] if each)]
    return "\n".join([*lines, f"exec {shlex.join(begin)} {named(group, f'${{{TASK}}}')}", ""])


def named(group: Sequence[Attempt], task: str) -> str:
    """COPY-NAME in a script; in that of an array `task` stands for the index."""
    first = group[0]
    return f"{first.job.id}_{task}.a{first.number}-{first.job.name}" if len(group) > 1 else first.own


def escaped(path: str) -> str:
    """A path between the quotes of an #SBATCH line; %% is a %."""
    return path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


# --- Slurm's to ours ------------------------------------------------------------------------------------------------


def own(name: str, identity: str) -> str:
    """COPY-NAME of one of Slurm's jobs; empty where it is none of ours. The task of an array stands in its ID, `123_7`."""
    parts = names.parse(f"{name}.cit")
    if parts is None or parts.attempt is None:
        return ""
    task = identity.partition("_")[2]
    return f"{parts._replace(task=int(task)).copy}-{parts.name}" if task.isdigit() else name


def state(identity: str, word: str, reason: str = "", ended: str = "", node: str = "", restarts: str = "") -> State:
    """What Slurm says of a job, as we say it; `ended` in UTC. A word that is not known is no end."""
    word = word.partition(" ")[0].rstrip("+")
    phase = PENDING if word in WAITING else ENDED if word in ENDS else RUNNING
    return State(
        identity,
        phase,
        f"{word} {reason}" if reason not in ("", "None") else word,
        ENDS.get(word, ""),
        clock.parse(f"{ended}Z") if phase == ENDED and re.fullmatch(r"[\d-]{10}T[\d:]{8}", ended) else 0,
        phase == PENDING and (reason in ("JobHeldUser", "JobHeldAdmin") or word == "REQUEUE_HOLD"),
        phase == PENDING and (reason in NEVER or reason.endswith("PerJobLimit")),
        node if node not in ("None assigned", "(null)") else "",
        int(restarts) if restarts.isdigit() else 0,
    )


def present(shown: str) -> dict[str, State]:
    """The lines of squeue, by COPY-NAME. Of two of one name the one that is under way counts, else the later one."""
    found: dict[str, State] = {}
    for line in shown.split("\n"):
        fields = line.split("\t")
        mine = own(fields[6], fields[0]) if len(fields) == 8 else ""
        if mine:
            said = state(*fields[:6])
            if mine not in found or rank(found[mine]) < rank(said):
                found[mine] = said
    return found


def rank(said: State) -> tuple[bool, int]:
    number = said.id.partition("_")[0]
    return said.phase != ENDED, int(number) if number.isdigit() else 0


def past(shown: str) -> dict[str, State]:
    """The lines of sacct, by COPY-NAME."""
    found: dict[str, State] = {}
    for line in shown.split("\n"):
        fields = line.split("|", 5)
        mine = own(fields[5], fields[0]) if len(fields) == 6 else ""
        if mine:
            found[mine] = state(fields[0], fields[1], "" if fields[2] in ("", "0:0") else f"exit {fields[2]}", fields[3], fields[4])
    return found
