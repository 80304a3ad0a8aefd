"""Keys of every kind, made by the real ssh-keygen, and a real ssh-agent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.int.cit_format.jobs import Yard

CHECKOUT = Path(__file__).resolve().parents[3]
KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "3072"],
    "rsa-1024": ["-t", "rsa", "-b", "1024"],
    "passphrase": ["-t", "ed25519", "-N", "a word"],
}


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Private key files by the names of KINDS; the passphrase is `a word`."""
    directory = tmp_path_factory.mktemp("keys")
    for name, options in KINDS.items():
        command = ["ssh-keygen", "-q", "-N", "", "-C", f"{name}@sun", *options, "-f", str(directory / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return {name: directory / name for name in KINDS}


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty ssh-agent of this test's own, ended with it."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline()  # it prints its socket when it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m cit_format` is this checkout's, wherever the tests are started."""
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """People and machines with real keys."""
    return Yard(tmp_path_factory.mktemp("yard"))
