"""--reply and --seal-results: the section that says for whom results are encrypted."""

from __future__ import annotations

import subprocess

import pytest

from cit_format import keys
from cit_format.document import Document
from tests.int.cit_trigger.desk import Desk

COMMAND = ("--", "true")
AGE = "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"


def rows(job: Document) -> list[list[str]]:
    section = job.find("reply")
    return section.rows() if section else []


def own(desk: Desk) -> str:
    return " ".join(keys.load(desk.home / ".cit/id_ed25519").public.line.split()[:2])


def test_keys_in_every_form(desk: Desk) -> None:
    key = keys.generate(desk.here / "bob", "bob@moon").public.line
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", desk.here / "rsa"], check=True)
    two = " ".join((desk.here / "rsa.pub").read_text().split()[:2])
    (desk.here / "ours").write_text(f"# two\n{AGE}\n{two}\n")
    bare = " ".join(key.split()[:2])
    job = desk.one("--keep", "*.deb", "--reply", "*.deb=bob.pub", "--reply", f".log={AGE}", "--reply", f"x/y={key}", "--reply", "*=ours", *COMMAND)
    assert rows(job) == [["*.deb", bare], [".log", AGE], ["x/y", bare], ["*", AGE], ["*", two]]
    assert rows(desk.one(*COMMAND)) == []


def test_seal_results(desk: Desk) -> None:
    """Log and files for the author's own key, and for others where that is said."""
    desk.one(*COMMAND)
    assert rows(desk.one("--seal-results", *COMMAND)) == [[".log", own(desk)], [".", own(desk)]]
    assert rows(desk.one("--seal-results", "--reply", f".log={AGE}", *COMMAND)) == [[".log", AGE], [".log", own(desk)], [".", own(desk)]]
    rsa = desk.here / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", rsa], check=True)
    assert rows(desk.one("--seal-results", "--key", str(rsa), *COMMAND))[0][1].startswith("ssh-rsa ")


def test_own_key_that_will_not_do(desk: Desk) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", desk.here / "ecdsa"], check=True)
    what, hint = desk.refused("--seal-results", "--key", str(desk.here / "ecdsa"), *COMMAND, status=78)
    assert "ecdsa" in what and "--reply" in hint


def test_own_key_that_only_the_agent_has(desk: Desk) -> None:
    """Results can be sealed to it, and opened where its file is: said beforehand."""
    (desk.home / ".cit/id_ed25519").unlink()  # as in a home whose person had a key of theirs from the start
    ssh = desk.home / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / "id_ed25519"], check=True)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(desk.home / "agent")], stdout=subprocess.DEVNULL)
    try:
        socket = str(desk.home / "agent")
        for _ in range(100):
            if subprocess.run(["ssh-add", "-q", ssh / "id_ed25519"], env={"SSH_AUTH_SOCK": socket}, capture_output=True, check=False).returncode == 0:
                break
        (ssh / "id_ed25519").unlink()
        said = desk.run("cit-trigger", "--seal-results", *COMMAND, SSH_AUTH_SOCK=socket)
        assert b"is in no file here" in said.stderr and b"@begin reply 1 tsv" in said.stdout
    finally:
        agent.kill()
        agent.wait()


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        (("--reply", "*.deb"), 2, "--reply"),
        (("--reply", "../x=age1"), 2, "--reply"),
        (("--reply", f"*.deb={AGE}"), 2, "nothing is kept"),
        (("--keep", "*", "--reply", f"*={AGE[:-1]}p"), 65, "cannot be sealed"),
        (("--keep", "*", "--reply", "*=ssh-dss AAAA"), 65, "public key"),
        (("--reply", ".log=none.pub"), 66, "No such file"),
    ],
)
def test_what_does_not_fit(desk: Desk, words: tuple[str, ...], status: int, what: str) -> None:
    assert what in " ".join(desk.refused(*words, *COMMAND, status=status))


def test_of_a_document_by_hand(desk: Desk) -> None:
    """--sign adds no section: it must not look as if it did."""
    made = desk.run("cit-trigger", "-n", *COMMAND).stdout
    assert "--sign" in desk.refused("--sign", "--seal-results", stdin=made, status=2)[0]
    sealed = desk.run("cit-trigger", "-n", "--seal-results", *COMMAND).stdout
    assert rows(desk.one("--sign", stdin=sealed))[0] == [".log", own(desk)]
