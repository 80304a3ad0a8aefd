"""Builders by file, introductions, bundles: what cit add and cit remove are made of (docs/howto/add-a-builder.md).

By ssh, on machines of their own: tests/cluster/test_add.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from cit_format import bundle, keys, reader
from tests.int.cit_report.lived import CRONTAB, Lived

PYTHON = Path(sys.executable).resolve()
THERE = Path(bundle.__file__).with_name("there.py")


def home(directory: Path, user: str, host: str) -> Lived:
    """A home of this person on this machine; crontab(1) writes into it."""
    directory.mkdir(exist_ok=True)
    lived = Lived(directory)
    lived.environment.update(CIT_USER=user, CIT_HOST=host, PATH=f"{directory}/bin:{os.environ['PATH']}")
    if not lived.path.exists():
        (directory / "bin").mkdir()
        (directory / "bin/crontab").write_text(CRONTAB)
        (directory / "bin/crontab").chmod(0o755)
        lived.run("cit-init")
    return lived


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes as they are at first: each test gets copies."""
    fresh = tmp_path_factory.mktemp("homes")
    home(fresh / "sun", "ada", "sun")
    home(fresh / "moon", "build", "moon")
    for file in (fresh / "sun/.cit/queues/main/builders").iterdir():
        file.unlink()
    return fresh


@pytest.fixture
def sun(homes: Path, tmp_path: Path) -> Lived:
    """ada's home, whose queue has no builder."""
    return home(shutil.copytree(homes / "sun", tmp_path / "sun"), "ada", "sun")


@pytest.fixture
def moon(homes: Path, tmp_path: Path) -> Lived:
    """A build account."""
    return home(shutil.copytree(homes / "moon", tmp_path / "moon"), "build", "moon")


def described(moon: Lived) -> Path:
    file = moon.directory / "moon.cit"
    file.write_text(moon.run("cit-format", "describe"))
    return file


def document(sun: Lived) -> str:
    [file] = (sun.queue / "builders").glob("*.cit")
    return file.read_text()


def lists(lived: Lived) -> str:
    return (lived.queue / "allowed_signers").read_text()


# --- a builder by a file ----------------------------------------------------------------------------------------------


def test_a_builder_that_described_itself_is_signed_by_the_queues_owner(sun: Lived, moon: Lived) -> None:
    said = sun.run("cit-add", described(moon), "--at", "/somewhere/.cit", "--slots", "3", "--tags=fast,arm")
    assert said.startswith("added moon (/somewhere/.cit): 3 slots, ")
    made = reader.parse(document(sun).encode())
    table = made.table("builder")
    assert table["tags"] == ["fast", "arm"] and table["users"] == ["ada@sun"] and table["host"] == "moon" and table["door"] == "/somewhere/.cit"
    rows = [line.split("\t") for line in sun.run("cit-format", "verify", "--signers", sun.queue / "allowed_signers", stdin=made.raw).splitlines()]
    assert [(row[2], row[3], row[6]) for row in rows[-1:]] == [("cit-builder", "ada@sun", "holds")]
    key = (moon.path / "key.pub").read_text().split()[1]
    assert re.search(rf'^builder@moon namespaces="cit-result,cit-builder" ssh-ed25519 {re.escape(key)}$', lists(sun), re.M)


def test_again_it_keeps_what_was_chosen_and_adds_nothing_twice(sun: Lived, moon: Lived) -> None:
    file = described(moon)
    sun.run("cit-add", file, "--slots", "3", "--hours", "18:00-08:00", "--tags", "a")
    before = lists(sun)
    sun.run("cit-add", file, "--tags", "b", "--hours", "")
    table = reader.parse(document(sun).encode()).table("builder")
    assert table["slots"] == 3 and table["tags"] == ["b"] and "hours" not in table
    assert lists(sun) == before


def test_what_cannot_be_is_refused(sun: Lived, moon: Lived) -> None:
    file = described(moon)
    faults = [
        (["--slots", "none"], 2, "slots"),
        (["--slots", "0"], 2, "slots"),
        (["--hours", "8-18"], 2, "hours"),
        (["--kind", "lsf"], 2, "kind"),
        (["--name", "Bad Name"], 2, "name"),
        (["--nonsense", "1"], 2, "no option"),
        (["@elsewhere"], 66, "no queue"),
    ]
    for options, status, why in faults:
        done = sun.completed("cit-add", file, *options)
        assert done.returncode == status and why in done.stderr.decode(), done.stderr
    assert not list((sun.queue / "builders").glob("*.cit"))


