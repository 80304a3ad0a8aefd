"""cit allow: who is let in, with which key, where, until when; and out again (docs/howto/allow-people.md)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DOOR = re.compile(
    r'restrict,command="/[^" ]*/cit-queue --door=\\"\$SSH_ORIGINAL_COMMAND\\" --role (\w+) --for (\S+?)(?: --to (\S+))?" (\S+ \S+) (cit:\S+)'
)


class Desk:
    """A home with queues main and night, and keys of people in files."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.cit = directory, directory / ".cit"
        self.environment = {"HOME": str(directory), "PATH": f"{CHECKOUT}/bin:/usr/bin:/bin", "CIT_USER": "cit", "CIT_HOST": "sun", "LANG": "C.UTF-8"}
        self.run("cit init @night")
        for who in ("ada", "ben"):
            self.run(f"ssh-keygen -q -t ed25519 -N '' -C {who}@laptop -f {who}")

    def run(self, line: str, status: int = 0) -> tuple[str, str]:
        """stdout and stderr of a line of sh."""
        ended = subprocess.run(["sh", "-c", line], cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False)
        assert ended.returncode == status, (line, ended.returncode, ended.stdout, ended.stderr)
        return ended.stdout, ended.stderr

    def text(self, name: str, place: str = "queues/main") -> str:
        path = self.cit / place / name
        return path.read_text() if path.exists() else ""

    @property
    def authorized(self) -> Path:
        return self.directory / ".ssh" / "authorized_keys"

    def fingerprint(self, who: str) -> str:
        return self.run(f"ssh-keygen -lf {who}.pub")[0].split()[1]

    def blob(self, who: str) -> str:
        return (self.directory / f"{who}.pub").read_text().split()[1]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_key_is_listed_and_its_line_is_ready_to_paste(desk: Desk) -> None:
    said, _ = desk.run("cit allow ada@moon ada.pub @main")
    match = DOOR.fullmatch(said.strip())
    assert match and match.groups()[:3] == ("person", "ada@moon", "@main") and match[5] == "cit:@main:ada@moon" and desk.blob("ada") in match[4]
    assert desk.text("allowed_signers").endswith(f'ada@moon namespaces="cit-job" ssh-ed25519 {desk.blob("ada")}\n')
    assert desk.blob("ada") not in desk.text("allowed_signers", "queues/night") + desk.text("allowed_signers", ".")
    assert not desk.authorized.exists()
    assert desk.run("cit check .cit/queues/main/allowed_signers")[1] == ""
    before = desk.text("allowed_signers")
    assert "allowed already at @main" in desk.run("cit allow ada@moon ada.pub @main", 1)[1] and desk.text("allowed_signers") == before
    listed = [line.split("\t") for line in desk.run("cit allow")[0].splitlines()]
    assert ["@main", "ada@moon", "cit-job", "-", "-", "-", desk.fingerprint("ada")] in listed
    assert "allowed\tsun\tcit\tada@moon" in next((desk.cit / "queues/main/log").glob("*.tsv")).read_text()


def test_what_it_takes_for_a_key(desk: Desk) -> None:
    desk.run("cit allow ada@moon - @main < ada.pub")
    desk.run('cit allow ben@moon "$(cat ben.pub)" @main')
    desk.run("cit allow ada@moon ~/ada.pub @night")
    for words, status in (
        ("ada@moon nothing.pub @main", 66),
        ("ada@moon ada @main", 65),
        ("ada@moon /dev/null @main", 78),
        ('ada@moon "ssh-ed25519 nonsense" @main', 65),
        ("ada@moon @main", 2),
        ("ada ada.pub @main", 2),
        ("'*@moon' ada.pub @main", 2),
        ("eve@moon ada.pub @main", 78),  # it is ada's
        ("ada@moon ada.pub @none", 66),
        ("ada@moon ada.pub @main --until 2020-01-01", 2),
        ("ada@moon ada.pub --names 'nightly-*'", 2),
    ):
        before = desk.text("allowed_signers")
        assert "hint: " in desk.run(f"cit allow {words}", status)[1] and desk.text("allowed_signers") == before, words


def test_the_door_is_put_in_place_and_other_lines_stay(desk: Desk) -> None:
    desk.authorized.parent.mkdir(mode=0o700)
    mine = "# my own\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOther laptop"
    desk.authorized.write_text(mine)
    desk.authorized.chmod(0o600)
    assert desk.run("cit allow --door ada@moon ada.pub @main") == ("", "")
    lines = desk.authorized.read_text().splitlines()
    assert lines[:2] == mine.splitlines() and len(lines) == 3 and desk.authorized.stat().st_mode & 0o777 == 0o600
    desk.run("cit allow --door ada@moon ada.pub @night")
    desk.run("cit allow --door ada@moon ada.pub @night")
    lines = desk.authorized.read_text().splitlines()
    match = DOOR.fullmatch(lines[2])
    assert len(lines) == 3 and match and match.groups()[2] == "@main,@night" and match[5] == "cit:@main,@night:ada@moon"
    assert "one key is one role" in desk.run("cit allow --door ada@moon ada.pub", 78)[1]
    desk.run("cit allow --door ben@moon ben.pub")
    match = DOOR.fullmatch(desk.authorized.read_text().splitlines()[3])
    assert match and match.groups()[:3] == ("reader", "ben@moon", None) and desk.blob("ben") in desk.text("allowed_signers", ".")
    with open(desk.authorized, "a") as file:
        file.write(f"ssh-ed25519 {key_of(desk, 'extra')} extra\n")
    assert "for something else" in desk.run("cit allow --door eve@moon extra.pub @main", 78)[1]
    doors = {line.split("\t")[5] for line in desk.run("cit allow")[0].splitlines() if "ada@moon" in line}
    assert doors == {"person"}


