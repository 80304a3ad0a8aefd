"""The hosts document: whose word it is, which version counts, what follows from it. With real keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cit_format import clock, cluster, document, hosts, join, keys, reader
from cit_format.document import Document
from cit_format.errors import CitError
from cit_format.hosts import Hosts, Row
from cit_format.signers import Signers
from tests.int.cit_format.jobs import NOW, Yard

YEAR = 365 * clock.DAY
DOOR = "ssh://cit@10.0.0.1/@main"


@pytest.fixture
def people(tmp_path: Path) -> dict[str, keys.Signer]:
    return {name: keys.generate(tmp_path / name, f"{name}@sun") for name in ("manager", "other", "queue", "builder", "machine")}


def row(people: dict[str, keys.Signer], kind: str, name: str = "", who: str = "", **changes: Any) -> Row:
    key = people[who or {"host": "machine"}.get(kind, kind)].public
    plain = {"manager": "manager@sun", "queue": "main", "builder": "moon", "host": "10.0.0.1,[10.0.0.1]:2222"}[kind]
    made = Row(
        kind, name or plain, key._replace(comment="" if kind == "host" else key.comment), NOW - clock.DAY, NOW + YEAR, DOOR if kind == "queue" else ""
    )
    return made._replace(**changes)


def usual(people: dict[str, keys.Signer]) -> list[Row]:
    return [row(people, kind) for kind in ("manager", "queue", "builder", "host")]


def made(people: dict[str, keys.Signer], rows: list[Row], serial: object = 1, by: str = "manager", identity: str | None = None) -> Document:
    from cit_format import home

    unsigned = document.new("hosts", document.section("hosts", "tsv", hosts.section(rows), serial=str(serial)), identity=identity)
    return home.signed(unsigned, people[by], f"{by}@sun", "cit-hosts")


def fingerprint(people: dict[str, keys.Signer], who: str = "manager") -> str:
    return people[who].public.fingerprint


def joined(people: dict[str, keys.Signer], base: Path, found: Document, pin: str = "", now: int = NOW) -> Hosts:
    return join.joined(found, pin, base, now)


# --- what it says -------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(people: dict[str, keys.Signer]) -> None:
    found = hosts.said(made(people, usual(people), 7))
    assert found.serial == 7 and [each.kind for each in found.rows] == ["manager", "queue", "builder", "host"]
    assert found.rows == usual(people)
    assert found.rows[1].queue == f"main@{fingerprint(people, 'queue')}" and found.rows[1].identity == "queue@sun"
    assert found.rows[3].fields[2] == people["machine"].public._replace(comment="").line


def test_a_queue_with_a_new_key_keeps_its_founders_name(people: dict[str, keys.Signer]) -> None:
    name = f"main@{fingerprint(people, 'other')}"
    assert hosts.said(made(people, [row(people, "queue", name)])).rows[0].queue == name


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("queue", {"name": "../main"}),
        ("queue", {"name": "main@SHA256:short"}),
        ("queue", {"door": "ssh://-oProxyCommand=x@sun"}),
        ("queue", {"door": "sun"}),
        ("builder", {"name": "Moon"}),
        ("manager", {"name": "*@sun"}),
        ("host", {"name": "*"}),
        ("host", {"name": "10.0.0.1 10.0.0.2"}),
        ("host", {"name": "!sun"}),
    ],
)
def test_names_and_doors_are_plain(people: dict[str, keys.Signer], kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(CitError) as refused:
        hosts.said(made(people, [row(people, kind, **changes)]))
    assert refused.value.status == 65


@pytest.mark.parametrize("serial", ["0", "-1", "01", "x", "1" * 30])
def test_a_serial_counts_from_one(people: dict[str, keys.Signer], serial: str) -> None:
    with pytest.raises(CitError, match="is no serial"):
        hosts.said(made(people, usual(people), serial))


@pytest.mark.parametrize(
    "fields",
    [
        ["queue", "main"],
        ["friend", "main", "KEY", "2026-11-01T00:00:00.000Z", "2026-12-01T00:00:00.000Z", ""],
        ["queue", "main", "ssh-ed25519 AAAA", "2026-11-01T00:00:00.000Z", "2026-12-01T00:00:00.000Z", ""],
        ["queue", "main", "KEY", "yesterday", "2026-12-01T00:00:00.000Z", ""],
    ],
)
def test_what_is_no_row(people: dict[str, keys.Signer], fields: list[str]) -> None:
    with pytest.raises(CitError) as refused:
        hosts.row([field.replace("KEY", people["queue"].public.line) for field in fields])
    assert refused.value.status == 65


# --- whose word it is ---------------------------------------------------------------------------------------------------


def test_the_first_one_is_believed_by_its_managers_fingerprint(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    first = made(people, usual(people))
    with pytest.raises(CitError, match="which manager do you believe"):
        joined(people, tmp_path, first)
    with pytest.raises(CitError, match="no manager in it has the key"):
        joined(people, tmp_path, first, fingerprint(people, "other"))
    assert hosts.newest(tmp_path / "hosts") is None
    assert joined(people, tmp_path, first, fingerprint(people)).serial == 1
    found = hosts.newest(tmp_path / "hosts")
    assert found and found.document.raw == first.raw
    joined(people, tmp_path, first)  # again: nothing changes


def test_who_only_stands_in_it_did_not_sign_it(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    """The manager's fingerprint is right, another signed; and an unsigned one; and one that was changed."""
    forged = made(people, usual(people), by="other")
    unsigned = reader.parse(forged.raw[: forged.sections[1].start])
    good = made(people, usual(people))
    changed = reader.parse(good.raw.replace(b"ssh://cit@10.0.0.1/", b"ssh://cit@10.0.0.2/"))
    for document_, why in ((forged, "is not in the fingerprint that you typed"), (unsigned, "no signature"), (changed, "signature")):
        with pytest.raises(CitError, match=why) as refused:
            joined(people, tmp_path, document_, fingerprint(people))
        assert refused.value.status == 77


