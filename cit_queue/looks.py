"""The verbs of a door that only look (docs/stages/queue.md): each gives pieces of its answer, and a status.

`sees` says which documents the asker may see, by their paths; None: all. What one may not see is as if it were not there.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Optional, Union

from . import outside
from .cit_format import body, clock, document, fetch, frame, heartbeat, home, masks, names, own_events, parts, reader, reply, spool, store
from .cit_format.errors import DATA, NO, NOT_FOUND, OK, USAGE, CitError
from .cit_format.version import VERSION

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
SHA256 = re.compile(r"[0-9a-f]{64}")
OFFSET = re.compile(r"0|[1-9][0-9]{0,17}")
QUEUE_STATES = ("waiting", "held", "assigned", "sent", "refused")
PIECE = 1 << 20  # bytes written at a time
ANSWER = 8 << 20  # bytes of ends after which no more are put into an answer
LONGEST = 30.0  # seconds for which a door waits with somebody
LOOK = 0.05  # seconds between its looks, which take a tenth of its time at most
FRESH = 100_000_000  # nanoseconds after a change in which a directory is looked at again
Place = Union[home.Queue, home.Account]
Sees = Optional[Callable[[Path], bool]]


# --- states ---------------------------------------------------------------------------------------------------------


def states(place: Place) -> list[str]:
    """The states in which a place's documents lie, but for the days of done."""
    return list(QUEUE_STATES if isinstance(place, home.Queue) else home.ACCOUNT_STATES)


def directories(place: Place, identity: str) -> list[str]:
    """Where documents of an ID may lie, the last state first."""
    days = [f"done/{clock.id_day(identity)}"] if isinstance(place, home.Queue) else []
    return [*days, *reversed(states(place))]


def is_seen(path: Path, sees: Sees) -> bool:
    """Whether the asker may see it; not what has moved on meanwhile."""
    try:
        return sees is None or sees(path)
    except (OSError, CitError):
        return False


# --- ls, get, have --------------------------------------------------------------------------------------------------


def ls(place: Place, words: list[str], sees: Sees = None) -> Iterator[bytes]:
    """STATE, file name, bytes of each document; without a word, of every state but done."""
    if words and words[0] not in [*states(place), "done"]:
        raise CitError(NOT_FOUND, f"no state {words[0]}", f"states are {', '.join(states(place))}, done")
    if len(words) == 2 and (words[0] != "done" or not DAY.fullmatch(words[1])):
        raise CitError(USAGE, "a day is asked of done alone", "ls done 2026-11-23")
    if words[:1] == ["done"]:
        done = place / "done"
        days = words[1:] or sorted(path.name for path in (done.iterdir() if done.is_dir() else ()) if DAY.fullmatch(path.name))
        wanted = [f"done/{day}" for day in days]
    else:
        wanted = words or states(place)
    for state in wanted:
        for name in spool.listing(place / state):
            path = place / state / name
            if is_seen(path, sees):
                with contextlib.suppress(FileNotFoundError):  # it moved on
                    yield body.row(state, name, str(path.stat().st_size))


def found(place: Place, identity: str, sees: Sees = None) -> Iterator[tuple[str, Path]]:
    """State and path of every document of an ID; 66 where it is none."""
    if names.parse(f"{identity}-x.cit") is None or len(identity) != 26:
        raise CitError(NOT_FOUND, f"{identity[:40]!r} is no ID", "a door is asked for whole IDs")
    for state in directories(place, identity):
        for name in spool.listing(place / state):
            parts = names.parse(name)
            if parts and parts.id == identity and is_seen(place / state / name, sees):
                yield state, place / state / name


def get(place: Place, identity: str, sees: Sees = None) -> bytes:
    """The documents of an ID as a framed stream; 66 where there are none."""
    pieces = []
    for _, path in found(place, identity, sees):
        with contextlib.suppress(FileNotFoundError):
            pieces.append(path.read_bytes())
    if not pieces:
        raise CitError(NOT_FOUND, f"no document {identity}", "`ls` tells what is here")
    return framed(pieces)


