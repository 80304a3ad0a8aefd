"""Results that only some may read: sealed when the job has ended, and nowhere else on its builder, however it ended or was killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cit_run import attempt, keep, local, sealing
from cit_run.cit_format import body, document, keys, reply, seal
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import DATA, IO
from cit_run.shim import read_status
from cit_run.workspace import Place
from tests.int.cit_run.kit import Bench, killed, until
from tests.int.cit_run.sealed import CANARY, holding

# What is written and printed; no text of the job itself holds it.
WRITES = f"#!/bin/sh\nmkdir -p lib\necho {CANARY[::-1]} | rev | tee out.txt lib/deep loose .hidden\n"
WAITS = WRITES + "for n in $(seq 1000); do [ ! -e stop ] || exit 0; sleep 0.02; done\n"


class Keys:
    """Keys of readers: the author's, one of age, and a stranger's."""

    def __init__(self, bench: Bench) -> None:
        self.files = {"author": bench.home / ".cit/id_ed25519", "age": bench.home / "age.key", "stranger": bench.home / "stranger"}
        keys.generate(self.files["stranger"], "x@y")
        subprocess.run(["age-keygen", "-o", self.files["age"]], check=True, capture_output=True)

    def public(self, whom: str) -> str:
        if whom == "age":
            return subprocess.run(["age-keygen", "-y", self.files["age"]], check=True, capture_output=True, text=True).stdout.strip()
        return " ".join(keys.load(self.files[whom]).public.line.split()[:2])

    def opened(self, whom: str, path: Path) -> bytes | None:
        """What age(1) makes of a file with a key; None where it does not open."""
        ended = subprocess.run(["age", "-d", "-i", self.files[whom], path], capture_output=True)
        return ended.stdout if ended.returncode == 0 else None


@pytest.fixture
def ring(bench: Bench) -> Keys:
    return Keys(bench)


def kept(*globs: str) -> bytes:
    return document.section("keep", "tsv", body.tsv([glob] for glob in globs))


def for_whom(*rows: tuple[str, str]) -> bytes:
    return document.section("reply", "tsv", body.tsv(rows))


def everything(ring: Keys) -> tuple[bytes, bytes]:
    return kept("*.txt", "lib"), for_whom((".", ring.public("author")), (".log", ring.public("author")))


def own(job: Document) -> str:
    return f"{job.id}.a1-{job.name}"


def artefacts(bench: Bench, job: Document) -> dict[str, Path]:
    """The files that a finished job names, by what is behind its own name; digest and size are right."""
    found = {}
    for section in bench.finished(job).all("artefact"):
        for digest, size, path in section.rows():
            name = path[len(f"work/{own(job)}") :].lstrip("/")
            found[name] = bench.account / path if "/" not in path[len("work/") :] else bench.account / "store" / digest
            content = found[name].read_bytes()
            assert (hashlib.sha256(content).hexdigest(), str(len(content))) == (digest, size)
    return found


def nothing_in_the_clear(bench: Bench, job: Document) -> None:
    assert holding(bench.account.path) == []
    assert sealing.left(f"{bench.account.path}/work") == []
    assert not (bench.account / "work" / f"{own(job)}.log").exists()


# --- sealed -----------------------------------------------------------------------------------------------------------


def test_all_that_a_job_leaves(bench: Bench, ring: Keys) -> None:
    globs, rows = everything(ring)
    job = bench.send(WRITES, globs, rows, for_whom((".log", ring.public("age"))))
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED"
    found = artefacts(bench, job)
    assert sorted(found) == [".log.age", "lib/deep.age", "out.txt.age"]
    for name, path in found.items():
        assert ring.opened("author", path) == f"{CANARY}\n".encode() and ring.opened("stranger", path) is None
        assert (ring.opened("age", path) is not None) == (name == ".log.age")
        assert path.stat().st_mode & 0o777 == 0o400
    nothing_in_the_clear(bench, job)
    assert os.listdir(bench.account / "work" / job.name / "0") == [".cit"]
    assert os.path.samefile(bench.account / "work" / job.name / "0" / ".cit", bench.record(job))
    later = bench.send("#!/bin/sh\nls -A\n", workspace="incremental")
    bench.run()
    assert bench.log(later).splitlines()[-1] == ".cit"


def test_only_what_a_row_means(bench: Bench, ring: Keys) -> None:
    """The rest is as without `reply`; a file that two rows mean opens with either key."""
    job = bench.send(WRITES, kept("."), for_whom(("*.txt", ring.public("author")), ("out.*", ring.public("age")), ("no", ring.public("age"))))
    bench.run()
    found = artefacts(bench, job)
    assert sorted(found) == [".hidden", ".log", "lib/deep", "loose", "out.txt.age"]
    assert ring.opened("author", found["out.txt.age"]) == ring.opened("age", found["out.txt.age"]) == found["loose"].read_bytes()
    assert sorted(os.listdir(bench.account / "work" / job.name / "0")) == [".cit", ".hidden", "lib", "loose"]


def test_log_alone(bench: Bench, ring: Keys) -> None:
    job = bench.send("#!/bin/sh\necho hello\n", for_whom((".log", ring.public("author"))), name="quiet")
    bench.run()
    assert ring.opened("author", artefacts(bench, job)[".log.age"]) == b"hello\n"


@pytest.mark.parametrize("size", [0, 65536, 20_000_000])
def test_files_of_any_size(bench: Bench, ring: Keys, size: int) -> None:
    job = bench.send(
        f"#!/bin/sh\nhead -c {size} /dev/zero | tee big\n", kept("big"), for_whom((".", ring.public("author")), (".log", ring.public("age")))
    )
    bench.run()
    found = artefacts(bench, job)
    assert ring.opened("author", found["big.age"]) == ring.opened("age", found[".log.age"]) == bytes(size)


def test_what_is_refused(bench: Bench, ring: Keys) -> None:
    wrong = ring.public("age")[:-1] + ("q" if ring.public("age")[-1] != "q" else "p")  # its checksum does not fit
    for rows in ([("*", wrong)], [("*", "ssh-dss AAAA")], [("../x", ring.public("age"))], [("*", ring.public("age"))] * 257):
        job = bench.send(WRITES, for_whom(*rows))
        bench.run(status=DATA)
        assert [name for name in bench.names("refused") if job.id in name], rows
    assert not list(bench.account.path.glob("work/*.run"))


def test_filter(bench: Bench, ring: Keys) -> None:
    """In a pipe, and on a terminal, where the log is shown before it is sealed."""
    job = bench.job(WRITES, *everything(ring))
    made = bench.home / "made.cit"
    made.write_bytes(job.raw)
    done = bench.filtered(job).stdout
    assert b".log.age\n" in done and CANARY.encode() not in done
    shown = subprocess.run(["script", "-qefc", f"cit-run < {made}", "/dev/null"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30).stdout
    assert CANARY.encode() in shown and holding(bench.account.path) == []


def test_log_is_shown_though_it_is_sealed_soon(bench: Bench, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A job that has ended before anybody looks."""
    log = bench.account / "work" / "quick.log"
    sealing.begin(str(log.parent), "quick", b"")
    show = local.Show(Place("", "", str(log), ""), raw=True)
    log.write_bytes(b"all\n")
    log.unlink()
    show.more(last=True)
    assert capsysbinary.readouterr().out == b"all\n"


