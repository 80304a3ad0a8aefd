"""Kept files and logs, fetched from this account: as the builder signed them, opened where they are sealed to the reader."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cit_format import keys, reader
from cit_report import fetch
from cit_report.cit_format import body, document
from tests.int.cit_report.lived import Lived

CANARY = f"canary-{os.urandom(6).hex()}"
SCRIPT = f"#!/bin/sh\nmkdir -p lib/deep\necho {CANARY[::-1]} | rev | tee out.txt lib/deep/z 'a b'\n"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Jobs that have kept: in the clear; all for their author; the log for ben alone, and the files for both."""
    directory = tmp_path_factory.mktemp("fetched") / "home"
    directory.mkdir()
    made = Lived(directory)
    made.run("cit-ls")
    keys.generate(directory / "ben", "ben@moon")
    subprocess.run(["age-keygen", "-o", directory / "age.key"], check=True, capture_output=True)
    age = made.run("age-keygen", "-y", "age.key").strip()
    keep = ("--keep", "*.txt", "--keep", "lib", "--keep", "a b")
    made.push("plain", SCRIPT, *keep)
    made.push("sealed", SCRIPT, *keep, "--seal-results")
    made.push("bens", SCRIPT, *keep, "--reply", ".log=ben.pub", "--reply", f".={age}", "--reply", ".=ben.pub")
    made.push("bare", "#!/bin/sh\n", "--seal-results")
    made.run("cit-wait", "-q", "plain", "sealed", "bens", "bare")
    return made


def tree(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


ALL = {"out.txt": f"{CANARY}\n", "lib/deep/z": f"{CANARY}\n", "a b": f"{CANARY}\n"}


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["plain", "sealed"])
def test_all_and_some(lived: Lived, tmp_path: Path, job: str) -> None:
    said = lived.run("cit", "fetch", job, ".", tmp_path / "all")
    assert tree(tmp_path / "all") == ALL and sorted(said.splitlines()) == sorted(str(tmp_path / "all" / name) for name in ALL)
    lived.run("cit", "fetch", job, "lib", tmp_path / "some")
    assert list(tree(tmp_path / "some")) == ["lib/deep/z"]
    lived.run("cit", "fetch", job, ".log", tmp_path / "log")
    assert list(tree(tmp_path / "log").values()) == [f"{CANARY}\n"]
    assert [name.endswith(f"-{job}.log") for name in tree(tmp_path / "log")] == [True]
    lived.run("cit", "fetch", job, ".", tmp_path / "all")  # again: the same
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "all").rglob("*") if path.is_file()}
    assert modes == {0} if job == "sealed" else modes != {0}


def test_left_sealed(lived: Lived, tmp_path: Path) -> None:
    """age(1) opens them."""
    lived.run("cit-fetch", "--sealed", "sealed", ".", tmp_path)
    assert sorted(tree_names(tmp_path)) == ["a b.age", "lib/deep/z.age", "out.txt.age"]
    for path in tmp_path.rglob("*.age"):
        assert lived.run("age", "-d", "-i", lived.path / "id_ed25519", path) == f"{CANARY}\n"


def tree_names(directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]


def test_sealed_to_others(lived: Lived, tmp_path: Path) -> None:
    """77 says who can; with one of their keys it opens, also with one of age's."""
    refused = lived.completed("cit", "fetch", "bens", ".", tmp_path / "none")
    ben = keys.load(lived.directory / "ben").public.fingerprint
    assert refused.returncode == 77 and ben in refused.stderr.decode() and tree_names(tmp_path / "none") == []
    for key in ("ben", "age.key"):
        lived.run("cit", "fetch", "-i", key, "bens", "out*", tmp_path / key)
        assert tree(tmp_path / key) == {"out.txt": f"{CANARY}\n"}
    assert lived.completed("cit", "fetch", "-i", "age.key", "bens", ".log", tmp_path / "x").returncode == 77
    assert lived.completed("cit", "fetch", "-i", "nokey", "bens", ".log", tmp_path / "x").returncode == 66


def test_never_over_another_file(lived: Lived, tmp_path: Path) -> None:
    for job in ("plain", "sealed"):
        (tmp_path / "out.txt").write_text("mine")
        refused = lived.completed("cit", "fetch", job, ".", tmp_path)
        assert refused.returncode == 1 and b"there already" in refused.stderr and (tmp_path / "out.txt").read_text() == "mine"
        assert (tmp_path / "a b").exists()  # the others came
        lived.run("cit", "fetch", "-f", job, ".", tmp_path)
        assert tree(tmp_path) == ALL


def test_what_is_not_there(lived: Lived, tmp_path: Path) -> None:
    assert lived.completed("cit", "fetch", "plain", "*.deb", tmp_path).returncode == 66
    assert lived.completed("cit", "fetch", "bare", ".", tmp_path).returncode == 66
    assert lived.completed("cit", "fetch", "nojob").returncode == 66


