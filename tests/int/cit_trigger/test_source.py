"""What of a git tree goes with a job: real trees, remotes and submodules; what is sent is all that a builder needs, and no more."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.int.cit_trigger.desk import Desk, rows


def heads(bundle: bytes) -> tuple[list[str], str]:
    """The commits that a bundle builds upon, and the one that it brings."""
    head = bundle.partition(b"\n\n")[0].decode().split("\n")[1:]
    return [line[1:41] for line in head if line[0] == "-"], head[-1].split()[0]


def brought(desk: Desk, bundle: bytes, remote: Path | None) -> list[str]:
    """The commits that a builder has who takes the bundle and what the remote has; git finds the bundle in order."""
    place = desk.home / "builder"
    (desk.home / "bundle").write_bytes(bundle)
    desk.git("clone", "-q", "--bare", str(remote), str(place)) if remote else desk.git("init", "-q", "--bare", str(place))
    desk.git("bundle", "verify", "-q", str(desk.home / "bundle"), at=place)
    desk.git("bundle", "unbundle", str(desk.home / "bundle"), at=place)
    return desk.git("rev-list", heads(bundle)[1], at=place).split("\n")


def told(desk: Desk, *argv: str, at: Path) -> str:
    """What cit-trigger says on stderr."""
    return desk.run("cit-trigger", *argv, "--", "true", at=at).stderr.decode(errors="backslashreplace")


# --- commits --------------------------------------------------------------------------------------------------------


def test_commit_that_the_remote_has_goes_by_name(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    ended = desk.run("cit-trigger", "--source", "--", "true", at=top)
    job = desk.one("--source", "--", "true", at=top)
    commit = desk.git("rev-parse", "HEAD", at=top)
    assert rows(job, "source") == [[".", str(desk.home / "remote.git"), "main", commit, "-"]]
    assert [section.kind for section in job.sections] == ["job", "script", "source", "signature"]
    assert f"note: sent: commit {commit[:10]} (main), which the builder fetches from {desk.home}/remote.git" in ended.stderr.decode()


def test_commits_that_the_remote_lacks_go_along(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    base = desk.git("rev-parse", "HEAD", at=top)
    commits = [desk.commit(top, **{"main.c": f"{number}\n"}) for number in range(3)]
    job = desk.one("--source", "--", "true", at=top)
    section = job.find("bundle")
    assert section and section.attributes == {"path": ".", "enc": "base64"} and section.form == "git-bundle"
    assert heads(section.body()) == ([base], commits[-1])
    assert brought(desk, section.body(), desk.home / "remote.git") == [*reversed(commits), base]
    assert "3 commits that" in told(desk, "--source", at=top)


def test_merge_of_what_the_remote_has_and_lacks(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    desk.git("switch", "-qc", "side", at=top)
    side = desk.commit(top, side="1")
    desk.git("push", "-q", "origin", "side", at=top)
    more = desk.commit(top, side="2")
    desk.git("switch", "-q", "main", at=top)
    own = desk.commit(top, own="1")
    desk.git("merge", "-q", "-m", "both", "side", at=top)
    section = desk.one("--source", "--", "true", at=top).find("bundle")
    assert section and set(heads(section.body())[0]) == {side, desk.git("rev-parse", "main~2", at=top)}
    assert {more, own} < set(brought(desk, section.body(), desk.home / "remote.git"))


def test_tree_without_a_remote_goes_whole(desk: Desk) -> None:
    top = desk.tree()
    commits = [desk.git("rev-parse", "HEAD", at=top), desk.commit(top, x="1")]
    job = desk.one("--source", "--", "true", at=top)
    section = job.find("bundle")
    assert rows(job, "source")[0][1] == "-"
    assert section and brought(desk, section.body(), None) == commits[::-1]
    assert "all its history, 2 commits" in told(desk, "--source", at=top)


def test_remote_of_the_branch_goes_before_origin(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    desk.git("clone", "-q", "--bare", str(top), str(desk.home / "mine.git"))
    desk.git("remote", "add", "my/fork", str(desk.home / "mine.git"), at=top)
    desk.git("fetch", "-q", "my/fork", at=top)
    desk.git("branch", "-q", "--set-upstream-to=my/fork/main", at=top)
    assert rows(desk.one("--source", "--", "true", at=top), "source")[0][1] == str(desk.home / "mine.git")
    desk.git("switch", "-q", "--detach", at=top)
    assert rows(desk.one("--source", "--", "true", at=top), "source")[0][1:3] == [str(desk.home / "remote.git"), "HEAD"]


def test_tree_stays_as_it_was(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    desk.commit(top, x="1")
    (top / "main.c").write_text("changed")
    (top / "new").write_text("new")

    def state() -> list[tuple[str, int, int]]:
        files = sorted(path for path in top.rglob("*") if path.is_file())
        return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]

    before = state()
    desk.one("--source", "--dirty", "--", "true", at=top)
    assert state() == before


def test_where_a_person_is_in_the_tree_the_job_starts(desk: Desk) -> None:
    top = desk.tree()
    (top / "a b/c").mkdir(parents=True)
    assert desk.one("--source", "--", "true", at=top / "a b/c").table("job")["builddir"] == "a b/c"
    assert desk.one("--source=a b", "--", "true", at=top).table("job")["builddir"] == "a b"
    assert desk.one("--source", "--builddir", "x", "--", "true", at=top / "a b").table("job")["builddir"] == "x"
    assert "builddir" not in desk.one("--source", "--", "true", at=top).table("job")


def test_without_being_asked_no_tree_goes_along(desk: Desk) -> None:
    top = desk.tree()
    for argv in ([], ["--no-source"], ["--source", "--no-source"]):
        assert desk.one(*argv, "--", "true", at=top).find("source") is None


def test_places_without_a_tree_or_a_commit(desk: Desk) -> None:
    assert "not a git repository" in desk.refused("--source", "--", "true", status=66)[0]
    assert "no such directory" in desk.refused("--source=gone", "--", "true", status=66)[0]
    desk.git("init", "-q", at=desk.here)
    assert "there is no commit yet" in desk.refused("--source", "--", "true", status=66)[0]
    desk.git("init", "-q", "--bare", "bare.git")
    assert "no working tree" in desk.refused("--source=bare.git", "--", "true", status=66)[0]
    assert "--dirty without --source" in desk.refused("--dirty", "--", "true", status=2)[0]


def test_hook_of_git_pushes_the_tree_that_it_runs_in(desk: Desk) -> None:
    """git tells its hooks another index and repository than the submodule has."""
    inner = desk.tree("inner", remote="inner.git")
    top = desk.tree("outer")
    desk.git("submodule", "-q", "add", str(inner), "lib", at=top)
    (top / ".git/hooks").mkdir(exist_ok=True)
    (top / ".git/hooks/post-commit").write_text("#!/bin/sh\nexec cit-trigger --source -- true >../made\n")
    (top / ".git/hooks/post-commit").chmod(0o755)
    commit = desk.commit(top, x="1")
    made = (desk.here / "made").read_text()
    assert f"\tmain\t{commit}\t-\n" in made and f"lib\t{inner}\tmain\t" in made


def test_worktree_and_sha256(desk: Desk) -> None:
    top = desk.tree()
    desk.git("worktree", "add", "-q", "-b", "side", str(desk.here / "beside"), at=top)
    assert rows(desk.one("--source", "--", "true", at=desk.here / "beside"), "source")[0][2] == "side"
    new = desk.here / "new"
    desk.git("init", "-q", "--object-format=sha256", str(new))
    commit = desk.commit(new, x="1")
    job = desk.one("--source", "--", "true", at=new)
    section = job.find("bundle")
    assert section and len(commit) == 64 and rows(job, "source")[0][3] == commit
    (desk.home / "bundle").write_bytes(section.body())
    desk.git("bundle", "verify", "-q", str(desk.home / "bundle"), at=new)


def test_shallow_clone_goes_where_its_remote_has_the_rest(desk: Desk) -> None:
    top = desk.tree(remote="remote.git")
    desk.commit(top, x="1")
    desk.git("push", "-q", "origin", "main", at=top)
    shallow = desk.here / "shallow"
    desk.git("clone", "-q", "--depth=1", f"file://{desk.home}/remote.git", str(shallow))
    assert desk.one("--source", "--", "true", at=shallow).find("bundle") is None
    desk.commit(shallow, y="1")
    section = desk.one("--source", "--", "true", at=shallow).find("bundle")
    assert section and len(heads(section.body())[0]) == 1
    desk.git("remote", "remove", "origin", at=shallow)
    assert "shallow clone" in desk.refused("--source", "--", "true", at=shallow, status=66)[0]


def test_bundle_over_what_a_section_holds(desk: Desk) -> None:
    top = desk.tree()
    (top / "large").write_bytes(os.urandom(13 << 20))
    desk.commit(top)
    what, hint = desk.refused("--source", "--", "true", at=top, status=65)
    assert "the bundle of . is 18M" in what and "push the commits to a remote" in hint


# --- changes --------------------------------------------------------------------------------------------------------


def changed_tree(desk: Desk) -> Path:
    """A tree with every kind of change to tracked files, staged and not."""
    top = desk.tree(remote="remote.git")
    base = {"gone": "x\n", "crlf": "a\r\nb\r\n", "moved": "m\n" * 20, "mode": "#!/bin/sh\n", "a b\tä": "1\n"}
    desk.commit(top, **base)
    (top / "bytes").write_bytes(b"\0\1")
    desk.commit(top)
    desk.git("push", "-q", "origin", "main", at=top)
    (top / "gone").unlink()
    (top / "crlf").write_bytes(b"a\r\nc\r\n")
    (top / "bytes").write_bytes(b"\0\2\xff")
    (top / "mode").chmod(0o755)
    (top / "a b\tä").write_text("2")
    desk.git("mv", "moved", "elsewhere", at=top)
    (top / "staged").write_text("s\n")
    (top / "link").symlink_to("staged")
    desk.git("add", "staged", "link", at=top)
    return top


def test_changes_go_as_a_patch_that_makes_the_same_tree(desk: Desk) -> None:
    """Whatever this person has set for reading diffs."""
    top = changed_tree(desk)
    for setting in ("diff.noprefix=true", "color.ui=always", "diff.external=false", "diff.renames=copies", "diff.context=0", "core.quotePath=false"):
        desk.git("config", "--global", *setting.split("="))
    job = desk.one("--source", "--dirty", "--", "true", at=top)
    section = job.find("change")
    assert section and section.form == "diff"
    said = section.attributes
    assert (said["path"], said["base"]) == (".", desk.git("rev-parse", "HEAD", at=top))
    other = desk.here / "other"
    desk.git("clone", "-q", str(desk.home / "remote.git"), str(other))
    desk.git("apply", "--index", "--whitespace=nowarn", "-", at=other, stdin=section.body())
    desk.git("add", "-u", at=top)
    assert desk.git("write-tree", at=other) == desk.git("write-tree", at=top)
    counted = desk.git("diff", "--cached", "--numstat", "--no-renames", at=other).split("\n")
    assert (said["files"], said["lines"]) == (
        str(len(counted)),
        str(sum(int(count) for line in counted for count in line.split("\t")[:2] if count != "-")),
    )


def test_what_is_not_sent_is_said(desk: Desk) -> None:
    top = changed_tree(desk)
    for name in ("u1", "u2", "u3", "u4 $(x)"):
        (top / name).write_text("")
    said = told(desk, "--source", at=top)
    assert "warning: not sent: 9 changed files: " in said and ", ...\nhint: commit them, or send them as they are with --dirty" in said
    assert "warning: not sent: 4 untracked files: u1, u2, u3, ..." in said
    dirty = told(desk, "--source", "--dirty", at=top)
    assert "changed file" not in dirty and "untracked" in dirty and "changes that are not committed: lines: " in dirty
    assert told(desk, "-q", "--source", at=top) == ""


def test_clean_tree_has_no_change(desk: Desk) -> None:
    assert desk.one("--source", "--dirty", "--", "true", at=desk.tree()).find("change") is None


# --- submodules -----------------------------------------------------------------------------------------------------


def nested(desk: Desk) -> Path:
    """A tree with a submodule that has one of its own; both have remotes."""
    inner = desk.tree("inner", remote="inner.git")
    middle = desk.tree("middle", remote="middle.git")
    top = desk.tree("outer", remote="outer.git")
    desk.git("submodule", "-q", "add", "--name", "the inner one", "../inner.git", "lib/in $(x) ä", at=middle)
    desk.commit(middle)
    desk.git("push", "-q", "origin", "main", at=middle)
    desk.git("submodule", "-q", "add", str(desk.home / "middle.git"), "middle", at=top)
    desk.git("submodule", "-q", "update", "--init", "--recursive", at=top)
    desk.commit(top)
    desk.git("push", "-q", "origin", "main", at=top)
    assert inner.exists()
    return top


def test_each_submodule_is_a_row(desk: Desk) -> None:
    top = nested(desk)
    head = {path: desk.git("rev-parse", "HEAD", at=top / path) for path in (".", "middle", "middle/lib/in $(x) ä")}
    job = desk.one("--source", "--", "true", at=top)
    home = desk.home
    assert rows(job, "source") == [
        [".", f"{home}/outer.git", "main", head["."], "-"],
        ["middle", f"{home}/middle.git", "main", head["middle"], "middle"],
        ["middle/lib/in $(x) ä", f"{home}/inner.git", "HEAD", head["middle/lib/in $(x) ä"], "the inner one"],
    ]
    assert job.find("bundle") is None


def test_submodule_that_is_not_checked_out_goes_by_what_the_commit_says(desk: Desk) -> None:
    top = nested(desk)
    desk.git("submodule", "deinit", "-q", "--all", "-f", at=top)
    commit = desk.git("rev-parse", "HEAD:middle", at=top)
    assert rows(desk.one("--source", "--", "true", at=top), "source")[1:] == [["middle", f"{desk.home}/middle.git", "HEAD", commit, "middle"]]


def test_commits_of_a_submodule_that_its_remote_lacks_go_along(desk: Desk) -> None:
    top = nested(desk)
    base = desk.git("rev-parse", "HEAD", at=top / "middle")
    wanted = desk.commit(top / "middle", new="1")
    desk.commit(top)
    desk.commit(top / "middle", newer="not recorded above")
    ended = desk.run("cit-trigger", "--source", "--", "true", at=top)
    job = desk.one("--source", "--", "true", at=top)
    bundles = {section.attributes["path"]: section.body() for section in job.all("bundle")}
    assert set(bundles) == {".", "middle"} and heads(bundles["middle"]) == ([base], wanted)
    assert rows(job, "source")[1][2:4] == ["HEAD", wanted]
    assert f"sent is {wanted[:10]}, which HEAD records" in ended.stderr.decode()
    assert brought(desk, bundles["middle"], desk.home / "middle.git")[0] == wanted


def test_dirty_takes_submodules_as_they_lie_here(desk: Desk) -> None:
    top = nested(desk)
    commit = desk.commit(top / "middle", new="1")
    (top / "middle/main.c").write_text("changed\n")
    (top / "main.c").write_text("changed too\n")
    job = desk.one("--source", "--dirty", "--", "true", at=top)
    assert rows(job, "source")[1][3] == commit
    assert [(each.attributes["path"], each.attributes["files"]) for each in job.all("change")] == [(".", "1"), ("middle", "1")]


# --- nasty names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "$(touch gone)", "'\"`", "-oProxyCommand=x", "ä€", "new\nline", "--", "@end source", "x;touch gone"])
def test_names_of_directories_and_branches_are_only_names(desk: Desk, name: str) -> None:
    top = desk.tree("./" + name, remote="r " + name.replace("/", ""))
    branch = name.strip("-").replace(" ", "_").replace("\n", "_") or "x"
    desk.git("switch", "-qc", branch, at=top)
    desk.commit(top, **{name: "x"})
    (top / "sub $(x)").mkdir()
    job = desk.one(f"--source=./{name}", "--", "true")
    url = str(desk.home / ("r " + name))
    assert rows(job, "source") == [[".", "-" if "\n" in url else url, branch, desk.git("rev-parse", "HEAD", at=top), "-"]]
    assert not list(desk.home.rglob("gone"))


def test_names_that_are_no_text_are_refused_by_cause(desk: Desk) -> None:
    top = desk.tree()
    desk.run("git", "switch", "-qc", "\udcff", at=top)
    assert "no UTF-8" in desk.refused("--source", "--", "true", at=top, status=65)[0]


# --- what does not go along ------------------------------------------------------------------------------------------


def test_passwords_stay_here(desk: Desk) -> None:
    top = desk.tree()
    desk.git("remote", "add", "origin", "https://ada:hunter2@git.example.org/z.git", at=top)
    ended = desk.run("cit-trigger", "--source", "--", "true", at=top)
    assert b"hunter2" not in ended.stdout + ended.stderr and b"\thttps://" not in ended.stderr
    assert b"the name and password in the address of origin are not sent" in ended.stderr


def test_git_missing_is_said(desk: Desk) -> None:
    top = desk.tree()
    programs = desk.home / "programs"
    programs.mkdir()
    for name in ("sh", "readlink", "env"):
        (programs / name).symlink_to(subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip())
    bin_ = desk.environment["PATH"].split(":")[0]
    ended = desk.run(f"{bin_}/cit-trigger", "--source", "--", "true", at=top, status=78, PATH=str(programs))
    assert b"git is needed for this and is not here" in ended.stderr
