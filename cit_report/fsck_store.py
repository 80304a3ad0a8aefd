"""cit fsck, the part about an account's store: names there, where links lead, what the history says (docs/directories.md)."""

from __future__ import annotations

from collections.abc import Iterator

from .cit_format import store

MEND = "cit stash --mend makes names again"
Found = tuple[str, str]  # a path, and what is wrong with it


def wrong(account: str) -> Iterator[Found]:
    """What is not as it must be; whether bytes are as their digest says is a question for `cit stash --check`, which reads them all."""
    folder = f"{account}/{store.FOLDER}"
    for entry in store.entries(folder):
        if not store.SHA256.fullmatch(entry) and entry not in (store.NAMES, store.HISTORY, store.ANSWERS):
            yield f"{folder}/{entry}", "nothing of cit has this name here"
    last = store.newest(iter(store.history(folder)))
    there = store.names(folder)
    for called in store.entries(f"{folder}/{store.NAMES}"):
        path, (name, key) = f"{folder}/{store.NAMES}/{called}", store.parted(called)
        if called not in there or not store.is_name(name) or (key and not store.SHA256.fullmatch(key)):
            yield path, "no name of the store"
        elif not store.meant(folder, name, key):
            yield path, f"it leads to nothing; {MEND}"
        elif called in last and last[called].sha256 == store.NONE:
            yield path, f"{store.HISTORY} says that it is gone; {MEND}"
        elif called in last and there[called] != f"../{last[called].sha256}" and store.size(folder, last[called].sha256) is not None:
            yield path, f"{store.HISTORY} says other bytes; {MEND}"
    for called, said in last.items():
        if called not in there and store.size(folder, said.sha256) is not None:
            yield f"{folder}/{store.NAMES}/{called}", f"{store.HISTORY} has it, and it is missing; {MEND}"
