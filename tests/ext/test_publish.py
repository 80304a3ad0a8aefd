"""A build that somebody made by hand becomes a result, as what it is (docs/howto/restart-and-publish.md)."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from cit_format.reader import parse
from tests.int.cit_report.lived import Lived


@pytest.fixture
def home(tmp_path: Path) -> Lived:
    """A home with a git tree in it, in which something is changed and something is built."""
    home = Lived(tmp_path / "home")
    tree = home.directory / "My Tree's"
    tree.mkdir(parents=True)
    home.run("cit-init")
    (tree / "main.c").write_text("int main;\n")
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "as it began"]):
        subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@sun", *words], cwd=tree, check=True, capture_output=True)
    (tree / "main.c").write_text("int main; // by hand\n")
    (tree / "out").mkdir()
    (tree / "out" / "lib.a").write_text("built by hand\n")
    return home


def published(home: Lived, *words: str, status: int = 0) -> str:
    """The ID of what cit publish has published, once it is done."""
    done = home.completed("cit-publish", *words)
    assert done.returncode == status, done.stderr
    home.completed("cit-wait", "last")
    return home.run("cit-show", "--id", "last").strip()


def test_a_directory_as_it_stands(home: Lived) -> None:
    """Local, by whom, uncontrolled; with its commit and change; its files in the store; no builder had it."""
    job = published(home, "--keep", "out/*", "My Tree's")
    document = parse(home.run("cit-show", "--raw", job).encode())
    assert "/done/" in home.run("cit-show", "--path", job) and document.find("assignment") is None and document.name == "my-tree-s"
    assert document.table("published")["state"] == document.table("result")["state"] == "COMPLETED"
    assert "environment" not in document.table("published")
    [row] = document.find("publishes").rows()  # type: ignore[union-attr]
    digest = hashlib.sha256(b"built by hand\n").hexdigest()
    assert row == [digest, "14", "out/lib.a"] and (home.path / "store" / digest).read_text() == "built by hand\n"
    change = document.find("change")
    assert change is not None and b"+int main; // by hand" in change.body()
    first = home.run("cit-show", "--table", job)
    assert first.startswith("changed    1 file, 2 lines upon ") and "a local build, published by ada@sun: built on sun, uncontrolled" in first
    assert "my-tree-s*" in home.run("cit-ls", "--table") and "changed: a local build" in home.run("cit-why", job)
    trace = home.completed("cit-trace", job)
    assert trace.returncode == 0, trace.stdout + trace.stderr
    assert digest not in home.run("cit-clean", "--store", "-n", "--older", "1h"), "the document refers to it"
    assert list((home.path / "work").glob("*")) == [], "nothing ran"


def test_a_build_with_its_environment(home: Lived) -> None:
    """A command is run there, and its status is the result's; what it is built with makes it controlled. A builder refuses such a document."""
    job = published(home, "--environment", "printf 'lib\\tcc\\tgcc 12\\n'", "My Tree's", "--", "sh", "-c", "echo built here; exit 3", status=3)
    document = parse(home.run("cit-show", "--raw", job).encode())
    said = document.table("published")
    assert (said["state"], said["exit"], said["built-with"]) == ("FAILED", 3, ["lib cc: gcc 12"]) and len(str(said["environment"])) == 64
    assert "uncontrolled" not in home.run("cit-show", "--table", job) and home.completed("cit-wait", job).returncode == 3
    raw = home.completed("cit-run", stdin=document.submitted)
    assert raw.returncode == 65 and b"it was built already, and is published" in raw.stderr
    home.completed("cit-requeue", "--wait", job)
    again = parse(home.run("cit-show", "--raw", "last").encode())
    assert again.table("job")["parent"] == job and again.find("published") is None
    assert again.table("result")["exit"] == 3 and home.run("cit-log", "last").endswith("built here\n"), "a builder builds it"


def test_what_cannot_be_published(home: Lived) -> None:
    assert home.completed("cit-publish", "nowhere").returncode == 66
    assert home.completed("cit-publish", "--environment", "exit 1", "My Tree's").returncode == 78
    assert home.run("cit-ls", "--tsv").count("\n") == 1
