"""The daily verbs in bin/ as people and cron start them: requeue, pause, resume, config, init, tick, doctor, demo."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cit_format.reader import parse
from tests.int.cit_report.lived import BIN, CRONTAB, Lived


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    """A home after its first use; crontab(1) writes into this home, not into that of who runs the tests."""
    lived = Lived(tmp_path / "home")
    lived.directory.mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "crontab").write_text(CRONTAB)
    (tmp_path / "bin" / "crontab").chmod(0o755)
    lived.environment["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
    lived.run("cit-init")
    return lived


@pytest.mark.parametrize("path", sorted(path for path in BIN.glob("cit-*") if not path.is_symlink()), ids=lambda path: path.name)
def test_every_verb_explains_itself(path: Path) -> None:
    """-h prints the head of the script, whole; and refuses an option that it does not know without a traceback."""
    head = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().split("\n"))
    said = subprocess.run([path, "-h"], env={"PATH": f"{BIN}:{os.defpath}", "HOME": "/nonexistent"}, capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout.startswith(f"{path.name}: ") and "Usage: " in said.stdout, said.stderr
    last = list(head)
    assert "exits" in said.stdout.lower() and last[-1].removeprefix("# ") in said.stdout


# --- requeue ----------------------------------------------------------------------------------------------------------


def signed(lived: Lived, name: str) -> bytes:
    raw = Path(lived.run("cit-show", "--path", name).strip()).read_bytes()
    return parse(raw).submitted


def test_requeue_is_the_same_job_again_with_its_parent(lived: Lived) -> None:
    job = lived.push(
        "again", "#!/bin/sh\necho @@begin script; echo again\n", "--time", "1m", "--priority", "5", "--export", "A=b c", "--keep", "*.o", "--hold"
    )
    lived.run("cit-cancel", job)
    lived.run("cit-requeue", "--wait", "again")
    new = lived.run("cit-show", "--id", "last").strip()
    assert new != job
    old_job, new_job = parse(signed(lived, job)), parse(signed(lived, new))
    both = [{key: value for key, value in each.table("job").items() if key not in ("created", "expires")} for each in (old_job, new_job)]
    assert both[0].pop("hold") is True and both[1].pop("parent") == job
    assert both[0] == both[1]
    kept = [[each.raw for each in document.sections if each.kind not in ("job", "signature")] for document in (old_job, new_job)]
    assert kept[0] == kept[1] and len(kept[0]) == 3
    assert lived.run("cit-log", new).endswith("again\n")


def test_requeue_of_all_that_failed(lived: Lived) -> None:
    for name, script in {"good": "true", "bad": "exit 3", "late": "sleep 60"}.items():
        lived.push(name, f"#!/bin/sh\n{script}\n", "--time", "1s")
    lived.run("cit-wait", "-q", "good", "bad", "late", status=124)
    lived.run("cit-requeue", "--failed")
    lived.run("cit-wait", "-q", "bad", "late", status=124)
    assert sorted(row["name"] for row in lived.rows("cit-ls", "--all")) == ["bad", "bad", "good", "late", "late"]
    assert lived.completed("cit-requeue", "--failed", "nothing").returncode == 66


def test_requeue_of_what_is_not_there(lived: Lived) -> None:
    assert lived.completed("cit-requeue", "nothing").returncode == 66
    assert lived.completed("cit-requeue", "--nonsense").returncode == 2


# --- pause, resume ----------------------------------------------------------------------------------------------------


def test_a_paused_queue_accepts_and_starts_none(lived: Lived) -> None:
    lived.run("cit-pause", "@main", "-m", "a\tnew disk")
    assert lived.rows("cit-queues")[0]["state"] == "paused"
    lived.push("later", "#!/bin/sh\ntrue\n")
    lived.run("cit-tick")
    said = lived.run("cit-why", "later")
    assert "queue main is paused" in said and "ada@sun paused it: a new disk" in said and "cit resume @main" in said
    lived.run("cit-resume", "@main")
    lived.run("cit-wait", "later")
    assert lived.rows("cit-queues")[0]["state"] == "active"
    moves = [line.split("\t")[2:] for log in lived.queue.glob("log/*.tsv") for line in log.read_text().splitlines() if line.startswith("-\t")]
    assert moves == [["queue", "paused", "sun", "ada", "a new disk"], ["queue", "resumed", "sun", "ada", ""]]


def test_a_frozen_queue_takes_nothing_and_nothing_is_lost(lived: Lived) -> None:
    lived.run("cit-pause", "--freeze", "@main")
    job = lived.run("cit-trigger", "--name", "later", "--", "true")
    lived.run("cit-queue", "--to", "@main", stdin=job.encode(), status=75)
    assert lived.until("later", "PENDING")["path"].startswith(f"{lived.path}/outbox/")
    assert "could not be reached" in lived.run("cit-why", "later")
    lived.run("cit-resume", "@main")
    lived.run("cit-tick")
    lived.run("cit-wait", "later")


def test_a_paused_builder_gets_no_more(lived: Lived) -> None:
    lived.run("cit-pause", "sun", "-m", "hot\tdisk", SSH_CONNECTION="10.0.0.7 4711 10.0.0.1 22")
    [builder] = lived.rows("cit-builders")
    why = re.fullmatch(r"paused by ada@sun at 20\S+Z: hot disk \(from 10\.0\.0\.7\)", builder["why"])
    assert builder["state"] == "paused" and why, builder
    lived.push("later", "#!/bin/sh\ntrue\n")
    lived.run("cit-tick")
    assert f"| sun: {why[0]}\n" in lived.run("cit-why", "later")
    lived.run("cit-resume", "sun")
    lived.run("cit-wait", "later")
    assert lived.rows("cit-builders")[0]["state"] == "up" and len(list((lived.queue / "builders").iterdir())) == 1
    moves = [line.split("\t")[3:] for log in lived.queue.glob("log/*.tsv") for line in log.read_text().splitlines() if line.startswith("-\t")]
    assert moves == [["builder-paused", "sun", "ada", "sun: hot disk (from 10.0.0.7)"], ["builder-resumed", "sun", "ada", "sun"]]


def test_a_builder_that_its_owner_drained_is_not_resumed(lived: Lived) -> None:
    [file] = (lived.queue / "builders").glob("*.cit")
    body = file.read_bytes().partition(b"@begin signature ")[0].replace(b'state = "up"', b'state = "drain"')
    file.write_bytes(lived.run("cit-format", "sign", "--ns", "cit-builder", stdin=body).encode())
    assert lived.rows("cit-builders")[0]["state"] == "drain"
    done = lived.completed("cit-resume", "sun")
    assert done.returncode == 1 and b"is drained" in done.stderr
    assert lived.completed("cit-resume", "@far").returncode == 66
    far = lived.path / "queues" / "far"
    far.mkdir()
    (far / "queue.toml").write_text(
        'name = "main"\nfounder = "SHA256:Qq1hB2nM3cV4xZ5lK6jH7gF8dS9aP0oI1uY2tR3eW4q"\nremote = true\ndoor = "ssh://cit@hub/@main"\n'
    )
    (far / "queue.toml").chmod(0o600)
    done = lived.completed("cit-pause", "@far")
    assert done.returncode == 1 and b"ssh://cit@hub/@main" in done.stderr


def test_a_paused_job_is_held(lived: Lived) -> None:
    lived.push("giant", "#!/bin/sh\ntrue\n", "-c", "4000")
    lived.until("giant", "PENDING")
    lived.run("cit-pause", "giant")
    lived.until("giant", "HELD")
    lived.run("cit-resume", "giant")
    lived.until("giant", "PENDING")


def test_pause_of_nothing(lived: Lived) -> None:
    for words, status in ((["@nix"], 66), (["nix"], 66), ([], 2), (["v*"], 66), (["-m"], 2), (["--nonsense", "@main"], 2)):
        assert lived.completed("cit-pause", *words).returncode == status, words


# --- config, init -----------------------------------------------------------------------------------------------------


def test_config_keeps_what_people_wrote(lived: Lived) -> None:
    file = lived.queue / "queue.toml"
    file.write_text("# ours\n" + file.read_text().replace("active = true\n", "active = true   # always\n"))
    before = file.read_text()
    lived.run("cit-config", "@main", "on-arrival", 'echo "a  b"')
    assert file.read_text() == before + 'on-arrival = "echo \\"a  b\\""\n'
    assert lived.run("cit-config", "@main", "on-arrival") == 'echo "a  b"\n'
    lived.run("cit-config", "@main", "--unset", "on-arrival")
    assert file.read_text() == before
    lived.run("cit-config", "queues", "@main", "@other")
    assert lived.run("cit-config", "queues") == "@main\n@other\n"
    assert (lived.path / "config.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("words", "said"), [(["@main", "active", "maybe"], "neither true nor false"), (["nonsense", "1"], "has no 'nonsense'")])
def test_config_refuses_what_it_does_not_know(lived: Lived, words: list[str], said: str) -> None:
    done = lived.completed("cit-config", *words)
    assert done.returncode == 2 and said in done.stderr.decode()


def test_init_makes_a_queue_that_works(lived: Lived) -> None:
    lived.run("cit-init", "@second")
    assert lived.completed("cit-init", "@second").returncode == 1
    job = lived.completed("cit-trigger", "--queue", "@second", "--name", "there", "--", "true").stdout
    lived.run("cit-queue", "--to", "@second", stdin=job)
    lived.run("cit-wait", "there")
    assert lived.rows("cit-ls", "-J", "there")[0]["queue"] == "second"
    lived.run("cit-trace", "there")
    lived.run("cit-fsck", "-n")


def test_init_looks_after_cron(lived: Lived) -> None:
    crontab = lived.directory / "crontab"
    crontab.write_text("MAILTO=ada\n5 4 * * * backup '100\\%'\n")
    before = crontab.read_text()
    lived.run("cit-init", "--cron")
    once = crontab.read_text()
    assert (
        once.startswith(before)
        and once.count("cit-tick") == 1
        and re.search(r"^# cit begin.*\n\* \* \* \* \* '/.*/cit-tick'\n# cit end$", once, re.M)
    )
    stamp = crontab.stat().st_mtime_ns
    lived.run("cit-init", "--cron")
    assert (crontab.read_text(), crontab.stat().st_mtime_ns) == (once, stamp), "again it changes nothing"
    assert "ok    cron " in lived.run("cit-doctor")
    lived.run("cit-init", "--undo")
    assert crontab.read_text() == before
    crontab.unlink()
    lived.run("cit-init", "--cron", CIT_HOME=str(lived.path))
    assert f"* * * * * CIT_HOME='{lived.path}' '/" in crontab.read_text()
    lived.run("cit-init", "--undo")
    assert not crontab.exists()


# --- tick -------------------------------------------------------------------------------------------------------------


def cron(lived: Lived) -> list[subprocess.Popen[bytes]]:
    """What cron starts: `env -i`, sh, the whole path; not waited for."""
    variables = {key: value for key, value in lived.environment.items() if key.startswith("CIT_")}
    command = [f"{name}={value}" for name, value in variables.items()]
    words = ["env", "-i", f"HOME={lived.directory}", *command, "/bin/sh", "-c", f"'{BIN}/cit-tick'"]
    return [subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)]


def test_a_tick_does_what_on_arrival_missed_and_says_nothing(lived: Lived) -> None:
    lived.run("cit-config", "@main", "on-arrival", "")
    lived.run("cit-config", "on-arrival", "")
    lived.run("cit-config", "on-end", "")
    lived.push("later", "#!/bin/sh\necho done\n")
    assert lived.until("later", "PENDING")["path"].startswith(str(lived.queue / "waiting"))
    for _ in range(2):  # one runs it, the next one brings it home
        [tick] = cron(lived)
        assert tick.communicate(timeout=60) == (b"", None) and tick.returncode == 0
    assert lived.until("later", "COMPLETED")["path"].startswith(str(lived.queue / "done"))


def test_twenty_ticks_do_what_one_does(lived: Lived) -> None:
    lived.run("cit-config", "@main", "on-arrival", "")
    jobs = [lived.push(f"n{number}", f"#!/bin/sh\necho {number} >>$HOME/marks\n") for number in range(5)]
    ticks = [tick for _ in range(20) for tick in cron(lived)]
    for tick in ticks:
        assert tick.communicate(timeout=120) == (b"", None) and tick.returncode == 0
    lived.run("cit-tick")
    lived.run("cit-wait", *jobs)
    assert sorted((lived.directory / "marks").read_text().split()) == [str(number) for number in range(5)], "each once"
    lived.run("cit-fsck", "-n")


def test_a_tick_in_a_home_that_was_never_used_makes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(["env", "-i", f"HOME={tmp_path}", "/bin/sh", "-c", f"'{BIN}/cit-tick'"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"") and not list(tmp_path.iterdir())


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_in_a_home_that_works(lived: Lived) -> None:
    said = lived.run("cit-doctor")
    assert not re.search(r"^fail", said, re.M)
    for stage in ("trigger", "queue", "schedule", "deliver", "run", "sync", "report", "format"):
        assert re.search(rf"^ok    cit-{stage} +/\S+/cit-{stage} \([\d.]+\)$", said, re.M), said


def test_doctor_names_what_is_wrong(lived: Lived, tmp_path: Path) -> None:
    (lived.path / "key").chmod(0o644)
    (lived.queue / "queue.toml").write_text("active = maybe\n")
    (lived.queue / "log" / "on-arrival").write_text("cit-run: error: \x1b]0;oh no\n")
    broken = tmp_path / "bin" / "cit-sync"
    broken.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    broken.chmod(0o755)
    (lived.directory / "crontab").write_text("# cit begin\n* * * * * '/gone/cit-tick'\n# cit end\n")
    done = lived.completed("cit-doctor", "-q")
    said = done.stdout.decode()
    assert done.returncode == 1 and "\nok " not in f"\n{said}" and "\x1b" not in said
    for wrong in ("is open to others (644)", "queue.toml", f"{broken} does not start: broken", "/gone/cit-tick, which is not there", "oh no"):
        assert wrong in said, said
    assert said.count("hint: ") == said.count("\n") // 2


# --- demo -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("dpkg-source"), reason="no dpkg-source on this machine")
def test_demo_ends_as_its_build_does(tmp_path: Path) -> None:
    """apt-get is replaced by one that has a source package of three files, so that no network is needed: once right, once wrong."""
    source = tmp_path / "zlib-1.0"
    source.mkdir()
    (source / "configure").write_text("#!/bin/sh\necho configured\n")
    (source / "configure").chmod(0o755)
    (source / "Makefile").write_text("all:\n\t@echo built\ncheck:\n\t@test ! -e broken && echo '*** checked ***'\n")
    (source / "debian" / "source").mkdir(parents=True)
    (source / "debian" / "source" / "format").write_text("3.0 (native)\n")
    (source / "debian" / "changelog").write_text(
        "zlib (1.0) unstable; urgency=low\n\n  * It.\n\n -- Ada <ada@sun>  Mon, 23 Nov 2026 20:26:11 +0000\n"
    )
    (source / "debian" / "control").write_text("Source: zlib\nMaintainer: Ada <ada@sun>\n\nPackage: zlib\nArchitecture: any\nDescription: x\n")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apt-get").write_text(f'#!/bin/sh\ncase " $* " in *" source "*) cp {tmp_path}/zlib_1.0* . ;; esac\n')
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    for right in (True, False):
        if not right:
            (source / "broken").touch()
        subprocess.run(["dpkg-source", "-q", "-b", "zlib-1.0"], cwd=tmp_path, check=True, capture_output=True)
        words = ["env", "-i", f"HOME={tmp_path}/home", f"PATH={path}", BIN / "cit-demo", "debian"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) is right, done.stdout + done.stderr
        assert ("*** checked ***" in done.stdout) is right
        state = "COMPLETED" if right else "FAILED"
        assert f"-zlib {state}: " in done.stdout and "all 4 signatures hold" in done.stdout and "\ndocument   /" in done.stdout
