"""cit unstash: gets what was stashed, by its name or digest, out of the store to where it is wanted.

Reads: store/ of this account; where it is not there and a builder is named, that builder's, by its read door. Writes: files; what came
from elsewhere also into store/. Their paths to stdout.
Exits: 0; 1 nothing is stashed so: build it then; 2 usage; 65 other bytes than their digest says, or a directory is in the way; 66 no such
builder; 69 it is out of reach; 74 the disk; 77 its door does not know us.
Pages: docs/howto/artefacts.md
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Optional, cast

import typer

from . import naming, tree
from .cit_format import address, ask, body, clock, home, hosts, messages, reader, spool, store
from .cit_format.errors import DATA, NO, NOT_FOUND, OK, USAGE, CitError
from .fetching import brought, opened

# --- one thing ------------------------------------------------------------------------------------------------------


def found(folder: str, what: str, key: str) -> str:
    """The digest in the store of this account that a name or digest means; empty where it is not here."""
    if store.SHA256.fullmatch(what):
        return what if store.size(folder, what) is not None else ""
    return store.meant(folder, naming.checked(what), key)


def put(fd: int, where: str, name: str) -> str:
    """Lay an open file of the store, or the tree that it is, into a directory (empty: here): the path that it has there."""
    if tree.is_tree(fd):
        path = where or name
        os.makedirs(path, exist_ok=True)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            tree.laid_out(fd, top)
        finally:
            os.close(top)
        return path
    os.makedirs(where or ".", exist_ok=True)
    top = os.open(where or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(fd, "rb", closefd=False) as content:
            tree.written(top, name, cast("IO[bytes]", content), bool(os.fstat(fd).st_mode & 0o100))
    finally:
        os.close(top)
    return os.path.join(where, name)


# --- from elsewhere -------------------------------------------------------------------------------------------------


def door_of(builder: str) -> str:
    """Where a builder's account is: a door or directory as it stands; by its name as the cluster's hosts, or the queues of this home, know it."""
    if builder.startswith("/") or address.is_remote(builder):
        return builder
    found, top = hosts.door_of(home.path() / "hosts", "builder", builder, clock.now()), home.path() / "queues"
    for directory in sorted([*top.glob("*/builders"), *top.glob("*/builders/.load")]):
        for name in spool.listing(directory) if not found else ():
            with contextlib.suppress(CitError, OSError):
                said = reader.parse((directory / name).read_bytes()).table("builder")
                found = str(said.get("door", "")) if said.get("name") == builder else found
    if not found:
        raise CitError(NOT_FOUND, f"no builder {builder[:64]} is known here", "cit builders asks for them; @ssh://USER@HOST[:PORT] will do as well")
    return found


def fetched(folder: str, place: str, what: str, key: str) -> str:
    """Have a builder's store give it to ours: its digest; empty where that builder has none. 65, 69, 77."""
    try:
        if store.SHA256.fullmatch(what):
            digest, size, is_program = what, -1, False
        else:
            rows = body.rows(ask.ask(place, "stashed", what, *([key] if key else [])))
            if len(rows) != 1 or len(rows[0]) != 3 or not store.SHA256.fullmatch(rows[0][0]) or not rows[0][1].isdigit():
                raise CitError(DATA, f"{place} says what is no digest", "another version of cit may be there")
            digest, size, is_program = rows[0][0], int(rows[0][1]), rows[0][2] == "program"
        brought(folder, place, digest, size, is_program)
        return digest
    except CitError as error:
        if error.status == NOT_FOUND:
            return ""
        raise


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    words: list[str] = typer.Argument(..., metavar="NAME|SHA256 [DIR] [@BUILDER]", help="What, into which directory, from which builder if not here"),
    key: Optional[list[str]] = typer.Option(None, "--key", metavar="TEXT|@FILE", help="As it was stashed for this configuration"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """Get files out of the store."""
    messages.set_up("cit-unstash", quiet)
    what, rest = words[0], words[1:]
    places = [word[1:] for word in rest if word[:1] == "@"]
    where = [word for word in rest if word[:1] != "@"]
    if len(places) > 1 or len(where) > 1 or what[:1] == "@":
        raise CitError(USAGE, "one thing from one builder into one directory", "cit unstash NAME|SHA256 [DIR] [@BUILDER]")
    account, digest = str(home.own_account().path.absolute()), naming.key_of(key or [])
    folder = naming.folder_of(account, naming.job_here(account))
    if not found(folder, what, digest):
        folder = f"{account}/{store.FOLDER}"  # what is only tried may use what is here
    name = what if not store.SHA256.fullmatch(what) else next((each.name for each in store.history(folder) if each.sha256 == what), what)
    have = found(folder, what, digest) or (fetched(folder, door_of(places[0]), what, digest) if places else "")
    if not have:
        hint = f"make it, then: cit stash {name}" + "".join(f" --key {item}" for item in key or []) + "; cit stash --list tells what there is"
        messages.tell("note", f"nothing is stashed as {name}{' with this key' if key else ''}", hint=hint)
        return NO
    try:
        fd = opened(folder, have)
    except FileNotFoundError:
        return NO  # it went just now
    try:
        path = put(fd, where[0] if where else "", name)
    finally:
        os.close(fd)
    naming.used(folder, name, digest)
    sys.stdout.write(f"{messages.clean(path)}\n")
    return OK
