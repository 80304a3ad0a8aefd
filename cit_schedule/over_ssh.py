"""A wire made by ssh(1): ProxyJump, security keys and everything else that ~/.ssh/config knows (docs/decisions/fabric.md).

The first command makes the connection and leaves it to a master; those after it go along. Its socket lies in a private directory
in /tmp until `close`. If we are killed, the master ends 20 seconds later by itself, and the next wire removes the directory.
Pages: docs/stages/deliver.md
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import wire
from .cit_format.address import Door
from .cit_format.errors import CONFIG, CitError
from .wire import CONNECT, NONE, SAID, Ended, Identity, Out

if TYPE_CHECKING:
    import subprocess

PLACE, PREFIX = "/tmp", "cit-ssh-"  # a socket's path may have 108 letters: TMPDIR is too long too often
STALE = 3600  # seconds after which the directory of a killed process is removed
LINGER = 20  # seconds that a master outlives us
FAILED = 255  # ssh's own status, also for a command that a signal ended
OPTIONS = {
    "IgnoreUnknown": "*",  # an older ssh does not have them all
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "KnownHostsCommand": "none",
    "VerifyHostKeyDNS": "no",
    "UpdateHostKeys": "no",
    "CheckHostIP": "no",
    "PreferredAuthentications": "publickey",
    "ForwardAgent": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "DEBUG1",
}
_OFFERED = re.compile(r"^debug1: Server host key: (\S+ \S+)", re.M)
_OFFENDING = re.compile(r"^Offending .* key in (\S+)$", re.M)
_NOISE = re.compile(r"^(debug\d: |OpenSSH_|Authenticated to|Transferred: |Bytes per second|@)")


# --- decisions ----------------------------------------------------------------------------------------------------------


def arguments(door: Door, identity: Identity, known: Sequence[Path], directory: str, lasting: bool) -> list[str]:
    """The words of ssh up to the command; its log and its socket lie in `directory`."""
    options = {**OPTIONS, "UserKnownHostsFile": " ".join(map(quoted, known)), "HostKeyAlias": door.known_as}
    options.update(ConnectTimeout=str(CONNECT), ServerAliveInterval=str(wire.ALIVE), ServerAliveCountMax=str(wire.MISSED))
    if identity.only:
        options.update(IdentitiesOnly="yes", IdentityAgent="none")
    if lasting:
        options.update(ControlMaster="auto", ControlPersist=str(LINGER), ControlPath=f"{directory}/socket")
    else:
        options.update(ControlMaster="no", ControlPath="none")
    words = ["ssh", *settings(), "-T", "-E", f"{directory}/log"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    for key in identity.keys:
        words += ["-o", f"IdentityFile={quoted(key)}"]
    return [*words, "-l", door.user, "-p", str(door.port), "--", door.host]


def settings() -> list[str]:
    """Whose settings count: those of HOME, where that is not what ssh takes for it."""
    if not wire.is_moved():
        return []
    own = os.path.expanduser("~/.ssh/config")
    return ["-F", own if os.path.exists(own) else "none"]


def quoted(path: Path) -> str:
    """A path as ssh_config reads it, in a list too; 78 where it cannot be written there."""
    text = str(path)
    if re.search(r'["\\\n]|\$\{', text):
        raise CitError(CONFIG, f"ssh cannot be told of {text!r}", "keep the cit home in a plain place, or: cit config transport fabric")
    return '"{}"'.format(text.replace("%", "%%"))


def failure(door: Door, log: str) -> CitError:
    """Why ssh has no connection, by its log."""
    offered = _OFFERED.search(log)
    key = offered[1] if offered else ""
    if "Host key verification failed" in log:
        offending = _OFFENDING.search(log)
        return wire.changed(door, key, offending[1]) if offending else wire.unknown(door, key)
    lines = [line for line in log.splitlines() if line.strip() and not _NOISE.match(line)]
    last = lines[-1].removeprefix("ssh: ") if lines else "the connection broke"
    if "Permission denied" in last:
        return wire.not_let_in(door, last)
    return wire.away(door, last)


# --- the connection -----------------------------------------------------------------------------------------------------


class Wire:
    """A connection by ssh(1)."""

    def __init__(self, door: Door, identity: Identity, lasting: bool = True) -> None:
        self.door = door
        self.identity = identity
        self.lasting = lasting
        self.directory = ""
        self.running: set[subprocess.Popen[bytes]] = set()

    def run(self, command: str, stdin: bytes, out: Out) -> Ended:
        import subprocess

        words = self._words()
        try:
            child = subprocess.Popen([*words, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        except FileNotFoundError:
            raise CitError(CONFIG, "ssh is not here", "install OpenSSH's client, or fabric: pip install 'cit-schedule[ssh]'") from None
        self.running.add(child)
        try:
            said = self._exchange(child, stdin, out)
            status = child.wait(wire.IDLE)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise wire.away(self.door, self._silence()) from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            self.running.discard(child)
        if status in (FAILED, NONE) or status < 0:
            if not self._has_been_in():
                raise failure(self.door, self._log())
            return Ended(NONE, said)
        return Ended(status, said)

    def close(self) -> None:
        import shutil
        import subprocess

        if not self.directory:
            return
        for child in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        if self.lasting and os.path.exists(f"{self.directory}/socket"):
            stop = ["ssh", "-F", "none", "-q", "-S", f"{self.directory}/socket", "-O", "exit", "--", self.door.host]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(stop, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=wire.CONNECT)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = ""

    def _words(self) -> list[str]:
        import tempfile

        if not self.directory:
            sweep()
            self.directory = tempfile.mkdtemp(prefix=PREFIX, dir=PLACE)
        return arguments(self.door, self.identity, wire.known_hosts(), self.directory, self.lasting)

    def _exchange(self, child: subprocess.Popen[bytes], stdin: bytes, out: Out) -> str:
        """Feed it and read it until both of its outputs end; what it said on stderr. TimeoutError where nothing moves."""
        assert child.stdin and child.stdout and child.stderr
        said = bytearray()
        rest = memoryview(stdin)
        begun, moved = time.monotonic(), time.monotonic()
        with selectors.DefaultSelector() as waiting:
            for stream in (child.stdout, child.stderr):
                waiting.register(stream, selectors.EVENT_READ)
            os.set_blocking(child.stdin.fileno(), False)
            waiting.register(child.stdin, selectors.EVENT_WRITE)
            while waiting.get_map():
                for ready, _ in waiting.select(1):
                    moved = time.monotonic()
                    if ready.fileobj is child.stdin:
                        rest = self._fed(waiting, child.stdin, rest)
                        continue
                    piece = os.read(ready.fd, 1 << 16)
                    if not piece:
                        waiting.unregister(ready.fileobj)
                    elif ready.fileobj is child.stdout:
                        out(piece)
                    else:
                        said += piece[: SAID - len(said)]
                now = time.monotonic()
                if now - moved > wire.IDLE or (now - begun > wire.CONNECT + 1 and not self._has_been_in()):
                    raise TimeoutError
        return said.decode("utf-8", "replace")

    def _fed(self, waiting: selectors.BaseSelector, pipe: IO[bytes], rest: memoryview) -> memoryview:
        """Write what fits; at the end, or where nobody reads any more, close it."""
        try:
            rest = rest[os.write(pipe.fileno(), rest) :] if rest else rest
        except BrokenPipeError:
            rest = rest[:0]
        except BlockingIOError:
            return rest
        if not rest:
            waiting.unregister(pipe)
            pipe.close()
        return rest

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return Path(f"{self.directory}/log").read_bytes().decode("utf-8", "replace").replace("\r", "")
        return ""

    def _has_been_in(self) -> bool:
        """Whether there has been a connection."""
        return "\nAuthenticated to " in self._log()

    def _silence(self) -> str:
        return f"nothing came for {wire.IDLE} s" if self._has_been_in() else f"no connection within {CONNECT} s"


def sweep() -> None:
    """Remove the directories of processes that were killed an hour ago or earlier."""
    import shutil

    with os.scandir(PLACE) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid == os.geteuid() and status.st_mtime < time.time() - STALE:
                        shutil.rmtree(entry.path, ignore_errors=True)
