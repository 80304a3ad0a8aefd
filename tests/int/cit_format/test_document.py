"""Documents: they only grow, and what is written is what a reader reads."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cit_format import document, grammar, reader
from cit_format.errors import CitError
from tests.int.cit_format.jobs import ID, Yard

BODIES = st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore") + b"\n"))


@given(st.lists(BODIES, max_size=4), st.lists(BODIES, max_size=4))
def test_a_longer_document_begins_with_the_shorter_and_is_what_a_reader_reads(first: list[bytes], then: list[bytes]) -> None:
    before = document.new("a", *(document.section("note", "text", each) for each in first), identity=ID)
    after = before.extended(*(document.section("event", "text", each) for each in then))
    assert after.raw.startswith(before.raw) and len(before.sections) == len(first)
    assert reader.parse(after.raw).sections == after.sections


@given(st.lists(st.sampled_from([b"@", b"@@", b"cit", b"begin", b"end", b" x", b"\n", b"x"]), max_size=12).map(b"".join))
@example(b"@cit 1\n@@end\n@begin\n@citx\n@@@cit ")
def test_quoting_is_undone_and_leaves_no_control_line(body: bytes) -> None:
    quoted = grammar.quoted(body)
    assert grammar.unquoted(quoted) == body
    assert not any(grammar.CONTROL.match(line) for line in quoted.split(b"\n"))
    if not any(grammar.CONTROL.match(line.lstrip(b"@").rjust(len(line.lstrip(b"@")) + 1, b"@")) for line in body.split(b"\n")):
        assert quoted == body


@pytest.mark.parametrize("form, body, encoded", [("text", b"x\n", False), ("text", b"x", True), ("text", b"", False), ("text", b"\xff\n", True)])
def test_what_is_no_text_goes_into_base64(form: str, body: bytes, encoded: bool) -> None:
    assert (b" enc=base64\n" in document.section("note", form, body)) == encoded


def test_archives_are_always_encoded_and_armour_never() -> None:
    assert b" enc=base64\n" in document.section("files", "tar", b"")
    assert document.section("secret", "text", b"armour\n", 1, enc="age") == b"@begin secret 1 text enc=age\narmour\n@end secret\n"


def test_attributes_may_have_any_name() -> None:
    written = document.section("note", "text", b"", 1, version="7", kind="x y", body="%")
    assert written == b"@begin note 1 text version=7 kind=x%20y body=%25\n@end note\n"


def test_what_was_submitted_ends_with_the_first_signature(yard: Yard) -> None:
    job = yard.job()
    assigned = yard.assigned(job)
    assert job.submitted == assigned.submitted == job.raw
    assert assigned.digest == hashlib.sha256(job.raw).hexdigest()
    assert document.new("a", identity=ID).submitted == document.new("a", identity=ID).raw


def test_a_table_in_a_later_version_is_refused_and_a_missing_one_is_empty() -> None:
    later = document.new("a", document.section("job", "toml", b"", 2), identity=ID)
    with pytest.raises(CitError, match="section job has version 2") as caught:
        later.table("job")
    assert caught.value.status == 65
    assert later.table("control") == {}


@pytest.mark.parametrize("name", ["", "Zlib", "a b", "-a", "../a", "a" * 65, "ä", "a\n"])
def test_a_name_is_safe_in_a_path_and_a_shell(name: str) -> None:
    with pytest.raises(CitError, match="is no name"):
        document.new(name)
