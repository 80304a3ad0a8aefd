"""A real sshd on loopback before a house's door: a port, a host key and an authorized_keys of its own; the account is this process's.

What it starts has a bare environment, as sshd gives it, and the house's HOME. Who knocks goes over one connection a key (ControlMaster).
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Optional

from cit_format import authorized, keys
from tests.cluster.loopback import SSHD, free_port, own_run
from tests.cluster.machine import within
from tests.int.cit_queue.house import ROOT, House

PROGRAM = f"{ROOT}/bin/cit-queue"


class Gate:
    """One sshd; close it. Keys are files: those of the house, or any other."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.path = Path(tempfile.mkdtemp(prefix="cit-gate-"))  # short: control sockets lie in it
        self.port = free_port()
        self.authorized = self.path / "authorized_keys"
        self.authorized.touch(0o600)
        keys.generate(self.path / "host_key", "host")
        line = (self.path / "host_key.pub").read_text()
        (self.path / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {line}")
        set_env = f"HOME={house.directory} PATH=/usr/bin:/bin CIT_USER=ada CIT_HOST=sun LANG=C.UTF-8"
        (self.path / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.path}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {self.authorized}\nPermitRootLogin yes\n"
            f"Subsystem sftp internal-sftp\nAllowTcpForwarding yes\nAllowAgentForwarding yes\nMaxStartups 200\nMaxSessions 100\nSetEnv {set_env}\n"
        )
        self.log = open(self.path / "log", "wb")  # noqa: SIM115
        words = ["setpriv", "--pdeathsig", "KILL", *own_run(), SSHD, "-D", "-e", "-f", str(self.path / "config")]
        self.sshd = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            within(10, "sshd", lambda: b"Server listening" in self.said() or self.sshd.poll() is not None)
            assert self.sshd.poll() is None, self.said().decode(errors="replace")
        except BaseException:
            self.close()
            raise

    def said(self) -> bytes:
        return (self.path / "log").read_bytes()

    def let(self, key: Path, role: str, who: str, *queues: str) -> None:
        """Put the line of a key in place, as `cit allow --door` does."""
        entry = authorized.Entry(keys.load(key).public, role, who, queues, PROGRAM)
        self.authorized.write_text(authorized.placed(self.authorized.read_text(), entry))

    def words(self, key: Path, *options: str, shared: bool = True) -> list[str]:
        """ssh with this key, up to the host; `shared`: over the key's one connection."""
        control = ["ControlMaster=auto", f"ControlPath={self.path}/{key.name}.s", "ControlPersist=60"] if shared else ["ControlPath=none"]
        strict = ["StrictHostKeyChecking=yes", f"UserKnownHostsFile={self.path}/known_hosts", "GlobalKnownHostsFile=/dev/null"]
        plain = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "ConnectTimeout=10", f"Port={self.port}", f"User={getpass.getuser()}"]
        settings = [word for each in (*control, *strict, *plain) for word in ("-o", each)]
        return ["-F", "none", *settings, "-i", str(key), *options]

    def ssh(self, key: Path, command: Optional[str], *options: str, stdin: bytes = b"", shared: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Knock: one command with this key; None: none, as who logs in."""
        asked = [] if command is None else [command]
        words = ["ssh", *self.words(key, *options, shared=shared), "--", "127.0.0.1", *asked]
        return subprocess.run(words, input=stdin, capture_output=True, timeout=60, check=False)

    def close(self) -> None:
        for socket in self.path.iterdir():
            if socket.is_socket():
                subprocess.run(["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "x"], capture_output=True, check=False)
        self.sshd.kill()
        self.sshd.wait()
        self.log.close()
        shutil.rmtree(self.path, ignore_errors=True)
