"""cit.sh, the functions for stages in shell, under every shell at hand and with the real ssh-keygen (docs/format/signatures.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CIT_SH = Path(__file__).resolve().parents[2] / "cit_format/sh/cit.sh"
HEAD = "@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g zlib\n"
SCRIPT = "#!/bin/sh\n@end script\n@@cit 1\n@endless\n"
PLAIN_TOOLS = ["awk", "sed", "grep", "head", "tail", "od", "tr", "mktemp", "base64", "rm", "sh", "cat"]


class Shell:
    """A shell in a directory with a key: runs commands after cit.sh."""

    def __init__(self, command: list[str], folder: Path, path: str) -> None:
        self.command, self.folder, self.path = command, folder, path
        self.fingerprint = make_key(folder / "key", "ed25519")
        public = (folder / "key.pub").read_text()
        (folder / "allowed signers").write_text(f'# who may\nada@sun namespaces="cit-job,cit-control" {public}')

    def run(self, script: str, stdin: str = "", **env: str) -> tuple[int, str, str]:
        """Status, stdout, stderr."""
        env = {"PATH": self.path, "HOME": str(self.folder), **env}
        command = [*self.command, "-c", f". {CIT_SH}; {script}"]
        done = subprocess.run(command, cwd=self.folder, env=env, input=stdin.encode(), capture_output=True)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def verify(self, identity: str = "ada@sun", namespace: str = "cit-job", revoked: str = "", **env: str) -> tuple[int, str]:
        """Status of cit_verify and its last word: the fingerprint, or what is wrong."""
        status, stdout, stderr = self.run(f"cit_verify d.cit 'allowed signers' {identity} {namespace} {revoked}", **env)
        return status, (stdout or stderr).strip()

    def document(self, text: str) -> None:
        (self.folder / "d.cit").write_bytes(text.encode())

    def job(self, more: str = "") -> str:
        """A job by the key, not signed yet."""
        toml = f'submitter = "ada@sun"\nkey = "{self.fingerprint}" # mine\ncpus = 2 # two\ntags = ["a", "b"]\n'
        quoted = SCRIPT.replace("@end script", "@@end script").replace("@@cit", "@@@cit")
        return f"{HEAD}@begin job 1 toml\n{toml}@end job\n@begin script 1 sh x= name=two%20words%25\n{quoted}@end script\n{more}"

    def signed(self, text: str, key: str = "key", namespace: str = "cit-job", attributes: str = "") -> str:
        """The text with a signature that ssh-keygen makes."""
        (self.folder / "text").write_text(text)
        (self.folder / "text.sig").unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", namespace, "text"], cwd=self.folder, check=True, capture_output=True)
        armour = (self.folder / "text.sig").read_text()
        return f"{text}@begin signature 1 sshsig {attributes or f'by=ada@sun ns={namespace}'}\n{armour}@end signature\n"


def make_key(path: Path, kind: str, *more: str) -> str:
    """Its fingerprint."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path), *more], check=True)
    return subprocess.run(["ssh-keygen", "-lf", str(path)], check=True, capture_output=True, text=True).stdout.split()[1]


