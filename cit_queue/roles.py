"""Who may ask what at a door: the verbs, and the closed list of them for each role (docs/stages/queue.md). Pure.

A forced command names the role of its key, for whom it speaks, and the queues that it may use:

    cit-queue --door="$SSH_ORIGINAL_COMMAND" --role person --for ada@sun --to @main,@release

What the client sends is `[@QUEUE] VERB WORDS...`: compared with these lists, never given to a shell.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .cit_format import grammar
from .cit_format.errors import CONFIG, DENIED, USAGE, CitError

QUEUE, ACCOUNT, EITHER = "queue", "account", "either"
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SHOWN = 80  # characters of a command that are shown


class Verb(NamedTuple):
    """A verb: whether it is about a queue or a build account, how many words it takes, how it is written, whether a stream comes with it."""

    about: str
    least: int
    most: int
    usage: str
    takes: bool = False


VERBS = {
    "put-accept": Verb(QUEUE, 0, 0, "put-accept", True),
    "put-done": Verb(QUEUE, 0, 0, "put-done", True),
    "put-inbox": Verb(ACCOUNT, 0, 0, "put-inbox", True),
    "put-control": Verb(ACCOUNT, 0, 0, "put-control", True),
    "put-tickets": Verb(ACCOUNT, 0, 0, "put-tickets", True),
    "ls": Verb(EITHER, 0, 2, "ls [STATE [DAY]]"),
    "get": Verb(EITHER, 1, 1, "get ID"),
    "have": Verb(EITHER, 1, 1000, "have ID..."),
    "ended": Verb(QUEUE, 2, 1001, "ended DURATION ID[_TASK]..."),
    "why": Verb(QUEUE, 1, 1, "why ID"),
    "finished": Verb(ACCOUNT, 0, 0, "finished"),
    "load": Verb(ACCOUNT, 0, 0, "load"),
    "builders": Verb(QUEUE, 0, 0, "builders"),
    "log": Verb(ACCOUNT, 2, 3, "log COPY-NAME OFFSET [times|parts|part-N|events|cast]"),
    "file": Verb(ACCOUNT, 2, 3, "file SHA256 OFFSET [COPY-NAME]"),
    "stashed": Verb(ACCOUNT, 1, 2, "stashed NAME [KEY]"),
    "alive": Verb(EITHER, 0, 0, "alive"),
}


class Role(NamedTuple):
    """What keys of a role ask: of a queue or of the build account, these verbs; and what `--for` is."""

    about: str
    verbs: tuple[str, ...]
    speaks_for: re.Pattern[str]
    written: str


_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:/=-]*")
_FINGERPRINT = r"SHA256:[A-Za-z0-9+/]{43}"
ROLES = {
    "person": Role(
        QUEUE, ("put-accept", "ls", "get", "have", "ended", "why", "builders", "log", "file", "alive"), _PERSON, "USER@HOST, as in allowed_signers"
    ),
    "builder": Role(QUEUE, ("put-done", "have", "alive"), re.compile(_FINGERPRINT), "the fingerprint of the builder's key"),
    "queue": Role(
        ACCOUNT,
        ("put-inbox", "put-control", "finished", "put-tickets", "load", "have", "alive"),
        re.compile(rf"{grammar.NAME.pattern}@{_FINGERPRINT}"),
        "NAME@FINGERPRINT of the queue",
    ),
    "reader": Role(ACCOUNT, ("ls", "get", "log", "file", "stashed", "alive"), _PERSON, "USER@HOST, as in allowed_signers"),
}


class Asker(NamedTuple):
    """Whose connection it is: role and `--for` (empty: somebody of this account, who may ask all), and the queues of `--to`."""

    role: str = ""
    who: str = ""
    queues: tuple[str, ...] = ()


class Asked(NamedTuple):
    """One command: whether it is about a queue (its name; None: the default one) or the build account, verb and words."""

    about: str
    queue: str | None
    verb: str
    words: list[str]


def asker(role: str | None, who: str | None, to: str | None) -> Asker:
    """The asker that the options of a forced command describe; 2 or 78 where they describe none."""
    if role is None:
        return Asker("", who or "", (to,) if to else ())
    queues = tuple(filter(None, (to or "").split(",")))
    if role not in ROLES:
        raise CitError(USAGE, f"--role {role[:SHOWN]}", f"roles are {', '.join(ROLES)}")
    known = ROLES[role]
    if who is None or not known.speaks_for.fullmatch(who):
        raise CitError(CONFIG, f"--role {role} with --for {(who or 'nobody')[:SHOWN]!r}", f"--for is {known.written}; `cit allow` writes such lines")
    if (known.about == QUEUE) != bool(queues):
        hint = "--to @NAME[,@NAME...] names the queues that this key may use" if known.about == QUEUE else "this role is about the build account"
        raise CitError(CONFIG, f"--role {role} {'without' if known.about == QUEUE else 'with'} --to", hint)
    return Asker(role, who, queues)


def asked(command: str, by: Asker) -> Asked:
    """What a command asks; 2 for what is no command, 77 for what this asker may not ask."""
    words = command.split(" ") if command.isascii() and command.isprintable() else []
    queue = words.pop(0) if words and words[0].startswith("@") else ""
    verb = words.pop(0) if words else ""
    known = VERBS.get(verb)
    if queue and not grammar.NAME.fullmatch(queue[1:]):
        raise CitError(USAGE, f"{queue[:SHOWN]!r} is no @QUEUE", "a door is asked: [@QUEUE] VERB WORDS...")
    if known is None or not known.least <= len(words) <= known.most or not all(WORD.fullmatch(word) for word in words):
        allowed = ROLES[by.role].verbs if by.role else VERBS
        raise CitError(USAGE, f"the door knows no {command[:SHOWN]!r}", f"verbs are {', '.join(VERBS[each].usage for each in allowed)}")
    if by.role and verb not in ROLES[by.role].verbs:
        raise CitError(DENIED, f"a {by.role} may not ask {verb}", f"for this key the verbs are {', '.join(ROLES[by.role].verbs)}")
    if queue and by.role and queue not in by.queues:
        hint = f"its queues are {', '.join(by.queues)}" if by.queues else "this door is the build account's: it has no queues"
        raise CitError(DENIED, f"this key may not use {queue}", hint)
    about = known.about if known.about != EITHER else QUEUE if queue or by.queues else ACCOUNT
    return Asked(about, (queue or next(iter(by.queues), None)) if about == QUEUE else None, verb, words)


def may_copy(by: Asker) -> None:
    """77 where this asker is none to whom the door gives files."""
    if by.role and "file" not in ROLES[by.role].verbs:
        raise CitError(DENIED, f"a {by.role} may not ask for files", f"for this key the verbs are {', '.join(ROLES[by.role].verbs)}")
