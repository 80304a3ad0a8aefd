"""A job's sources, laid into its workspace before it starts, by the builder.

Reads: source, bundle, files, change, config before the first signature. As a step of its own: RECORD/job.cit.
Writes: git trees at exact commits, files and patches below the workspace; RECORD/config.tsv, which the job sees as .cit/config.tsv;
what git prints to the job's log. As a step: RECORD/environment (rows for that section), RECORD/why when it fails.
Exits as a step: 0; 125 and a line in the log when anything of it fails: then the job does not start.
How: bundles are verified first, a remote is asked for the rest by exact commit; then files, then patches.
Nothing of a job reaches git as an option, a transport or a hook. Costs nothing where a job has none of these sections.
Pages: docs/stages/run.md, docs/format/source.md, docs/format/env-config-files.md
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import unpack
from .cit_format import body, messages, reader
from .cit_format.document import Document
from .cit_format.errors import DATA, IO, UNREACHABLE, CitError
from .git import Git
from .plan import COMMIT, NONE, Patch, Plan, Tree, figures, planned, prerequisites, rows
from .plan import needed as needed

INPUT = "job.cit"  # the job in its record, for the step
FAILED_HERE = 125

# --- one job --------------------------------------------------------------------------------------------------------


def checkout(job: Document, workspace: Path, log: Path) -> list[tuple[str, str]]:
    """Lay out what a job asks for; what git prints goes to the end of `log`. Rows for the record; CitError where it fails."""
    if not needed(job):
        return []
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return laid_out(planned(job), workspace, out)
    finally:
        os.close(out)


def laid_out(plan: Plan, workspace: Path, out: int) -> list[tuple[str, str]]:
    """Trees, then files, then patches; `out` is where it is told, a descriptor."""
    record = os.path.realpath(workspace / ".cit")  # asked first: a tree may bring a `.cit` of its own
    git = Git(out)
    top = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for each in plan.trees:
            tell(out, f"source {each.path}: {each.commit} ({each.ref}) of {each.url}")
            with unpack.opened(top, [part for part in each.path.split("/") if part != "."]):
                grown(git, each, plan.bundles.get(each.path), workspace / each.path)
        for archive in plan.archives:
            tell(out, f"files: {unpack.unpacked(archive, top)} laid out")
    finally:
        os.close(top)
    for change in plan.patches:
        applied(git, change, workspace / change.path)
        tell(out, f"change {change.path}: lines: {change.lines}, files: {change.files}")
    if plan.config:
        os.makedirs(record, exist_ok=True)
        Path(record, "config.tsv").write_bytes(plan.config)
    return rows(plan.trees)


def grown(git: Git, tree: Tree, bundle: bytes | None, place: Path) -> None:
    """One tree at its commit; a build before may have left the repository there."""
    if os.path.islink(place / ".git") or os.path.isfile(place / ".git"):
        raise CitError(DATA, f"{tree.path}/.git is no directory", "a build before has changed it: build with a clean workspace")
    git.must(place, "init", "--quiet", "--template=", f"--object-format={'sha256' if len(tree.commit) == 64 else 'sha1'}")
    (place / ".git" / "info").mkdir(exist_ok=True)
    (place / ".git" / "info" / "exclude").write_text("/.cit\n")
    if tree.url != NONE:
        git.must(place, "config", "remote.origin.url", tree.url)
    if not has(git, place, [tree.commit]):
        if bundle is None:
            fetch(git, place, tree, [tree.commit])
        else:
            unbundle(git, place, tree, bundle)
    if not has(git, place, [tree.commit]):
        what = f"commit {tree.commit} is not {'in the bundle' if bundle is not None else f'at {tree.url}'}"
        raise CitError(UNREACHABLE, what, "has the branch been rewritten since? push it to the remote, then push the job again")
    git.must(place, "checkout", "--quiet", "--force", "--detach", tree.commit, "--")


def has(git: Git, place: Path, commits: list[str]) -> bool:
    """Whether a repository has all of these commits."""
    said = git.said(place, "".join(f"{commit}\n" for commit in commits).encode(), "cat-file", "--batch-check=%(objecttype)")
    return said == b"commit\n" * len(commits)


def fetch(git: Git, place: Path, tree: Tree, commits: list[str]) -> None:
    """Get commits from the tree's remote, by their names; from a server that does not give them so, all branches and tags."""
    if tree.url == NONE:
        raise CitError(DATA, "the bundle builds upon commits that are nowhere else", "bundle the whole history, or name a remote")
    asked = ["fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    by_name = [f"+{commit}:refs/remotes/origin/cit-{number}" for number, commit in enumerate(commits)]  # so that a push from the job knows them
    if git.tried(place, *asked, "--", tree.url, *by_name):
        return
    tell(git.out, "not given by its name: all branches and tags are fetched")
    if not git.tried(place, *asked, "--", tree.url, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/cit/tags/*"):
        raise CitError(UNREACHABLE, f"cannot fetch from {tree.url}", "git says why in the log; can this account read it: git ls-remote")


def unbundle(git: Git, place: Path, tree: Tree, bundle: bytes) -> None:
    """Take over the commits of a bundle, after what it builds upon."""
    wanted = prerequisites(bundle)
    if not all(COMMIT.fullmatch(commit) for commit in wanted):
        raise CitError(DATA, "the bundle has a malformed head", "git bundle create makes it")
    if wanted and not has(git, place, wanted):
        fetch(git, place, tree, wanted)
    file = place / ".git" / "cit.bundle"
    file.write_bytes(bundle)
    try:
        git.must(place, "bundle", "verify", "--quiet", str(file))
        git.must(place, "bundle", "unbundle", str(file))
    finally:
        file.unlink()


def applied(git: Git, change: Patch, place: Path) -> None:
    """Apply a patch to its tree, in index and files; 65 where it is not what its attributes say."""
    found = figures(git.said(place, change.text, "apply", "--numstat", "-z", "-"))
    if found != (change.files, change.lines):
        what = f"the change for {change.path!r} says {change.files} files and {change.lines} lines, but has {found[0]} and {found[1]}"
        raise CitError(DATA, what, "a change is shown by these figures, so they must hold")
    git.said(place, change.text, "apply", "--index", "--whitespace=nowarn", "-")


def tell(out: int, text: str) -> None:
    """One line of our own in the job's log."""
    os.write(out, f"cit: {messages.clean(text)}\n".encode("utf-8", "replace"))


# --- the step -------------------------------------------------------------------------------------------------------


def main() -> None:
    """`RECORD WORKSPACE`: a step that the shim runs before the program, its output being the log."""
    record, workspace = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        try:
            found = laid_out(planned(reader.parse((record / INPUT).read_bytes())), workspace, 1)
        except OSError as error:
            raise CitError(IO, f"{error.strerror}: {error.filename}", "is the disk full?") from None
    except CitError as error:
        tell(1, f"source: {error.what}")
        if error.hint:
            os.write(1, f"hint: {messages.clean(error.hint)}\n".encode())
        (record / "why").write_bytes(body.row(f"source: {error.what}"))
        sys.exit(FAILED_HERE)
    with open(record / "environment", "ab") as stream:
        stream.write(body.tsv(found))
