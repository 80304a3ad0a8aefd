"""Spools: directories of documents, where the place is the state (docs/directories.md).

A process takes documents by renaming them into a claim of its own, whose lock it holds as long as it lives; it moves
them on in groups: contents are synced first, then come the renames, then the directories. So a kill at any call
leaves each document whole and in one place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from . import body, clock, messages, names
from .errors import IO, CitError

GROUP = 64  # from so many files on, one syncfs serves all
SLOW = 1.0  # seconds of a syncfs after which files are synced one by one
STALE = 36 * 3600  # seconds until what lies in .tmp alone is garbage
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)
_slow = False


def host() -> str:
    """This machine's name, or `CIT_HOST`."""
    return os.environ.get("CIT_HOST") or os.uname().nodename


def listing(directory: Path) -> list[str]:
    """Names of the documents in a directory, in order of their bytes; empty where it is missing."""
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".cit") and name[0] != ".")
    except FileNotFoundError:
        return []


def make_directory(path: Path, mode: int = 0o700) -> bool:
    """Make a directory and those above it; each new name is synced. Whether it was missing."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return False
    except FileNotFoundError:
        make_directory(path.parent, mode)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
    sync_directory(path.parent)
    return True


def sync_directory(path: Path | str) -> None:
    """fsync of a directory: the names in it survive a power failure. An error is final (74)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _fsync(fd, str(path))
    finally:
        os.close(fd)


def _fsync(fd: int, path: str) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise CitError(IO, f"cannot sync {path}: {error.strerror}", "nothing was acknowledged; look at the disk, then send it again") from error


def write_all(fd: int, data: bytes, path: str) -> None:
    """Write every byte; a full disk is an error that names the path."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError as error:
            raise CitError(IO, f"cannot write {path}: {error.strerror}", "nothing was changed; make room, then try again") from error


def sync_files(paths: list[str]) -> None:
    """Sync the contents of files: one by one, or from 64 on by one syncfs of their file system."""
    global _slow
    if len(paths) >= GROUP and not _slow:
        fd = os.open(paths[0], os.O_RDONLY)
        try:
            began = time.monotonic()
            failed = _libc.syncfs(fd) != 0
            _slow = failed or time.monotonic() - began > SLOW
        finally:
            os.close(fd)
        if not failed:
            return
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            _fsync(fd, path)
        finally:
            os.close(fd)


def rename_new(source: str | Path, target: str | Path) -> None:
    """Rename that never replaces; FileExistsError where the target is taken."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        os.link(source, target)
        os.unlink(source)
    elif code == errno.EEXIST:
        raise FileExistsError(code, "already there", str(target))
    else:
        raise OSError(code, os.strerror(code), str(source))


class Lock:
    """flock on a file that is made if missing; `with` waits, `try_now` does not. Held as long as this process lives."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self.fd = -1

    def _open(self, flags: int) -> bool:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, flags)
            except BlockingIOError:
                os.close(fd)
                return False
            try:
                same = os.fstat(fd).st_ino == os.stat(self.path).st_ino
            except FileNotFoundError:
                same = False
            if same:  # else it was removed between open and lock
                self.fd = fd
                return True
            os.close(fd)

    def try_now(self) -> bool:
        """Take the lock if it is free."""
        return self._open(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Lock:
        self._open(fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at `path`; false where there is no such file."""
    if not path.exists():
        return False
    lock = Lock(path)
    free = lock.try_now()
    lock.release()
    return not free


