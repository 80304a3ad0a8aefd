"""Patterns of parameters: POSIX extended regular expressions, matched whole, in time that no pattern can blow up. Pure.

    [0-9]+(\\.[0-9]+)*      what `grep -xE` takes, without back references; classes such as [[:digit:]] are ASCII

Fails: 65 for what is none. How: the pattern becomes states (Thompson's construction), and all that a text may stand in are followed
together: each character costs at most one look at each state. Nothing is tried twice, as backtracking would.
Pages: docs/format/interface.md
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Optional

from .errors import DATA, CitError

STATES = 2000  # the most that a pattern may become
WORK = 4_000_000  # looks that one match may cost: about a second
REPEATS = 255  # as POSIX has it
DEPTH = 50  # brackets within brackets
_CLASSES = {
    "digit": "09",
    "lower": "az",
    "upper": "AZ",
    "alpha": "azAZ",
    "alnum": "azAZ09",
    "xdigit": "09afAF",
    "space": "\t\r  ",
    "blank": "\t\t  ",
    "punct": "!/:@[`{~",
}


class Set(NamedTuple):
    """Characters: spans of them, or all but these."""

    spans: tuple[tuple[str, str], ...]
    inverse: bool = False

    def has(self, letter: str) -> bool:
        return any(low <= letter <= high for low, high in self.spans) != self.inverse


class State(NamedTuple):
    """A state: after a character of `wanted` it goes to the first of `to`; where that is None it goes to all of them at once."""

    wanted: Optional[Set]
    to: tuple[int, ...]


# What a pattern says, as a tree: ("set", Set), ("all", [parts]), ("any", [choices]), ("many", part, least, most or -1).
Tree = tuple[object, ...]
_ANY = Set((), inverse=True)


def is_match(pattern: str, text: str) -> bool:
    """Whether a text is, as a whole, what a pattern means; 65 where that is no pattern, or the text too long for it."""
    states, start, end = compiled(pattern)
    if len(states) * len(text) > WORK:
        raise CitError(DATA, f"{len(text)} characters are too many for its pattern", "a shorter text, or a simpler pattern")
    present = _closure(states, {start})
    for letter in text:
        following = {state.to[0] for state in map(states.__getitem__, present) if state.wanted is not None and state.wanted.has(letter)}
        if not following:
            return False
        present = _closure(states, following)
    return end in present


@lru_cache(maxsize=256)
def compiled(pattern: str) -> tuple[list[State], int, int]:
    """The states of a pattern, its first and its last one; 65 where it is none."""
    tree = _Reader(pattern).whole()
    states: list[State] = []
    end = _added(states, State(None, ()))
    return states, _built(states, tree, end), end


def _closure(states: list[State], found: set[int]) -> set[int]:
    """All states that are reached from these without a character."""
    reached, left = set(found), list(found)
    while left:
        state = states[left.pop()]
        if state.wanted is None:
            fresh = [each for each in state.to if each not in reached]
            reached.update(fresh)
            left += fresh
    return reached


def _added(states: list[State], state: State) -> int:
    if len(states) >= STATES:
        raise CitError(DATA, "a pattern that becomes too large", f"at most {STATES} states: fewer repetitions")
    states.append(state)
    return len(states) - 1


def _built(states: list[State], tree: Tree, after: int) -> int:
    """Add the states of a tree that go on to `after`: its first one."""
    kind = tree[0]
    if kind == "set":
        assert isinstance(tree[1], Set)
        return _added(states, State(tree[1], (after,)))
    if kind == "all":
        for each in reversed(_parts(tree)):
            after = _built(states, each, after)
        return after
    if kind == "any":
        return _added(states, State(None, tuple(_built(states, each, after) for each in _parts(tree))))
    part, least, most = tree[1], tree[2], tree[3]
    assert isinstance(part, tuple) and isinstance(least, int) and isinstance(most, int)
    end = after
    if most < 0:
        loop = _added(states, State(None, ()))
        states[loop] = State(None, (_built(states, part, loop), end))
        after = loop
    else:
        for _ in range(most - least):
            after = _added(states, State(None, (_built(states, part, after), end)))
    for _ in range(least):
        after = _built(states, part, after)
    return after


def _parts(tree: Tree) -> list[Tree]:
    parts = tree[1]
    assert isinstance(parts, list)
    return parts


class _Reader:
    """Reads a pattern from its start to its end."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0

    def fault(self, what: str) -> CitError:
        return CitError(DATA, f"the pattern {self.text[:60]!r}: {what}", "an extended regular expression, as grep -xE takes it, without \\1")

    def next(self) -> str:
        """The character at hand, which is passed; empty at the end."""
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        return letter

    def sees(self, letter: str) -> bool:
        return self.text[self.at : self.at + 1] == letter

    def whole(self) -> Tree:
        """`^` at the start and `$` at the end say what is so in any case."""
        self.at = 1 if self.sees("^") else 0
        tree = self.choice(0)
        if self.sees("$") and self.at == len(self.text) - 1:
            self.at += 1
        if self.at < len(self.text):
            raise self.fault(f"{self.text[self.at]!r} is not expected there")
        return tree

    def choice(self, depth: int) -> Tree:
        if depth > DEPTH:
            raise self.fault("too many brackets within brackets")
        found = [self.sequence(depth)]
        while self.sees("|"):
            self.at += 1
            found.append(self.sequence(depth))
        return found[0] if len(found) == 1 else ("any", found)

    def sequence(self, depth: int) -> Tree:
        found: list[Tree] = []
        while self.at < len(self.text) and not self.sees("|") and not self.sees(")") and not (self.sees("$") and self.at == len(self.text) - 1):
            found.append(self.repeated(self.atom(depth)))
        return ("all", found)

    def atom(self, depth: int) -> Tree:
        letter = self.next()
        if letter == "(":
            tree = self.choice(depth + 1)
            if self.next() != ")":
                raise self.fault("a ( without its )")
            return tree
        if letter == "[":
            return ("set", self.bracket())
        if letter == ".":
            return ("set", _ANY)
        if letter == "\\":
            letter = self.next()
            if not letter or letter.isalnum():
                raise self.fault(f"\\{letter} is not known")
        elif letter in "*+?{^$":
            raise self.fault(f"{letter!r} has nothing before it; \\{letter} is the character")
        return ("set", Set(((letter, letter),)))

    def repeated(self, tree: Tree) -> Tree:
        letter = self.text[self.at : self.at + 1]
        if letter not in ("*", "+", "?", "{"):
            return tree
        self.at += 1
        least, most = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}.get(letter) or self.bounds()
        if self.text[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise self.fault("a repetition of a repetition")
        return ("many", tree, least, most)

    def bounds(self) -> tuple[int, int]:
        """`{2}`, `{2,}`, `{2,5}`, its brace passed already."""
        said, closed, _ = self.text[self.at :].partition("}")
        low, comma, high = said.partition(",")
        if not closed or not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())) or len(said) > 7:
            raise self.fault("{ } holds one or two numbers")
        least, most = int(low), int(high) if high else -1 if comma else int(low)
        if max(least, most) > REPEATS or 0 <= most < least:
            raise self.fault(f"{{{said}}} is no number of times up to {REPEATS}")
        self.at += len(said) + 1
        return least, most

    def bracket(self) -> Set:
        """`[...]`, its first bracket passed already."""
        inverse = self.sees("^")
        self.at += inverse
        spans: list[tuple[str, str]] = []
        first = True
        while True:
            letter = self.next()
            if not letter:
                raise self.fault("a [ without its ]")
            if letter == "]" and not first:
                return Set(tuple(spans), inverse)
            first = False
            if letter == "[" and self.text[self.at : self.at + 1] in (":", ".", "="):
                spans += self.named()
            elif self.sees("-") and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.next()
                if high < letter:
                    raise self.fault(f"{letter}-{high} runs backwards")
                spans.append((letter, high))
            else:
                spans.append((letter, letter))

    def named(self) -> Iterator[tuple[str, str]]:
        """`[:digit:]` within brackets, its first bracket passed already."""
        name, closed, _ = self.text[self.at + 1 :].partition(":]")
        if not self.sees(":") or not closed or name not in _CLASSES:
            raise self.fault(f"no class is called [{self.text[self.at : self.at + 12]}")
        self.at += len(name) + 3
        ends = _CLASSES[name]
        return iter([(ends[at], ends[at + 1]) for at in range(0, len(ends), 2)])
