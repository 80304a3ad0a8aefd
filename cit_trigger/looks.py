"""What a line of a trigger list sees at this moment, by subject: a commit, a file's digest, a job's end, a time that has come, an output.

Fails: 65 what is wrong in the line; 66, 69 what cannot be had now. All of it ends within a time limit.
Pages: docs/howto/trigger-lists.md
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .cit_format import clock, cron, home, names, reader, triggers
from .cit_format.errors import DATA, NOT_FOUND, UNREACHABLE, CitError
from .cit_format.triggers import Line
from .memory import Looked, Seen, Subjects

SECONDS = 20  # for a repository or a program; a file is read for
READING = 60.0  # seconds at most
SETTLED = 5.0  # seconds since the last change of a file: before it is being written
FILES = 10_000  # that a line may mean
ENDS = 5000  # of a job that are remembered, the newest
DAYS = 60  # back to which ends are looked for, by the day in the ID: a job waits for 30 at most
PIECE = 1 << 20
OUTPUT = 64 << 20  # bytes that a program may print: a document's limit


class Around(NamedTuple):
    """Where and when it is looked: the list's directory, the queues, who we are in each, now (microseconds)."""

    directory: str
    queues: Sequence[home.Queue]
    person: Callable[[home.Queue], str]
    now: int


def looked(line: Line, before: Looked, around: Around) -> Subjects:
    """What a line sees now."""
    return _LOOKS[line.kind](line.words, before or {}, around)


def _repo(words: list[str], _: Subjects, around: Around) -> Subjects:
    from .repository import asked_for

    ref, commit = asked_for(words[0], words[1] if len(words) > 1 else None, around.directory, SECONDS)
    return {words[0]: Seen(commit, ref)}


# --- files --------------------------------------------------------------------------------------------------------------


def _file(words: list[str], before: Subjects, around: Around) -> Subjects:
    found: Subjects = {}
    until = _monotonic() + READING
    for path in _paths(words, around.directory):
        seen = _digest(path, before.get(path), until)
        if seen is not None:
            found[path] = seen
    return found


def _paths(words: list[str], directory: str) -> list[str]:
    found: dict[str, None] = {}
    for word in words:
        for path in sorted(glob.iglob(os.path.join(directory, os.path.expanduser(word)), recursive=True)):
            found[os.path.normpath(path)] = None
            if len(found) > FILES:
                raise CitError(DATA, f"more than {FILES} files", "make the pattern narrower, or look at a file that is written last")
    return list(found)