def test_later_ones_are_believed_by_who_is_pinned(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    joined(people, tmp_path, made(people, usual(people)), fingerprint(people))
    two = row(people, "manager", "other@sun", "other")
    with pytest.raises(CitError, match="is not in"):
        joined(people, tmp_path, made(people, [two, *usual(people)], 2, by="other"))
    with pytest.raises(CitError, match="none of the managers whose cluster you joined"):
        joined(people, tmp_path, made(people, [two, *usual(people)], 2, by="other"), fingerprint(people, "other"))
    joined(people, tmp_path, made(people, [two, *usual(people)], 2))
    joined(people, tmp_path, made(people, [two, *usual(people)[1:]], 3, by="other"))  # the new manager lets the old one go
    with pytest.raises(CitError, match="is not in"):
        joined(people, tmp_path, made(people, usual(people), 4))


def test_a_manager_signs_as_one(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    joined(people, tmp_path, made(people, usual(people)), fingerprint(people))
    with pytest.raises(CitError, match="does not list"):
        joined(people, tmp_path, made(people, usual(people)[1:], 2))


def test_a_manager_whose_time_is_over_speaks_no_more(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    rows = [row(people, "manager", until=NOW + clock.DAY), *usual(people)[1:]]
    joined(people, tmp_path, made(people, rows), fingerprint(people))
    with pytest.raises(CitError, match="not valid after"):
        joined(people, tmp_path, made(people, usual(people), 2), now=NOW + 2 * clock.DAY)


def test_an_older_version_is_refused_and_old_ones_are_kept(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    documents = [made(people, usual(people), serial) for serial in (2, 5, 3)]
    joined(people, tmp_path, documents[0], fingerprint(people))
    joined(people, tmp_path, documents[1])
    with pytest.raises(CitError, match="serial 3, but 5 was joined before") as refused:
        joined(people, tmp_path, documents[2])
    assert refused.value.status == 77
    with pytest.raises(CitError, match="another document with serial 5"):
        joined(people, tmp_path, made(people, usual(people)[:-1], 5))
    assert [each.serial for each in hosts.kept(tmp_path / "hosts")] == [5, 2]
    assert sorted(path.name for path in (tmp_path / "hosts").glob("*.cit")) == [f"2-{documents[0].id}.cit", f"5-{documents[1].id}.cit"]


# --- what follows from it -----------------------------------------------------------------------------------------------


def test_only_keys_of_this_moment_count(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    rows = [*usual(people), row(people, "host", "old", until=NOW - 1), row(people, "host", "next", start=NOW + clock.DAY)]
    found = joined(people, tmp_path, made(people, rows), fingerprint(people))
    known = (tmp_path / "hosts" / "known_hosts").read_text()
    assert known == f"10.0.0.1,[10.0.0.1]:2222 {people['machine'].public._replace(comment='').line}\n"
    join.keep(tmp_path / "hosts", found, NOW + 2 * clock.DAY)
    assert (tmp_path / "hosts" / "known_hosts").read_text().count("\n") == 2
    assert (tmp_path / "hosts" / "known_hosts").stat().st_mode & 0o777 == 0o600


def test_keys_of_every_version_prove_what_was_signed_in_their_time(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    joined(people, tmp_path, made(people, [row(people, "queue", until=NOW), *usual(people)[:1]]), fingerprint(people))
    joined(people, tmp_path, made(people, [row(people, "queue", who="other", start=NOW), *usual(people)[:1]], 2))
    signers = Signers(hosts.speakers(tmp_path / "hosts"))

    def speaks(who: str, moment: int) -> bool:
        from datetime import datetime, timezone

        try:
            return bool(signers.principal(people[who].public, "cit-queue", datetime.fromtimestamp(moment / clock.SECOND, timezone.utc)))
        except CitError:
            return False

    assert speaks("queue", NOW - clock.MINUTE) and not speaks("queue", NOW + clock.MINUTE)
    assert speaks("other", NOW + clock.MINUTE) and not speaks("other", NOW - clock.MINUTE)


def test_a_door_is_found_by_name(people: dict[str, keys.Signer], tmp_path: Path) -> None:
    rows = [*usual(people), row(people, "builder", "mars", "other", door="ssh://build@mars")]
    joined(people, tmp_path, made(people, rows), fingerprint(people))
    assert hosts.door_of(tmp_path / "hosts", "builder", "mars", NOW) == "ssh://build@mars"
    assert hosts.door_of(tmp_path / "hosts", "queue", f"main@{fingerprint(people, 'queue')}", NOW) == DOOR
    assert hosts.door_of(tmp_path / "hosts", "builder", "mars", NOW + 2 * YEAR) == ""


def test_lines_of_a_block_are_replaced_and_others_stay(people: dict[str, keys.Signer]) -> None:
    text = '# mine\nada@sun namespaces="cit-job" KEY'
    once = join.between(text, "a\n")
    assert once == f"{text}\n# cit join begin\na\n# cit join end\n" and join.between(once, "a\n") == once
    assert join.between(join.between(once, "b\n", ": serial 2"), None) == text + "\n"
    assert join.between("", None) == ""


# --- making one ---------------------------------------------------------------------------------------------------------


def test_the_next_version_keeps_what_is_still_true(people: dict[str, keys.Signer]) -> None:
    elsewhere = row(people, "builder", "mars", "other", door="ssh://build@mars")
    over = row(people, "builder", "gone", "other", until=NOW - 1)
    before = hosts.said(made(people, [*usual(people), elsewhere, over, row(people, "host", "sun", "other")]))
    later = NOW + 200 * clock.DAY
    known = [each._replace(start=later) for each in (*usual(people)[:2], row(people, "host", "sun"))]
    rows = cluster.merged(known, before, {"moon"}, later, later + YEAR)
    assert [(each.kind, each.name) for each in rows] == [
        ("manager", "manager@sun"),
        ("queue", "main"),
        ("builder", "mars"),
        ("host", "10.0.0.1,[10.0.0.1]:2222"),
        ("host", "sun"),
    ]
    assert rows[1].start == NOW - clock.DAY and all(each.until == later + YEAR for each in rows), "what was there keeps its beginning"
    assert rows[4].key == row(people, "host").key and rows[4].start == later, "of a machine the keys that are known now"


def test_nothing_new_is_the_same_version_until_half_of_its_time(people: dict[str, keys.Signer]) -> None:
    before = hosts.said(made(people, usual(people)))
    rows = cluster.merged(usual(people), before, set(), NOW, NOW + YEAR)
    assert cluster.is_same(before, rows, NOW, NOW + YEAR)
    assert not cluster.is_same(before, rows, NOW + 200 * clock.DAY, NOW + 200 * clock.DAY + YEAR)
    assert not cluster.is_same(before, rows[1:], NOW, NOW + YEAR)


def test_its_queues_and_builders_may_say_what_their_lines_say(people: dict[str, keys.Signer], yard: Yard, tmp_path: Path) -> None:
    """The lines that a builder gets are those that allowed_signers takes, and not a second time what stands there."""
    text = "".join(join.allowed_signers([each]) for each in usual(people)[:3])
    from cit_format.signers import parse_allowed_signers

    entries = parse_allowed_signers(yard.allowed + text, "both")
    assert [entry.namespaces for entry in entries[-3:]] == [("cit-hosts",), ("cit-queue",), ("cit-result", "cit-builder")]
    assert join.believed(text, usual(people)[:3], "both") == [] and join.believed(yard.allowed, usual(people)[:3], "both") == usual(people)[:3]