def key_of(desk: Desk, who: str) -> str:
    desk.run(f"ssh-keygen -q -t ed25519 -N '' -f {who}")
    return desk.blob(who)


def test_more_rights_a_date_and_names(desk: Desk) -> None:
    desk.run("cit allow ada@moon ada.pub @main")
    desk.run("cit allow --control --read --until 2099-12-31 ada@moon ada.pub @main")
    assert f'ada@moon namespaces="cit-control,cit-read",valid-before="20991231235959Z" ssh-ed25519 {desk.blob("ada")}' in desk.text("allowed_signers")
    desk.run("cit allow --names 'nightly-*,release' ben@moon ben.pub @main")
    assert desk.text("allowed_names") == f"{desk.fingerprint('ben')}\tnightly-*,release\n"
    desk.run("cit check .cit/queues/main/allowed_names")
    key = key_of(desk, "eve")
    desk.run("cit allow --read eve@moon eve.pub @main")
    assert f'eve@moon namespaces="cit-read" ssh-ed25519 {key}\n' in desk.text("allowed_signers"), "to look is not to submit"
    for name, status in (("nightly-zlib", 0), ("release", 0), ("other", 77)):
        made = f"CIT_USER=ben CIT_HOST=moon cit-trigger -J {name} --queue @main --key ben -- true"
        _, said = desk.run(f"{made} | cit-queue --to @main", status)
        assert status == 0 or "this key may submit jobs named nightly-*, release" in said
    desk.run("cit allow --names 'other' ben@moon ben.pub @main")
    assert desk.text("allowed_names") == f"{desk.fingerprint('ben')}\tother\n"
    assert not desk.run("cit fsck")[0].count("allowed_names")


def test_a_revoked_key_is_out_everywhere_at_once(desk: Desk) -> None:
    desk.run("cit allow --door ada@moon ada.pub @main @night")
    desk.run("cit allow --door ben@moon ben.pub @main @night")
    before = desk.text("allowed_signers")
    desk.run("cit allow --revoke ada@moon @night")
    assert '--to @main"' in desk.authorized.read_text().splitlines()[0] and desk.text("allowed_signers") == before
    assert desk.blob("ada") in desk.text("revoked_keys", "queues/night") and desk.blob("ada") not in desk.text("allowed_signers", "queues/night")
    desk.run("cit allow --revoke ada@moon")
    assert desk.blob("ada") not in desk.authorized.read_text() and desk.blob("ben") in desk.authorized.read_text()
    assert desk.text("revoked_keys").count(desk.blob("ada")) == 1 and desk.blob("ada") not in desk.text("allowed_signers")
    assert "is revoked" in desk.run("cit allow ada@moon ada.pub @main", 77)[1]
    desk.run(f"cit allow --revoke {desk.fingerprint('ben')} --keep-old")
    assert desk.blob("ben") not in desk.text("allowed_signers") + desk.text("revoked_keys") + desk.authorized.read_text()
    desk.run("cit allow ben@moon ben.pub @main")
    desk.run("cit allow --revoke ben.pub")
    assert desk.blob("ben") in desk.text("revoked_keys") and desk.blob("ben") in desk.text("revoked_keys", ".")
    for nobody in ("eve@moon", "SHA256:" + "x" * 43):
        assert "is allowed nothing here" in desk.run(f"cit allow --revoke {nobody}", 66)[1]


def test_a_queue_elsewhere_lets_people_in_itself(desk: Desk) -> None:
    desk.run("cit config @night remote true; cit config @night door ssh://cit@moon/@night")
    assert "lies elsewhere" in desk.run("cit allow ada@moon ada.pub @night", 78)[1]
    assert not any(line.startswith("@night") for line in desk.run("cit allow")[0].splitlines())


def test_a_home_elsewhere_is_said_to_the_door(desk: Desk) -> None:
    desk.environment["CIT_HOME"] = str(desk.directory / "elsewhere")
    said, _ = desk.run("cit allow ada@moon ada.pub @main 2> /dev/null")
    assert f'command="env CIT_HOME={desk.directory}/elsewhere /' in said
    desk.environment["CIT_HOME"] = str(desk.directory / "else where")
    _, complaint = desk.run("cit allow ada@moon ada.pub @main", 78)
    assert "is no program" in complaint
    assert desk.blob("ada") not in (desk.directory / "else where/queues/main/allowed_signers").read_text()
