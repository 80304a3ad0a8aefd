"""allowed_signers and revoked keys: what is refused, and that the real ssh-keygen agrees on the rest."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cit_format import keys, signers
from cit_format.errors import CONFIG, DENIED, CitError
from cit_format.signers import Signers, parse_allowed_signers
from cit_format.sshsig import PublicKey, pack, parse_signature, public_key, verify

Ask = Callable[[str, datetime], bool]
NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
ADA, BOB = (public_key(pack(b"ssh-ed25519", bytes([n]) * 32), f"{n}") for n in (1, 2))


def refusal(entries: Signers, key: PublicKey = ADA, namespace: str = "cit-job", now: datetime = NOON) -> CitError:
    with pytest.raises(CitError) as caught:
        entries.principal(key, namespace, now)
    assert caught.value.status == DENIED and caught.value.hint
    return caught.value


def from_text(text: str) -> Signers:
    return Signers(parse_allowed_signers(text, "allowed_signers"))


def test_a_line_lets_a_key_speak() -> None:
    text = f"""
# people
ada@sun  namespaces="cit-job,cit-control",valid-after="20260101Z",valid-before="202701011230Z"\t{ADA.line}
\tbob@sun namespaces="cit-job" {BOB.line}  # comment
"""
    first, second = parse_allowed_signers(text, "allowed_signers")
    after, before = datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2027, 1, 1, 12, 30, tzinfo=timezone.utc)
    assert first == ("ada@sun", ("cit-job", "cit-control"), ADA, after, before, 3)
    assert (second.principal, second.key.blob, second.valid_after, second.valid_before, second.line) == ("bob@sun", BOB.blob, None, None, 4)
    assert from_text(text).principal(ADA, "cit-control", NOON) == "ada@sun"
    assert from_text(text).principal(BOB._replace(comment="mallory@sun"), "cit-job", NOON) == "bob@sun"


def test_a_line_may_name_several_but_a_key_is_one_person() -> None:
    line = f'ada@sun,ada@moon namespaces="cit-job" {ADA.line}'
    assert [entry.principal for entry in parse_allowed_signers(line, "f")] == ["ada@sun", "ada@moon"]
    two = [f'ada@sun namespaces="cit-job,cit-control" {ADA.line}', f'bob@sun namespaces="cit-control" {ADA.line}']
    for text in (line, "\n".join(two), "\n".join(reversed(two))):
        with pytest.raises(CitError, match="one key is") as caught:
            from_text(text)
        assert caught.value.status == CONFIG and caught.value.where == f"allowed_signers:{text.count(chr(10)) + 1}"
    apart = from_text(f'ada@sun namespaces="cit-job" {ADA.line}\nqueue@sun namespaces="cit-queue" {ADA.line}')
    assert [apart.principal(ADA, space, NOON) for space in ("cit-job", "cit-queue")] == ["ada@sun", "queue@sun"]


def test_each_cause_has_words_of_its_own() -> None:
    line = f'ada@sun namespaces="cit-job",valid-after="20261101Z",valid-before="20261130Z" {ADA.line}'
    allowed = from_text(line)
    assert "is not in allowed_signers" in refusal(allowed, BOB).what
    assert f"cit allow USER@HOST 'ssh-ed25519 {BOB.line.split()[1]}'" in refusal(allowed, BOB).hint
    assert "not for the namespace 'cit-queue'" in refusal(allowed, namespace="cit-queue").what
    assert "is not valid before 2026-11-01T00:00:00Z" in refusal(allowed, now=datetime(2026, 10, 31, 23, 59, 59, tzinfo=timezone.utc)).what
    assert "is not valid after 2026-11-30T00:00:00Z" in refusal(allowed, now=datetime(2026, 11, 30, 0, 0, 1, tzinfo=timezone.utc)).what
    assert "is revoked" in refusal(Signers(parse_allowed_signers(line, "f"), [ADA])).what
    assert "allowed_signers:1" in refusal(allowed, now=NOON + timedelta(days=9)).hint
    for edge in ((2026, 11, 1), (2026, 11, 30)):
        assert allowed.principal(ADA, "cit-job", datetime(*edge, tzinfo=timezone.utc)) == "ada@sun"


def test_a_key_may_be_renewed_by_a_second_line() -> None:
    text = "".join(f'ada@sun namespaces="cit-job",valid-after="{year}0101Z",valid-before="{year}0601Z" {ADA.line}\n' for year in (2025, 2027))
    assert from_text(text).principal(ADA, "cit-job", datetime(2025, 3, 1, tzinfo=timezone.utc)) == "ada@sun"
    assert from_text(text).principal(ADA, "cit-job", datetime(2027, 3, 1, tzinfo=timezone.utc)) == "ada@sun"
    assert "not valid before 2027-01-01" in refusal(from_text(text)).what


KEY = ADA.line
FORBIDDEN = {
    "no namespaces": (f"ada@sun {KEY}", "no namespaces="),
    "only a time": (f'ada@sun valid-after="20260101Z" {KEY}', "no namespaces="),
    "empty namespaces": (f'ada@sun namespaces="" {KEY}', "namespace '' is not plain"),
    "namespaces without value": (f"ada@sun namespaces {KEY}", "namespace '' is not plain"),
    "namespaces without quotes": (f"ada@sun namespaces=cit-job {KEY}", "neither an option"),
    "wildcard namespace": (f'ada@sun namespaces="cit-*" {KEY}', "namespace 'cit-.' is not plain"),
    "negated namespace": (f'ada@sun namespaces="cit-job,!file" {KEY}', "namespace '!file' is not plain"),
    "blank in namespaces": (f'ada@sun namespaces="cit-job, file" {KEY}', "namespace ' file' is not plain"),
    "namespaces twice": (f'ada@sun namespaces="cit-job",namespaces="file" {KEY}', "namespaces is there twice"),
    "wildcard name": (f'*@sun namespaces="cit-job" {KEY}', "name '.@sun' is not plain"),
    "name with a question mark": (f'ad?@sun namespaces="cit-job" {KEY}', "is not plain"),
    "negated name": (f'ada@sun,!bob@sun namespaces="cit-job" {KEY}', "name '!bob@sun' is not plain"),
    "empty name": (f'ada@sun, namespaces="cit-job" {KEY}', "name '' is not plain"),
    "quoted name": (f'"ada@sun" namespaces="cit-job" {KEY}', "is not plain"),
    "name like an option": (f'-oX namespaces="cit-job" {KEY}', "is not plain"),
    "authority": (f'ada@sun cert-authority,namespaces="cit-job" {KEY}', "option 'cert-authority' is not accepted"),
    "unknown option": (f'ada@sun namespaces="cit-job",from="sun" {KEY}', "option 'from' is not accepted"),
    "upper-case option": (f'ada@sun Namespaces="cit-job" {KEY}', "neither an option"),
    "comma at the end": (f'ada@sun namespaces="cit-job", {KEY}', "neither an option"),
    "open quote": (f'ada@sun namespaces="cit-job {KEY}', "neither an option"),
    "no key": ('ada@sun namespaces="cit-job"', "neither an option"),
    "no name": (KEY, "neither an option"),
    "only a name": ("ada@sun", "neither an option"),
    "broken key": (f'ada@sun namespaces="cit-job" {KEY[:40]}', "not a public key"),
    "kind that is not accepted": ('ada@sun namespaces="cit-job" ssh-dss AAAAB3NzaC1kc3M=', "not a public key"),
    "no time": (f'ada@sun namespaces="cit-job",valid-after="soon" {KEY}', "valid-after is no time: 'soon'"),
    "no such day": (f'ada@sun namespaces="cit-job",valid-before="20260231Z" {KEY}', "valid-before is no time"),
    "hour without minute": (f'ada@sun namespaces="cit-job",valid-before="2026022310Z" {KEY}', "valid-before is no time"),
    "end before begin": (f'ada@sun namespaces="cit-job",valid-after="20260201Z",valid-before="20260201Z" {KEY}', "not later"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_line_is_named(name: str) -> None:
    line, why = FORBIDDEN[name]
    with pytest.raises(CitError, match=why) as caught:
        parse_allowed_signers(f"# one\n\n{line}\n", "~/allowed_signers")
    assert (caught.value.status, caught.value.where) == (CONFIG, "~/allowed_signers:3") and caught.value.hint


def test_the_hint_for_a_line_without_namespaces_is_a_line_that_is_accepted() -> None:
    with pytest.raises(CitError) as caught:
        parse_allowed_signers(f"ada@sun {KEY}", "f")
    assert from_text(caught.value.hint.removeprefix("write: ")).principal(ADA, "cit-job", NOON) == "ada@sun"


@pytest.fixture
def ask(key_files: dict[str, Path], tmp_path: Path) -> Ask:
    """Whether ssh-keygen and cit let the test's key speak under these options at this moment; they have to agree."""
    signer = keys.load(key_files["ed25519"])
    (tmp_path / "sig").write_bytes(signer.sign(b"message", "cit-job"))

    def both(options: str, now: datetime) -> bool:
        text = f"ada@sun {options} {signer.public.line}\n"
        (tmp_path / "allowed").write_text(text)
        moment = f"-Overify-time={now:%Y%m%d%H%M%S}Z"
        command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ada@sun", "-n", "cit-job", "-s", "sig", moment]
        theirs = subprocess.run(command, input=b"message", cwd=tmp_path, capture_output=True).returncode == 0
        try:
            ours = from_text(text).principal(signer.public, "cit-job", now) == "ada@sun"
        except CitError as error:
            assert error.status == DENIED
            ours = False
        assert ours == theirs, (options, now)
        return ours

    return both


