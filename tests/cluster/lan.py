"""A network of test machines, made in a moment and gone without a trace: copies of this machine with disks, names and addresses of their own.

    lan = Lan({"sun": ["ada"], "moon": ["cit", "build"]})     # names of machines, accounts of each
    lan["moon"].sh("cit ls", "build")                         # each has sshd at lan["moon"].address, port 22
    lan["moon"].cut(); lan["sun"].block(lan["moon"]); lan["moon"].power_off(); lan["moon"].fill(); lan["moon"].clock("+3h")
    lan.close()

A node is an overlay over /, so it has every program of this machine and writes to memory. cit lies in /opt/cit: a copy of this
checkout, as it was when the network was made. Needs root and Linux namespaces: `obstacle` says what is missing. Everything lives in
namespaces of one process, hub.sh, which ends when its stdin does: when this process ends, in whatever way. No apt-get meanwhile:
what is written to / under an overlay that is in use may or may not be seen.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Optional

from tests.cluster.machine import Account, Answer, Failed, Machine, within

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
SEARCH = "/opt/cit/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def python_for_all() -> Optional[str]:
    """A Python that every account can run and that takes the packages of this checkout's .venv; None where there is none."""
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    has = CHECKOUT / ".venv/bin/python"
    wanted = subprocess.run([has, "-c", version], capture_output=True).stdout if has.exists() else b""
    for python in [has.resolve(), Path("/usr/bin/python3")]:
        open_to_all = all(folder.stat().st_mode & 0o001 for folder in python.resolve().parents)
        if wanted and open_to_all and subprocess.run([python, "-c", version], capture_output=True).stdout == wanted:
            return str(python)
    return None


@cache
def obstacle() -> str:
    """Why no network can be made here, or "". Tries it: who is root in a container may not have the right."""
    if os.geteuid() != 0:
        return "not root"
    missing = [program for program in ("unshare", "nsenter", "setpriv", "ip", "/usr/sbin/sshd") if not shutil.which(program)]
    if missing:
        return f"no {missing[0]}"
    if not python_for_all():
        return "no Python that other accounts can run with the packages of .venv"
    overlay = "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work /mnt"
    script = f"mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mkdir /mnt/up /mnt/work && {overlay} && ip link add try type bridge"
    tried = subprocess.run([*NAMESPACES, "sh", "-c", script], capture_output=True)
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.decode(errors='replace').strip()}"


