"""Environment control: what a job is built with, told by its build system, decides what is built anew (docs/howto/workspaces.md).

Reads: `environment` of RECORD/job.cit, a command that prints a line COMPONENT TAB KEY TAB VALUE for all that it is built with; `before` in the
record (reuse.py), and `components` in the record that it names. Writes: `components` in the record, rows for the `environment` section,
RECORD/why when it fails. What else the command prints goes to the job's log.
As a step between checkout and program: RECORD WORKSPACE. Exits 0; 125 where the command fails, or a tool that a component needs is missing.
How: in the directory in which the job starts, with its variables. In an incremental build the directory of each component of which a row is
another than in the build before is cleaned; where it has no directory of its own, all is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from . import recorded, reuse
from .checkout import FAILED_HERE, INPUT, tell
from .cit_format import body, clock, masks, messages, reader
from .cit_format.document import Document
from .cit_format.errors import CONFIG, DATA, CitError
from .git import Git
from .plan import Tree, planned
from .removal import removed

FILE = "components"  # in the record: the rows, TSV: component, key, value
LIMIT = 10 * clock.MINUTE  # in which the command has to end, where the job has no shorter time limit
TOOL, BUILDDIR = "tool", "builddir"  # keys with a meaning
LINE = 4096  # bytes of a row that are taken
ROWS = 10_000

Row = tuple[str, str, str]


class Verdict(NamedTuple):
    """Whether a component is built anew, why, and whether the build before did not know it."""

    component: str
    is_anew: bool
    why: str
    is_new: bool = False


# --- decisions ------------------------------------------------------------------------------------------------------


def rows_of(said: bytes) -> tuple[list[Row], list[str]]:
    """The rows that a command printed, and its other lines, which have no TAB; 65 for a line with another number of columns."""
    rows: list[Row] = []
    others = []
    for number, line in enumerate(said.decode("utf-8", "replace").splitlines(), 1):
        columns = line.split("\t")
        if len(columns) == 1:
            others.append(line)
            continue
        component, key = columns[0].strip(), columns[1].strip() if columns[1:] else ""
        if len(columns) != 3 or not component or not key or len(line) > LINE:
            raise CitError(DATA, f"its line {number} is not COMPONENT TAB KEY TAB VALUE: {messages.clean(line)[:80]!r}", "one line a row")
        rows.append((component, key, columns[2].strip()))
    if not rows or len(rows) > ROWS:
        raise CitError(DATA, f"it printed {len(rows) or 'no'} rows", f"one to {ROWS} lines COMPONENT TAB KEY TAB VALUE")
    return rows, others


def by_component(rows: list[Row]) -> dict[str, dict[str, str]]:
    """What each component is built with; a key that comes again adds to it."""
    found: dict[str, dict[str, str]] = {}
    for component, key, value in rows:
        mine = found.setdefault(component, {})
        mine[key] = f"{mine[key]}, {value}" if key in mine else value
    return found


def digest(keys: dict[str, str]) -> str:
    """The digest of what a component is built with: rows in the order of their keys, TSV."""
    return hashlib.sha256(body.tsv(sorted(keys.items()))).hexdigest()


def verdicts(then: list[Row], now: list[Row]) -> list[Verdict]:
    """What is built anew, by what the build before was built with."""
    before, found = by_component(then), []
    for component, keys in by_component(now).items():
        if component in before:
            why = reuse.unlike(before[component], keys)
            found.append(Verdict(component, bool(why), why or "built with the same"))
        else:
            found.append(Verdict(component, True, "it was not told before", True))
    return found


def directory_of(component: str, keys: dict[str, str]) -> str:
    """Where a component is built, below the directory in which the command runs: its row `builddir`, else the component's own name. 65 where
    that leads out."""
    path = keys.get(BUILDDIR, component)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        if BUILDDIR not in keys:
            return ""
        raise CitError(DATA, f"{component} has builddir {path[:80]!r}", "a directory below the one in which the job starts, without .. in it")
    return "/".join(parts) or "."


# --- the machine ----------------------------------------------------------------------------------------------------


def with_tools(rows: list[Row]) -> list[Row]:
    """The rows, in place of each `tool` NAME the file that it is here: path, size, time of the last change; 78 for one that is not here."""
    found = []
    for component, key, value in rows:
        if key != TOOL:
            found.append((component, key, value))
            continue
        path = shutil.which(value)
        if path is None:
            raise CitError(CONFIG, f"{component} needs the tool {value[:80]}, which is not here", "install it on this builder, or see its PATH")
        status = os.stat(path)
        found.append((component, f"{TOOL} {value}", f"{path} {status.st_size} {clock.iso(status.st_mtime_ns // 1000)}"))
    return found


def asked(command: str, directory: str, limit: int) -> bytes:
    """What the command prints; 78 where it does not end well. Its errors go to the log, which is our own stdout."""
    os.makedirs(directory, exist_ok=True)
    started = subprocess.Popen(["/bin/sh", "-c", command], cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    try:
        said, _ = started.communicate(timeout=limit / clock.SECOND)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        raise CitError(CONFIG, f"it has not ended within {clock.duration_text(limit)}", "it only tells what there is") from None
    if started.returncode:
        sys.stdout.buffer.write(said)
        sys.stdout.flush()
        how = f"signal {-started.returncode}" if started.returncode < 0 else f"status {started.returncode}"
        raise CitError(CONFIG, f"it ended with {how}", "what it printed is in the log")
    return said


def cleaned(workspace: str, path: str, trees: list[Tree]) -> None:
    """Remove what was built at `path` below the workspace: of a git tree all that is not the tree's own, else all that is there."""
    inside = [tree for tree in trees if tree.path == path or path == "." or tree.path.startswith(f"{path}/")]
    around = [tree for tree in trees if tree.path == "." or path.startswith(f"{tree.path}/") or tree.path == path]
    git = Git(1)
    for tree in inside:
        git.must(Path(workspace, tree.path), "clean", "-q", "-f", "-d", "-x", "-e", "/.cit", "--", ".")
    if around:
        nearest = max(around, key=lambda tree: len(tree.path))
        if nearest not in inside:
            git.must(Path(workspace, nearest.path), "clean", "-q", "-f", "-d", "-x", "--", os.path.relpath(path, nearest.path))
    elif not inside:
        removed(f"{workspace}/{path}")


