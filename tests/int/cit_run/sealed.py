"""Jobs with secrets for the tests of cit-run: a canary that no two test runs share, and where it must not be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cit_run import secrets
from cit_run.cit_format import home, reader, seal, secret
from cit_run.cit_format.document import Document
from tests.int.cit_run.kit import Bench

CANARY = f"canary-{os.urandom(6).hex()}"
MASK = "*" * len(CANARY)
PRINTS = '#!/bin/sh\necho "it is $(cat "$CIT_SECRETS/TOKEN")."\n'
WAITS = PRINTS + "echo $$ >&2\nfor n in $(seq 1000); do [ ! -e stop ] || exit 0; sleep 0.02; done\n"


def recipient(bench: Bench) -> seal.Recipient:
    return seal.recipient(str(bench.account.seal))


def job(bench: Bench, script: str, to: list[seal.Recipient] | None = None, is_sealed: bool = False, **contents: str) -> Document:
    """A signed job with secrets, TOKEN without any; sealed to this builder unless said otherwise."""
    bare = bench.job(script)
    keyed = to or [recipient(bench)]
    contents = contents or {"TOKEN": CANARY}
    if is_sealed:
        contents["script"] = script
    pieces = [secret.section(bare.id, bench.person.public.fingerprint, name, text.encode(), keyed) for name, text in contents.items()]
    parts = [bare.sections[0]] if is_sealed else bare.sections[:-1]
    return signed(bench, bare, *(bare.raw[part.start : part.end] for part in parts), *pieces)


def signed(bench: Bench, bare: Document, *written: bytes) -> Document:
    """A job with the ID of another one, of these sections."""
    raw = b"@cit 1 %s %s\n%s" % (bare.id.encode(), bare.name.encode(), b"".join(written))
    return home.signed(reader.parse(raw), bench.person, home.person(), "cit-job")


def send(bench: Bench, made: Document) -> Document:
    assigned = bench.assigned(made)
    bench.give(assigned)
    return assigned


def link(bench: Bench, made: Document) -> Path:
    """The link to a job's directory of secrets."""
    return bench.account / "work" / ".private" / f"{made.id}.a1-{made.name}"


def holding(place: Path, what: bytes = CANARY.encode()) -> list[str]:
    """The files below a directory in which something stands."""
    files = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if what in path.read_bytes()]


def processes_that_show(what: bytes, but: Iterable[int]) -> list[str]:
    """The processes that have something in their arguments or environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in but:
            for name in ("cmdline", "environ"):
                try:
                    if what in Path(f"/proc/{entry}/{name}").read_bytes():
                        found.append(f"{entry}/{name}")
                except OSError:
                    continue
    return found


def nothing_left(bench: Bench, directory: str = "") -> None:
    """No link, no directory, and the canary in no file of the home or of the places for secrets."""
    assert secrets.left(bench.account) == []
    assert holding(bench.home) == []
    assert not directory or not os.path.lexists(directory)
    for base in secrets.bases():
        assert [found for path in Path(base).glob(f"cit-{'[0-9a-f]' * 24}") for found in holding(path)] == []


def taken(bench: Bench, made: Document) -> Document:
    """A job that a pass has taken, which was killed before it began."""
    assigned = send(bench, made)
    (name,) = (entry for entry in os.listdir(bench.account / "inbox") if made.id in entry)
    os.rename(bench.account / "inbox" / name, bench.account / "running" / name)
    (bench.account / "running" / ".boot").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
    return assigned
