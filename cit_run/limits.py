"""What a job's limits are on this builder, and what the end says that they brought about (docs/howto/limits.md).

Reads: cpus, mem, tmp, nice of the job; open-files, processes, log-limit, cgroup of config.toml. Decisions are pure; the cgroup that the account has
is looked for once a pass.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import conditions, maintainers
from .cit_format import body, clock
from .cit_format.document import Document
from .cit_format.errors import CONFIG, DATA, CitError
from .shim import Ending, Order, is_running

if TYPE_CHECKING:
    from .attempt import Attempt

DURATIONS, SIZES = ("time", "start-within", "stall", "hold-on-failure"), ("mem", "tmp")
OPEN_FILES = 16384
PROCESSES = 16384
LOG_LIMIT = "256M"
SIGXFSZ, SIGKILL = 25, 9
OWN, NONE = "own", "none"
LEAF = "cit-run"  # the child of the account's cgroup in which cit-run and its shims live themselves

Settings = Mapping[str, body.Value]


class Group(NamedTuple):
    """A cgroup that is the account's: jobs get theirs below `top`, cit-run and shims live in `home`."""

    top: str = ""
    home: str = ""


# --- decisions ------------------------------------------------------------------------------------------------------


def number(settings: Settings, key: str, default: int) -> int:
    """A setting that is a number from 1 on."""
    value = settings.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CitError(CONFIG, f"{key} says {value!r}", f"a number from 1 on, as {key} = {default}")
    return value


def log_limit(settings: Settings) -> int:
    """Bytes that a log may have; 78 where the setting is none."""
    try:
        return clock.size(str(settings.get("log-limit", LOG_LIMIT)))
    except CitError as error:
        raise CitError(CONFIG, f"log-limit: {error.what}", error.hint) from None


def check(job: Document, said: Mapping[str, body.Value]) -> None:
    """65 where a job says a limit that is none."""
    for key, read in (*((key, clock.duration) for key in DURATIONS), *((key, clock.size) for key in SIZES)):
        try:
            if key in said:
                read(str(said[key]))
        except CitError as error:
            raise CitError(DATA, f"{key}: {error.what}", error.hint, job.label) from None
    try:
        conditions.need(said)
    except ValueError as error:
        raise CitError(DATA, f"load-limit: {error}", "a number, as 1.5", job.label) from None
    nice = said.get("nice", 0)
    if not isinstance(nice, int) or not 0 <= nice <= 19:
        raise CitError(DATA, f"nice says {nice!r:.40}", "from 0 to 19, the politest", job.label)


def size(said: Mapping[str, body.Value], key: str) -> int:
    """A size of the job section in bytes; 0 where it says none."""
    value = said.get(key)
    return clock.size(value) if isinstance(value, str) else 0


def limited(order: Order, mine: Attempt, settings: Settings, cores: Sequence[int] = (), group: Group | None = None) -> Order:
    """The order with the job's limits in it, and with the processors that it keeps to."""
    top, own = group.top if group else "", os.path.basename(order.record)[: -len(".run")]
    return order._replace(
        mem=size(mine.said, "mem"),
        tmp=size(mine.said, "tmp"),
        nice=mine.integer("nice"),
        mask=maintainers.MASKS[maintainers.access(settings)],
        log_limit=log_limit(settings),
        cores=list(cores),
        group=f"{top}/{named(os.path.dirname(order.record), own)}" if top else "",
        group_home=group.home if group else "",
        pids=number(settings, "processes", PROCESSES) if top else 0,
    )


def named(work: str, own: str) -> str:
    """How the cgroup of a job is called whose record is in this directory: two homes may share one tree."""
    return f"cit-{zlib.crc32(os.path.realpath(work).encode()):08x}-{own}"


def rlimits(settings: Settings) -> dict[str, int]:
    """What the kernel holds every process of a job to, by the names of the module resource."""
    return {"RLIMIT_NOFILE": number(settings, "open-files", OPEN_FILES), "RLIMIT_NPROC": number(settings, "processes", PROCESSES)}


