"""cit stash and unstash: across jobs and by hand, what a name leads to, what comes back, and what must not."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from cit_run import naming, storing, tree
from cit_run.cit_format import body, document, store
from cit_run.cit_format.errors import DATA, CitError
from cit_run.shim import read_status
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, killed, until

BIN = CHECKOUT / "bin"


def ran(*words: str, cwd: Path, status: int = 0) -> str:
    ended = subprocess.run([BIN / words[0], *words[1:]], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status, (words, ended.returncode, ended.stdout, ended.stderr)
    return ended.stdout + ended.stderr


@pytest.fixture
def desk(bench: Bench) -> Path:
    place = bench.home / "desk"
    (place / "lib" / "deep").mkdir(parents=True)
    (place / "lib" / "libz.so.1").write_text("code\n")
    (place / "lib" / "libz.so").symlink_to("libz.so.1")
    (place / "lib" / "deep" / "tool").write_text("#!/bin/sh\n")
    (place / "lib" / "deep" / "tool").chmod(0o755)
    (place / "lib" / "empty").mkdir()
    return place


def shape(top: Path) -> list[tuple[str, str, bool]]:
    """All below a directory: path, content (a link: where it leads), whether it is a program."""
    found = []
    for path in sorted(top.rglob("*")):
        said = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "/"
        found.append((str(path.relative_to(top)), said, not path.is_symlink() and path.is_file() and bool(path.stat().st_mode & 0o100)))
    return found


def test_directory_comes_back_as_it_was_and_the_same_files_are_the_same_bytes(bench: Bench, desk: Path) -> None:
    ran("cit-stash", "zlib=lib", cwd=desk)
    ran("cit-unstash", "zlib", "out", cwd=desk)
    assert shape(desk / "out") == shape(desk / "lib")
    os.utime(desk / "out" / "libz.so.1", (1, 1))
    first = store.meant(str(bench.account / "store"), "zlib")
    ran("cit-stash", "again=out", cwd=desk)
    assert store.meant(str(bench.account / "store"), "again") == first, "time and owner of files are no part of a tree"
    (desk / "out" / "mine").write_text("stays")
    (desk / "out" / "libz.so.1").write_text("changed")
    ran("cit-unstash", first, "out", cwd=desk)
    assert (desk / "out" / "mine").read_text() == "stays" and (desk / "out" / "libz.so.1").read_text() == "code\n"


def test_what_is_changed_in_a_workspace_never_reaches_the_store(bench: Bench, desk: Path) -> None:
    file = desk / "lib" / "libz.so.1"
    with file.open("r+") as still_open:
        ran("cit-stash", "z=lib/libz.so.1", cwd=desk)
        still_open.write("evil")
    ran("cit-unstash", "z", cwd=desk)
    with (desk / "z").open("r+") as written:
        written.write("evil")
    ran("cit-unstash", "z", "twice", cwd=desk)
    assert (desk / "twice" / "z").read_text() == "code\n"
    kept = bench.account / "store" / store.meant(str(bench.account / "store"), "z")
    assert kept.stat().st_nlink == 1 and kept.stat().st_mode & 0o777 == 0o400


def test_key_of_configuration_is_shared_and_the_first_stays(bench: Bench, desk: Path) -> None:
    (desk / "env").write_text("gcc 12\n")
    missing = ran("cit-unstash", "--key", "@env", "z", cwd=desk, status=1)
    assert "nothing is stashed as z with this key" in missing and "cit stash z --key @env" in missing
    assert ran("cit-unstash", "-q", "--key", "@env", "z", cwd=desk, status=1) == ""
    ran("cit-stash", "--key", "@env", "z=lib/libz.so.1", cwd=desk)
    (desk / "lib" / "libz.so.1").write_text("other\n")
    assert "which stay" in ran("cit-stash", "--key", "@env", "z=lib/libz.so.1", cwd=desk)
    ran("cit-unstash", "--key", "@env", "z", cwd=desk)
    assert (desk / "z").read_text() == "code\n"
    ran("cit-stash", "--key", "@env", "--replace", "z=lib/libz.so.1", cwd=desk)
    ran("cit-unstash", "--key", "@env", "z", cwd=desk)
    assert (desk / "z").read_text() == "other\n"
    (desk / "env").write_text("gcc 13\n")
    ran("cit-unstash", "--key", "@env", "z", cwd=desk, status=1)
    ran("cit-unstash", "z", cwd=desk, status=1)


def test_job_hands_over_to_a_job_and_its_document_lists_it(bench: Bench, desk: Path) -> None:
    made = bench.send("#!/bin/sh\nset -e\nmkdir lib; echo code >lib/z; cit stash out=lib lib/z; exit 3\n", name="maker")
    bench.run()
    assert bench.result(made)["exit"] == 3, bench.log(made)
    rows = [row for section in bench.finished(made).all("artefact") for row in section.rows()]
    named = {row[2]: row[0] for row in rows if row[2].startswith("store/names/")}
    assert sorted(named) == ["store/names/out", "store/names/z"] and len(rows) == 3, "and its log"
    assert named["store/names/z"] == hashlib.sha256(b"code\n").hexdigest()
    used = bench.send(f"#!/bin/sh\nset -e\ncit unstash out lib\ncit unstash {named['store/names/z']} by\ncat lib/z by/z\n", name="user")
    bench.run()
    assert bench.result(used)["exit"] == 0 and "code\ncode\n" in bench.log(used)
    assert "maker" in ran("cit-stash", "--list", cwd=desk)


def test_what_a_job_had_kept_when_its_shim_was_killed(bench: Bench) -> None:
    keep = document.section("keep", "tsv", body.tsv([["out"]]))
    job = bench.send("#!/bin/sh\necho half >out; cit stash out; touch ready; sleep 60\n", keep, name="half")
    running = bench.start()
    until(lambda: (bench.account / "work" / "half" / "0" / "ready").exists())
    status = read_status(str(bench.record(job)))
    assert status is not None
    killed(status.shim)
    running.communicate(timeout=60)
    rows = [row for section in bench.finished(job).all("artefact") for row in section.rows()]
    digest = hashlib.sha256(b"half\n").hexdigest()
    assert bench.result(job)["state"] == "NODE_FAIL"
    assert [row[2].rpartition("/")[2] for row in rows if row[0] == digest] == ["out", "out"], "kept, and stashed"


def test_job_whose_files_are_for_some_only_leaves_nothing_open(bench: Bench) -> None:
    to = body.tsv([("*.txt", " ".join(bench.person.public.line.split()[:2]))])
    job = bench.send("#!/bin/sh\necho secret >a.txt\ncit stash a.txt\n", document.section("reply", "tsv", to))
    bench.run()
    assert bench.result(job)["exit"] == 77 and "for some only" in bench.log(job)
    assert not list(store.files(str(bench.account / "store"))) and not store.names(str(bench.account / "store"))


def test_listing_is_one_that_sha256sum_takes_and_damage_is_found(bench: Bench, desk: Path) -> None:
    ran("cit-stash", "lib", "z=lib/libz.so.1", cwd=desk)
    folder = bench.account / "store"
    sums = ran("cit-stash", "--sums", cwd=desk)
    assert len(sums.splitlines()) == 2
    check = subprocess.run(["sha256sum", "-c"], input=sums, cwd=folder, capture_output=True, text=True)
    assert check.returncode == 0 and check.stdout.count(": OK") == 2
    assert ran("cit-stash", "--check", cwd=desk) == ""
    damaged = folder / store.meant(str(folder), "z")
    damaged.chmod(0o600)
    damaged.write_text("rot")
    assert damaged.name in ran("cit-stash", "--check", cwd=desk, status=1)
    assert "other bytes" in ran("cit-unstash", "z", "never", cwd=desk, status=65) and not (desk / "never").exists()
    ran("cit-stash", "z=lib/libz.so.1", cwd=desk)
    ran("cit-unstash", "z", cwd=desk)


def test_names_can_be_made_again_from_the_history_and_that_from_documents(bench: Bench, desk: Path) -> None:
    job = bench.send("#!/bin/sh\necho 1 >a; cit stash a; echo 2 >a; cit stash a\ncit stash --key k b=a\n")
    bench.run()
    assert bench.result(job)["exit"] == 0
    folder = bench.account / "store"
    before = store.names(str(folder))
    assert len(before) == 2
    shutil.rmtree(folder / "names")
    assert ran("cit-stash", "--mend", cwd=desk).split() == sorted(before)
    assert store.names(str(folder)) == before
    (folder / "history.tsv").unlink()
    shutil.rmtree(folder / "names")
    ran("cit-stash", "--mend", cwd=desk)
    assert store.names(str(folder)) == before
    (folder / before["a"][3:]).unlink()
    ran("cit-stash", "--mend", cwd=desk)
    assert "a" not in store.names(str(folder)), "a name that leads nowhere goes"


def test_torn_line_of_the_history_is_cut_off(bench: Bench, desk: Path) -> None:
    ran("cit-stash", "z=lib/libz.so.1", cwd=desk)
    file = bench.account / "store" / "history.tsv"
    whole = file.read_bytes()
    file.write_bytes(whole + b"2026-11-23T20:26:11Z\tto")
    assert len(store.history(str(bench.account / "store"))) == 1
    ran("cit-stash", "y=lib/libz.so.1", cwd=desk)
    assert file.read_bytes().startswith(whole) and [each.name for each in store.history(str(bench.account / "store"))] == ["z", "y"]


def test_tree_that_could_not_be_laid_out_again_is_not_stashed(bench: Bench, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = desk / "deep"
    (deep / "/".join(["d"] * 98)).mkdir(parents=True)
    (deep / "/".join(["d"] * 98) / "file").write_text("x")
    ran("cit-stash", "deep", cwd=desk)
    ran("cit-unstash", "deep", "out", cwd=desk)
    assert shape(desk / "out") == shape(deep)
    (deep / "/".join(["d"] * 100)).mkdir(parents=True)
    (deep / "/".join(["d"] * 100) / "file").write_text("x")
    assert "deeper than 100" in ran("cit-stash", "deep", cwd=desk, status=65)
    monkeypatch.setattr("cit_run.unpack.ENTRIES", 4)
    fd = os.open(desk / "lib", os.O_RDONLY)
    with storing.sink(str(bench.account / "store")) as made, pytest.raises(CitError) as refused:
        tree.packed(fd, made)
    os.close(fd)
    assert refused.value.status == DATA


def test_names_of_any_bytes_come_back(bench: Bench, desk: Path) -> None:
    odd = os.fsencode(desk / "odd")
    os.mkdir(odd)
    names = [b"caf\xe9", b"new\nline", "grün".encode(), b"-rf", b"a b", b"x" * 255, b"back\\slash", b"\xff" * 100]
    for name in names:
        with open(os.path.join(odd, name), "wb") as stream:
            stream.write(name)
    os.symlink(b"caf\xe9", os.path.join(odd, b"link\xe9"))
    ran("cit-stash", "odd", cwd=desk)
    ran("cit-unstash", "odd", "out", cwd=desk)
    out = os.fsencode(desk / "out")
    assert sorted(os.listdir(out)) == sorted([*names, b"link\xe9"]) and os.readlink(os.path.join(out, b"link\xe9")) == b"caf\xe9"
    for name in names:
        with open(os.path.join(out, name), "rb") as stream:
            assert stream.read() == name


def test_who_holds_the_lock_keeps_nobody_from_ending(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(bench.account / "store")
    monkeypatch.setattr(store, "PATIENCE", 0.2)
    with store.locked(folder, to_remove=True), storing.sink(folder) as made:
        made.write(b"x")
        assert store.size(folder, made.named()[0]) == 1


def test_program_stays_one(bench: Bench, desk: Path) -> None:
    ran("cit-stash", "lib/deep/tool", "z=lib/libz.so.1", cwd=desk)
    ran("cit-unstash", "tool", cwd=desk)
    ran("cit-unstash", "z", cwd=desk)
    assert os.access(desk / "tool", os.X_OK) and not (desk / "z").stat().st_mode & 0o100


# --- what must not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "depth", "inside"),
    [
        ("libz.so.1", 0, True),
        ("../lib/z", 1, True),
        ("../z", 0, False),
        ("../../z", 1, False),
        ("/etc/passwd", 3, False),
        ("a/../../z", 1, False),
        ("a/..", 0, False),
        ("./../z", 1, True),
        ("", 1, False),
        ("..", 0, False),
    ],
)
def test_link_leads_out(target: str, depth: int, inside: bool) -> None:
    assert tree.is_inside(target, depth) is inside


def test_tree_with_what_no_tree_may_hold_is_not_stashed(bench: Bench, desk: Path) -> None:
    (desk / "lib" / "out").symlink_to("../../etc")
    assert "leads out of it" in ran("cit-stash", "lib", cwd=desk, status=65)
    (desk / "lib" / "out").unlink()
    os.mkfifo(desk / "lib" / "pipe")
    assert "pipe" in ran("cit-stash", "lib", cwd=desk, status=65)
    assert not list((bench.account / "store").glob(".tmp/*")) and not list(store.files(str(bench.account / "store")))
    for name in ("x" * 101, "0" * 64, ".hidden", "a@b"):
        ran("cit-stash", f"{name}=lib", cwd=desk, status=2)
    ran("cit-unstash", "../../key", cwd=desk, status=2)


def hostile(*entries: tuple[str, bytes, str]) -> bytes:
    """A tar that says it is a tree: name, type, and content or where it links to."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": tree.MARK}) as archive:
        for name, kind, said in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(said)
                archive.addfile(entry, io.BytesIO(said.encode()))
            else:
                entry.linkname = said
                archive.addfile(entry)
    return raw.getvalue()


