"""cit join --make: the hosts document of a cluster, from what its manager's home knows, signed with the manager's key.

Reads   queues of this home that have a door, their builders, the host keys of this machine and those that people wrote into
        known_hosts; the version before
Writes  the document to stdout; it is kept in hosts/ and believed here as well
Exits   0; 65 what is known fits no such document; 66 nothing has a door; 78 no key of one's own
How     rows of the version before stay as far as nothing newer is known of them; where nothing changed and half of the time is
        left, it is that version again
Page    docs/howto/use-a-remote-queue.md
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import address, builder, builders, clock, document, elsewhere, home, hosts, join, keys, messages, output, sshsig, trust
from .errors import CONFIG, NOT_FOUND, CitError
from .hosts import Hosts, Row
from .spool import Lock, listing, make_directory
from .sshsig import PublicKey

HOST_KEYS = "/etc/ssh"


# --- decisions ------------------------------------------------------------------------------------------------------


def merged(known: Iterable[Row], before: Hosts | None, dropped: set[str], now: int, until: int) -> list[Row]:
    """The rows of the next version: what is known now, then what the version before has beside it and still holds.

    A row that was there keeps its beginning. Of a machine the keys that are known now replace all of its older ones.
    """
    old = [row for row in before.rows if row.until > now] if before else []
    since = {_about(row): row.start for row in old}
    fresh = [row._replace(start=since.get(_about(row), row.start), until=until) for row in known if row.name not in dropped]
    named = {(row.kind, row.name) for row in fresh}
    kept = [row._replace(until=until) for row in old if (row.kind, row.name) not in named and row.name not in dropped]
    order = {kind: number for number, kind in enumerate(("manager", "queue", "builder", "host"))}
    return sorted(fresh + kept, key=lambda row: (order[row.kind], row.name, row.key.line))


def is_same(before: Hosts, rows: list[Row], now: int, until: int) -> bool:
    """Whether the version before says the same, for at least half of the time that a new one would."""
    same = sorted(map(_about, before.rows)) == sorted(map(_about, rows))
    return same and min((row.until for row in before.rows), default=0) - now > (until - now) // 2


def _about(row: Row) -> tuple[str, str, str, str]:
    return row.kind, row.name, row.key.line, row.door


# --- what this home knows -------------------------------------------------------------------------------------------


def facts(base: Path, manager: PublicKey, host_keys: list[Path], now: int) -> list[Row]:
    """The rows about this home: its person, its queues with doors, their builders, and the machines that these are on."""
    found = [Row("manager", home.person(), manager._replace(comment=""), now, now, "")]
    ours: set[str] = set()
    for queue in elsewhere.local_queues(base):
        if address.is_remote(queue.door):
            key = queue.signer.public
            name = queue.name if queue.fingerprint == key.fingerprint else queue.full_name
            found.append(Row("queue", name, key._replace(comment=queue.identity), now, now, queue.door))
            ours.add(address.parse(queue.door).known_as)
        found += builder_rows(queue, now)
    if not ours:
        raise CitError(NOT_FOUND, "no queue of this home has a door", "cit config @main door ssh://USER@HOST/@main, as others reach it")
    mine = [sshsig.parse_public_key(file.read_text()) for file in host_keys]
    found += [Row("host", name, key._replace(comment=""), now, now, "") for name in sorted(ours) for key in mine]
    found += [row for row in known_machines(base, now) if row.name not in ours]
    return list(dict.fromkeys(found))  # queues share builders


def builder_rows(queue: home.Queue, now: int) -> list[Row]:
    """The builders of a queue that it believes, and whose public keys its list has; a directory is no door for others."""
    entries = {entry.key.fingerprint: entry for several in queue.signers.allowed.values() for entry in several if "cit-result" in entry.namespaces}
    paths = [queue / "builders" / name for name in listing(queue / "builders")]
    found = []
    for described in map(builder.builder, builders.newest(queue, paths, now)[0]):
        entry = entries.get(described.key)
        if entry:
            door = described.door if address.is_remote(described.door) else ""
            found.append(Row("builder", described.name, entry.key._replace(comment=entry.principal), now, now, door))
    return found


def known_machines(base: Path, now: int) -> list[Row]:
    """The machines whose keys people wrote down here, by `cit add` or by hand; patterns, hashed names and authorities are left out."""
    file = base / "known_hosts"
    found = []
    for line in file.read_text("utf-8", "replace").splitlines() if file.exists() else []:
        words = line.split()
        if len(words) >= 3 and not line.startswith(("#", "@", "|")):
            try:
                found.append(hosts.row(["host", words[0], " ".join(words[1:3]), clock.iso_ms(now), clock.iso_ms(now), ""]))
            except CitError as error:
                messages.tell("note", f"left out of it: {error.what}", str(file))
    return found


# --- making one -----------------------------------------------------------------------------------------------------


def made(base: Path, host_keys: list[Path], dropped: set[str], valid: int, now: int) -> Hosts:
    """The newest version, made and joined here where there is something new to say."""
    configured = home.settings(base / "config.toml").get("key")
    signer = keys.find_personal(base, str(configured) if configured else None)
    if signer is None:
        raise CitError(CONFIG, "no ssh key of your own", "make one: ssh-keygen -t ed25519, or name it: cit config key FILE")
    directory = base / "hosts"
    make_directory(directory)
    with Lock(directory / ".lock"):
        before = hosts.newest(directory)
        since = now // clock.SECOND * clock.SECOND - trust.SKEW  # clocks differ
        rows = merged(facts(base, signer.public, host_keys, since), before, dropped, now, since + valid)
        if before is not None and is_same(before, rows, now, since + valid):
            return before
        serial = before.serial + 1 if before else 1
        unsigned = document.new("hosts", document.section("hosts", "tsv", hosts.section(rows), serial=str(serial)))
        found = hosts.said(home.signed(unsigned, signer, home.person(), hosts.NAMESPACE))
        join.keep(directory, found, now)
    return found


def act(host_keys: list[Path], dropped: set[str], valid: str) -> int:
    """Write the newest version to stdout, and say what others need beside it."""
    files = host_keys or sorted(Path(HOST_KEYS).glob("ssh_host_*_key.pub"))
    found = made(home.ensure(), files, dropped, clock.duration(valid), clock.now())
    signature = found.document.find("signature")
    assert signature is not None
    fingerprint = sshsig.parse_signature(signature.body()).key.fingerprint
    messages.tell("note", f"hosts, serial {found.serial}", hint=f"others join with: cit join FILE {fingerprint}")
    return output.write(found.document.raw)
