"""A wire made by Fabric; no other module builds a connection of it (docs/decisions/fabric.md).

Fabric is lax where we are strict: it accepts any host key, for jump hosts too, and reads settings of its own. Here host keys are
those of our known_hosts, weak ciphers and MACs are off, and of settings ~/.ssh/config alone counts. Bytes go over a channel of
their own, fed by a thread: Fabric's `run` is never used, as it reads our stdin and copies a stream letter by letter.
Pages: docs/stages/deliver.md
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from . import wire
from .cit_format.address import Door
from .wire import CONNECT, NONE, SAID, Ended, Identity, Out

if TYPE_CHECKING:
    from fabric import Connection

WEAK = {
    "ciphers": ["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1", "hmac-sha1-96"],
}
PIECE = 1 << 16  # bytes that are sent or received at once
LOOK = 1.0  # seconds after which a silent channel is looked at


# --- decisions ----------------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """A line of known_hosts that is about a host: the file and line, the key's type and blob, and whether it is revoked."""

    where: str
    type: str
    blob: bytes
    revoked: bool


def lines_about(host: str, text: str, file: str) -> Iterator[Known]:
    """The lines of known_hosts that name a host, plainly or hashed; patterns and certificate authorities are not ours."""
    from paramiko import HostKeys

    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        revoked = words[:1] == ["@revoked"]
        words = words[1:] if revoked else words
        if len(words) < 3 or words[0][0] in "#@":
            continue
        names = words[0].split(",")
        hashed = any(name.startswith("|1|") and name.count("|") == 3 and HostKeys.hash_host(host, name) == name for name in names)
        if hashed or host in names or (revoked and words[0] == "*"):
            with contextlib.suppress(binascii.Error):
                yield Known(f"{file}:{number}", words[1], binascii.a2b_base64(words[2]), revoked)


def fingerprint(blob: bytes) -> str:
    """`SHA256:...` of a public key."""
    return "SHA256:" + binascii.b2a_base64(hashlib.sha256(blob).digest(), newline=False).decode().rstrip("=")


# --- the connection -----------------------------------------------------------------------------------------------------