@pytest.fixture(params=["dash", "bash", "busybox sh", "busybox sh and tools"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    command = str(request.param).split()[:2] if "busybox" in request.param else [request.param]
    program = shutil.which(command[0])
    if not program or not shutil.which("ssh-keygen"):
        pytest.skip(f"{command[0]} or ssh-keygen is not installed")
    path = os.defpath
    if request.param.endswith("tools"):  # those of busybox before the system's
        tools = tmp_path / "tools"
        tools.mkdir()
        for tool in PLAIN_TOOLS:
            (tools / tool).symlink_to(program)
        path = f"{tools}:{path}"
    yield Shell(command, tmp_path, path)


def test_sections_and_attributes_are_those_that_are_signed(shell: Shell) -> None:
    late = "@begin script 1 sh name=late\nrm -rf /\n@end script\n@begin event 1 tsv\n@end event\n"
    shell.document(shell.signed(shell.job("@begin files 1 tar enc=base64\nYQBi\n@end files\n@begin note 1 text\n@end note\n")) + late)
    assert shell.run("cit_section d.cit script") == (0, SCRIPT, "")
    assert shell.run("cit_section d.cit files") == (0, "a\0b", "")
    assert shell.run("cit_section d.cit note") == (0, "", "")
    assert shell.run("cit_section d.cit event") == (66, "", "")
    assert shell.run("cit_section d.cit scr") == (66, "", "")
    assert shell.run("cit_attr d.cit script name") == (0, "two words%", "")
    assert shell.run("cit_attr d.cit script x") == (0, "", "")
    assert shell.run("cit_attr d.cit script nam") == (66, "", "")
    assert shell.run("cit_attr d.cit event x") == (66, "", "")
    assert shell.run("cit_value d.cit job submitter; cit_value d.cit job cpus; cit_value d.cit job tags") == (0, 'ada@sun\n2\n["a", "b"]\n', "")
    assert shell.run("cit_signed d.cit") == (0, (shell.folder / "text").read_text(), "")
    assert shell.run("cit_value d.cit job time") == (66, "", "")
    assert shell.run("cit_value d.cit event time") == (66, "", "")
    shell.document(shell.job().replace("cpus = 2", 'why = "a \\"b\\" # c\\\\" # d\ncpus = 1\ncpus = 2'))
    assert shell.run("cit_value d.cit job why") == (0, 'a "b" # c\\\n', "")
    assert shell.run("cit_value d.cit job cpus") == (65, "", "")


def test_quoting_and_back(shell: Shell) -> None:
    body = "@cit 1\n@begin\n@@end x\n@citx\n @cit\n@cit\t\nx @end\n@end \n"
    quoted = "@@cit 1\n@@begin\n@@@end x\n@citx\n @cit\n@cit\t\nx @end\n@@end \n"
    assert shell.run("cit_quote", body) == (0, quoted, "")
    assert shell.run("cit_unquote", quoted) == (0, body, "")


def test_good_signature_gives_the_fingerprint(shell: Shell) -> None:
    shell.document(shell.signed(shell.signed(shell.job())) + "@begin note 1 text\nlater\n@end note\n")
    assert shell.verify() == (0, shell.fingerprint)
    shell.document(shell.signed(HEAD + "@begin control 1 toml\n@end control\n", namespace="cit-control", attributes="ns=cit-control by=ada@sun x=1"))
    assert shell.verify(namespace="cit-control") == (0, shell.fingerprint)


def test_what_is_not_signed_so_is_refused(shell: Shell) -> None:
    good = shell.signed(shell.job())
    for what, text, status, said in [
        ("byte changed", good.replace("cpus = 2", "cpus = 3"), 77, "does not verify"),
        ("blank added", good.replace("@begin script 1 sh x=", "@begin script 1 sh x= "), 77, "does not verify"),
        ("section added before", good.replace("@begin signature", "@begin note 1 text\n@end note\n@begin signature"), 77, "does not verify"),
        ("no signature", shell.job(), 77, "no signature"),
        ("another namespace in the signature", shell.signed(shell.job(), "key", "cit-control", "by=ada@sun ns=cit-job"), 77, "does not verify"),
        ("another namespace in the line", shell.signed(shell.job(), "key", "cit-job", "by=ada@sun ns=cit-control"), 77, "not signed by"),
        ("another person in the line", shell.signed(shell.job(), "key", "cit-job", "by=eve@sun ns=cit-job"), 77, "not signed by"),
        ("signature of a later version", good.replace("signature 1 sshsig", "signature 2 sshsig"), 65, "unknown version"),
        ("job of a later version", shell.signed(shell.job().replace("job 1 toml", "job 2 toml")), 65, "unknown version"),
        ("text after the armour", good.replace("-----END SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\nextra\n"), 77, "armour"),
        ("text before the armour", good.replace("-----BEGIN SSH SIGNATURE-----\n", "extra\n-----BEGIN SSH SIGNATURE-----\n"), 77, "armour"),
        ("half an armour", good.replace("-----END SSH SIGNATURE-----\n", ""), 77, "armour"),
        ("second job", shell.signed(shell.job("@begin job 1 toml\n@end job\n")), 65, "second job"),
        ("second job behind", good + "@begin job 1 toml\n@end job\n", 65, "second job"),
        ("script behind", good + "@begin script 1 sh\n@end script\n", 65, "after the signature"),
        ("two documents", good + HEAD, 65, "no single"),
        ("torn end", good[:-1], 65, "no single"),
        ("another key in the job", shell.signed(shell.job().replace(shell.fingerprint, "SHA256:" + "A" * 43)), 77, "another key"),
        ("another submitter in the job", shell.signed(shell.job().replace('"ada@sun"', '"eve@sun"')), 77, "another submitter"),
    ]:
        shell.document(text)
        got, why = shell.verify()
        assert (got, said in why) == (status, True), (what, got, why)
    shell.document(good)
    assert shell.verify()[0] == 0


def test_who_may_sign(shell: Shell) -> None:
    public = (shell.folder / "key.pub").read_text()
    shell.document(shell.signed(shell.job()))
    (shell.folder / "revoked keys").write_text(public)
    assert shell.verify(revoked="'revoked keys'")[0] == 77
    make_key(shell.folder / "other", "ed25519")
    (shell.folder / "revoked keys").write_text((shell.folder / "other.pub").read_text())
    assert shell.verify(revoked="'revoked keys'") == (0, shell.fingerprint)
    for line, status, said in [
        (f"ada@sun {public}", 78, "line 2 "),
        (f'*@sun namespaces="cit-job" {public}', 78, "line 2 "),
        (f'ada@sun namespaces="cit-queue" {public}', 77, "does not verify"),
        (f'eve@sun namespaces="cit-job" {public}', 77, "does not verify"),
        (f'ada@sun namespaces="cit-job" {(shell.folder / "other.pub").read_text()}', 77, "does not verify"),
        (f'ada@sun valid-before="20261101000000Z",namespaces="cit-job" {public}', 77, "does not verify"),
        (f'ada@sun valid-before="20261201000000Z",namespaces="cit-job" {public}', 0, "SHA256"),
    ]:
        (shell.folder / "allowed signers").write_text(f"# who may\n{line}")
        status_got, why = shell.verify(CIT_NOW="2026-11-23T20:26:11Z")
        assert (status_got, said in why) == (status, True), (line, why)


def test_rsa_from_2048_bits(shell: Shell) -> None:
    for bits, status in [("1024", 77), ("2048", 0)]:
        name = f"rsa{bits}"
        shell.fingerprint = make_key(shell.folder / name, "rsa", "-b", bits)
        (shell.folder / "allowed signers").write_text(f'ada@sun namespaces="cit-job" {(shell.folder / f"{name}.pub").read_text()}')
        shell.document(shell.signed(shell.job(), key=name))
        assert shell.verify()[0] == status
