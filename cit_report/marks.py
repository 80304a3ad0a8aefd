"""Marks of other CI systems, of make and of TAP in a log, read when it is shown and never when it runs (docs/howto/logs-and-parts.md). Pure.

::group::TITLE  ::endgroup::                                     GitHub (##[group] too)
section_start:TIME:NAME[OPTIONS] CR TITLE  section_end:TIME:NAME GitLab
--- TITLE  +++ TITLE  ~~~ TITLE                                  Buildkite; +++ is open; the two lines of a diff are none
make[1]: Entering directory 'DIR'  Leaving directory 'DIR'       make
ok 1 - NAME  not ok 2 - NAME  1..N  Bail out!                    TAP, subtests indented
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Union

GITHUB, GITLAB, BUILDKITE, MAKE = "github", "gitlab", "buildkite", "make"
_START, _END = "start", "end"
TITLE = 200  # letters of a title

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_GITHUB = re.compile(r"(?:::(end)?group::|##\[(end)?group\])(.*)")
_ERROR = re.compile(r"(?:::error(?: [^:]*(?::[^:]+)*)?::|##\[error\])(.*)")
_GITLAB = re.compile(r"section_(start|end):([0-9]+):([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\r?(.*)")
_BUILDKITE = re.compile(r"(---|\+\+\+|~~~) (\S.*)")
_MAKE = re.compile(r"\S*make(?:\[[0-9]+\])?: (Entering|Leaving) directory [`'](.*)'")
_TAP = re.compile(r"( *)(not )?ok ([0-9]+)\b(?: *-? *)(.*)")
_DIRECTIVE = re.compile(r"(?<!\\)# *(todo|skip)", re.I)
_BAIL = re.compile(r"Bail out!.*")


class Group:
    """Lines that belong together: what stands in it, in order, are numbers of lines and groups. `is_open`: it is to be shown with its lines."""

    def __init__(self, kind: str, title: str, key: str, first: int, is_open: bool = False) -> None:
        self.kind = kind
        self.title = title
        self.key = key
        self.first = first
        self.last = first
        self.is_open = is_open
        self.items: list[Union[int, Group]] = []
        self.ok = 0
        self.not_ok = 0
        self.errors = 0

    @property
    def lines(self) -> int:
        """How many lines are in it and in the groups within it, marks left out."""
        return sum(item.lines if isinstance(item, Group) else 1 for item in self.items)


class Mark(NamedTuple):
    """A line that begins or ends a group."""

    kind: str
    act: str
    key: str
    title: str = ""
    is_open: bool = False


# --- lines ----------------------------------------------------------------------------------------------------------


def bare(line: str) -> str:
    """A line without colours, and without its end."""
    return _COLOUR.sub("", line).rstrip("\r\n")


def mark(line: str, following: str = "", before: str = "") -> Mark | None:
    """What a line marks; None where it is text. `following` and `before` are the lines beside it, as a diff has two."""
    if line[:1] not in ":#s-+~m/" and "make" not in line[:40]:
        return None
    found = _GITHUB.fullmatch(line)
    if found:
        return Mark(GITHUB, _END if found[1] or found[2] else _START, "", found[3].strip())
    found = _GITLAB.fullmatch(line)
    if found:
        return Mark(GITLAB, found[1], found[3], found[4].strip() or found[3])
    found = _MAKE.fullmatch(line)
    if found:
        return Mark(MAKE, _START if found[1] == "Entering" else _END, found[2], found[2])
    found = _BUILDKITE.fullmatch(line)
    if found and not (found[1] == "---" and following.startswith("+++ ")) and not (found[1] == "+++" and before.startswith("--- ")):
        return Mark(BUILDKITE, _START, "", found[2], found[1] == "+++")
    return None


# --- the tree -------------------------------------------------------------------------------------------------------


def tree(lines: Sequence[str]) -> Group:
    """A log as a group of groups. Whatever is not closed ends with what it is in."""
    whole = Group("", "", "", 0, True)
    stack = [whole]
    texts = [bare(line) for line in lines]
    for number, text in enumerate(texts):
        found = mark(text, texts[number + 1] if number + 1 < len(texts) else "", texts[number - 1] if number else "")
        if found is None:
            stack[-1].items.append(number)
            _count(stack, text)
        elif found.act == _START:
            if found.kind == BUILDKITE:
                _close(stack, BUILDKITE, "")
            group = Group(found.kind, found.title[:TITLE], found.key, number, found.is_open)
            stack[-1].items.append(group)
            stack.append(group)
        else:
            _close(stack, found.kind, found.key)
        for group in stack:
            group.last = number
    for group in stack:
        group.is_open = True
    return whole


def _close(stack: list[Group], kind: str, key: str) -> None:
    """Close the innermost group of this kind and key, and what is within it; where there is none, nothing."""
    for at in range(len(stack) - 1, 0, -1):
        if stack[at].kind == kind and stack[at].key == key:
            del stack[at:]
            return


def _count(stack: Iterable[Group], text: str) -> None:
    test = _TAP.fullmatch(text)
    is_error = _ERROR.fullmatch(text) is not None or _BAIL.fullmatch(text) is not None
    for group in stack if test or is_error else ():
        group.errors += is_error
        if test:
            fails = test[2] and not _DIRECTIVE.search(test[4])
            group.not_ok += bool(fails)
            group.ok += not fails
            group.is_open = group.is_open or bool(fails)
        group.is_open = group.is_open or is_error


def groups(whole: Group, depth: int = 0) -> Iterator[tuple[int, Group]]:
    """All groups within a group, each with how deep it is."""
    for item in whole.items:
        if isinstance(item, Group):
            yield depth, item
            yield from groups(item, depth + 1)


# --- TAP ------------------------------------------------------------------------------------------------------------


def failures(lines: Iterable[str]) -> list[str]:
    """The tests that TAP says failed, `not ok 3 - name`: of those with subtests the subtests; and why it stopped."""
    found: list[str] = []
    below: dict[int, bool] = {}  # by indentation: whether a test that is deeper failed since the last one here
    for line in map(bare, lines):
        test = _TAP.fullmatch(line)
        if test is None:
            found += [line] if _BAIL.fullmatch(line) else []
            continue
        depth, fails = len(test[1]), bool(test[2]) and not _DIRECTIVE.search(test[4])
        had = any(failed for deep, failed in below.items() if deep > depth)
        below = {deep: failed for deep, failed in below.items() if deep < depth}
        below[depth] = fails or had
        if fails and not had:
            found.append(line.strip())
    return found
