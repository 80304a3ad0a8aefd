"""Secrets hidden in what a job prints, as far as it prints them word for word (docs/howto/secrets.md).

    values(contents)       what is looked for: each line of each secret that has 4 bytes or more
    hidden(piece, values)  the same bytes with asterisks where a value stood
    Mask(values)           pieces of a stream with `***` where a value stood, also one that is cut in two by the pieces
    covered(pieces, ...)   the same with asterisks, for who reads a log from some byte on
    known(log)             what is to be looked for in the log of a job that still runs here

Pure but for `known`, which reads the files of the job's secrets as long as they are there; when they have gone, the log itself
has been gone over. Imports next to nothing: it is part of a step beside a job.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

SHORTEST = 4  # bytes: shorter ones would hide half of every log
MOST = 1000  # values that are looked for
LIMIT = 1 << 20  # bytes of a secret
SHOWN = b"***"
PRIVATE = ".private"  # in work/: a link by each job's own name to the directory of its secrets


def values(contents: Iterable[bytes]) -> list[bytes]:
    """The lines of these secrets that are looked for, without blanks around them; the longest first."""
    lines = {line.strip() for content in contents for line in content.split(b"\n")}
    return sorted((line for line in lines if len(line) >= SHORTEST), key=lambda line: (-len(line), line))[:MOST]


def spots(data: bytes, sought: Iterable[bytes]) -> list[tuple[int, int]]:
    """Where values stand, from and to, in order; those that overlap are one."""
    found = []
    for value in sought:
        at = data.find(value)
        while at >= 0:
            found.append((at, at + len(value)))
            at = data.find(value, at + 1)
    joined: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def hidden(data: bytes, sought: Iterable[bytes]) -> bytes:
    """The same number of bytes, with asterisks where values stood."""
    changed = bytearray(data)
    for start, end in spots(data, sought):
        changed[start:end] = b"*" * (end - start)
    return bytes(changed)


def begun(data: bytes, sought: Iterable[bytes]) -> int:
    """How many bytes at the end of `data` may be the beginning of a value."""
    longest = 0
    for value in sought:
        at = data.find(value[:1], max(0, len(data) - len(value) + 1))
        while at >= 0:
            if value.startswith(data[at:]):
                longest = max(longest, len(data) - at)
                break
            at = data.find(value[:1], at + 1)
    return longest


class Mask:
    """Pieces of a stream, one after the other, with `***` (or as many asterisks as it had bytes) where a value stood. What may be the
    beginning of one waits for the next piece."""

    def __init__(self, sought: list[bytes], same_size: bool = False) -> None:
        self.sought = sought
        self.same_size = same_size
        self.held = b""

    def __call__(self, piece: bytes, last: bool = False) -> bytes:
        if not self.sought:
            return piece
        data = self.held + piece
        found = spots(data, self.sought)
        cut = len(data) if last else len(data) - begun(data, self.sought)
        for start, end in found:
            if start < cut < end:
                cut = start  # it may go on as a longer one
        self.held = data[cut:]
        shown, at = [], 0
        for start, end in found:
            if end <= cut:
                shown += [data[at:start], b"*" * (end - start) if self.same_size else SHOWN]
                at = end
        return b"".join([*shown, data[at:cut]])


def reach(sought: list[bytes]) -> int:
    """How many bytes before a place a value may begin that stands there too."""
    return len(sought[0]) - 1 if sought else 0


def covered(pieces: Iterable[bytes], sought: list[bytes], skip: int) -> Iterator[bytes]:
    """The pieces of a growing log with asterisks where values stood, but for the first `skip` bytes; what may be the beginning of a value is
    left for the next time."""
    mask = Mask(sought, same_size=True)
    for piece in pieces:
        shown = mask(piece)
        yield shown[skip:]
        skip = max(0, skip - len(shown))


# --- files ----------------------------------------------------------------------------------------------------------


def known(log: str) -> list[bytes]:
    """What is to be looked for in the log `work/COPY-NAME.log` of a job that has not ended; nothing where it has no secrets, or had."""
    work, name = os.path.split(log)
    return values(contents(os.path.join(work, PRIVATE, name[: -len(".log")])).values())


def contents(directory: str) -> dict[str, bytes]:
    """The secrets in a job's private directory by name; a job may have put anything there, so only plain files are opened. Empty once it is gone."""
    found = {}
    try:
        names = os.listdir(directory)
    except OSError:
        return {}
    for name in names:
        try:
            fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        if stat.S_ISREG(os.fstat(fd).st_mode) and name != "script":
            with open(fd, "rb", closefd=False) as stream:
                found[name] = stream.read(LIMIT)
        os.close(fd)
    return found
