"""Names of documents in spools: they say what they are, and `ls` is the order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cit_format import names
from cit_format.names import FileName
from tests.int.cit_format.jobs import ID

KEYS = st.tuples(st.integers(names.LOWEST, names.HIGHEST), st.integers(0, names.NEVER))
NAMES = st.builds(
    FileName,
    st.just(ID),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    st.one_of(st.just(""), KEYS.map(lambda key: names.key(*key))),
    st.one_of(st.none(), st.integers(0, 9999)),
    st.one_of(st.none(), st.integers(1, 99)),
    span=st.none(),
)
SPANS = st.tuples(st.integers(0, 9999), st.integers(0, 9999)).map(lambda ends: (min(ends), max(ends)))
ARRAYS = st.builds(lambda name, span: name._replace(task=None, span=span), NAMES, SPANS)


@given(st.one_of(NAMES, ARRAYS))
def test_a_name_comes_back_from_its_text(name: FileName) -> None:
    assert names.parse(str(name)) == name


@given(st.lists(KEYS, max_size=8))
def test_the_order_of_names_is_priority_then_arrival(keys: list[tuple[int, int]]) -> None:
    texts = {str(FileName(ID, "a", names.key(*key))): key for key in keys}
    listed = [texts[text] for text in sorted(texts, key=str.encode)]
    assert listed == sorted(set(keys), key=lambda key: (-key[0], key[1]))


@given(KEYS)
def test_a_key_says_its_priority_and_sequence(key: tuple[int, int]) -> None:
    name = FileName(ID, "a", names.key(*key))
    assert (name.priority, name.sequence) == key


def test_parts_as_people_and_seen_use_them() -> None:
    name = names.parse(f"1000-1795478758708714.{ID}_17.a2-zlib.cit")
    assert name is not None and (name.copy, name.label) == (f"{ID}_17.a2", "2c4e7g_17-zlib")


@pytest.mark.parametrize(
    "text",
    ["", ID, f"{ID}.cit", f".{ID}-a.cit", f"{ID}-a.txt", f"{ID}-A.cit", f"{ID}-a.cit\n", f"8{ID[1:]}-a.cit", f"{ID[:-1]}-a.cit", f"{ID}-.cit"]
    + [f"1000-1.{ID}-a.cit", f"{ID}_x-a.cit", f"{ID}.a-a.cit", f"{ID}-a/b.cit", f"{ID}-{'a' * 65}.cit", "queue.toml", ".tmp", ".claim"],
)
def test_other_names_are_no_documents(text: str) -> None:
    assert names.parse(text) is None
