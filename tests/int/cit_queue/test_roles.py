"""Who may ask what at the door, see what, and bring how much (docs/stages/queue.md)."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from cit_format import clock, frame, keys, reader
from cit_format.document import Document
from cit_queue import roles, serve
from cit_queue.cit_format.errors import CitError  # the stage's own
from cit_queue.roles import ROLES, VERBS, Asker, asked, asker
from tests.int.cit_queue.house import House, statuses
from tests.int.cit_queue.nasty import NASTY

QUEUE_ROLES = {"person", "builder"}
KEY = "SHA256:" + "k" * 43
WHO = {"person": "ada@sun", "builder": KEY, "queue": f"main@{KEY}", "reader": "ada@sun"}
ID = " 01kax0m2ht8f0v3q6s9y2c4e7g"
WORDS = {"get": ID, "have": ID, "ended": f" 0s{ID}", "why": ID, "log": " x.a1-y 0", "file": f" {'0' * 64} 0", "stashed": " libz"}
MAY = {
    "person": {"put-accept", "ls", "get", "have", "ended", "why", "builders", "log", "file", "alive"},
    "builder": {"put-done", "have", "alive"},
    "queue": {"put-inbox", "put-control", "finished", "put-tickets", "load", "have", "alive"},
    "reader": {"ls", "get", "log", "file", "stashed", "alive"},
}


def ask(house: House, command: str, role: str = "", who: str = "", to: str = "@main", stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    words = ["--role", role, "--for", who] if role else []
    return house.run(f"--door={command}", *words, *(["--to", to] if to else []), stdin=stdin)


def put(house: House, *documents: Document, role: str = "person", who: str = "ada@sun", verb: str = "put-accept") -> list[object]:
    """State or status of each ticket."""
    stream = frame.framed(b"".join(each.raw for each in documents), len(documents))
    ended = ask(house, verb, role, who, "@main" if role in QUEUE_ROLES else "", stream)
    return statuses(frame.unframed(reader.reader_of(ended.stdout), strict=True)(1 << 30))


# --- decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("verb", VERBS)
def test_each_role_has_its_verbs_and_no_other(role: str, verb: str) -> None:
    by = asker(role, WHO[role], "@main,@release" if role in QUEUE_ROLES else None)
    command = verb + WORDS.get(verb, "")
    if verb in MAY[role]:
        found = asked(command, by)
        of_queue = role in QUEUE_ROLES and VERBS[verb].about != "account"  # logs and kept files lie in the account, whoever asks
        assert (found.verb, found.about, found.queue) == (verb, *(("queue", "@main") if of_queue else ("account", None)))
        if of_queue:
            assert asked(f"@release {command}", by).queue == "@release"
        with pytest.raises(CitError) as error:
            asked(f"@other {command}", by)
    else:
        with pytest.raises(CitError) as error:
            asked(command, by)
    assert error.value.status == 77 and error.value.hint


def test_the_lists_of_verbs_are_closed() -> None:
    assert {role: set(known.verbs) for role, known in ROLES.items()} == MAY
    assert set(VERBS) == set().union(*MAY.values())


@pytest.mark.parametrize("role", ["", *MAY])
def test_nasty_commands_are_refused(role: str) -> None:
    assert len(set(NASTY)) >= 200
    by = asker(role, WHO[role], "@main" if role in QUEUE_ROLES else None) if role else Asker("", "", ("@main",))
    for command in NASTY:
        with pytest.raises(CitError) as error:
            found = asked(command, by)
            raise AssertionError(f"{command!r} was taken for {found}")
        assert error.value.status in (2, 77) and "\n" not in error.value.what, command


@pytest.mark.parametrize(
    ("role", "who", "to"),
    [
        ("root", "ada@sun", "@main"),
        ("person", None, "@main"),
        ("person", "-x", "@main"),
        ("person", "a b", "@main"),
        ("person", "ada@sun", None),
        ("person", "ada@sun", ""),
        ("builder", "ada@sun", "@main"),
        ("builder", KEY[:-1], "@main"),
        ("builder", KEY, None),
        ("queue", KEY, None),
        ("queue", "main", None),
        ("queue", f"main@{KEY}", "@main"),
        ("reader", "ada@sun", "@main"),
        ("reader", "", None),
    ],
)
def test_a_line_that_says_it_wrong_opens_nothing(role: str, who: str, to: str) -> None:
    with pytest.raises(CitError) as error:
        asker(role, who, to)
    assert error.value.status in (2, 78) and error.value.hint


# --- what people see ------------------------------------------------------------------------------------------------


def listed(house: House, *words: str) -> None:
    """Lines into the queue's allowed_signers."""
    with open(house.queue / "allowed_signers", "a") as file:
        file.writelines(words)