def test_run_as_another_account(bench: Bench, ring: Keys) -> None:
    """What the other account prints comes by our log, so it is sealed here too."""
    bench.set(run_as=["ada@sun=ada"])
    for rows, wanted in ((everything(ring), True), ((), False)):
        job = bench.job(WRITES, *rows, submitter="ada@sun")
        mine = attempt.attempt_of(f"{job.id}-{job.name}.cit", job, 0)
        place, _ = attempt.laid_out(mine, bench.account, 1, own(job))
        given = attempt.order_as(attempt.order(mine, place, {"PATH": "/bin"}, [], bench.account.path), bench.account, job)
        assert (given.always, sealing.is_due(f"{bench.account.path}/work", own(job))) == (wanted, wanted)


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["shim", "cit-run", "both"])
def test_killed_while_it_runs(bench: Bench, ring: Keys, whom: str) -> None:
    """Once the next pass is over nothing is in the clear; what a lost job left is sealed as that of any other."""
    job = bench.send(WAITS, *everything(ring))
    started = bench.start()
    until(lambda: bench.runs(job) and CANARY in bench.log(job))
    log = bench.account / "work" / f"{own(job)}.log"
    assert log.stat().st_mode & 0o777 == 0o600
    status = read_status(str(bench.record(job)))
    assert status is not None
    if whom != "shim":
        killed(started.pid)
        started.wait()
    if whom != "cit-run":
        killed(status.shim)
    else:
        (bench.account / "work/job/0/stop").touch()
        until(lambda: "\tended" in (bench.record(job) / "status").read_text(), "the end of the job without cit-run")
        nothing_in_the_clear(bench, job)
    if whom != "shim":
        started = bench.start()
    assert started.wait(30) == 0
    assert bench.result(job)["state"] == ("COMPLETED" if whom == "cit-run" else "NODE_FAIL")
    log_now, *files = [ring.opened("author", path) or b"" for path in artefacts(bench, job).values()]
    assert log_now.startswith(f"{CANARY}\n".encode()) and files == [f"{CANARY}\n".encode()] * 2  # a shell may say whom it saw killed
    nothing_in_the_clear(bench, job)


