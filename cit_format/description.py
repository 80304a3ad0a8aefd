"""What a build interface says of itself, and whether a call fits it. Pure (docs/format/interface.md).

    -           interface  -      -           -     -     Builds zlib and tests it.
    version     string     1..20  [0-9.]+     1     -     Which version.
    tests       bool       -      -           0..1  true  Run its own tests.
    --public    view       -      -           -     -     The last line of the log.

Rows of TSV: parameter, type, range, pattern, times, default, help; `-` where there is nothing to say.
Fails: 65, with the parameter named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Optional

from . import body, clock, pattern
from .body import Value
from .document import Section
from .errors import DATA, CitError

NONE = "-"
ITSELF, VIEW = "interface", "view"  # types of rows that are no parameters
TIMES = {"1": (1, 1), "0..1": (0, 1), "1..": (1, 0), "0..": (0, 0)}  # the least and the most (0: any number)
WORDS = ("describe", "public", "same", "help", "interface")  # no parameters: options of the program itself, and the call's own key
COLUMNS = 7
LIMIT = 64 << 10  # bytes of a description
USUAL, MOST = 4096, 100_000  # characters of a text: without a range, and with any
ALTOGETHER = 1 << 20  # bytes of all arguments: what every kernel takes

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.A)
_PATH = re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\x00]+", re.S)


class Parameter(NamedTuple):
    """One parameter, as its row says it; `default` None: it has none."""

    name: str
    type: str
    range: str
    pattern: str
    times: str
    default: Optional[str]
    help: str

    @property
    def is_needed(self) -> bool:
        return TIMES[self.times][0] > 0

    @property
    def is_list(self) -> bool:
        return TIMES[self.times][1] == 0


class Description(NamedTuple):
    """An interface: its name, what it does, its parameters in order, what its public view shows, what `--same` tells (empty: it has none)."""

    name: str
    help: str
    parameters: dict[str, Parameter]
    view: str = ""
    same: str = ""


# --- what it says -------------------------------------------------------------------------------------------------------


def parse(name: str, raw: bytes) -> Description:
    """The description that an interface printed; 65 where it is none."""
    try:
        if len(raw) > LIMIT:
            raise _fault(f"{clock.size_text(len(raw))} long", f"at most {LIMIT >> 10}K")
        if raw[-1:] not in (b"", b"\n") or b"\r" in raw or b"\0" in raw:
            raise _fault("no text of whole lines", "each row ends with a newline, and holds no CR or NUL")
        return _described(name, body.rows(raw))
    except UnicodeDecodeError:
        raise _fault("no UTF-8", "descriptions are plain text", name) from None
    except CitError as error:
        raise CitError(DATA, f"the description of {name}: {error.what}", error.hint) from None


def of_section(section: Section) -> Description:
    """The description in an `interface` section; 65 where it is none."""
    if section.version != "1" or section.form != "tsv" or "name" not in section.attributes:
        raise _fault("no interface section that is known here", "it reads: @begin interface 1 tsv name=NAME")
    return parse(section.attributes["name"], section.body())


def _described(name: str, rows: list[list[str]]) -> Description:
    found = Description(name, "", {})
    is_told = False
    for number, row in enumerate(rows, 1):
        if len(row) != COLUMNS:
            raise _fault(f"row {number} has {len(row)} columns, not {COLUMNS}", "parameter, type, range, pattern, times, default, help")
        word, kind, *_, help_text = row
        if (word, kind) == (NONE, ITSELF) and not is_told:
            found, is_told = found._replace(help=help_text), True
        elif (word, kind) == ("--public", VIEW) and not found.view:
            found = found._replace(view=help_text or "public view")
        elif (word, kind) == ("--same", VIEW) and not found.same:
            found = found._replace(same=help_text or "equal requests have one answer")
        elif word in found.parameters:
            raise _fault(f"row {number}: {word} a second time", "each parameter has one row")
        else:
            found.parameters[word] = _parameter(number, row)
    if not is_told:
        raise _fault("no row that says what it does", "the first row reads: - interface - - - - WHAT IT DOES, with tabs")
    return found


def _parameter(number: int, row: list[str]) -> Parameter:
    name, kind, range_text, pattern_text, times, default, help_text = row
    found = Parameter(name, kind, range_text if range_text != NONE else "", pattern_text if pattern_text != NONE else "", times, default, help_text)
    place = f"row {number}, {name[:40]}"
    if not _NAME.fullmatch(name) or name in WORDS:
        raise _fault(f"row {number}: {name[:40]!r} is no name of a parameter", f"a-z 0-9 _ -, a letter first, and none of {', '.join(WORDS)}")
    if kind not in _TYPES:
        raise _fault(f"{place}: no type {kind[:40]!r}", f"types are {', '.join(_TYPES)}")
    if times not in TIMES:
        raise _fault(f"{place}: {times[:40]!r} says not how often it is given", "1, 0..1, 1.. or 0..")
    if kind == "bool" and found.range or kind == "choice" and not found.range:
        raise _fault(f"{place}: its range", "a choice has one, a|b|c; a bool has none")
    try:
        if kind not in ("bool", "choice"):
            _ends(found)
        if found.pattern:
            pattern.compiled(found.pattern)
        if default == NONE:
            return found._replace(default=None)
        if found.is_needed:
            raise _fault("has a default and is needed all the same", "times 0..1, or no default")
        check(found, default)
    except CitError as error:
        raise _fault(f"{place}: {error.what}", error.hint) from None
    return found


def written(described: Description) -> bytes:
    """A description as its program prints it."""
    rows = [(NONE, ITSELF, NONE, NONE, NONE, NONE, described.help)]
    for each in described.parameters.values():
        default = NONE if each.default is None else each.default
        rows.append((each.name, each.type, each.range or NONE, each.pattern or NONE, each.times, default, each.help))
    if described.view:
        rows.append(("--public", VIEW, NONE, NONE, NONE, NONE, described.view))
    if described.same:
        rows.append(("--same", VIEW, NONE, NONE, NONE, NONE, described.same))
    return body.tsv(rows)


# --- what a call says ---------------------------------------------------------------------------------------------------


def arguments(described: Description, given: Mapping[str, Value]) -> list[str]:
    """The arguments of a call in the order of the description, defaults among them: `--version=1.3`. 65 where one does not fit."""
    unknown = next((name for name in given if name not in described.parameters and name != "interface"), None)
    if unknown is not None:
        known = ", ".join(described.parameters) or "none"
        raise CitError(DATA, f"{described.name} has no parameter {unknown[:60]!r}", f"it has {known}")
    found = []
    for name, each in described.parameters.items():
        texts = texts_of(given[name]) if name in given else [] if each.default is None else [each.default]
        least, most = TIMES[each.times]
        try:
            if len(texts) < least:
                raise CitError(DATA, "is needed", each.help)
            if most and len(texts) > most:
                raise CitError(DATA, f"is given {len(texts)} times", "once is enough")
            for text in texts:
                check(each, text)
        except CitError as error:
            raise CitError(DATA, f"parameter {name} {error.what}", error.hint or f"cit interfaces {described.name} says what it takes") from None
        found += [f"--{name}={text}" for text in texts]
    if sum(len(each.encode()) + 1 for each in found) > ALTOGETHER:
        raise CitError(DATA, "parameters of more than 1M altogether", "bring large data as files: --files")
    return found


def texts_of(value: Value) -> list[str]:
    """A value of cit TOML as the texts that a program is given."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return [("true" if value else "false") if isinstance(value, bool) else str(value)]


