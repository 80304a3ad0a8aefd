"""Calls that are requests to a service: whom it serves, and an equal request answered from the store.

    interfaces/NAME.users                 whom NAME serves, and with what (cit_format/service.py)
    store/answers/NAME@KEY                TSV: sha256, bytes, path below the workspace (with .age) of each portion; KEY is the digest of the request
    RECORD/service                        TSV: NAME, the request without what the interface says of itself
    RECORD/portions                       the patterns of what may be kept; none: all
    RECORD/request, RECORD/answered       KEY, once the interface has said; the rows of the answer, where there was one

Step before the program: RECORD WORKSPACE. It asks the interface `NAME --same ARGUMENTS` for what besides the call decides the result (the version
of its sources), and looks whether that was built before. The program is then not started. What has been built is remembered at its end.
Pages: docs/howto/module-as-a-service.md, docs/format/interface.md
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from . import naming
from .cit_format import body, messages, service, store
from .cit_format.document import Document
from .cit_format.errors import CONFIG, CitError

FILE, PORTIONS, REQUEST, ANSWERED = "service", "portions", "request", "answered"
PATIENCE = 60.0  # seconds for --same
MOST = 64 << 10  # bytes of what it prints
SUFFIX = ".age"
# The program's words follow as they are: no shell reads them.
_UNLESS = 'if [ -e "$1" ]; then exit 0; fi; shift; exec "$@"'

Row = tuple[str, str, str]  # sha256, bytes, path

# --- a request ------------------------------------------------------------------------------------------------------


def objection(account: Path, job: Document, name: str) -> CitError | None:
    """Why a call of this interface is not served; None where it is, or where the interface is no service."""
    try:
        known = service.users(account, name)
        return service.objection(known, name, job) if known else None
    except CitError as error:
        return error


def files(account: Path, job: Document, name: str, words: list[str], has_version: bool) -> dict[str, bytes]:
    """What a request lays into the record; nothing where the interface is no service."""
    known = service.users(account, name)
    if known is None:
        return {}
    found = {PORTIONS: body.tsv([glob] for glob in known.portions)} if known.portions else {}
    if has_version:
        found[FILE] = body.tsv(request(job, name, words))
    else:
        found[FILE] = body.row("name", name)
    return found


def request(job: Document, name: str, words: list[str]) -> list[tuple[str, ...]]:
    """What makes two requests equal, but for what the interface says itself: its name and arguments, the portions, whose keys."""
    asked = sorted((section.kind, *row) for section in service.signed(job) if section.kind in ("keep", "reply") for row in section.rows())
    return [("name", name), *(("argument", word) for word in words[1:]), *asked, ("key", str(job.table("job").get("key")))]


def program(record: str, words: list[str]) -> list[str]:
    """The words that run a call, unless its record says that it was answered."""
    return ["/bin/sh", "-c", _UNLESS, "sh", f"{record}/{ANSWERED}", *words] if words and os.path.exists(f"{record}/{FILE}") else words


# --- the step before ------------------------------------------------------------------------------------------------


def looked_up(record: Path, workspace: str) -> list[str]:
    """Ask the interface, and look for an answer; lines for the log."""
    rows = body.rows((record / FILE).read_bytes())
    if len(rows) < 2:
        return []  # it does not say when two results are equal
    account, words = record.parent.parent, body.rows((record / "call").read_bytes())[0]
    said = version(words, workspace)
    key = hashlib.sha256(body.tsv([*rows, ("same", said.hex())])).hexdigest()
    naming.replaced(str(record / REQUEST), key.encode())
    answer = account / store.FOLDER / store.ANSWERS / store.called(rows[0][1], key)
    found = parsed(answer)
    if not found or any(str(store.size(str(account / store.FOLDER), row[0])) != row[1] for row in found):
        return []
    with contextlib.suppress(OSError):
        os.utime(answer)  # it is wanted still
    with open(record / "environment", "ab") as stream:
        stream.write(body.row("answered", key))
    naming.replaced(str(record / ANSWERED), body.tsv(found))
    return [f"answered from the store: {len(found)} files, as the same request was before"]


def version(words: list[str], workspace: str) -> bytes:
    """What the interface says besides its arguments decides the result; 78 where it fails."""
    null = subprocess.DEVNULL
    try:
        run = subprocess.run([words[0], "--same", *words[1:]], cwd=workspace, stdin=null, stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise CitError(CONFIG, f"--same gave no answer within {PATIENCE:.0f} s", "it prints a version, as git ls-remote does") from None
    if run.returncode or not run.stdout or len(run.stdout) > MOST:
        what = f"--same ended with status {run.returncode}" if run.returncode else "--same prints nothing, or too much"
        raise CitError(CONFIG, what, "it prints what besides its parameters decides the result")
    return run.stdout


def parsed(file: Path) -> list[Row]:
    """The rows of an answer; none where there is none."""
    with contextlib.suppress(OSError, ValueError):
        return [(row[0], row[1], row[2]) for row in body.rows(file.read_bytes()) if len(row) == 3 and store.SHA256.fullmatch(row[0])]
    return []


def main() -> None:
    """`RECORD WORKSPACE`: a step that the shim runs before the program, its output being the log."""
    record = Path(sys.argv[1])
    try:
        for line in looked_up(record, sys.argv[2]):
            os.write(1, f"cit: {line}\n".encode())
    except (CitError, OSError) as error:
        what = error.what if isinstance(error, CitError) else f"{error.strerror}: {error.filename}"
        os.write(1, f"cit: service: {messages.clean(what)}\n".encode())
        (record / "why").write_bytes(body.row(f"service: {what}"))
        sys.exit(125)


# --- the end --------------------------------------------------------------------------------------------------------


def portions(record: str | Path) -> list[str]:
    """The patterns of what may be handed out of a job's workspace; none: all of it."""
    try:
        return [row[0] for row in body.rows(Path(record, PORTIONS).read_bytes())]
    except FileNotFoundError:
        return []


def answered(record: str | Path, own: str) -> list[Row]:
    """The rows of an answer, as artefacts of this job."""
    return [(row[0], row[1], f"work/{own}/{row[2]}") for row in parsed(Path(record, ANSWERED))]


def remember(record: str, own: str, rows: list[Row]) -> None:
    """Keep what a request that was built has for an answer, for the next one that is equal. Not worth the job's end where that fails."""
    with contextlib.suppress(OSError, IndexError, UnicodeDecodeError):
        if os.path.exists(f"{record}/{ANSWERED}") or not os.path.exists(f"{record}/{REQUEST}"):
            return
        with open(f"{record}/{REQUEST}", "rb") as stream:
            key = stream.read().decode()
        name = body.rows(Path(record, FILE).read_bytes())[0][1]
        folder = f"{os.path.dirname(os.path.dirname(record))}/{store.FOLDER}/{store.ANSWERS}"
        prefix = f"work/{own}/"
        portions = [(row[0], row[1], row[2][len(prefix) :]) for row in rows if row[2].startswith(prefix) and row[2].endswith(SUFFIX)]
        if portions and store.SHA256.fullmatch(key):
            os.makedirs(folder, 0o700, exist_ok=True)
            naming.replaced(f"{folder}/{store.called(name, key)}", body.tsv(portions))
