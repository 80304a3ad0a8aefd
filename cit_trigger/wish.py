"""What people want run, as jobs: a command, a script, one job a line; the document of each, signed.

Pages: docs/stages/trigger.md, docs/format/script-call.md
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .cit_format import arrays, body, clock, document, grammar
from .cit_format.errors import DATA, NOT_FOUND, USAGE, CitError

if TYPE_CHECKING:
    from .after import Following
    from .cit_format.keys import Signer
    from .secrets import Seal

SECTION_LIMIT = 16 << 20  # bytes of a section as written: what readers take
DOCUMENT_LIMIT = 64 << 20
LINE_LIMIT = 1 << 20  # bytes of a line of --each
PIECE = 1 << 16
SIGNED = 2048  # bytes that a signature takes at most

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


# --- names and scripts ----------------------------------------------------------------------------------------------


def job_name(wanted: str | None, words: list[str]) -> str:
    """The job's name: as wanted, else made of the command's first word; 2 where the wanted one is none."""
    plain = "".join(letter if letter in _SAFE else "-" for letter in os.path.basename((wanted or " ".join(words[:1])).rstrip("/")).lower())
    made = plain.lstrip("._-")[:64] or "job"
    if wanted is not None and not grammar.NAME.fullmatch(wanted):
        raise CitError(USAGE, f"{wanted[:80]!r} is no name of a job", f"1 to 64 of a-z 0-9 . _ -, a letter or digit first: --name {made}")
    return wanted or made


def script_of(words: list[str]) -> Callable[[str], bytes]:
    """A function that makes the script of a command for a line: `{}` in a word is the line, as GNU parallel has it.

    Without any `{}` the line is one word more; None of a word is ever read by the shell as anything but itself.
    """
    if any("{}" in word for word in words):
        return lambda line: command_script([word.replace("{}", line) for word in words])
    fixed = shlex.join(words)
    return lambda line: _becoming(f"{fixed} {shlex.quote(line)}")


def command_script(words: list[str]) -> bytes:
    """The script that becomes a command: its words quoted for sh. 65 where one holds a NUL, which no process can be given."""
    return _becoming(shlex.join(words))


def _becoming(quoted: str) -> bytes:
    if "\0" in quoted:
        raise CitError(DATA, "a NUL byte in a word of the command", "words of a command cannot hold it; put it into a file")
    return os.fsencode(f"#!/bin/sh\nexec {quoted}\n")


def line_script(line: str) -> bytes:
    """The script of a line of --each that is a command line itself."""
    return os.fsencode(f"#!/bin/sh\n{line}\n")


def file_script(text: bytes, name: str) -> bytes:
    """A script as it stands in its file; a last newline is added where it is missing, so that it can be read in the document."""
    if not text.strip():
        raise CitError(DATA, f"{name}: the script is empty", "--script names a program text")
    return text if text.endswith(b"\n") or not document.is_text(text + b"\n") else text + b"\n"


def check_command(words: list[str]) -> None:
    """2 where the first word cannot be a program."""
    if not words or not words[0]:
        raise CitError(USAGE, "nothing to run", "cit-trigger -- COMMAND..., --script FILE, or --sign FILE")
    if words[0].startswith("-"):
        raise CitError(USAGE, f"{words[0]!r} is no command", "options stand before --, the command after it")


def read(path: str, option: str) -> bytes:
    """The bytes of a file that an option names, or of stdin for `-`; 66 where there is none."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as stream:
            return stream.read()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CitError(NOT_FOUND, f"{path}: {error.strerror}", f"{option} names a file that is here, or - for stdin") from None


def lines(source: str) -> Iterator[list[str]]:
    """The lines of a file, or of stdin for `-`, as they arrive: each group as soon as it is there."""
    try:
        fd = 0 if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CitError(NOT_FOUND, f"no file {source}", "--each names a file that is here, or - for stdin") from None
    rest = b""
    while piece := os.read(fd, PIECE):
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if len(rest) > LINE_LIMIT:
            raise CitError(DATA, f"{source}: a line over 1 MiB", "--each takes one job a line")
        if newline:
            yield [os.fsdecode(line) for line in whole.split(b"\n")]
    if rest:
        yield [os.fsdecode(rest)]


