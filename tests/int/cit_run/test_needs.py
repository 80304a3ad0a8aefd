"""What a job needs is in its workspace before it begins: from the own store, from another account; else it waits."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from cit_run import needs, storing, tree
from cit_run.cit_format import attempts, body, document, home, store
from cit_run.cit_format.errors import CitError
from tests.int.cit_run.kit import Bench


def wanted(*rows: tuple[str, int, str], **attributes: str) -> bytes:
    return document.section("needs", "tsv", body.tsv((row[0], str(row[1]), row[2]) for row in rows), **attributes)


def put(folder: Path, content: bytes, is_program: bool = False) -> tuple[str, int]:
    with storing.sink(str(folder)) as made:
        made.write(content)
        return made.named(is_program)


def put_tree(folder: Path, directory: Path) -> tuple[str, int]:
    fd = os.open(directory, os.O_RDONLY)
    with storing.sink(str(folder)) as made:
        tree.packed(fd, made)
        os.close(fd)
        return made.named()


@pytest.fixture
def other(bench: Bench) -> Path:
    """The home of another build account of this machine."""
    there = bench.home / "other" / ".cit"
    before = dict(os.environ)
    os.environ["CIT_HOME"] = str(there)
    home.ensure()
    os.environ.clear()
    os.environ.update(before)
    return there


def test_files_programs_and_trees_are_laid_out_as_copies(bench: Bench) -> None:
    folder, lib = bench.account / "store", bench.home / "lib"
    (lib / "deep").mkdir(parents=True)
    (lib / "deep" / "z").write_text("z\n")
    one, tool, many = put(folder, b"one\n"), put(folder, b"#!/bin/sh\necho run\n", is_program=True), put_tree(folder, lib)
    script = "#!/bin/sh\nset -e\ncat in/one; bin/tool; cat lib/deep/z; echo evil >in/one; echo evil >lib/deep/z\n"
    job = bench.send(script, wanted((*one, "in/one"), (*tool, "bin/tool"), (*many, "lib")))
    bench.run()
    log = bench.log(job)
    assert bench.result(job)["exit"] == 0 and "one\nrun\nz\n" in log and f"cit: needs in/one: {one[0]}, 4B" in log, log
    again = bench.send(script, wanted((*one, "in/one"), (*tool, "bin/tool"), (*many, "lib")))
    bench.run()
    assert "one\nrun\nz\n" in bench.log(again), "what a job writes into its copy reaches nobody else"


def test_over_sources_and_files_of_the_job(bench: Bench) -> None:
    import io
    import tarfile

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in (("in/one", b"mine"), ("in/two", b"mine")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    digest = put(bench.account / "store", b"needed")
    job = bench.send("#!/bin/sh\ncat in/one in/two\n", document.section("files", "tar", raw.getvalue()), wanted((*digest, "in/one")))
    bench.run()
    assert bench.log(job).endswith("neededmine")


def test_from_another_account_and_then_here(bench: Bench, other: Path) -> None:
    digest = put(other / "store", b"from elsewhere\n")
    job = bench.send("#!/bin/sh\ncat x\n", wanted((*digest, "x"), **{"from": f"{bench.home}/nowhere/.cit,{other}"}))
    bench.run()
    assert bench.result(job)["exit"] == 0 and bench.log(job).endswith("from elsewhere\n")
    assert store.size(str(bench.account / "store"), digest[0]) == digest[1]
    (other / "store" / digest[0]).unlink()
    job = bench.send("#!/bin/sh\ncat x\n", wanted((*digest, "x")))
    bench.run()
    assert bench.result(job)["exit"] == 0


def test_what_cannot_be_had_sends_the_job_back_and_counts_as_no_start(bench: Bench, other: Path) -> None:
    digest = hashlib.sha256(b"later\n").hexdigest()
    job = bench.send("#!/bin/sh\ncat x\n", wanted((digest, 6, "x"), **{"from": str(other)}))
    bench.run()
    done = bench.finished(job)
    assert done.find("result") is None and bench.events(job)[-2:] == ["unready", "void"]
    told = next(row[5] for section in done.all("event") for row in section.rows() if row[2] == "void")
    assert told.startswith(f"needs: x ({digest[:10]}) cannot be had: not in the store here; {other}: ")
    end = attempts.ending(done)
    assert not bench.runs(job) and end is not None and attempts.is_unready(done, end)


def test_other_bytes_than_wanted_are_none(bench: Bench, other: Path) -> None:
    digest, size = put(other / "store", b"right")
    file = other / "store" / digest
    file.chmod(0o600)
    file.write_bytes(b"wrong")
    job = bench.send("#!/bin/sh\ncat x\n", wanted((digest, size, "x"), **{"from": str(other)}))
    bench.run()
    assert "other bytes" in bench.log(job) and bench.events(job)[-1] == "void"
    assert not list(store.files(str(bench.account / "store"))) and not list((bench.account / "store").glob(".tmp/*"))
    put(bench.account / "store", b"right")
    damaged = bench.account / "store" / digest
    damaged.chmod(0o600)
    damaged.write_bytes(b"wrong")
    job = bench.send("#!/bin/sh\ncat x\n", wanted((digest, size, "x")))
    bench.run()
    assert bench.result(job)["exit"] == 125 and "holds other bytes" in str(bench.result(job)["why"])


def test_in_the_way(bench: Bench) -> None:
    digest = put(bench.account / "store", b"x")
    job = bench.send("#!/bin/sh\n", wanted((*digest, "a"), (*digest, "a/b")))
    bench.run()
    assert bench.result(job)["exit"] == 125 and "'a' is no directory" in str(bench.result(job)["why"])


@pytest.mark.parametrize(
    "row",
    [("0" * 64, 1, "../x"), ("0" * 64, 1, "/x"), ("0" * 64, 1, ".cit/status"), ("0" * 64, 1, "."), ("0" * 63, 1, "x"), ("0" * 64, -1, "x")],
    ids=["up", "root", "record", "workspace", "digest", "bytes"],
)
def test_row_that_is_none_is_refused(bench: Bench, row: tuple[str, int, str]) -> None:
    job = bench.send("#!/bin/sh\n", wanted(row))
    bench.run(status=65)
    assert [path for path in (bench.account / "refused").glob("*.cit") if job.id in path.name]


def test_door_that_is_none_is_refused(bench: Bench) -> None:
    for place in ("ssh://-oProxyCommand=x", "moon", "ssh://moon"):
        with pytest.raises(CitError) as refused:
            needs.needed(bench.job("#!/bin/sh\n", wanted(("0" * 64, 1, "x"), **{"from": place})))
        assert refused.value.status == 65


def test_full_disk_is_said_before_anything_is_asked_for(bench: Bench, other: Path) -> None:
    job = bench.send("#!/bin/sh\n", wanted(("0" * 64, 1 << 58, "x"), **{"from": str(other)}))
    bench.run()
    assert "do not fit on the disk" in bench.log(job) and bench.events(job)[-1] == "void"


def test_job_by_hand(bench: Bench) -> None:
    digest = put(bench.account / "store", b"here\n")
    ended = bench.filtered(bench.job("#!/bin/sh\ncat x\n", wanted((*digest, "x"))))
    assert ended.returncode == 0, ended.stderr
    ended = bench.filtered(bench.job("#!/bin/sh\ncat x\n", wanted(("0" * 64, 1, "x"))))
    assert ended.returncode == 75 and b"\tunready\t" in ended.stdout and b"\tneeds: x (0000000000) cannot be had" in ended.stdout


def test_no_needs_costs_nothing(bench: Bench) -> None:
    code = "import sys, cit_run.attempt; print([m for m in ('tarfile', 'cit_run.needs', 'cit_run.tree') if m in sys.modules])"
    import sys

    from tests.conftest import CHECKOUT

    said = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
