"""Are the test machines what the other tests take them for? Their own names, disks, accounts, networks, clocks and power switches."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.cluster.lan import Lan
from tests.cluster.machine import Account


def introduce(client: Account, server: Account) -> str:
    """The client may log in at the server; returns the words of ssh that do it."""
    client.sh("[ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
    server.put(".ssh/authorized_keys", client.sh("cat .ssh/id_ed25519.pub").stdout)
    client.put(".ssh/known", server.known)
    safe = f"-F none -i {client.home}/.ssh/id_ed25519 -o BatchMode=yes -o UserKnownHostsFile={client.home}/.ssh/known"
    return f"ssh {safe} -p {server.port} -l {server.machine.login(server.user)} {server.address}"


def test_machines_of_a_lan(lan) -> None:
    machines: Lan = lan({"sun": ["ada"], "moon": ["cit", "build"]})
    sun, moon = machines["sun"], machines["moon"]
    ssh = introduce(sun.account("ada"), moon.account("build")).replace("ssh ", "ssh -o ConnectTimeout=1 ", 1)
    here = Path("/etc/passwd").read_bytes()

    assert sun.text(f"{ssh} 'hostname; whoami; /opt/cit/bin/cit-format --version'", "ada").split()[:2] == ["moon", "build"]
    assert moon.text("id -un; pwd", "cit") == "cit\n/home/cit"
    moon.sh("cat /home/build/.ssh/authorized_keys", "cit", status=1)  # accounts are apart
    moon.sh("touch /opt/cit/bin/x", "root", status=1)
    moon.sh("echo x >/etc/only-moon; echo kept >/home/cit/file", "root")
    assert sun.sh("cat /etc/only-moon", "root", status=1) and not Path("/etc/only-moon").exists()

    moon.cut()
    sun.sh(f"{ssh} true", "ada", status=255)
    moon.join()
    for one, other in [(sun, moon), (moon, sun)]:  # one way lost is no connection
        one.block(other)
        sun.sh(f"{ssh} true", "ada", status=255)
        one.unblock(other)
    sun.sh(f"{ssh} true", "ada")

    job = moon.start_sh("sleep 100", "cit")
    moon.power_off()
    assert job.wait(5)
    moon.boot()
    assert moon.text("cat file") == "kept" and sun.text(f"{ssh} hostname", "ada") == "moon"

    moon.fill(8192)
    moon.sh("dd if=/dev/zero of=big bs=100000 count=1", status=1)
    moon.free()
    moon.sh("dd if=/dev/zero of=big bs=100000 count=1")

    moon.clock("+3h")
    by_ssh, by_sh = int(sun.text(f"{ssh} date +%s", "ada")), int(moon.text("date +%s"))
    assert abs(by_ssh - time.time() - 3 * 3600) < 60 and abs(by_sh - time.time() - 3 * 3600) < 60
    moon.clock()
    assert abs(int(sun.text(f"{ssh} date +%s", "ada")) - time.time()) < 60
    assert Path("/etc/passwd").read_bytes() == here


def test_nothing_stays_of_a_lan(lan) -> None:
    def traces() -> tuple[str, str]:
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
        return links, Path("/proc/self/mounts").read_text()

    before = traces()
    machines = lan(2)
    pids = [machines.hub.pid, machines.pid, *(node.pid for node in machines.nodes.values())]
    assert traces() == before
    machines.hub.stdin.close()  # as when this process is killed
    machines.hub.wait(5)
    assert not any(Path(f"/proc/{pid}/root/etc").exists() for pid in pids) and traces() == before


def test_machines_on_loopback(loopback) -> None:
    machines = loopback(2)
    one, two = machines["n1"].account("cit"), machines["n2"].account("cit")
    ssh = introduce(one, two)
    assert one.text(f"{ssh} 'echo $HOME $CIT_HOME $CIT_HOST; pwd'").split()[:3] == [two.home, f"{two.home}/.cit", "n2"]
    assert one.text("cit-format --version; pwd").endswith(one.home)
