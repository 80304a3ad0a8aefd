"""Indices of arrays as people write them, and names of what is left of one (docs/format/job.md, docs/directories.md)."""

from __future__ import annotations

import pytest

from cit_format import arrays, body, dictionary, document, names
from cit_format.errors import CitError

ID = "01kax0m2ht8f0v3q6s9y2c4e7g"
GOOD = {
    "7": ((7,), None),
    "1-3": ((1, 2, 3), None),
    "9,1-3,2": ((1, 2, 3, 9), None),
    "0-20:5": ((0, 5, 10, 15, 20), None),
    "0-1%4": ((0, 1), 4),
    "007": ((7,), None),
}
BAD = ["", "3-1", "1-9:0", "1..3", "1-3%0", "-1", "1,", "1:2", "0-100000", "1-99999,200000-200001", "0-999999999"]


@pytest.mark.parametrize("text", GOOD)
def test_indices(text: str) -> None:
    assert arrays.parse(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_of_tasks(text: str) -> None:
    with pytest.raises(CitError) as caught:
        arrays.parse(text)
    assert caught.value.status == 65
    assert dictionary.objection(dictionary.read()["job", "1"].keys["array"], text)


def test_indices_are_written_short() -> None:
    assert arrays.written((0, 1, 2, 7, 9, 10)) == "0-2,7,9-10"


def test_runs_have_no_gap() -> None:
    assert arrays.runs({0, 10, 15}, (0, 5, 10, 15, 20)) == [(0,), (10, 15)]
    assert arrays.runs((), (0, 5)) == []


def test_what_is_left_has_a_name() -> None:
    array = arrays.parse("0-20:5")
    whole = names.FileName(ID, "zlib", names.key(0, 5))
    left = arrays.spanned(whole, array.tasks[2:], array.tasks)
    assert str(left) == f"1000-0000000000000005.{ID}_10..20-zlib.cit" and names.parse(str(left)) == left
    assert array.left(left) == (10, 15, 20) and array.left(whole) == array.tasks
    assert arrays.spanned(left, array.tasks, array.tasks) == whole
    assert (left.concerns(15), left.concerns(5), left.only, left._replace(span=(10, 10)).only) == (True, False, None, 10)
    assert array.left(whole._replace(task=5)) == (5,)


def test_an_array_is_small_enough_to_be_copied_for_each_task() -> None:
    said = document.section("job", "toml", body.toml({"array": "1-3"}))
    arrays.check(document.new("small", said))
    arrays.check(document.new("none", document.section("note", "text", b"x" * arrays.LIMIT)))
    with pytest.raises(CitError, match="an array of"):
        arrays.check(document.new("large", said, document.section("script", "sh", b"#" * arrays.LIMIT + b"\n")))
