"""The interfaces that a build account offers: executables in `interfaces/`, and what each prints for `--describe` (docs/format/interface.md).

    ~/.cit/interfaces/zlib              NAME as jobs have it; what begins with a dot or can_build_ is none
    ~/.cit/interfaces/.described/zlib   what it said last: a line on the program it was and how it went, then its rows

A description is asked for anew when the program's file changes, and otherwise every hour. A program that answered before and is late now, on a
busy machine, has not changed its mind.
Fails: 66 not offered; 78 it does not describe itself, or others can write it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from . import body, can_build, description, document, home
from .description import Description
from .errors import CONFIG, LATER, NOT_FOUND, CitError
from .grammar import NAME

FOLDER, KEPT = "interfaces", ".described"
PATIENCE = 2.0  # seconds for one description
ALTOGETHER = 5.0  # and for all: who asks waits meanwhile
LASTS, FAULT_LASTS = 3600.0, 300.0  # seconds until it is asked again, after an answer and after none
MOST = 100  # interfaces of one account that others are told of
GOOD, FAULT, LATE = "good", "fault", "late"


def names(account: Path) -> list[str]:
    """The interfaces of the account at this cit home, whatever they say of themselves."""
    try:
        entries = os.listdir(account / FOLDER)
    except FileNotFoundError:
        return []
    return sorted(name for name in entries if is_name(name) and os.access(account / FOLDER / name, os.X_OK) and (account / FOLDER / name).is_file())


def is_name(name: str) -> bool:
    """Whether a file of this name can be an interface."""
    return bool(NAME.fullmatch(name)) and not name.startswith("can_build_")


def program(account: Path, name: str) -> Path:
    """The program of an interface; 66 where it is not offered, 78 where others can write it."""
    path = account / FOLDER / name
    if not is_name(name) or not os.access(path, os.X_OK) or not path.is_file():
        raise CitError(NOT_FOUND, f"no interface {name[:64]} here", f"an executable {FOLDER}/{name[:64]} of the build account would be one")
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        raise CitError(CONFIG, f"others can write the interface {name}", f"chmod go-w {path}")
    return path


def described(account: Path, name: str, seconds: float = PATIENCE) -> Description:
    """What an interface says of itself; 66 and 78 as above."""
    path = program(account, name)
    kept = account / FOLDER / KEPT / name
    stamp = _stamp(path)
    known, is_fresh = _known(kept, stamp)
    if not is_fresh:
        said = _asked(path, seconds)
        if said[0] == LATE and known is not None and known[0] == GOOD:
            with contextlib.suppress(OSError):
                os.utime(kept, (time.time() - LASTS + FAULT_LASTS,) * 2)
        else:
            known = said
            if said[0] != LATE or seconds >= PATIENCE:  # else the others have had all the time
                _keep(kept, body.row(stamp, *said[:2]) + said[2])
    assert known is not None
    word, why, raw = known
    if word != GOOD:
        raise CitError(CONFIG, f"the interface {name} does not describe itself: {why}", f"{path} --describe prints rows of TSV and exits 0")
    return description.parse(name, raw)


def _keep(kept: Path, content: bytes) -> None:
    with contextlib.suppress(OSError):
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        home.write_new(kept, content)


def offered(account: Path) -> dict[str, Description | CitError]:
    """All interfaces of an account, or why one cannot be offered."""
    found: dict[str, Description | CitError] = {}
    end = time.monotonic() + ALTOGETHER
    here = names(account)
    can = set(can_build.answers(account, here))
    for name in here:
        try:
            if name not in can:
                raise CitError(LATER, f"can_build_{name} says no at present", "its builder's owner wrote that program")
            found[name] = described(account, name, max(0.0, min(PATIENCE, end - time.monotonic())))
        except CitError as error:
            found[name] = error
    return found


def good(account: Path) -> dict[str, Description]:
    """Those that can be offered, as many as others are told of."""
    found = [(name, each) for name, each in offered(account).items() if isinstance(each, Description)]
    return dict(found[:MOST])


def sections(account: Path) -> list[bytes]:
    """What others are told: a section for each interface that can be offered."""
    return [document.section("interface", "tsv", description.written(each), name=each.name) for each in good(account).values()]


def _stamp(path: Path) -> str:
    """What tells whether a program is still the same."""
    found = path.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _known(kept: Path, stamp: str) -> tuple[tuple[str, str, bytes] | None, bool]:
    """What was said before of this very program, and whether that is not too long ago."""
    with contextlib.suppress(OSError, CitError, ValueError, UnicodeDecodeError):  # none yet
        age = time.time() - kept.stat().st_mtime
        head, newline, raw = kept.read_bytes().partition(b"\n")
        [[before, word, why]] = body.rows(head + newline)
        if before == stamp:
            return (word, why, raw), 0 <= age < (LASTS if word == GOOD else FAULT_LASTS)
    return None, False


def _asked(path: Path, seconds: float) -> tuple[str, str, bytes]:
    """Ask a program to describe itself: GOOD and its rows, or FAULT or LATE and why."""
    import select
    import signal
    import subprocess

    environment = {"HOME": os.path.expanduser("~"), "PATH": os.environ.get("PATH", os.defpath), "LC_CTYPE": "C.UTF-8"}
    null = subprocess.DEVNULL
    try:
        running = subprocess.Popen(
            [str(path), "--describe"], cwd=path.parent, env=environment, stdin=null, stdout=subprocess.PIPE, stderr=null, start_new_session=True
        )
    except OSError as error:
        return FAULT, error.strerror or "it does not start", b""
    raw, until = b"", time.monotonic() + seconds
    try:
        assert running.stdout is not None
        while len(raw) <= description.LIMIT:
            if not select.select([running.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                return LATE, f"no answer within {seconds:.0f} s", b""
            piece = os.read(running.stdout.fileno(), description.LIMIT)
            if not piece:
                break
            raw += piece
        status = running.wait(max(0.1, until - time.monotonic())) if len(raw) <= description.LIMIT else 0
    except subprocess.TimeoutExpired:
        return LATE, f"it does not end within {seconds:.0f} s", b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        if running.stdout is not None:
            running.stdout.close()
        running.wait()
    if status:
        return FAULT, f"--describe ended with status {status}", b""
    try:
        description.parse(path.name, raw)
    except CitError as error:
        return FAULT, error.what, b""
    return GOOD, "", raw
