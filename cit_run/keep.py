"""What outlives a job: its log, and the files that it asked to keep, which are copied into store/ by their sha256.

Reads: the workspace, and `keep` in the record, as the job's section has it. Writes: store/SHA256, and `artefacts` in the record: TSV rows of the
`artefact` section. Run by the shim when nothing of the job is left, in its slot's time: files may be large.
No link is followed: what a job's workspace does not hold itself is not kept.
What is for some only (sealing.py) is encrypted; `sealed` in the record are the rows until nothing else is left, then they are `artefacts`.
Pages: docs/stages/run.md, docs/format/needs-keep.md, docs/format/environment-artefact-result.md
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import own_record, public, recorded, sealing, service, storing
from .cit_format import body, messages
from .cit_format.errors import IO, CitError
from .cit_format.globs import WILD, is_meant, matches, parts_of
from .cit_format.parts import FOLDER, opened, plain
from .cit_format.store import locked
from .naming import stashed_by
from .removal import removed
from .storing import PIECE, stored

if TYPE_CHECKING:
    from .cit_format.document import Document
    from .cit_format.seal import Recipient
    from .workspace import Place

SUFFIX = ".age"  # of what is encrypted

Row = tuple[str, str, str]  # sha256, bytes, path below the account's directory
For = Callable[[str], "list[Recipient]"]  # to whom a file is encrypted


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


def kept(workspace: str, globs: Iterable[str], store: Path, path: str, whose: For, given: Iterable[str] = ()) -> list[Row]:
    """The files of a workspace that these patterns mean, in the store now; `path` is what their names in it are put behind. With `given` only
    those that one of these means, too."""
    rows: dict[str, Row] = {}
    store.mkdir(mode=0o700, exist_ok=True)
    top = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for parts in map(parts_of, globs):
            for fd, name in found(top, parts) if parts is not None else ():
                if name not in rows and is_text(name) and (not given or any(matches(name, glob) for glob in given)):
                    to = whose(name)
                    digest, size = stored_sealed(fd, store, to) if to else stored(fd, str(store))
                    rows[name] = (digest, str(size), f"{path}/{name}{SUFFIX if to else ''}")
    finally:
        os.close(top)
    synced(store)
    return list(rows.values())


def stored_sealed(fd: int, store: Path, to: list[Recipient]) -> tuple[str, int]:
    """The same, encrypted; sha256 and bytes are those of the encrypted file."""
    beside = storing.beside(str(store))
    sink = sealing.encrypted(fd, beside, to)
    with locked(str(store)):
        os.rename(beside, store / sink.digest.hexdigest())
    return sink.digest.hexdigest(), sink.size


def synced(directory: str | Path) -> None:
    """The names in a directory are on disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_text(name: str) -> bool:
    """Whether a file's name can stand in a document."""
    try:
        name.encode()
    except UnicodeEncodeError:
        sys.stderr.write(f"cit-run: warning: not kept, its name is no UTF-8: {name!r}\n")
        return False
    return True


def log_rows(log: str, record: str | Path) -> list[Row]:
    """The log, the public view that lies beside it, and the logs that parts have of their own, as artefacts; none where there is none."""
    rows = []
    for path in (log, public.path_of(log), cast_of(log)):
        with contextlib.suppress(OSError):
            rows.append(log_row(plain(path, os.O_RDONLY), f"work/{os.path.basename(path)}"))
    for path in own_record.logs(str(record)) if not public.is_wanted(str(record)) else ():
        with contextlib.suppress(OSError):
            rows.append(log_row(opened(record, path), f"work/{os.path.basename(record)}/{FOLDER}/{path}"))
    return rows


def cast_of(log: str) -> str:
    """Where the recording of the job's terminal lies that belongs to a log."""
    return f"{log[: -len('.log')]}.cast"


def log_row(fd: int, path: str) -> Row:
    """An open log as an artefact."""
    digest, size = hashlib.sha256(), 0
    with open(fd, "rb", 0) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return (digest.hexdigest(), str(size), path)


