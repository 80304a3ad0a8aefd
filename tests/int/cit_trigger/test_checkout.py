"""The builder's half: what cit-trigger sent is laid out exactly; what is not in order is refused, and nothing leaves the workspace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from cit_run import checkout, plan
from cit_run.cit_format import body, document, reader
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CitError
from tests.int.cit_trigger.builder import Builder, job_with, source
from tests.int.cit_trigger.desk import Desk

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def job_of(desk: Desk, *argv: str, at: Path | None = None, stdin: bytes = b"") -> Document:
    """A job that cit-trigger made, as the builder reads it."""
    return reader.parse(desk.run("cit-trigger", *argv, "--", "true", at=at, stdin=stdin).stdout)


# --- what was sent is what is there ---------------------------------------------------------------------------------


def test_commit_of_a_remote_is_checked_out(desk: Desk, builder: Builder) -> None:
    """An older one, by its own name, where the branch has moved on."""
    top = desk.tree(remote="remote.git")
    job = job_of(desk, "--source", at=top)
    commit = desk.git("rev-parse", "HEAD", at=top)
    desk.git("tag", "v1", at=top)
    desk.commit(top, later="x")
    desk.git("push", "-q", "--tags", "origin", "main", at=top)
    builder.step(job)
    assert builder.files() == {"main.c": b"int main;\n"}
    assert desk.git("tag", at=builder.workspace) == ""
    assert desk.git("rev-parse", "HEAD", at=builder.workspace) == commit
    assert desk.git("status", "--porcelain", at=builder.workspace) == ""
    assert body.rows((builder.record / "environment").read_bytes()) == [["source .", commit]]
    assert not (builder.record / "why").exists()
    log = builder.log.read_text()
    assert f"cit: source .: {commit} (main) of {desk.home}/remote.git\n" in log


def test_server_that_gives_no_commit_by_its_name_gives_all(desk: Desk, builder: Builder) -> None:
    """A shim of git-upload-pack that knows protocol 0 only, as old servers do."""
    top = desk.tree(remote="remote.git")
    job = job_of(desk, "--source", at=top)
    commit = desk.git("rev-parse", "HEAD", at=top)
    desk.commit(top, later="x")
    desk.git("push", "-q", "origin", "main", at=top)
    desk.git("config", "--global", "protocol.version", "0")
    desk.git("config", "uploadpack.allowAnySHA1InWant", "false", at=desk.home / "remote.git")
    builder.step(job)
    assert desk.git("rev-parse", "HEAD", at=builder.workspace) == commit
    assert "all branches and tags are fetched" in builder.log.read_text()


def test_bundles_patches_submodules_and_files_make_the_tree_as_it_was(desk: Desk, builder: Builder) -> None:
    inner = desk.tree("inner", remote="inner.git")
    top = desk.tree("outer", remote="outer.git")
    desk.git("submodule", "-q", "add", str(desk.home / "inner.git"), "lib/in $(x)", at=top)
    desk.commit(top, shared="1\n")
    assert inner
    desk.commit(top / "lib/in $(x)", unpublished="u\n")
    (top / "lib/in $(x)/main.c").write_text("inner change\n")
    desk.git("add", "-A", at=top)
    desk.git("commit", "-q", "-m", "unpublished too", at=top)
    (top / "shared").write_text("2\n")
    (top / "bytes").write_bytes(b"\0\xff\r\n")
    desk.git("add", "bytes", at=top)
    (desk.here / "brought").write_text("b\n")
    job = reader.parse(desk.run("cit-trigger", "--source=outer", "--dirty", "--files", "brought", "--config", "prefix=/opt x", "--", "true").stdout)
    builder.step(job)
    assert builder.files() == {
        ".gitmodules": (top / ".gitmodules").read_bytes(),
        "main.c": b"int main;\n",
        "shared": b"2\n",
        "bytes": b"\0\xff\r\n",
        "brought": b"b\n",
        "lib/in $(x)/main.c": b"inner change\n",
        "lib/in $(x)/unpublished": b"u\n",
    }
    assert (builder.workspace / ".cit/config.tsv").read_text() == "prefix\t/opt x\n"
    assert desk.git("status", "--porcelain", at=builder.workspace).split("\n") == [
        "A  bytes",
        ' M "lib/in $(x)"',
        "M  shared",
        "?? brought",
    ]


def test_tree_without_a_remote_comes_out_of_its_bundle(desk: Desk, builder: Builder) -> None:
    top = desk.tree("a\nb")
    job = job_of(desk, "--source", at=top)
    desk.run("rm", "-rf", str(top))
    builder.step(job)
    assert builder.files() == {"main.c": b"int main;\n"}


def test_sha256_repository(desk: Desk, builder: Builder) -> None:
    top = desk.here / "new"
    desk.git("init", "-q", "--object-format=sha256", str(top))
    desk.commit(top, x="1")
    builder.step(job_of(desk, "--source", at=top))
    assert builder.files() == {"x": b"1"}


def test_job_can_push_what_it_was_given(desk: Desk, builder: Builder) -> None:
    """And its builder is asked for no more than the first one was."""
    top = desk.tree(remote="remote.git")
    desk.commit(top, x="1")
    builder.step(job_of(desk, "--source", at=top))
    assert "cit.bundle is okay\n" in builder.log.read_text()
    again = job_of(desk, "--source", at=builder.workspace)
    section = again.find("bundle")
    assert section and len(plan.prerequisites(section.body())) == 1
    assert plan.planned(again).trees[0].url == str(desk.home / "remote.git")


def test_incremental_workspace_is_brought_to_the_new_commit(desk: Desk, builder: Builder) -> None:
    """What the build before made stays, what it changed of the sources does not."""
    top = desk.tree(remote="remote.git")
    builder.step(job_of(desk, "--source", at=top))
    (builder.workspace / "made.o").write_text("o")
    (builder.workspace / "main.c").write_text("changed")
    desk.commit(top, new="n")
    builder.step(job_of(desk, "--source", at=top))
    assert builder.files() == {"main.c": b"int main;\n", "made.o": b"o", "new": b"n"}


def test_job_without_any_of_it_costs_nothing(desk: Desk, builder: Builder) -> None:
    job = job_of(desk, "--export", "A=1")
    assert not checkout.needed(job)
    assert checkout.checkout(job, builder.workspace, builder.log) == [] and not builder.log.exists()
    program = "import sys, cit_run.checkout; print(*{'subprocess', 'tarfile', 'tempfile'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-S", "-c", program], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_called_in_this_process_it_gives_the_rows(desk: Desk, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(desk.home))
    top = desk.tree()
    commit = desk.git("rev-parse", "HEAD", at=top)
    assert checkout.checkout(job_of(desk, "--source", at=top), builder.workspace, builder.log) == [("source .", commit)]
    assert commit in builder.log.read_text()


def test_only_what_was_signed_counts() -> None:
    """What follows the first signature is not even looked at."""
    later = job_with(document.section("signature", "sshsig", b"x\n", by="a@b", ns="cit-job"), source((".", "https://sun/z", COMMIT)))
    assert not checkout.needed(later)
    assert plan.planned(later).trees == []


# --- what is not in order -------------------------------------------------------------------------------------------

GOOD = source((".", "/srv/z", COMMIT))


@pytest.mark.parametrize(
    ("sections", "what"),
    [
        ([source(("../x", "/srv/z", COMMIT))], "is not below the workspace"),
        ([source(("/x", "/srv/z", COMMIT))], "is not below the workspace"),
        ([source(("a/../../x", "/srv/z", COMMIT))], "is not below the workspace"),
        ([source(("a//b", "/srv/z", COMMIT))], "a source for 'a//b'"),
        ([source(("", "/srv/z", COMMIT))], "a source for ''"),
        ([source((".git", "/srv/z", COMMIT))], "a source for '.git'"),
        ([source(("a/.GIT/b", "/srv/z", COMMIT))], "a source for"),
        ([source((".cit/x", "/srv/z", COMMIT))], "is cit's own"),
        ([source((".", "/srv/z", "main"))], "'main' is no commit"),
        ([source((".", "/srv/z", "--upload-pack=x"))], "is no commit"),
        ([source((".", "-oProxyCommand=touch gone", COMMIT))], "is not taken"),
        ([source((".", "ext::sh -c touch% gone", COMMIT))], "is not taken"),
        ([source((".", "https://sun/\nx", COMMIT))], "is not taken"),
        ([source((".", "", COMMIT))], "is not taken"),
        ([source((".", "/srv/z", COMMIT), (".", "/srv/y", COMMIT))], "two sources have one path"),
        ([document.section("source", "tsv", b".\t/srv/z\n")], "a source of 2 columns"),
        ([document.section("source", "tsv", b"", 2)], "section source has version 2"),
        ([GOOD, document.section("bundle", "git-bundle", b"x", path="lib")], "a bundle for 'lib'"),
        ([GOOD, *[document.section("bundle", "git-bundle", b"x", path=".")] * 2], "a bundle for '.'"),
        ([GOOD, document.section("change", "diff", b"x\n", path="lib", base=COMMIT, files="1", lines="1")], "a change for 'lib'"),
        ([GOOD, document.section("change", "diff", b"x\n", path=".", base="f" * 40, files="1", lines="1")], "was made against ffff"),
        ([GOOD, document.section("change", "diff", b"x\n", path=".", base=COMMIT, files="one", lines="1")], "does not say its files and lines"),
    ],
)
def test_document_that_is_not_in_order_is_refused(sections: list[bytes], what: str) -> None:
    with pytest.raises(CitError) as refused:
        plan.planned(job_with(*sections))
    assert refused.value.status == 65 and what in refused.value.what


def test_failure_is_told_in_log_and_record(desk: Desk, builder: Builder) -> None:
    """The job does not start, and its result says why."""
    builder.step(job_with(source((".", str(desk.home / "gone.git"), COMMIT))), status=125)
    assert builder.why() == f"source: cannot fetch from {desk.home}/gone.git"
    log = builder.log.read_text()
    assert f"\ncit: source: cannot fetch from {desk.home}/gone.git\nhint: git says why in the log" in log and "fatal: " in log
    assert not (builder.record / "environment").exists() and "Traceback" not in log


def test_commit_that_the_remote_does_not_have(desk: Desk, builder: Builder) -> None:
    desk.tree(remote="remote.git")
    builder.step(job_with(source((".", str(desk.home / "remote.git"), COMMIT))), status=125)
    assert builder.why() == f"source: commit {COMMIT} is not at {desk.home}/remote.git"


def damaged(bundle: bytes) -> bytes:
    return bundle[:-30] + bytes(30)


@pytest.mark.parametrize("change", [damaged, lambda bundle: bundle[:-10], lambda bundle: b"# v2 git bundle\n" + bundle, lambda bundle: b"x\n"])
def test_damaged_bundle_is_no_source(desk: Desk, builder: Builder, change: Callable[[bytes], bytes]) -> None:
    top = desk.tree()
    made = job_of(desk, "--source", at=top)
    section = made.find("bundle")
    assert section
    wrong = document.section("bundle", "git-bundle", change(section.body()), path=".")
    builder.step(job_with(source((".", "-", desk.git("rev-parse", "HEAD", at=top))), wrong), status=125)
    assert builder.why().startswith(("source: git bundle failed", "source: commit ", "source: the bundle")) and builder.files() == {}


def test_bundle_of_another_commit_is_no_source(desk: Desk, builder: Builder) -> None:
    section = job_of(desk, "--source", at=desk.tree()).find("bundle")
    assert section
    builder.step(job_with(source((".", "-", COMMIT)), document.section("bundle", "git-bundle", section.body(), path=".")), status=125)
    assert builder.why() == f"source: commit {COMMIT} is not in the bundle"


def change_of(desk: Desk, text: bytes, files: int, lines: int) -> Document:
    top = desk.tree(remote="remote.git")
    commit = desk.git("rev-parse", "HEAD", at=top)
    section = document.section("change", "diff", text, path=".", base=commit, files=str(files), lines=str(lines))
    return job_with(source((".", str(desk.home / "remote.git"), commit)), section)


PATCH = b"--- a/main.c\n+++ b/main.c\n@@ -1 +1 @@\n-int main;\n+int other;\n"


@pytest.mark.parametrize(
    ("text", "files", "lines", "why"),
    [
        (PATCH, 1, 1, "says 1 files and 1 lines, but has 1 and 2"),
        (PATCH, 2, 2, "says 2 files and 2 lines, but has 1 and 2"),
        (PATCH.replace(b"-int main;", b"-int maim;"), 1, 2, "git apply failed"),
        (b"", 0, 0, "git apply failed"),
        (PATCH.replace(b"main.c", b"../gone"), 1, 2, "git apply failed"),
        (b"--- /dev/null\n+++ b/.git/hooks/gone\n@@ -0,0 +1 @@\n+x\n", 1, 1, "git apply failed"),
        (b"--- /dev/null\n+++ b//tmp/gone\n@@ -0,0 +1 @@\n+x\n", 1, 1, "git apply failed"),
    ],
)
def test_change_that_is_not_what_it_says_or_leads_out(desk: Desk, builder: Builder, text: bytes, files: int, lines: int, why: str) -> None:
    builder.step(change_of(desk, text, files, lines), status=125)
    assert why in builder.why()
    assert not list(desk.home.rglob("gone")) and not Path("/tmp/gone").exists()


def test_change_goes_through_no_link(desk: Desk, builder: Builder) -> None:
    link = b"diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+..\n\\ No newline at end of file\n"
    job = change_of(desk, link + b"diff --git a/l/gone b/l/gone\nnew file mode 100644\n--- /dev/null\n+++ b/l/gone\n@@ -0,0 +1 @@\n+x\n", 2, 2)
    builder.step(job, status=125)
    assert not list(desk.home.rglob("gone"))


def test_tree_that_leads_through_a_link_is_refused(desk: Desk, builder: Builder) -> None:
    """A source tree may hold links; no other tree is laid out through one."""
    top = desk.tree()
    (top / "out").symlink_to(desk.home)
    commit = desk.commit(top)
    section = job_of(desk, "--source", at=top).find("bundle")
    assert section
    bundle = document.section("bundle", "git-bundle", section.body(), path=".")
    other = document.section("bundle", "git-bundle", section.body(), path="out/tree")
    builder.step(job_with(source((".", "-", commit), ("out/tree", "-", commit)), bundle, other), status=125)
    assert "'out' is no directory of the workspace" in builder.why() and not (desk.home / "tree").exists()


def test_nothing_of_a_tree_is_run(desk: Desk, builder: Builder) -> None:
    """Hooks of the account, of templates, of the tree; transports that are programs; a pager."""
    hook = f"#!/bin/sh\ntouch {desk.home}/gone\n"
    for place in ("hooks", "template/hooks"):
        (desk.home / place).mkdir(parents=True)
        (desk.home / place / "post-checkout").write_text(hook)
        (desk.home / place / "post-checkout").chmod(0o755)
    desk.git("config", "--global", "core.hooksPath", str(desk.home / "hooks"))
    job = job_of(desk, "--source", at=desk.tree(remote="remote.git"))
    (desk.home / "gone").unlink(missing_ok=True)
    desk.git("config", "--global", "init.templateDir", str(desk.home / "template"))
    desk.git("config", "--global", "protocol.ext.allow", "always")
    builder.environment = {**builder.environment, "GIT_DIR": str(desk.home / "elsewhere"), "GIT_SSH_COMMAND": f"touch {desk.home}/gone"}
    builder.step(job)
    builder.step(job_with(source(("far", "ssh://nowhere.invalid/z", COMMIT))), status=125)
    assert not (desk.home / "gone").exists() and not (desk.home / "elsewhere").exists()
