"""Incremental builds: upon what, why not, and what of it is built anew (docs/howto/workspaces.md). Real git, make and jobs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cit_run import attempt, components, reuse
from cit_run.cit_format import body, clock, document, keys
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CitError
from cit_run.shim import read_status
from tests.int.cit_run.kit import Bench, killed, until

MAKE = """\
all: one/a.out two/b.out
%.out: %.txt
	@echo building $@; cp $< $@
env:
	@cat $(TOLD)
"""
SCRIPT = "#!/bin/sh\nexec make -s\n"
BUILT = ["building one/a.out", "building two/b.out"]


class Project:
    """A git repository, and jobs that build a commit of it in the directory of the build before."""

    def __init__(self, bench: Bench, place: Path) -> None:
        self.bench = bench
        self.place = place / "project"
        self.told = place / "told"
        for name in ("one", "two"):
            (self.place / name).mkdir(parents=True)
        self.write("Makefile", MAKE)
        self.write("one/a.txt", "a\n")
        self.write("two/b.txt", "b\n")
        self.git("init", "-q", "-b", "main")
        self.commit()

    def write(self, path: str, text: str) -> None:
        (self.place / path).write_text(text)

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@sun")
        return subprocess.run(["git", *who, *words], cwd=self.place, check=True, capture_output=True, text=True).stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "as it is now")

    def variables(self, **more: str) -> bytes:
        return document.section("env", "tsv", body.tsv({"TOLD": str(self.told), **more}.items()))

    def build(self, *sections: bytes, script: str = SCRIPT, **said: object) -> Document:
        row = (".", str(self.place), "main", self.git("rev-parse", "HEAD").strip(), "-")
        source = document.section("source", "tsv", body.tsv([row]))
        env = [] if any(b"@begin env " in each for each in sections) else [self.variables()]
        job = self.bench.send(script, source, *env, *sections, name="project", **{"workspace": "incremental", **said})
        self.bench.run("--slots", "2")
        return job

    def lines(self, job: Document) -> list[str]:
        """What its make printed."""
        return [line for line in self.bench.log(job).splitlines() if line.startswith("building")]

    def rows(self, job: Document) -> dict[str, str]:
        section = self.bench.finished(job).find("environment")
        assert section is not None
        return {row[0]: row[1] for row in section.rows()}

    def workspace(self, job: Document) -> Path:
        return (self.bench.account / "work" / f"{job.id}.a1-project").resolve()


@pytest.fixture
def project(bench: Bench, tmp_path: Path) -> Project:
    return Project(bench, tmp_path)


def test_upon_the_build_before(project: Project) -> None:
    """Only what changed is built, at the same path; the signed rows say upon what."""
    first = project.build()
    assert project.lines(first) == BUILT
    assert (project.rows(first)["workspace"], project.rows(first)["workspace why"]) == ("clean", "the first build of this name")
    place = project.workspace(first)
    project.write("one/a.txt", "changed\n")
    project.commit()
    second = project.build()
    assert project.lines(second) == ["building one/a.out"] and project.workspace(second) == place
    assert project.rows(second)["workspace"] == "incremental"
    assert project.rows(second)["workspace why"].startswith(f"upon {first.id}.a1-project, which ended well at 20")
    assert not (project.bench.record(first) / reuse.LEFT).exists(), "it is as the second one leaves it now"
    third = project.build()
    assert project.lines(third) == []


CHANGES = {
    "a source": ("echo by hand >>one/a.txt", "one/a.txt was changed since"),
    "a source, and put back": ("cp two/b.txt x; rm two/b.txt; mv x two/b.txt", "two/b.txt was changed since"),
    "what was built": ("echo by hand >two/b.out", "two/b.out was changed since"),
    "a file more": ("touch one/new.h", "one/new.h is new since"),
    "a file less": ("rm two/b.out", "two/b.out is gone since"),
    "permissions": ("chmod +x one/a.out", "one/a.out was changed since"),
    "several": ("touch x y", "x is new, and 1 more since"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_never_upon_a_hand_changed_tree(project: Project, what: str) -> None:
    first = project.build()
    command, why = CHANGES[what]
    subprocess.run(["sh", "-c", command], cwd=project.workspace(first), check=True)
    second = project.build()
    assert project.lines(second) == BUILT
    assert project.rows(second)["workspace"] == "clean" and project.rows(second)["workspace why"].startswith(why)
    assert project.lines(project.build()) == [], "the next one is built upon that"


def test_looking_is_no_change(project: Project) -> None:
    first = project.build()
    subprocess.run("ls -lR; cat one/a.txt; touch x; rm x; git status", shell=True, cwd=project.workspace(first), check=True, capture_output=True)
    assert project.rows(project.build())["workspace"] == "incremental"


@pytest.fixture
def bob(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Inside of it jobs are another person's, whom this account believes too."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "bob"], check=True)
    kind, key, *_ = (tmp_path / "bob.pub").read_text().split()
    with open(bench.account / "allowed_signers", "a") as stream:
        stream.write(f'bob@moon namespaces="cit-job" {kind} {key}\n')
    job = bench.job

    def by_bob(*words: bytes, **said: object) -> Document:
        with monkeypatch.context() as other:
            other.setenv("CIT_USER", "bob")
            other.setenv("CIT_HOST", "moon")
            return job(*words, **said)

    @contextlib.contextmanager
    def theirs() -> Iterator[None]:
        with monkeypatch.context() as other:
            other.setattr(bench, "job", by_bob)
            other.setattr(bench, "person", keys.load(tmp_path / "bob"))
            yield

    return theirs


def test_never_upon_another_submitter_s(project: Project, bob: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Each has a directory of their own; each goes on in it."""
    ours = project.build()
    with bob():
        theirs = project.build()
        again = project.build()
    assert project.lines(theirs) == BUILT and project.lines(again) == []
    assert project.rows(theirs)["workspace why"] == "no build before was an incremental one of the same submitter and queue"
    assert project.workspace(ours) != project.workspace(again)
    mine = project.build()
    assert project.lines(mine) == [] and project.workspace(mine).name == "0"