def test_a_description_changed_by_somebody_is_refused(sun: Lived, moon: Lived) -> None:
    file = described(moon)
    file.write_text(re.sub(r"slots = \d+", "slots = 99", file.read_text()))
    done = sun.completed("cit-add", file)
    assert done.returncode == 77 and b"does not match" in done.stderr and not list((sun.queue / "builders").glob("*.cit"))


def test_a_bare_file_needs_the_key_beside_it(sun: Lived, moon: Lived) -> None:
    key = keys.load(moon.path / "key").public
    bare = moon.directory / "builder.toml"
    bare.write_text(
        f'name = "moon"\naccount = "build"\nhost = "moon"\nkey = "{key.fingerprint}"\nslots = 2\ncpus = 4\nmem = "8G"\ntmp = "9G"\n'
        'state = "up"\ncreated = 2026-11-01T08:00:00Z\ndoor = "ssh://build@moon"\n'
    )
    done = sun.completed("cit-add-builder", bare)
    assert done.returncode == 65 and b"--key" in done.stderr
    sun.run("cit-add-builder", bare, "--key", moon.path / "key.pub")
    table = reader.parse(document(sun).encode()).table("builder")
    assert table["cpus"] == 4 and "users" not in table
    bare.write_text(bare.read_text() + 'slots = "many"\n')
    assert sun.completed("cit-add-builder", bare).returncode in (65, 78)


def test_what_another_owner_signed_stays_as_it_is(sun: Lived, moon: Lived, tmp_path: Path) -> None:
    """ben's builder: his signature counts where the queue lists him, and then nothing of it changes."""
    ben = home(tmp_path / "ben", "ben", "venus")
    unsigned = re.sub(r"@begin signature .*?@end signature\n", "", described(moon).read_text(), flags=re.S)
    signed = tmp_path / "signed.cit"
    signed.write_text(ben.run("cit-format", "sign", "--ns", "cit-builder", stdin=unsigned.encode()))
    public = (moon.path / "key.pub").as_posix()
    assert sun.completed("cit-add", signed, "--key", public).returncode == 77
    with open(sun.queue / "allowed_signers", "a") as file:
        file.write(f'ben@venus namespaces="cit-builder" {(ben.path / "id_ed25519.pub").read_text()}')
    assert sun.completed("cit-add", signed, "--key", public, "--slots", "7").returncode == 2
    sun.run("cit-add", signed, "--key", public)
    assert document(sun) == signed.read_text()


def test_two_accounts_of_one_machine_have_names_of_their_own(sun: Lived, moon: Lived, tmp_path: Path) -> None:
    other = home(tmp_path / "other", "other", "moon")
    sun.run("cit-add", described(moon))
    sun.run("cit-add", described(other))
    assert {row["name"] for row in sun.rows("cit-builders")} == {"moon", "moon-other"}
    sun.run("cit-add", described(other), "--name", "titan")
    assert {row["name"] for row in sun.rows("cit-builders")} == {"moon", "titan"}
    assert sun.completed("cit-add", described(other), "--name", "moon").returncode == 78


def test_a_queue_elsewhere_takes_no_builders_here(sun: Lived, moon: Lived) -> None:
    far = sun.path / "queues/far"
    far.mkdir()
    (far / "queue.toml").write_text(f'name = "far"\nfounder = "SHA256:{"A" * 43}"\nremote = true\ndoor = "ssh://cit@venus/@far"\n')
    assert sun.completed("cit-add", described(moon), "@far").returncode == 66
    assert sun.completed("cit-add", "build@moon", "@far").returncode == 66


def test_no_text_reaches_ssh_as_an_option_or_shell(sun: Lived) -> None:
    for target in ("-oProxyCommand=x@moon", "a@-oProxyCommand=x", "a;b@moon", "a@moon:x", "a@$(id)", "@moon", "a@", "a@moon:22:22", "a b@moon"):
        done = sun.completed("cit-add", target)
        assert done.returncode in (2, 66) and b"let you in" not in done.stderr, (target, done.stderr)


