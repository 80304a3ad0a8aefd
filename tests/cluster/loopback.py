"""Machines of one account: as many plain sshd on loopback as wanted, each with a home, keys and a cit home of its own.

For where there is no root, or no namespaces. What needs accounts, addresses that can be cut or a power switch needs lan.py.
A machine has one account, called as the test wants it; at its door the name is this process's own.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.machine import Machine, within

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SSHD = "/usr/sbin/sshd"


def obstacle() -> str:
    """Why no sshd of our own can run here, or ""."""
    if not os.path.exists(SSHD):
        return f"no {SSHD}"
    missing = [program for program in ("ssh-keygen", "setpriv") if not shutil.which(program)]
    if missing:
        return f"no {missing[0]}"
    if own_run() and subprocess.run([*own_run(), "true"], capture_output=True).returncode:
        return "root's sshd wants /run/sshd"
    return ""


def own_run() -> list[str]:
    """The words before sshd: root's wants the folder /run/sshd, and gets one that nobody else sees where there is none."""
    if os.geteuid() != 0 or os.path.isdir("/run/sshd"):
        return []
    script = 'mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Loop(Machine):
    """One sshd; `folder` is the home of its account, whose login environment sshd sets."""

    def __init__(self, name: str, user: str, folder: Path) -> None:
        self.name, self.user, self.folder = name, user, folder
        self.address, self.port = "127.0.0.1", free_port()
        (folder / ".ssh").mkdir(parents=True, mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / ".ssh/host_key"], check=True)
        login = " ".join(self.environment())
        (folder / ".ssh/sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/.ssh/host_key\nPidFile none\nUsePAM no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nStrictModes no\nAuthorizedKeysFile {folder}/.ssh/authorized_keys\nMaxStartups 200:30:400\n"
            f"MaxSessions 100\nSubsystem sftp internal-sftp\nPrintMotd no\nSetEnv {login}\n"
        )
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        words = ["setpriv", "--pdeathsig", "KILL", *own_run(), SSHD, "-D", "-e", "-f", str(folder / ".ssh/sshd_config")]
        self.sshd = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            within(10, f"sshd of {name}", lambda: b"Server listening" in self.said() or self.sshd.poll() is not None)
            assert self.sshd.poll() is None, self.said().decode(errors="replace")
        except BaseException:
            self.close()
            raise

    def environment(self) -> list[str]:
        return [
            f"HOME={self.folder}",
            f"CIT_USER={self.user}",
            f"CIT_HOME={self.folder}/.cit",
            f"CIT_HOST={self.name}",
            f"PATH={CHECKOUT}/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG=C.UTF-8",
        ]

    def enter(self, user: str) -> list[str]:
        return ["env", "-i", "-C", str(self.folder), f"USER={getpass.getuser()}", *self.environment()]

    def home(self, user: str) -> str:
        return str(self.folder)

    def login(self, user: str) -> str:
        return getpass.getuser()

    def program(self, name: str) -> str:
        return f"{CHECKOUT}/bin/{name}"

    def path(self, path: str) -> Path:
        return Path(path)

    def host_key(self) -> str:
        return " ".join((self.folder / ".ssh/host_key.pub").read_text().split()[:2])

    def said(self) -> bytes:
        return os.pread(self.log.fileno(), 1 << 24, 0)

    def close(self) -> None:
        self.sshd.kill()
        self.sshd.wait()
        self.log.close()


class Loopback:
    """Such machines by name."""

    def __init__(self, folder: Path, machines: Mapping[str, Sequence[str]]) -> None:
        self.machines: dict[str, Loop] = {}
        try:
            for name, accounts in machines.items():
                self.machines[name] = Loop(name, accounts[0], folder / name)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Loop:
        return self.machines[name]

    def close(self) -> None:
        for machine in self.machines.values():
            machine.close()
