"""Does an account say what it can build, by its programs alone, soon, and without a word more than yes?"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cit_format import can_build, clock, heartbeat, home, keys
from cit_format.body import Time, toml
from cit_format.document import new, section

PROGRAMS = {
    "zlib": "exit 0",
    "lz4": "echo secret reasons; exit 1",
    "slow": "sleep 30",
    "killed": "kill -9 $$",
    "noisy": "yes; exit 0",
}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "interfaces").mkdir()
    for name, text in PROGRAMS.items():
        program = tmp_path / "interfaces" / f"can_build_{name}"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o700)
    (tmp_path / "interfaces" / "can_build_notes").write_text("not executable\n")
    return tmp_path


def test_only_a_yes_within_a_second_counts(account: Path) -> None:
    began = time.monotonic()
    assert can_build.answers(account, [*PROGRAMS, "notes", "unheard-of", "../../bin/true", "UP"]) == ["zlib", "unheard-of"]
    assert time.monotonic() - began < can_build.ALTOGETHER + 1


def test_a_heartbeat_has_the_names_and_nothing_of_the_reasons(account: Path) -> None:
    keys.generate(account / "key", "builder@moon")
    own = home.Account(account)
    now = clock.now()
    said = {"name": "moon", "key": own.signer.public.fingerprint, "can-build": ["zlib", "lz4"], "created": Time(now)}
    described = home.signed(new("moon", section("builder", "toml", toml(said))), own.signer, "builder@moon", "cit-builder")
    (account / "builder.cit").write_bytes(described.raw)
    answer = heartbeat.heartbeat(own, now)
    assert heartbeat.believed(answer, own.signer.public.fingerprint, now).can_build == ("zlib",)
    assert b"secret" not in answer.raw
