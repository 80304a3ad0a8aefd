"""What a stage says on stderr: one fixed head and plain words (docs/messages.md).

    cit-queue: 2c4e7g-zlib: error: no signature
    hint: sign it with cit-trigger

On a terminal the word is coloured; elsewhere time and pid stand in the head, so that a log of several runs can be read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from . import clock
from .errors import BUG, IO, OK, CitError

verbosity = 0  # -1 errors only, 0 normal, 1 -v, 2 -vv
program = "cit"

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
_CONTROLS.update({code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029)})


def clean(text: str) -> str:
    """`text` without any byte that a terminal obeys: controls, C1 and bidi overrides are shown as escapes, tab and newline stay."""
    return text.translate(_CONTROLS)


def tell(level: str, what: str, where: str = "", hint: str = "") -> None:
    """One message: `level` is error, warning, note or debug; `where` a document's label."""
    if {"error": -1, "warning": 0, "note": 0, "info": 1, "debug": 2}[level] > verbosity:
        return
    terminal = sys.stderr.isatty()
    word = f"\x1b[1;31m{level}\x1b[0m" if terminal and level == "error" else level
    head = program if terminal else f"{clock.iso(clock.now())} {program}[{os.getpid()}]"
    lines = [": ".join(filter(None, (head, clean(where).replace("\n", " "), word, clean(what).replace("\n", " "))))]
    if hint:
        lines.append(f"hint: {clean(hint)}")
    try:
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody reads; the status says it too


def complain(error: CitError, where: str = "") -> int:
    """Say an error and give its status back."""
    place = ": ".join(filter(None, (where if where and where not in error.where else "", error.where)))
    tell("error", error.what, place, error.hint)
    return error.status


def set_up(name: str, quiet: bool = False, verbose: int = 0) -> None:
    """Name the program and set how much it says."""
    global program, verbosity
    program = name
    verbosity = -1 if quiet else verbose


def guarded(name: str, act: Callable[[], int | None]) -> int:
    """Run a stage's command: what it raises becomes one message and a status (docs/messages.md); -vv shows the traceback."""
    import signal

    set_up(name)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return act() or OK
    except CitError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MemoryError:
        tell("error", "out of memory", hint="the input is larger than this machine can hold")
        return IO
    except OSError as error:
        _trace()
        tell("error", f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), hint="is the disk full, or a directory not yours?")
        return IO
    except Exception as error:  # the one place where a bug is caught: it is named as one, never as bad input
        _trace()
        tell("error", f"a bug in {name}: {type(error).__name__}: {error}", hint="please report it with the input; -vv shows where")
        return BUG


def _trace() -> None:
    if verbosity >= 2:
        import traceback

        traceback.print_exc()
