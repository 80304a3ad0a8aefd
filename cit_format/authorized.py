"""Lines of authorized_keys by which the door opens to a key, and to nothing else (docs/stages/queue.md, docs/howto/allow-people.md). Pure.

    restrict,command="PROGRAM --door=\\"$SSH_ORIGINAL_COMMAND\\" --role person --for ada@sun --to @main" KIND BASE64 cit:@main:ada@sun

One line a key, as sshd takes the first that fits. Other lines of the file stay as they are. Every part is plain: nothing in it
can be taken for an option, for shell, or for the end of the quotes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import sshsig
from .errors import CONFIG, CitError
from .sshsig import PublicKey

_PROGRAM = re.compile(r"(?:env CIT_HOME=/[A-Za-z0-9._/+-]+ )?/[A-Za-z0-9._/+-]+")
_WHO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:/=-]*")
_QUEUES = re.compile(r"@[a-z0-9][a-z0-9._-]{0,63}(?:,@[a-z0-9][a-z0-9._-]{0,63})*")
_LINE = re.compile(
    rf'restrict,command="({_PROGRAM.pattern}) --door=\\"\$SSH_ORIGINAL_COMMAND\\" --role ([a-z]+) --for ({_WHO.pattern})'
    rf'(?: --to ({_QUEUES.pattern}))?" ([a-z0-9@.-]+ [A-Za-z0-9+/=]+) cit:\S*'
)


class Entry(NamedTuple):
    """One opened door: the key, the role, for whom it speaks, the queues that it may use (none: the build account), the program."""

    key: PublicKey
    role: str
    who: str
    queues: tuple[str, ...]
    program: str

    @property
    def line(self) -> str:
        """The line of authorized_keys; 78 where a part of it is not plain."""
        queues = ",".join(self.queues)
        for what, pattern, text in (("program", _PROGRAM, self.program), ("name", _WHO, self.who), ("list of queues", _QUEUES, queues)):
            if text and not pattern.fullmatch(text):
                raise CitError(CONFIG, f"{text[:100]!r} is no {what} that a forced command can have", "letters, digits and . _ / + - are plain")
        to = f" --to {queues}" if queues else ""
        door = '--door=\\"$SSH_ORIGINAL_COMMAND\\"'
        mark = f"cit:{queues or self.role}:{self.who}"
        return f'restrict,command="{self.program} {door} --role {self.role} --for {self.who}{to}" {" ".join(self.key.line.split()[:2])} {mark}'


def parsed(line: str) -> Entry | None:
    """The entry that a line of ours is; None for any other line."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    program, role, who, queues, key = match.groups()
    try:
        return Entry(sshsig.parse_public_key(key), role, who, tuple(queues.split(",")) if queues else (), program)
    except CitError:
        return None


def entries(text: str) -> list[Entry]:
    """The lines of ours in a file."""
    return [entry for entry in map(parsed, text.split("\n")) if entry]


def placed(text: str, new: Entry) -> str:
    """The file with this entry in it, in the place of the key's older one; queues that the key could use before stay with it.

    78 where the key is there for something else: sshd would take that line, or two roles would be one key's.
    """
    lines = text.split("\n") if text else []
    blob = new.key.line.split()[1]
    for number, line in enumerate(lines):
        if blob not in line.split() or line.lstrip().startswith("#"):
            continue
        old = parsed(line)
        if old is None:
            what = f"line {number + 1} of authorized_keys has this key already, for something else"
            raise CitError(CONFIG, what, "sshd takes the first line of a key: give cit a key of its own, or take that line out")
        if (old.role, old.who) != (new.role, new.who):
            what = f"line {number + 1} of authorized_keys has this key as {old.role} {old.who}"
            raise CitError(CONFIG, what, "one key is one role at one account: use another key, or revoke that one first")
        lines[number] = new._replace(queues=tuple(dict.fromkeys((*old.queues, *new.queues)))).line
        return "\n".join(lines)
    head = text if not text or text.endswith("\n") else text + "\n"
    return f"{head}{new.line}\n"


def taken_out(text: str, key: PublicKey, queues: tuple[str, ...] = ()) -> str:
    """The file without the entries of a key; with `queues`, without these queues in them, and without those that have none left."""
    kept = []
    for line in text.split("\n"):
        old = parsed(line)
        if old is not None and old.key.blob == key.blob:
            left = tuple(queue for queue in old.queues if queue not in queues) if queues else ()
            if left == old.queues and queues:
                kept.append(line)
            elif left:
                kept.append(old._replace(queues=left).line)
            continue
        kept.append(line)
    return "\n".join(kept)
