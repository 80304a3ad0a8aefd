"""Signing with keys of every kind, checked by the real ssh-keygen; and making a key that is whole or not there."""

from __future__ import annotations

import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cit_format import keys, sshsig
from cit_format.errors import CONFIG, DENIED, NOT_FOUND, USAGE, CitError

ROOT = Path(__file__).parents[3]
MESSAGE = b"@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g hello\n"


def ssh_keygen_verifies(public: sshsig.PublicKey, armour: bytes, directory: Path, namespace: str = "cit-job") -> None:
    (directory / "allowed").write_text(f"ada@sun {public.line}\n")
    (directory / "sig").write_bytes(armour)
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ada@sun", "-n", namespace, "-s", "sig"]
    subprocess.run(command, input=MESSAGE, cwd=directory, check=True, capture_output=True)


def own_copy(key: Path, directory: Path, name: str = "") -> Path:
    """A copy of the key pair that a test may change."""
    path = directory / (name or key.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(key, path)
    shutil.copy(f"{key}.pub", f"{path}.pub")
    return path


def run_detached(code: str, **environment: str) -> str:
    """What a Python without terminal prints."""
    program = [sys.executable, "-c", f"from pathlib import Path; from cit_format import keys; {code}"]
    run = subprocess.run(program, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, start_new_session=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def run_on_terminal(code: str, answer: str, **environment: str) -> str:
    """What a Python on a terminal shows there; `answer` is typed when it asks for a passphrase."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        program = [sys.executable, "-c", f"from pathlib import Path; from cit_format import keys; {code}"]
        os.execve(sys.executable, program, {**os.environ, **environment})
    shown = b""
    while True:
        try:
            part = os.read(fd, 4096)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        shown += part
        if b"passphrase" in part:
            os.write(fd, answer.encode() + b"\n")
    os.close(fd)
    assert os.waitpid(pid, 0)[1] == 0, shown.decode()
    return shown.decode()


@pytest.mark.parametrize("name", ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa"])
def test_what_is_signed_here_holds_for_ssh_keygen(name: str, key_files: dict[str, Path], tmp_path: Path) -> None:
    signer = keys.load(key_files[name])
    armour = signer.sign(MESSAGE, "cit-job")
    assert not signer.asks and signer.public.line + "\n" == Path(f"{key_files[name]}.pub").read_text()
    assert armour.endswith(b"-----END SSH SIGNATURE-----\n")
    ssh_keygen_verifies(signer.public, armour, tmp_path)
    sshsig.verify(sshsig.parse_signature(armour), MESSAGE, "cit-job")


def test_ed25519_signs_as_ssh_keygen_to_the_byte(key_files: dict[str, Path]) -> None:
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", "cit-job", "-f", str(key_files["ed25519"])]
    theirs = subprocess.run(command, input=MESSAGE, capture_output=True, check=True).stdout
    assert keys.load(key_files["ed25519"]).sign(MESSAGE, "cit-job") == theirs
    assert keys.load(Path(f"{key_files['ed25519']}.pub")).sign(MESSAGE, "cit-job") == theirs


def test_a_passphrase_is_asked_for_on_the_terminal(key_files: dict[str, Path], tmp_path: Path) -> None:
    path, result = key_files["passphrase"], tmp_path / "result"
    code = f"Path({str(result)!r}).write_bytes(keys.load(Path({str(path)!r})).sign({MESSAGE!r}, 'cit-job'))"
    assert "passphrase" in run_on_terminal(code, "a word")
    ssh_keygen_verifies(keys.load(path).public, result.read_bytes(), tmp_path)


def test_without_terminal_a_passphrase_is_a_refusal_with_the_way_out(key_files: dict[str, Path]) -> None:
    code = f"""
from cit_format.errors import CitError
try: keys.load(Path({str(key_files["passphrase"])!r})).sign(b'm', 'cit-job')
except CitError as error: print(error.status, error.what, error.hint)
"""
    said = run_detached(code, SSH_AUTH_SOCK="", DISPLAY="")
    assert said.startswith(f"{DENIED} ") and "did not sign: " in said and f"ssh-add {key_files['passphrase']}" in said


def test_ssh_agent_signs_for_a_public_file_and_for_a_locked_one(agent: None, key_files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("ed25519", "rsa"):
        subprocess.run(["ssh-add", "-q", str(key_files[name])], check=True, stdin=subprocess.DEVNULL)
        shutil.copy(f"{key_files[name]}.pub", tmp_path / f"{name}.pub")
        for path in (tmp_path / name, tmp_path / f"{name}.pub"):
            signer = keys.load(path)
            assert signer.asks and signer.public.comment == f"{name}@sun"
            ssh_keygen_verifies(signer.public, signer.sign(MESSAGE, "cit-job"), tmp_path)
    locked = own_copy(key_files["ed25519"], tmp_path, "locked")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a word", "-f", str(locked)], check=True, capture_output=True)
    ssh_keygen_verifies(keys.load(locked).public, keys.load(locked).sign(MESSAGE, "cit-job"), tmp_path)
    assert list(keys.agent_keys()) == [keys.load(key_files[name]).public.blob for name in ("ed25519", "rsa")]


def test_what_ssh_agent_lacks_is_not_signed(agent: None, key_files: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(f"{key_files['ed25519']}.pub", tmp_path / "only.pub")
    with pytest.raises(CitError, match="did not sign") as caught:
        keys.load(tmp_path / "only").sign(MESSAGE, "cit-job")
    assert caught.value.status == DENIED and "ssh-add -L" in caught.value.hint
    assert keys.agent_keys() == {}


def test_an_old_private_key_is_left_to_ssh_keygen(key_files: dict[str, Path], tmp_path: Path) -> None:
    path = own_copy(key_files["rsa"], tmp_path)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "", "-m", "PEM", "-f", str(path)], check=True, capture_output=True)
    assert b"BEGIN RSA PRIVATE KEY" in path.read_bytes()
    ssh_keygen_verifies(keys.load(path).public, keys.load(path).sign(MESSAGE, "cit-job"), tmp_path)


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b'\"$(touch owned)", "-", "\u00e9.key"])
def test_no_name_reaches_an_option_parser(name: str, key_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = own_copy(key_files["rsa"], Path("."), name)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "", "-m", "PEM", "-f", f"./{name}"], check=True, capture_output=True)
    signer = keys.load(path)  # relative, and signed by way of ssh-keygen
    for namespace in ("-Y", "; touch owned", name):
        ssh_keygen_verifies(signer.public, signer.sign(MESSAGE, namespace), tmp_path, namespace)
    assert not Path("owned").exists()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o644])
def test_a_private_key_that_others_can_read_is_refused(mode: int, key_files: dict[str, Path], tmp_path: Path) -> None:
    path = own_copy(key_files["ed25519"], tmp_path, "a key")
    path.chmod(mode)
    with pytest.raises(CitError, match=f"others can read this file .mode {mode:04o}") as caught:
        keys.load(path)
    assert caught.value.status == CONFIG and caught.value.where == str(path)
    subprocess.run(["sh", "-c", caught.value.hint], check=True)  # the hint is a command that helps
    keys.load(path)


def test_a_file_that_is_no_key_is_refused(key_files: dict[str, Path], tmp_path: Path) -> None:
    good = key_files["ed25519"].read_bytes()
    path = tmp_path / "key"
    for bad in (b"", b"hello\n", good[:90], good.replace(b"b3BlbnNzaC1rZXktdjE", b"b3BlbnNzaC1rZXktdjI"), good[:36] + good[-36:]):
        path.write_bytes(bad)
        path.chmod(0o600)
        with pytest.raises(CitError, match="this key cannot be used") as caught:
            keys.load(path)
        assert caught.value.status == CONFIG and caught.value.where == str(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(CitError, match="not a plain file"):
        keys.load(path)
    with pytest.raises(CitError, match="there is no such key") as caught:
        keys.load(tmp_path / "missing")
    assert caught.value.status == NOT_FOUND
    (tmp_path / "broken.pub").write_text("hello\n")
    with pytest.raises(CitError, match="not a public key"):
        keys.load(tmp_path / "broken")


def test_halves_that_do_not_belong_together_do_not_sign(key_files: dict[str, Path], tmp_path: Path) -> None:
    path = own_copy(key_files["ed25519"], tmp_path)
    shutil.copy(f"{key_files['ecdsa-256']}.pub", f"{path}.pub")
    with pytest.raises(CitError, match="public half of another key"):
        keys.load(path)
    sign = keys._ed25519_sign(keys.load(key_files["ed25519"]).public, bytes(32))
    with pytest.raises(CitError, match="do not belong together") as caught:
        sign(MESSAGE, "cit-job")
    assert caught.value.status == CONFIG


# Making a key


def leftovers(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()} - {path.name, f"{path.name}.pub"}


def test_a_new_key_is_one_that_openssh_knows(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    signer = keys.generate(path, "ada@sun h\u00e9")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and not leftovers(path)
    said = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    assert said == Path(f"{path}.pub").read_text() == signer.public.line + "\n"
    assert said.endswith(" ada@sun h\u00e9\n") and not signer.asks
    ssh_keygen_verifies(signer.public, signer.sign(MESSAGE, "cit-job"), tmp_path)


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = keys.generate(path, "ada@sun")
    before = path.read_bytes()
    Path(f"{path}.pub").unlink()
    assert keys.generate(path, "bob@sun").public == first.public and path.read_bytes() == before
    assert Path(f"{path}.pub").read_text() == first.public.line + "\n"


def test_a_public_file_of_a_key_that_is_gone_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = keys.generate(path, "ada@sun").public
    path.unlink()
    new = keys.generate(path, "ada@sun").public
    assert new != old and Path(f"{path}.pub").read_text() == new.line + "\n"


def test_a_comment_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CitError, match="one line of plain text") as caught:
        keys.generate(tmp_path / "key", "ada\nssh-rsa AAAA")
    assert caught.value.status == USAGE and not list(tmp_path.iterdir())


def generating(path: Path, before: str = "") -> list[str]:
    code = f"from cit_format import keys; {before}print(keys.generate(Path({str(path)!r}), 'ada@sun').public.fingerprint)"
    return [sys.executable, "-B", "-c", f"from pathlib import Path; {code}"]


def test_eight_processes_make_one_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    program = generating(path, "import sys; print('ready', flush=True); sys.stdin.read(); ")
    children = [subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for child in children:
        assert child.stdout and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.close()
    assert {child.stdout.read() for child in children if child.stdout} == {keys.load(path).public.fingerprint + "\n"}
    assert [child.wait() for child in children] == [0] * 8 and not leftovers(path)


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is needed to see and to stop system calls")
KILLS = ("ftruncate:1", "write:1", "fsync:1", "link,linkat:1", "ftruncate:2", "fsync:2", "rename:1", "fsync:3", "unlink:1")


@needs_strace
@pytest.mark.parametrize("call", KILLS)
def test_a_killed_one_leaves_no_half_key(call: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    name, _, when = call.partition(":")
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", f"-einject={name}:signal=KILL:when={when}"]
    run = subprocess.run([*trace, *generating(path)], cwd=ROOT, capture_output=True)
    assert run.returncode == -9, run.stderr
    made = keys.load(path).public if path.exists() else None
    signer = keys.generate(path, "ada@sun")
    assert made in (None, signer.public) and not leftovers(path)
    assert Path(f"{path}.pub").read_text() == signer.public.line + "\n"


@needs_strace
def test_a_key_has_its_name_when_it_is_on_the_disk(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    trace = ["strace", "-f", "-qq", "-o", str(seen), "-etrace=fsync,link,linkat,rename,unlink"]
    subprocess.run([*trace, *generating(tmp_path / "key")], cwd=ROOT, check=True, capture_output=True)
    calls = re.findall(r"^\d+ +(\w+)\(.* = 0$", seen.read_text(), re.M)
    assert [call.removesuffix("at") for call in calls] == ["fsync", "link", "fsync", "rename", "fsync", "unlink"]


# Whose key it is


FIND = "found = keys.find_personal(Path(HOME, '.cit'), CONFIGURED); print(found.public.comment if found else found)"


def found(home: Path, configured: str | None = None, terminal: bool = False, **environment: str) -> str:
    code = FIND.replace("HOME", repr(str(home))).replace("CONFIGURED", repr(configured))
    environment = {"SSH_AUTH_SOCK": "", **environment, "HOME": str(home)}
    return (run_on_terminal(code, "", **environment) if terminal else run_detached(code, **environment)).strip()


def test_a_persons_key_is_looked_for_in_order(agent: None, key_files: dict[str, Path], tmp_path: Path) -> None:
    ssh, held = tmp_path / ".ssh", {"SSH_AUTH_SOCK": os.environ["SSH_AUTH_SOCK"]}
    assert found(tmp_path) == "None" == found(tmp_path, **held)
    subprocess.run(["ssh-add", "-q", str(key_files["ecdsa-384"])], check=True, stdin=subprocess.DEVNULL)
    assert found(tmp_path, **held) == "ecdsa-384@sun" and found(tmp_path) == "None"
    own_copy(key_files["rsa"], ssh, "id_rsa")
    assert found(tmp_path, **held) == "rsa@sun"
    own_copy(key_files["ecdsa-256"], ssh, "id_ecdsa")
    assert found(tmp_path) == "ecdsa-256@sun"
    keys.generate(own_copy(key_files["ecdsa-521"], tmp_path, ".cit/configured").with_name("id_ed25519"), "made@sun")
    assert found(tmp_path) == "made@sun" == found(tmp_path, **held), "what the home made stays, as lists name it"
    assert found(tmp_path, configured="~/.cit/configured") == "ecdsa-521@sun"


def test_without_terminal_a_key_that_asks_comes_last(agent: None, key_files: dict[str, Path], tmp_path: Path) -> None:
    ssh, held = tmp_path / ".ssh", {"SSH_AUTH_SOCK": os.environ["SSH_AUTH_SOCK"]}
    own_copy(key_files["passphrase"], ssh, "id_ed25519")
    assert found(tmp_path) == "passphrase@sun"
    own_copy(key_files["ecdsa-256"], ssh, "id_ecdsa")
    assert found(tmp_path) == "ecdsa-256@sun" and found(tmp_path, terminal=True) == "passphrase@sun"
    subprocess.run(["ssh-add", "-q", str(key_files["rsa"])], check=True, stdin=subprocess.DEVNULL)
    (ssh / "id_ed25519").unlink()
    shutil.copy(f"{key_files['rsa']}.pub", ssh / "id_ed25519.pub")
    assert found(tmp_path, **held) == "rsa@sun" and found(tmp_path) == "ecdsa-256@sun"


def test_a_configured_key_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(CitError, match="there is no such key"):
        keys.find_personal(tmp_path, str(tmp_path / "missing"))


def test_nothing_of_a_private_key_is_shown(key_files: dict[str, Path]) -> None:
    signer = keys.load(key_files["ed25519"])
    lines = re.sub(r"-----.*-----\n", "", key_files["ed25519"].read_text()).split()
    assert not any(line in repr(signer) for line in lines[1:])
