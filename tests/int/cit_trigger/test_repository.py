"""A repository that is elsewhere: its branch or tag becomes a commit at the moment of the push; nothing that is typed steers git."""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_trigger.cit_format.errors import CitError
from cit_trigger.repository import at_ref
from tests.int.cit_trigger.desk import Desk, rows


@pytest.fixture
def remote(desk: Desk) -> Path:
    """A repository with a branch and a tag of one name, an annotated tag, and a branch whose name ends like another's."""
    top = desk.tree(remote="remote.git")
    desk.git("tag", "-a", "-m", "first", "v1", at=top)
    desk.git("tag", "both", at=top)
    for branch in ("both", "deep/main", "feature/ä$(x)"):
        desk.git("switch", "-qc", branch, at=top)
        desk.commit(top, **{"file": branch})
    desk.git("push", "-q", "--all", "origin", at=top)
    desk.git("push", "-q", "--tags", "origin", at=top)
    desk.git("switch", "-q", "main", at=top)
    return desk.home / "remote.git"


REFS = [
    (None, "main", "refs/heads/main"),
    ("main", "main", "refs/heads/main"),
    ("deep/main", "deep/main", "refs/heads/deep/main"),
    ("v1", "v1", "refs/tags/v1^{commit}"),
    ("both", "both", "refs/heads/both"),
    ("refs/tags/both", "refs/tags/both", "refs/tags/both"),
    ("heads/both", "heads/both", "refs/heads/both"),
    ("feature/ä$(x)", "feature/ä$(x)", "refs/heads/feature/ä$(x)"),
    ("HEAD", "HEAD", "refs/heads/main"),
]


def test_ref_becomes_a_commit(desk: Desk, remote: Path) -> None:
    for ref, name, commit in REFS:
        wanted = desk.git("rev-parse", "--verify", commit, at=remote)
        job = desk.one("--repo", str(remote), *(["--ref", ref] if ref else []), "--", "true")
        assert rows(job, "source") == [[".", str(remote), name, wanted, "-"]]


def test_whole_commit_is_taken_as_it_is(desk: Desk) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert rows(desk.one("--repo", "ssh://git@nowhere.invalid/z.git", "--ref", commit, "--", "true"), "source") == [
        [".", "ssh://git@nowhere.invalid/z.git", commit, commit, "-"]
    ]


def test_equal_pushes_of_a_repository_may_be_answered_by_one_run(desk: Desk, remote: Path) -> None:
    for more, wanted in (([], "mine"), (["--same", "anyone"], "anyone"), (["--same", "no"], None)):
        assert desk.one("--repo", str(remote), *more, "--", "true").table("job").get("same") == wanted


def test_path_is_written_from_the_root(desk: Desk, remote: Path) -> None:
    assert rows(desk.one("--repo", "../remote.git", "--", "true"), "source")[0][1] == str(remote)


@pytest.mark.parametrize(
    "url", ["", "-oProxyCommand=touch gone", "--upload-pack=touch gone", "ext::sh -c touch% gone", "fd::17", "https://sun/a\nb", "x\x1by"]
)
def test_what_is_no_address_never_reaches_git(url: str) -> None:
    with pytest.raises(CitError) as refused:
        at_ref(url, None)
    assert (refused.value.status, "is no address of a repository" in refused.value.what) == (2, True)


@pytest.mark.parametrize("ref", ["", "-x", "--upload-pack=touch gone", "a b", "a..b", "*", "v1^{}", "a:b", "a\nb", "main~1"])
def test_what_is_no_ref_never_reaches_git(ref: str) -> None:
    with pytest.raises(CitError) as refused:
        at_ref("/nowhere", ref)
    assert (refused.value.status, "is no branch, tag or commit" in refused.value.what) == (2, True)


def test_repositories_and_refs_that_are_not_there(desk: Desk, remote: Path) -> None:
    assert "has no branch or tag nightly" in desk.refused("--repo", str(remote), "--ref", "nightly", "--", "true", status=66)[0]
    desk.refused("--repo", str(desk.home / "gone.git"), "--", "true", status=69)
    desk.git("init", "-q", "--bare", "empty.git")
    assert "has no commit yet" in desk.refused("--repo", "empty.git", "--", "true", status=66)[0]


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["--ref", "main"], "--ref without --repo"),
        (["--repo", "x", "--source"], "--repo and --source"),
        (["--repo", "x", "--dirty"], "--repo and --dirty"),
    ],
)
def test_options_that_contradict_each_other(desk: Desk, argv: list[str], what: str) -> None:
    assert what in desk.refused(*argv, "--", "true", status=2)[0]


def test_lines_from_stdin_are_not_read_by_git(desk: Desk, remote: Path) -> None:
    made = desk.made("--repo", str(remote), "--each", "-", "--", "make", stdin=b"a\nb\nc\n")
    assert len(made) == 3 and len({tuple(rows(job, "source")[0]) for job in made}) == 1


def test_password_in_an_address_stays_here(desk: Desk) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    ended = desk.run("cit-trigger", "--repo", "https://ada:hunter2@git.invalid/z", "--ref", commit, "--", "true")
    assert b"hunter2" not in ended.stdout + ended.stderr and b".\thttps://git.invalid/z\t" in ended.stdout
