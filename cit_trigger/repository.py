"""A repository that is not here, at the commit that one of its branches or tags has now (docs/stages/trigger.md)."""

from __future__ import annotations

import os
import re

from .address import checked, public
from .cit_format.errors import NOT_FOUND, UNREACHABLE, USAGE, CitError
from .git import git
from .source import NONE, Gathered, Told

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|^-|^$")


def at_ref(url: str, ref: str | None) -> Gathered:
    """What a push of the repository sends: the commit that `ref` (without one: its HEAD) names there at this moment.

    A whole commit name is taken as it is. 2 for what is no address or ref, 66 where there is no such ref, 69 where git cannot ask.
    """
    here = os.getcwd()
    address = public(checked(url), here)
    if address.url == NONE:
        raise CitError(USAGE, f"--repo {url[:200]!r} cannot be fetched by a builder", "https://, ssh://, git://, file://, USER@HOST:PATH, or a path")
    if ref is not None and _NO_REF.search(ref):
        raise CitError(USAGE, f"--ref {ref[:200]!r} is no branch, tag or commit", "one name, as in main, v1.3, refs/heads/main, or a whole commit")
    name, commit = (ref, ref) if ref and _COMMIT.fullmatch(ref) else asked_for(url, ref, here)
    told = [Told("note", f"sent: commit {commit[:10]} ({name}), which the builder fetches from {address.url}")]
    if address.secret:
        told.insert(0, Told("note", "the name and password in the address are not sent", "the builder uses its own"))
    return Gathered([[".", address.url, name, commit, NONE]], [], told, ".")


def asked_for(url: str, ref: str | None, here: str, seconds: float = 0) -> tuple[str, str]:
    """The ref's name for people and its commit, as the remote has them; within so many seconds, where it says how many."""
    patterns = ["HEAD"] if ref is None else [f"{start}{ref}{end}" for start in starts(ref) for end in ("", "^{}")]
    hint = "can you read it: git ls-remote URL"
    listed = os.fsdecode(git(here, "ls-remote", "--quiet", "--symref", "--", url, *patterns, status=UNREACHABLE, hint=hint, seconds=seconds))
    symbolic, commits = "", {}
    for line in listed.split("\n")[:-1]:
        what, _, name = line.partition("\t")
        if what.startswith("ref: ") and name == "HEAD":
            symbolic = what[len("ref: refs/heads/") :]
        else:
            commits[name] = what
    if ref is None:
        if "HEAD" not in commits:
            raise CitError(NOT_FOUND, f"{url} has no commit yet", "push one there, or name a branch: --ref")
        return symbolic or "HEAD", commits["HEAD"]
    for start in starts(ref):
        found = commits.get(f"{start}{ref}^{{}}") or commits.get(start + ref)
        if found:
            return ref, found
    raise CitError(NOT_FOUND, f"{url} has no branch or tag {ref}", f"git ls-remote {url} lists them")


def starts(ref: str) -> list[str]:
    """How the full name of a ref may begin; a branch goes before a tag of its name, as git clone has it."""
    return [""] if ref.startswith("refs/") or ref == "HEAD" else ["refs/heads/", "refs/tags/", "refs/"]
