"""Who may say what: every refusal in its own words, and no edit changes what is accepted. With real keys."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cit_format import body, clock, document, home, reader, trust
from cit_format.body import Time
from cit_format.document import Document, section
from cit_format.errors import CitError
from cit_format.signers import Signers, parse_allowed_signers
from tests.int.cit_format.jobs import ID, NOW, SCRIPT, Yard

NOTE = section("note", "text", b"by the way\n")
EVENT = section("event", "tsv", b"2026-11-23T20:30:00.000Z\tqueue\taccepted\tsun\tcit\t\n")


def unsigned(yard: Yard, *sections: bytes) -> Document:
    return document.new("zlib", *sections, identity=ID)


def with_parts(yard: Yard, *sections: bytes) -> Document:
    """A job of these sections, signed by ada."""
    return yard.signed(unsigned(yard, *sections), "ada@sun", "cit-job")


def replaced(job: Document, old: bytes, new: bytes) -> Document:
    """The job with other bytes, read again."""
    assert job.raw.count(old) == 1, old
    return reader.parse(job.raw.replace(old, new))


def signature_of(job: Document) -> bytes:
    found = job.find("signature")
    assert found is not None
    return job.raw[found.start : found.end]


REFUSED: dict[str, tuple[Callable[[Yard], Document], int, str]] = {
    "no job first": (lambda y: with_parts(y, NOTE, y.head(), SCRIPT), 65, "the first section is note, not job"),
    "no sections": (lambda y: unsigned(y), 65, "the first section is missing, not job"),
    "unsigned": (lambda y: unsigned(y, y.head(), SCRIPT), 77, "no signature"),
    "second job": (lambda y: with_parts(y, y.head(), y.head(), SCRIPT), 65, "a second job section"),
    "second job behind": (lambda y: y.job().extended(y.head("ben@sun")), 65, "a second job section"),
    "no script": (lambda y: with_parts(y, y.head()), 65, "0 scripts and 0 calls"),
    "two scripts": (lambda y: with_parts(y, y.head(), SCRIPT, SCRIPT), 65, "2 scripts and 0 calls"),
    "script and call": (lambda y: with_parts(y, y.head(), SCRIPT, section("call", "toml", b"")), 65, "1 scripts and 1 calls"),
    "script behind": (lambda y: with_parts(y, y.head()).extended(SCRIPT), 65, "section script after the signature"),
    "secret behind": (lambda y: y.job().extended(section("secret", "text", b"")), 65, "section secret after the signature"),
    "env behind": (lambda y: y.job().extended(section("env", "tsv", b"A\tb\n")), 65, "section env after the signature"),
    "event before": (lambda y: with_parts(y, y.head(), SCRIPT, EVENT), 77, "section event before the submitter's signature"),
    "assignment before": (
        lambda y: with_parts(y, y.head(), SCRIPT, section("assignment", "toml", b"")),
        77,
        "section assignment before the submitter's signature",
    ),
    "event behind": (lambda y: y.job().extended(EVENT), 77, "a new job has section event after its signature"),
    "assigned already": (lambda y: y.assigned(y.job()), 77, "a new job has section assignment after its signature"),
    "signed twice": (lambda y: y.signed(y.job(), "ada@sun", "cit-job"), 77, "a new job has section signature after its signature"),
    "control behind": (lambda y: y.job().extended(section("control", "toml", b"")), 77, "a new job has section control after its signature"),
    "later job": (lambda y: with_parts(y, y.head().replace(b"job 1", b"job 2"), SCRIPT), 65, "section job has version 2"),
    "later script": (lambda y: with_parts(y, y.head(), SCRIPT.replace(b"script 1", b"script 2")), 65, "section script has version 2"),
    "later signature": (lambda y: replaced(y.job(), b"signature 1", b"signature 2"), 65, "section signature has version 2"),
    "job of another form": (lambda y: with_parts(y, y.head().replace(b"1 toml", b"1 text"), SCRIPT), 65, "the job section is text, not toml"),
    "no queue": (lambda y: y.job(queue=None), 65, "the job says no queue"),
    "no expiry": (lambda y: y.job(expires=None), 65, "the job says no expires"),
    "created is a number": (lambda y: y.job(created=int(NOW)), 65, "created or expires is no time"),
    "expires is text": (lambda y: y.job(expires="never"), 65, "created or expires is no time"),
    "flipped byte": (lambda y: replaced(y.job(), b"echo hi", b"echo ha"), 77, r"the signature by SHA256:\S+ does not match the bytes"),
    "parameter inserted": (lambda y: replaced(y.job(), b"@end job", b"cpus = 9\n@end job"), 77, r"the signature by \S+ does not match the bytes"),
    "section inserted": (lambda y: replaced(y.job(), SCRIPT, NOTE + SCRIPT), 77, r"the signature by \S+ does not match the bytes"),
    "job prepended": (
        lambda y: reader.parse(y.job().raw.replace(b"@begin job", y.head("ben@sun") + b"@begin job")),
        65,
        "a second job section",
    ),
    "renamed": (lambda y: replaced(y.job(), b" zlib\n", b" zlob\n"), 77, r"the signature by \S+ does not match the bytes"),
    "another ID": (lambda y: replaced(y.job(), ID.encode(), ID.encode()[:-1] + b"h"), 77, r"the signature by \S+ does not match the bytes"),
    "signature of another job": (
        lambda y: unsigned(y, y.head(), SCRIPT).extended(signature_of(y.job(cpus=2))),
        77,
        r"the signature by \S+ does not match the bytes",
    ),
    "junk after the armour": (lambda y: replaced(y.job(), b"@end signature", b"junk\n@end signature"), 77, "the signature cannot be read: .*"),
    "no armour": (lambda y: unsigned(y, y.head(), SCRIPT, section("signature", "sshsig", b"x\n")), 77, "the signature cannot be read: .*"),
    "unknown key": (lambda y: y.job("eve@sun"), 77, r"the key SHA256:\S+ is not in allowed_signers"),
    "revoked key": (lambda y: y.job("old@sun"), 77, r"the key SHA256:\S+ is revoked"),
    "key of a queue": (lambda y: y.job("queue@sun"), 77, r"the key \S+ is listed, but not for the namespace 'cit-job'"),
    "wrong namespace": (
        lambda y: y.signed(unsigned(y, y.head(), SCRIPT), "ada@sun", "cit-control"),
        77,
        "the signature is for 'cit-control', not for 'cit-job'",
    ),
    "namespace that is not said": (
        lambda y: replaced(y.job(), b" ns=cit-job\n", b" ns=cit-queue\n"),
        77,
        "the signature says ns=cit-queue, but it is for cit-job",
    ),
    "no namespace": (lambda y: replaced(y.job(), b" ns=cit-job\n", b"\n"), 77, "the signature says ns=, but it is for cit-job"),
    "attribute added": (
        lambda y: replaced(y.job(), b" ns=cit-job\n", b" ns=cit-job x=1\n"),
        77,
        "the signature's line says more than by and ns",
    ),
    "attributes in another order": (
        lambda y: replaced(y.job(), b"by=ada@sun ns=cit-job", b"ns=cit-job by=ada@sun"),
        77,
        "the signature's line says more than by and ns",
    ),
    "signature of another form": (
        lambda y: replaced(y.job(), b"1 sshsig by", b"1 text by"),
        77,
        "the signature's line says more than by and ns",
    ),
    "signer that is not said": (
        lambda y: replaced(y.job(), b" by=ada@sun ", b" by=ben@sun "),
        77,
        "the signature says by=ben@sun, but its key is that of ada@sun",
    ),
    "signed by another": (
        lambda y: y.signed(unsigned(y, y.head("ada@sun"), SCRIPT), "ben@sun", "cit-job"),
        77,
        r"the job names key SHA256:\S+, but SHA256:\S+ signed it",
    ),
    "submitted for another": (
        lambda y: y.job("ben@sun", submitter="ada@sun"),
        77,
        "the job names ada@sun as submitter, but its key is that of ben@sun",
    ),
    "another queue": (lambda y: y.job(queue="side@SHA256:x"), 77, r"the job is for queue side@SHA256:x, this is main@SHA256:\S+"),
    "another main": (lambda y: y.job(queue="main@SHA256:x"), 77, r"the job is for queue main@SHA256:x, this is main@SHA256:\S+"),
    "from the future": (
        lambda y: y.job(created=Time(NOW + 6 * clock.MINUTE)),
        77,
        "made in the future, at 2026-11-23T20:36:00Z",
    ),
    "expired": (lambda y: y.job(expires=Time(NOW - clock.SECOND)), 77, "expired at 2026-11-23T20:29:59Z"),
    "valid too long": (lambda y: y.job(expires=Time(NOW + 31 * clock.DAY)), 77, "valid for more than 30 days"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_refusal_has_its_status_and_its_words(yard: Yard, case: str) -> None:
    make, status, what = REFUSED[case]
    with pytest.raises(CitError) as caught:
        trust.accepted(make(yard), yard.signers, yard.queue, NOW)
    assert caught.value.status == status
    assert re.fullmatch(what, caught.value.what), caught.value.what
    assert caught.value.hint and "zlib" in caught.value.where.replace("zlob", "zlib")


@pytest.mark.parametrize(
    "make",
    [
        lambda y: y.job(),
        lambda y: y.job().extended(NOTE, section("weather", "json", b"{}\n", 7)),
        lambda y: with_parts(y, y.head(), SCRIPT, section("weather", "json", b"{}\n", 7)),
        lambda y: y.job(created=Time(NOW + 5 * clock.MINUTE)),
        lambda y: y.job(expires=Time(NOW)),
        lambda y: y.job(expires=Time(NOW + 30 * clock.DAY)),
        lambda y: with_parts(y, y.head(), section("call", "toml", b'interface = "make"\n')),
    ],
)
def test_what_is_accepted(yard: Yard, make: Callable[[Yard], Document]) -> None:
    speech = trust.accepted(make(yard), yard.signers, yard.queue, NOW)
    assert (speech.principal, speech.namespace) == ("ada@sun", "cit-job")
    assert [spoken.kind for spoken in speech.sections][0] == "job"


def test_a_key_counts_while_it_is_valid(yard: Yard) -> None:
    line = f'ada@sun namespaces="cit-job",valid-before="20261123203000Z" {yard.keys["ada@sun"].public.line}\n'
    signers = Signers(parse_allowed_signers(line, "allowed_signers"))
    job = yard.job(expires=Time(NOW + clock.DAY))
    trust.accepted(job, signers, yard.queue, NOW)
    with pytest.raises(CitError, match="is not valid after 2026-11-23T20:30:00Z") as caught:
        trust.accepted(job, signers, yard.queue, NOW + clock.SECOND)
    assert caught.value.status == 77


# No edit changes what is accepted.


def power(raw: bytes, yard: Yard) -> bytes | None:
    """What these bytes make a queue believe: the signed prefix of the document; None where it is refused."""
    try:
        job = reader.parse(raw)
        trust.accepted(job, yard.signers, yard.queue, NOW)
    except CitError as error:
        assert error.status in (65, 77)
        return None
    assert job.find("script") is job.sections[1] and job.kind == "job"
    return job.submitted


def test_no_edit_of_one_byte_changes_what_is_accepted(yard: Yard) -> None:
    """Each byte in turn changed, doubled, taken away, a newline put before it."""
    job = yard.job().extended(NOTE)
    unharmed = 0
    for at in range(len(job.raw)):
        before, byte, after = job.raw[:at], job.raw[at], job.raw[at + 1 :]
        for edit in (bytes([byte ^ 1]), bytes([byte ^ 0x20]), bytes([byte]) * 2, b"", b"\n" + bytes([byte]), b" " + bytes([byte])):
            found = power(before + edit + after, yard)
            assert found in (None, job.submitted), (at, edit)
            unharmed += found is not None
    assert 0 < unharmed < 6 * len(NOTE), "edits of the note, which is not signed, and no others"


EDITS = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 60),
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from([b"\r\n", b"@end job\n", b"@end script\n", b"@begin job 1 toml\n", b"@begin script 1 sh\n", b"cpus = 9\n", SCRIPT, NOTE]),
        ),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(edits=EDITS)
def test_no_edits_change_what_is_accepted(yard: Yard, edits: list[tuple[int, int, bytes]]) -> None:
    job = yard.job().extended(NOTE)
    raw = job.raw
    for at, gone, new in edits:
        at %= len(raw) + 1
        raw = raw[:at] + new + raw[at + gone :]
    assert power(raw, yard) in (None, job.submitted)


# What a builder believes.

NOT_BELIEVED: dict[str, tuple[Callable[[Yard], Document], int, str]] = {
    "not assigned": (lambda y: y.job(), 77, "no assignment"),
    "assignment that nobody signed": (
        lambda y: y.job().extended(section("assignment", "toml", b'attempt = 1\nbuilder = "sun"\n')),
        77,
        "the assignment is not signed by a queue",
    ),
    "assignment by the submitter": (
        lambda y: y.assigned(y.job(), by="ada@sun"),
        77,
        r"the key \S+ is listed, but not for the namespace 'cit-queue'",
    ),
    "assignment by a stranger": (lambda y: y.assigned(y.job(), by="eve@sun"), 77, r"the key \S+ is not in allowed_signers"),
    "assignment that a builder speaks for": (
        lambda y: y.signed(
            y.signed(y.job().extended(section("assignment", "toml", b'attempt = 1\nbuilder = "sun"\n')), "builder@sun", "cit-result"),
            "queue@sun",
            "cit-queue",
        ),
        77,
        "the signature is for 'cit-result', not for 'cit-queue'",
    ),
    "incomplete assignment": (lambda y: y.assigned(y.job(), builder=None), 65, "an assignment without attempt or builder"),
    "attempt of no number": (lambda y: y.assigned(y.job(), attempt=0), 65, "an assignment without attempt or builder"),
    "later assignment": (
        lambda y: y.signed(y.job().extended(section("assignment", "toml", b"", 2)), "queue@sun", "cit-queue"),
        65,
        "section assignment has version 2",
    ),
    "another builder": (lambda y: y.assigned(y.job(), key="SHA256:x", builder="moon"), 77, "assigned to moon, not to this builder"),
    "another queue": (lambda y: y.assigned(y.job(), queue="side@SHA256:x"), 77, "assigned by another queue than the job names"),
    "second attempt where one is allowed": (lambda y: y.assigned(y.job(), attempt=2), 77, "attempt 2, but the job allows 1"),
    "script changed on the way": (
        lambda y: reader.parse(y.assigned(y.job()).raw.replace(b"echo hi", b"echo ha")),
        77,
        r"the signature by \S+ does not match the bytes",
    ),
    "expired": (lambda y: y.assigned(y.job(expires=Time(NOW - clock.SECOND))), 77, "expired at 2026-11-23T20:29:59Z"),
}


@pytest.mark.parametrize("case", NOT_BELIEVED)
def test_what_a_builder_does_not_believe(yard: Yard, case: str) -> None:
    make, status, what = NOT_BELIEVED[case]
    with pytest.raises(CitError) as caught:
        trust.assigned(make(yard), yard.signers, yard.keys["builder@sun"].public.fingerprint, NOW)
    assert (caught.value.status, bool(re.fullmatch(what, caught.value.what))) == (status, True), caught.value.what


def void(yard: Yard, job: Document, by: str = "builder@sun", namespace: str = "cit-result") -> Document:
    """The job with the word that its last assignment was not started, signed by `by`."""
    row = body.row("2026-11-23T20:30:00.000Z", "run", "void", "sun", "builder", "")
    return yard.signed(job.extended(section("event", "tsv", row)), by, namespace)


def test_a_void_gives_an_attempt_back_when_its_builder_says_so(yard: Yard) -> None:
    mine = yard.keys["builder@sun"].public.fingerprint
    first = yard.assigned(yard.job())
    assert trust.assigned(first, yard.signers, mine, NOW)[1].attempt == 1
    again = yard.assigned(void(yard, first), attempt=2)
    assert trust.assigned(again, yard.signers, mine, NOW)[1].attempt == 2
    for forged in (void(yard, first, "queue@sun", "cit-queue"), void(yard, first, "eve@sun")):
        with pytest.raises(CitError, match="attempt 2, but the job allows 1"):
            trust.assigned(yard.assigned(forged, attempt=2), yard.signers, mine, NOW)


def test_a_job_that_allows_more_attempts_gets_them(yard: Yard) -> None:
    mine = yard.keys["builder@sun"].public.fingerprint
    job = yard.job(attempts=2)
    assert trust.assigned(yard.assigned(yard.assigned(job), attempt=2), yard.signers, mine, NOW)[1].attempt == 2
    with pytest.raises(CitError, match="attempt 3, but the job allows 2"):
        trust.assigned(yard.assigned(job, attempt=3), yard.signers, mine, NOW)


def test_a_start_more_by_a_cluster_is_a_start(yard: Yard) -> None:
    mine = yard.keys["builder@sun"].public.fingerprint
    row = body.row("2026-11-23T20:30:00.000Z", "run", "restarted", "sun", "builder", "")
    for by, namespace, allowed in (("builder@sun", "cit-result", 3), ("queue@sun", "cit-queue", 2)):
        for attempts in (2, 3):
            first = yard.assigned(yard.job(attempts=attempts))
            again = yard.assigned(yard.signed(first.extended(section("event", "tsv", row)), by, namespace), attempt=2)
            if attempts >= allowed:
                assert trust.assigned(again, yard.signers, mine, NOW)[1].attempt == 2
            else:
                with pytest.raises(CitError, match="attempt 2, but the job allows 2"):
                    trust.assigned(again, yard.signers, mine, NOW)


# What a queue believes of a result.


def test_a_result_counts_when_its_builder_speaks_for_it(yard: Yard) -> None:
    ended = yard.ended(yard.assigned(yard.job()))
    speech, result = trust.completed(ended, yard.signers, NOW)
    assert speech.principal == "builder@sun" and result.table()["state"] == "COMPLETED"
    assert trust.completed(void(yard, yard.assigned(yard.job())), yard.signers, NOW)[1].kind == "event"


@pytest.mark.parametrize(
    "make, status, what",
    [
        (lambda y: y.assigned(y.job()), 77, "the signature is for 'cit-queue', not for 'cit-result'"),
        (lambda y: y.ended(y.assigned(y.job()), by="ada@sun"), 77, r"the key \S+ is listed, but not for the namespace 'cit-result'"),
        (lambda y: y.signed(y.ended(y.job()).extended(NOTE), "builder@sun", "cit-result"), 65, "no result before the last signature"),
        (lambda y: y.signed(y.job(), "builder@sun", "cit-result"), 65, "no result before the last signature"),
        (lambda y: unsigned(y, y.head(), SCRIPT), 77, "no signature"),
        (
            lambda y: reader.parse(y.ended(y.job()).raw.replace(b'"COMPLETED"', b'"FAILED"')),
            77,
            r"the signature by \S+ does not match the bytes",
        ),
    ],
)
def test_what_is_no_result(yard: Yard, make: Callable[[Yard], Document], status: int, what: str) -> None:
    with pytest.raises(CitError) as caught:
        trust.completed(make(yard), yard.signers, NOW)
    assert (caught.value.status, bool(re.fullmatch(what, caught.value.what))) == (status, True), caught.value.what


def test_every_signature_says_what_it_speaks_for(yard: Yard) -> None:
    ended = yard.ended(yard.assigned(yard.job()).extended(NOTE))
    forged = home.signed(ended, yard.keys["eve@sun"], "ada@sun", "cit-job")
    said = [told for _, told in trust.speeches(forged, yard.signers, NOW)]
    spoken = [[each.kind for each in told.sections] if isinstance(told, trust.Speech) else told.status for told in said]
    assert spoken == [["job", "script"], ["assignment"], ["note", "result"], 77]