def have(place: Place, identities: list[str], sees: Sees = None) -> tuple[list[bytes], int]:
    """Each ID and the state that it is in, or `-`; 1 where one is not here."""
    lines, status = [], OK
    for identity in identities:
        state = next((state for state, _ in found(place, identity, sees)), "-")
        status = status if state != "-" else NO
        lines.append(body.row(identity, state))
    return lines, status


def ended(queue: home.Queue, words: list[str], sees: Sees = None) -> bytes:
    """The documents of these IDs (or single tasks, ID_TASK) that lie in done or refused, framed, as many as fit; where none does, after
    waiting for one for DURATION."""
    until = time.monotonic() + min(clock.duration(words[0]) / clock.SECOND, LONGEST)
    wanted = {identity for identity in words[1:] if names.parse(f"{identity}-x.cit")}
    directories = [queue / state for state in (*sorted({f"done/{clock.id_day(identity)}" for identity in wanted}), "refused")]
    before: list[int] = []
    while True:
        began = time.monotonic()
        present = [changed(directory) for directory in directories]
        fresh = time.time_ns() - max(present) < FRESH  # within a tick of the file system's clock names change unseen
        pieces = over(directories, wanted, sees) if fresh or present != before else []
        if pieces or time.monotonic() >= until:
            return framed(pieces)
        before = present
        time.sleep(max(LOOK, 9 * (time.monotonic() - began)))


def over(directories: list[Path], wanted: set[str], sees: Sees) -> list[bytes]:
    """What of these IDs lies in these directories: as many documents as fit into an answer, one at least."""
    pieces: list[bytes] = []
    size = 0
    tasks: dict[str, list[int]] = {}
    for identity, _, task in (each.partition("_") for each in wanted if "_" in each):
        tasks.setdefault(identity, []).append(int(task))
    for directory in directories:
        for name in spool.listing(directory):
            parts = names.parse(name)
            if parts is None or (parts.id not in wanted and not any(map(parts.concerns, tasks.get(parts.id, ())))):
                continue
            if not is_seen(directory / name, sees):
                continue
            with contextlib.suppress(FileNotFoundError):
                pieces.append((directory / name).read_bytes())
                size += len(pieces[-1])
            if size >= ANSWER:
                return pieces
    return pieces