# --- out again --------------------------------------------------------------------------------------------------------


def test_removed_its_key_says_nothing_new_and_what_it_said_holds(sun: Lived) -> None:
    """A queue and a builder of one home: a job runs, the builder goes, cit trace still proves the job."""
    sun.run("cit-add", described(sun))
    sun.run("cit-push", "--wait", "-J", "kept", "--", "true")
    sun.run("cit-trace", "kept")
    sun.run("cit-remove", "sun")
    assert not list((sun.queue / "builders").glob("*.cit")) and list((sun.queue / "builders/.removed").glob("*-sun.cit"))
    assert re.search(r'^builder@sun namespaces="cit-result,cit-builder",valid-before="\d{14}Z" ', lists(sun), re.M)
    sun.run("cit-trace", "kept")
    assert sun.completed("cit-remove", "nobody").returncode == 66
    sun.run("cit-remove", "sun")  # again: nothing to do
    sun.run("cit-add", described(sun))
    sun.run("cit-push", "--wait", "-J", "after", "--", "true")  # and back


def test_a_builder_with_jobs_is_drained_first(sun: Lived) -> None:
    sun.run("cit-add", described(sun))
    sun.push("long", f"#!/bin/sh\nuntil [ -e {sun.directory}/go ]; do sleep 0.05; done\n")
    sun.until("long", "RUNNING")
    done = sun.completed("cit-remove", "sun")
    assert done.returncode == 75 and b"sun has 1 job of @main" in done.stderr
    assert 'state = "drain"' in document(sun)
    (sun.directory / "go").write_text("")
    sun.run("cit-remove", "--wait", "sun")
    assert sun.until("long", "COMPLETED") and not list((sun.queue / "builders").glob("*.cit"))


def test_removed_now_what_runs_is_cancelled_and_the_rest_goes_back(sun: Lived) -> None:
    sun.run("cit-config", "slots", "1")
    sun.run("cit-add", described(sun), "--slots", "1")
    for name in ("runs", "waits", "held"):
        sun.push(name, "#!/bin/sh\nsleep 60\n")
        sun.until(name, "RUNNING" if name == "runs" else "PENDING")
    sun.until("held", "PENDING")
    sun.run("cit-remove", "--now", "sun")
    assert {row["name"]: row["state"] for row in sun.rows("cit-ls", "-a")} == {"runs": "CANCELLED", "waits": "PENDING", "held": "PENDING"}
    assert sorted(file.name.split(".")[2] for file in (sun.queue / "waiting").glob("*.cit")) == ["a2-held", "a2-waits"]
    assert not (sun.path / "inbox/.closed").exists()


# --- introductions ----------------------------------------------------------------------------------------------------


def test_an_introduction_is_admitted_once_and_taken_back(sun: Lived, moon: Lived) -> None:
    (sun.queue / "queue.toml").write_text((sun.queue / "queue.toml").read_text() + 'door = "ssh://ada@sun:2222/@main"\n')
    (sun.path / "known_hosts").write_text(f"[sun]:2222 {(moon.path / 'seal.pub').read_text()}")
    keys_file = moon.directory / ".ssh/authorized_keys"
    keys_file.parent.mkdir(mode=0o700)
    keys_file.write_text("# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0yCRAxNVnFvmtp7LJ8Y0rW6k1P0d8bMZ1sQxq3Jb8b me\n")
    before = keys_file.read_text()
    rows = sun.run("cit-format", "introduce")
    founder = keys.load(sun.queue / "key").public.fingerprint
    for _ in range(2):
        moon.run("cit-format", "admit", stdin=rows.encode())
        lines = keys_file.read_text().splitlines()
        assert len(lines) == 3 and keys_file.read_text().startswith(before)
        assert f'--door=\\"$SSH_ORIGINAL_COMMAND\\" --role queue --for main@{founder}" ssh-ed25519 ' in lines[2]
        assert lines[2].startswith('restrict,command="/') and "cit-queue --door=" in lines[2]
        assert [each.count("ada@sun") for each in (moon.path / "allowed_signers").read_text().splitlines()].count(1) == 1
        assert (moon.path / "known_hosts").read_text().startswith("[sun]:2222 ssh-ed25519 ")
        far = moon.path / "queues/main-sun/queue.toml"
        assert "remote = true" in far.read_text() and 'door = "ssh://ada@sun:2222/@main"' in far.read_text()
    parting = sun.run("cit-format", "introduce", "--parting")
    moon.run("cit-format", "dismiss", stdin=parting.encode())
    assert keys_file.read_text() == before and not far.exists()
    assert re.search(r'^queue@sun namespaces="cit-queue",valid-before="\d{14}Z" ', (moon.path / "allowed_signers").read_text(), re.M)
    moon.run("cit-format", "admit", stdin=rows.encode())
    assert len(keys_file.read_text().splitlines()) == 3  # and back