def test_other_bytes_than_signed(lived: Lived, tmp_path: Path) -> None:
    """Shorter, longer, changed; a file that is gone: nothing of it gets a name, the others come."""
    home = tmp_path / "home"
    shutil.copytree(lived.directory, home, symlinks=True)
    other = Lived(home)
    [row] = [row for row in rows(other, "sealed") if row[2].endswith("out.txt.age")]
    stored = home / ".cit/store" / row[0]
    content = stored.read_bytes()
    stored.chmod(0o600)
    for bad in (content[:-1], content + b"x", content[:-1] + b"x", b""):
        stored.write_bytes(bad)
        refused = other.completed("cit", "fetch", "sealed", ".", tmp_path / "here")
        assert refused.returncode == 65 and b"other bytes" in refused.stderr
        assert sorted(tree_names(tmp_path / "here")) == ["a b", "lib/deep/z"]
    stored.unlink()
    assert other.completed("cit", "fetch", "sealed", ".", tmp_path / "here").returncode == 66


def rows(lived: Lived, job: str) -> list[list[str]]:
    job_document = reader.parse(lived.run("cit-show", "--raw", job).encode())
    return [row for section in job_document.all("artefact") for row in section.rows()]


def signed_with(*artefacts: str) -> document.Document:
    """A job that wanted *.txt and lib, whose builder lists these files."""
    keep = document.section("keep", "tsv", b"*.txt\nlib\n")
    listed = document.section("artefact", "tsv", body.tsv(("0" * 64, "1", f"work/x/{path}") for path in artefacts))
    signature = document.section("signature", "sshsig", b"-\n", by="a@b", ns="cit-job")
    return document.new("x", document.section("job", "toml", b""), keep, signature, listed)


def test_builder_that_lists_what_nobody_asked_for() -> None:
    """What leads out, hides, or was not wanted, does not come."""
    good = ["a.txt", "lib/x", "lib/.y"]
    bad = ["../a.txt", "/a.txt", "lib/../../a.txt", "lib//x", "./a.txt", "b.sh", ".bashrc", ".a.txt", "d/a.txt", "lib/\0", ""]
    assert [each.name for each in fetch.kept(signed_with(*good, *bad)) if "/" in each.path.removeprefix("work/")] == good


# --- logs -------------------------------------------------------------------------------------------------------------


def test_log_is_opened(lived: Lived) -> None:
    assert lived.run("cit", "log", "sealed") == lived.run("cit", "log", "plain") == f"{CANARY}\n"
    refused = lived.completed("cit", "log", "bens")
    assert refused.returncode == 77 and b"opens with SHA256:" in refused.stderr and CANARY.encode() not in refused.stdout
    assert lived.run("cit", "log", "-i", "ben", "bens") == f"{CANARY}\n"
    assert lived.run("cit", "log", "--path", "sealed").endswith(".log.age\n")
    for view in (["show"], ["why"], ["trace"], ["show", "--raw"]):
        assert CANARY not in lived.run("cit", *view, "sealed")
    assert ".log.age" in lived.run("cit", "show", "sealed") and "cit log" in lived.run("cit", "why", "sealed")


def test_log_that_is_followed(lived: Lived) -> None:
    """From before its end on, and after it."""
    stop = lived.directory / "stop"
    lived.push("long", f"{SCRIPT}until [ -e {stop} ]; do sleep 0.02; done\necho over\n", "--seal-results")
    followed = subprocess.Popen(["cit", "log", "-f", "long"], env=lived.environment, cwd=lived.directory, stdout=subprocess.PIPE)
    assert followed.stdout is not None and followed.stdout.readline() == f"{CANARY}\n".encode()
    refused = lived.completed("cit-queue", "--door", f"log {next((lived.path / 'work').glob('*-long.log')).stem} 0")
    assert refused.returncode == 66 and CANARY.encode() not in refused.stdout
    stop.touch()
    assert followed.communicate(timeout=30)[0] == b"over\n"
    lived.run("cit-wait", "-q", "long")
    assert lived.run("cit", "log", "-f", "long") == f"{CANARY}\nover\n"


def test_nothing_of_it_lies_around(lived: Lived) -> None:
    """Only what was not sealed: the plain job's files."""
    own = [path for path in lived.path.rglob("*") if path.is_file() and not path.is_symlink() and CANARY.encode() in path.read_bytes()]
    assert all("plain" in str(path) or path.parent.name == "store" for path in own), own
    assert len([path for path in own if path.parent.name == "store"]) == 1


def test_key_with_a_passphrase(lived: Lived, tmp_path: Path) -> None:
    """Asked for on the terminal; 77 where there is none."""
    home = tmp_path / "home"
    shutil.copytree(lived.directory, home, symlinks=True)
    other = Lived(home)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", home / ".cit/id_ed25519"], check=True, capture_output=True)
    ended = subprocess.run(["setsid", "-w", "cit", "log", "sealed"], env=other.environment, cwd=home, capture_output=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == 77 and b"passphrase" in ended.stderr
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home)
        os.execvpe("cit", ["cit", "log", "sealed"], other.environment)
    said = b""
    end = time.monotonic() + 20
    while b"passphrase of" not in said and time.monotonic() < end:
        said += os.read(terminal, 1024)
    os.write(terminal, b"secret\n")
    try:
        while CANARY.encode() not in said:
            said += os.read(terminal, 1024)
    except OSError:
        pass  # its end
    assert os.waitpid(pid, 0)[1] == 0 and CANARY.encode() in said
    os.close(terminal)