def why(said: Mapping[str, body.Value], ending: Ending, unlisted: int = 0) -> str:
    """What an end has to say about limits, in a sentence; empty where nothing. `unlisted`: kept files that its document cannot hold."""
    taken = clock.size_text(ending.usage.get("over", 0))
    told = []
    if ending.why == "memory":
        told.append(f"its processes took {taken} of memory, it asked for {said.get('mem')}" if ending.usage.get("over") else "")
        told[0] = told[0] or f"the kernel ended it: it wanted more than the {said.get('mem')} of memory that it asked for"
    elif ending.why == "tmp":
        told.append(f"its workspace took {taken} of disk, it asked for {said.get('tmp')}")
    elif ending.signal == SIGXFSZ and not ending.why:
        told.append(f"it wrote a file beyond its limit (tmp {said.get('tmp')})" if "tmp" in said else "it wrote a file beyond its limit")
    elif ending.signal == SIGKILL and not ending.why:
        told.append("killed, and not by cit: the kernel does that where a machine runs out of memory")
    if ending.usage.get("cut"):
        told.append(f"{clock.size_text(ending.usage['cut'])} of its output are cut out of the log (log-limit)")
    if unlisted:
        told.append(f"{unlisted} of the files that it keeps are not listed: they are too many for a document")
    return "; ".join(told)


# --- the account's cgroup -------------------------------------------------------------------------------------------


def group_of(settings: Settings, proc: str = "/proc/self") -> Group | None:
    """The cgroup below which jobs get theirs, made ready; None where the account has none.

    `cgroup` in config.toml names a directory, or says own: the one that cit-run was started in; none: do without. Where it says nothing an own one
    is used if it was given to this account, which is not root.
    """
    said = str(settings.get("cgroup", ""))
    if said == NONE:
        return None
    top = said if said.startswith("/") else own_group(proc)
    if said not in ("", OWN) and not said.startswith("/"):
        raise CitError(CONFIG, f"cgroup says {said!r}", "a directory of the cgroup v2 tree, own or none")
    if not top or (not said and not is_given(top)):
        return None
    if os.path.basename(top) == LEAF:
        top = os.path.dirname(top)  # a pass that a job started
    return ready(top, said.startswith("/"))


def own_group(proc: str) -> str:
    """The directory of the cgroup v2 that this process is in; empty where there is none."""
    try:
        with open(f"{proc}/cgroup", encoding="utf-8", errors="surrogateescape") as stream:
            paths = [line.rstrip("\n")[3:] for line in stream if line.startswith("0::")]
        with open(f"{proc}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            mounts = [line.split(" ") for line in stream if " - cgroup2 " in line]
    except OSError:
        return ""
    if not paths or not mounts:
        return ""
    root, point = mounts[0][3].rstrip("/"), mounts[0][4]
    return (point + paths[0][len(root) :]).rstrip("/") if f"{paths[0]}/".startswith(f"{root}/") else ""


def is_given(top: str) -> bool:
    """Whether a cgroup belongs to this account, and is not merely one of root's."""
    try:
        return os.getuid() != 0 and os.stat(f"{top}/cgroup.procs").st_uid == os.getuid() == os.stat(top).st_uid
    except OSError:
        return False


def ready(top: str, is_named: bool) -> Group | None:
    """Have a cgroup give its children what it has: for that no process may be in it itself, so we move into a child. None, or 78 where it
    was named, if that is not ours to do."""
    from . import group

    home = f"{top}/{LEAF}"
    try:
        os.makedirs(home, exist_ok=True)
    except OSError as error:
        if is_named:
            raise CitError(CONFIG, f"cgroup {top}: {error.strerror}", "it must be this account's: docs/howto/limits.md") from None
        return None
    if not group.put(f"{home}/cgroup.procs", 0):
        if is_named:
            raise CitError(CONFIG, f"cgroup {top}: this process may not move there", "start cit-run inside of it: docs/howto/limits.md")
        return None
    offered = group.read(f"{top}/cgroup.controllers").split()
    for controller in ("memory", "pids"):
        if controller in offered:
            try:
                with open(f"{top}/cgroup.subtree_control", "w") as stream:
                    stream.write(f"+{controller}")
            except OSError:
                continue  # a process that is not ours is in it: the shim watches then
    return Group(top, home)


def cleared(group: Group, work: str) -> None:
    """End and remove the groups of jobs that have no shim any more: so nothing of them is missed, however it was started."""
    from .group import Group as Tree

    ours = named(work, "")
    for name in os.listdir(group.top):
        if name.startswith(ours) and not is_running(f"{work}/{name[len(ours) :]}.run"):
            tree = Tree(f"{group.top}/{name}", group.home)
            tree.kill()
            tree.remove()