class Claim:
    """One's own directory `SPOOL/.claim/HOST~PID~START/` in a spool; used with `with`."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.path = spool / ".claim" / f"{host()}~{os.getpid()}~{time.time_ns() // 1000}"
        self.lock = Lock(self.path / "lock")
        self.held: list[str] = []
        self.grown: dict[str, bytes] = {}
        self.moves: list[tuple[str, Path, str]] = []
        self.decided = False  # the moves are written down: who finds this claim dead finishes them

    def __enter__(self) -> Claim:
        (self.spool / ".claim").mkdir(mode=0o700, exist_ok=True)
        # Made under a hidden name and locked before it shows, so that nobody takes it for a dead one.
        hidden = self.path.with_name("." + self.path.name)
        hidden.mkdir(mode=0o700)
        self.lock = Lock(hidden / "lock")
        self.lock.try_now()
        os.rename(hidden, self.path)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.decided:
            for name in self.held:
                give_back(self.path / name, self.spool)
            drop_claim(self.path)
        self.lock.release()

    def take(self, name: str) -> bytes | None:
        """Take a document: its bytes; None where another was quicker."""
        mine = self.path / name
        try:
            os.rename(self.spool / name, mine)
        except OSError as error:
            if not mine.exists():  # over NFS a rename may happen and yet report an error
                if error.errno == errno.ENOENT:
                    return None
                raise
        self.held.append(name)
        return mine.read_bytes()

    def move(self, name: str, target: Path, as_name: str | None = None, grown: bytes | None = None) -> None:
        """Note a move of a taken document to another state, with its longer content where it grew; `settle` does it."""
        if grown is not None:
            self.grown[name] = grown
        self.moves.append((name, target, as_name or name))

    def add(self, name: str, target: Path, raw: bytes) -> None:
        """Note a new document that is to lie in another state, made of one that was taken; `settle` writes it."""
        self.held.append(name)
        self.move(name, target, grown=raw)

    def drop(self, name: str) -> None:
        """Remove a taken document: another place has it on disk, as its ticket says."""
        os.unlink(self.path / name)
        self.held.remove(name)

    def back(self, name: str) -> None:
        """Return a taken document to its spool."""
        give_back(self.path / name, self.spool)
        self.held.remove(name)

    def settle(self) -> None:
        """Do the noted moves: longer contents written beside and synced, put in place, moved on, directories synced."""
        if not self.moves:
            return
        beside = write_beside({self.path / name: raw for name, raw in self.grown.items()})
        if beside:
            # From here on the moves are decided: who finds this claim dead finishes them (`recover`).
            record = body.tsv((name, os.path.relpath(target, self.spool), as_name) for name, target, as_name in self.moves)
            replace_contents({self.path / ".moves": record})
            sync_directory(self.path)
            self.decided = True
        for path in beside:
            os.rename(path, _in_front(path))
        for name, target, as_name in self.moves:
            rename_new(self.path / name, target / as_name)
            self.held.remove(name)
        for directory in {target for _, target, _ in self.moves} | {self.path, self.spool}:
            sync_directory(directory)
        if self.decided:
            os.unlink(self.path / ".moves")
            self.decided = False
        self.moves.clear()
        self.grown.clear()


def replace_contents(contents: dict[Path, bytes]) -> None:
    """Give files a new content, each all or nothing: written beside, synced together, renamed over. The caller syncs directories."""
    for path in write_beside(contents):
        os.rename(path, _in_front(path))


def write_beside(contents: dict[Path, bytes]) -> list[Path]:
    """Write each content into a hidden file beside its path, `.NAME`, all synced together: the paths of these."""
    beside = [path.with_name("." + path.name) for path in contents]
    for path, raw in zip(beside, contents.values()):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, raw, str(_in_front(path)))
        finally:
            os.close(fd)
    sync_files([str(path) for path in beside])
    return beside


def _in_front(beside: Path) -> Path:
    return beside.with_name(beside.name[1:])


def give_back(path: Path, spool: Path, as_name: str | None = None) -> None:
    """Return a claimed document to its spool. Where its name is taken, the longer copy stays; two that differ are both kept."""
    target = spool / (as_name or path.name)
    with contextlib.suppress(FileNotFoundError):
        try:
            rename_new(path, target)
        except FileExistsError:
            mine, other = path.read_bytes(), target.read_bytes()
            if other.startswith(mine):
                os.unlink(path)
            elif mine.startswith(other):
                os.rename(path, target)
            else:
                aside = target.with_name(f"{target.name}.fork-{clock.iso_ms(clock.now())}")
                os.rename(path, aside)
                messages.tell("error", "two copies of a document differ", target.name, f"both are kept: {target} and {aside.name}")


def recover(spool: Path) -> int:
    """What dead processes held in a spool: moves that were decided are finished, everything else goes back. How many documents."""
    count = 0
    for path, _lock in dead_claims(spool):
        changed = {path, spool}
        try:
            decided = body.rows((path / ".moves").read_bytes())
        except FileNotFoundError:
            decided = []
        for name, target, as_name in decided:
            with contextlib.suppress(FileNotFoundError):
                os.rename(path / f".{name}", path / name)
            count += (path / name).exists()
            give_back(path / name, spool / target, as_name)
            changed.add(spool / target)
        for name in listing(path):
            give_back(path / name, spool)
            count += 1
        for directory in changed:
            sync_directory(directory)
        drop_claim(path)
    return count


def dead_claims(spool: Path) -> Iterator[tuple[Path, Lock]]:
    """Claims whose process is gone, each with its lock now held by us; a claim from another host counts as alive (docs/directories.md)."""
    try:
        entries = os.listdir(spool / ".claim")
    except FileNotFoundError:
        return
    for entry in entries:
        path = spool / ".claim" / entry
        if entry.lstrip(".").partition("~")[0] != host():
            continue
        lock = Lock(path / "lock")
        try:
            if entry[0] == "." and path.stat().st_mtime > time.time() - 3600:
                continue  # just being made
            free = lock.try_now()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if free:
            yield path, lock
            lock.release()


def drop_claim(path: Path) -> None:
    """Remove a dead claim: hidden files, its lock, the directory; documents must have been taken out before."""
    with contextlib.suppress(OSError):
        for entry in os.listdir(path):
            if entry[0] == "." or entry == "lock":
                os.unlink(path / entry)
        os.rmdir(path)


def documents(directory: Path) -> Iterator[names.FileName]:
    """Names of the documents in a directory, taken apart, in order."""
    for name in listing(directory):
        parts = names.parse(name)
        if parts:
            yield parts


def sweep_temporary(directory: Path) -> int:
    """Remove what has lain in a `.tmp` for 36 h without a living writer; how many."""
    removed = 0
    limit = clock.now() / clock.SECOND - STALE
    try:
        entries = os.listdir(directory)
    except FileNotFoundError:
        return 0
    for entry in entries:
        path = directory / entry
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < limit and not is_held(path):
                os.unlink(path)
                removed += 1
    return removed
