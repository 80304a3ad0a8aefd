"""cit-trigger: a wish becomes a signed job.

Reads: a command, a script, a repository, one job a line (--each); with --append documents to sign. Writes: job documents to stdout.
Exits: 0; 2 usage; 65 does not fit a job; 66 no such queue or file; 77 the key does not sign (docs/messages.md).
How: sections job, script, env, ... are written, then signed with the person's ssh key. Nothing else happens: no file, no queue.
Pages: docs/stages/trigger.md, docs/format/job.md
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from typing import NamedTuple, Optional

import typer

from .cit_format import body, clock, command, document, home, keys, names
from .cit_format.errors import CONFIG, NOT_FOUND, USAGE, CitError

READS: dict[str, str] = {}
WRITES = {"env": "1", "job": "1", "keep": "1", "script": "1", "signature": "1"}


# --- decisions ------------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """What one job is to be: its name, the keys of its job section, and its other sections as written."""

    name: str
    job: dict[str, object]
    sections: tuple[bytes, ...]


def command_script(words: list[str]) -> bytes:
    """The script that runs a command: its words quoted for sh, so that none of them is read as anything else."""
    return f"#!/bin/sh\nexec {shlex.join(words)}\n".encode()


def job_name(wanted: str | None, words: list[str]) -> str:
    """The job's name: as wanted, else made of the command's first word."""
    if wanted is not None:
        return wanted
    plain = os.path.basename(words[0]).lower() if words else "job"
    return ("".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in plain).lstrip("._-") or "job")[:64]


def filled(words: list[str], line: str) -> list[str]:
    """The words with `{}` replaced by the line, as GNU parallel has it; without any `{}` the line is one word more."""
    if any("{}" in word for word in words):
        return [word.replace("{}", line) for word in words]
    return [*words, line]


def made(wish: Wish, who: dict[str, object], created: int, expires: int) -> document.Document:
    """The unsigned job document of a wish."""
    job = {**who, "created": body.Time(created), "expires": body.Time(expires), **wish.job}
    return document.new(wish.name, document.section("job", "toml", body.toml(job)), *wish.sections)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    words: Optional[list[str]] = typer.Argument(None, metavar="[--] COMMAND...", help="What to run; {} stands for a line of --each"),
    name: Optional[str] = typer.Option(None, "-J", "--name", help="Name of the job; else the command's"),
    script: Optional[str] = typer.Option(None, "--script", help="A file that is run, or - for stdin"),
    each: Optional[str] = typer.Option(None, "--each", metavar="FILE|-", help="One job a line"),
    queue: Optional[str] = typer.Option(None, "--queue", help="@NAME or a directory; else the first of `queues`, or @main"),
    time: Optional[str] = typer.Option(None, "-t", "--time", help="Time limit: 90s, 30m, 2h30m, 1-02:03:04"),
    cpus: Optional[int] = typer.Option(None, "-c", "--cpus", min=1, help="Processors"),
    mem: Optional[str] = typer.Option(None, "--mem", help="Memory: 512M, 4G"),
    tmp: Optional[str] = typer.Option(None, "--tmp", help="Disk space of the workspace: 10G"),
    constraint: Optional[list[str]] = typer.Option(None, "-C", "--constraint", help="A tag that the builder must have"),
    builder: Optional[str] = typer.Option(None, "-w", "--builder", help="The only builder that may run it"),
    begin: Optional[str] = typer.Option(None, "-b", "--begin", help="Not before: a UTC time, or now+2h"),
    deadline: Optional[str] = typer.Option(None, "--deadline", help="Ended by then: a UTC time, or now+2h"),
    hold: bool = typer.Option(False, "-H", "--hold", help="Wait until it is released"),
    priority: Optional[int] = typer.Option(None, "--priority", min=names.LOWEST, max=names.HIGHEST, help="Greater is sooner"),
    attempts: Optional[int] = typer.Option(None, "--attempts", min=1, help="The most starts"),
    retry_on: Optional[list[str]] = typer.Option(None, "--retry-on", help="fail, lost or 75"),
    export: Optional[list[str]] = typer.Option(None, "--export", metavar="NAME[=VALUE]", help="A variable of the job's environment"),
    keep: Optional[list[str]] = typer.Option(None, "--keep", metavar="GLOB", help="Files of the workspace to keep"),
    parent: Optional[str] = typer.Option(None, "--parent", help="ID of the job that this one repeats or came from"),
    expires: str = typer.Option("30d", "--expires", help="How long the job may be accepted"),
    key: Optional[str] = typer.Option(None, "--key", help="The ssh key that signs; else your own"),
) -> int:
    """Make a signed job of a command or script and write it to stdout."""
    now = clock.now()
    place = home.find_queue(queue)
    signer = own_key(key)
    who: dict[str, object] = {"submitter": home.person(), "key": signer.public.fingerprint, "queue": place.full_name}
    job: dict[str, object] = {
        "cpus": cpus,
        "time": checked(time, clock.duration),
        "mem": checked(mem, clock.size),
        "tmp": checked(tmp, clock.size),
        "constraint": constraint or None,
        "builder": builder,
        "begin": moment(begin, now),
        "deadline": moment(deadline, now),
        "hold": hold or None,
        "priority": priority or None,
        "attempts": attempts,
        "retry-on": retry_on or None,
        "parent": parent,
    }
    sections = []
    if export:
        sections.append(document.section("env", "tsv", body.tsv(variable(item) for item in export)))
    if keep:
        sections.append(document.section("keep", "tsv", body.tsv([glob] for glob in keep)))
    out = sys.stdout.buffer
    for wish in wishes(list(words or []), name, script, each, job, sections):
        unsigned = made(wish, who, now, now + clock.duration(expires))
        out.write(home.signed(unsigned, signer, str(who["submitter"]), "cit-job").raw)
    out.flush()
    return 0


def wishes(words: list[str], name: str | None, script: str | None, each: str | None, job: dict[str, object], sections: list[bytes]) -> Iterator[Wish]:
    """The jobs that the command line asks for."""
    if script is not None:
        text = sys.stdin.buffer.read() if script == "-" else _read(script)
        if words:
            raise CitError(USAGE, "a command and a script", "a job has one of them")
        yield Wish(job_name(name, [script if script != "-" else "script"]), job, (*sections, document.section("script", "sh", text)))
    elif not words:
        raise CitError(USAGE, "nothing to run", "cit-trigger -- COMMAND..., or --script FILE")
    elif each is not None:
        lines = sys.stdin if each == "-" else open(each)
        with lines:
            for line in lines:
                run = filled(words, line.rstrip("\n"))
                yield Wish(job_name(name, run), job, (*sections, document.section("script", "sh", command_script(run))))
    else:
        yield Wish(job_name(name, words), job, (*sections, document.section("script", "sh", command_script(words))))


def own_key(wanted: str | None) -> keys.Signer:
    """The key that signs: the wanted one, else the person's own; 78 where there is none."""
    place = home.ensure()
    configured = wanted or home.settings(place / "config.toml").get("key")
    signer = keys.find_personal(place, str(configured) if configured else None)
    if signer is None:
        raise CitError(CONFIG, "no ssh key of your own", "make one: ssh-keygen -t ed25519, or name one with --key")
    return signer


def checked(text: str | None, grammar: object) -> str | None:
    """The text, once its grammar has been seen to hold."""
    if text is not None:
        grammar(text)  # type: ignore[operator]
    return text


def moment(text: str | None, now: int) -> body.Time | None:
    """A UTC time, or `now+DURATION`."""
    if text is None:
        return None
    if text.startswith("now+"):
        return body.Time(now + clock.duration(text[4:]))
    try:
        return body.Time(clock.parse(text))
    except CitError as error:
        raise CitError(USAGE, error.what, "write 2026-11-23T20:26:11Z, or now+2h") from None


def variable(item: str) -> tuple[str, str]:
    """NAME=VALUE as given, or NAME with its value here."""
    name, given, value = item.partition("=")
    if not given:
        if name not in os.environ:
            raise CitError(USAGE, f"{name} is not set here", f"say its value: --export {name}=VALUE")
        value = os.environ[name]
    return name, value


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        raise CitError(NOT_FOUND, f"no file {path}", "--script names a file that is here") from None


def run() -> None:
    """The program cit-trigger."""
    command.start("cit-trigger", main, lambda: command.speaks(READS, WRITES))