def test_no_restart_in_another_submitter_s_workspace(project: Project, bob: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    ours = project.build(script="#!/bin/sh\nexit 1\n")
    with bob():
        theirs = project.build(restart=f"{ours.id}.a1", workspace="clean")
    assert "is another submitter's" in str(project.bench.result(theirs)["why"]) and project.bench.result(theirs)["state"] == "FAILED"
    assert project.workspace(ours).name == "0" and project.lines(theirs) == []


def test_clean_after_a_failure_and_after_other_variables(project: Project) -> None:
    first = project.build(project.variables(MODE="debug"))
    other = project.build(project.variables(MODE="release"))
    assert project.lines(first) == project.lines(other) == BUILT
    assert project.rows(other)["workspace why"] == "MODE was 'debug', is 'release'"
    failed = project.build(project.variables(MODE="release"), script="#!/bin/sh\nexit 1\n")
    assert project.rows(failed)["workspace"] == "incremental"
    after = project.build(project.variables(MODE="release"))
    assert project.lines(after) == BUILT and project.rows(after)["workspace why"] == "the build before did not end well"


def told(project: Project, **versions: str) -> None:
    project.told.write_text("".join(f"{component}\tcc\t{version}\n" for component, version in versions.items()))


def test_clean_or_incremental_by_component(project: Project) -> None:
    """The component of which the build system tells something else is built anew, the other one is not."""
    told(project, one="gcc 12", two="gcc 12")
    first = project.build(environment="make -s env")
    assert project.lines(first) == BUILT
    rows = project.rows(first)
    assert rows["component one cc"] == "gcc 12" and len(rows["digest one"]) == 64 and "built one" not in rows
    assert project.lines(project.build(environment="make -s env")) == []
    told(project, one="gcc 13", two="gcc 12")
    third = project.build(environment="make -s env")
    assert project.lines(third) == BUILT[:1]
    rows = project.rows(third)
    assert rows["built one"] == "clean, cc was 'gcc 12', is 'gcc 13'" and rows["built two"] == "incremental, built with the same"
    assert "component one: clean, cc was 'gcc 12', is 'gcc 13'" in project.bench.log(third)


def test_a_component_without_a_directory_cleans_all(project: Project) -> None:
    told(project, headers="1", one="gcc 12")
    project.build(environment="make -s env")
    told(project, headers="2", one="gcc 12")
    second = project.build(environment="make -s env")
    assert project.lines(second) == BUILT
    assert project.rows(second)["built one"] == "clean, headers changed and has no directory of its own"


def test_a_component_s_own_build_directory(project: Project) -> None:
    """A row `builddir`; what lies in no git tree is removed whole, and nothing outside of the workspace is."""
    precious = project.place.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    project.told.write_text("lib\tcc\t1\nlib\tbuilddir\tout/lib\nway\tcc\t1\nway\tbuilddir\tout/way\n")
    script = f"#!/bin/sh\nmkdir -p out/lib; ln -sfn {precious} out/way; ls out/lib; touch out/lib/x out/y\n"
    project.build(script=script, environment="make -s env")
    project.told.write_text("lib\tcc\t2\nlib\tbuilddir\tout/lib\nway\tcc\t1\nway\tbuilddir\tout/way\n")
    second = project.build(script=script, environment="make -s env")
    assert "\nx\n" not in project.bench.log(second) and (project.workspace(second) / "out" / "y").exists()
    project.told.write_text("lib\tcc\t2\nlib\tbuilddir\tout/lib\nway\tcc\t2\nway\tbuilddir\tout/way\n")
    project.build(script=script, environment="make -s env")
    assert (precious / "file").exists()


TOLD = {
    "a tool that is missing": ("one\ttool\tno-such-compiler\n", "one needs the tool no-such-compiler, which is not here"),
    "no row": ("all is well\n", "it printed no rows"),
    "two columns": ("one\tgcc 12\n", "its line 1 is not COMPONENT TAB KEY TAB VALUE"),
    "out of the workspace": ("one\tbuilddir\t../../other\n", None),
}


@pytest.mark.parametrize("what", TOLD)
def test_what_cannot_be_told_ends_it_before_it_starts(project: Project, what: str) -> None:
    said, why = TOLD[what]
    project.told.write_text(said)
    job = project.build(script="#!/bin/sh\necho begun\n", environment="make -s env", workspace="clean")
    result = project.bench.result(job)
    if why is None:
        assert result["state"] == "COMPLETED", "in a clean build nothing is cleaned"
        return
    assert (result["state"], result["exit"]) == ("FAILED", 125) and f"environment (make -s env): {why}" in str(result["why"])
    assert "begun" not in project.bench.log(job) and why in project.bench.log(job)


def test_a_command_that_fails(project: Project) -> None:
    job = project.build(script="#!/bin/sh\necho begun\n", environment="echo no cmake here; exit 3", workspace="clean")
    assert project.bench.result(job)["why"] == "environment (echo no cmake here; exit 3): it ended with status 3"
    assert "no cmake here" in project.bench.log(job) and "begun" not in project.bench.log(job)


def test_tools_are_verified_and_told(project: Project) -> None:
    project.told.write_text("one\ttool\tmake\nstuff\n")
    job = project.build(environment="make -s env", workspace="clean")
    assert project.rows(job)["component one tool make"].startswith("/usr/bin/make ")
    assert "environment: stuff" in project.bench.log(job)


def test_rows() -> None:
    rows, others = components.rows_of(b"a\tk\tv\nplain\na\tk\tw\nb\tx\t\n")
    assert components.by_component(rows) == {"a": {"k": "v, w"}, "b": {"x": ""}} and others == ["plain"]
    for bad in (b"", b"a\tb\n", b"\tk\tv\n", b"a\t\tv\n", b"a\tk\tv\tw\n"):
        with pytest.raises(CitError):
            components.rows_of(bad)
    with pytest.raises(CitError):
        components.directory_of("a", {"builddir": "../x"})
    assert components.directory_of("../x", {}) == "" and components.directory_of("lib/zlib", {}) == "lib/zlib"


def test_names_of_files(tmp_path: Path) -> None:
    """Whatever a file is called, it is known again."""
    for name in (b"\xff", b"tab\there", b"new\nline", "ü".encode(), b"-rf", b"\\x"):
        with open(os.path.join(os.fsencode(tmp_path), name), "w"):
            pass
    found = reuse.looked_at(str(tmp_path))
    assert len(found) == 6 and reuse.difference(found, reuse.looked_at(str(tmp_path))) == ""
    rows = body.rows(body.tsv(("file", path, *known) for path, known in found.items()))
    assert {row[1]: tuple(row[2:]) for row in rows} == found


def test_never_upon_what_a_killed_build_left(project: Project, tmp_path: Path) -> None:
    """kill -9 of its supervisor: how it ended is not known, so nothing is built upon it."""
    project.build()
    row = (".", str(project.place), "main", project.git("rev-parse", "HEAD").strip(), "-")
    script = f"#!/bin/sh\nuntil [ -e {tmp_path}/never ]; do sleep 0.05; done\n"
    job = project.bench.send(
        script, document.section("source", "tsv", body.tsv([row])), project.variables(), name="project", workspace="incremental", time="10m"
    )
    started = project.bench.start("--slots", "2")
    until(lambda: project.bench.runs(job))
    status = read_status(str(project.bench.record(job)))
    assert status is not None
    killed(status.shim)
    started.wait(60)
    assert project.bench.result(job)["state"] == "NODE_FAIL"
    after = project.build()
    assert project.lines(after) == BUILT and project.rows(after)["workspace why"] == "the build before did not end well"


def test_a_pass_that_was_killed_while_it_took_a_workspace_over(project: Project) -> None:
    """Before its links, before the other's go, and when all is done: the next pass lays the same job out in the same place."""
    bench = project.bench
    failed = project.build(script="#!/bin/sh\nexit 1\n", hold_on_failure="1h")
    place = project.workspace(failed)
    row = (".", str(project.place), "main", project.git("rev-parse", "HEAD").strip(), "-")
    said = {"name": "project", "restart": f"{failed.id}.a1"}
    job = bench.assigned(bench.job("#!/bin/sh\nmake -s\n", document.section("source", "tsv", body.tsv([row])), project.variables(), **said))
    mine = attempt.attempt_of(f"{job.id}.a1-project.cit", job, clock.now())
    link, theirs = bench.account / "work" / mine.own, bench.account / "work" / f"{failed.id}.a1-project"
    for killed_at in ("never", "before its own link", "before the other's went", "never"):
        if killed_at != "never":
            os.symlink(os.readlink(link), theirs)
        if killed_at == "before its own link":
            link.unlink()
        found, steps = attempt.laid_out(mine, bench.account, 2, mine.own)
        assert Path(found.workspace) == place and ["/bin/false"] not in steps, killed_at
        assert link.resolve() == place and not os.path.lexists(theirs), killed_at
    bench.give(job)
    bench.run("--slots", "2")
    assert bench.result(job)["state"] == "COMPLETED" and bench.log(job).splitlines()[-2:] == BUILT