REG, SYM, LNK, DIR, CHR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE


@pytest.mark.parametrize(
    "raw",
    [
        hostile(("../out", REG, "x")),
        hostile(("/tmp/cit-out", REG, "x")),
        hostile(("a/../../out", REG, "x")),
        hostile(("d", SYM, "../.."), ("d/out", REG, "x")),
        hostile(("d", SYM, "."), ("e", SYM, "d/../../out")),
        hostile(("d", SYM, "e"), ("e", DIR, ""), ("e", SYM, "/tmp")),
        hostile(("h", LNK, "../key")),
        hostile(("c", CHR, "")),
        hostile((".cit/status", REG, "x")),
        hostile(("f", REG, "x" * 5000))[:3000],
        hostile(("f", REG, "x" * 5000))[:1300],
    ],
    ids=["up", "root", "up-later", "through-a-link", "link-by-link", "link-out", "hard-link", "device", "record", "cut", "cut-early"],
)
def test_hostile_tree_writes_nothing_outside(bench: Bench, desk: Path, raw: bytes) -> None:
    folder = bench.account / "store"
    with storing.sink(str(folder)) as made:
        made.write(raw)
        digest, _ = made.named()
    naming.give(str(folder), "evil", "", digest, "x@y")
    before = shape(desk)
    said = ran("cit-unstash", "evil", "in/side", cwd=desk, status=65)
    assert "error" in said
    assert [each for each in shape(desk) if not each[0].startswith("in")] == before
    assert not Path("/tmp/cit-out").exists() and not Path("/tmp/out").exists()


