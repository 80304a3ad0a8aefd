"""What a job wants laid into its workspace: its sources, files, patches and settings, as it signed them. Pure.

Reads: source, bundle, files, change, config before the first signature, in version 1. Fails: 65 for what is not in order.
Pages: docs/format/source.md, docs/format/env-config-files.md
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import unpack
from .cit_format.document import Document, Section
from .cit_format.errors import DATA, CitError

SECTIONS = frozenset(["source", "bundle", "files", "change", "config"])
NONE = "-"
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_URL = re.compile(r"(?!-)(?![A-Za-z0-9][A-Za-z0-9+.-]*::)[^\x00-\x1f\x7f]+")  # NAME:: would have git run a program of that name


class Tree(NamedTuple):
    """A row of `source`."""

    path: str
    url: str
    ref: str
    commit: str
    submodule: str


class Patch(NamedTuple):
    """A `change`: the tree that it is for, the figures that it is shown with, and itself."""

    path: str
    files: int
    lines: int
    text: bytes


class Plan(NamedTuple):
    """All that is to be laid out, in order; bundles by the path of their tree."""

    trees: list[Tree]
    bundles: dict[str, bytes]
    archives: list[bytes]
    patches: list[Patch]
    config: bytes


def needed(job: Document) -> bool:
    """Whether a job has anything to be laid out."""
    return any(section.kind in SECTIONS for section in signed(job))


def signed(job: Document) -> list[Section]:
    """The sections before the first signature: what follows has no power here."""
    first = job.find("signature")
    return job.sections[: first.number - 1] if first else job.sections


def rows(trees: list[Tree]) -> list[tuple[str, str]]:
    """The rows of the `environment` section that say what was checked out where."""
    return [(f"source {tree.path}", tree.commit) for tree in trees]


def planned(job: Document) -> Plan:
    """What a job asks for, once it is seen to be in order; else 65."""
    found = [section for section in signed(job) if section.kind in SECTIONS]
    for section in found:
        if section.version != "1":
            raise CitError(DATA, f"section {section.kind} has version {section.version[:20]}", "this program knows version 1", job.label)
    trees = [tree(row) for section in found if section.kind == "source" for row in section.rows()]
    commits = {each.path: each.commit for each in trees}
    if len(commits) != len(trees):
        raise CitError(DATA, "two sources have one path", "each tree has a path of its own", job.label)
    bundles: dict[str, bytes] = {}
    patches = []
    for section in found:
        path = section.attributes.get("path", "")
        if section.kind in ("bundle", "change") and (path not in commits or path in bundles and section.kind == "bundle"):
            raise CitError(DATA, f"a {section.kind} for {path!r}", "it belongs to the one source of this path, a bundle each at most", job.label)
        if section.kind == "bundle":
            bundles[path] = section.body()
        elif section.kind == "change":
            patches.append(patch(section, path, commits[path]))
    archives = [section.body() for section in found if section.kind == "files"]
    return Plan(trees, bundles, archives, patches, b"".join(section.body() for section in found if section.kind == "config"))


def tree(row: list[str]) -> Tree:
    """A row of `source`, checked."""
    if len(row) != len(Tree._fields):
        raise CitError(DATA, f"a source of {len(row)} columns", "they are: path, url, ref, commit, submodule")
    found = Tree(*row)
    parts = unpack.parts_of(found.path)
    if not parts and found.path != "." or found.path != "." and found.path != "/".join(parts) or any(part.lower() == ".git" for part in parts):
        raise CitError(DATA, f"a source for {found.path[:200]!r}", "a path below the workspace, as in lib/zlib, or a dot")
    if not COMMIT.fullmatch(found.commit):
        raise CitError(DATA, f"{found.commit[:80]!r} is no commit", "40 or 64 lower-case hex digits")
    if found.url != NONE and not _URL.fullmatch(found.url):
        raise CitError(DATA, f"the URL {found.url[:200]!r} is not taken", "https, http, ssh, git, file, or a path")
    return found


def patch(section: Section, path: str, commit: str) -> Patch:
    """A `change`, checked against the tree that it is for."""
    said = section.attributes
    if said.get("base") != commit:
        raise CitError(
            DATA, f"the change for {path!r} was made against {said.get('base', '')[:80]}, its source is {commit}", "they are the same commit"
        )
    try:
        return Patch(path, int(said.get("files", "")), int(said.get("lines", "")), section.body())
    except ValueError:
        raise CitError(DATA, f"the change for {path!r} does not say its files and lines", "both are numbers") from None


def prerequisites(bundle: bytes) -> list[str]:
    """The commits that a git bundle builds upon, as its head says."""
    head = bundle.partition(b"\n\n")[0].split(b"\n")
    return [line[1:].split(b" ")[0].decode("ascii", "replace") for line in head if line.startswith(b"-")]


def figures(numstat: bytes) -> tuple[int, int]:
    """Files and lines of a patch, from `git apply --numstat -z`; a binary file counts no lines."""
    entries = [entry.split(b"\t", 2) for entry in numstat.split(b"\0")]
    counted = [entry for entry in entries if len(entry) == 3]
    return len(counted), sum(int(count) for entry in counted for count in entry[:2] if count != b"-")
