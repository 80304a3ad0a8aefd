"""The reader: what goes in comes out, wherever the stream is cut into reads; limits and hostile streams."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cit_format import document, grammar, reader
from cit_format.document import Document
from cit_format.errors import CitError
from cit_format.reader import Faulty, Limits
from tests.int.cit_format.jobs import ID, cut

VECTORS = sorted((Path(__file__).resolve().parents[2] / "vectors/format").glob("*/*.cit"))
HEAD = f"@cit 1 {ID} a\n".encode()
NOTE = b"@begin note 1 text\nhello\n@end note\n"

# Streams from pieces that meet at the edges of the grammar.
PIECES = [HEAD, HEAD[:-1], NOTE, b"@cit", b"@cit ", b"\n", b"@begin", b"@begin x 1 text\n", b"@end x\n", b"@end note\n", b"@end", b"@@end x\n"]
PIECES += [b"@begin f 1 tar enc=base64\n", b"QUJD\n", b"@end f\n", b"@", b"@@", b"c", b"\r", b"\0", b"\xff"]
PIECES += [b"\xef\xbb\xbf", "ä€".encode(), b"a\tb\\n\n"]
STREAMS = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


def shown(items: Iterator[reader.Item]) -> list[object]:
    """Items as values that can be compared."""
    return [(str(item.error), item.error.status, *item[1:]) if isinstance(item, Faulty) else item for item in items]


@given(STREAMS, st.lists(st.integers(1, 40), max_size=10))
@example(HEAD + NOTE + b"@cit", [])
@example(HEAD + NOTE[:-1], [])
@example(b"x\n" + HEAD + NOTE, [1])
def test_where_a_stream_is_cut_into_reads_changes_nothing(stream: bytes, sizes: list[int]) -> None:
    assert shown(reader.scan(cut(stream, sizes))) == shown(reader.scan(reader.reader_of(stream)))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_vector_read_byte_by_byte_is_the_same(path: Path) -> None:
    stream = path.read_bytes()
    assert shown(reader.scan(cut(stream, []))) == shown(reader.scan(reader.reader_of(stream)))


@given(STREAMS)
def test_no_byte_of_a_stream_is_lost(stream: bytes) -> None:
    """Good and faulty documents together are the stream, in order."""
    at = 0
    for item in reader.documents(reader.reader_of(stream)):
        if isinstance(item, Faulty):
            assert stream[at : at + item.size].startswith(item.first) and len(item.first) == min(item.size, reader.KEPT)
            at += item.size
        else:
            assert stream[at:].startswith(item.raw)
            at += len(item.raw)
    assert at == len(stream)


@given(st.binary(max_size=300))
@example(b"")
@example(b"@end note\n")
@example(b"no newline")
@example(b"\xef\xbb\xbfbom\n")
@example(b"@@@begin x\n@cit\n@citx\n")
def test_any_body_survives_writing_and_reading(body: bytes) -> None:
    written = document.new("a", document.section("note", "text", body), document.section("files", "tar", body), identity=ID)
    read = reader.parse(written.raw)
    assert [section.body() for section in read.sections] == [body, body]
    assert [section[:8] for section in read.sections] == [section[:8] for section in written.sections]


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True).filter(lambda key: key != "enc"), st.text(st.characters(codec="utf-8"))))
def test_any_attribute_survives_writing_and_reading(attributes: dict[str, str]) -> None:
    raw = document.section("note", "text", b"", 1, **attributes)
    assert reader.parse(HEAD + raw).sections[0].attributes == attributes


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_parsing_gives_back_the_very_bytes(bodies: list[bytes]) -> None:
    documents = [document.new("a", *[document.section("note", "text", body)] * 2, identity=ID) for body in bodies]
    stream = b"".join(each.raw for each in documents)
    assert b"".join(each.raw for each in reader.documents(reader.reader_of(stream)) if isinstance(each, Document)) == stream


def test_a_faulty_document_does_not_stop_the_others() -> None:
    other = NOTE.replace(b"note", b"event")
    items = list(reader.documents(reader.reader_of(HEAD + NOTE + HEAD + b"text\n" + HEAD + other)))
    assert [type(item) for item in items] == [Document, Faulty, Document]
    fault = items[1]
    assert isinstance(fault, Faulty) and fault.first == HEAD + b"text\n"
    assert str(fault.error) == f"{ID[-6:]}-a: line 6: text between sections"


@pytest.mark.parametrize(
    "stream, what",
    [
        (b"", "0 documents where one is expected"),
        (HEAD * 2, "2 documents where one is expected"),
        (HEAD + b"@begin note 1 text\n", "the last section is not closed"),
        (HEAD + NOTE[:-1], "the last newline is missing"),
        (HEAD + b"@begin note 1 text\n@end notes\n", "section note is closed as notes"),
        (HEAD + b"@begin note 1 text\n@begin note 1 text\n", "section note, opened on line 2, is not closed"),
        (HEAD + b"@end note\n", "an @end without its @begin"),
        (HEAD + b"@begin note 1 text \n", "malformed @begin line"),
        (HEAD + b"@begin note 01 text\n", "malformed @begin line"),
        (HEAD + b"@begin note 1 text a=1 a=2\n", "an attribute is given twice"),
        (HEAD + b"@begin note 1 text enc=hex\n", "unknown encoding"),
        (HEAD + b"@begin f 1 tar\n@end f\n", "a tar that is not encoded"),
        (HEAD + b"@begin note 1 text\na\r\n@end note\n", "a carriage return"),
        (HEAD + b"@begin note 1 text\na\0\n@end note\n", "a NUL byte"),
        (HEAD + b"@begin note 1 text\n\xff\n@end note\n", "bytes that are no UTF-8"),
        (HEAD + b"@begin note 1 text enc=base64\nQUJ=\n@end note\n", "base64 that is not canonical"),
        (HEAD.replace(b" 1 ", b" 2 "), "unknown version 2 of the cit file"),
        (HEAD.replace(b" 0", b" 8"), "malformed @cit line"),
        (b"\xef\xbb\xbf" + HEAD, "a byte-order mark"),
        (b"hello\n", "a line that begins no document"),
    ],
)
def test_each_fault_has_its_words(stream: bytes, what: str) -> None:
    with pytest.raises(CitError) as caught:
        reader.parse(stream)
    assert (caught.value.status, caught.value.what) == (65, what) and caught.value.hint


@pytest.mark.parametrize(
    "stream, what",
    [
        (HEAD + b"@begin note 1 text\n" + b"x\n" * 600 + b"@end note\n", "a section over 0 MiB"),
        (HEAD + NOTE * 4, "more than 3 sections"),
        (HEAD + (b"@begin note 1 text\n" + b"x\n" * 450 + b"@end note\n") * 3, "a document over 0 MiB"),
        (HEAD + b"@begin note 1 text a=" + b"x" * grammar.LINE_LIMIT + b"\n", "a line over 1 MiB where a control line is expected"),
        (HEAD + b"@begin event 1 tsv\n" + b"x" * grammar.LINE_LIMIT + b"x\n@end event\n", "a TSV line over 1 MiB"),
        (HEAD + b"@begin note 1 text\n" + b"x" * 3000, "a section over 0 MiB"),
    ],
)
def test_each_limit_has_an_error_of_its_own(stream: bytes, what: str) -> None:
    small = Limits(document=2500, section=1000, sections=3)
    with pytest.raises(CitError) as caught:
        reader.parse(stream, Limits(sections=3) if b"tsv" in stream else small)
    assert (caught.value.status, caught.value.what) == (65, what)


# Endless or huge input, fed to the real program, which must refuse it without holding it.
HOSTILE = {
    "endless line": ("b'x' * 65536", "1 MiB"),
    "endless control line": ("b'@begin note 1 text ' if n == 1 else b'a' * 65536", "1 MiB"),
    "endless body": ("b'@begin note 1 text\\n' if n == 1 else b'y\\n' * 32768", "16 MiB"),
    "endless base64": ("b'@begin f 1 tar enc=base64\\n' if n == 1 else (b'A' * 76 + b'\\n') * 1000", "16 MiB"),
    "endless at signs": ("b'@begin note 1 text\\n' if n == 1 else b'@' * 65536", "16 MiB"),
    "a million sections": ("b'@begin note 1 text\\n@end note\\n' * 1000", "10000 sections"),
    "a million keys": ("b'@begin note 1 text' if n == 1 else b''.join(b' k%d=' % (n * 1000 + i) for i in range(1000))", "1 MiB"),
    "sections within sections": ("b'@begin note 1 text\\n' * 1000", "is not closed"),
    "a million heads": ("b'@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g a\\nx\\n' * 100 if n < 50 else b''", "text between sections"),
}
FEEDER = """
import sys
out = sys.stdout.buffer
out.write(b"@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g a\\n")
for n in range(1, 1500):
    out.write({})
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_stream_is_refused_in_little_memory(name: str) -> None:
    """The program has 64 MiB of memory; out of it, it would end with 74."""
    pieces, what = HOSTILE[name]
    feeder = subprocess.Popen([sys.executable, "-c", FEEDER.format(pieces)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    small = ["sh", "-c", 'ulimit -d 65536 && exec "$@"', "sh", sys.executable, "-m", "cit_format", "list"]
    done = subprocess.run(small, stdin=feeder.stdout, capture_output=True)
    feeder.wait()
    assert (done.returncode, done.stdout) == (65, b"") and what in done.stderr[:1000].decode(), done.stderr[:500]
