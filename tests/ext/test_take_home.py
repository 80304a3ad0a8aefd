"""Somebody's job run here, or by hand from the commands that set it up; and a job edited before it runs again (docs/howto/take-it-home.md)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cit_format.reader import parse
from tests.int.cit_report.lived import Lived

NASTY = "a'b\"c $(touch /tmp/never) `id` \\ * ; & | <x> -rf\n\ttwo %s"
SCRIPT = """#!/bin/sh -e
printf '%s\\n' "$NASTY" "$CIT_JOB_NAME"; pwd | sed 's,.*/,,'
cat ../main.c ../brought/file; cat "$CIT_WORKSPACE/.cit/config.tsv"
printf 'THE_END\\n'
git -C .. log --format=%s
exit 3
"""


@pytest.fixture
def home(tmp_path: Path) -> Lived:
    """A home with a git tree that has a commit which no remote has, a change that is in no commit, and a directory to start in."""
    home = Lived(tmp_path / "home")
    tree = home.directory / "tree"
    (tree / "sub dir").mkdir(parents=True)
    home.run("cit-init")
    (tree / "main.c").write_text("int main;\n")
    (tree / "sub dir" / "kept").touch()
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "published")
    git(home.directory, "clone", "-q", "--bare", "tree", "remote's.git")
    git(tree, "remote", "add", "origin", str(home.directory / "remote's.git"))
    git(tree, "fetch", "-q", "origin")
    git(tree, "commit", "-q", "--allow-empty", "-m", "not yet")
    (tree / "main.c").write_text("int main; // changed\n")
    (home.directory / "script").write_text(SCRIPT)
    (home.directory / "brought").mkdir()
    (home.directory / "brought" / "file").write_text("came along\n")
    return home


def git(place: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@sun", *words], cwd=place, check=True, capture_output=True)


def pushed(home: Lived) -> str:
    words = ["--source=tree/sub dir", "--dirty", "--builddir", "sub dir", "--files", "brought", "--config", "a=b c", "--export", f"NASTY={NASTY}"]
    made = home.completed("cit-trigger", "--name", "nasty", *words, "--script", "script")
    assert made.returncode == 0, made.stderr
    home.run("cit-queue", "--to", "@main", stdin=made.stdout)
    job = parse(made.stdout).id
    assert home.completed("cit-wait", job).returncode == 3
    return job


def of_job(log: str) -> str:
    """What the job itself printed."""
    return log[log.index("a'b\"c") :]


SHELLS = [["sh"], ["bash"], ["busybox", "sh"]]


def test_the_same_job_here_and_by_hand(home: Lived, tmp_path: Path) -> None:
    """The queue's run, cit try, and the printed commands in each shell print the same, and end with the same status."""
    job = pushed(home)
    log = home.run("cit-log", job)
    wanted = of_job(log)
    assert "came along" in wanted and "// changed" in wanted and "not yet\npublished\n" in wanted and NASTY in wanted
    before = sorted(str(path) for path in home.path.rglob("*") if "/try" not in str(path) and "/log/" not in str(path))
    tried = home.completed("cit-try", job)
    assert tried.returncode == 3 and of_job(tried.stdout.decode()) == wanted
    said = tried.stderr.decode()
    assert re.search(r"signed by ada@sun with SHA256:", said) and "it runs in " in said and "nothing was sent" in said
    assert sorted(str(path) for path in home.path.rglob("*") if "/try" not in str(path) and "/log/" not in str(path)) == before
    commands = home.run("cit-try", "--commands", job)
    (home.directory / "commands").write_text(commands)
    for shell in SHELLS:
        if not shutil.which(shell[0]):
            continue
        place = tmp_path / shell[0]
        place.mkdir()
        environment = {"PATH": os.environ["PATH"], "HOME": str(home.directory), "LANG": "C.UTF-8"}
        done = subprocess.run([*shell, home.directory / "commands"], cwd=place, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, of_job(done.stdout)) == (3, wanted), (shell, done.stderr)
        assert os.listdir(place) == [f"nasty-{job[-6:]}"]
    assert not Path("/tmp/never").exists()


