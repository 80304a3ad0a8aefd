"""cit join as people type it: a manager makes the hosts document, others join it, and push over real ssh with the keys that it brought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import home, hosts, keys
from tests.cluster import loopback
from tests.cluster.machine import Account


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Account, Account]]:
    """`hub`, where cit has a queue, and `sun`, where ada sits; neither knows the other."""
    if loopback.obstacle():
        pytest.skip(f"no sshd on loopback: {loopback.obstacle()}")
    machines = loopback.Loopback(tmp_path, {"hub": ["cit"], "sun": ["ada"]})
    hub, sun = machines["hub"].account("cit"), machines["sun"].account("ada")
    for account in (hub, sun):
        account.sh("ssh-keygen -q -t ed25519 -N '' -C '' -f .ssh/id_ed25519 && cit-init")
    hub.sh(f"cit config @main door {hub.place}/@main")
    yield hub, sun
    machines.close()


def made(hub: Account, *options: str) -> bytes:
    """The hosts document of hub's manager."""
    return hub.sh(f"cit join --make -q --host-key .ssh/host_key.pub {' '.join(options)}").stdout


def pin(hub: Account) -> str:
    return keys.load(hub.path(".ssh/id_ed25519")).public.fingerprint


def known(sun: Account) -> home.Queue:
    """The queue elsewhere that sun knows; the only one."""
    [found] = [queue for queue in map(home.Queue, sun.path(".cit/queues").iterdir()) if (queue / "queue.toml").exists() and queue.remote]
    return found


def test_from_join_to_push(pair: tuple[Account, Account]) -> None:
    hub, sun = pair
    document = made(hub)
    sun.sh(f"cit join - {pin(hub)} --as ada@home", stdin=document)
    queue = known(sun)
    assert queue.path.name == "main-127.0.0.1", "main is taken: this home has one of its own"
    assert (queue.full_name, queue.door, queue.person) == (home.Queue(hub.path(".cit/queues/main")).full_name, f"{hub.place}/@main", "ada@home")
    assert sun.path(".cit/hosts/known_hosts").read_text() == hub.known
    hub.sh("cit allow --door ada@home - @main", stdin=sun.path(".ssh/id_ed25519.pub").read_bytes())
    sun.sh("cit config queues @main-127.0.0.1 && cit push -J hello --hold -- echo hi")
    assert [path.name.endswith("-hello.cit") for path in hub.path(".cit/queues/main/held").glob("*.cit")] == [True]
    assert b'submitter = "ada@home"' in next(hub.path(".cit/queues/main/held").glob("*.cit")).read_bytes()


def test_one_server_that_queues_and_builds(pair: tuple[Account, Account]) -> None:
    """The usual small set-up: one account elsewhere; a job goes there, runs there, and its log is read, all by one line of authorized_keys."""
    hub, sun = pair
    sun.sh(f"cit join - {pin(hub)} --as ada@home && cit config queues @main-127.0.0.1", stdin=made(hub))
    key = sun.path(".ssh/id_ed25519.pub").read_bytes()
    hub.sh("cit allow --door ada@home - @main", stdin=key)
    hub.sh("cit allow ada@home -", stdin=key)  # the builder believes her, too
    assert sun.sh("cit push --wait -J hello -- sh -c 'echo hi; exit 4'", status=4)
    assert sun.text("cit log hello") == "hi"
    assert sun.text("cit why -q hello").endswith("Z.") and "status 4" in sun.text("cit why -q hello")
    assert "all 4 signatures hold; keys of hosts serial 1, sha256:" in sun.text("cit trace --table hello")
    assert sun.text("cit ls --tsv | cut -f 2,3,4").endswith("hello\tFAILED\tmain-127.0.0.1")


def test_without_joining_nothing_is_sent(pair: tuple[Account, Account]) -> None:
    """The host key comes from the signed document; another one is no queue of ours, and gets nothing."""
    hub, sun = pair
    sun.sh(f"cit join - {pin(hub)}", stdin=made(hub))
    hub.sh("cit allow --door ada@sun - @main", stdin=sun.path(".ssh/id_ed25519.pub").read_bytes())
    file = sun.path(".cit/hosts/known_hosts")
    true = file.read_text()
    name = true.partition(" ")[0]
    file.write_text(f"{name} {' '.join(sun.path('.ssh/id_ed25519.pub').read_text().split()[:2])}\n")
    ended = sun.sh("cit push --queue @main-127.0.0.1 -- true", status=75)
    assert b"kept" in ended.stdout and b"host key" in ended.stderr
    assert not list(hub.path(".cit/queues/main/waiting").glob("*.cit"))
    sun.sh("cit join && cit outbox send")
    assert file.read_text() == true
    assert len(list(hub.path(".cit/queues/main/seen").glob("*/*"))) == 1


