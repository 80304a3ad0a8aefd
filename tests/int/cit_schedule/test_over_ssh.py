"""Wires, by ssh and by Fabric under the same tests: strict about whom they reach, and a cut is never an end (docs/stages/deliver.md)."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cit_schedule import over_fabric, over_ssh, transport, wire
from cit_schedule.cit_format import address, home, keys
from cit_schedule.cit_format.errors import CitError
from cit_schedule.wire import Identity
from tests.cluster.machine import within
from tests.int.cit_schedule.far import Far, broken_wire, empty

PIECE = 64 << 10


def refusal(far: Far, place: str, verb: str = "put-inbox") -> CitError:
    """What is raised where jobs are handed over, as the queue; nothing has arrived then."""
    jobs = far.assigned("moon")
    with transport.Doors(far.queue) as doors, pytest.raises(CitError) as raised:
        doors.hand_over(place, verb, jobs)
    assert far.inbox("moon") == []
    return raised.value


# --- whom it reaches ----------------------------------------------------------------------------------------------------


def test_a_host_key_that_nobody_wrote_down_is_refused(far: Far) -> None:
    known = far.hub.path(".cit/known_hosts")
    known.write_text("".join(line for line in known.read_text().splitlines(True) if line != far.moon.known))
    error = refusal(far, far.moon.place)
    offered = keys.sshsig.parse_public_key(far.machine("moon").host_key()).fingerprint
    assert error.status == 78 and f"ssh-ed25519 {offered}" in error.what and str(known) in error.hint
    assert far.hub.sh("cit-deliver -q --from assigned", status=78).stderr.count(b"is not known here") == 1
    assert far.counts() == {"assigned": 1}, "it is kept"
    assert far.hub.sh("cit-deliver -q --from assigned", status=75).stderr == b"", "and the door rests"


def test_a_host_key_that_is_another_one_is_refused(far: Far) -> None:
    known = far.hub.path(".cit/known_hosts")
    lines = known.read_text().splitlines(True)
    number = lines.index(far.moon.known) + 1
    known.write_text(known.read_text().replace(far.machine("moon").host_key(), far.machine("star").host_key()))
    error = refusal(far, far.moon.place)
    offered = keys.sshsig.parse_public_key(far.machine("moon").host_key()).fingerprint
    assert error.status == 78 and "has changed" in error.what and offered in error.what and f"{known}:{number} says" in error.what


def test_a_revoked_host_key_is_refused(far: Far) -> None:
    with open(far.hub.path(".cit/known_hosts"), "a") as known:
        known.write(f"@revoked * {far.machine('moon').host_key()}\n")
    assert refusal(far, far.moon.place).status == 78


def test_other_files_of_host_keys_and_other_settings_count_for_nothing(far: Far) -> None:
    ssh = far.hub.path(".ssh")
    (ssh / "known_hosts").write_text(far.moon.known)
    (ssh / "config").write_text(f"Host *\nStrictHostKeyChecking no\nUserKnownHostsFile {ssh}/known_hosts\nCheckHostIP no\n")
    (far.hub.path(".cit/known_hosts")).write_text("")
    try:
        assert refusal(far, far.moon.place).status == 78
    finally:
        (ssh / "config").unlink()


def test_a_jump_host_of_the_users_settings(far: Far) -> None:
    """Believed as the user's settings (ssh) or our known_hosts (fabric) say, or nothing goes through it."""
    star, hub = far.machine("star"), far.hub
    known, settings, jumps = hub.path(".ssh/known_jumps"), hub.path(".ssh/config"), f"[localhost]:{star.port} {star.host_key()}\n"
    login = star.login("build")
    settings.write_text(
        f"Host 127.0.0.1\nProxyJump {login}@localhost:{star.port}\n"
        f"Host localhost\nIdentityFile {far.queue.path}/key\nUserKnownHostsFile {known}\nStrictHostKeyChecking yes\n"
    )
    far.star.path(".ssh/authorized_keys").write_text(f"{far.cluster.main.public}\n")
    before = far.connections("star")
    try:
        known.write_text("")
        assert refusal(far, far.moon.place).status in (69, 78) and far.connections("star") == before
        known.write_text(jumps)
        with open(hub.path(".cit/known_hosts"), "a") as ours:
            ours.write(jumps)
        with transport.Doors(far.queue) as doors:
            assert len(doors.hand_over(far.moon.place, "put-inbox", far.assigned("moon"))) == 1
    finally:
        settings.unlink()
        known.unlink()
    assert far.connections("star") == before + 1


