"""Restart: a job runs on in the workspace of another one, as a person has changed that by hand (docs/howto/restart-and-publish.md).

    cit-run changes COPY-NAME    what is changed in the sources of that job's workspace, as `change` sections to stdout, for who signs the restart

Reads: `restart` of the job section: the COPY of the job whose workspace it is; the record of that job. As a step before the program
(RECORD WORKSPACE): RECORD/job.cit. Writes: rows for the `environment` section; RECORD/why where it cannot be.
Exits: 0; 66 the workspace, or what is known of it, is gone; 75 it still runs; as a step 125.
How: each source tree is compared with the commit that the job was for; of files that git does not know those count that are younger than the end of
that job. Nothing is checked out, and the signed changes must be what is found, byte for byte: so the document tells what was run.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from . import held, recorded, reuse, workspace
from .checkout import FAILED_HERE, INPUT, tell
from .cit_format import body, document, names, reader
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, LATER, NOT_FOUND, CitError
from .cit_format.spool import Lock
from .git import Git
from .plan import Tree, figures, planned, rows, signed
from .shim import is_running, read_status
from .workspace import Place

DIFF = ("diff", "--cached", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--ignore-submodules=all")
INDEX = "cit.index"  # in .git: an index of our own, so that a look changes nothing

# --- the workspace --------------------------------------------------------------------------------------------------


def target_of(job: Document) -> str:
    """COPY-NAME of the job in whose workspace this one is to run; 65 where it says something else."""
    own = f"{job.table('job').get('restart', '')}-{job.name}"
    if names.parse(f"{own}.cit") is None:
        raise CitError(DATA, f"restart says {own[:80]!r}", "ID[_TASK][.aN] of the job whose workspace it is: cit restart writes it", job.label)
    return own


def record_of(work: str, own: str) -> tuple[str, str, int]:
    """The record, the directory of its name and the slot of a job whose workspace is still its own; 66 where it is not."""
    try:
        folder, _, number = os.readlink(f"{work}/{own}").partition("/")
        found = workspace.last_record(work, f"{work}/{folder}", int(number))
    except (OSError, ValueError):
        found = ""
    if found != f"{work}/{own}.run":
        raise CitError(NOT_FOUND, f"the workspace of {own} is gone", "a later build has it; make the change a commit, and push that")
    return found, f"{work}/{folder}", int(number)


def document_of(record: str) -> Document:
    """The job that a record is of; 66 where it does not have it."""
    raw = recorded.read(f"{record}/{INPUT}", recorded.WHOLE)
    if raw is None:
        raise CitError(NOT_FOUND, f"{os.path.basename(record)} does not say of which sources it was", "cit requeue runs it anew")
    return reader.parse(raw)


def taken(work: str, own: str, job: Document, files: dict[str, bytes]) -> tuple[Place | None, str]:
    """Take over the workspace that the job names; None, and why, where it cannot have it."""
    try:
        target = target_of(job)
        folder, _, number = (os.readlink(f"{work}/{own}") if os.path.islink(f"{work}/{own}") else os.readlink(f"{work}/{target}")).partition("/")
        home = f"{work}/{folder}"
        with Lock(f"{home}/.lock"):
            if workspace.last_record(work, home, int(number)) != f"{work}/{own}.run":  # else a killed pass has taken it for us
                record_of(work, target)
                if is_running(f"{work}/{target}.run"):
                    raise CitError(LATER, f"{target} still runs", "cit cancel it first")
            if reuse.owner(document_of(f"{work}/{target}.run")) != reuse.owner(job):
                raise CitError(DENIED, f"the workspace of {target} is another submitter's, or for another queue", "everybody restarts their own")
            made = workspace.place(work, own, f"{home}/{number}")
            workspace.owned(made, home, own, int(number))
            workspace.recorded(made, job.name, int(number), files)
            for old in (f"{work}/{target}", f"{work}/{target}.run/{held.HOLD}"):  # once we can be found: a kill before leaves both
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(old)
    except CitError as error:
        return None, error.what
    except (OSError, ValueError):
        return None, f"the workspace of {job.table('job').get('restart')} is gone: a later build has it"
    return made, ""


# --- what was changed -----------------------------------------------------------------------------------------------


def changes(place: Path, trees: list[Tree], since: int, out: int) -> Iterator[bytes]:
    """A `change` section for each tree in which something is another than in its commit; `since` is when the job ended (microseconds)."""
    for tree in trees:
        git = Git(out)
        directory = place / tree.path
        index = directory / ".git" / INDEX
        if not index.parent.is_dir():
            raise CitError(NOT_FOUND, f"{tree.path} is no git tree any more", "its changes cannot be told; cit requeue builds it anew")
        git.environment["GIT_INDEX_FILE"] = str(index)
        try:
            index.write_bytes((index.parent / "index").read_bytes())
            git.must(directory, "add", "-u", "--", ".")
            new = [path for path in git.said(directory, b"", "ls-files", "-z", "--others", "--exclude-standard").split(b"\0") if path]
            young = [path for path in new if is_young(os.path.join(os.fsencode(directory), path), since) and path != b".cit"]
            if young:
                given = b"\0".join(young) + b"\0"
                git.said(directory, given, "--literal-pathspecs", "add", "--pathspec-from-file=-", "--pathspec-file-nul")
            text = git.said(directory, b"", *DIFF, tree.commit, "--")
            if text:
                files, lines = figures(git.said(directory, text, "apply", "--numstat", "-z", "-"))
                said = {"path": tree.path, "base": tree.commit, "files": str(files), "lines": str(lines)}
                yield document.section("change", "diff", text, **said)
        except FileNotFoundError as error:
            raise CitError(NOT_FOUND, f"{error.filename} is missing", "its changes cannot be told; cit requeue builds it anew") from None
        finally:
            index.unlink(missing_ok=True)


def is_young(path: bytes, since: int) -> bool:
    """Whether a file was made or changed since then."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)) and status.st_ctime_ns // 1000 > since


