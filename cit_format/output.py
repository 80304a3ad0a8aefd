"""What cit-format writes to stdout: bytes as they are; tables as TSV, on a terminal in columns."""

from __future__ import annotations

import sys

from . import body, messages
from .errors import OK


def write(*pieces: bytes) -> int:
    """Write bytes to stdout, now; OK."""
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return OK


def table(header: list[str], rows: list[list[str]]) -> int:
    """TSV in a pipe; on a terminal columns below a header. OK."""
    if not sys.stdout.isatty() or not rows:
        return write(body.tsv(rows))
    shown = [header, *([messages.clean(field) for field in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown)]
    return write(*("  ".join(map(str.ljust, row, widths)).rstrip().encode() + b"\n" for row in shown))
