"""What of a terminal's output is let through to another terminal (docs/howto/watch-it-run.md): a recording is control bytes by nature. Pure.

A list says what passes; all else is dropped, whatever it would do: titles, clipboards, questions that a terminal answers as if somebody typed,
mouse, printing, other character sets, 8-bit controls, marks that turn the direction of text.

    text, and NL CR BS TAB                                 as it is
    CSI A B C D E F G H J K L M P S T X Z @ d f r s u      moves, erases, scrolls
    CSI m                                                  colours
    CSI ? 7 12 25 47 1047 1048 1049 h l                    wrap, cursor, the other screen; with keys also 1, 2004 and ESC = >
    ESC 7 8 D E M, ESC ( 0 B                               cursor, lines of boxes
    ESC c                                                  as erasing the screen and colours
"""

from __future__ import annotations

import re

from .cit_format import messages

_TOKEN = re.compile(
    r"(?P<csi>\x1b\[(?P<said>[0-?]*)(?P<between>[ -/]*)(?P<final>[@-~]))"
    r"|(?P<string>\x1b[\]PX^_][^\x07\x1b\x18\x1a]*(?:\x07|\x1b\\|[\x18\x1a]|(?=\x1b[^\\])))"
    r"|(?P<charset>\x1b[ -/]+[0-~])"
    r"|(?P<escape>\x1b(?P<letter>[0-OQ-WYZ\\`-~]))"
    r"|(?P<plain>[^\x1b]+)"
)
_OPEN_STRING = re.compile(r"\x1b[\]PX^_]")
_NUMBERS = re.compile(r"(?:[0-9]{1,4}(?:;[0-9]{0,4}){0,4})?|;[0-9]{0,4}")
_COLOURS = re.compile(r"[0-9;:]{0,64}")
_MODES = frozenset(("7", "12", "25", "47", "1047", "1048", "1049"))
_KEYED = frozenset(("1", "2004"))
_MOVES = frozenset("ABCDEFGHJKLMPXZ@df")
_ESCAPES = frozenset("78DEM")
HELD = 256  # letters of a sequence that is not complete yet; a longer one is none


class Passing:
    """Pieces of a terminal's output as what passes. `keyed`: whoever watches also types, and modes of the keyboard pass."""

    def __init__(self, keyed: bool = False) -> None:
        self.keyed = keyed
        self.held = ""
        self.in_string = False
        self.touched: set[str] = set()  # what is to be put right at the end

    def __call__(self, piece: str) -> str:
        text, shown, at = self.held + piece, [], 0
        self.held = ""
        while at < len(text):
            if self.in_string:
                at = self._string(text, at)
                continue
            found = _TOKEN.match(text, at)
            if found is None:
                if _OPEN_STRING.match(text, at):
                    self.in_string, at = True, at + 2
                    continue
                if len(text) - at < HELD and "\x1b" not in text[at + 1 :]:
                    self.held = text[at:]
                    break
                at += 1  # an ESC that begins nothing
                continue
            at = found.end()
            shown.append(self._passed(found))
        return "".join(shown)

    def _string(self, text: str, at: int) -> int:
        """Where a string of controls that nobody reads ends."""
        end = re.compile(r"\x07|\x1b\\|[\x18\x1a]|\x1b(?=[^\\])").search(text, at)
        if end is None:
            self.held = "\x1b" if text.endswith("\x1b") else ""
            return len(text)
        self.in_string = False
        return end.start() if end[0] == "\x1b" else end.end()

    def _passed(self, found: re.Match[str]) -> str:
        if found["plain"]:
            return plain(found["plain"])
        if found["csi"]:
            return self._csi(found["said"], found["final"]) if not found["between"] else ""
        if found["charset"]:
            if found[0] in ("\x1b(0", "\x1b(B"):
                self.touched.add("charset")
                return found[0]
            return ""
        if found["escape"]:
            letter = found["letter"]
            if letter == "c":
                self.touched.add("colour")
                return "\x1b[0m\x1b[H\x1b[2J"
            if letter in "=>" and self.keyed:
                self.touched.add("keypad")
                return found[0]
            return found[0] if letter in _ESCAPES else ""
        return ""

    def _csi(self, said: str, final: str) -> str:
        if final == "m" and _COLOURS.fullmatch(said):
            self.touched.add("colour")
            return f"\x1b[{said}m"
        if said[:1] == "?" and final in "hl":
            modes = [mode for mode in said[1:].split(";") if mode in _MODES or (self.keyed and mode in _KEYED)]
            self.touched.update(f"?{mode}" for mode in modes)
            return f"\x1b[?{';'.join(modes)}{final}" if modes else ""
        if not _NUMBERS.fullmatch(said):
            return ""
        if final == "r":
            self.touched.add("margins")
        single = final in "ST" and ";" not in said
        return f"\x1b[{said}{final}" if final in _MOVES or single or final == "r" or (final in "su" and not said) else ""

    def ending(self) -> str:
        """What puts a terminal right again that has been shown this."""
        back = ["\x1b[0m"] if self.touched else []
        back += ["\x1b(B"] if "charset" in self.touched else []
        back += [f"\x1b[{mode}l" for mode in ("?1049", "?1047", "?47", "?1", "?2004") if mode in self.touched]
        back += ["\x1b7\x1b[r\x1b8"] if "margins" in self.touched else []
        back += ["\x1b[?7h"] if "?7" in self.touched else []
        back += ["\x1b[?25h"] if self.touched & {"?25", "?12"} else []
        back += ["\x1b>"] if "keypad" in self.touched else []
        return "".join(back)


_DROPPED = {code: None for code in (*range(0x20), 0x7F) if code not in (0x08, 0x09, 0x0A, 0x0D)}


def plain(text: str) -> str:
    """Text without controls but NL CR BS TAB; what turns the direction of text, and 8-bit controls, shown as escapes."""
    parts = re.split(r"([\x08\r])", text.translate(_DROPPED))
    return "".join(part if part in ("\x08", "\r") else messages.clean(part) for part in parts)


def words(text: str) -> str:
    """A terminal's output as text alone: no sequences, and of a line that was written over the last writing."""
    passing = Passing()
    bare = re.sub(r"\x1b(?:\[[0-?]*[@-~]|\([0B]|[ -~])", "", passing(text))
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in bare.split("\n")]
    return "\n".join(re.sub(r"[^\x08]\x08|\x08", "", line) for line in lines)