def test_ssh_keygen_agrees_on_namespaces_and_times(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask('namespaces="file,cit-job"', NOON) and not ask('namespaces="file"', NOON)
    second = timedelta(seconds=1)
    try:
        for zone in ("UTC", "Europe/Berlin", "America/St_Johns"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            for text in ("20260701", "202607011530", "20260701153045", "20260115", "20260701Z", "20260701153045Z"):
                edge = signers._moment("valid-after", text)
                after, before = (f'namespaces="cit-job",{word}="{text}"' for word in ("valid-after", "valid-before"))
                assert [ask(after, edge - second), ask(after, edge)] == [False, True]
                assert [ask(before, edge), ask(before, edge + second)] == [True, False]
    finally:
        monkeypatch.undo()
        time.tzset()


LAX = {
    "no namespaces": "ada@sun KEY",
    "wildcard name": '*@sun namespaces="cit-job" KEY',
    "wildcard namespace": 'ada@sun namespaces="cit-*" KEY',
    "quoted name": '"ada@sun" namespaces="cit-job" KEY',
    "two names": 'ada@sun,bob@sun namespaces="cit-job" KEY',
}


@pytest.mark.parametrize("name", LAX)
def test_the_page_says_where_ssh_keygen_is_laxer(name: str, key_files: dict[str, Path], tmp_path: Path) -> None:
    signer = keys.load(key_files["ed25519"])
    line = LAX[name].replace("KEY", signer.public.line)
    assert_ssh_keygen_verifies(signer, line, tmp_path)
    with pytest.raises(CitError) as caught:
        from_text(line)
    assert caught.value.status == CONFIG


def assert_ssh_keygen_verifies(signer: keys.Signer, line: str, directory: Path) -> None:
    (directory / "sig").write_bytes(signer.sign(b"message", "cit-job"))
    written(directory / "allowed", line + "\n")
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ada@sun", "-n", "cit-job", "-s", "sig"]
    subprocess.run(command, input=b"message", cwd=directory, capture_output=True, check=True)


# The files


def written(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_files_that_are_missing_are_empty(tmp_path: Path) -> None:
    assert "is not in" in refusal(Signers.read(tmp_path / "a", tmp_path / "r")).what
    allowed = written(tmp_path / "a", f'ada@sun namespaces="cit-job" {KEY}\n')
    assert Signers.read(allowed).principal(ADA, "cit-job", NOON) == "ada@sun"
    assert Signers.read(allowed, tmp_path / "r").principal(ADA, "cit-job", NOON) == "ada@sun"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o620])
def test_a_file_that_others_can_write_is_refused(mode: int, tmp_path: Path) -> None:
    files = {"allowed": f'ada@sun namespaces="cit-job" {KEY}\n', "revoked": BOB.line}
    for bad in files:
        allowed, revoked = (written(tmp_path / name, text, mode if name == bad else 0o644) for name, text in files.items())
        with pytest.raises(CitError, match="others can write this file") as caught:
            Signers.read(allowed, revoked)
        assert (caught.value.status, caught.value.where) == (CONFIG, str(tmp_path / bad))
        subprocess.run(["sh", "-c", caught.value.hint], check=True)
        Signers.read(allowed, revoked)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\n")
    (tmp_path / "a").chmod(0o600)
    with pytest.raises(CitError, match="not UTF-8") as caught:
        Signers.read(tmp_path / "a")
    assert caught.value.status == CONFIG
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(CitError, match="not a plain file"):
        Signers.read(tmp_path / "fifo")


def test_a_list_of_revoked_keys(tmp_path: Path) -> None:
    allowed = written(tmp_path / "a", f'ada@sun namespaces="cit-job" {KEY}\nbob@sun namespaces="cit-job" {BOB.line}\n')
    entries = Signers.read(allowed, written(tmp_path / "r", f"# stolen\n\n{ADA.line} laptop\n"))
    assert "is revoked" in refusal(entries).what and entries.principal(BOB, "cit-job", NOON) == "bob@sun"
    with pytest.raises(CitError, match="not a public key") as caught:
        Signers.read(allowed, written(tmp_path / "r", f"{ADA.line}\nssh-ed25519 AAAA\n"))
    assert (caught.value.status, caught.value.where) == (CONFIG, f"{tmp_path / 'r'}:2")


def test_a_krl_of_ssh_keygens(key_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stolen, kept = (keys.load(key_files[name]).public for name in ("ed25519", "ecdsa-256"))
    allowed = written(tmp_path / "a", f'ada@sun namespaces="cit-job" {stolen.line}\nbob@sun namespaces="cit-job" {kept.line}\n')
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(tmp_path / "krl"), f"{key_files['ed25519']}.pub"], check=True)
    entries = Signers.read(allowed, tmp_path / "krl")
    assert "is revoked" in refusal(entries, stolen).what and entries.principal(kept, "cit-job", NOON) == "bob@sun"
    monkeypatch.setenv("PATH", "")  # the answers are kept, a new key cannot be asked for
    assert entries.is_revoked(stolen) and not entries.is_revoked(kept)
    with pytest.raises(CitError, match="ssh-keygen is needed") as caught:
        entries.is_revoked(ADA)
    assert caught.value.status == CONFIG
    monkeypatch.undo()
    (tmp_path / "krl").write_bytes((tmp_path / "krl").read_bytes()[:-3])
    with pytest.raises(CitError, match="KRL cannot be read"):
        Signers.read(allowed, tmp_path / "krl").is_revoked(stolen)


