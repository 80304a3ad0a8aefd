"""A job's results sealed to those whom its `reply` names: what its builder notes about it, encrypts, and takes away (docs/format/needs-keep.md).

    work/.sealing/COPY-NAME     the rows of `reply`: from before the job begins until nothing of it lies here in the clear
    work/COPY-NAME.log.age      the log, encrypted, in place of work/COPY-NAME.log
    store/SHA256                a kept file; SHA256 is that of the encrypted one

The step after the job does it (keep.py); after a kill or a reboot the next pass. A workspace of which this is to be done is nobody else's.
Pages: docs/stages/run.md, docs/directories.md
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .removal import emptied, opened, removed

if TYPE_CHECKING:
    from .cit_format.reply import Row, Sink
    from .cit_format.seal import Recipient

FOLDER = ".sealing"
YOUNG = 60.0  # seconds in which a job that was laid out counts as about to begin

# --- what is to be done ---------------------------------------------------------------------------------------------


def note_of(work: str, own: str) -> str:
    """Where it is noted of an attempt (`COPY-NAME`)."""
    return f"{work}/{FOLDER}/{own}"


def begin(work: str, own: str, text: bytes) -> None:
    """Before an attempt begins whose `reply` is this. Its log is there from now on, so that who follows it has it open when it is sealed."""
    note(work, own, text)
    os.close(os.open(f"{work}/{own}.log", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    for name in ("artefacts", "sealed"):  # of a run before this one: another engine begins a job anew
        removed(f"{work}/{own}.run/{name}")
    with contextlib.suppress(OSError):
        home, number = os.path.split(os.path.join(work, os.readlink(f"{work}/{own}")))
        os.rename(f"{home}/{number}", f"{home}/.old-{number}-{time.time_ns()}")


def note(work: str, own: str, text: bytes) -> None:
    """Write down what is to be done."""
    os.makedirs(f"{work}/{FOLDER}", 0o700, exist_ok=True)
    beside = f"{work}/{FOLDER}/.{own}"
    with open(beside, "wb") as stream:
        stream.write(text)
    os.rename(beside, note_of(work, own))


def over(work: str, own: str) -> None:
    """It is done."""
    removed(note_of(work, own))


def is_due(work: str, own: str) -> bool:
    """Whether results of an attempt still lie here in the clear."""
    return os.path.exists(note_of(work, own))


def rows(work: str, own: str) -> list[Row]:
    """For whom the results of an attempt are; nothing where they are sealed, or need not be."""
    try:
        with open(note_of(work, own), "rb") as stream:
            text = stream.read()
    except FileNotFoundError:
        return []
    from .cit_format import reply

    return reply.parsed(text)


def left(work: str) -> list[str]:
    """The attempts (`COPY-NAME`) whose results are not sealed yet."""
    try:
        return [name for name in os.listdir(f"{work}/{FOLDER}") if name[:1] != "."]
    except FileNotFoundError:
        return []


def is_young(work: str, own: str) -> bool:
    """Whether a note was made a moment ago, or is gone."""
    try:
        return time.time() - os.stat(note_of(work, own)).st_mtime < YOUNG
    except FileNotFoundError:
        return True


# --- files ----------------------------------------------------------------------------------------------------------


def encrypted(fd: int, beside: str, to: Sequence[Recipient]) -> Sink:
    """Encrypt an open file into `beside`, on disk when this returns."""
    from .cit_format import reply

    removed(beside)
    target = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    try:
        sink = reply.Sink(target)
        with open(fd, "rb", buffering=0, closefd=False) as source:
            reply.encrypt(source, sink, to)
        os.fsync(target)
        return sink
    except BaseException:
        os.unlink(beside)
        raise
    finally:
        os.close(target)


def log(plain: str, beside: str, to: Sequence[Recipient]) -> Sink | None:
    """Encrypt a log, in place of which a job may have put anything; None where there is none."""
    try:
        fd = os.open(plain, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return encrypted(fd, beside, to) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def cleared(workspace: str, names: Iterable[str], everything: bool) -> None:
    """Remove files of a workspace, or all of it but its `.cit`. No link is followed."""
    try:
        top = opened(workspace, None)
    except OSError:
        return  # it is gone
    try:
        if everything:
            emptied(top)
            os.symlink(f"../.{os.path.basename(workspace)}", ".cit", dir_fd=top)
        else:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    unlinked(name.split("/"), top)
    finally:
        os.close(top)


def unlinked(parts: list[str], directory: int) -> None:
    """Remove one file below an open directory."""
    if len(parts) == 1:
        os.unlink(parts[0], dir_fd=directory)
        return
    inner = opened(parts[0], directory)
    try:
        unlinked(parts[1:], inner)
    finally:
        os.close(inner)