def test_what_is_no_introduction_changes_nothing(moon: Lived) -> None:
    key, before = (moon.path / "seal.pub").read_text().strip(), (moon.path / "allowed_signers").read_bytes()
    faults = [
        "host\tmoon",
        f"door\tqueue\tx y\t{key}\t",
        f"signer\t*\tcit-job\t{key}",
        "shell\ta\tb",
        f'host\ta" b\t{key}',
        "queue\t../x\tf\tssh://a@b",
    ]
    for row in faults:
        done = moon.completed("cit-format", "admit", stdin=f"{row}\n".encode())
        assert done.returncode == 65, (row, done.stderr)
    assert (moon.path / "allowed_signers").read_bytes() == before and not (moon.directory / ".ssh").exists()


# --- bundles ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bundle.Bundle, dict[str, str]]:
    """A bundle for the Python that runs these tests."""
    far = tmp_path_factory.mktemp("look")
    facts = dict(line.split("\t") for line in there(far, b"", "look").stdout.decode().splitlines())
    return bundle.made(bundle.target(facts), tmp_path_factory.mktemp("cache")), facts


def there(directory: Path, payload: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    """there.py as cit-add starts it on the far side, in a home of its own."""
    program = THERE.read_bytes()
    command = [PYTHON, "-E", "-c", f"import sys;exec(sys.stdin.buffer.read({len(program)}))", *words]
    environment = {"HOME": str(directory), "PATH": os.defpath}
    return subprocess.run(command, input=program + payload, capture_output=True, env=environment, timeout=60)


def test_a_bundle_runs_where_nothing_is(made: tuple[bundle.Bundle, dict[str, str]], tmp_path: Path) -> None:
    bundled, facts = made
    assert facts["version"] == ".".join(map(str, sys.version_info[:3])) and facts["bundles"] == ""
    assert there(tmp_path, bundled.path.read_bytes(), "unpack", bundled.digest).returncode == 0
    root = tmp_path / ".cit/lib" / bundled.digest
    assert hashlib.sha256((root / "MANIFEST").read_bytes()).hexdigest() == bundled.digest
    assert subprocess.run(["sha256sum", "--quiet", "-c", "MANIFEST"], cwd=root).returncode == 0
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    script = "for stage in trigger queue schedule deliver run sync report format; do .cit/bin/cit-$stage --help >/dev/null || echo $stage; done"
    assert subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True).stdout == b""
    done = subprocess.run([".cit/bin/cit", "push", "--wait", "-J", "hello", "--", "echo", "hi"], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([".cit/bin/cit", "log", "hello"], cwd=tmp_path, env=environment, capture_output=True).stdout == b"hi\n"
    again = subprocess.run([PYTHON, "-E", "-c", THERE.read_text(), "look"], env=environment, capture_output=True, text=True)
    assert f"bundles\t{bundled.digest}\n" in again.stdout
    assert not any(oct(path.lstat().st_mode)[-2:] != "00" for path in [tmp_path / ".cit", tmp_path / ".cit/lib", tmp_path / ".cit/bin", root])


def test_what_was_cut_or_changed_leaves_nothing(made: tuple[bundle.Bundle, dict[str, str]], tmp_path: Path) -> None:
    bundled, _ = made
    whole = bundled.path.read_bytes()
    broken = [whole[: len(whole) * part // 7] for part in range(7)] + [whole[:300_000] + b"x" + whole[300_001:]]
    for payload in broken:
        done = there(tmp_path, payload, "unpack", bundled.digest)
        assert done.returncode == 65 and b"the bundle was not taken" in done.stderr
        assert os.listdir(tmp_path / ".cit/lib") == [] and not (tmp_path / ".cit/bin").exists()
    assert b"MANIFEST" in there(tmp_path, whole, "unpack", "0" * 64).stderr


def test_newer_cit_takes_the_place_of_older_and_what_runs_stays(made: tuple[bundle.Bundle, dict[str, str]], tmp_path: Path) -> None:
    bundled, _ = made
    lib = tmp_path / ".cit/lib"
    names = [digit * 64 for digit in "abc"]
    there(tmp_path, bundled.path.read_bytes(), "unpack", bundled.digest)
    for name in names:
        (lib / name / "bin").mkdir(parents=True)
        (lib / name / "bin/cit").write_text("#!/bin/sh\n")
    running = subprocess.Popen(["sh", "-c", "sleep 30; exit", str(lib / names[0])])
    killed = lib / f".{names[0]}.999999999"
    killed.mkdir()
    try:
        there(tmp_path, b"", "links", names[1])
        assert {path.name for path in lib.iterdir()} == {bundled.digest, names[0], names[1]}  # before, in use, now
        assert os.readlink(tmp_path / ".cit/bin/cit") == f"../lib/{names[1]}/bin/cit" and os.listdir(tmp_path / ".cit/bin") == ["cit"]
    finally:
        running.kill()
        running.wait()


def test_the_same_content_is_the_same_bundle(made: tuple[bundle.Bundle, dict[str, str]], tmp_path: Path) -> None:
    wanted = bundle.target(made[1])
    for _ in range(3):  # a checkout in which somebody works may change between the two
        one, other = (bundle.made(wanted, tmp_path / name) for name in "ab")
        if one.digest == other.digest:
            break
    assert one.digest == other.digest and one.path.read_bytes() == other.path.read_bytes()
    assert bundle.made(wanted, tmp_path / "a") == one


@pytest.mark.parametrize(
    "facts, what",
    [
        ({"tag": "cp38", "version": "3.8.18", "machine": "x86_64", "libc": "glibc 2.31"}, "Python 3.8.18"),
        ({"tag": "none", "version": "3.10.0", "machine": "x86_64", "libc": "glibc 2.31"}, "Python 3.10.0"),
        ({"tag": "cp311", "machine": "x86_64", "libc": "unknown"}, "unknown"),
        ({"tag": "cp311", "machine": "a b", "libc": "musl 1.2"}, "a b"),
    ],
)
def test_machines_that_no_bundle_fits(facts: dict[str, str], what: str) -> None:
    with pytest.raises(bundle.CitError) as refused:
        bundle.target(facts)
    assert refused.value.status == 78 and what in refused.value.what


def test_packages_need_no_newer_c_library_than_is_there() -> None:
    new, old, musl = (bundle.Target("cp311", "x86_64", libc, version) for libc, version in (("glibc", (2, 36)), ("glibc", (2, 28)), ("musl", (1, 2))))
    tags = ["cp311-abi3-manylinux_2_34_x86_64"]
    assert bundle.runs_on(tags, new) and not bundle.runs_on(tags, old) and not bundle.runs_on(tags, musl)
    assert bundle.runs_on(["py3-none-any"], musl) and bundle.runs_on(["cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"], old)
    assert "manylinux2014_x86_64" in bundle.platforms(old) and "manylinux_2_34_x86_64" not in bundle.platforms(old)
    assert bundle.platforms(musl) == ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]


def test_a_bundle_has_every_package_that_the_stages_need() -> None:
    """What the suite declares, and what that needs in turn here, but for what stays on the steering side."""
    stays = {"fabric", "invoke", "paramiko", "rich", "pycparser"}
    declared = re.findall(
        r'^  "([A-Za-z0-9-]+)[<>=]', (Path(bundle.__file__).parents[1] / "pyproject.toml").read_text().split("[project.optional")[0], re.M
    )
    wanted, todo = set(), [name for name in declared if name not in stays]
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            asked = [each for each in metadata.distribution(name).requires or [] if "extra ==" not in each and "Windows" not in each]
            todo += [found for found in (re.split("[^A-Za-z0-9-]", each)[0] for each in asked) if found not in stays]
    listed = {re.split("[<>=]", each)[0] for each in (*bundle.PACKAGES, *bundle.TYPER[True])}
    assert wanted <= listed, "cit_format/bundle.py, PACKAGES"