def test_one_sees_own_jobs_and_those_that_let(house: House) -> None:
    listed(house, f'eve@sun namespaces="cit-job,cit-read" {house.key("eve").public.line}\n')
    of = {watch: house.job(watch, who="ben", **({"watch": watch} if watch != "none" else {})) for watch in ("me", "readers", "all", "none")}
    assert put(house, *of.values(), who="ben@sun") == ["accepted"] * 4
    cid = keys.generate(house.directory / "cid", "cid@sun")
    listed(house, f'cid@sun namespaces="cit-job" {cid.public.line}\n')
    sees = {"ben": set(of), "cid": {"all"}, "eve": {"all", "readers"}, "ada": set(of)}  # ada may control all of the queue's jobs
    for who, names in sees.items():
        ls = ask(house, "ls", "person", f"{who}@sun").stdout.decode()
        assert {line.split("\t")[1].rpartition("-")[2] for line in ls.splitlines()} == {f"{name}.cit" for name in names}, who
        for name, job in of.items():
            have, get = ask(house, f"have {job.id}", "person", f"{who}@sun"), ask(house, f"get {job.id}", "person", f"{who}@sun")
            assert (have.stdout.split(b"\t")[1] == b"waiting\n") is (name in names) and have.returncode == int(name not in names)
            assert get.returncode == (0 if name in names else 66) and (job.raw in get.stdout) is (name in names)
    over = house.assigned(house.job("over", who="ben", watch="me"))
    ended = house.ended(over)
    assert put(house, ended, role="builder", who=str(over.table("assignment")["key"]), verb="put-done") == ["accepted"]
    for who in sees:
        said = ask(house, f"ended 0s {over.id}", "person", f"{who}@sun").stdout
        assert (ended.raw in said) is (who in ("ben", "ada")), who


def test_nobody_touches_anothers_job(house: House) -> None:
    """ben hands over, by his own door: ada's job changed, his job under her name, her ID with his bytes, a wish about her job."""
    hers = house.job("hers")
    assert put(house, hers, who="ben@sun") == ["accepted"], "whose job it is, its signature says"
    replaced = house.job("hers", who="ben", identity=hers.id)
    impostor = house.job("his", who="ben", submitter="ada@sun")
    changed = reader.parse(hers.raw.replace(b"echo hi", b"echo ho"))
    assert put(house, replaced, impostor, changed, house.control("cancel", hers.id, who="ben"), who="ben@sun") == [77, 77, 77, 77]
    assert [reader.parse(raw).submitted for raw in house.lying("waiting")] == [hers.raw]
    assert hers.raw not in ask(house, f"get {hers.id}", "person", "ben@sun").stdout, "he gets his own, that was refused"


def test_who_is_listed_no_more_is_refused_whatever_the_line_says(house: House) -> None:
    assert ask(house, "ls", "person", "ben@sun").returncode == 0
    (house.queue / "revoked_keys").write_text(f"{house.key('ben').public.line}\n")
    for who in ("ben@sun", "nobody@sun", "builder@sun"):
        ended = ask(house, "ls", "person", who)
        assert (ended.returncode, ended.stdout) == (77, b"") and b"not listed here" in ended.stderr
    assert ask(house, "alive", "builder", KEY).returncode == 77
    assert ask(house, "alive", "builder", house.account.signer.public.fingerprint).returncode == 0


def test_a_builder_reports_its_own_jobs_alone(house: House) -> None:
    other = keys.generate(house.directory / "other", "builder@moon")
    listed(house, f'builder@moon namespaces="cit-result,cit-builder" {other.public.line}\n')
    mine = house.account.signer.public.fingerprint
    ended = house.ended(house.assigned(house.job()))
    assert put(house, ended, role="builder", who=other.public.fingerprint, verb="put-done") == [77]
    assert not list((house.queue / "done").glob("*/*.cit")) and len(house.lying("sent")) == 1
    for who, status in ((mine, 0), (other.public.fingerprint, 1)):
        assert ask(house, f"have {ended.id}", "builder", who).returncode == status
    assert put(house, ended, role="builder", who=mine, verb="put-done") == ["accepted"]