def ended_at(record: str) -> int:
    """When the job of a record ended (microseconds); 75 while it has not."""
    status = read_status(record)
    if status is None or status.ending is None:
        if is_running(record):
            raise CitError(LATER, f"{os.path.basename(record)[: -len('.run')]} still runs", "cit cancel it, or wait: cit wait")
        return status.begun if status else 0  # its shim was killed
    return status.ending.ended


# --- the step -------------------------------------------------------------------------------------------------------


def verified(record: Path, place: Path) -> list[tuple[str, str]]:
    """See that the changes that the job's author signed are those that are there: rows for the `environment` section."""
    job = reader.parse((record / INPUT).read_bytes())
    target, plan = target_of(job), planned(job)
    found = list(changes(place, plan.trees, ended_at(f"{record.parent}/{target}.run"), 1))
    asked = [job.raw[each.start : each.end] for each in signed(job) if each.kind == "change"]
    if found != asked:
        raise CitError(DATA, "the workspace is not as it was when the restart was asked for", "cit restart it again")
    if plan.config:
        (record / "config.tsv").write_bytes(plan.config)
    files, lines = sum(each.files for each in plan.patches), sum(each.lines for each in plan.patches)
    tell(1, f"workspace: restart, in that of {target}, as it stands; by hand: lines: {lines}, files: {files}")
    return [("workspace", "restart"), ("workspace why", f"in that of {target}, changed by hand: lines: {lines}, files: {files}"), *rows(plan.trees)]


def main() -> None:
    """`RECORD WORKSPACE`."""
    record, place = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        reuse.noted(record, verified(record, place))
    except (CitError, OSError) as error:
        what = f"restart: {error.what if isinstance(error, CitError) else error}"
        tell(1, what)
        (record / "why").write_bytes(body.row(what))
        sys.exit(FAILED_HERE)


# --- the command ----------------------------------------------------------------------------------------------------


def told(account: str, own: str) -> bytes:
    """The `change` sections of the workspace of a job."""
    record, _, _ = record_of(f"{account}/work", own)
    since = ended_at(record)
    return b"".join(changes(Path(os.path.realpath(f"{account}/work/{own}")), planned(document_of(record)).trees, since, 2))