def test_a_newer_version_needs_no_fingerprint_and_an_older_one_is_refused(pair: tuple[Account, Account]) -> None:
    hub, sun = pair
    first = made(hub)
    assert made(hub) == first, "nothing new is nothing new to join"
    sun.sh(f"cit join - {pin(hub)} --builder", stdin=first)
    assert sun.path(".cit/allowed_signers").read_text().count(' namespaces="cit-queue",valid-after=') == 1
    hub.sh("cit init @night && cit config @night door ssh://cit@10.9.8.7/@night")
    second = made(hub)
    sun.sh("cit join -", stdin=second)
    assert home.Queue(sun.path(".cit/queues/night")).door == "ssh://cit@10.9.8.7/@night"
    assert sun.path(".cit/allowed_signers").read_text().count(' namespaces="cit-queue",valid-after=') == 2, "asked for once, kept up to date"
    assert b"serial 1, but 2 was joined before" in sun.sh("cit join -", stdin=first, status=77).stderr
    sun.sh("cit join -", stdin=made(hub, "--drop", "night"))
    assert not sun.path(".cit/queues/night").exists() and known(sun)
    assert [each.serial for each in hosts.kept(sun.path(".cit/hosts"))] == [3, 2, 1]


def test_a_door_that_moves_and_a_person_who_is_called_otherwise(pair: tuple[Account, Account]) -> None:
    hub, sun = pair
    sun.sh(f"cit join - {pin(hub)}", stdin=made(hub))
    place = known(sun).path
    (place / "queue.toml").write_text("# mine\n" + (place / "queue.toml").read_text())
    hub.sh("cit config @main door ssh://cit@10.9.8.7/@main")
    sun.sh("cit join - --as ada@home", stdin=made(hub))
    assert (known(sun).path, known(sun).door, known(sun).person) == (place, "ssh://cit@10.9.8.7/@main", "ada@home")
    assert (place / "queue.toml").read_text().startswith("# mine\n")


def test_leaving_takes_all_of_it_back(pair: tuple[Account, Account]) -> None:
    hub, sun = pair
    before = sun.path(".cit/allowed_signers").read_text()
    sun.sh(f"cit join - {pin(hub)} --builder", stdin=made(hub))
    sun.sh("cit join --leave")
    assert sun.path(".cit/allowed_signers").read_text() == before
    assert [path.name for path in sun.path(".cit/queues").iterdir()] == ["main"]
    assert sorted(path.name for path in sun.path(".cit/hosts").iterdir() if path.name[0] != ".") == ["left"]
    assert b"in no cluster" in sun.sh("cit join --leave", status=66).stderr
    sun.sh("cit join -", stdin=made(hub), status=2)  # pinned no more


def test_what_is_no_hosts_document(pair: tuple[Account, Account]) -> None:
    hub, sun = pair
    assert b"not hosts" in sun.sh(f"cit-trigger -- true | cit join - {pin(hub)}", status=65).stderr
    assert b"2 documents" in sun.sh(f"cit join - {pin(hub)}", stdin=made(hub) * 2, status=65).stderr
    assert b"no such file" in sun.sh("cit join nothing.cit", status=66).stderr
    assert b"which cluster" in sun.sh("cit join", status=2).stderr
    assert b"no queue of this home has a door" in sun.sh("cit join --make", status=66).stderr
    assert b"is no person" in sun.sh(f"cit join - {pin(hub)} --as 'a b'", stdin=made(hub), status=2).stderr


def test_stock_tools_verify_it(pair: tuple[Account, Account]) -> None:
    """ssh-keygen agrees, with the very file in which the manager is pinned."""
    hub, sun = pair
    document = made(hub)
    sun.sh(f"cit join - {pin(hub)}", stdin=document)
    sun.put("hosts.cit", document)
    sun.sh("sed -n '/^-----BEGIN SSH/,/^-----END SSH/p' hosts.cit >sig")
    sun.sh(
        "sed '/^@begin signature /,$d' hosts.cit | ssh-keygen -Y verify -q -n cit-hosts -s sig -f .cit/hosts/manager.pub "
        "-I $(cut -d ' ' -f 1 .cit/hosts/manager.pub)"
    )
