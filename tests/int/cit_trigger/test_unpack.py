"""Files that a job brings along are laid out as they are meant; no archive reaches out of the workspace."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from cit_run import checkout, unpack
from cit_run.cit_format import document
from cit_run.cit_format.errors import CitError
from tests.int.cit_trigger.builder import Builder, job_with
from tests.int.cit_trigger.desk import Desk


def archive(*entries: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """A `files` section."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry in entries:
            if isinstance(entry, tuple):
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
            else:
                tar.addfile(entry)
    return document.section("files", "tar", out.getvalue())


def entry(name: str, kind: bytes, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def test_files_keep_what_matters_of_them(builder: Builder) -> None:
    run = entry("bin/run", tarfile.REGTYPE, mode=0o4755, mtime=1_700_000_000, uid=1, gid=1)
    builder.step(job_with(archive(("a/ä $(x)\n", b"1"), ("./b", b"2"), run, entry("empty", tarfile.DIRTYPE), entry(".", tarfile.DIRTYPE))))
    assert builder.files() == {"a/ä $(x)\n": b"1", "b": b"2", "bin/run": b""}
    status = (builder.workspace / "bin/run").stat()
    assert (status.st_mode & 0o7777 & ~0o022, int(status.st_mtime), status.st_uid) == (0o755, 1_700_000_000, os.getuid())
    assert (builder.workspace / "empty").is_dir()


def test_files_take_the_place_of_files_and_links(desk: Desk, builder: Builder) -> None:
    (desk.home / "target").write_text("safe")
    (builder.workspace / "link").symlink_to(desk.home / "target")
    builder.step(job_with(archive(("link", b"new"), ("twice", b"1"), ("twice", b"2"))))
    assert builder.files() == {"link": b"new", "twice": b"2"} and (desk.home / "target").read_text() == "safe"


@pytest.mark.parametrize(
    ("section", "why"),
    [
        (archive(("../gone", b"x")), "is not below the workspace"),
        (archive(("/tmp/gone", b"x")), "is not below the workspace"),
        (archive(("a/../../gone", b"x")), "is not below the workspace"),
        (archive((".cit/gone", b"x")), "is cit's own"),
        (archive(("./.cit/gone", b"x")), "is cit's own"),
        (archive(("/".join("d" * 200) + "/gone", b"x")), "is not below the workspace"),
        (archive(entry("l", tarfile.SYMTYPE, linkname=".."), ("l/gone", b"x")), "is a link"),
        (archive(("a", b"x"), entry("gone", tarfile.LNKTYPE, linkname="a")), "is a link"),
        (archive(entry("gone", tarfile.FIFOTYPE)), "is neither"),
        (archive(entry("gone", tarfile.CHRTYPE, devmajor=1, devminor=3)), "is neither"),
        (archive(("a", b"x"), ("a/gone", b"x")), "is no directory of the workspace"),
        (archive(("a/b", b"x"), ("a", b"x")), "is a directory of the workspace"),
        (archive(("out/gone", b"x")), "'out' is no directory of the workspace"),
        (document.section("files", "tar", b"no tar"), "cannot be read"),
    ],
)
def test_archive_does_not_escape(tmp_path: Path, section: bytes, why: str) -> None:
    builder = Builder(tmp_path / "work", {})
    (builder.workspace / "out").symlink_to(tmp_path)
    with pytest.raises(CitError) as refused:
        checkout.checkout(job_with(section), builder.workspace, builder.log)
    assert refused.value.status == 65 and why in refused.value.what
    assert not [path for path in tmp_path.rglob("gone") if path.is_file()] and not Path("/tmp/gone").exists()


def test_archive_that_is_cut_off_or_damaged_is_refused() -> None:
    section = document.new("x", archive(("a", b"x" * 2000), ("b", b"y" * 2000))).sections[0].body()
    for raw in (section[:1000], section[:2600], section[:3000], section[:2560] + b"\xff" * 512 + section[3072:]):
        with pytest.raises(CitError) as refused:
            list(unpack.entries(raw))
        assert refused.value.status == 65 and "the archive cannot be read" in refused.value.what


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sparse_file_cannot_grow_beyond_its_archive(desk: Desk, builder: Builder, form: str) -> None:
    with (desk.here / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    desk.run("tar", f"--format={form}", "--sparse", "-cf", "s.tar", "sparse")
    assert "is no regular file" in desk.refused("--files", "s.tar", "--", "true", status=65)[0]
    section = document.section("files", "tar", (desk.here / "s.tar").read_bytes())
    builder.step(job_with(section), status=125)
    assert "is neither a regular file nor a directory" in builder.why()
