"""A job's secrets on its builder: opened with the account's sealing key, handed over as files, hidden in its log, gone with it.

    work/.private/COPY-NAME -> /dev/shm/cit-5f3c...    a link, made first and removed last: no directory of secrets is without one
    that directory, 0700                               a file, 0400, for each secret, and `script` where the script is sealed

Reads: the sealed sections of a believed job. Writes: these, on a memory file system where there is one, else in the job's record.
Removed by the shim when the job has ended (conceal.py); after a kill or a reboot by the next pass.
Pages: docs/howto/secrets.md, docs/format/secret.md, docs/stages/run.md
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from . import own_record
from .cit_format import home, masks, messages, reader, secret
from .cit_format.document import Document
from .cit_format.errors import CitError
from .cit_format.spool import write_all
from .removal import removed

DOCUMENT = "job.cit"  # in the record: what opens again where the files are gone
YOUNG = 60.0  # seconds in which a job that was laid out counts as about to begin
IN_MEMORY = ("tmpfs", "ramfs")


# --- decisions ------------------------------------------------------------------------------------------------------


def has_any(job: Document) -> bool:
    """Whether anything in a job is sealed."""
    return bool(secret.sealed(job))


def type_of(mounts: str, path: str) -> str:
    """The kind of file system at a path, by the text of /proc/mounts; empty where that does not tell."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and len(fields[1]) >= len(best) and f"{path}/".startswith(f"{fields[1].rstrip('/')}/"):
            best, kind = fields[1], fields[2]
    return kind


# --- handed over ----------------------------------------------------------------------------------------------------


def check(account: home.Account, job: Document) -> None:
    """65, 77 or 78 where this builder cannot open all that is sealed in a job that is believed otherwise."""
    secret.opened_here(job, account.path)


def handed_over(job: Document, account: Path, own: str) -> str:
    """The directory in which an attempt (`COPY-NAME`, whose record is there) finds its secrets; empty where it has none. 65, 77, 78; OSError."""
    contents = secret.opened_here(job, account)
    if not contents:
        return ""
    link = place_of(account, own)
    os.makedirs(os.path.dirname(link), 0o700, exist_ok=True)
    fault = OSError()
    for directory in [*(f"{base}/cit-{os.urandom(12).hex()}" for base in bases()), f"{account}/work/{own}.run/secrets"]:
        forget(link)
        try:
            os.symlink(directory, link)
            os.mkdir(directory, 0o700)
            for name, content in contents.items():
                written(f"{directory}/{name}", content)
            return directory
        except OSError as error:  # full, or not ours to write: the next place
            fault = error
    forget(link)
    raise fault


def written(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    try:
        write_all(fd, content, path)
    finally:
        os.close(fd)


def place_of(account: Path | str, own: str) -> str:
    """The link of an attempt to its directory of secrets."""
    return f"{account}/work/{masks.PRIVATE}/{own}"


@lru_cache(maxsize=1)
def bases() -> tuple[str, ...]:
    """Directories on memory file systems in which this account can make one that nobody else looks into."""
    return tuple(_found(os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"))


def _found(*candidates: str) -> Iterator[str]:
    mounts = Path("/proc/mounts").read_text(errors="replace")
    for path in candidates:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
            if (
                (ours or status.st_mode & stat.S_ISVTX)
                and os.access(path, os.W_OK | os.X_OK)
                and type_of(mounts, os.path.realpath(path)) in IN_MEMORY
            ):
                yield path


# --- taken away -----------------------------------------------------------------------------------------------------


def forget(link: str) -> None:
    """Remove a directory of secrets, then the link to it."""
    with contextlib.suppress(FileNotFoundError):
        removed(os.readlink(link))
        os.unlink(link)


def clear(account: Path | str, own: str, elsewhere: bool = False) -> None:
    """After a kill or a reboot: hide the secrets of an attempt that runs no more in its log, and remove them; `elsewhere`: they may lie in the
    memory of another machine, which will do that, so the link to them stays."""
    link, work = place_of(account, own), f"{account}/work"
    if not os.path.islink(link):
        return
    try:
        with open(f"{work}/{own}.run/{DOCUMENT}", "rb") as stream:
            contents = secret.opened_here(reader.parse(stream.read()), Path(account))
        contents.pop(secret.SCRIPT, None)
    except (CitError, FileNotFoundError) as error:
        messages.tell("warning", f"the secrets of {own} do not open any more: {error}", hint="if its log shows them, remove it")
        contents = masks.contents(link)
    own_record.concealed(f"{work}/{own}.log", masks.values(contents.values()))
    if not elsewhere or os.path.isdir(link):
        forget(link)


def left(account: home.Account) -> list[str]:
    """The attempts (`COPY-NAME`) whose directories of secrets may still be there."""
    try:
        return os.listdir(account / "work" / masks.PRIVATE)
    except FileNotFoundError:
        return []


def is_young(link: str) -> bool:
    """Whether a link was made a moment ago, or is gone."""
    try:
        return time.time() - os.lstat(link).st_mtime < YOUNG
    except FileNotFoundError:
        return True
