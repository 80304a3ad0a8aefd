"""Real projects from the registries, whose own tests pass as jobs: one in C, one in Python, one of npm. The second push builds upon the first.

What was built again is counted in the log; `cit show` and `cit why` say why. Where a registry cannot be had, the test is skipped and says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.int.cit_report.lived import Lived

PATIENCE = 300  # seconds in which a registry, or a build, must have ended
# Variables that say how this machine reaches its registries.
ROADS = re.compile(r"(PIP_|npm_config_|NPM_CONFIG_)\w+|\w+_(PROXY|proxy)|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE")


def fetched(directory: Path, *commands: list[str]) -> None:
    """Get something from a registry; where that cannot be, the test is skipped."""
    for command in commands:
        try:
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"cannot be had: {error}")
        if done.returncode:
            pytest.skip(f"cannot be had: {' '.join(command)[:80]}: {done.stderr[-300:]}")


class Project(Lived):
    """A home with a project's git tree in it, which is pushed again and again."""

    def __init__(self, place: Path, source: Path, environment: str, build: str) -> None:
        super().__init__(place / "home")
        self.tree = self.directory / "project"
        self.directory.mkdir()
        shutil.copytree(source, self.tree, symlinks=True)
        self.told = environment
        self.build = build
        self.run("cit-init")
        self.git("init", "-q", "-b", "main")
        self.commit("as it was published")

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@sun", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=self.tree, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "-m", message)

    def pushed(self) -> str:
        """Push the tree as it is committed, wait for its end, which must be a good one; its log."""
        roads = [word for name, value in os.environ.items() if ROADS.fullmatch(name) for word in ("--export", f"{name}={value}")]
        asked = ["--workspace", "incremental", "--environment", self.told, "--name", "project", "--time", "10m", *roads]
        words = ["cit-push", "--wait", *asked, "--", "sh", "-e", "-c", self.build]
        done = subprocess.run(words, cwd=self.tree, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        log = self.run("cit-log", "last")
        assert done.returncode == 0, done.stderr + log[-3000:]
        return log

    def twice(self, file: str, line: str) -> tuple[str, str]:
        """The logs of a build and of the next one, in which a line more stands in one file."""
        first = self.pushed()
        assert "\nworkspace why\tthe first build of this name\n" in self.run("cit-format", "get", "environment", self.shown("--path"))
        with open(self.tree / file, "a") as stream:
            stream.write(line)
        self.commit("a line more")
        second = self.pushed()
        for said in (self.shown("--table"), self.run("cit-why", "last")):
            assert re.search(r"^built +incremental: upon \w{26}\.a1-project, which ended well at ", said, re.M), said
        return first, second

    def shown(self, option: str) -> str:
        return self.run("cit-show", option, "last").rstrip("\n")


@pytest.mark.skipif(not shutil.which("dpkg-source") or not shutil.which("gcc"), reason="no dpkg-source or gcc on this machine")
def test_zlib_in_c(tmp_path: Path) -> None:
    """Debian's source package of zlib: configured once, then make compiles the one file that changed, and its own tests run again."""
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (tmp_path / "apt" / name).mkdir(parents=True)
    etc = Path("/etc/apt")
    for path in [etc / "sources.list", *etc.glob("sources.list.d/*")]:
        if path.exists():
            text = path.read_text()
            text = re.sub(r"(?m)^Types:.*", "Types: deb-src", text) if path.suffix == ".sources" else re.sub(r"(?m)^deb(?=\s)", "deb-src", text)
            (tmp_path / "apt" / "sources" / path.name).write_text(text)
    own = [f"Dir::Etc::sourcelist=/dev/null Dir::Etc::sourceparts={tmp_path}/apt/sources Dir::State::lists={tmp_path}/apt/lists"]
    own += [f"Dir::Cache={tmp_path}/apt/cache APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for each in " ".join(own).split() for word in ("-o", each))]
    fetched(tmp_path, [*apt, "update"], [*apt, "source", "--download-only", "zlib"])
    fetched(tmp_path, ["sh", "-c", "dpkg-source -q --no-check -x zlib_*.dsc source"])
    told = """printf 'build\\tcc\\t%s\\n' "$(cc --version | head -n 1)"; printf 'build\\ttool\\tmake\\n'"""
    project = Project(tmp_path, tmp_path / "source", told, "mkdir -p build; cd build; [ -e configure.log ] || ../configure; make; make test")
    first, second = project.twice("adler32.c", "/* a line more */\n")
    compiled = [re.findall(r"^gcc.* -c .*\b(\w+)\.c$", log, re.M) for log in (first, second)]
    assert set(compiled[1]) == {"adler32"} and len(set(compiled[0])) > 10, compiled
    assert "Checking for gcc" in first and "Checking for gcc" not in second
    assert all("*** zlib test OK ***" in log for log in (first, second))
    assert "component build: incremental, built with the same" in second


def test_six_in_python(tmp_path: Path) -> None:
    """The sdist of six: its environment is made once, its pytest suite runs each time."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-binary",
        ":all:",
        "-d",
        "sdist",
        "six==1.17.0",
    ]
    fetched(tmp_path, pip)
    with tarfile.open(next((tmp_path / "sdist").glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "source", [entry for entry in archive if entry.isreg() or entry.isdir()])
    [source] = (tmp_path / "source").iterdir()
    python = sys.executable
    told = f"""printf 'venv\\tpython\\t%s\\n' "$({python} --version)"; printf 'venv\\tsetup\\t%s\\n' "$(cksum <setup.py)" """
    make = f"{python} -m venv venv && venv/bin/pip install pytest && touch venv/made"
    project = Project(tmp_path, source, told, f"[ -e venv/made ] || {{ {make}; }}; venv/bin/pytest -q -p no:cacheprovider test_six.py")
    first, second = project.twice("six.py", "# a line more\n")
    assert "Successfully installed" in first and "Successfully installed" not in second
    passed = [re.findall(r"\b(\d+) passed", log) for log in (first, second)]
    assert passed[0] == passed[1] and int(passed[0][0]) > 100, passed


@pytest.mark.skipif(not shutil.which("npm") or not shutil.which("node"), reason="no node and npm on this machine")
def test_concat_map_of_npm(tmp_path: Path) -> None:
    """A package of npm with its own tests: npm ci once, npm test each time."""
    fetched(tmp_path, ["npm", "pack", "--silent", "concat-map@0.0.1"])
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        archive.extractall(tmp_path / "source", [entry for entry in archive if entry.isreg() or entry.isdir()])
    source = tmp_path / "source" / "package"
    fetched(source, ["npm", "install", "--silent", "--package-lock-only", "--no-audit", "--no-fund"])
    told = """printf 'node_modules\\tlock\\t%s\\n' "$(cksum <package-lock.json)"; printf 'node_modules\\ttool\\tnode\\n'"""
    project = Project(tmp_path, source, told, "[ -d node_modules ] || npm ci --no-audit --no-fund; npm test")
    first, second = project.twice("index.js", "// a line more\n")
    assert re.search(r"^added \d+ packages", first, re.M) and "added" not in second
    assert all(re.search(r"^# pass +\d+", log, re.M) and "not ok" not in log for log in (first, second)), second
