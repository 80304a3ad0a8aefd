"""Where what a job has left in the store is fetched with scp (docs/howto/artefacts.md).

Reads: `address` of config.toml, else the door of builder.cit. Writes nothing: attribute `at` of the section `artefact`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .cit_format import address, body, reader, store
from .cit_format.errors import CitError


def lies_in_store(path: str) -> bool:
    """Whether an artefact lies in the store, by its path: kept files and what was stashed do, logs do not."""
    return path.startswith(store.PATH) or path.count("/") > 1


def url(account: Path, settings: Mapping[str, body.Value], paths: Iterable[str]) -> str:
    """What scp takes for these artefacts, but for their sha256; empty where none lies in the store, or nobody said how we are reached."""
    if not any(map(lies_in_store, paths)):
        return ""
    place = str(settings.get("address") or door(account)).removeprefix("ssh://")
    try:
        where = address.parse(f"ssh://{place}")
    except CitError:
        return ""
    home, here = os.path.realpath(os.path.expanduser("~")), os.path.realpath(account)
    below = os.path.relpath(here, home) if here.startswith(f"{home}/") else f"/{here}"
    return f"scp://{str(where._replace(queue='')).removeprefix('ssh://')}/{below}/{store.FOLDER}/"


def door(account: Path) -> str:
    """The door of this account, as its builder document has it."""
    with contextlib.suppress(OSError, CitError):
        return str(reader.parse((account / "builder.cit").read_bytes()).table("builder").get("door", ""))
    return ""