def log_sealed(log: str, record: Path, to: list[Recipient]) -> list[Row]:
    """The encrypted log (or recording) as an artefact; it lies beside the log now."""
    beside = f"{record}/.log{SUFFIX}"
    sink = sealing.log(log, beside, to)
    if sink is None:
        return []
    os.rename(beside, f"{log}{SUFFIX}")
    synced(os.path.dirname(log))
    return [(sink.digest.hexdigest(), str(sink.size), f"work/{os.path.basename(log)}{SUFFIX}")]


def rows_of(record: str | Path, name: str = "artefacts") -> list[Row] | None:
    """The rows that this step left in a record; None where it was not run to its end."""
    raw = recorded.read(f"{record}/{name}", recorded.WHOLE)
    try:
        return [(row[0], row[1], row[2]) for row in body.rows(raw)] if raw is not None else None
    except (CitError, ValueError, IndexError):
        return None


def written(path: Path, rows: list[Row]) -> None:
    """Rows in a file of the record, whole or not at all."""
    beside = path.with_name(f".{path.name}")
    with open(beside, "wb") as stream:
        stream.write(body.tsv(rows))
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(beside, path)
    synced(path.parent)


# --- the step -------------------------------------------------------------------------------------------------------


def leave(account: Path, own: str, workspace: str) -> None:
    """Keep what an attempt (`COPY-NAME`) has left. What is for some only is the only copy then; killed at any moment, it can be done again."""
    work, record, log = f"{account}/work", account / "work" / f"{own}.run", f"{account}/work/{own}.log"
    whose = sealing.rows(work, own)
    globs = [row[0] for row in recorded.rows(f"{record}/keep", recorded.WHOLE) if row]
    globs = globs if os.path.isdir(workspace) else []
    if not whose:
        rows = kept(workspace, globs, account / "store", f"work/{own}", lambda _: []) if globs else []
        written(record / "artefacts", [*log_rows(log, record), *rows])
        return
    from .cit_format import reply

    if not record.is_dir():  # killed before it was laid out, or cleaned away since
        removed(log)
    if not record.is_dir() or (record / "artefacts").exists():
        sealing.over(work, own)
        return
    sealed = rows_of(record, "sealed")
    if sealed is None:
        rows = service.answered(record, own)
        if globs and not rows:
            rows = kept(workspace, globs, account / "store", f"work/{own}", lambda name: reply.recipients(whose, name), service.portions(record))
        to = reply.of_log(whose)  # last, so that what was said of the others is in it
        sealed = [*([*log_sealed(log, record, to), *log_sealed(cast_of(log), record, to)] if to else log_rows(log, record)), *rows]
        written(record / "sealed", sealed)
    names = [path[len(f"work/{own}/") : -len(SUFFIX)] for _, _, path in sealed if path.endswith(SUFFIX) and path.startswith(f"work/{own}/")]
    sealing.cleared(workspace, [name for name in names if reply.recipients(whose, name)], reply.is_all(whose))
    if reply.of_log(whose):
        removed(log)
        removed(f"{record}/log")
        removed(cast_of(log))
        own_record.cleared(str(record))
    os.rename(record / "sealed", record / "artefacts")
    sealing.over(work, own)


def left_by(job: Document, place: Place) -> list[Row]:
    """What a job that has ended has left, as the step noted it; what it did not seal is sealed now. 65, 74, 78 where it cannot be."""
    from .cit_format import reply

    rows, text = rows_of(place.record), reply.text(job)
    if rows is None and text:
        work, own = os.path.split(place.link)
        try:
            sealing.note(work, own, text)
            leave(Path(work).parent, own, place.workspace)
        except OSError as error:
            hint = "its end is not written down before; make room, and start cit-run again"
            raise CitError(IO, f"its results are not sealed yet: {error.strerror or error}", hint, job.label) from None
        rows = rows_of(place.record)
    elif rows is None and os.path.exists(f"{place.record}/keep"):  # its shim was killed before this step
        work, own = os.path.split(place.link)
        try:
            leave(Path(work).parent, own, place.workspace)
        except OSError as error:
            messages.tell("warning", f"its files are not kept: {error.strerror or error}", job.label)
        rows = rows_of(place.record)
    left = log_rows(place.log, place.record) if rows is None else rows
    return [*left, *stashed_by(place.record)]


def main() -> None:
    """The step after a job: ACCOUNT COPY-NAME WORKSPACE as arguments."""
    sys.exit(messages.guarded("cit-run", lambda: leave(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
