"""What a job printed, on its way to stdout: without its secrets, on a terminal without what terminals obey, of it the lines that are wanted."""

from __future__ import annotations

import codecs
import re
import sys
from pathlib import Path

from . import vt
from .cit_format import masks, messages
from .index import Index
from .picking import Picker, Wish

_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]|\r(?=\n)")
_UNFINISHED = re.compile(r"(?:\r|\x1b\[?[0-9;]*)\Z")


class Cleaner:
    """Bytes of a log, piece by piece, as text for a terminal: no control but tab and newline, no colours."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.held = ""

    def __call__(self, piece: bytes, last: bool = False) -> str:
        text = self.held + self.decoder.decode(piece, last)
        cut = None if last else _UNFINISHED.search(text)
        text, self.held = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
        return messages.clean(_COLOUR.sub("", text))


class Words(Cleaner):
    """The same of a job that had a terminal: whole lines, as text alone."""

    def __call__(self, piece: bytes, last: bool = False) -> str:
        text = self.held + self.decoder.decode(piece, last)
        lines, newline, rest = ("", "", text) if "\n" not in text else text.rpartition("\n")
        shown, self.held = (text, "") if last else (lines + newline, rest)
        return vt.words(shown)


class Writer:
    """Writes pieces of a log to stdout, without the secrets of its job, cleaned where it is a terminal; as `wish` says, by way of the log's `index`.

    Made before the log is read; None: what its builder's door gives has no secrets.
    """

    def __init__(self, log: Path | None, wish: Wish | None = None, index: Index | None = None) -> None:
        sought = masks.known(str(log)) if log else []
        cleaner = Words if log and log.with_suffix(".cast").exists() else Cleaner
        self.cleaner = cleaner() if sys.stdout.isatty() else None
        self.picker = Picker(wish, index or Index(), sought, sys.stdout.isatty()) if wish and not wish.is_plain else None
        self.mask = masks.Mask([] if self.picker else sought)

    def begin(self, start: int = 0) -> int:
        """From which byte on it is to be given the log, or the piece of it that begins at `start`."""
        return self.picker.begin(start) if self.picker else start

    def is_live(self) -> None:
        """What no row of the index tells of is printed just now."""
        if self.picker:
            self.picker.live = True

    def write(self, piece: bytes, last: bool = False) -> None:
        out = sys.stdout.buffer
        shown = self.mask(self.picker(piece, last) if self.picker else piece, last)
        out.write(self.cleaner(shown, last).encode() if self.cleaner else shown)
        out.flush()
