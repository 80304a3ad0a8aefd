"""Workspaces: which directory a job gets, what is cleared and what stays, kept files; jobs that play tricks with links (docs/stages/run.md)."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

import pytest

from cit_run import keep, removal, workspace
from cit_run.cit_format import body, document
from cit_run.workspace import BUSY, FAILED, FREE, GOOD, Slot
from tests.int.cit_run.kit import Bench, until

ME = "ada@sun main@SHA256:Q"

# slots as they stand (state, changed, who may build upon it), slots of the builder, whose incremental build -> number, keeps
CHOICES = {
    "the first build": ([], 2, "", (0, False)),
    "the first incremental build": ([], 2, ME, (0, False)),
    "the path stays the same": ([(GOOD, 9)], 2, "", (0, False)),
    "the lowest that succeeded": ([(GOOD, 1), (GOOD, 9)], 2, "", (0, False)),
    "beside a running one": ([(BUSY, 9)], 2, "", (1, False)),
    "a failed one stays while there is another": ([(FAILED, 9), (GOOD, 1)], 2, "", (1, False)),
    "a failed one stays while the builder has slots": ([(FAILED, 9)], 2, "", (1, False)),
    "a failed one goes when its slot is wanted": ([(FAILED, 9)], 1, "", (0, False)),
    "of failed ones the oldest": ([(FAILED, 9), (FAILED, 3)], 2, "", (1, False)),
    "one that was never used": ([(FAILED, 9), (FREE, 0)], 2, "", (1, False)),
    "more at once than slots": ([(BUSY, 9), (BUSY, 8)], 2, "", (2, False)),
    "incremental": ([(GOOD, 1, ME), (GOOD, 9, ME)], 2, ME, (1, True)),
    "incremental after a failure": ([(GOOD, 1, ME), (FAILED, 9)], 2, ME, (0, True)),
    "incremental beside a running one": ([(BUSY, 9, ME), (GOOD, 1, ME)], 2, ME, (1, True)),
    "upon what nobody noted": ([(GOOD, 9)], 2, ME, (0, False)),
    "upon another's": ([(GOOD, 9, "bob@sun main@SHA256:Q")], 2, ME, (1, False)),
    "upon another queue's": ([(GOOD, 9, "ada@sun main@SHA256:R"), (GOOD, 1, ME)], 2, ME, (1, True)),
    "a clean one leaves it": ([(GOOD, 9, ME)], 2, "", (1, False)),
    "a clean one takes it where there is no other": ([(GOOD, 9, ME)], 1, "", (0, False)),
}


@pytest.mark.parametrize("what", CHOICES)
def test_choice(what: str) -> None:
    found, slots, owner, wanted = CHOICES[what]
    assert workspace.chosen([Slot(number, *each) for number, each in enumerate(found)], slots, owner) == wanted


def test_clean_builds_are_clean(bench: Bench) -> None:
    """A clean build finds an empty directory at the same path."""
    script = "#!/bin/sh\nls -A; pwd; touch $1 made-by-$CIT_JOB_ID; mkdir deep && touch deep/file\n"
    first = bench.send(script)
    bench.run("--slots", "1")
    second = bench.send(script)
    bench.run("--slots", "1")
    assert bench.log(first) == bench.log(second) and bench.log(first).startswith(".cit\n")
    assert os.listdir(bench.account / "work" / "job") and not list((bench.account / "work" / "job").glob(".old-*"))


def test_links_and_record(bench: Bench, tmp_path: Path) -> None:
    """A running job is found by its ID, and its record below `.cit`; the link by ID goes when its directory is taken."""
    first = bench.send(f"#!/bin/sh\npwd -P\nuntil [ -e {tmp_path}/stop ]; do sleep 0.02; done\n")
    started = bench.start("--slots", "1")
    until(lambda: bench.runs(first))
    link = bench.account / "work" / f"{first.id}.a1-job"
    assert os.readlink(link) == "job/0"
    pid = int((link / ".cit" / "pid").read_text())
    assert f"CIT_JOB_ID={first.id}" in Path(f"/proc/{pid}/environ").read_text().split("\0")
    assert "\trunning\tpid " in (link / ".cit" / "status").read_text()
    until(lambda: bench.log(first).endswith("/work/job/0\n"))
    (tmp_path / "stop").touch()
    assert started.wait(30) == 0
    assert link.exists()
    second = bench.send("#!/bin/sh\n")
    bench.run("--slots", "1")
    assert not os.path.lexists(link) and os.readlink(bench.account / "work" / f"{second.id}.a1-job") == "job/0"
    assert bench.log(first) and (bench.record(first) / "status").exists(), "log and record stay"


def test_name_that_looks_like_another_job_s_file(bench: Bench) -> None:
    """A job may be called as another one's record or link is; they do not meet."""
    first = bench.send("#!/bin/sh\n")
    bench.run()
    for suffix in ("", ".run", ".log"):
        named = bench.send("#!/bin/sh\npwd\n", name=f"{first.id}.a1-job{suffix}")
        bench.run()
        assert bench.log(named) == f"{bench.account.path}/work/_{first.id}.a1-job{suffix}/0\n"
    assert sorted(os.listdir(bench.record(first))) == ["pid", "script", "status"] and bench.log(first) == ""