def typed(described: Description | None, words: Iterable[str]) -> dict[str, Value]:
    """`name=value` words of a command line as keys of `call`; without a description all are texts. 65 where one does not fit."""
    texts: dict[str, list[str]] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given or not _NAME.fullmatch(name) or name in WORDS:
            raise CitError(DATA, f"{word[:60]!r} is no parameter", "NAME=VALUE; the name in small letters, digits, _ and -")
        texts.setdefault(name, []).append(value)
    if described is not None:
        arguments(described, dict(texts.items()))
    return {name: _value(described.parameters[name] if described else None, found) for name, found in texts.items()}


def _value(known: Parameter | None, texts: list[str]) -> Value:
    if known is not None and known.is_list or len(texts) > 1:
        return texts
    if known is not None and known.type == "bool":
        return texts[0] == "true"
    return int(texts[0]) if known is not None and known.type == "int" and str(int(texts[0])) == texts[0] else texts[0]


def check(known: Parameter, text: str) -> None:
    """65 where a text is no value of a parameter."""
    if "\0" in text:
        raise CitError(DATA, "holds a NUL", "no program can be given one")
    _TYPES[known.type](known, text)
    if known.pattern and not pattern.is_match(known.pattern, text):
        raise CitError(DATA, f"is {text[:60]!r}, which does not match {known.pattern[:60]}", known.help)


# --- types --------------------------------------------------------------------------------------------------------------


def _ends(known: Parameter) -> tuple[int | None, int | None]:
    """The least and the greatest of a range, in its type's own unit; None: no end."""
    if not known.range:
        return None, None
    low, dots, high = known.range.partition("..")
    if not dots or not low + high:
        raise CitError(DATA, f"{known.range[:40]!r} is no range", "LOW..HIGH, and one of them may be missing")
    read = _MEASURES.get(known.type, _integer)
    ends = read(low) if low else None, read(high) if high else None
    if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
        raise CitError(DATA, f"the range {known.range} runs backwards", "LOW..HIGH")
    return ends


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise CitError(DATA, f"is {text[:60]!r}, no integer", "digits, perhaps with a - before them")
    return int(text)


_MEASURES: dict[str, Callable[[str], int]] = {"int": _integer, "duration": clock.duration, "size": clock.size}


def _measured(known: Parameter, text: str) -> None:
    try:
        value = _MEASURES[known.type](text)
    except CitError as error:
        raise CitError(DATA, error.what if known.type == "int" else f"is wrong: {error.what}", error.hint) from None
    low, high = _ends(known)
    if low is not None and value < low or high is not None and value > high:
        raise CitError(DATA, f"is {text}, not in {known.range}", known.help)


def _text(known: Parameter, text: str) -> None:
    low, high = _ends(known)
    most = min(MOST, USUAL if high is None else high)
    if len(text) < (low or 0) or len(text) > most or len(text.encode()) > MOST:
        raise CitError(DATA, f"has {len(text)} characters, not {low or 0}..{most}", known.help)


def _path(known: Parameter, text: str) -> None:
    if not _PATH.fullmatch(text):
        raise CitError(DATA, f"is {text[:60]!r}, no path below the workspace", "not from the root, and without ..")
    _text(known, text)


def _bool(_: Parameter, text: str) -> None:
    if text not in ("true", "false"):
        raise CitError(DATA, f"is {text[:60]!r}, neither true nor false", "write true or false")


def _choice(known: Parameter, text: str) -> None:
    words = known.range.split("|")
    if text not in words:
        raise CitError(DATA, f"is {text[:60]!r}, not one of {', '.join(words)}", known.help)


_TYPES: dict[str, Callable[[Parameter, str], None]] = {
    "string": _text,
    "int": _measured,
    "bool": _bool,
    "choice": _choice,
    "path": _path,
    "duration": _measured,
    "size": _measured,
}


def _fault(what: str, hint: str, where: str = "") -> CitError:
    return CitError(DATA, f"the description of {where}: {what}" if where else what, hint)