def test_host_keys_that_a_manager_signed_count_as_well(far: Far) -> None:
    own = far.hub.path(".cit/known_hosts")
    far.hub.path(".cit/hosts").mkdir(exist_ok=True)
    signed = far.hub.path(".cit/hosts/known_hosts")
    signed.write_text(f"# by cit join\n@cert-authority * {far.machine('star').host_key()}\n{far.moon.known}")
    own.unlink()
    jobs = far.assigned("moon")
    try:
        with transport.Doors(far.queue) as doors:
            assert len(doors.hand_over(far.moon.place, "put-inbox", jobs)) == 1
    finally:
        signed.unlink()


def test_a_hashed_line_of_known_hosts_is_read(far: Far) -> None:
    known = far.hub.path(".cit/known_hosts")
    far.hub.sh(f"ssh-keygen -q -H -f {known} && rm {known}.old")
    assert far.moon.address.encode() not in known.read_bytes()
    with transport.Doors(far.queue) as doors:
        assert len(doors.hand_over(far.moon.place, "put-inbox", far.assigned("moon"))) == 1


def test_a_key_that_is_not_let_in_is_said_to_be(far: Far) -> None:
    far.moon.path(".ssh/authorized_keys").write_text("")
    error = refusal(far, far.moon.place)
    assert error.status == 69 and "did not let this key in" in error.what


def test_nobody_there(far: Far) -> None:
    with broken_wire(far.machine("moon")) as port:
        pass
    begun = time.monotonic()
    assert refusal(far, far.only_by(port)).status == 69
    assert time.monotonic() - begun < 5