class Wire:
    """A connection by Fabric."""

    def __init__(self, door: Door, identity: Identity) -> None:
        self.door = door
        self.identity = identity
        self.connection: Connection | None = None
        self.opening = threading.Lock()

    def run(self, command: str, stdin: bytes, out: Out) -> Ended:
        from paramiko import SSHException

        try:
            channel = self._open().transport.open_session(timeout=CONNECT)
            try:
                channel.settimeout(LOOK)
                with self._given_up_after(CONNECT):  # paramiko itself would wait for its answer for ever
                    channel.exec_command(command)
                feeding = _Feeder(channel, stdin)
                feeding.start()
                return self._drain(channel, feeding, out)
            finally:
                channel.close()
        except (SSHException, OSError, EOFError) as error:
            raise wire.away(self.door, f"the connection broke: {error}".rstrip(": ")) from None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.client.close()

    @contextlib.contextmanager
    def _given_up_after(self, seconds: float) -> Iterator[None]:
        """Ends the connection, and with an error whatever waits for it, unless the block has ended by then."""
        timer = threading.Timer(seconds, self.close)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _open(self) -> Connection:
        with self.opening:
            if self.connection is None or not self.connection.is_connected:
                self.connection = self._connected()
        return self.connection

    def _connected(self) -> Connection:
        import fabric
        from paramiko import AuthenticationException, BadHostKeyException, SSHException

        logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it would say stands in the errors that it raises
        config = fabric.Config(lazy=True)
        config.load_ssh_config()
        offers: dict[str, Any] = {"allow_agent": not self.identity.only, "look_for_keys": not self.identity.keys}
        if self.identity.keys:
            offers["key_filename"] = [str(key) for key in self.identity.keys if key.suffix != ".pub"]
        limits = {"banner_timeout": CONNECT, "auth_timeout": CONNECT, "channel_timeout": CONNECT, "disabled_algorithms": WEAK}
        built = fabric.Connection(
            self.door.host,
            user=self.door.user,
            port=self.door.port,
            config=config,
            connect_timeout=CONNECT,
            connect_kwargs={**offers, **limits},
            forward_agent=False,
        )
        self._pin(built, self.door.known_as)
        try:
            with contextlib.ExitStack() as undo:
                undo.callback(built.client.close)
                built.open()
                undo.pop_all()
        except BadHostKeyException as error:
            raise wire.changed(self.door, _named(error.key), self._where(error.expected_key.asbytes())) from None
        except AuthenticationException as error:
            raise wire.not_let_in(self.door, str(error)) from None
        except (SSHException, OSError, EOFError) as error:
            why = str(error) or type(error).__name__
            raise wire.away(self.door, f"no connection within {CONNECT} s" if isinstance(error, TimeoutError) else why) from None
        with contextlib.suppress(AttributeError, OSError):  # a jump host's channel has none
            built.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        built.transport.set_keepalive(5)
        return built

    def _pin(self, built: Connection, known_as: str) -> None:
        """Believe the keys of our known_hosts alone, for this host and for those that are jumped over."""
        from paramiko import PKey, SSHException
        from paramiko.pkey import UnknownKeyType

        found = list(self._known(known_as))
        revoked = {each.blob for each in found if each.revoked}
        name = built.host if built.port == 22 else f"[{built.host}]:{built.port}"
        keys = built.client.get_host_keys()
        for each in found:
            if each.blob not in revoked:
                with contextlib.suppress(UnknownKeyType, SSHException, ValueError):
                    keys.add(name, each.type, PKey.from_type_string(each.type, each.blob))
        built.client.set_missing_host_key_policy(_Refuse(self.door))
        jump = built.gateway
        if jump is not None and not isinstance(jump, str):
            jump.connect_kwargs = {**jump.connect_kwargs, "disabled_algorithms": WEAK}
            self._pin(jump, jump.original_host if jump.port == 22 else f"[{jump.original_host}]:{jump.port}")

    def _known(self, host: str) -> Iterator[Known]:
        for file in wire.known_hosts():
            with contextlib.suppress(FileNotFoundError):
                yield from lines_about(host, file.read_bytes().decode("utf-8", "replace"), str(file))

    def _where(self, blob: bytes) -> str:
        return next((each.where for each in self._known(self.door.known_as) if each.blob == blob), "known_hosts")

    def _drain(self, channel: Any, feeding: _Feeder, out: Out) -> Ended:
        """Read until the far end has ended both of its outputs."""
        said = bytearray()
        moved = time.monotonic()
        while True:
            try:
                piece = channel.recv(PIECE)
            except socket.timeout:
                piece = None
            while channel.recv_stderr_ready():
                said += channel.recv_stderr(PIECE)[: SAID - len(said)]
                moved = time.monotonic()
            if piece:
                moved = time.monotonic()
                out(piece)
            elif piece is not None:
                break
            if time.monotonic() - max(moved, feeding.moved) > wire.IDLE:
                raise wire.away(self.door, f"nothing came for {wire.IDLE} s")
        # After the end of its stdout comes its status, or the connection is gone.
        channel.status_event.wait(wire.IDLE)
        while channel.recv_stderr_ready():
            said += channel.recv_stderr(PIECE)[: SAID - len(said)]
        status = channel.exit_status if channel.status_event.is_set() else NONE
        return Ended(NONE if status == 255 else status, said.decode("utf-8", "replace"))


class _Feeder(threading.Thread):
    """Writes a command's stdin; where nobody reads it, that shows in the answer."""

    def __init__(self, channel: Any, stdin: bytes) -> None:
        super().__init__(daemon=True)
        self.channel = channel
        self.stdin = memoryview(stdin)
        self.moved = time.monotonic()

    def run(self) -> None:
        rest = self.stdin
        with contextlib.suppress(OSError, EOFError):
            while rest:
                try:
                    rest = rest[self.channel.send(rest[:PIECE]) :]
                    self.moved = time.monotonic()
                except socket.timeout:
                    if self.channel.closed:
                        return
            self.channel.shutdown_write()


class _Refuse:
    """What paramiko asks about a host key that it does not know: it is refused."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def missing_host_key(self, _client: object, _name: str, key: Any) -> None:
        raise wire.unknown(self.door, _named(key))


def _named(key: Any) -> str:
    return f"{key.get_name()} {fingerprint(key.asbytes())}"
