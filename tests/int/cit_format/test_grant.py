"""Does a grant let its bearer in within its limits, and nobody else, and never further?"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cit_format import clock, document, grant, home, keys, reader, trust
from cit_format.body import Time, toml
from cit_format.document import Document, section
from cit_format.errors import DATA, DENIED, CitError
from cit_format.keys import Signer
from cit_format.signers import Signers, parse_allowed_signers

NOW = clock.parse("2026-11-23T20:26:11Z")
QUEUE = "main@SHA256:" + "A" * 43


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    """The owner of the account, the bearer of the grant, and somebody else."""
    place = tmp_path_factory.mktemp("keys")
    return {name: keys.generate(place / name, f"{name}@sun") for name in ("ada", "bob", "eve")}


def listed(who: dict[str, Signer]) -> Signers:
    return Signers(parse_allowed_signers(f'ada@sun namespaces="cit-job,cit-grant" {who["ada"].public.line}\n', "allowed_signers"))


def job(by: Signer, person: str, *grants: bytes, name: str = "nightly-1", call: str = "") -> Document:
    said = {"submitter": person, "key": by.public.fingerprint, "queue": QUEUE, "created": Time(NOW), "expires": Time(NOW + clock.DAY)}
    what = section("call", "toml", toml({"interface": call})) if call else section("script", "sh", b"true\n")
    carried = [section("grant", "text", one) for one in grants]
    return home.signed(document.new(name, section("job", "toml", toml(said)), what, *carried), by, person, "cit-job")


def granted(who: dict[str, Signer], names: str = "nightly-*", interfaces: str = "", until: int = NOW + clock.DAY, by: str = "ada") -> bytes:
    return grant.made("bob@sun", who["bob"].public, until, names, interfaces, who[by])


def test_does_it_let_its_bearer_in(who: dict[str, Signer]) -> None:
    assert trust.accepted(job(who["bob"], "bob@sun", granted(who)), listed(who), QUEUE, NOW).principal == "bob@sun"
    calls = granted(who, "", "zlib,lz4")
    assert trust.submission(job(who["bob"], "bob@sun", calls, call="lz4"), listed(who), NOW).principal == "bob@sun"
    with pytest.raises(CitError):
        trust.accepted(job(who["bob"], "bob@sun"), listed(who), QUEUE, NOW)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("name", "for jobs named"),
        ("interface", "for calls of"),
        ("date", "not valid after"),
        ("signer", "does not hold"),
        ("limits", "does not hold"),
        ("person", "does not hold"),
        ("bearer", "is not in"),
        ("name taken", "its key is that of bob@sun"),
    ],
)
def test_does_it_let_nobody_else_in(who: dict[str, Signer], what: str, why: str) -> None:
    bob = who["bob"]
    tried = {
        "name": lambda: job(bob, "bob@sun", granted(who), name="daily"),
        "interface": lambda: job(bob, "bob@sun", granted(who, "", "zlib"), call="lz4"),
        "date": lambda: job(bob, "bob@sun", granted(who, until=NOW - clock.MINUTE)),
        "signer": lambda: job(bob, "bob@sun", granted(who, by="eve")),
        "limits": lambda: job(bob, "bob@sun", granted(who).replace(b"nightly-*", b"*"), name="daily"),
        "person": lambda: job(bob, "bob@sun", granted(who).replace(b"bob@sun", b"ada@sun")),
        "bearer": lambda: job(who["eve"], "bob@sun", granted(who)),
        "name taken": lambda: job(bob, "ada@sun", granted(who)),
    }[what]()
    with pytest.raises(CitError) as refused:
        trust.accepted(tried, listed(who), QUEUE, NOW)
    assert refused.value.status == DENIED and why in refused.value.what


@pytest.mark.parametrize("more", ["cit-job,cit-queue", "cit-grant", "cit-result"])
def test_can_it_give_nothing_but_jobs(who: dict[str, Signer], more: str) -> None:
    text = granted(who).partition(grant.ARMOUR)[0].replace(b"cit-job", more.encode())
    forged = text + who["ada"].sign(text, grant.NAMESPACE)
    with pytest.raises(CitError) as refused:
        trust.accepted(job(who["bob"], "bob@sun", forged), listed(who), QUEUE, NOW)
    assert refused.value.status == DATA


def test_does_a_grant_after_the_signature_make_the_job_refused(who: dict[str, Signer]) -> None:
    late = job(who["bob"], "bob@sun").extended(section("grant", "text", granted(who)))
    with pytest.raises(CitError) as refused:
        trust.accepted(late, listed(who), QUEUE, NOW)
    assert refused.value.status == DATA


def test_does_ssh_keygen_agree(who: dict[str, Signer], tmp_path: Path) -> None:
    found = grant.parse(granted(who), "grant")
    (tmp_path / "sig").write_bytes(found.signature)
    (tmp_path / "allowed").write_text(f'ada@sun namespaces="cit-grant" {who["ada"].public.line}\n')
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "ada@sun", "-n", "cit-grant", "-s", str(tmp_path / "sig")]
    assert subprocess.run(command, input=found.covered, capture_output=True).returncode == 0


def test_is_a_job_with_a_grant_one_document(who: dict[str, Signer]) -> None:
    made = job(who["bob"], "bob@sun", granted(who))
    assert reader.parse(made.raw).find("grant") is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (document.section("env", "tsv", b"LD_PRELOAD\t./evil.so\n"), {}),
        (document.section("script", "sh", b"#!/bin/sh\n"), {}),
        (b"", {"check": "./evil"}),
        (b"", {"environment": "./evil"}),
    ],
    ids=["env", "script", "check", "environment"],
)
def test_grant_for_calls_lets_nothing_else_decide_what_runs(more: bytes, said: dict[str, str]) -> None:
    call = document.section("call", "toml", b'interface = "zlib"\n')
    alone = document.new("x", document.section("job", "toml", toml({"submitter": "ada@sun"})), call)
    job = document.new("x", document.section("job", "toml", toml({"submitter": "ada@sun", **said})), call, *filter(None, [more]))
    found = grant.Grant([], (), ("zlib",), b"", b"")
    assert grant.objection(found, alone) == "" and "decides what runs" in grant.objection(found, job)
