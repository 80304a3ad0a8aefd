"""What of a git tree goes with a job: which commits, where they can be fetched, and what no remote has yet.

Reads: the tree around a directory and its submodules, by git. Writes: nothing. Nothing of the tree is changed.
Yields: sections source, bundle, change; notes of what is sent, warnings of what is not.
Fails: 66 where there is no tree or no commit; 65 for what a document cannot hold; what git says otherwise.
How: a commit is fetched by the builder from the remote; commits in none of its remote-tracking refs travel in a bundle.
Pages: docs/format/source.md, docs/howto/push-a-git-tree.md
"""

from __future__ import annotations

import os
from typing import NamedTuple

from . import bundle
from .address import public, resolved
from .cit_format import body, clock, document
from .cit_format.errors import DATA, NOT_FOUND, CitError
from .git import asked, git, records, settings_of
from .wish import fits

NONE = "-"
SHOWN = 3  # names of files that are not sent


class Told(NamedTuple):
    """One message: level, what, hint."""

    level: str
    what: str
    hint: str = ""


class Tree(NamedTuple):
    """A repository whose files are here: its directory, its place in the workspace, its name as a submodule, what is to be built."""

    directory: str
    path: str
    submodule: str
    commit: str
    ref: str
    shallow: bool


class Submodule(NamedTuple):
    """What a commit says of a submodule."""

    name: str
    path: str
    url: str
    commit: str


class Gathered(NamedTuple):
    """All of a push: rows of `source`, the other sections, messages, and the directory below the top in which the person is."""

    rows: list[list[str]]
    sections: list[bytes]
    told: list[Told]
    prefix: str

    def written(self) -> list[bytes]:
        """The sections, `source` first."""
        try:
            return [document.section("source", "tsv", body.tsv(self.rows)), *self.sections]
        except UnicodeEncodeError:
            what = "a path, branch or address of this tree is no UTF-8"
            raise CitError(DATA, what, "documents hold UTF-8 only: rename it, or push without the source: --no-source") from None


def gathered(directory: str, dirty: bool) -> Gathered:
    """What a push of the tree around `directory` sends."""
    tree, prefix = found(directory)
    all_of_it = Gathered([], [], [], prefix)
    add(all_of_it, tree, dirty)
    return all_of_it


# --- trees ----------------------------------------------------------------------------------------------------------


def found(directory: str) -> tuple[Tree, str]:
    """The tree around a directory, and where in it that is. Names with newlines are why git is asked for none."""
    if not os.path.isdir(directory):
        raise CitError(NOT_FOUND, f"{directory}: no such directory", "--source names a git tree")
    hint = "no git tree here? push without one: --no-source"
    answer = git(directory, "rev-parse", "--is-inside-work-tree", "--show-cdup", "--is-shallow-repository", hint=hint).decode().split("\n")
    if answer[0] != "true":
        raise CitError(NOT_FOUND, f"{directory} is no working tree of git", "in a bare repository: --repo URL --ref REF")
    top = os.path.realpath(os.path.join(directory, answer[1]))
    return tree_at(top, ".", NONE, answer[2] == "true"), os.path.relpath(os.path.realpath(directory), top)


def tree_at(top: str, path: str, submodule: str, shallow: bool | None = None) -> Tree:
    """The tree whose files are in `top`, at its HEAD."""
    answer = asked(top, "rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD")
    if answer is None:
        raise CitError(NOT_FOUND, f"{top}: there is no commit yet", "git commit first, or push without the source: --no-source")
    commit, ref = os.fsdecode(answer).split("\n")[:2]
    if shallow is None:
        shallow = git(top, "rev-parse", "--is-shallow-repository") == b"true\n"
    return Tree(top, path, submodule, commit, ref[len("refs/heads/") :] if ref.startswith("refs/heads/") else ref, shallow)


def add(push: Gathered, tree: Tree, dirty: bool) -> None:
    """Add a tree, what its remote lacks, what is changed in it if that is wanted, and its submodules."""
    remote = chosen_remote(tree)
    address = public(remote.url, tree.directory)
    if address.secret:
        push.told.append(Told("note", f"the name and password in the address of {remote.name} are not sent", "the builder uses its own"))
    lacking = bundle.lacking(tree.directory, tree.commit, remote.name if address.url != NONE else "")
    push.rows.append([tree.path, address.url, tree.ref, tree.commit, tree.submodule])
    what = f"{'' if tree.path == '.' else f'{tree.path}: '}commit {tree.commit[:10]} ({tree.ref})"
    if lacking.commits:
        if tree.shallow and not lacking.boundary:
            hint = "git fetch --unshallow, or push the branch to a remote"
            raise CitError(NOT_FOUND, f"{tree.directory}: a shallow clone without a remote that has the rest", hint)
        packed = bundle.packed(tree.directory, tree.commit, lacking)
        section = document.section("bundle", "git-bundle", packed, path=tree.path)
        fits(section, f"the bundle of {tree.path}", "push the commits to a remote that builders can reach; then only their names are sent")
        push.sections.append(section)
        count = f"{len(lacking.commits)} commit{'s' * (len(lacking.commits) > 1)}"
        which = f"{count} that {address.url} lacks" if lacking.boundary else f"all its history, {count}"
        push.told.append(Told("note", f"sent: {what}: {which}, {clock.size_text(len(packed))}"))
    else:
        push.told.append(Told("note", f"sent: {what}, which the builder fetches from {address.url}"))
    if dirty:
        patch = bundle.patch(tree.directory, tree.commit)
        if patch.text:
            said = {"path": tree.path, "base": tree.commit, "files": str(patch.files), "lines": str(patch.lines)}
            section = document.section("change", "diff", patch.text, **said)
            fits(section, f"the change of {tree.path}", "commit it, and push the commit to a remote")
            push.sections.append(section)
            push.told.append(Told("note", f"sent: {tree.path}: changes that are not committed: lines: {patch.lines}, files: {patch.files}"))
    push.told.extend(left_behind(tree, dirty))
    parent = address.url if address.url != NONE else tree.directory
    for inner in submodules(tree):
        add_submodule(push, tree, inner, parent, dirty)