def test_ten_thousand_lines_are_one_look_up_each() -> None:
    crowd = [public_key(pack(b"ssh-ed25519", number.to_bytes(32, "big"))) for number in range(1, 10_001)]
    entries = from_text("\n".join(f'u{number}@sun namespaces="cit-job" {key.line}' for number, key in enumerate(crowd)))
    assert len(entries.allowed) == 10_000 and max(map(len, entries.allowed.values())) == 1
    assert entries.principal(crowd[7], "cit-job", NOON) == "u7@sun"


# The page


def test_the_commands_of_the_page_do_what_it_shows(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "format" / "signatures.md"
    job, allowed, transcript = (re.search(rf"```{fence}\b.*?\n(.*?)```", page.read_text(), re.S)[1] for fence in ("cit", "text", "console"))
    (tmp_path / "hello.cit").write_text(job)
    written(tmp_path / "allowed_signers", allowed)
    for command, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", transcript, re.M):
        run = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert (run.returncode, run.stdout) == (0, shown), run.stderr
    entries, whole = Signers.read(tmp_path / "allowed_signers"), job.encode()
    for match, who in zip(re.finditer(rb"^@begin signature 1 sshsig .*\n((?:.*\n)*?)@end", whole, re.M), ("ada@sun", "queue@sun")):
        signature = parse_signature(match[1])
        verify(signature, whole[: match.start()], signature.namespace)
        assert entries.principal(signature.key, signature.namespace, NOON) == who
