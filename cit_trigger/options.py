"""Options as people write them, and the sections that they become: job keys, env, config, keep, files. 2 with a hint for what does not fit.

Pages: docs/stages/trigger.md, docs/format/job.md, docs/format/types.md
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from .cit_format import body, clock, document
from .cit_format.body import Time
from .cit_format.errors import DATA, USAGE, CitError
from .wish import fits, read

WITH_UNIT: dict[str, Callable[[str], int]] = {
    **dict.fromkeys(("time", "start-within", "stall", "hold-on-failure"), clock.duration),
    **dict.fromkeys(("mem", "tmp"), clock.size),
}
LONGEST = 30 * clock.DAY  # what a queue takes

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secrecy(NamedTuple):
    """What is asked for in secret: --secret, --seal-to, --seal-script, --secrets-of, --key, and which builders the job may go to."""

    secrets: list[str]
    to: list[str]
    script: bool
    old: str | None
    key: str | None
    builder: str | None
    tags: list[str]

    @property
    def is_meant(self) -> bool:
        return bool(self.secrets or self.to or self.script or self.old)


def spelt_out(arguments: list[str]) -> list[str]:
    """The command line with `--source` alone written as `--source=.`; what follows `--` stays as it is."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return ["--source=." if word == "--source" else word for word in arguments[:end]] + arguments[end:]


def after_dashes(arguments: list[str]) -> list[str]:
    """What stands after the first `--`; nothing where there is none."""
    return arguments[arguments.index("--") + 1 :] if "--" in arguments else []


def check_text(words: Iterable[str], what: str) -> None:
    """2 where one of these is bytes that are no UTF-8: a document holds text."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise CitError(USAGE, f"{what} holds bytes that are no UTF-8", "only a command after -- and lines of --each may") from None


def job_keys(given: Mapping[str, object], now: int) -> dict[str, object]:
    """The keys of the job section that were asked for, each checked; options that were not given are left out."""
    asked = {key: value for key, value in given.items() if value not in (None, False, [])}
    for key, value in asked.items():
        if key in WITH_UNIT:
            with_unit(key, str(value))
        elif key in ("begin", "deadline"):
            asked[key] = moment(key, str(value), now)
        elif key not in ("cpus", "priority", "attempts", "hold", "nice", "latest-running", "tty", "fresh"):  # these Typer has checked
            by_dictionary(key, value)
    begin, deadline = asked.get("begin"), asked.get("deadline")
    if isinstance(deadline, Time) and deadline <= max(now, begin if isinstance(begin, Time) else now):
        raise CitError(USAGE, f"the deadline {deadline} is over before the job can begin", "--deadline is a UTC time, or now+2h")
    if "latest-running" in asked and "latest" not in asked:
        raise CitError(USAGE, "--latest-running without --latest", "--latest WORD says of which jobs only the newest is wanted")
    if "fresh" in asked and "same" not in asked:
        raise CitError(USAGE, "--fresh without --same", "without it each job runs; --same mine has one run answer equal jobs of yours")
    if "retry-on" in asked and "attempts" not in asked:
        raise CitError(USAGE, "--retry-on without --attempts", "--attempts 2 allows one more start; without it nothing is started again")
    return asked


def tags(said: Iterable[str]) -> list[str]:
    """Tags of --constraint: given again, or joined as `cit add --tags` has them, or as Slurm has."""
    return [tag for each in said for tag in each.replace("&", ",").split(",")]


def with_unit(key: str, text: str) -> None:
    """2 where a duration or size is none, or has no unit."""
    try:
        WITH_UNIT[key](text)
    except CitError as error:
        raise CitError(USAGE, f"--{key}: {error.what}", error.hint) from None


def by_dictionary(key: str, value: object) -> None:
    """2 where the dictionary of sections says that this is no value of a job's key."""
    from .cit_format import dictionary

    assert isinstance(value, (str, int, list))
    entry = dictionary.read()["job", "1"].keys[key]
    fault = dictionary.objection(entry, value)
    if fault:
        raise CitError(USAGE, f"--{key} {fault}", entry.why)


def moment(key: str, text: str, now: int) -> Time:
    """A UTC time, or `now+DURATION`."""
    try:
        return Time(now + clock.duration(text[4:]) if text.startswith("now+") else clock.parse(text))
    except CitError as error:
        hint = f"a time from now has a unit: now+{text}m" if text.isdigit() else "write 2026-11-23T20:26:11Z, or now+2h"
        raise CitError(USAGE, f"--{key}: {error.what}", hint) from None


def lifetime(text: str) -> int:
    """Microseconds for which a job may be accepted."""
    try:
        length = clock.duration(text)
    except CitError as error:
        raise CitError(USAGE, f"--expires: {error.what}", error.hint) from None
    if not 0 < length <= LONGEST:
        raise CitError(USAGE, f"--expires {text}", "a queue takes a job for 30 days at most: 7d, 12h")
    return length


# --- sections -------------------------------------------------------------------------------------------------------


def sections(export: Iterable[str], config: Iterable[str], keep: Iterable[str], files: Iterable[str]) -> list[bytes]:
    """The sections env, config, keep and files, those that were asked for."""
    written = []
    variables = dict(variable(item) for item in export)
    if variables:
        written.append(document.section("env", "tsv", body.tsv(variables.items())))
    settings = {name: value for item in config for name, value in setting(item)}
    if settings:
        written.append(document.section("config", "tsv", body.tsv(settings.items())))
    globs = list(keep)
    if globs:
        for glob in globs:
            check_below(glob, "--keep")
        written.append(document.section("keep", "tsv", body.tsv([glob] for glob in globs)))
    brought = list(files)
    if brought:
        from .archive import archives

        for archive in archives(brought):
            written.append(document.section("files", "tar", archive))
            fits(written[-1], "what --files names")
    return written


def grants(files: Iterable[str]) -> list[bytes]:
    """The sections of permissions that the job carries, from files as `cit grant` writes them; 65 where one is none."""
    from .cit_format import grant

    written = []
    for file in files:
        text = read(file, "--grant")
        grant.parse(text, file)
        written.append(document.section("grant", "text", text))
    return written


def variable(item: str) -> tuple[str, str]:
    """NAME=VALUE as given, or NAME with its value here."""
    name, given, value = item.partition("=")
    if not _VARIABLE.fullmatch(name):
        raise CitError(USAGE, f"--export: {name!r} is no name of a variable", "letters, digits and _, no digit first: --export NAME=VALUE")
    if not given:
        if name not in os.environ:
            raise CitError(USAGE, f"--export: {name} is not set here", f"say its value: --export {name}=VALUE")
        value = os.environ[name]
        check_text([value], f"--export {name}")
    return name, value


def setting(item: str) -> Iterable[tuple[str, str]]:
    """NAME=VALUE as given, or every such line of a file; `#` begins a comment line."""
    name, given, value = item.partition("=")
    if given:
        if not name:
            raise CitError(USAGE, f"--config {item!r}", "--config NAME=VALUE, or a file of such lines")
        return [(name, value)]
    text = os.fsdecode(read(item, "--config"))
    check_text([text], item)
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    for line in lines:
        if not line.partition("=")[0] or "=" not in line:
            raise CitError(DATA, f"{item}: {line[:60]!r} is no setting", "a file for --config has NAME=VALUE on each line")
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def check_below(path: str, option: str) -> None:
    """2 where a path leads out of the workspace."""
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise CitError(USAGE, f"{option} {path!r}", "a path below the workspace, without .. in it")