def child_of(pid: int) -> int:
    """The first child of a process (process id), waited for up to 5 s."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    within(5, f"a child of process {pid}", lambda: children.read_text())
    return int(children.read_text().split()[0])


class Node(Machine):
    """One machine, booted by its Lan; `pid` is its first process, as this machine counts."""

    def __init__(self, lan: Lan, number: int, name: str, accounts: Sequence[str]) -> None:
        self.lan, self.name, self.accounts = lan, name, list(accounts)
        self.address, self.port = f"10.77.0.{number}", 22
        self.wrong = ""  # how far the clock is off, as libfaketime writes it
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.pid = 0
        self.started: Optional[subprocess.Popen[bytes]] = None

    # power

    def start(self) -> None:
        """Presses the button. Call it from the main thread only; `wait_up` waits until sshd listens."""
        unshare = [word for word in NAMESPACES if word != "--net"]
        words = [*unshare, str(HERE / "node.sh"), self.name, f"/mnt/{self.name}", "/mnt/software", *self.accounts]
        enter = ["nsenter", "-t", str(self.lan.pid), "--mount", "--pid", "--ipc", f"--net=/proc/{self.lan.pid}/root/run/netns/{self.name}", "--"]
        self.log.seek(0)
        self.log.truncate()
        self.started = subprocess.Popen([*enter, *words], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.join()

    def wait_up(self) -> None:
        assert self.started
        started = self.started
        self.pid = child_of(child_of(started.pid))
        within(10, f"boot of {self.name}", lambda: b"Server listening" in self.said() or started.poll() is not None)
        assert started.poll() is None, self.said().decode(errors="replace")

    def boot(self) -> None:
        self.start()
        self.wait_up()

    def power_off(self) -> None:
        """The plug is pulled: nothing more goes over the wire, every process ends at once, the disk stays as it is."""
        assert self.started
        self.cut()
        os.kill(self.pid, signal.SIGKILL)
        self.started.wait()
        self.pid = 0

    def said(self) -> bytes:
        """What sshd and cron of this boot wrote to their stderr."""
        return os.pread(self.log.fileno(), 1 << 24, 0)

    # network: both ends see silence, no connection is closed

    def cut(self) -> None:
        self.lan.sh(f"ip link set to-{self.name} down")

    def join(self) -> None:
        self.lan.sh(f"ip link set to-{self.name} up")

    def block(self, other: Node) -> None:
        """What this node sends to the other gets lost (to an address that nobody has); what the other sends still comes."""
        self.lan.sh(f"ip -n {self.name} neigh replace {other.address} lladdr 02:00:00:00:00:01 dev eth0 nud permanent")

    def unblock(self, other: Node) -> None:
        self.lan.sh(f"ip -n {self.name} neigh del {other.address} dev eth0")

    # disk and clock

    def fill(self, spare: int = 0) -> None:
        """The disk is full, but for so many bytes."""
        disk = f"/mnt/{self.name}"
        self.lan.sh(f"mount -o remount,size=$(($(df -k --output=used {disk} | tail -n 1) * 1024 + {spare})) {disk}")

    def free(self) -> None:
        self.lan.sh(f"mount -o remount,size=1g /mnt/{self.name}")

    def clock(self, offset: str = "") -> None:
        """Sets the clock, as whoever logs in by ssh from now on sees it, and `sh`: `+3h`, `-200d`; "" is right again."""
        assert os.path.exists(FAKETIME), "Debian's libfaketime is missing"
        self.wrong = offset
        heard = self.said().count(b"Server listening")
        setting = f"SetEnv LD_PRELOAD={FAKETIME} FAKETIME={offset}" if offset else ""
        self.sh(f"sed -i '/^SetEnv/d' /etc/ssh/sshd_config; echo '{setting}' >>/etc/ssh/sshd_config; kill -HUP 1", "root")
        within(5, "sshd reads its configuration", lambda: self.said().count(b"Server listening") > heard)

    # programs and files

    def enter(self, user: str) -> list[str]:
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"]
        login = [f"HOME={self.home(user)}", f"USER={user}", f"LOGNAME={user}", "SHELL=/bin/bash", f"PATH={SEARCH}", "LANG=C.UTF-8"]
        wrong = [f"LD_PRELOAD={FAKETIME}", f"FAKETIME={self.wrong}"] if self.wrong else []
        inside = ["nsenter", "-t", str(self.pid), "--all", "--root", "--wd", "--"]
        return [*inside, *become, "env", "-i", "-C", self.home(user), *login, *wrong]

    def home(self, user: str) -> str:
        return "/root" if user == "root" else f"/home/{user}"

    def program(self, name: str) -> str:
        return f"/opt/cit/bin/{name}"

    def path(self, path: str) -> Path:
        return Path(f"/proc/{self.pid}/root/{path.lstrip('/')}")

    def own_sshd(self, user: str) -> Account:
        """An sshd on loopback that lets in this account alone; it is the door of the account that is returned."""
        port = 2201 + self.accounts.index(user)
        self.sh(f"/usr/sbin/sshd -o PidFile=none -o ListenAddress=127.0.0.1:{port} -o Port={port} -o AllowUsers={user}", "root")
        return Account(self, user, "127.0.0.1", port)

    def host_key(self) -> str:
        return " ".join(self.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])

    def cron(self, speed: int = 1) -> None:
        """Starts cron; with speed 60 its minutes last a second, while its jobs see the real time."""
        fast = f"env LD_PRELOAD={FAKETIME} FAKETIME='+0 x{speed}' FAKETIME_DONT_RESET=1 " if speed != 1 else ""
        self.sh(f"{fast}/usr/sbin/cron", "root")


class Lan:
    """Machines on one switch, by name; `sh` runs as root beside the switch, at 10.77.0.254."""

    def __init__(self, machines: Mapping[str, Sequence[str]]) -> None:
        words = [*NAMESPACES, str(HERE / "hub.sh"), str(CHECKOUT), str(python_for_all()), *machines]
        self.nodes: dict[str, Node] = {}
        self.hub = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert self.hub.stdout
            select.select([self.hub.stdout], [], [], 60)
            assert self.hub.stdout.readline() == b"ready\n", "hub.sh failed"
            self.pid = child_of(self.hub.pid)
            self.nodes = {name: Node(self, number, name, accounts) for number, (name, accounts) in enumerate(machines.items(), 1)}
            for node in self.nodes.values():
                node.start()
            for node in self.nodes.values():
                node.wait_up()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def sh(self, command: str) -> Answer:
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--net", "--pid", "--ipc", "--uts", "--"]
        done = subprocess.run([*enter, "sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode:
            raise Failed(f"hub$ {command}\nexit {done.returncode}\n{(done.stdout + done.stderr).decode(errors='replace')}")
        return done

    def close(self) -> None:
        """Ends the hub, and with it all processes, mounts, links and disks of the network."""
        assert self.hub.stdin and self.hub.stdout
        self.hub.stdin.close()
        try:
            self.hub.wait(5)
        except subprocess.TimeoutExpired:
            self.hub.kill()
            self.hub.wait()
        self.hub.stdout.close()
        for node in self.nodes.values():
            if node.started:
                node.started.wait()
            node.log.close()
