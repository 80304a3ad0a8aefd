"""cit add and cit remove by ssh: an account that has sshd and python3 and nothing else becomes a builder, and goes again.

One network for all tests of this file; each has an account of its own on moon. OTHER_PYTHONS="/usr/bin/python3.9 ..." tries these too.
Page: docs/howto/add-a-builder.md
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import bundle, reader
from cit_format.document import Document
from tests.cluster import lan as lans
from tests.cluster.lan import Lan
from tests.cluster.machine import Account

ACCOUNTS = ["one", "two", "three", "four", "five", "six"]


@pytest.fixture(scope="module")
def machines() -> Iterator[Lan]:
    """ada on sun has a queue without builders; moon has no cit."""
    if lans.obstacle():
        pytest.skip(f"no test machines: {lans.obstacle()}")
    made = Lan({"sun": ["ada"], "moon": ACCOUNTS})
    try:
        made["moon"].sh("umount -l /opt/cit", "root")
        made["sun"].sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cit init && rm .cit/queues/main/builders/*", "ada")
        yield made
    finally:
        made.close()


@pytest.fixture
def ada(machines: Lan) -> Iterator[Account]:
    """After a test no builder is left."""
    account = machines["sun"].account("ada")
    account.put(".ssh/known_hosts", machines["moon"].account("one").known)
    yield account
    machines["moon"].join()
    account.sh("rm -rf .cit/queues/main/builders/*.cit .cit/queues/main/assigned/* .cit/queues/main/sent/* .cit/queues/main/waiting/*")


def may_log_in(ada: Account, machines: Lan, user: str) -> Account:
    """An account on moon, empty but for ada's key."""
    account = machines["moon"].account(user)
    account.put(".ssh/authorized_keys", ada.text("cat .ssh/id_ed25519.pub") + "\n")
    return account


def document(ada: Account, name: str = "moon") -> Document:
    [path] = ada.path(".cit/queues/main/builders").glob(f"*-{name}.cit")
    return reader.parse(path.read_bytes())


def pushed(ada: Account, script: str = "id -un") -> Document:
    """A job that has ended, as cron on the queue's machine would have it come home."""
    job = ada.text(f"cit push -J job -- sh -c '{script}'").split()[0]
    for _ in range(40):
        ada.sh("cit-tick; sleep 0.1", status=None)
        found = list(ada.path(".cit/queues/main/done").glob(f"*/{job}*.cit"))
        if found:
            return reader.parse(found[0].read_bytes())
    raise AssertionError(ada.text("cit why last; cat .cit/queues/main/log/on-arrival", status=None))


def left_there(account: Account) -> list[str]:
    return sorted(account.text("ls -A").split())


def crontab(account: Account) -> str:
    return account.text("crontab -l 2>/dev/null", status=None)


# --- from nothing -----------------------------------------------------------------------------------------------------


def test_an_account_with_sshd_and_python3_becomes_a_builder(ada: Account, machines: Lan) -> None:
    one = may_log_in(ada, machines, "one")
    own = one.path(".ssh/authorized_keys").read_text()
    assert left_there(one) == [".ssh"] and one.text("command -v cit", status=127) == ""

    planned = ada.sh("cit add -n one@10.77.0.2").stderr.decode()
    words = ["look", "copy", "home", "know", "pin", "knock", "enlist"]
    assert re.findall(r"^cit-add: (\w+): ", planned, re.M) == words and left_there(one) == [".ssh"]
    one.put(".bashrc", "echo welcome to moon\n")  # as scp, cit cannot do with that
    assert b"its login prints 'welcome to moon'" in ada.sh("cit add one@10.77.0.2", status=78).stderr
    one.sh("rm .bashrc")

    done = ada.sh("cit add one@10.77.0.2 --slots 1 --tags fast,linux")
    assert done.stdout.startswith(b"added moon (ssh://one@10.77.0.2) to @main: 1 slots, ")
    assert re.findall(r"^cit-add: (\w+): ", done.stderr.decode(), re.M) == [*words[:-1], "note"]
    table = document(ada).table("builder")
    assert table["account"] == "one@moon" and table["door"] == "ssh://one@10.77.0.2" and table["users"] == ["ada@sun"]
    assert one.path(".cit/builder.cit").read_bytes() == document(ada).raw
    keys = one.path(".ssh/authorized_keys").read_text()
    founder = ada.text("ssh-keygen -lf .cit/queues/main/key.pub").split()[1]
    command = f'{one.home}/.cit/bin/cit-queue --door=\\"$SSH_ORIGINAL_COMMAND\\" --role queue --for main@{founder}'
    assert keys.startswith(own) and f'\nrestrict,command="{command}" ssh-ed25519 ' in keys
    assert f"'{one.home}/.cit/bin/cit-tick'" in crontab(one)
    assert ada.path(".cit/known_hosts").read_text() == one.known
    assert one.text("find .cit -perm /077 ! -type l ! -name '*.pub'") == ""

    ended = pushed(ada, "id -un; hostname")
    assert next(ended.all("result")).table()["state"] == "COMPLETED"
    assert one.path(f".cit/work/{ended.id}.a1-job.log").read_text() == "one\nmoon\n"
    for transport in ("fabric", "ssh"):  # her key opens a shell there, and no door
        assert ada.text(f"cit config transport {transport}; cit log {ended.id}") == "one\nmoon"
    ada.sh("cit config --unset transport")

    assert "ok    builder moon    ssh://one@10.77.0.2 answers" in ada.text("cit doctor --ask", status=None)
    doctor = one.text(".cit/bin/cit doctor")
    assert (
        "\nok    bundle " in doctor
        and "\nok    your door       open to 1 keys" in doctor
        and f"\nok    cron            {one.home}/.cit/bin/cit-tick" in doctor
    )
    one.sh("cp .ssh/authorized_keys keys && sed -i s/restrict,// .ssh/authorized_keys")
    one.sh("cd .cit/lib/*/cit_run && cp main.py ~/kept && echo '#' >>main.py")
    doctor = one.text(".cit/bin/cit doctor -q", status=1)
    assert "fail  bundle " in doctor and f"fail  your door       line 2 of {one.home}/.ssh/authorized_keys lets a key do more" in doctor
    one.sh("mv kept .cit/lib/*/cit_run/main.py && mv keys .ssh/authorized_keys")

    again = ada.sh("cit add one@10.77.0.2:22").stderr.decode()
    assert "it has this cit already" in again
    assert document(ada).table("builder")["tags"] == ["fast", "linux"] and document(ada).table("builder")["slots"] == 1
    assert one.path(".ssh/authorized_keys").read_text() == keys and crontab(one).count("cit-tick") == 1
    assert one.path(".cit/allowed_signers").read_text().count("ada@sun ") == 1
    assert ada.path(".cit/queues/main/allowed_signers").read_text().count("builder@moon ") == 1


