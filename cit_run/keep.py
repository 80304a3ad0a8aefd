"""What outlives a job: its log, and the files that it asked to keep, which are copied into store/ by their sha256.

Reads: the workspace, and `keep` in the record, as the job's section has it. Writes: store/SHA256, and `artefacts` in the record: TSV rows of the
`artefact` section. Run by the shim when nothing of the job is left, in its slot's time: files may be large.
No link is followed: what a job's workspace does not hold itself is not kept.
Pages: docs/stages/run.md, docs/format/needs-keep.md, docs/format/environment-artefact-result.md
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from .cit_format import body

PIECE = 1 << 20  # bytes read at a time
WILD = frozenset("*?[")

Row = tuple[str, str, str]  # sha256, bytes, path below the account's directory


# --- decisions ------------------------------------------------------------------------------------------------------


def parts_of(glob: str) -> list[str]:
    """The names that a pattern is made of; none where it leads out of the workspace."""
    parts = [part for part in glob.split("/") if part not in ("", ".")]
    return [] if glob.startswith("/") or ".." in parts else parts


def is_meant(name: str, part: str) -> bool:
    """Whether a name matches one part of a pattern, as in the shell: a leading dot is matched by a dot only."""
    return fnmatchcase(name, part) and (name[:1] != "." or part[:1] == ".")


# --- files ----------------------------------------------------------------------------------------------------------


def found(directory: int, parts: list[str], path: str = "") -> Iterator[tuple[int, str]]:
    """Open files below an open directory that a pattern means, each with its path; of a directory all files below it."""
    if parts and not WILD & set(parts[0]):
        names = [parts[0]]
    else:
        names = [name for name in sorted(os.listdir(directory)) if not parts or is_meant(name, parts[0])]
    for name in names:
        with contextlib.suppress(OSError):  # gone, a link, or not to be read
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                mode = os.fstat(fd).st_mode
                if stat.S_ISDIR(mode):
                    yield from found(fd, parts[1:], f"{path}{name}/")
                elif stat.S_ISREG(mode) and len(parts) <= 1:
                    yield fd, path + name
            finally:
                os.close(fd)


def stored(fd: int, store: Path) -> tuple[str, int]:
    """Copy an open file into the store, on disk when this returns: its sha256 and bytes."""
    beside = store / f".{os.getpid()}"
    target = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o400)
    digest, size = hashlib.sha256(), 0
    try:
        while piece := os.read(fd, PIECE):
            digest.update(piece)
            size += len(piece)
            while piece:
                piece = piece[os.write(target, piece) :]
        os.fsync(target)
    finally:
        os.close(target)
    os.rename(beside, store / digest.hexdigest())  # where it is already, these are the same bytes
    return digest.hexdigest(), size


def kept(workspace: Path, globs: Iterable[str], store: Path, path: str) -> list[Row]:
    """The files of a workspace that these patterns mean, in the store now; `path` is what their names in it are put behind."""
    rows: dict[str, Row] = {}
    store.mkdir(mode=0o700, exist_ok=True)
    top = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for glob in globs:
            parts = parts_of(glob)
            for fd, name in found(top, parts) if parts else ():
                if name not in rows and is_text(name):
                    digest, size = stored(fd, store)
                    rows[name] = (digest, str(size), f"{path}/{name}")
    finally:
        os.close(top)
    directory = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    return list(rows.values())


def is_text(name: str) -> bool:
    """Whether a file's name can stand in a document."""
    try:
        name.encode()
    except UnicodeEncodeError:
        sys.stderr.write(f"cit-run: warning: not kept, its name is no UTF-8: {name!r}\n")
        return False
    return True


def log_row(log: str) -> list[Row]:
    """The log as an artefact; none where there is no log."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(log, "rb", 0) as stream:
            while piece := stream.read(PIECE):
                digest.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return []
    return [(digest.hexdigest(), str(size), f"work/{os.path.basename(log)}")]


def rows_of(record: str) -> list[Row] | None:
    """The rows that this step left in a record; None where it was not run to its end."""
    try:
        with open(f"{record}/artefacts", "rb") as stream:
            return [(row[0], row[1], row[2]) for row in body.rows(stream.read())]
    except FileNotFoundError:
        return None


def main() -> None:
    """The step after a job: ACCOUNT COPY-NAME WORKSPACE as arguments."""
    account, own, workspace = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    record, log = account / "work" / f"{own}.run", account / "work" / f"{own}.log"
    globs = [row[0] for row in body.rows((record / "keep").read_bytes())] if (record / "keep").exists() else []
    rows = kept(workspace, globs, account / "store", f"work/{own}") if globs else []
    beside = record / ".artefacts"
    beside.write_bytes(body.tsv([*log_row(str(log)), *rows]))
    os.rename(beside, record / "artefacts")
