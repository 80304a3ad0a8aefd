"""A person's home with real programs in it: cit, git, ssh-keygen, sh."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from cit_format import reader
from cit_format.document import Document

BIN = Path(__file__).resolve().parents[3] / "bin"

# What no shell, option parser, TSV reader or path may take for anything but text.
NASTY = [
    "",
    " ",
    "a b",
    "tab\tin it",
    "two\nlines",
    "\n",
    "cr\rhere",
    "'",
    '"',
    "it's",
    "\\",
    "\\n",
    "$HOME",
    "$(touch gone)",
    "`touch gone`",
    "${IFS}x",
    "; touch gone",
    "&& touch gone",
    "| tee gone",
    "> gone",
    "*",
    "?",
    "[a-z]",
    "~",
    "~root",
    "a=~/x",
    "{a,b}",
    "{}",
    "#",
    "# no comment",
    "!",
    "!!",
    "-n",
    "--",
    "-oProxyCommand=touch gone",
    "--upload-pack=touch gone",
    "@end script",
    "x\n@end script\n@begin job 1 toml",
    "@@begin",
    "%s%n",
    "\x1b[31mred",
    "\x07\x08\x7f",
    "ä€😀",
    "\u202egnp.exe",
    "\ufeff",
    "\udcff\udc80",  # bytes that are no UTF-8, as Python has them in arguments
    "a" * 5000,
]


class Desk:
    """One home; `here` is where the person is."""

    def __init__(self, directory: Path, **more: str) -> None:
        self.home = directory
        self.here = directory / "here"
        self.here.mkdir(exist_ok=True)
        self.environment = {
            "HOME": str(directory),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": "2026-11-23T20:26:11Z",
            "GIT_COMMITTER_DATE": "2026-11-23T20:26:11Z",
            **more,
        }

    def run(self, *argv: str, stdin: bytes = b"", at: Path | None = None, status: int = 0, **more: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, which has to be `status`."""
        ended = subprocess.run(argv, cwd=at or self.here, env={**self.environment, **more}, input=stdin, capture_output=True, check=False)
        assert ended.returncode == status, f"{argv[:6]}: status {ended.returncode}\n{ended.stderr.decode(errors='replace')}"
        return ended

    def made(self, *argv: str, stdin: bytes = b"", at: Path | None = None, **more: str) -> list[Document]:
        """The documents that cit-trigger makes of this command line."""
        return documents(self.run("cit-trigger", *argv, stdin=stdin, at=at, **more).stdout)

    def one(self, *argv: str, stdin: bytes = b"", at: Path | None = None, **more: str) -> Document:
        """The only document that it makes."""
        (made,) = self.made(*argv, stdin=stdin, at=at, **more)
        return made

    def refused(self, *argv: str, status: int, stdin: bytes = b"", at: Path | None = None) -> tuple[str, str]:
        """What cit-trigger complains of, and its hint; it writes no document."""
        ended = self.run("cit-trigger", *argv, stdin=stdin, at=at, status=status)
        said = ended.stderr.decode(errors="backslashreplace")
        found = re.search(r": error: (.*)\nhint: (.*)\n", said)
        assert found, said
        assert ended.stdout == b"" and "Traceback" not in said
        return found[1], found[2]

    def git(self, *words: str, at: Path | None = None, stdin: bytes = b"") -> str:
        """What git says."""
        return self.run("git", *words, at=at, stdin=stdin).stdout.decode().rstrip("\n")

    def commit(self, at: Path, **files: str) -> str:
        """Write files, commit all that is there: the commit."""
        for name, text in files.items():
            path = at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A", at=at)
        self.git("commit", "-q", "--allow-empty", "-m", "a change", at=at)
        return self.git("rev-parse", "HEAD", at=at)

    def tree(self, name: str = "tree", remote: str = "") -> Path:
        """A new git tree with one commit; with a remote of its own that has it, if one is named."""
        top = self.here / name
        self.git("init", "-q", str(top))
        self.commit(top, **{"main.c": "int main;\n"})
        if remote:
            self.git("init", "-q", "--bare", str(self.home / remote))
            self.git("remote", "add", "origin", str(self.home / remote), at=top)
            self.git("push", "-q", "-u", "origin", "main", at=top)
        return top


def documents(stream: bytes) -> list[Document]:
    """The documents of a stream, each of which must parse."""
    found = list(reader.documents(reader.reader_of(stream)))
    assert all(isinstance(each, Document) for each in found), found
    return [each for each in found if isinstance(each, Document)]


def rows(job: Document, kind: str) -> list[list[str]]:
    """The rows of the section of this kind; none where there is none."""
    section = job.find(kind)
    return section.rows() if section else []


def verified(job: Document, allowed: Path, by: str = "ada@sun") -> bool:
    """Whether ssh-keygen agrees with a job's first signature, cut out as a shell would."""
    signature = job.find("signature")
    assert signature
    armour = allowed.with_name("signature")
    armour.write_bytes(signature.body())
    command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", by, "-n", "cit-job", "-s", str(armour)]
    cut = subprocess.run(["sed", "/^@begin signature /,$d"], input=job.raw, capture_output=True, check=True).stdout
    return subprocess.run(command, input=cut, capture_output=True, check=False).returncode == 0
