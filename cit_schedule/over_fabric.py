"""A wire made by Fabric; no other module builds a connection of it (docs/decisions/fabric.md).

Fabric is lax where we are strict: it accepts any host key, for jump hosts too, and reads settings of its own. Here host keys are
those of our known_hosts, weak ciphers and MACs are off, and of settings ~/.ssh/config alone counts. Bytes go over a channel of
their own, fed by a thread: Fabric's `run` is never used, as it reads our stdin and copies a stream letter by letter.
Pages: docs/stages/deliver.md
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import host_keys, wire
from .cit_format.address import Door
from .cit_format.errors import CitError
from .host_keys import Known
from .wire import CONNECT, NONE, SAID, Ended, Identity, Out

if TYPE_CHECKING:
    from fabric import Connection

WEAK = {
    "ciphers": ["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1", "hmac-sha1-96"],
}
PIECE = 1 << 16  # bytes that are sent or received at once
LOOK = 1.0  # seconds after which a silent channel is looked at


# --- the connection -----------------------------------------------------------------------------------------------------


class Wire:
    """A connection by Fabric."""

    def __init__(self, door: Door, identity: Identity) -> None:
        self.door = door
        self.identity = identity
        self.connection: Connection | None = None
        self.opening = threading.Lock()

    def run(self, command: str, stdin: bytes, out: Out) -> Ended:
        late = threading.Timer(CONNECT + 1, self.close)  # paramiko itself waits without end for what follows the opening of a channel
        late.daemon = True
        late.start()
        begun, asked = time.monotonic(), False
        try:
            channel = self._open().transport.open_session(timeout=CONNECT)
            try:
                channel.settimeout(LOOK)
                channel.exec_command(command)
                late.cancel()
                asked = True
                feeding = _Feeder(channel, stdin)
                feeding.start()
                return self._drain(channel, feeding, out)
            finally:
                channel.close()
        except CitError:
            raise
        except Exception as error:  # paramiko raises here whatever its own thread met in what the far end sent
            too_late = not asked and time.monotonic() - begun > CONNECT
            why = f"no connection within {CONNECT} s" if too_late else f"the connection broke: {str(error) or type(error).__name__}"
            raise wire.away(self.door, why) from None
        finally:
            late.cancel()

    def close(self) -> None:
        each = self.connection
        while each is not None and not isinstance(each, str):  # those that are jumped over, too
            each.client.close()
            each = each.gateway

    @property
    def _is_open(self) -> bool:
        return self.connection is not None and self.connection.is_connected

    def _open(self) -> Connection:
        with self.opening:
            if not self._is_open:
                self._connect()
        assert self.connection is not None
        return self.connection

    def _connect(self) -> None:
        import fabric
        from paramiko import AuthenticationException, BadHostKeyException, SSHException

        logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it would say stands in the errors that it raises
        config = fabric.Config(lazy=True)
        config.load_ssh_config()
        offers: dict[str, Any] = {"allow_agent": not self.identity.only, "look_for_keys": not self.identity.keys}
        if self.identity.keys:
            offers["key_filename"] = [str(key) for key in self.identity.keys if key.suffix != ".pub"]
        limits = {"banner_timeout": CONNECT, "auth_timeout": CONNECT, "channel_timeout": CONNECT, "disabled_algorithms": WEAK}
        self.connection = built = fabric.Connection(
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
                undo.callback(self.close)
                built.open()
                undo.pop_all()
        except BadHostKeyException as error:
            raise wire.changed(self.door, _named(error.key), self._where(error.expected_key.asbytes())) from None
        except AuthenticationException as error:
            raise wire.not_let_in(self.door, str(error)) from None
        except (SSHException, OSError, EOFError, UnicodeError) as error:
            why = str(error) or type(error).__name__
            raise wire.away(self.door, f"no connection within {CONNECT} s" if isinstance(error, TimeoutError) else why) from None
        with contextlib.suppress(AttributeError, OSError):  # a jump host's channel has none
            built.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
                yield from host_keys.about(host, file.read_bytes().decode("utf-8", "replace"), str(file))

    def _where(self, blob: bytes) -> str:
        return next((each.where for each in self._known(self.door.known_as) if each.blob == blob), "known_hosts")

    def _drain(self, channel: Any, feeding: _Feeder, out: Out) -> Ended:
        """Read until the far end has ended both of its outputs."""
        said = bytearray()
        moved = time.monotonic()
        pulse: _Pulse | None = None
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
            silent = time.monotonic() - max(moved, feeding.moved)
            if silent > wire.IDLE:
                raise wire.away(self.door, f"nothing came for {wire.IDLE} s")
            if silent > wire.ALIVE:
                pulse = pulse if pulse and pulse.is_fresh else _Pulse(channel.transport)
                if pulse.is_missed:
                    raise wire.away(self.door, "the far end does not answer any more")
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


class _Pulse(threading.Thread):
    """Asks the far end whether it is still there, as ssh's ServerAliveInterval does; any answer is one."""

    def __init__(self, asked: Any) -> None:
        super().__init__(daemon=True)
        self.asked = asked
        self.begun = time.monotonic()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self.asked.global_request("keepalive@openssh.com", wait=True)

    @property
    def is_fresh(self) -> bool:
        """Whether it is under way, or was answered just now."""
        return self.is_alive() or time.monotonic() - self.begun < wire.ALIVE

    @property
    def is_missed(self) -> bool:
        return self.is_alive() and time.monotonic() - self.begun > wire.ALIVE * wire.MISSED


class _Refuse:
    """What paramiko asks about a host key that it does not know: it is refused."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def missing_host_key(self, _client: object, _name: str, key: Any) -> None:
        raise wire.unknown(self.door, _named(key))


def _named(key: Any) -> str:
    return f"{key.get_name()} {host_keys.fingerprint(key.asbytes())}"
