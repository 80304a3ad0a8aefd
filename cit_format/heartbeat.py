"""How a builder is at this moment, in its own signed words, and which of them its queue believes (docs/format/builder.md).

    builder, its owner's signature      as the account keeps it: ~/.cit/builder.cit, else as it describes itself
    load, jobs, interface...            as they are now; one interface for each that it offers
    the account's signature

A queue keeps the last such answer of each builder as `builders/.load/NAME.cit`: where it stands beside the owner's document that
names the same key. It is a cache: what is not there is asked again.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import body, can_build, clock, document, glance, grammar, home, lent, names, offers, put, reader, spool, sshsig
from .body import Time
from .document import Document
from .errors import DATA, DENIED, CitError
from .grammar import written_attributes
from .trust import SKEW

OWN = "builder.cit"  # the account's description, signed by its owner
CACHE = ".load"  # below builders/ of a queue
PENDING, RUNNING, LENT, ENDED = "PENDING", "RUNNING", "LENT", "ENDED"
STATES = {"inbox": PENDING, "running": RUNNING, "finished": ENDED}


class Job(NamedTuple):
    """A job that a builder has: `ID[_TASK].aN-NAME`, PENDING, RUNNING, LENT (it waits for others) or ENDED, and since when (microseconds)."""

    copy: str
    state: str
    since: int


class Heartbeat(NamedTuple):
    """What a builder says of itself: its name and key, when (microseconds), load average, jobs, memory and disk left (bytes; None: not said)."""

    name: str
    key: str
    time: int
    load: float
    running: int
    waiting: int
    mem_free: int | None
    tmp_free: int | None
    jobs: list[Job]
    can_build: tuple[str, ...] | None = None  # of what its owner lists; None: all of it
    interfaces: tuple[str, ...] = ()  # that it offers


# --- the builder's side ---------------------------------------------------------------------------------------------


def heartbeat(account: home.Account, now: int, queue: str = "") -> Document:
    """The account's builder document with `load` and `jobs` of this moment, signed by its key.

    `queue` (NAME@FINGERPRINT): only the jobs of that queue are named; the load is of all.
    """
    found = {job.copy: job for job in jobs(account, queue)}  # of one that moves on meanwhile the later state counts
    counts = {state: sum(1 for _ in lying(account, place)) for place, state in STATES.items()}
    is_here = account.settings.get("kind", "cit") == "cit"  # a cluster's memory and disk are not those of the machine that it is reached by
    said: dict[str, object] = {
        "time": Time(now),
        "load": f"{os.getloadavg()[0]:.2f}",
        "running": counts[RUNNING],
        "waiting": counts[PENDING],
        "mem-free": _memory_free() if is_here else None,
        "tmp-free": f"{_disk_free(account.path) >> 20}M" if is_here else None,
    }
    own = described(account)
    listed = own.table("builder").get("can-build")
    if isinstance(listed, list):
        said["can-build"] = can_build.answers(account.path, map(str, listed))
    rows = body.tsv((job.copy, job.state, clock.iso_ms(job.since)) for job in sorted(found.values()))
    offered = offers.sections(account.path)
    longer = own.extended(document.section("load", "toml", body.toml(said)), document.section("jobs", "tsv", rows), *offered)
    return home.signed(longer, account.signer, account.identity, "cit-builder")


def described(account: home.Account) -> Document:
    """The builder document of an account, through its first signature."""
    try:
        kept = reader.parse((account / OWN).read_bytes())
    except FileNotFoundError:
        return home.describe_builder(account)
    return reader.parse(kept.submitted)


def meant_here(account: home.Account, job: Document) -> None:
    """77 where the signed job names the only builder that may run it, and that is another one: the queue's word does not count."""
    wanted = job.table("job").get("builder")
    if wanted is not None:
        name = described(account).table("builder").get("name")
        if wanted != name:
            raise _denied(job, f"the job is for the builder {wanted} alone, this is {name}", "its author says where it may run: cit push -w")