def test_killed_filter(bench: Bench, ring: Keys) -> None:
    """Nothing lies in `running`; the next pass finds it all the same."""
    job = bench.job(WAITS, *everything(ring))
    running = subprocess.Popen(["cit-run"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert running.stdin
    running.stdin.write(job.raw)
    running.stdin.close()
    name = f"{job.id}-{job.name}"
    log, record = bench.account / "work" / f"{name}.log", bench.account / "work" / f"{name}.run"
    until(lambda: log.exists() and CANARY in log.read_text())
    status = read_status(str(record))
    assert status is not None
    os.kill(status.shim, signal.SIGSTOP)  # or it would finish when cit-run dies
    killed(running.pid)
    running.wait()
    killed(status.shim)
    os.killpg(int((record / "pid").read_text()), signal.SIGKILL)
    bench.run()
    assert holding(bench.account.path) == [] and not log.exists()
    assert (ring.opened("author", Path(f"{log}.age")) or b"").startswith(CANARY.encode())


def left_behind(bench: Bench, name: str, rows: bytes) -> str:
    """What a job has left when its end is to be sealed, without a job."""
    work = bench.account / "work"
    slot = work / name / "0"
    for directory in (slot / "lib", work / f"{name}.run"):
        directory.mkdir(parents=True)
    (work / name / ".0").symlink_to(f"../{name}.run")
    (work / f"{name}-own").symlink_to(f"{name}/0")
    for path in (slot / "out.txt", slot / "lib/deep", slot / "loose", work / f"{name}.log"):
        path.write_text(CANARY)
    (work / f"{name}.run" / "keep").write_bytes(body.tsv([["."]]))
    sealing.note(str(work), name, rows)
    return str(slot)


@pytest.mark.parametrize("rows", [(".log", "."), (".log", "lib", "*.txt", "loose")])
def test_killed_at_any_call_of_the_step(bench: Bench, ring: Keys, rows: tuple[str, ...]) -> None:
    """Before each call in turn that changes something; done again, all is there once, and sealed."""
    text = body.tsv((glob, ring.public("author")) for glob in rows)
    for count in range(99):
        name = f"try{count}"
        slot = left_behind(bench, name, text)
        child = os.fork()
        if child == 0:
            dies_at(count)
            keep.leave(bench.account.path, name, slot)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            assert sealing.is_due(f"{bench.account.path}/work", name)
            keep.leave(bench.account.path, name, slot)
        found = keep.rows_of(f"{bench.account.path}/work/{name}.run") or []
        assert [path.rpartition(name)[2] for _, _, path in found] == [".log.age", "/lib/deep.age", "/loose.age", "/out.txt.age"]
        assert all((bench.account / "store" / digest).exists() for digest, _, _ in found[1:])
        assert holding(bench.account.path) == [] and sealing.left(f"{bench.account.path}/work") == []
        if status == 0:
            break
    assert status == 0 and count > 15
    assert ring.opened("author", bench.account / found[0][2]) == CANARY.encode()


def dies_at(count: int) -> None:
    """From here on the call of this number that would change a directory or a file kills this process."""
    left = [count]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def instead(*given: object, **named: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*given, **named)

        return instead

    for name in ("open", "write", "rename", "unlink", "rmdir", "symlink", "mkdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))


def test_full_disk(bench: Bench, ring: Keys) -> None:
    """What cannot be sealed has not ended, and its workspace is nobody else's; the next pass that can do it does."""
    (bench.account / "store").rmdir()
    (bench.account / "store").write_text("no directory")
    job = bench.send(WRITES, *everything(ring))
    assert "are not sealed yet" in bench.run(status=IO)
    assert bench.names("running") == [own(job)] and bench.names("finished") == []
    other = bench.send("#!/bin/sh\npwd; ls\n", workspace="incremental")
    bench.run(status=IO)
    assert bench.log(other).splitlines()[-1] == f"{bench.account.path}/work/job/1"
    (bench.account / "store").unlink()
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED" and len(artefacts(bench, job)) == 3
    nothing_in_the_clear(bench, job)


def test_power_failure(bench: Bench, ring: Keys) -> None:
    """The note is gone with what was not on the disk; the job says it again."""
    job = bench.assigned(bench.job(WRITES, *everything(ring)))
    slot = left_behind(bench, own(job), b"")
    place = Place(
        slot, f"{bench.account.path}/work/{own(job)}", f"{bench.account.path}/work/{own(job)}.log", f"{bench.account.path}/work/{own(job)}.run"
    )
    sealing.over(f"{bench.account.path}/work", own(job))
    assert len(keep.left_by(job, place)) == 4
    nothing_in_the_clear(bench, job)


def test_begun_anew(bench: Bench, ring: Keys) -> None:
    """Another engine may run an attempt twice: what the first run left goes, its log stays."""
    work, name = f"{bench.account.path}/work", "twice"
    left_behind(bench, name, b"")
    (bench.account / "work" / name).rename(bench.account / "work" / "home")
    (bench.account / "work" / name).symlink_to("home/0")
    (bench.account / "work" / f"{name}.run/artefacts").touch()
    sealing.begin(work, name, body.tsv([(".", ring.public("author"))]))
    assert (bench.account / "work/twice.log").read_text() == CANARY and not (bench.account / "work/twice.run/artefacts").exists()
    assert [entry[:7] for entry in os.listdir(bench.account / "work/home")] != ["0"] and not (bench.account / "work/home/0").exists()


# --- a job that does not play along -----------------------------------------------------------------------------------


def test_links_lead_nowhere(bench: Bench, ring: Keys, tmp_path: Path) -> None:
    """In place of its log, in place of a directory: what they lead to is not sealed, and stays."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "out.txt").write_text("x")
    script = (
        f"#!/bin/sh\nlog=$(ls ~/.cit/work/*.log)\nrm $log\nln -s {precious}/out.txt $log\nln -s {precious} lib\nln -s {precious}/out.txt out.txt\n"
    )
    job = bench.send(script, *everything(ring))
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED" and list(artefacts(bench, job)) == [".log.age"], "an empty one"
    sealing.cleared(str(precious.parent), ["precious/none", "none/none"], False)
    assert (precious / "out.txt").read_text() == "x" and not (bench.account / "work" / f"{own(job)}.log").exists()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/link").symlink_to(precious)
    with pytest.raises(OSError):
        sealing.cleared(str(tmp_path / "top"), ["link/out.txt"], False)
    assert (precious / "out.txt").exists()


# --- decisions --------------------------------------------------------------------------------------------------------


def test_what_rows_mean(bench: Bench, ring: Keys) -> None:
    known = [
        reply.Row(glob, seal.recipient(ring.public(whom)))
        for glob, whom in ((".", "age"), ("lib", "author"), ("*.txt", "author"), (".log", "stranger"))
    ]
    count = {path: len(reply.recipients(known, path)) for path in ("a", "lib/b/c", "x.txt", "d/x.txt", ".log", "lib", ".a.txt")}
    assert count == {"a": 1, "lib/b/c": 2, "x.txt": 2, "d/x.txt": 1, ".log": 2, "lib": 2, ".a.txt": 1}
    assert [each.key for each in reply.of_log(known)] == [ring.public("stranger")]
    assert reply.is_all(known) and not reply.is_all(known[1:])