def test_somebody_else_s_job(home: Lived, tmp_path: Path) -> None:
    """The job of a person whom no list here has is shown, and run only if that is wished; one that was changed never is."""
    bob = Lived(tmp_path / "bob")
    bob.directory.mkdir()
    bob.environment.update(CIT_USER="bob", CIT_HOST="moon")
    raw = bob.run("cit-trigger", "--name", "theirs", "--", "sh", "-c", "echo by $CIT_JOB_NAME; exit 4").encode()
    (home.directory / "theirs.cit").write_bytes(raw)
    said = home.completed("cit-try", "theirs.cit")
    assert said.returncode == 77 and b"which no list of this home has; it says that it is bob@moon" in said.stderr and said.stdout == b""
    assert "by $CIT_JOB_NAME" in home.run("cit-try", "--commands", "theirs.cit")
    tried = home.completed("cit-try", "--anyone", "theirs.cit")
    assert (tried.returncode, tried.stdout) == (4, b"by theirs\n")
    again = home.completed("cit-try", "--anyone", "./theirs.cit")
    assert again.returncode == 4, "as often as one likes"
    (home.directory / "changed.cit").write_bytes(raw.replace(b"exit 4", b"exit 5"))
    for words in (["--anyone"], ["--commands"]):
        assert home.completed("cit-try", *words, "changed.cit").returncode == 77


def test_what_cannot_be_had_here_is_said(home: Lived) -> None:
    """A secret of another builder; an array asks which task; a sealed script is not run."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home.directory / "other"], check=True)
    (home.directory / "token").write_text("very secret\n")
    seal = ["--secret", "TOKEN=@token", "--seal-to", "other.pub"]
    raw = home.run("cit-trigger", "--name", "sealed", *seal, "--", "sh", "-c", "echo ${CIT_SECRETS-none}").encode()
    (home.directory / "sealed.cit").write_bytes(raw)
    tried = home.completed("cit-try", "sealed.cit")
    assert (tried.returncode, tried.stdout) == (0, b"none\n") and b"not here: the secret TOKEN is sealed for SHA256:" in tried.stderr
    assert "# not here: the secret TOKEN" in home.run("cit-try", "--commands", "sealed.cit")
    (home.directory / "array.cit").write_bytes(home.run("cit-trigger", "--array", "3-5", "--", "sh", "-c", "echo task $CIT_TASK").encode())
    assert home.completed("cit-try", "array.cit").returncode == 2
    assert home.completed("cit-try", "--task", "4", "array.cit").stdout == b"task 4\n"
    (home.directory / "whole.cit").write_bytes(home.run("cit-trigger", "--seal-script", "--seal-to", "other.pub", "--", "true").encode())
    assert home.completed("cit-try", "whole.cit").returncode == 66
    assert home.completed("cit-try", "no-such.cit").returncode == 66 and home.completed("cit-try", "nothing").returncode == 66


def editor(home: Lived, script: str) -> None:
    path = home.directory / "my editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    (home.directory / "edit").write_text(f"#!/bin/sh\nexec '{path}' \"$@\"\n")
    (home.directory / "edit").chmod(0o755)
    home.environment["EDITOR"] = f"{home.directory}/edit"


def test_requeue_after_an_edit(home: Lived) -> None:
    """The document is changed before it is signed, as a new job with its parent; what is not changed, or is wrong, is not queued."""
    job = home.push("edit", "#!/bin/sh\necho first; exit 3\n", "--time", "10m")
    home.completed("cit-wait", job)
    editor(home, 'sed -i "s/echo first; exit 3/echo second/; s/^time = .*/time = \\"20m\\"/" "$1"')
    said = home.completed("cit-requeue", "--edit", "--wait", job)
    assert said.returncode == 0, said.stderr
    new = parse(home.run("cit-show", "--raw", "last").encode())
    assert (new.table("job")["parent"], new.table("job")["time"]) == (job, "20m") and home.run("cit-log", new.id) == "second\n"
    jobs = home.run("cit-ls", "--all", "--tsv")
    editor(home, "exit 0")
    same = home.completed("cit-requeue", "--edit", job)
    assert same.returncode == 1 and b"it was not changed, so nothing is queued" in same.stderr
    editor(home, 'sed -i "s/^time = .*/time = 10/" "$1"')
    wrong = home.completed("cit-requeue", "--edit", job, TMPDIR=str(home.directory))
    assert wrong.returncode == 65 and b"time" in wrong.stderr, wrong.stderr
    [kept] = home.directory.glob("requeue-*")
    assert "echo first" in kept.read_text() and home.run("cit-ls", "--all", "--tsv") == jobs
    editor(home, "exit 1")
    assert home.completed("cit-requeue", "-e", job).returncode == 1 and home.run("cit-ls", "--all", "--tsv") == jobs
