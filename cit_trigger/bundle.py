"""Commits that a remote lacks as a git bundle, and changes that are in no commit as a patch (docs/format/source.md)."""

from __future__ import annotations

from typing import NamedTuple

from .git import git

DIFF = ["diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-relative"] + [
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "--ignore-submodules=all",
]  # whatever this person has set for reading diffs


class Lacking(NamedTuple):
    """Commits that a remote lacks, and the ones that it has on which they build."""

    commits: list[str]
    boundary: list[str]


class Patch(NamedTuple):
    """A patch, and how many files and lines it touches."""

    text: bytes
    files: int
    lines: int


def lacking(directory: str, commit: str, remote: str) -> Lacking:
    """The commits up to this one that are in no remote-tracking ref of the remote; without one, all."""
    beyond = ["--not", f"--remotes={remote}"] if remote else []
    listed = git(directory, "rev-list", "--boundary", commit, *beyond, "--").decode().split()
    return Lacking([line for line in listed if line[0] != "-"], [line[1:] for line in listed if line[0] == "-"])


def packed(directory: str, commit: str, wanted: Lacking) -> bytes:
    """The bundle of these commits, its one ref HEAD. (`git bundle create` wants a ref of the repository, which a submodule's commit may not have.)"""
    revisions = "".join(f"{line}\n" for line in (commit, *(f"^{each}" for each in wanted.boundary)))
    pack = git(directory, "pack-objects", "--quiet", "--stdout", "--revs", "--thin", "--delta-base-offset", given=revisions.encode())
    version = "# v3 git bundle\n@object-format=sha256\n" if len(commit) == 64 else "# v2 git bundle\n"
    head = "".join(f"-{each}\n" for each in wanted.boundary)
    return f"{version}{head}{commit} HEAD\n\n".encode() + pack


def patch(directory: str, commit: str) -> Patch:
    """What is changed in tracked files since a commit, staged or not; empty where nothing is."""
    text = git(directory, *DIFF, commit, "--")
    if not text:
        return Patch(b"", 0, 0)
    counted = git(directory, "apply", "--numstat", "-z", "-", given=text).split(b"\0")
    entries = [entry.split(b"\t", 2) for entry in counted if entry.count(b"\t") >= 2]
    return Patch(text, len(entries), sum(int(count) for entry in entries for count in entry[:2] if count != b"-"))