def test_a_host_key_is_known_or_given_and_then_pinned(ada: Account, machines: Lan) -> None:
    two = may_log_in(ada, machines, "two")
    ada.put(".ssh/known_hosts", "")
    ada.sh("rm -f .cit/known_hosts")
    right = subprocess.run(["ssh-keygen", "-lf", "-"], input=two.machine.host_key(), capture_output=True, text=True).stdout.split()[1]
    ada.sh("cit add two@10.77.0.2", status=69)
    ada.sh(f"cit add --host-key SHA256:{'A' * 43} two@10.77.0.2", status=69)
    assert left_there(two) == [".ssh"] and not ada.path(".cit/known_hosts").exists()
    ada.sh(f"cit add --host-key {right} two@10.77.0.2")
    assert ada.path(".cit/known_hosts").read_text() == two.known and ada.path(".ssh/known_hosts").read_text() == ""
    # From here on it is enough to see whether it gets as far as to look for a Python.
    ada.sh("cit add --python nonesuch two@10.77.0.2", status=78)  # cit knows it now
    wrong = ada.text("cut -d' ' -f 1,2 .cit/queues/main/seal.pub")
    ada.put(".cit/known_hosts", f"10.77.0.2 {wrong}\n")
    ada.sh("cit add --python nonesuch two@10.77.0.2", status=69)
    ada.put("host.pub", two.machine.host_key() + "\n")
    ada.sh("cit add --python nonesuch --host-key host.pub two@10.77.0.2", status=78)


def test_your_own_ssh_configuration_counts(ada: Account, machines: Lan) -> None:
    """A name of ~/.ssh/config with a key of its own, by way of a jump over another account."""
    three = may_log_in(ada, machines, "three")
    may_log_in(ada, machines, "one")
    ada.put(".ssh/config", "Host luna\n HostName 10.77.0.2\n ProxyJump one@10.77.0.2\n IdentityFile ~/.ssh/id_ed25519\n")
    try:
        done = ada.sh("cit add three@luna --name jumped")
        assert b"added jumped (ssh://three@luna)" in done.stdout
        known = ada.path(".cit/known_hosts").read_text()
        assert known == f"luna,10.77.0.2 {three.machine.host_key()}\n"
        assert next(pushed(ada).all("result")).table()["state"] == "COMPLETED"
    finally:
        ada.sh("rm .ssh/config")


def test_interrupted_anywhere_it_goes_on(ada: Account, machines: Lan) -> None:
    four = may_log_in(ada, machines, "four")
    ada.sh("cit-format bundle --there")
    for seconds in (0.6, 1.3, 2.5):
        ada.sh(f"timeout -s KILL {seconds} cit add four@10.77.0.2 --slots 1", status=None)
    machines["moon"].cut()
    ada.sh("timeout -s KILL 1 cit add four@10.77.0.2", status=None)
    machines["moon"].join()
    ada.sh("cit add four@10.77.0.2 --slots 1")
    assert four.path(".ssh/authorized_keys").read_text().count("restrict,") == 1 and crontab(four).count("cit-tick") == 1
    lib = [path.name for path in four.path(".cit/lib").iterdir()]
    assert len([name for name in lib if not name.startswith(".")]) == 1
    assert next(pushed(ada).all("result")).table()["state"] == "COMPLETED"
    ada.sh("rm -rf /tmp/cit-far.*")