TRICKS = {
    "a link to elsewhere": "ln -s $PRECIOUS link; ln -s $PRECIOUS/file file; mkdir -p a/b; ln -s $PRECIOUS a/b/link",
    "its record's link leads elsewhere": "rm .cit; ln -s $PRECIOUS .cit",
    "its record's link is a directory": "rm .cit; mkdir .cit; touch .cit/end .cit/lock; ln -s $PRECIOUS .cit/x",
    "its workspace is a link": "mv $CIT_WORKSPACE $CIT_WORKSPACE.gone; ln -s $PRECIOUS $CIT_WORKSPACE",
    "its workspace is a file": "cd ..; mv $CIT_WORKSPACE $CIT_WORKSPACE.gone; echo >$CIT_WORKSPACE",
    "its workspace is gone": "cd ..; rm -r $CIT_WORKSPACE",
    "its owner may not write it": "mkdir -p a/b/c; touch a/b/c/file a/file; chmod 0 a/b/c; chmod 500 a/b a .",
    "a pipe and a socket": "mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'",
    "names that are options": "touch -- -rf '*' ' ' .old-0; mkdir -p .old-1/.old-2/.old-1 -- --",
    "deep": 'python3 -c \'import os\nfor n in range(3000): os.mkdir("d"); os.chdir("d")\nopen("file", "w")\'',
    "its slot's link leads elsewhere": "ln -sfn $PRECIOUS ../.0",
}


