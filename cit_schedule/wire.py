"""What a connection to a door elsewhere is, whichever program or library makes it (docs/stages/deliver.md).

A wire runs commands at the far end, one after the other or side by side, over one connection that is made with the first of them
and ends with `close`. Nothing is believed about the far end but the two known_hosts of the cit home; nothing of ours is offered
but the keys of an identity.

Raises: 69 out of reach, not let in; 78 a host key that is not known here, or another one than is known.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, Union

from .cit_format import home
from .cit_format.address import Door
from .cit_format.errors import CONFIG, UNREACHABLE, CitError

CONNECT = 10  # seconds until a connection must be there
IDLE = 60  # seconds in which at least a byte must move
ALIVE, MISSED = 5, 3  # seconds between two questions whether the far end is still there, and how many may stay unanswered
NONE = -1  # the status of a command that ended without one: cut off, or by a signal
SAID = 1 << 16  # bytes of a far end's stderr that are kept
KINDS = ("fabric", "ssh")
Out = Callable[[bytes], object]


class Ended(NamedTuple):
    """How a command ended: its exit status (NONE where there is none), and what it said on stderr."""

    status: int
    said: str


class Wire(Protocol):
    """One connection."""

    def run(self, command: str, stdin: bytes, out: Out) -> Ended:
        """Run a command; what it writes goes to `out` as it comes."""

    def close(self) -> None:
        """End the connection, whatever is under way on it."""


class Identity(NamedTuple):
    """As whom we come: private key files, in the order in which they are offered; `only`: nothing else is, no agent either."""

    keys: tuple[Path, ...] = ()
    only: bool = False


def identity_of(owner: Union[home.Queue, home.Account]) -> Identity:
    """A queue, or a build account, comes with its own key."""
    return Identity((owner.path / "key",), True)


def personal() -> Identity:
    """A person comes with the `key` of config.toml; else with the one that the cit home made, where it did, and with those that ssh finds."""
    configured = home.settings(home.path() / "config.toml").get("key")
    if configured:
        return Identity((Path(str(configured)).expanduser(),))
    made = home.path() / "id_ed25519"
    if not made.exists() and not is_moved():
        return Identity()
    from .cit_format import keys

    usual = [Path(os.path.expanduser("~"), ".ssh", name) for name in keys.PERSONAL]
    return Identity(tuple(path for path in (made, *usual) if path.exists()))


def is_moved() -> bool:
    """Whether HOME is another directory than the account's own, where ssh(1) looks for keys and settings."""
    import pwd

    try:
        return os.path.expanduser("~") != pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return True


def known_hosts() -> list[Path]:
    """The files of host keys that count: what people wrote (cit add), what the manager signed (cit join). 78 if others can write one."""
    files = [home.path() / "known_hosts", home.path() / "hosts" / "known_hosts"]
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            home.guard(file, file.stat())
    return files


def kind() -> str:
    """Which transport is used: the setting `transport`, else fabric where it is installed."""
    import importlib.util

    wanted = home.settings(home.path() / "config.toml").get("transport")
    if wanted is None:
        return "fabric" if importlib.util.find_spec("fabric") else "ssh"
    if wanted not in KINDS:
        raise CitError(CONFIG, f"transport = {wanted!r} in {home.path() / 'config.toml'}", f"it is {' or '.join(KINDS)}")
    if wanted == "fabric" and not importlib.util.find_spec("fabric"):
        raise CitError(CONFIG, "transport = fabric, which is not installed", "pip install 'cit-schedule[ssh]', or: cit config transport ssh")
    return str(wanted)


def opened(door: Door, identity: Identity, lasting: bool = True) -> Wire:
    """The wire to a door; it connects with its first command. `lasting`: there may be a second one."""
    if kind() == "fabric":
        from . import over_fabric

        return over_fabric.Wire(door, identity)
    from . import over_ssh

    return over_ssh.Wire(door, identity, lasting)


# --- errors, in the same words by every transport -----------------------------------------------------------------------


def unknown(door: Door, offered: str) -> CitError:
    """Nobody has said which host key this is: a person has to, trying again does not help."""
    what = f"the host key of {door.known_as} is not known here: it offers {offered or 'one of a kind that is not known'}"
    hint = f"if that is its key, as its owner says, write it into {known_hosts()[0]}: cit add does"
    return CitError(CONFIG, what, hint, str(door))


def changed(door: Door, offered: str, where: str) -> CitError:
    """Another host key than is known: a new machine, or somebody between."""
    what = f"the host key of {door.known_as} has changed: it offers {offered}, which is not what {where} says"
    return CitError(CONFIG, what, "nothing was sent; ask its owner, by another way, whether the machine is new", str(door))


def not_let_in(door: Door, why: str) -> CitError:
    """The far end knows none of our keys."""
    return CitError(UNREACHABLE, f"it did not let this key in: {why}", "its owner adds the key there: cit add, cit allow", str(door))


def away(door: Door, why: str) -> CitError:
    """There is no connection."""
    return CitError(UNREACHABLE, why, "all is kept, and tried again", str(door))