def test_a_queue_hands_over_its_own_jobs_alone(house: House) -> None:
    given = house.assigned(house.job(), state="")
    other = f"other@{KEY}"
    wish = house.control("cancel", given.id)
    assert put(house, given, role="queue", who=other, verb="put-inbox") == [77]
    assert put(house, wish, role="queue", who=other, verb="put-control") == [77]
    assert not list((house.account / "inbox").glob("*.cit")) and not list((house.account / "control").glob("*.cit"))
    assert put(house, given, role="queue", who=house.queue.full_name, verb="put-inbox") == ["accepted"]
    assert put(house, wish, role="queue", who=house.queue.full_name, verb="put-control") == ["accepted"]
    assert ask(house, f"have {given.id}", "queue", other, "").returncode == 1
    assert ask(house, f"have {given.id}", "queue", house.queue.full_name, "").stdout == f"{given.id}\tinbox\n".encode()


# --- how much -------------------------------------------------------------------------------------------------------


def test_a_stream_has_its_limits_each_with_its_own_error(house: House) -> None:
    house.set("door-documents", 3)
    house.set("door-bytes", "64K")
    small = [house.job() for _ in range(4)]
    big = reader.parse(house.job().raw + b"@begin note 1 text\n" + b"x" * 70000 + b"\n@end note\n")
    for documents, words in ((small, b"a frame of 4 documents, over 3"), ([big], b"a frame over 0 MiB")):
        ended = ask(house, "put-accept", "person", "ada@sun", stdin=frame.framed(b"".join(each.raw for each in documents), len(documents)))
        assert (ended.returncode, ended.stdout) == (65, b"") and words in ended.stderr
    assert house.lying("waiting") == [] and put(house, *small[:3]) == ["accepted"] * 3
    for name, value in (("door-documents", 0), ("door-bytes", "3")):
        house.set(name, value)
        assert ask(house, "put-accept", "person", "ada@sun", stdin=frame.framed(b"", 0)).returncode == 78
        house.set(name, {"door-documents": 3, "door-bytes": "64K"}[name])


def test_nobody_fills_the_queue_alone(house: House) -> None:
    house.set("door-waiting", 2)
    jobs = [house.job(f"n{number}", who="ben", **({"hold": True} if number == 0 else {})) for number in range(4)]
    assert put(house, *jobs[:3], who="ben@sun") == ["accepted", "accepted", 75]
    assert put(house, jobs[3], jobs[0], house.job(), who="ben@sun") == [75, "duplicate", "accepted"], "others have their own share"
    assert house.run("--to", "@main", stdin=jobs[2].raw).returncode == 0, "the queue's own account is not limited"
    (first,) = [path for path in (house.queue / "waiting").iterdir() if "-n1" in path.name]
    first.unlink()
    (second,) = [path for path in (house.queue / "waiting").iterdir() if "-n2" in path.name]
    second.unlink()
    assert put(house, jobs[3], who="ben@sun") == ["accepted"]


def test_a_sender_who_falls_silent_is_given_up() -> None:
    reading, writing = os.pipe()
    try:
        read = serve.patient(reading, silence=0.2)
        os.write(writing, b"@cit")
        began = time.monotonic()
        assert read(100) == b"@cit"
        with pytest.raises(CitError) as error:
            read(100)
        assert error.value.status == 65 and "nothing came for 0.2 s" in error.value.what and 0.15 < time.monotonic() - began < 5
        with pytest.raises(CitError) as error:
            serve.patient(reading, silence=9, longest=0.1)(100)
        assert "within 0.1 s" in error.value.what
        os.write(writing, b"x")
        assert serve.patient(reading, silence=0.2)(100) == b"x"
    finally:
        os.close(reading)
        os.close(writing)


def test_the_default_patience_is_a_minute() -> None:
    assert (serve.SILENCE, serve.LONGEST) == (60.0, 3600.0) and roles.VERBS["put-accept"].takes and clock.size(serve.BYTES) == 128 << 20
