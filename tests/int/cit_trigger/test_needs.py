"""--need: what a job needs of others becomes digests, as the other job's builder signed them, or as they lie in the store here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cit_trigger.cit_format import document, reader
from tests.int.cit_report.lived import Lived

A, B = hashlib.sha256(b"a\n").hexdigest(), hashlib.sha256(b"b\n").hexdigest()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A home in which a job has kept two files and stashed one, failing in the end."""
    directory: Path = tmp_path_factory.mktemp("needs") / "home"
    directory.mkdir()
    made = Lived(directory)
    made.run("cit-ls")
    made.push("made", "#!/bin/sh\nmkdir lib; echo a >lib/a; echo b >lib/b; echo a >c; cit stash c; exit 1\n", "--keep", "lib")
    made.run("cit-wait", "-q", "made", status=1)
    return made


def rows(lived: Lived, *needs: str) -> list[list[str]]:
    """The rows of needs of a job with these."""
    raw = lived.run("cit-trigger", "-n", *(word for need in needs for word in ("--need", need)), "--", "true").encode()
    return [row for section in reader.parse(raw).all("needs") for row in section.rows()]


def test_what_is_wanted_becomes_digests(lived: Lived) -> None:
    assert rows(lived, "made:lib/a") == [[A, "2", "lib/a"]]
    assert rows(lived, "made:lib/a=x/y") == [[A, "2", "x/y"]]
    assert rows(lived, "made:lib=dep") == [[A, "2", "dep/lib/a"], [B, "2", "dep/lib/b"]]
    assert rows(lived, "made:lib/*") == [[A, "2", "lib/a"], [B, "2", "lib/b"]]
    assert rows(lived, "made:c") == rows(lived, "c") == [[A, "2", "c"]]
    assert rows(lived, "c=d/c", f"{B}=b", f"{'0' * 64}:7=z") == [[A, "2", "d/c"], [B, "2", "b"], ["0" * 64, "7", "z"]]


@pytest.mark.parametrize(
    ("need", "status"),
    [
        ("made:nothing", 66),
        ("nobody:lib", 66),
        ("nothing", 66),
        ("made:", 2),
        ("=x", 2),
        ("made:lib/a=../x", 2),
        ("made:lib/a=/x", 2),
        (f"{'0' * 64}=x", 2),
        (f"{'0' * 64}:7", 2),
        (f"{'0' * 64}:x=y", 2),
        ("-n:x", 66),
    ],
)
def test_what_does_not_fit_is_said(lived: Lived, need: str, status: int) -> None:
    said = lived.completed("cit-trigger", "-n", "--need", need, "--", "true")
    assert said.returncode == status and b"error" in said.stderr and b"hint" in said.stderr, said.stderr
    assert not said.stdout


def test_own_store_is_named_by_its_address(lived: Lived) -> None:
    lived.run("cit-config", "address", "ada@sun:2222")
    try:
        for need in ("c", "made:lib/a", f"{A}=x"):
            assert "needs 1 tsv from=ssh://ada@sun:2222\n" in lived.run("cit-trigger", "-n", "--need", need, "--", "true")
        assert "needs 1 tsv\n" in lived.run("cit-trigger", "-n", "--need", f"{'0' * 64}:7=x", "--", "true")
    finally:
        lived.run("cit-config", "--unset", "address", status=None)


def test_two_things_at_one_path(lived: Lived) -> None:
    lived.run("cit-trigger", "-n", "--need", "made:lib/a=x", "--need", "made:lib/b=x", "--", "true", status=2)


def test_place_of_a_job_built_elsewhere_goes_with_it(lived: Lived) -> None:
    """Its files are not in this home any more, and its builder is another account of this machine."""
    from cit_trigger.needs import of_job, sections

    raw = lived.run("cit-show", "--raw", "made").encode()
    [need] = of_job(reader.parse(raw), "lib/a", "", "ssh://build@moon")
    assert need.place == "ssh://build@moon" and sections([]) == []
    written = document.section("needs", "tsv", b"x\n", **{"from": need.place})
    assert b"from=ssh://build@moon" in written


def test_what_is_only_tried_has_its_needs_and_stashes_beside(lived: Lived) -> None:
    script = "#!/bin/sh\nset -e\ncat d/a; cit unstash c got; cat got/c; echo mine >mine; cit stash mine c=mine; cit unstash c again; cat again/c\n"
    raw = lived.completed("cit-trigger", "--need", "made:lib/a=d/a", "--script", "-", stdin=script.encode()).stdout
    (lived.directory / "job.cit").write_bytes(raw)
    said = lived.completed("cit-try", "job.cit")
    assert said.returncode == 0, said.stderr
    assert said.stdout.decode().split("\n")[1:4] == ["a", "got/c", "a"] and said.stdout.endswith(b"\nagain/c\nmine\n"), said.stdout
    names = {name.name for name in (lived.path / "store" / "names").iterdir()}
    assert "mine" not in names and (lived.path / "try" / "store" / "names" / "mine").read_text() == "mine\n"
    assert (lived.path / "store" / "names" / "c").read_text() == "a\n", "what is tried changes no name"
    raw = lived.completed("cit-trigger", "--need", f"{'0' * 64}:7=z", "--", "true").stdout
    (lived.directory / "job.cit").write_bytes(raw)
    said = lived.completed("cit-try", "job.cit")
    assert said.returncode == 75 and b"cannot be had" in said.stdout, (said.returncode, said.stdout, said.stderr)
