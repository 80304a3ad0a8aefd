"""A machine of a test, of whichever kind, and an account on it: programs are run there, files put and looked at.

ada = machine.account("ada")
ada.text("cit ls")                       # sh, in her home, with a login's environment
ada.put("note", "hello")                 # ~/note
ada.path("note").read_text()             # the same file, seen from the test
ada.place                                # ssh://ada@10.77.0.1:22
"""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import IO, Callable, Optional, Union

Answer = subprocess.CompletedProcess[bytes]


class Failed(AssertionError):
    """A command ended otherwise than it should have; the text has all that it said."""


def within(seconds: float, what: Union[str, Callable[[], str]], true: Callable[[], object]) -> None:
    """Returns as soon as `true()` is; Failed with `what` (or what it says then) after so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.01)


class Machine:
    """What all kinds have; a kind says `enter`, `home` and `path`."""

    name: str
    address: str
    port: int

    def enter(self, user: str) -> list[str]:
        """The words that start a program as this account, in its home, with a login's environment and nothing of the test's."""
        raise NotImplementedError

    def home(self, user: str) -> str:
        """The account's home, as the machine itself calls it."""
        raise NotImplementedError

    def path(self, path: str) -> Path:
        """Where the test sees a file of the machine. Beware of absolute links."""
        raise NotImplementedError

    def host_key(self) -> str:
        """The public host key, two words."""
        raise NotImplementedError

    def login(self, user: str) -> str:
        """The name by which sshd knows the account."""
        return user

    def program(self, name: str) -> str:
        """Where a program of cit is."""
        raise NotImplementedError

    def start_sh(self, command: str, user: str = "cit", stdin: Union[int, IO[bytes]] = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Starts a line of sh; stdout and stderr are pipes."""
        return subprocess.Popen([*self.enter(user), "sh", "-c", command], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def sh(self, command: str, user: str = "cit", stdin: bytes = b"", status: Optional[int] = 0, timeout: float = 60) -> Answer:
        """Runs a line of sh. Raises Failed unless it ends with `status` (None: any) within `timeout` seconds."""
        line = f"{user}@{self.name}$ {command}"
        try:
            done = subprocess.run([*self.enter(user), "sh", "-c", command], input=stdin, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{line}\nstill runs after {timeout:g} s\n{error.output}\n{error.stderr}") from None
        if status is not None and done.returncode != status:
            raise Failed(f"{line}\nexit {done.returncode}, not {status}\n{(done.stdout + done.stderr).decode(errors='replace')}")
        return done

    def text(self, command: str, user: str = "cit", stdin: bytes = b"", status: Optional[int] = 0, timeout: float = 60) -> str:
        """The stdout of `sh`, without the last newline."""
        return self.sh(command, user, stdin, status, timeout).stdout.decode().rstrip("\n")

    def put(self, path: str, content: Union[str, bytes], user: str = "cit", mode: int = 0o600) -> None:
        """Writes a file of this account, relative to its home; folders above it are made."""
        content = content.encode() if isinstance(content, str) else content
        self.sh(f'umask 077; f={shlex.quote(path)}; mkdir -p "$(dirname "$f")"; cat >"$f"; chmod {mode:o} "$f"', user, stdin=content)

    def account(self, user: str) -> Account:
        return Account(self, user)


class Account:
    """An account of a machine: a person, a queue or a builder."""

    def __init__(self, machine: Machine, user: str, address: str = "", port: int = 0) -> None:
        self.machine, self.user = machine, user
        self.address, self.port = address or machine.address, port or machine.port  # of its door

    @property
    def place(self) -> str:
        """Its address, as cit has it."""
        port = "" if self.port == 22 else f":{self.port}"
        return f"ssh://{self.machine.login(self.user)}@{self.address}{port}"

    @property
    def known(self) -> str:
        """The line of known_hosts for its door."""
        host = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{host} {self.machine.host_key()}\n"

    def program(self, name: str) -> str:
        return self.machine.program(name)

    @property
    def home(self) -> str:
        return self.machine.home(self.user)

    def path(self, path: str = "") -> Path:
        """Where the test sees a file below the account's home."""
        return self.machine.path(f"{self.home}/{path}")

    def start_sh(self, command: str, stdin: Union[int, IO[bytes]] = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return self.machine.start_sh(command, self.user, stdin)

    def sh(self, command: str, stdin: bytes = b"", status: Optional[int] = 0, timeout: float = 60) -> Answer:
        return self.machine.sh(command, self.user, stdin, status, timeout)

    def text(self, command: str, stdin: bytes = b"", status: Optional[int] = 0, timeout: float = 60) -> str:
        return self.machine.text(command, self.user, stdin, status, timeout)

    def put(self, path: str, content: Union[str, bytes], mode: int = 0o600) -> None:
        self.machine.put(path, content, self.user, mode)
