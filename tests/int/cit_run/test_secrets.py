"""Secrets on a builder: opened by it alone, given to their job as files, found nowhere afterwards, hidden in the log."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from cit_run import conceal, secrets
from cit_run.cit_format import body, clock, document, door, home, keys, masks, reader, seal, secret
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CONFIG, DATA, DENIED
from cit_run.shim import read_status
from tests.int.cit_run.kit import Bench, killed, until

CANARY = f"canary-{os.urandom(6).hex()}"
MASK = "*" * len(CANARY)
PRINTS = '#!/bin/sh\necho "it is $(cat "$CIT_SECRETS/TOKEN")."\n'
WAITS = PRINTS + "echo $$ >&2\nuntil [ -e stop ]; do sleep 0.02; done\n"


def recipient(bench: Bench) -> seal.Recipient:
    return seal.recipient(str(bench.account.seal))


def job(bench: Bench, script: str, to: list[seal.Recipient] | None = None, is_sealed: bool = False, **contents: str) -> Document:
    """A signed job with secrets, TOKEN without any; sealed to this builder unless said otherwise."""
    bare = bench.job(script)
    keyed = to or [recipient(bench)]
    contents = contents or {"TOKEN": CANARY}
    if is_sealed:
        contents["script"] = script
    pieces = [secret.section(bare.id, bench.person.public.fingerprint, name, text.encode(), keyed) for name, text in contents.items()]
    parts = [bare.sections[0]] if is_sealed else bare.sections[:-1]
    return signed(bench, bare, *(bare.raw[part.start : part.end] for part in parts), *pieces)


def signed(bench: Bench, bare: Document, *written: bytes) -> Document:
    """A job with the ID of another one, of these sections."""
    raw = b"@cit 1 %s %s\n%s" % (bare.id.encode(), bare.name.encode(), b"".join(written))
    return home.signed(reader.parse(raw), bench.person, home.person(), "cit-job")


def send(bench: Bench, made: Document) -> Document:
    assigned = bench.assigned(made)
    bench.give(assigned)
    return assigned


def link(bench: Bench, made: Document) -> Path:
    """The link to a job's directory of secrets."""
    return bench.account / "work" / ".private" / f"{made.id}.a1-{made.name}"


def holding(place: Path, what: bytes = CANARY.encode()) -> list[str]:
    """The files below a directory in which something stands."""
    files = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if what in path.read_bytes()]


def processes_that_show(what: bytes, but: Iterable[int]) -> list[str]:
    """The processes that have something in their arguments or environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in but:
            for name in ("cmdline", "environ"):
                try:
                    if what in Path(f"/proc/{entry}/{name}").read_bytes():
                        found.append(f"{entry}/{name}")
                except OSError:
                    continue
    return found


def nothing_left(bench: Bench, directory: str = "") -> None:
    """No link, no directory, and the canary in no file of the home or of the places for secrets."""
    assert secrets.left(bench.account) == []
    assert holding(bench.home) == []
    assert not directory or not os.path.lexists(directory)
    for base in secrets.bases():
        assert [found for path in Path(base).glob(f"cit-{'[0-9a-f]' * 24}") for found in holding(path)] == []


# --- handed over ------------------------------------------------------------------------------------------------------


def test_job_finds_its_secrets(bench: Bench) -> None:
    """As files that it alone can read, byte for byte, on a memory file system."""
    script = '#!/bin/sh\ncd "$CIT_SECRETS"\nstat -c "%a %F" . *\nsha256sum *\nstat -f -c %T .\nfind "$CIT_WORKSPACE"/.cit/\n'
    made = send(bench, job(bench, script, TOKEN=CANARY, **{"a key": "one\ntwo\n"}))
    bench.run()
    lines = bench.log(made).splitlines()
    assert bench.result(made)["state"] == "COMPLETED" and lines[:3] == ["700 directory", "400 regular file", "400 regular file"]
    for name, content in (("TOKEN", CANARY), ("a key", "one\ntwo\n")):
        digest = subprocess.run(["sha256sum"], input=content.encode(), capture_output=True, check=True).stdout.split()[0].decode()
        assert f"{digest}  {name}" in lines
    assert "tmpfs" in lines or not secrets.bases()
    nothing_left(bench)


def test_sealed_script(bench: Bench) -> None:
    """It runs as any other, by its own first line, from among the secrets; the record has nothing of it."""
    script = f'#!/bin/sh -e\n# {CANARY}\necho "$0"\ntest ! -e "$CIT_WORKSPACE/.cit/script"\nexit 3\n'
    made = send(bench, job(bench, script, is_sealed=True, TOKEN="something else"))
    bench.run()
    assert bench.result(made)["exit"] == 3
    assert bench.log(made).endswith("/script\n") and not bench.log(made).startswith(str(bench.account.path))
    nothing_left(bench)


def test_without_memory_file_system(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then in the record; gone as well."""
    monkeypatch.setattr(secrets, "bases", lambda: ())
    made = bench.assigned(job(bench, PRINTS))
    record = bench.record(made)
    record.mkdir(parents=True)
    directory = secrets.handed_over(made, bench.account.path, f"{made.id}.a1-{made.name}")
    assert directory == str(record / "secrets") and holding(record) == [f"{directory}/TOKEN"]
    secrets.clear(bench.account.path, f"{made.id}.a1-{made.name}")
    nothing_left(bench, directory)


