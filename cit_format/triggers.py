"""Trigger lists: what is looked at, and what is pushed when it has changed (docs/howto/trigger-lists.md). Pure.

    repo https://sun/zlib.git main  =>  -J zlib -- make check
    time 0 3 * * * Europe/Berlin    =>  -J nightly -- ./nightly
    #file /srv/in/*.csv             =>  -J import -- ./import {}

A line is read into words as a shell reads them: quotes and backslashes, and nothing else. `#` as its first letter turns it off.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import NamedTuple, Union

from . import clock, cron
from .dictionary import STATES
from .errors import DATA, CitError
from .grammar import NAME

ARROW = "=>"
REPO, FILE, JOB, TIME, EVERY, OUTPUT = "repo", "file", "job", "time", "every", "output"
LIMIT = 1 << 20  # bytes of a list
LINES = 1000  # that are on
SHORTEST = clock.MINUTE  # of `every`: cron looks no oftener

_PLAIN = re.compile(r"[^\s'\"\\]+")
_PERSON = re.compile(r"by=(?:anyone|[^\s@]+@[^\s@]+)")
_FORBIDDEN = ("--list", "--each", "--sign", "-n", "--dry-run", "--secrets-of")  # options of a push that cannot be one line's


class Line(NamedTuple):
    """A line that is on: its number, what is looked at (`repo`, `file`, ...) and where, the words of cit-trigger, and by what it is remembered."""

    number: int
    kind: str
    words: list[str]
    push: list[str]
    key: str


class Fault(NamedTuple):
    """A line that means nothing: its number, itself, why."""

    number: int
    text: str
    error: CitError


def lines(text: str) -> Iterator[Union[Line, Fault]]:
    """The lines of a list that are on. Those that look at the same are told apart by their order: `repo URL`, `repo URL #2`."""
    met: dict[str, int] = {}
    count = 0
    for number, written in enumerate(text.split("\n"), 1):
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        count += 1
        try:
            if count > LINES:
                raise _fault(f"more than {LINES} lines", "make two lists of them")
            kind, words, push = _parts(written)
        except CitError as error:
            error.where = error.where or f"line {number}"
            yield Fault(number, written, error)
            continue
        key = " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in (kind, *words))
        met[key] = met.get(key, 0) + 1
        yield Line(number, kind, words, push, key if met[key] == 1 else f"{key} #{met[key]}")


def _parts(written: str) -> tuple[str, list[str], list[str]]:
    """Kind, words and push of a line; 65 where it means nothing."""
    try:
        found = shlex.split(written)
    except ValueError as why:
        raise _fault(f"the words of the line cannot be told apart: {why}", "quote as the shell does") from None
    if ARROW not in found:
        raise _fault(f"no {ARROW} in it", "WHAT IS LOOKED AT => OPTIONS -- COMMAND; a # as first letter turns a line off")
    at = found.index(ARROW)
    looked, push = found[:at], found[at + 1 :]
    if not looked or looked[0] not in _CHECKS:
        raise _fault(f"{looked[0][:40] if looked else ARROW!r} is nothing that can be looked at", f"one of {', '.join(_CHECKS)}")
    _CHECKS[looked[0]](looked[1:])
    options = push[: push.index("--")] if "--" in push else push
    wrong = next((word for word in options if word.split("=")[0] in _FORBIDDEN), None)
    if wrong is not None:
        raise _fault(f"{wrong[:40]} in a trigger list", "a line makes one signed job")
    if push[len(options) + 1 :] == [] and not any(word.split("=")[0] in ("--script", "--call") for word in options):
        raise _fault("nothing to push", "after => come options of cit-trigger, then -- and a command; or --script FILE, or --call NAME")
    return looked[0], looked[1:], push


def _repo(words: list[str]) -> None:
    if not 1 <= len(words) <= 2:
        raise _fault(f"repo with {len(words)} words", "repo URL, or repo URL REF")


def _file(words: list[str]) -> None:
    if not words or "" in words:
        raise _fault("file without a path", "file PATH..., with * ? [ ] and ** as in a shell")


def _job(words: list[str]) -> None:
    if not words or not NAME.fullmatch(words[0]):
        raise _fault("job without the name of a job", "job NAME [STATE...] [by=PERSON|by=anyone]")
    for word in words[1:]:
        if word not in STATES[3:] and not _PERSON.fullmatch(word):
            raise _fault(f"{word[:40]!r} is no end of a job", f"{', '.join(STATES[3:])}, or by=USER@HOST")


def _time(words: list[str]) -> None:
    when(words)


def when(words: list[str]) -> tuple[cron.Cron, tzinfo]:
    """The time and zone that the words of a `time` line mean."""
    fields = " ".join(words).split()
    count = 1 if fields and fields[0].startswith("@") else 5
    if len(fields) not in (count, count + 1):
        raise _fault("no time", "time MINUTE HOUR DAY MONTH WEEKDAY [ZONE], as in a crontab: time 0 3 * * *")
    return cron.parse(" ".join(fields[:count])), cron.zone(fields[count] if fields[count:] else cron.UTC)


def _every(words: list[str]) -> None:
    try:
        length = clock.duration(" ".join(words))
    except CitError as error:
        raise _fault(f"every: {error.what}", error.hint) from None
    if length < SHORTEST:
        raise _fault(f"every {' '.join(words)}", "a minute at least: every 30m, every 1d")


def _output(words: list[str]) -> None:
    if not words or not words[0]:
        raise _fault("output of nothing", "output COMMAND...: what it prints is looked at")


_CHECKS: dict[str, Callable[[list[str]], None]] = {REPO: _repo, FILE: _file, JOB: _job, TIME: _time, EVERY: _every, OUTPUT: _output}


def _fault(what: str, hint: str) -> CitError:
    return CitError(DATA, what, hint)