def _digest(path: str, known: Seen | None, until: float) -> Seen | None:
    """A file that is not being written; what was known of it where it is, or where it cannot be told now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return known
    with open(fd, "rb", buffering=0) as stream:
        first = os.fstat(fd)
        if not stat.S_ISREG(first.st_mode):
            return None
        hint = f"{first.st_ino} {first.st_size} {first.st_mtime_ns}"
        if known is not None and known.hint == hint:
            return known
        if abs(_time() - first.st_mtime) < SETTLED:
            return known
        digest = hashlib.sha256()
        while piece := stream.read(PIECE):
            digest.update(piece)
            if _monotonic() > until:
                raise CitError(UNREACHABLE, f"{path} is not read within {READING:.0f} s", "look at a small file that is written after it")
        last = os.fstat(fd)
        return Seen(digest.hexdigest(), hint) if (last.st_size, last.st_mtime_ns) == (first.st_size, first.st_mtime_ns) else known


# --- jobs ---------------------------------------------------------------------------------------------------------------


def _job(words: list[str], before: Subjects, around: Around) -> Subjects:
    name, states = words[0], [word for word in words[1:] if not word.startswith("by=")]
    by = next((word[3:] for word in words[1:] if word.startswith("by=")), "")
    oldest = clock.day(around.now - DAYS * clock.DAY)
    found = {copy: seen for copy, seen in before.items() if clock.id_day(copy[:26]) >= oldest}  # also what has been removed since
    beyond = min(found) if len(found) >= ENDS else ""
    for queue in around.queues:
        if queue.remote:
            ran(["cit-report", "ls", "--queue", str(queue.path), "--tsv"], around.directory)  # what it heard lies in done/ then
        for day in os.listdir(queue / "done") if (queue / "done").is_dir() else ():
            for entry in os.listdir(queue / "done" / day) if day >= oldest else ():
                parts = names.parse(entry) if entry.endswith(f"-{name}.cit") and entry[:1] != "." else None
                if parts is not None and parts.name == name and parts.copy not in found and parts.copy > beyond:
                    seen = _end(queue / "done" / day / entry, by or around.person(queue), states)
                    if seen is not None:
                        found[parts.copy] = seen
    return dict(sorted(found.items())[-ENDS:])


def _end(path: Path, by: str, states: list[str]) -> Seen | None:
    """How a job ended, `-` where that is not what is waited for; None where it is not over."""
    with contextlib.suppress(OSError, CitError):
        job = reader.parse(path.read_bytes())
        results = list(job.all("result"))
        if results:
            state = str(results[-1].table().get("state", ""))
            is_meant = by in ("anyone", job.table("job").get("submitter")) and (not states or state in states)
            return Seen(state if is_meant else "-")
    return None


# --- times --------------------------------------------------------------------------------------------------------------


def _at_time(words: list[str], before: Subjects, around: Around) -> Subjects:
    """The last time that came since the one before, or since the first look."""
    if "" not in before:
        return {"": Seen(clock.iso(around.now))}
    wanted, place = triggers.when(words)
    due = cron.last(wanted, place, clock.parse(before[""].value), around.now)
    return {"": Seen(clock.iso(due))} if due else before


def _every(words: list[str], before: Subjects, around: Around) -> Subjects:
    """The last of the moments that lie so far apart, counted from the first look."""
    length, last = clock.duration(" ".join(words)), clock.parse(before[""].value) if "" in before else around.now
    return {"": Seen(clock.iso(last + max(0, around.now - last) // length * length))}


# --- programs -----------------------------------------------------------------------------------------------------------


def _output(words: list[str], _: Subjects, around: Around) -> Subjects:
    said = ran(words, around.directory)
    first = said.partition(b"\n")[0].decode("utf-8", "replace")[:1000]
    return {first: Seen(hashlib.sha256(said).hexdigest())}


def ran(words: list[str], directory: str) -> bytes:
    """What a program prints; 66 not there, 69 where it fails or takes too long."""
    status, said, errors = started(words, directory, SECONDS)
    if status:
        last = errors.decode("utf-8", "replace").strip().split("\n")[-1]
        what = f"{words[0]} ended with status {status}{f': {last}' if last else ''}"
        raise CitError(UNREACHABLE, what, "what it prints counts when it ends with 0")
    return said


def started(words: list[str], directory: str, seconds: float, environment: dict[str, str] | None = None) -> tuple[int, bytes, bytes]:
    """Run a program with nothing to read, and end it with all its kin when its time is over: status, output, errors."""
    import selectors
    import signal
    import subprocess

    pipe = subprocess.PIPE
    try:
        null = subprocess.DEVNULL
        running = subprocess.Popen(words, cwd=directory, env=environment, stdin=null, stdout=pipe, stderr=pipe, start_new_session=True)
    except (OSError, ValueError) as error:
        raise CitError(NOT_FOUND, f"{words[0]}: {getattr(error, 'strerror', None) or error}", "a program on PATH, or its path") from None
    until, said = _monotonic() + seconds, {running.stdout: bytearray(), running.stderr: bytearray()}
    try:
        with selectors.DefaultSelector() as open_ends:
            for stream in said:
                assert stream is not None
                open_ends.register(stream, selectors.EVENT_READ)
            while open_ends.get_map():
                ready = open_ends.select(max(0.0, until - _monotonic()))
                if not ready:
                    raise CitError(UNREACHABLE, f"{words[0]} does not end within {seconds:.0f} s", "it is tried again")
                for key, _ in ready:
                    piece = os.read(key.fd, PIECE)
                    said[key.fileobj] += piece  # type: ignore[index]
                    if not piece:
                        open_ends.unregister(key.fileobj)
                    elif len(said[key.fileobj]) > OUTPUT:  # type: ignore[index]
                        raise CitError(UNREACHABLE, f"{words[0]} prints more than {OUTPUT >> 20}M", "have it print a digest of that")
        status = running.wait(max(0.1, until - _monotonic()))
    except subprocess.TimeoutExpired:
        raise CitError(UNREACHABLE, f"{words[0]} does not end within {seconds:.0f} s", "it is tried again") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        for stream in said:
            if stream is not None:
                stream.close()
    return status, bytes(said[running.stdout]), bytes(said[running.stderr])


def _time() -> float:
    import time

    return time.time()


def _monotonic() -> float:
    import time

    return time.monotonic()


_LOOKS: dict[str, Callable[[list[str], Subjects, Around], Subjects]] = {
    triggers.REPO: _repo,
    triggers.FILE: _file,
    triggers.JOB: _job,
    triggers.TIME: _at_time,
    triggers.EVERY: _every,
    triggers.OUTPUT: _output,
}