def test_with_a_door_results_come_home_by_themselves(ada: Account, machines: Lan) -> None:
    """The queue says how it is reached: the builder gets a key at it, and pushes; nobody fetches."""
    five = may_log_in(ada, machines, "five")
    ada.sh("cit config --queue @main door ssh://ada@10.77.0.1/@main")
    try:
        ada.sh("cit add five@10.77.0.2")
        line = ada.path(".ssh/authorized_keys").read_text()
        fingerprint = five.text("ssh-keygen -lf .cit/key.pub").split()[1]
        assert f"--role builder --for {fingerprint} --to @main" in line
        settings = five.path(".cit/queues/main-10.77.0.1/queue.toml").read_text()
        assert "remote = true" in settings and 'door = "ssh://ada@10.77.0.1/@main"' in settings
        assert five.path(".cit/known_hosts").read_text().split()[:1] == ["10.77.0.1"]
        job = ada.text("cit push --wait -J job -- true").split()[0]  # no tick, no fetch
        assert list(ada.path(".cit/queues/main/done").glob(f"*/{job}*.cit"))
        ada.sh("cit remove --wait moon")
        assert fingerprint not in ada.path(".ssh/authorized_keys").read_text()
        assert not five.path(".cit/queues/main-10.77.0.1").exists()
    finally:
        ada.sh("cit config --queue @main --unset door")


# --- and out again ----------------------------------------------------------------------------------------------------


def test_removed_it_is_as_it_was(ada: Account, machines: Lan) -> None:
    six = may_log_in(ada, machines, "six")
    own = six.path(".ssh/authorized_keys").read_text()
    six.sh("echo '7 7 * * * true' | crontab -")
    ada.sh("cit add six@10.77.0.2 --slots 1")
    ended = pushed(ada)
    waiting = [ada.text(f"cit push -J {name} -- sleep 60").split()[0] for name in ("runs", "waits")]
    for _ in range(20):
        ada.sh("cit-tick; sleep 0.1", status=None)
        if list(six.path(".cit/running").glob("*-runs.cit")):
            break
    said = ada.sh("cit remove moon", status=75).stderr
    assert b"jobs of @main" in said and document(ada).table("builder")["state"] == "drain"
    ada.sh("cit remove --now --purge moon")
    assert left_there(six) == [".ssh"] and six.path(".ssh/authorized_keys").read_text() == own and crontab(six) == "7 7 * * * true"
    assert list(ada.path(".cit/queues/main/done").glob(f"*/{waiting[0]}*.cit")) and list(
        ada.path(".cit/queues/main/waiting").glob(f"*{waiting[1]}.a2*")
    )
    ada.sh(f"cit trace {ended.id}")
    ada.sh("cit remove moon")  # again: nothing to do
    ada.sh(f"cit cancel {waiting[1]}; rm -rf .cit/queues/main/builders/.removed")


def test_a_builder_out_of_reach_is_out_here_and_undone_there_later(ada: Account, machines: Lan) -> None:
    one = may_log_in(ada, machines, "one")
    ada.sh("cit add one@10.77.0.2")
    machines["moon"].cut()
    assert b"out of reach" in ada.sh("cit remove moon", status=69).stderr
    assert not list(ada.path(".cit/queues/main/builders").glob("*.cit"))
    machines["moon"].join()
    ada.sh("cit remove moon")
    assert "restrict," not in one.path(".ssh/authorized_keys").read_text() and "cit" not in crontab(one)


# --- other Pythons ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", os.environ.get("OTHER_PYTHONS", "").split() or [""])
def test_with_another_python(ada: Account, machines: Lan, python: str, tmp_path: Path) -> None:
    if not python:
        pytest.skip("OTHER_PYTHONS names none")
    two = may_log_in(ada, machines, "two")
    looked = subprocess.run([python, "-E", Path(bundle.__file__).with_name("there.py"), "look"], capture_output=True, text=True, check=True)
    facts = dict(line.split("\t") for line in looked.stdout.splitlines())
    bundle.made(bundle.target(facts), tmp_path)  # ada's machine has no network, this one may
    packed = subprocess.run(["tar", "-cf", "-", "-C", tmp_path, "wheels"], capture_output=True, check=True).stdout
    ada.sh("mkdir -p .cache/cit && tar -xf - -C .cache/cit", stdin=packed)
    folders = [str(folder) for folder in Path(python).resolve().parents]
    machines["moon"].sh(f"chmod a+x {' '.join(folders)}", "root")
    ada.sh(f"cit add two@10.77.0.2 --python {python}")
    assert next(pushed(ada).all("result")).table()["state"] == "COMPLETED"
    stages = "for stage in trigger queue schedule deliver run sync report format; do .cit/bin/cit-$stage --help >/dev/null || echo $stage; done"
    assert two.text(stages) == "" and two.text("readlink -f .cit/bin/../lib/*/.venv/bin/python").count(str(Path(python).resolve())) == 1