def why(queue: home.Queue, identity: str, sees: Sees = None) -> bytes:
    """What the scheduler says of a job that waits, a line a builder; 66 where none of this ID waits."""
    import subprocess

    if not any(state in ("waiting", "held") for state, _ in found(queue, identity, sees)):
        raise CitError(NOT_FOUND, f"no job {identity} waits", "`have` tells in which state it is")
    asked = ["cit-schedule", "-q", "--queue", str(queue.path), "--explain", identity]
    return subprocess.run(asked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout


def changed(directory: Path) -> int:
    """When a name in it changed last; 0 where it is not there."""
    try:
        return directory.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


# --- what the place is ----------------------------------------------------------------------------------------------


def alive(place: Place, who: str = "") -> bytes:
    """What this is, `active` or not, its clock, its version, and who is asking."""
    if isinstance(place, home.Queue):
        name, state = place.full_name, "active" if place.active else "inactive"
    else:
        name, state = place.identity, "active"
    return body.row(name, state, clock.iso(clock.now()), VERSION, who or "-")


def builders(queue: home.Queue, sees: Sees = None) -> bytes:
    """The builder documents of a queue, then the last heartbeat of each, framed; of its jobs those that one may see, and so unsigned."""
    lying = ((queue / "sent" / name, name) for name in spool.listing(queue / "sent") if sees is not None)
    mine = {name.partition(".")[2][: -len(".cit")] for path, name in lying if is_seen(path, sees)}
    pieces = []
    for directory in (queue / "builders", queue / "builders" / heartbeat.CACHE):
        for name in spool.listing(directory):
            with contextlib.suppress(FileNotFoundError, CitError):
                known = reader.parse((directory / name).read_bytes())
                load = known.find("load")
                pieces.append(known.raw if sees is None or load is None else known.raw[: load.end] + jobs_among(known, mine) + offered(known))
    return framed(pieces)


def jobs_among(heard: document.Document, some: set[str]) -> bytes:
    """The section `jobs` of a heartbeat, of these jobs alone."""
    return document.section("jobs", "tsv", body.tsv(row for section in heard.all("jobs") for row in section.rows() if row[0] in some))


def offered(heard: document.Document) -> bytes:
    """The sections `interface` of a heartbeat."""
    return b"".join(heard.raw[section.start : section.end] for section in heard.all("interface"))


def load(account: home.Account, queue: str = "") -> bytes:
    """The account's heartbeat, framed; to a queue with its own jobs alone."""
    return framed([heartbeat.heartbeat(account, clock.now(), queue).raw])


def finished(account: home.Account, queue: str = "") -> bytes:
    """What has ended and has not gone home, framed; to a queue its own alone."""
    return framed(list(fetch.finished(account, queue)))


def framed(pieces: list[bytes]) -> bytes:
    """Documents as a framed stream."""
    return frame.framed(b"".join(pieces), len(pieces))


# --- logs and kept files --------------------------------------------------------------------------------------------


def log(account: home.Account, copy_name: str, offset: str, sees: Sees = None, whole: Sees = None, what: str = "") -> Iterator[bytes]:
    """What a job has printed up to now, from this byte on; of a log that is for some only the encrypted bytes. 66 where there is none (yet).
    `what`: another thing of its record, `times` (docs/stages/run.md)."""
    known = names.parse(f"{copy_name}.cit")
    paths = list(copies(account, copy_name)) if known and not known.key else []
    if not paths or not any(is_seen(path, sees) for path in paths):
        raise CitError(NOT_FOUND, f"no job {copy_name[:100]} here", "it is called as in `ls`, from the ID to the name: ID.a1-NAME")
    shown = outside.view(account, copy_name, paths, whole)
    if shown is not None:
        return tail(shown, offset) if not what else iter(())
    path = account / "work" / f"{copy_name}.log"
    if what == "times":
        return tail(path.with_suffix(".run") / what, offset)
    if what == "cast":
        path, what = path.with_suffix(".cast"), ""
    sealed = path.with_name(path.name + reply.SUFFIX)
    if sealed.exists() and not what:
        return tail(sealed, offset)
    if any(is_for_some(document) for document in paths):
        raise CitError(NOT_FOUND, "its log is given out when it has ended, encrypted", "its author said so: cit push --seal-results, --reply")
    source = beside(path.with_suffix(".run"), what) if what else path
    sought = masks.known(str(path))
    if not sought or not OFFSET.fullmatch(offset):
        return tail(source, offset)
    start = max(0, int(offset) - masks.reach(sought))  # so that nobody gets the rest of a secret by asking from its middle on
    return masks.covered(tail(source, str(start)), sought, int(offset) - start)


def beside(record: Path, what: str) -> Path | int:
    """What else is given out like a job's log: `parts` lists its parts, `part-N` is the N-th log that one of them has of its own (open), `events`
    what it says of itself. 66."""
    if what in ("parts", "events"):
        return record / (parts.LIST if what == "parts" else own_events.FILE)
    logs = parts.files(parts.read(record))
    number = int(what[5:]) if what.startswith("part-") and OFFSET.fullmatch(what[5:]) else 0
    if not 0 < number <= len(logs):
        raise CitError(NOT_FOUND, f"its record has no {what[:40]!r}", "log COPY-NAME OFFSET [times|parts|part-N|events|cast]")
    with contextlib.suppress(OSError):
        return parts.opened(record, logs[number - 1])
    raise CitError(NOT_FOUND, f"{what[:40]} is not here", "cit clean removes it")


def is_for_some(path: Path) -> bool:
    """Whether a job's log is encrypted when it has ended, so that nobody gets it before."""
    with contextlib.suppress(FileNotFoundError, CitError):
        raw = path.read_bytes()
        return b"\n@begin reply " in raw and bool(reply.of_log(reply.rows(reader.parse(raw))))
    return False


def file(account: home.Account, words: list[str], sees: Sees = None, whole: Sees = None) -> Iterator[bytes]:
    """A kept file, by its sha256, from this byte on; with COPY-NAME as the job's that kept it. 66 where there is none."""
    sha256, offset, *copy_name = words
    if not SHA256.fullmatch(sha256):
        raise CitError(DATA, f"{sha256[:80]!r} is no sha256", "64 lower-case hex digits, as in section artefact")

    def may(path: Path) -> bool:
        return is_seen(path, sees) and (outside.sees_all(path, whole) or not outside.has_view(account, path))

    if sees is not None and not any(may(path) for path in copies(account, *copy_name) if has_kept(path, sha256)):
        raise CitError(NOT_FOUND, f"no file {sha256} here", "the job's section artefact lists what it kept")
    return tail(account / "store" / sha256, offset)


def stashed(account: home.Account, words: list[str], sees: Sees = None) -> bytes:
    """What a name (with a key of configuration) leads to in the store: sha256, bytes, `program` or `-`. 66 where nothing is stashed so."""
    folder = str(account / store.FOLDER)
    name, key, *_ = [*words, ""]
    digest = store.meant(folder, name, key) if store.is_name(name) and (not key or SHA256.fullmatch(key)) else ""
    if not digest or (sees is not None and not any(is_seen(path, sees) for path in copies(account) if has_kept(path, digest))):
        what = f"nothing is stashed as {name}{' with this key' if key else ''} here"
        raise CitError(NOT_FOUND, what, "cit stash --list, at that account, tells what is")
    said = os.lstat(f"{folder}/{digest}")
    return body.row(digest, str(said.st_size), "program" if said.st_mode & 0o100 else "-")


def copies(account: home.Account, copy_name: str = "") -> Iterator[Path]:
    """The documents of a job (of all, without a name) in a build account, those included that have gone home and left their record."""
    for state in home.ACCOUNT_STATES:
        for path in heartbeat.lying(account, state):
            if not copy_name or path.name.endswith(f".{copy_name}.cit"):
                yield path
    records = [account / "work" / f"{copy_name}.run"] if copy_name else sorted((account / "work").glob("*.run"))
    yield from (record / fetch.KEPT for record in records if (record / fetch.KEPT).is_file())


def has_kept(path: Path, sha256: str) -> bool:
    """Whether a job kept a file of this digest."""
    with contextlib.suppress(FileNotFoundError, CitError):
        raw = path.read_bytes()
        if sha256.encode() in raw:
            return any(row[:1] == [sha256] for section in reader.parse(raw).all("artefact") for row in section.rows())
    return False


def tail(path: Path | int, offset: str) -> Iterator[bytes]:
    """The bytes of a plain file, or one that is open, from an offset on; 66 where it is none."""
    if not OFFSET.fullmatch(offset):
        raise CitError(USAGE, f"{offset[:40]!r} is no offset", "a number of bytes: 0 for all")
    if isinstance(path, int):
        return _read(path, int(offset))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise CitError(NOT_FOUND, f"{path.name} is not here", "cit clean removes it; the job's builder had it") from None
    return _read(fd, int(offset))


def _read(fd: int, at: int) -> Iterator[bytes]:
    with open(fd, "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CitError(NOT_FOUND, "no plain file", "ask for another one")
        stream.seek(at)
        while piece := stream.read(PIECE):
            yield piece


Answer = tuple[Iterable[bytes], int]


def answer(place: Place, verb: str, words: list[str], who: str = "", sees: Sees = None, role: str = "", whole: Sees = None) -> Answer:
    """The answer to one verb that looks."""
    queue = who if role == "queue" else ""
    if verb == "ls":
        return ls(place, words, sees), OK
    if verb == "get":
        return [get(place, words[0], sees)], OK
    if verb == "have":
        return have(place, words, sees)
    if isinstance(place, home.Queue):
        if verb in ("ended", "why"):
            return [ended(place, words, sees) if verb == "ended" else why(place, words[0], sees)], OK
        return [builders(place, sees) if verb == "builders" else alive(place, who)], OK
    if verb == "log":
        return log(place, words[0], words[1], sees, whole, *words[2:]), OK
    if verb == "file":
        return file(place, words, sees, whole), OK
    if verb == "stashed":
        return [stashed(place, words, sees)], OK
    act = {"load": load, "finished": finished}.get(verb)
    return [act(place, queue) if act else alive(place, who)], OK