def jobs(account: home.Account, queue: str = "") -> Iterator[Job]:
    """The jobs that a build account has (of that queue alone, where one is named), each in the state of its directory."""
    lends = lent.lent_here(account.path)
    for place, state in STATES.items():
        for path in lying(account, place):
            parts = names.parse(path.name)
            try:
                if parts is not None and (not queue or glance.at(path).text("queue") == queue):
                    own = f"{parts.copy}-{parts.name}"
                    state_now = PENDING if waits_elsewhere(account, own) else LENT if state == RUNNING and own in lends else state
                    yield Job(own, state_now, path.stat().st_ctime_ns // 1000)
            except FileNotFoundError:
                continue  # it moved on


def waits_elsewhere(account: home.Account, own: str) -> bool:
    """Whether a job (`COPY-NAME`) was handed to a cluster and has not begun there: its record has `handed` and no `status`."""
    record = account / "work" / f"{own}.run"
    return (record / "handed").exists() and not (record / "status").exists()


def lying(account: home.Account, place: str) -> Iterator[Path]:
    """The documents of a state, those included that a process is just taking."""
    directory = account / place
    claims = sorted((directory / ".claim").glob("[!.]*")) if (directory / ".claim").is_dir() else []
    for each in (directory, *claims):
        yield from (each / name for name in spool.listing(each))


def _memory_free() -> str | None:
    try:
        with open("/proc/meminfo", "rb") as stream:
            for line in stream:
                if line.startswith(b"MemAvailable:"):
                    return f"{int(line.split()[1]) >> 10}M"
    except OSError:
        return None
    return None


def _disk_free(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


# --- the queue's side -----------------------------------------------------------------------------------------------


def believed(answer: Document, key: str, now: int) -> Heartbeat:
    """What a heartbeat says, if the key of this fingerprint signed it last, for `load` and `jobs`; else 65 or 77."""
    signatures = list(answer.all("signature"))
    if answer.kind != "builder" or len(signatures) < 2:
        raise CitError(DATA, "no heartbeat", "a builder document with load, jobs and the builder's signature after its owner's", answer.label)
    last, before = signatures[-1], signatures[-2]
    try:
        proof = sshsig.parse_signature(last.body())
        sshsig.verify(proof, answer.raw[: last.start], "cit-builder")
    except CitError as error:
        error.where = error.where or answer.label
        raise
    if proof.key.fingerprint != key:
        raise _denied(answer, f"the load is signed by {proof.key.fingerprint}, but the builder's key is {key}", "a builder speaks of its own load")
    if last.form != "sshsig" or last.written != written_attributes({"by": last.attributes.get("by", ""), "ns": "cit-builder"}):
        raise _denied(answer, "the signature's line says more than by and ns", "it reads: @begin signature 1 sshsig by=WHO ns=cit-builder")
    spoken = answer.sections[before.number : last.number - 1]
    kinds = [(section.kind, section.version) for section in spoken]
    if kinds[:2] != [("load", "1"), ("jobs", "1")] or any(kind != "interface" for kind, _ in kinds[2:]):
        raise CitError(DATA, "the last signature does not speak for load, jobs and interfaces", "docs/format/builder.md has an example", answer.label)
    try:
        heard = _heard(str(answer.table("builder").get("name", "")), key, spoken[0].table(), spoken[1].rows())
    except (CitError, ValueError) as error:
        what = error.what if isinstance(error, CitError) else str(error)
        raise CitError(DATA, f"load or jobs that cannot be read: {what}", "docs/format/builder.md has an example", answer.label) from None
    heard = heard._replace(interfaces=tuple(section.attributes.get("name", "") for section in spoken[2:]))
    if heard.time > now + SKEW:
        raise _denied(answer, f"a load of the future, {clock.iso(heard.time)}", "see that both clocks are right")
    return heard


def _heard(name: str, key: str, said: dict[str, body.Value], rows: list[list[str]]) -> Heartbeat:
    time, running, waiting = said.get("time"), said.get("running"), said.get("waiting")
    load = float(str(said.get("load")))
    if not isinstance(time, Time) or not isinstance(running, int) or not isinstance(waiting, int) or not math.isfinite(load):
        raise ValueError("time, load, running and waiting are needed")
    free = [clock.size(str(said[key])) if key in said else None for key in ("mem-free", "tmp-free")]
    found = []
    for row in rows:
        copy, state, since = row if len(row) == 3 else ("", "", "")
        if names.parse(f"{copy}.cit") is None or state not in (*STATES.values(), LENT):
            raise ValueError(f"no job: {' '.join(row)[:80]!r}")
        found.append(Job(copy, state, clock.parse(since)))
    builds = said.get("can-build")
    return Heartbeat(name, key, time, load, running, waiting, free[0], free[1], found, tuple(map(str, builds)) if isinstance(builds, list) else None)


def keep(queue: home.Queue, answer: Document, now: int, by: str = "") -> str:
    """Keep a heartbeat as the last one of its builder: `accepted`, or `duplicate` where one as new is here. Else 65 or 77.

    `by`: the fingerprint of the only builder that may say something here; empty: any.
    """
    name = str(answer.table("builder").get("name", ""))
    key = key_of(queue, name)
    if not key or (by and key != by):
        raise _denied(answer, f"no builder {name[:64]!r} of this key here", "its owner's document belongs into builders/: cit add")
    heard = believed(answer, key, now)
    directory = queue / "builders" / CACHE
    spool.make_directory(directory)
    with spool.Lock(directory / ".lock"):
        known = kept(queue, name, key, now)
        if known is not None and known.time >= heard.time:
            return put.DUPLICATE
        spool.replace_contents({directory / f"{name}.cit": answer.raw})
    return put.ACCEPTED


def key_of(queue: home.Queue, name: str) -> str:
    """The key that the newest document of a builder in `builders/` names; empty where there is none of that name."""
    found = []
    for file in spool.listing(queue / "builders") if grammar.NAME.fullmatch(name) else []:
        with contextlib.suppress(FileNotFoundError):
            found.append(glance.at(queue / "builders" / file))
    mine = [seen for seen in found if seen.kind == "builder" and seen.text("name") == name]
    return max(mine, key=lambda seen: seen.number("created")).text("key") if mine else ""


def kept(queue: home.Queue, name: str, key: str, now: int) -> Heartbeat | None:
    """The last heartbeat of a builder that the queue has, of whatever age; None where there is none by this key."""
    try:
        return believed(reader.parse((queue / "builders" / CACHE / f"{name}.cit").read_bytes()), key, now)
    except (FileNotFoundError, CitError):
        return None


def _denied(answer: Document, what: str, hint: str) -> CitError:
    return CitError(DENIED, what, hint, answer.label)