def test_full_memory_file_system(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next place is taken, and nothing stays in the first."""
    full = tmp_path / "full"
    full.mkdir()
    monkeypatch.setattr(secrets, "bases", lambda: (str(full),))
    monkeypatch.setattr(secrets, "written", lambda path, content: fails(path, str(full), content))
    made = bench.assigned(job(bench, PRINTS))
    bench.record(made).mkdir(parents=True)
    assert secrets.handed_over(made, bench.account.path, f"{made.id}.a1-{made.name}") == str(bench.record(made) / "secrets")
    assert list(full.iterdir()) == []


def fails(path: str, below: str, content: bytes) -> None:
    if path.startswith(below):
        raise OSError(28, "No space left on device")
    Path(path).write_bytes(content)


@pytest.mark.parametrize(
    "kind, mounts, path", [("tmpfs", "a / ext4 r\nb /dev/shm tmpfs r\n", "/dev/shm"), ("ext4", "a / ext4 r\nb /dev tmpfs r", "/devs")]
)
def test_kind_of_file_system(kind: str, mounts: str, path: str) -> None:
    assert secrets.type_of(mounts, path) == kind


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(bench: Bench, made: Document, words: str, status: int = DENIED) -> None:
    """By the door with a ticket, by a pass, and as a filter; no byte of the secret is written, and the job does not run."""
    assigned = bench.assigned(made)
    (ticket,) = door.put_inbox(bench.account, [assigned])
    said = ticket.table("ticket")
    assert (said["state"], said["status"]) == ("refused", status) and words in str(said["why"])
    (bench.account / "inbox" / f"1000-0000000000000001.{assigned.id}.a1-{assigned.name}.cit").write_bytes(assigned.raw)
    assert words in bench.run(status=status)
    assert [name for name in os.listdir(bench.account / "refused") if assigned.id in name]
    run = bench.filtered(made)
    assert run.returncode == status and words in run.stderr.decode() and b"result" not in run.stdout
    assert not list((bench.account / "work").glob("*.log"))
    nothing_left(bench)


def test_builder_that_is_not_named(bench: Bench, tmp_path: Path) -> None:
    other = seal.recipient(keys.generate(tmp_path / "other", "x@y").public.line)
    refused(bench, job(bench, PRINTS, [other]), "is sealed to others")


def test_builder_that_is_named_once_only(bench: Bench, tmp_path: Path) -> None:
    """It could open the one and lacks the other: it gets none."""
    other = seal.recipient(keys.generate(tmp_path / "other", "x@y").public.line)
    bare = bench.job(PRINTS)
    to = {"TOKEN": [recipient(bench), other], "OTHER": [other]}
    pieces = [secret.section(bare.id, bench.person.public.fingerprint, name, CANARY.encode(), keyed) for name, keyed in to.items()]
    refused(bench, signed(bench, bare, bare.raw[bare.sections[0].start : bare.sections[-1].start], *pieces), "is sealed to others")


def test_flipped_byte(bench: Bench) -> None:
    """Signed as it is: its author's mistake, or somebody who had the key. Not a byte of the whole secret is used."""
    made = job(bench, PRINTS, A="good", TOKEN=CANARY)
    (_, broken) = secret.sealed(made)
    for at in range(len(seal.BEGIN), len(broken.section.raw) - len(seal.END) - 1, 97):
        flipped = bytearray(made.raw[: made.sections[-1].start])
        place = flipped.index(broken.section.raw) + at
        flipped[place] = ord("A") if flipped[place] != ord("A") else ord("B")
        bad = home.signed(reader.parse(bytes(flipped)), bench.person, home.person(), "cit-job")
        (ticket,) = door.put_inbox(bench.account, [bench.assigned(bad)])
        assert ticket.table("ticket")["state"] == "refused", at
    refused(bench, bad, "does not open")


def test_secret_of_another_job(bench: Bench) -> None:
    mine, bare = job(bench, PRINTS), bench.job(PRINTS)
    (own,) = secret.sealed(mine)
    moved = mine.raw[own.section.start : own.section.end]
    refused(bench, signed(bench, bare, bare.raw[bare.sections[0].start : bare.sections[-1].start], moved), "sealed for another job")


def test_sealed_section_of_another_kind(bench: Bench) -> None:
    bare = bench.job(PRINTS)
    keyed = f"@begin env 1 tsv enc=age to={recipient(bench).fingerprint}\nx\n@end env\n".encode()
    whole = bare.raw[bare.sections[0].start : bare.sections[-1].start] + keyed
    refused(bench, signed(bench, bare, whole), "section env is sealed", DATA)


def test_key_that_others_can_read(bench: Bench) -> None:
    """The account's fault, not the job's: it stays in the inbox until that is mended."""
    made = send(bench, job(bench, PRINTS))
    (bench.account / "seal").chmod(0o644)
    assert "others can read" in bench.run(status=CONFIG)
    assert bench.names("inbox") and not bench.names("refused")
    (bench.account / "seal").chmod(0o600)
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED"


def test_key_that_changed_before_the_start(bench: Bench) -> None:
    """It opened when it was taken, and does not when it begins: the job ends without a start, and says why; the one behind it runs."""
    made = taken(bench, job(bench, PRINTS))
    for name in ("seal", "seal.pub"):
        (bench.account / name).unlink()
    keys.generate(bench.account / "seal", "x@y")
    behind = bench.send("#!/bin/sh\n")
    bench.run("--slots", "1")
    result = bench.result(made)
    assert (result["state"], result["exit"]) == ("FAILED", 125) and "sealed to others" in str(result["why"])
    assert bench.result(behind)["state"] == "COMPLETED"


def taken(bench: Bench, made: Document) -> Document:
    """A job that a pass has taken, which was killed before it began."""
    assigned = send(bench, made)
    (name,) = (entry for entry in os.listdir(bench.account / "inbox") if made.id in entry)
    os.rename(bench.account / "inbox" / name, bench.account / "running" / name)
    (bench.account / "running" / ".boot").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
    return assigned


# --- nowhere else -----------------------------------------------------------------------------------------------------


def test_canary_while_the_job_runs(bench: Bench) -> None:
    """In its own files and in the log, which is hidden when it ends; in no argument, no environment, no record, no document."""
    made = send(bench, job(bench, WAITS))
    started = bench.start()
    until(lambda: bench.runs(made) and CANARY in bench.log(made))
    directory = os.readlink(link(bench, made))
    assert processes_that_show(CANARY.encode(), [os.getpid()]) == []
    assert holding(bench.home) == [str(bench.account / "work" / f"{made.id}.a1-job.log")]
    (bench.account / "work" / "job" / "0" / "stop").touch()
    assert started.wait(30) == 0
    assert f"it is {MASK}." in bench.log(made)
    nothing_left(bench, directory)


@pytest.mark.parametrize("end", ["success", "failure", "cancel", "time limit", "filter"])
def test_canary_after_the_end(bench: Bench, end: str) -> None:
    scripts = {"success": PRINTS, "filter": PRINTS, "failure": f"{PRINTS}exit 7\n", "cancel": WAITS, "time limit": WAITS}
    made = job(bench, scripts[end])
    if end == "time limit":
        made = limited(bench, made)
    if end == "filter":
        assert bench.filtered(made).returncode == 0
    else:
        made = send(bench, made)
        started = bench.start()
        if end == "cancel":
            until(lambda: bench.runs(made) and CANARY in bench.log(made))
            bench.wish(made, "cancel")
        assert started.wait(30) == 0
        state = {"success": "COMPLETED", "failure": "FAILED", "cancel": "CANCELLED", "time limit": "TIMEOUT"}[end]
        assert bench.result(made)["state"] == state
        assert f"it is {MASK}." in bench.log(made)
    nothing_left(bench)


def limited(bench: Bench, made: Document) -> Document:
    """The same job with a time limit."""
    first = made.sections[0]
    said = {**made.table("job"), "time": "1s"}
    parts = [made.raw[section.start : section.end] for section in made.sections[1:-1]]
    assert first.kind == "job"
    return signed(bench, made, document.section("job", "toml", body.toml(said)), *parts)


@pytest.mark.parametrize("whom", ["shim", "cit-run", "both", "both, and the memory is gone"])
def test_canary_after_a_kill(bench: Bench, whom: str) -> None:
    made = send(bench, job(bench, WAITS))
    started = bench.start()
    until(lambda: bench.runs(made) and CANARY in bench.log(made))
    directory = os.readlink(link(bench, made))
    status = read_status(str(bench.record(made)))
    assert status is not None
    if whom != "shim":
        killed(started.pid)
        started.wait()
    if whom != "cit-run":
        killed(status.shim)
    else:
        (bench.account / "work" / "job" / "0" / "stop").touch()
        until(lambda: "\tended" in (bench.record(made) / "status").read_text(), "the end of the job without cit-run")
        nothing_left(bench, directory)
    if "memory" in whom:  # as after a reboot
        secrets.removed(directory)
    if whom != "shim":
        started = bench.start()
    assert started.wait(30) == 0
    assert bench.result(made)["state"] == ("COMPLETED" if whom == "cit-run" else "NODE_FAIL")
    assert f"it is {MASK}." in bench.log(made)
    nothing_left(bench, directory)


def test_kill_of_a_filter_and_its_shim(bench: Bench) -> None:
    """Nothing lies in `running`; the next pass finds it all the same."""
    made = job(bench, WAITS)
    own = f"{made.id}-{made.name}"
    running = subprocess.Popen(["cit-run"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert running.stdin
    running.stdin.write(made.raw)
    running.stdin.close()
    log, record = bench.account / "work" / f"{own}.log", bench.account / "work" / f"{own}.run"
    until(lambda: log.exists() and CANARY in log.read_text())
    directory, status = os.readlink(bench.account / "work" / ".private" / own), read_status(str(record))
    assert status is not None
    os.kill(status.shim, signal.SIGSTOP)  # or it would clean up when cit-run dies
    killed(running.pid)
    running.wait()
    killed(status.shim)
    os.killpg(int((record / "pid").read_text()), signal.SIGKILL)
    assert os.path.isdir(directory)
    bench.run()
    assert f"it is {MASK}." in log.read_text()
    nothing_left(bench, directory)


def test_killed_before_the_start(bench: Bench) -> None:
    """Laid out, and killed before the order was given: the job begins with secrets laid out anew."""
    made = taken(bench, job(bench, PRINTS))
    bench.record(made).mkdir()
    directory = secrets.handed_over(made, bench.account.path, f"{made.id}.a1-{made.name}")
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED" and f"it is {MASK}." in bench.log(made)
    nothing_left(bench, directory)


def test_young_and_running_ones_are_left_alone(bench: Bench) -> None:
    """Another cit-run, a filter, may have just laid them out."""
    made = bench.assigned(job(bench, PRINTS))
    own = f"{made.id}.a1-{made.name}"
    bench.record(made).mkdir(parents=True)
    directory = secrets.handed_over(made, bench.account.path, own)
    bench.run()
    assert os.path.isdir(directory)
    os.utime(link(bench, made), (1, 1), follow_symlinks=False)
    bench.run()
    nothing_left(bench, directory)


# --- a job that does not play along -----------------------------------------------------------------------------------


def test_job_that_tampers_with_its_directory(bench: Bench, tmp_path: Path) -> None:
    """A fifo stops nobody, a link leads nowhere, and what it has locked goes too."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").write_text("x")
    script = f'#!/bin/sh\ncd "$CIT_SECRETS"\nmkfifo pipe\nln -s {kept} link\nln -s {kept}/precious p\nmkdir -p a/b; chmod 0 a/b a\nchmod 500 .\n'
    made = send(bench, job(bench, script))
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED" and (kept / "precious").read_text() == "x"
    nothing_left(bench)


def test_job_that_puts_a_link_in_place_of_its_log(bench: Bench, tmp_path: Path) -> None:
    """What the link leads to is not written to."""
    precious = tmp_path / "precious"
    precious.write_text(CANARY)
    made = send(bench, job(bench, f"#!/bin/sh\nlog=$(readlink /proc/$$/fd/1)\nrm $log\nln -s {precious} $log\n"))
    bench.run()
    assert bench.result(made)["state"] == "COMPLETED" and precious.read_text() == CANARY


# --- hidden in logs ---------------------------------------------------------------------------------------------------


def test_log_is_hidden_before_its_digest_is_taken(bench: Bench) -> None:
    made = send(bench, job(bench, PRINTS))
    bench.run()
    log = bench.account / "work" / f"{made.id}.a1-job.log"
    digest = subprocess.run(["sha256sum", log], capture_output=True, check=True, text=True).stdout.split()[0]
    artefact = bench.finished(made).find("artefact")
    assert artefact and artefact.rows()[0][:2] == [digest, str(log.stat().st_size)]


def test_lines_and_short_ones(bench: Bench) -> None:
    """Of several lines each is hidden, but not those of three bytes."""
    made = send(bench, job(bench, '#!/bin/sh\ncat "$CIT_SECRETS/TOKEN"\n', TOKEN="first line\nabc\n  indented\n"))
    bench.run()
    assert bench.log(made) == "**********\nabc\n  ********\n"


def test_large_log_is_hidden_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across the pieces in which it is gone over."""
    monkeypatch.setattr(conceal, "PIECE", 64)
    log = tmp_path / "log"
    text = b"".join(b"%d " % number + (b"hunter2", b"swordfish")[number % 2] + b" and more\n" for number in range(400))
    log.write_bytes(text)
    sought = masks.values([b"hunter2\nswordfish"])
    conceal.conceal(str(log), sought)
    assert log.read_bytes() == masks.hidden(text, sought) == text.replace(b"hunter2", b"*" * 7).replace(b"swordfish", b"*" * 9)
    assert len(log.read_bytes()) == len(text)


def test_terminal_of_a_filter_is_masked(bench: Bench) -> None:
    """cit-run on a terminal shows the log as it grows."""
    made = bench.home / "made.cit"
    made.write_bytes(job(bench, f"{PRINTS}sleep 0.3\n").raw)  # as long as it runs; afterwards the log itself is hidden
    shown = subprocess.run(["script", "-qefc", f"cit-run < {made}", "/dev/null"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30).stdout
    assert b"it is ***." in shown and CANARY.encode() not in shown


def test_clock_of_links(bench: Bench) -> None:
    assert clock.now() and secrets.is_young(str(bench.home / "nothing"))
