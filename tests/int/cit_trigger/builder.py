"""A builder's side of a job's sources: a workspace as cit-run lays it out, the step that fills it, and jobs as anyone could write them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cit_run import attempt, checkout
from cit_run.cit_format import body, document
from cit_run.cit_format.document import Document


class Builder:
    """A workspace with its record and log, as cit-run lays them out."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.workspace, self.record, self.log = directory / "zlib/0", directory / "ID.run", directory / "ID.log"
        self.environment = environment
        self.workspace.mkdir(parents=True)
        self.record.mkdir()
        (self.workspace / ".cit").symlink_to("../../ID.run")

    def step(self, job: Document, status: int = 0) -> None:
        """The step as a shim runs it: a process of its own, its output the log."""
        (self.record / checkout.INPUT).write_bytes(job.raw)
        argv = attempt.step("checkout", str(self.record), str(self.workspace))
        with self.log.open("ab") as log:
            ended = subprocess.run(argv, cwd=self.workspace, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        assert ended.returncode == status, self.log.read_text()

    def why(self) -> str:
        """What the step says of its failure."""
        return body.rows((self.record / "why").read_bytes())[0][0]

    def files(self) -> dict[str, bytes]:
        """All files of the workspace but git's and cit's own."""
        found = (path for path in self.workspace.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(self.workspace)): path.read_bytes() for path in found if ".git" not in path.parts and ".cit" not in path.parts}


def job_with(*sections: bytes) -> Document:
    """A job as anyone could write it."""
    return document.new("zlib", document.section("job", "toml", b""), *sections)


def source(*table: tuple[str, str, str]) -> bytes:
    """A `source` section: path, url, commit."""
    return document.section("source", "tsv", body.tsv((path, url, "main", commit, "-") for path, url, commit in table))