@pytest.mark.parametrize("what", TRICKS)
@pytest.mark.parametrize("status", [0, 1])
def test_tricks_reach_nothing_outside(bench: Bench, tmp_path: Path, what: str, status: int) -> None:
    """Whatever a job leaves, the next clean build of its name is clean, and nothing outside has been touched."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious\n")
    variables = document.section("env", "tsv", body.tsv([("PRECIOUS", str(precious))]))
    bad = bench.send(f"#!/bin/sh\n{TRICKS[what]}\nexit {status}\n", variables)
    bench.run("--slots", "1")
    good = bench.send("#!/bin/sh\npwd -P\nls -A\n")
    said = bench.run("--slots", "1")
    assert said == "" and bench.result(bad)["exit"] == status
    place, *entries = bench.log(good).splitlines()
    assert entries == [".cit"] and place.startswith(f"{bench.account.path}/work/job/")
    assert os.listdir(precious) == ["file"] and (precious / "file").read_text() == "precious\n"
    assert not list((bench.account / "work" / "job").glob(".old-*")), "what was moved aside has been removed"


def test_removal_of_what_is_in_the_way(tmp_path: Path) -> None:
    """A file, a link and nothing at all are removed as such."""
    (tmp_path / "file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "inner").touch()
    (tmp_path / "link").symlink_to("target")
    for name in ("file", "link", "nothing"):
        removal.removed(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["target"] and (tmp_path / "target" / "inner").exists()


def test_removal_of_what_its_owner_may_not_write(tmp_path: Path) -> None:
    """Directories without any permission, at every depth, as a user whom permissions bind."""
    top = Path(tempfile.mkdtemp())
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.chown(top, 65534, 65534) if os.getuid() == 0 else None
            os.setuid(65534) if os.getuid() == 0 else None
            (top / "tree" / "a" / "b" / "c").mkdir(parents=True)
            for path, mode in (("a/b/c/file", 0), ("a/b/c", 0), ("a/b", 0o500), ("a", 0o300), ("", 0)):
                if path.endswith("file"):
                    (top / "tree" / path).touch()
                (top / "tree" / path).chmod(mode)
            removal.removed(str(top / "tree"))
            status = len(os.listdir(top))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    top.rmdir()


@pytest.mark.parametrize("status", [0, 1], ids=["succeeds", "fails"])
def test_kept_files(bench: Bench, status: int) -> None:
    """What the globs mean is in the store by its sha256, also of a failed job; no link leads out."""
    globs = ["*.txt", "out/*.bin", "out/*.bin", "tree", "no-such-*", "../../*", "/etc/passwd", ".hidden", "link*", "deep/*/x?"]
    script = "#!/bin/sh\necho a >a.txt; echo b >b.txt; echo n >.dot.txt; mkdir out tree tree/sub -p deep/1 deep/2\n"
    script += "head -c 300000 /dev/zero >out/zero.bin; echo t >tree/sub/.t; echo h >.hidden; mkfifo pipe.txt\n"
    script += f"ln -s /etc/passwd link.txt; ln -s /etc link; ln -s / tree/root; echo 1 >deep/1/x1; echo 2 >deep/2/x22\nexit {status}\n"
    job = bench.send(script, document.section("keep", "tsv", body.tsv([glob] for glob in globs)))
    bench.run()
    section = bench.finished(job).find("artefact")
    assert section is not None
    rows = {path: (digest, int(size)) for digest, size, path in section.rows()}
    own = f"work/{job.id}.a1-job"
    names = {"a.txt", "b.txt", "out/zero.bin", "tree/sub/.t", ".hidden", "deep/1/x1"}
    assert set(rows) == {f"{own}.log"} | {f"{own}/{name}" for name in names}
    for name in names:
        digest, size = rows[f"{own}/{name}"]
        content = (bench.account / "store" / digest).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest and len(content) == size == (bench.account / own / name).stat().st_size
        assert stat.S_IMODE((bench.account / "store" / digest).stat().st_mode) == 0o400
        assert (bench.account / "store" / digest).stat().st_nlink == 1, "a copy: the workspace's file may change"
    assert len([name for name in os.listdir(bench.account / "store") if len(name) == 64]) == len(names)


def test_large_log_is_an_artefact_too(bench: Bench) -> None:
    """From some size on its digest is made in the slot's time, not in the pass."""
    job = bench.send("#!/bin/sh\nhead -c 6000000 /dev/zero\n")
    bench.run()
    section = bench.finished(job).find("artefact")
    assert section is not None and section.rows()[0][:2] == [hashlib.sha256(bytes(6000000)).hexdigest(), "6000000"]
    assert (bench.record(job) / "artefacts").exists()


GLOBS = {"a": ["a"], "a/b*": ["a", "b*"], "./a//b/": ["a", "b"], "/a": None, "a/../b": None, "..": None, "": None, ".": []}


@pytest.mark.parametrize("glob", GLOBS)
def test_globs(glob: str) -> None:
    assert keep.parts_of(glob) == GLOBS[glob]


def test_sources_are_laid_out_first(bench: Bench) -> None:
    """What a job brings is there when its program starts; what cannot be laid out fails it before, with why."""
    config = document.section("config", "tsv", body.tsv([("mode", "debug")]))
    good = bench.send("#!/bin/sh\ncat .cit/config.tsv\n", config)
    row = ("lib", "/no/such/repository", "main", "0" * 40, "-")
    bad = bench.send("#!/bin/sh\necho begun\n", document.section("source", "tsv", body.tsv([row])), name="bad")
    bench.run()
    assert bench.log(good) == "mode\tdebug\n"
    result = bench.result(bad)
    assert (result["state"], result["exit"], result["signal"]) == ("FAILED", 125, 0)
    assert "cannot fetch from /no/such/repository" in str(result["why"]) and "begun" not in bench.log(bad)