def test_somebody_who_never_says_who_he_is(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh's own time limit has whole seconds; here ours is shortened."""
    for module in (wire, over_ssh, over_fabric):
        monkeypatch.setattr(module, "CONNECT", 1)
    with broken_wire(far.machine("moon"), after=0, way="out", what="stall") as port:
        begun = time.monotonic()
        assert refusal(far, far.only_by(port)).status == 69
        assert time.monotonic() - begun < 6


@pytest.mark.parametrize("host", ["-oProxyCommand=touch started", "-F/dev/null", "--"])
def test_a_host_that_looks_like_an_option_starts_nothing(far: Far, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is refused; and if it were not, it would be taken for a name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CitError) as raised:
        address.parse(f"ssh://build@{host}")
    assert raised.value.status == 65
    open_ = wire.opened(address.Door("build", host), Identity())
    with pytest.raises(CitError) as raised:
        open_.run("alive", b"", print)
    open_.close()
    assert raised.value.status == 69 and not list(tmp_path.iterdir())


def test_the_words_of_ssh() -> None:
    words = over_ssh.arguments(address.Door("build", "moon", 2222), Identity((Path("/k"),), True), [Path("/a b/100%")], "/tmp/d", True)
    assert words[-6:] == ["-l", "build", "-p", "2222", "--", "moon"]
    options = dict(word.split("=", 1) for word in words if "=" in word)
    assert options["StrictHostKeyChecking"] == options["BatchMode"] == options["IdentitiesOnly"] == "yes"
    assert (options["UserKnownHostsFile"], options["GlobalKnownHostsFile"]) == ('"/a b/100%%"', "/dev/null")
    assert options["HostKeyAlias"] == "[moon]:2222" and options["ConnectTimeout"] == "10"
    with pytest.raises(CitError) as raised:
        over_ssh.arguments(address.Door("build", "moon"), Identity(), [Path('/a"b')], "/tmp/d", True)
    assert raised.value.status == 78


def test_host_keys_that_others_can_write_are_not_believed(far: Far) -> None:
    known = far.hub.path(".cit/known_hosts")
    known.chmod(0o664)
    try:
        error = refusal(far, far.moon.place)
        assert error.status == 78 and str(known) in error.what
    finally:
        known.chmod(0o600)


@pytest.mark.parametrize("host", ["a..b", "no.such.host.invalid", "x" * 250])
def test_a_host_that_is_none_is_out_of_reach(far: Far, host: str) -> None:
    assert refusal(far, f"ssh://build@{host}").status == 69


def test_a_home_of_strange_letters(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = tmp_path / "100% mine, ${HOME} of it" if wire.kind() == "fabric" else tmp_path / "100% mine, ü"
    strange.mkdir()
    for name in ("known_hosts", "config.toml"):
        (strange / name).write_bytes(far.hub.path(f".cit/{name}").read_bytes())
    (strange / "queues").symlink_to(far.hub.path(".cit/queues"))
    monkeypatch.setenv("CIT_HOME", str(strange))
    jobs = far.assigned("moon")
    with transport.Doors(home.Queue(strange / "queues/main")) as doors:
        assert len(doors.hand_over(far.moon.place, "put-inbox", jobs)) == 1


def test_what_is_no_transport_is_told(far: Far) -> None:
    far.hub.put(".cit/config.toml", 'transport = "pigeon"\n')
    error = refusal(far, far.moon.place)
    assert error.status == 78 and "pigeon" in error.what


# --- what arrives -------------------------------------------------------------------------------------------------------


def test_a_transfer_that_is_cut_at_every_64_kib_publishes_nothing(far: Far) -> None:
    jobs = far.assigned("moon", 5, script=f": {'x' * PIECE}")
    total = sum(len(job.raw) for job in jobs)
    for after in range(PIECE, total, PIECE):
        with broken_wire(far.machine("moon"), after) as port, transport.Doors(far.queue) as doors:
            with pytest.raises(CitError) as raised:
                doors.hand_over(far.only_by(port), "put-inbox", jobs)
        assert raised.value.status == 69, after
    time.sleep(0.3)
    seen = {path.name[:26] for path in far.moon.path(".cit/seen").glob("*/*")}
    assert far.inbox("moon") == [] and not seen & {job.id for job in jobs}, "nothing was used of any of them"
    far.hub.path(".cit/known_hosts").write_text(far.moon.known)
    with transport.Doors(far.queue) as doors:
        assert len(doors.hand_over(far.moon.place, "put-inbox", jobs)) == 5
    assert far.inbox("moon") == [job.raw for job in jobs]


def test_a_job_whose_answer_is_cut_is_sent_again_and_is_there_once(far: Far) -> None:
    passed: list[dict[str, int]] = []
    with broken_wire(far.machine("moon"), passed=passed) as port, transport.Doors(far.queue) as doors:
        doors.hand_over(far.only_by(port), "put-inbox", far.assigned("moon"))
    empty(far.moon.path(".cit/inbox"))
    jobs, lost = far.assigned("moon", 4), 0
    for job, less in zip(jobs, (40, 120, 240, 400)):  # bytes of the answer, and of the farewell after it
        with broken_wire(far.machine("moon"), passed[0]["out"] - less, "out") as port, transport.Doors(far.queue) as doors:
            try:
                doors.hand_over(far.only_by(port), "put-inbox", [job])
            except CitError as error:
                assert error.status == 69
                lost += job.raw in far.inbox("moon")
    assert lost, "the job was there and nobody knew"
    with broken_wire(far.machine("moon")) as port, transport.Doors(far.queue) as doors:
        tickets = doors.hand_over(far.only_by(port), "put-inbox", jobs)
    assert "PENDING" in map(transport.state, tickets) and sorted(far.inbox("moon")) == sorted(job.raw for job in jobs)


TICKET = r"""
read -r frame
cat > stream
id=$(sed -n 's/^@cit 1 \([^ ]*\) .*/\1/p' stream | head -1)
digest=$(sha256sum < stream | cut -c 1-64)
answer() { # how many tickets
  for each in $(seq "$1"); do
    printf '@cit 1 %s job\n@begin ticket 1 toml\nstate = "accepted"\nreceived = "sha256:%s"\nbytes = 1\n@end ticket\n' "$id" "$digest"
  done > answer.cit
  cit-format frame < answer.cit
}
"""
ANSWERS = {
    "all is well": ("answer 1", 0),
    "well, but it was killed": ("answer 1; kill -9 $$", 69),
    "well, but ssh's own status": ("answer 1; exit 255", 69),
    "nothing": ("true", 69),
    "too few": ("answer 0", 69),
    "too many": ("answer 2", 69),
    "for other bytes": ("digest=$(echo | sha256sum | cut -c 1-64); answer 1", 69),
    "for another document": ("id=01kax0m2ht8f0v3q6s9y2c4e7g; answer 1", 69),
    "not framed": ("answer 1 | tail -n +2", 69),
    "cut": ("answer 1 | head -c 200", 69),
    "more than was announced": ("answer 1; echo", 69),
    "another program": ("echo 'This account is currently not available.'; exit 1", 69),
    "without end": ("yes", 69),
    "no such program": ("exec cit-nothing", 69),
    "a queue that is not active": ("echo 'cit-queue: error: queue main is not active' >&2; exit 75", 75),
    "clocks apart": ("echo '2026-11-23T20:26:11Z cit-queue[7]: error: the clocks are 6m00s apart' >&2; echo 'hint: set them' >&2; exit 78", 78),
    "not allowed to": ("echo 'cit-queue: error: a reader may not ask put-inbox' >&2; exit 77", 69),
}


def test_an_answer_that_is_none_is_no_ticket(far: Far) -> None:
    jobs = far.assigned("moon")
    found = {}
    with transport.Doors(far.queue) as doors:
        for name, (script, _) in ANSWERS.items():
            far.answers_with("moon", TICKET + script)
            try:
                doors.hand_over(far.moon.place, "put-inbox", jobs)
                found[name] = (0, "", "")
            except CitError as error:
                found[name] = (error.status, error.what, error.hint)
    assert {name: status for name, (status, *_) in found.items()} == {name: status for name, (_, status) in ANSWERS.items()}, found
    assert found["clocks apart"] == (78, "it says: the clocks are 6m00s apart", "set them")
    assert "may not ask put-inbox" in found["not allowed to"][1] and "cit-nothing" in found["no such program"][1]


def test_silence_is_no_answer(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "IDLE", 1)
    far.answers_with("moon", "exec sleep 20")
    begun = time.monotonic()
    error = refusal(far, far.moon.place)
    assert error.status == 69 and "nothing came for 1 s" in error.what and time.monotonic() - begun < 5


def test_a_far_end_that_falls_silent_is_given_up_soon(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the handshake, or its sshd is stopped later: long before the limit for a far end that is there and says nothing."""
    monkeypatch.setattr(wire, "ALIVE", 1)
    monkeypatch.setattr(wire, "MISSED", 1)
    for module in (wire, over_ssh, over_fabric):
        monkeypatch.setattr(module, "CONNECT", 2)
    begun = time.monotonic()
    with broken_wire(far.machine("moon"), 1000, "out", "stall") as port:
        assert refusal(far, far.only_by(port)).status == 69
    assert time.monotonic() - begun < 8
    far.hub.path(".cit/known_hosts").write_text(far.moon.known)
    far.answers_with("moon", "echo $PPID >begun; exec sleep 30")
    asked = far.moon.path("begun")

    def stop() -> None:
        within(5, "moon is asked", lambda: asked.exists() and asked.read_text().strip())
        os.kill(int(asked.read_text()), signal.SIGSTOP)

    begun = time.monotonic()
    with ThreadPoolExecutor() as pool:
        stopped = pool.submit(stop)
        error = refusal(far, far.moon.place)
        stopped.result()
    os.kill(int(asked.read_text()), signal.SIGKILL)
    asked.unlink()
    assert error.status == 69 and time.monotonic() - begun < 10


def test_a_far_end_that_thinks_for_long_is_waited_for(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ALIVE", 0.1 if wire.kind() == "fabric" else 1)
    far.answers_with("moon", TICKET + "sleep 1.5; answer 1")
    with transport.Doors(far.queue) as doors:
        assert len(doors.hand_over(far.moon.place, "put-inbox", far.assigned("moon"))) == 1


def test_much_goes_both_ways(far: Far) -> None:
    """More than any buffer holds, while the far end answers before it has read everything."""
    far.answers_with("moon", "exec cat")
    whole = os.urandom(3 << 20)
    pieces: list[bytes] = []
    with transport.Doors(far.queue) as doors:
        door = doors.at(far.moon.place)
        assert isinstance(door, transport.Remote)
        ended = door.ask("alive", [], whole, pieces.append)
    assert ended.status == 0 and b"".join(pieces) == whole
    far.answers_with("moon", "exec head -c 1")  # and where nobody reads
    with transport.Doors(far.queue) as doors:
        door = doors.at(far.moon.place)
        assert isinstance(door, transport.Remote)
        assert door.ask("alive", [], whole, pieces.append).status == 0
