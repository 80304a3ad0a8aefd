"""The door behind a real sshd: nothing but its verbs for each role, nothing of a cut transfer, no shell (docs/stages/queue.md)."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import frame, home, keys, reader
from cit_format.document import Document, section
from cit_queue.roles import VERBS
from tests.cluster.loopback import free_port, obstacle
from tests.int.cit_queue.gate import Gate
from tests.int.cit_queue.house import House, statuses
from tests.int.cit_queue.test_roles import MAY, WORDS

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle())


@pytest.fixture
def gate(house: House) -> Iterator[Gate]:
    """ada and ben may submit, ada to a second queue too; this builder, this queue, and eve as a reader."""
    home.make_queue(house.path / "queues" / "release")
    keys.generate(house.directory / "cid", "cid@sun")
    with open(house.account / "allowed_signers", "a") as file:
        file.write(f'eve@sun namespaces="cit-job" {house.key("eve").public.line}\n')
    with open(house.path / "queues/release/allowed_signers", "w") as file:
        file.write(f'ada@sun namespaces="cit-job" {house.key("ada").public.line}\n')
    opened = Gate(house)
    opened.let(house.directory / "ada", "person", "ada@sun", "@main", "@release")
    opened.let(house.directory / "ben", "person", "ben@sun", "@main")
    opened.let(house.path / "key", "builder", house.account.signer.public.fingerprint, "@main")
    opened.let(house.queue / "key", "queue", house.queue.full_name)
    opened.let(house.directory / "eve", "reader", "eve@sun")
    yield opened
    opened.close()


def stream(*documents: Document) -> bytes:
    return frame.framed(b"".join(each.raw for each in documents), len(documents))


def answered(ended: subprocess.CompletedProcess[bytes]) -> list[object]:
    """State or status of each ticket of a framed answer."""
    return statuses(frame.unframed(reader.reader_of(ended.stdout), strict=True)(1 << 30))


def key_of(house: House, role: str) -> Path:
    of = {"person": house.directory / "ben", "builder": house.path / "key", "queue": house.queue / "key", "reader": house.directory / "eve"}
    return of[role]


@pytest.mark.parametrize("role", MAY)
def test_every_role_against_every_verb(house: House, gate: Gate, role: str) -> None:
    for verb in VERBS:
        ended = gate.ssh(key_of(house, role), verb + WORDS.get(verb, ""))
        said = ended.stderr.decode().splitlines()
        if verb in MAY[role]:
            there = 77 if role == "person" else 66  # logs and files are the build account's, whose list does not have ben
            wanted = {"get": 66, "why": 66, "log": there, "file": there, "stashed": 66, "have": 1}.get(verb, 65 if VERBS[verb].takes else 0)
            assert ended.returncode == wanted, (verb, said)
        else:
            assert (ended.returncode, ended.stdout) == (77, b""), (verb, said)
            assert len(said) == 2 and f"a {role} may not ask {verb}" in said[0] and said[1].startswith("hint: "), said
    ended = gate.ssh(key_of(house, role), "@release alive")
    assert (ended.returncode, ended.stdout) == (77, b""), "other queues"


def test_a_key_uses_its_queues_the_first_one_unless_told(house: House, gate: Gate) -> None:
    ada = house.directory / "ada"
    release = home.Queue(house.path / "queues" / "release")
    for command, queue in (("alive", house.queue), ("@main alive", house.queue), ("@release alive", release)):
        row = gate.ssh(ada, command).stdout.decode().rstrip("\n").split("\t")
        assert (row[0], row[4]) == (queue.full_name, "ada@sun")
    job = house.job(queue=release.full_name)
    assert answered(gate.ssh(ada, "put-accept", stdin=stream(job))) == [77]
    assert answered(gate.ssh(ada, "@release put-accept", stdin=stream(job))) == ["accepted"]


def test_nothing_else_of_the_account_is_reached(house: House, gate: Gate, tmp_path: Path) -> None:
    ben = house.directory / "ben"
    ended = gate.ssh(ben, "alive", "-tt", shared=False)
    assert b"PTY allocation request failed" in ended.stderr and (ended.returncode, ended.stdout) == (255, b"")
    for command in (None, "sh", "cat .ssh/id_ed25519", "internal-sftp", "scp -f .ssh/id_ed25519"):
        ended = gate.ssh(ben, command, stdin=b"echo in; id\n", shared=False)
        assert (ended.returncode, ended.stdout) == (77 if command and command.split()[0] in ("internal-sftp", "scp") else 2, b""), command
    target = str(tmp_path / "got")
    for words in (["scp", "-q"], ["scp", "-q", "-O"]):
        copied = subprocess.run([*words, *gate.words(ben, shared=False), "127.0.0.1:.ssh/id_ed25519", target], capture_output=True, check=False)
        assert copied.returncode != 0 and not Path(target).exists()
    batch = subprocess.run(["sftp", "-b", "-", *gate.words(ben, shared=False), "127.0.0.1"], input=b"ls\n", capture_output=True, check=False)
    assert batch.returncode != 0 and batch.stdout.replace(b"sftp> ls\n", b"") == b""
    port = free_port()
    ended = gate.ssh(ben, None, "-N", "-o", "ExitOnForwardFailure=yes", "-R", f"{port}:127.0.0.1:{gate.port}", shared=False)
    assert ended.returncode == 255 and b"forwarding failed" in ended.stderr
    ended = gate.ssh(ben, None, "-W", f"127.0.0.1:{gate.port}", shared=False)
    assert ended.returncode == 255 and b"administratively prohibited" in ended.stderr and ended.stdout == b""
    ended = gate.ssh(ben, "alive", "-A", "-X", "-o", "SetEnv=CIT_HOME=/nonexistent CIT_NOW=2001-01-01T00:00:00Z", shared=False)
    assert ended.returncode == 0 and b"2001" not in ended.stdout, "nothing of the client's environment comes along"
    ended = gate.ssh(house.directory / "cid", "alive", shared=False)
    assert ended.returncode == 255 and b"Permission denied" in ended.stderr, "a key without a line"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_no_word_reaches_a_shell(house: House, gate: Gate, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    touch = f"touch {mark}"
    nasty = [f"; {touch}", f"ls; {touch}", f"get $({touch})", f"get `{touch}`", f"ls | {touch}", f"ls && {touch}", f"ls\n{touch}", f'" ; {touch} ; "']
    nasty += [f"'; {touch}; '", f"ls > {mark}", f"log x 0 > {mark}", f'\\"; {touch}; \\"', f"--role queue; {touch}", "--role queue", "-h", "$SHELL"]
    for command in nasty:
        ended = gate.ssh(house.directory / "ben", command)
        assert (ended.returncode, ended.stdout) == (2, b"") and b"hint: " in ended.stderr, command
    assert not mark.exists()


def test_a_stranger_to_a_job_neither_sees_replaces_nor_controls_it(house: House, gate: Gate) -> None:
    hers = house.job("hers")
    ada, ben = house.directory / "ada", house.directory / "ben"
    assert answered(gate.ssh(ada, "put-accept", stdin=stream(hers))) == ["accepted"]
    assert gate.ssh(ben, "ls").stdout == b"" and gate.ssh(ben, f"get {hers.id}").returncode == 66
    assert gate.ssh(ben, f"have {hers.id}").stdout == f"{hers.id}\t-\n".encode()
    attack = stream(house.job("hers", who="ben", identity=hers.id), house.control("cancel", hers.id, who="ben"))
    assert answered(gate.ssh(ben, "put-accept", stdin=attack)) == [77, 77]
    assert [reader.parse(raw).submitted for raw in house.lying("waiting")] == [hers.raw] and gate.ssh(ada, "ls waiting").stdout.count(b"\n") == 1
    done = house.ended(house.assigned(hers))
    other = keys.generate(house.directory / "other", "builder@moon")
    with open(house.queue / "allowed_signers", "a") as file:
        file.write(f'builder@moon namespaces="cit-result" {other.public.line}\n')
    gate.let(house.directory / "other", "builder", other.public.fingerprint, "@main")
    assert answered(gate.ssh(house.directory / "other", "put-done", stdin=stream(done))) == [77]
    assert answered(gate.ssh(house.path / "key", "put-done", stdin=stream(done))) == ["accepted"]


def test_what_arrives_starts_its_pass_with_the_short_path_of_sshd(house: House, gate: Gate) -> None:
    house.set("on-arrival", "cit-schedule --version > arrived")
    assert answered(gate.ssh(house.directory / "ben", "put-accept", stdin=stream(house.job(who="ben")))) == ["accepted"]
    end = time.monotonic() + 10
    while not (house.queue / "arrived").exists() or not (house.queue / "arrived").read_text():
        assert time.monotonic() < end, (house.queue / "log" / "on-arrival").read_text()
        time.sleep(0.02)


def test_a_transfer_cut_at_every_64_kib_publishes_nothing(house: House, gate: Gate) -> None:
    """The connection is killed when so much was sent; sshd hands the door a clean end of file."""
    ben = house.directory / "ben"
    signer = house.key("ben")
    plain = house.job("big", who="ben")
    unsigned = reader.parse(plain.raw[: plain.sections[-1].start])
    job = home.signed(unsigned.extended(section("files", "text", b"0123456789abcdef" * 24000 + b"\n")), signer, "ben@sun", "cit-job")
    whole = stream(job, house.job("small", who="ben"))
    cuts = range(65536, len(whole), 65536)
    assert len(cuts) >= 5
    for cut in cuts:
        words = ["ssh", *gate.words(ben, shared=False), "--", "127.0.0.1", "put-accept"]
        sending = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert sending.stdin is not None and sending.stdout is not None
        sending.stdin.write(whole[:cut])
        sending.stdin.flush()
        time.sleep(0.05)
        sending.kill()
        sending.wait()
        sending.stdin.close()
        sending.stdout.close()
        ended = gate.ssh(ben, "put-accept", stdin=whole[:cut])
        assert (ended.returncode, ended.stdout) == (65, b"") and b"cut off: " in ended.stderr
    assert gate.ssh(ben, "ls").stdout == b"" and house.lying("refused") == []
    assert answered(gate.ssh(ben, "put-accept", stdin=whole)) == ["accepted", "accepted"]