def add_submodule(push: Gathered, tree: Tree, inner: Submodule, parent: str, dirty: bool) -> None:
    """Add a submodule: as it lies here if it does, else by what .gitmodules says of it."""
    directory = os.path.join(tree.directory, inner.path)
    path = inner.path if tree.path == "." else f"{tree.path}/{inner.path}"
    if os.path.lexists(os.path.join(directory, ".git")) and asked(directory, "cat-file", "-e", f"{inner.commit}^{{commit}}") is not None:
        here = tree_at(directory, path, inner.name)
        if here.commit != inner.commit and not dirty:
            hint = "git add it and commit, or send it as it is with --dirty"
            push.told.append(Told("warning", f"{path} is at {here.commit[:10]}; sent is {inner.commit[:10]}, which HEAD records", hint))
            here = here._replace(commit=inner.commit, ref="HEAD")
        add(push, here, dirty)
        return
    address = public(resolved(inner.url, parent), tree.directory)
    push.rows.append([path, address.url, "HEAD", inner.commit, inner.name])
    push.told.append(Told("note", f"sent: {path}: commit {inner.commit[:10]}, which the builder fetches from {address.url}"))


# --- what git says --------------------------------------------------------------------------------------------------


class Remote(NamedTuple):
    """The remote that a builder is sent to; both empty where there is none."""

    name: str
    url: str


def chosen_remote(tree: Tree) -> Remote:
    """The remote of the present branch, else origin, else the first."""
    said = settings_of(tree.directory, r"^(branch\..*\.remote|remote\..*\.url|url\..*\.insteadof)$")
    urls: dict[str, str] = {}
    for key, value in said:
        if key.startswith("remote."):
            urls.setdefault(key[len("remote.") : -len(".url")], value)
    of_branch = dict(said).get(f"branch.{tree.ref}.remote", "")
    name = next((each for each in (of_branch, "origin", *urls) if each in urls), "")
    if name and any(key.startswith("url.") for key, _ in said):
        return Remote(name, git(tree.directory, "ls-remote", "--get-url", "--", name).decode("utf-8", "surrogateescape").rstrip("\n"))
    return Remote(name, urls.get(name, ""))


def submodules(tree: Tree) -> list[Submodule]:
    """The submodules that a commit records, by their paths."""
    said = settings_of(tree.directory, r"^submodule\..*\.(path|url)$", f"--blob={tree.commit}:.gitmodules")
    named: dict[str, dict[str, str]] = {}
    for key, value in said:
        name, _, what = key[len("submodule.") :].rpartition(".")
        named.setdefault(name, {})[what] = value
    by_path = {keys["path"].rstrip("/"): (name, keys.get("url", "")) for name, keys in named.items() if "path" in keys}
    if not by_path:
        return []
    listed = records(git(tree.directory, "--literal-pathspecs", "ls-tree", "-z", "--full-tree", tree.commit, "--", *by_path))
    found = []
    for record in listed:
        head, _, path = record.partition("\t")
        mode, _, commit = head.split(" ")
        if mode == "160000":
            found.append(Submodule(by_path[path][0], path, by_path[path][1], commit))
    return sorted(found, key=lambda each: each.path)


def left_behind(tree: Tree, dirty: bool) -> list[Told]:
    """Warnings of what lies in the tree and is not sent."""
    said = records(git(tree.directory, "--no-optional-locks", "status", "--porcelain", "-z", "--no-renames", "--ignore-submodules=all"))
    changed = [entry[3:] for entry in said if entry[:2] not in ("??", "!!")]
    untracked = [entry[3:] for entry in said if entry[:2] == "??"]
    told = []
    if changed and not dirty:
        told.append(Told("warning", f"not sent: {counted('changed file', changed, tree)}", "commit them, or send them as they are with --dirty"))
    if untracked:
        told.append(Told("warning", f"not sent: {counted('untracked file', untracked, tree)}", "git add them, or name them in .gitignore"))
    return told


def counted(what: str, paths: list[str], tree: Tree) -> str:
    """`2 changed files: a.c b.c`, the first few by name."""
    place = "" if tree.path == "." else f"{tree.path}/"
    shown = ", ".join(place + path for path in paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")
    return f"{len(paths)} {what}{'s' * (len(paths) > 1)}: {shown}"
