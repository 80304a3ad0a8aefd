"""Addresses of repositories as a builder can use them, and as all may read them. Pure but for looking whether a path is here."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from .cit_format.errors import USAGE, CitError

NONE = "-"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")  # NAME:: runs a program of that name
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]+")


class Address(NamedTuple):
    """Where a repository can be fetched (`-`: nowhere), and whether a name or password was taken out."""

    url: str
    secret: bool = False


def public(url: str, directory: str) -> Address:
    """The address as it goes into a document, which many can read: without a password; a path from the root of this machine."""
    if not url or url.startswith("-") or _HELPER.match(url) or not _PLAIN.fullmatch(url):
        return Address(NONE)
    scheme = _SCHEME.match(url)
    if scheme:
        place, slash, path = url[scheme.end() :].partition("/")
        user, at, server = place.rpartition("@")
        kept = f"{user.partition(':')[0]}@" if at and "ssh" in scheme[0] else ""
        return Address(f"{scheme[0]}{kept}{server}{slash}{path}", bool(at) and kept != f"{user}@")
    return Address(url if is_remote(url) else os.path.normpath(os.path.join(directory, os.path.expanduser(url))))


def is_remote(url: str) -> bool:
    """Whether it is USER@HOST:PATH or a URL, not a path of this machine."""
    return bool(_SCHEME.match(url)) or ":" in url.partition("/")[0]


def resolved(url: str, parent: str) -> str:
    """A submodule's address, which may be relative to that of its parent, as git has it."""
    if not url.startswith(("./", "../")):
        return url
    base = parent.rstrip("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            cut = max(base.rfind("/"), base.rfind(":"))
            base = base[:cut] if base[cut : cut + 1] == "/" else base[: cut + 1]
        url = url.partition("/")[2]
    return f"{base}{url}" if base.endswith(":") else f"{base}/{url}"


def checked(url: str) -> str:
    """The address that a person typed; 2 where git would take it for something else."""
    if not url or url.startswith("-") or _HELPER.match(url) or not _PLAIN.fullmatch(url):
        raise CitError(USAGE, f"--repo {url[:200]!r} is no address of a repository", "https://, ssh://, git://, file://, USER@HOST:PATH, or a path")
    return url