def test_tree_with_a_header_of_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 33
    path = tmp_path / "huge"
    with path.open("wb") as stream:
        stream.write(hostile()[:1024] + entry.tobuf(tarfile.USTAR_FORMAT if entry.size < 8 << 30 else tarfile.GNU_FORMAT))
        stream.truncate(1 << 34)
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(CitError) as refused:
        list(tree.entries(fd))
    os.close(fd)
    assert refused.value.status == DATA


def test_link_in_the_way_is_never_written_through(bench: Bench, desk: Path) -> None:
    ran("cit-stash", "lib", cwd=desk)
    (desk / "outside").mkdir()
    (desk / "out").mkdir()
    (desk / "out" / "deep").symlink_to("../outside")
    assert "deep" in ran("cit-unstash", "lib", "out", cwd=desk, status=65)
    assert not list((desk / "outside").iterdir())
    (desk / "out" / "deep").unlink()
    (desk / "outside" / "victim").write_text("victim")
    (desk / "out" / "libz.so.1").unlink(missing_ok=True)
    os.link(desk / "outside" / "victim", desk / "out" / "libz.so.1")
    ran("cit-unstash", "lib", "out", cwd=desk)
    assert (desk / "outside" / "victim").read_text() == "victim"


def test_full_disk_leaves_no_name_and_the_old_one_whole(bench: Bench, desk: Path) -> None:
    ran("cit-stash", "z=lib/libz.so.1", cwd=desk)
    folder = str(bench.account / "store")
    first = store.meant(folder, "z")
    (desk / "lib" / "libz.so.1").write_bytes(os.urandom(1 << 20))
    limited = f"ulimit -f 100; trap '' XFSZ; exec {BIN}/cit-stash z=lib/libz.so.1"
    ended = subprocess.run(["sh", "-c", limited], cwd=desk, capture_output=True, text=True)
    assert ended.returncode == 74, ended.stderr
    assert store.meant(folder, "z") == first and not list(Path(folder).glob(".tmp/*"))
    ran("cit-stash", "z=lib/libz.so.1", cwd=desk)
    assert store.meant(folder, "z") != first
