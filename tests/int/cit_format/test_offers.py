"""Which interfaces an account offers, what is kept of what they say, and that its heartbeat tells it (docs/format/interface.md)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cit_format import body, clock, document, heartbeat, home, keys, offers, reader
from cit_format.errors import CONFIG, DENIED, NOT_FOUND, CitError

ROWS = body.tsv([["-", "interface", "-", "-", "-", "-", "Builds."], ["version", "string", "-", "-", "1", "-", ""]])
PRINTS = f"echo asked >>asked; printf '%s' '{ROWS.decode()}'"
PROGRAMS = {
    "zlib": (PRINTS, 0o700),
    "silent": ("exit 0", 0o700),
    "broken": ("echo nonsense", 0o700),
    "failing": (f"{PRINTS}; exit 3", 0o700),
    "slow": ("sleep 60", 0o700),
    "noisy": ("yes", 0o700),
    "open": (PRINTS, 0o722),
    "notes": (PRINTS, 0o600),
    "can_build_zlib": ("exit 0", 0o700),
    ".hidden": (PRINTS, 0o700),
    "UPPER": (PRINTS, 0o700),
}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "interfaces" / "folder").mkdir(parents=True)
    for name, (text, mode) in PROGRAMS.items():
        program = tmp_path / "interfaces" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(mode)
    return tmp_path


def asked(account: Path) -> int:
    """How often an interface was asked."""
    file = account / "interfaces" / "asked"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_only_what_describes_itself_is_offered(account: Path) -> None:
    began = time.monotonic()
    found = offers.offered(account)
    assert time.monotonic() - began < offers.ALTOGETHER + 5
    assert sorted(found) == ["broken", "failing", "noisy", "open", "silent", "slow", "zlib"]
    assert list(offers.good(account)) == ["zlib"]
    faults = {name: each for name, each in found.items() if isinstance(each, CitError)}
    assert {each.status for each in faults.values()} == {CONFIG}
    assert "others can write" in faults["open"].what and "no answer" in faults["slow"].what and "status 3" in faults["failing"].what
    for name in ("notes", "folder", "can_build_zlib", "..", "../interfaces/zlib", "UPPER", ""):
        with pytest.raises(CitError) as caught:
            offers.described(account, name)
        assert caught.value.status == NOT_FOUND


def test_what_its_own_program_says_no_to_is_not_offered_meanwhile(account: Path) -> None:
    """Not a word of the reasons goes out; whoever has the job already runs it."""
    program = account / "interfaces" / "can_build_zlib"
    program.write_text("#!/bin/sh\necho secret reasons\n[ -e free ]\n")
    assert offers.good(account) == {} and "says no" in str(offers.offered(account)["zlib"])
    assert list(offers.described(account, "zlib").parameters) == ["version"]
    (account / "interfaces" / "free").touch()
    assert list(offers.good(account)) == ["zlib"]


def test_it_is_asked_again_when_it_changes(account: Path) -> None:
    for _ in range(3):
        assert list(offers.described(account, "zlib").parameters) == ["version"]
    assert asked(account) == 1
    program = account / "interfaces" / "zlib"
    program.write_text(program.read_text().replace("version", "release"))
    assert list(offers.described(account, "zlib").parameters) == ["release"] and asked(account) == 2
    kept = account / "interfaces" / ".described" / "zlib"
    os.utime(kept, (time.time() - 2 * offers.LASTS,) * 2)
    offers.described(account, "zlib")
    assert asked(account) == 3
    kept.write_bytes(b"torn")
    offers.described(account, "zlib")
    assert asked(account) == 4


def test_who_is_late_and_answered_before_has_not_changed_its_mind(account: Path) -> None:
    """On a busy machine; a program that is another one has to answer anew."""
    program = account / "interfaces" / "zlib"
    program.write_text(f"#!/bin/sh\n[ ! -e busy ] || sleep 60\n{PRINTS}\n")
    offers.described(account, "zlib")
    (account / "interfaces" / "busy").touch()
    kept = account / "interfaces" / ".described" / "zlib"
    os.utime(kept, (time.time() - 2 * offers.LASTS,) * 2)
    assert list(offers.described(account, "zlib", 0.2).parameters) == ["version"]
    began = time.monotonic()
    offers.described(account, "zlib")
    assert time.monotonic() - began < 1, "it is left alone for a while"
    program.write_text(program.read_text() + "#\n")
    with pytest.raises(CitError, match="no answer"):
        offers.described(account, "zlib", 0.2)
    (account / "interfaces" / "busy").unlink()
    assert list(offers.described(account, "zlib").parameters) == ["version"], "a short look that was in vain is not kept"


def test_a_fault_is_not_asked_for_at_each_look(account: Path) -> None:
    with pytest.raises(CitError):
        offers.described(account, "slow")
    began = time.monotonic()
    with pytest.raises(CitError, match="no answer"):
        offers.described(account, "slow")
    assert time.monotonic() - began < offers.PATIENCE / 2


def test_a_heartbeat_tells_it(account: Path) -> None:
    keys.generate(account / "key", "builder@moon")
    own, now = home.Account(account), clock.now()
    said = {"name": "moon", "key": own.signer.public.fingerprint, "created": body.Time(now)}
    described = home.signed(document.new("moon", document.section("builder", "toml", body.toml(said))), own.signer, "builder@moon", "cit-builder")
    (account / "builder.cit").write_bytes(described.raw)
    answer = heartbeat.heartbeat(own, now)
    assert heartbeat.believed(answer, own.signer.public.fingerprint, now).interfaces == ("zlib",)
    (told,) = answer.all("interface")
    assert told.body() == ROWS and told.attributes == {"name": "zlib"}
    forged = answer.raw.replace(b"Builds.", b"Steals.")
    with pytest.raises(CitError) as caught:
        heartbeat.believed(reader.parse(forged), own.signer.public.fingerprint, now)
    assert caught.value.status == DENIED