def scripts(words: list[str], name: str | None, script: str | None, each: str | None) -> Iterator[list[tuple[str, bytes]]]:
    """Name and script of each job, in groups as their lines arrive."""
    if script is not None:
        text = file_script(read(script, "--script"), script)
        yield [(job_name(name, ["script" if script == "-" else script]), text)]
    elif each is None:
        yield [(job_name(name, words), command_script(words))]
    elif words:
        made = script_of(words)
        fixed = None if "{}" in words[0] else job_name(name, words)
        for group in lines(each):
            yield [(fixed or job_name(name, [words[0].replace("{}", line)]), made(line)) for line in group]
    else:
        for group in lines(each):
            yield [(job_name(name, line.split()[:1]), line_script(line)) for line in group if line.strip()]


def calls(call: str, name: str | None, each: str | None, section: Callable[[str | None], bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """Name and section of each call, in groups as their lines arrive."""
    called = job_name(name, [call])
    for group in lines(each) if each is not None else [[None]]:
        for line in group:
            yield [(called, section(line))]  # one by one: those before a wrong one are written


# --- documents ------------------------------------------------------------------------------------------------------


class Form(NamedTuple):
    """What the jobs of one run have in common: who asks whom, the other keys of `job`, how long each is good, more sections, what is sealed."""

    who: Mapping[str, object]
    keys: Mapping[str, object]
    lifetime: int  # microseconds
    sections: bytes
    seal: Seal | None = None
    calls: bool = False  # what is run is the section of a call, not a script
    following: Following | None = None


class Maker:
    """Makes the documents of one form."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.second = -1
        self.head = b""

    def unsigned(self, name: str, script: bytes) -> bytes:
        """A job that runs this script, or with this section of a call, made now."""
        now = clock.now()
        if now // clock.SECOND != self.second:
            self.second = now // clock.SECOND
            times = {"created": body.Time(now), "expires": body.Time(now + self.form.lifetime)}
            self.head = document.section("job", "toml", body.toml({**self.form.who, **times, **self.form.keys}))
        identity, sealed = clock.new_id(now), self.form.seal
        if self.form.calls:
            part = script + (sealed.written(identity) if sealed else b"")
        else:
            part = sealed.written(identity, script) if sealed else document.section("script", "sh", script)
        fits(part, "the script and its secrets" if sealed else "the call" if self.form.calls else "the script")
        if self.form.following:
            part += self.form.following.written(identity, self.form.keys)
        if "array" in self.form.keys and len(part) + len(self.form.sections) + len(self.head) > arrays.LIMIT - SIGNED:
            raise CitError(DATA, f"an array over {arrays.LIMIT >> 10}K", "each task carries a copy of it: have the tasks fetch large data themselves")
        if len(part) + len(self.form.sections) > DOCUMENT_LIMIT - LINE_LIMIT:
            raise CitError(DATA, f"a job over {DOCUMENT_LIMIT >> 20}M", "have the job fetch large data itself")
        return b"@cit 1 %s %s\n%s%s%s" % (identity.encode(), name.encode(), self.head, part, self.form.sections)


def fits(section: bytes, what: str, hint: str = "") -> None:
    """65 where a section is longer than readers take."""
    if len(section) > SECTION_LIMIT:
        size = clock.size_text(len(section))
        raise CitError(DATA, f"{what} is {size} as a section, a section holds {SECTION_LIMIT >> 20}M", hint or "have the job fetch large data itself")


def signed(unsigned: bytes, signer: Signer, by: str) -> bytes:
    """The document with its author's signature over all of it."""
    return unsigned + document.section("signature", "sshsig", signer.sign(unsigned, "cit-job"), by=by, ns="cit-job")
