"""cit join: from now on this home believes the hosts document of a cluster, and those that its manager signs after it.

Reads   a hosts document; the first time the fingerprint of its manager's key, which somebody told by another way
Writes  hosts/ (every version, manager.pub, known_hosts); queues/NAME/queue.toml for queues with a door; with --builder, which
        queues may assign, between markers in allowed_signers
Exits   0; 65 no such document; 66 nothing was joined; 77 not its manager's word, or an old one (docs/messages.md)
How     all of it follows from the newest version, and is written anew each time: joined twice is joined once
Page    docs/howto/use-a-remote-queue.md
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from . import clock, elsewhere, home, hosts, inputs, reader, signers
from .document import Document
from .errors import DATA, DENIED, NOT_FOUND, OK, USAGE, CitError
from .hosts import Hosts, Row
from .signers import Signers
from .spool import Lock, make_directory

BEGIN, END = "# cit join begin", "# cit join end"


# --- decisions ------------------------------------------------------------------------------------------------------


def known_hosts(rows: list[Row]) -> str:
    """The lines of known_hosts for these machines."""
    return "".join(f"{row.name} {row.key._replace(comment='').line}\n" for row in rows)


def allowed_signers(rows: list[Row]) -> str:
    """The lines of allowed_signers for these rows: what each key may say, and when."""
    return "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    allowed = row.allowed()
    times = [f'{word}="{_stamp(time)}"' for word, time in (("valid-after", allowed.valid_after), ("valid-before", allowed.valid_before)) if time]
    return f'{row.identity} namespaces="{",".join(allowed.namespaces)}",{",".join(times)} {row.key._replace(comment="").line}\n'


def _stamp(time: datetime) -> str:
    return f"{time:%Y%m%d%H%M%S}Z"


def between(text: str, lines: str | None, about: str = "") -> str:
    """A file with these lines between our markers, at its end, and none of those that stood there; None: without markers."""
    rest = re.sub(rf"(?ms)^{BEGIN}.*?^{END}\n", "", text)
    if lines is None:
        return rest
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}{BEGIN}{about}\n{lines}{END}\n"


def believed(text: str, rows: list[Row], name: str) -> list[Row]:
    """Those of these rows that no line of the file gives already; 78 where the file has a line that is not accepted."""
    there = {(entry.key.blob, space) for entry in signers.parse_allowed_signers(text, name) for space in entry.namespaces}
    return [row for row in rows if not {(row.key.blob, space) for space in hosts.SPEAKS[row.kind]} <= there]


# --- joining --------------------------------------------------------------------------------------------------------


def joined(document: Document, fingerprint: str, base: Path, now: int) -> Hosts:
    """Believe this version, on disk when this returns. 65, 77, or 2 where nobody is pinned and no fingerprint was typed."""
    directory = base / "hosts"
    make_directory(directory)
    with Lock(directory / ".lock"):
        found = hosts.verified(document, managers(directory, document, fingerprint, now), now)
        objection = hosts.objection(found, hosts.newest(directory))
        if objection:
            raise objection
        keep(directory, found, now)
    return found


def managers(directory: Path, document: Document, fingerprint: str, now: int) -> Signers:
    """Whose word counts for a new version: who is pinned, else who has the fingerprint that was typed."""
    pinned = directory / "manager.pub"
    if not pinned.exists():
        if not fingerprint:
            hint = "the first time with its manager's fingerprint, as they say it by another way: cit join FILE SHA256:..."
            raise CitError(USAGE, "which manager do you believe?", hint)
        return hosts.introduced(document, fingerprint, now)
    found = Signers.read(pinned)
    if fingerprint and fingerprint not in {entry.key.fingerprint for several in found.allowed.values() for entry in several}:
        raise CitError(DENIED, f"{fingerprint[:80]} is none of the managers whose cluster you joined", "cit join --leave first", document.label)
    return found


def keep(directory: Path, found: Hosts, now: int) -> None:
    """Keep a verified version, and what follows from it."""
    if not (directory / found.file_name).exists():
        home.write_new(directory / found.file_name, found.document.raw)
    home.write_new(directory / "known_hosts", known_hosts(found.valid("host", now)).encode())
    home.write_new(directory / "manager.pub", allowed_signers(found.valid("manager", now)).encode())


def let_assign(found: Hosts | None, base: Path, now: int, asked: bool) -> None:
    """allowed_signers of the build account: which queues may assign, where that was asked for once; None: none any more."""
    file = base / "allowed_signers"
    text = file.read_text("utf-8") if file.exists() else ""
    if not asked and BEGIN not in text:
        return
    rest = between(text, None)
    new = rest
    if found is not None:
        rows = believed(rest, found.valid("queue", now), str(file))
        new = between(text, allowed_signers(rows), f": hosts serial {found.serial}, {found.digest}")
        Signers(signers.parse_allowed_signers(new, str(file)), name=str(file))  # 78 before it is written
    if new != text:
        home.write_new(file, new.encode())


def leave(base: Path, now: int) -> int:
    """Undo: nothing of the cluster is believed any more; its versions lie in hosts/left/."""
    directory = base / "hosts"
    found = hosts.newest(directory)
    if found is None:
        raise CitError(NOT_FOUND, "this home is in no cluster", "cit join FILE FINGERPRINT")
    with Lock(directory / ".lock"):
        for row in found.rows:
            if row.kind == "queue":
                elsewhere.forget(row, base)
        let_assign(None, base, now, asked=True)
        for name in ("known_hosts", "manager.pub"):
            (directory / name).unlink(missing_ok=True)
        make_directory(directory / "left")
        for version in list(hosts.kept(directory)):
            os.rename(directory / version.file_name, directory / "left" / version.file_name)
    return OK


# --- the command ----------------------------------------------------------------------------------------------------


def act(file: str | None, fingerprint: str, person: str, builder: bool) -> int:
    """Join what the file says, or write anew what was joined."""
    base, now = home.ensure(), clock.now()
    if person and not signers.PLAIN.fullmatch(person):
        raise CitError(USAGE, f"{person!a} is no person", "write it as USER@HOST")
    if file is not None:
        found = joined(only(file), fingerprint, base, now)
    else:
        newest = hosts.newest(base / "hosts")
        if newest is None:
            raise CitError(USAGE, "which cluster?", "cit join FILE FINGERPRINT; its manager writes FILE with cit join --make")
        found = newest
        keep(base / "hosts", found, now)
    elsewhere.withdraw(found, base, now)
    elsewhere.know_queues(found, base, person, now)
    let_assign(found, base, now, builder)
    return OK


def only(file: str) -> Document:
    """The one document of a file or of stdin; 65 where there is another number of them."""
    with inputs.opened(file) as read:
        found = list(reader.documents(read))
    for each in found:
        if isinstance(each, reader.Faulty):
            raise each.error
    if len(found) != 1 or not isinstance(found[0], Document):
        raise CitError(DATA, f"{len(found)} documents", "one hosts document is joined at a time", file)
    return found[0]