def all_cleaned(workspace: str, trees: list[Tree]) -> None:
    """Remove all that was built in a workspace."""
    tops = {tree.path.split("/")[0] for tree in trees}
    if "." in tops:
        cleaned(workspace, ".", trees)
        return
    for name in os.listdir(workspace):
        if name != ".cit" and name not in tops:
            removed(f"{workspace}/{name}")
    for top in tops:
        cleaned(workspace, top, trees)


# --- the step -------------------------------------------------------------------------------------------------------


def told(job: Document, record: Path, workspace: str) -> list[tuple[str, str]]:
    """Ask, compare, clean: the rows for the `environment` section."""
    said = job.table("job")
    command, time, below = str(said["environment"]), said.get("time"), str(said.get("builddir", "."))
    limit = min(LIMIT, clock.duration(time)) if isinstance(time, str) else LIMIT
    rows, others = rows_of(without_secrets(asked(command, os.path.join(workspace, below), limit)))
    for line in others:
        tell(1, f"environment: {line}")
    rows = with_tools(rows)
    (record / FILE).write_bytes(body.tsv(rows))
    known = by_component(rows)
    shown = [(f"component {component} {key}", value) for component, keys in known.items() for key, value in keys.items()]
    shown += [(f"digest {component}", digest(keys)) for component, keys in known.items()]
    base = reuse.before(str(record)).record
    if base:
        for each in built(workspace, below, verdicts(remembered(record.parent / base), rows), known, planned(job).trees):
            word = f"{'clean' if each.is_anew else 'incremental'}, {each.why}"
            tell(1, f"component {each.component}: {word}")
            shown.append((f"built {each.component}", word))
    return shown


def built(workspace: str, below: str, found: list[Verdict], known: dict[str, dict[str, str]], trees: list[Tree]) -> list[Verdict]:
    """Clean what is built anew; all, where a component is that has no directory of its own. What is built how in the end."""
    places = {each.component: place_of(workspace, below, each.component, known[each.component]) for each in found}
    for each in found:
        if each.is_anew and not each.is_new and not places[each.component]:
            all_cleaned(workspace, trees)
            why = f"{each.component} changed and has no directory of its own"
            return [other if other.is_anew else Verdict(other.component, True, why) for other in found]
    for each in found:
        if each.is_anew and places[each.component]:
            cleaned(workspace, places[each.component], trees)
    return found


def without_secrets(said: bytes) -> bytes:
    """The same with asterisks where a secret of the job stood: it is signed and shown."""
    return masks.hidden(said, masks.values(masks.contents(os.environ["CIT_SECRETS"]).values())) if "CIT_SECRETS" in os.environ else said


def place_of(workspace: str, below: str, component: str, keys: dict[str, str]) -> str:
    """Where a component was built, below the workspace; empty where there is no such directory, or it lies elsewhere."""
    path = directory_of(component, keys)
    place = os.path.realpath(os.path.join(workspace, below, path))
    top = os.path.realpath(workspace)
    if not path or not os.path.isdir(place) or place != top and not place.startswith(f"{top}/"):
        return ""
    return os.path.relpath(place, top)


def remembered(record: Path) -> list[Row]:
    """The rows of a build before; none where it had no such command, so that all that there is counts as new."""
    return [(row[0], row[1], row[2]) for row in recorded.rows(f"{record}/{FILE}", recorded.WHOLE) if len(row) > 2]


def main() -> None:
    """`RECORD WORKSPACE`."""
    record, workspace = Path(sys.argv[1]), sys.argv[2]
    job = reader.parse((record / INPUT).read_bytes())
    try:
        found = told(job, record, workspace)
    except (CitError, OSError) as error:
        what = error.what if isinstance(error, CitError) else str(error)
        sentence = f"environment ({str(job.table('job')['environment'])[:60]}): {what}"
        tell(1, sentence)
        (record / "why").write_bytes(body.row(sentence))
        sys.exit(FAILED_HERE)
    reuse.noted(record, found)
