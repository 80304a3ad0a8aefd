"""Does one account run the jobs of several people as themselves, and can it do nothing else as them?"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster import lan as lans
from tests.cluster.machine import Answer

RULE = "cit ALL=(ada,bob) NOPASSWD:NOSETENV: /opt/cit/bin/cit-run --represent"


@pytest.fixture(scope="module")
def moon() -> Iterator[lans.Node]:
    """A machine with the account that holds the keys, `cit`, and two people, ada and bob; eve has an account and no rule."""
    if lans.obstacle():
        pytest.skip(f"no test machines: {lans.obstacle()}")
    network = lans.Lan({"moon": ["cit", "ada", "bob", "eve"]})
    try:
        node = network["moon"]
        node.sh("echo 127.0.0.1 moon >>/etc/hosts", "root")  # sudo asks for it
        node.sh(f"umask 227; echo '{RULE}' >/etc/sudoers.d/cit; visudo -cqf /etc/sudoers.d/cit", "root")
        for who in ("cit", "ada", "bob", "eve"):
            node.sh("cit-format init 2>/dev/null", who)
        for who in ("ada", "bob"):  # each lists itself only, and is listed by cit
            key = node.text("cat .cit/id_ed25519.pub", who).split()[:2]
            node.sh(f"echo '{who}@sun namespaces=\"cit-job\" {' '.join(key)}' >>.cit/queues/main/allowed_signers", "cit")
            node.sh(f"echo '{who}@sun namespaces=\"cit-job\" {' '.join(key)}' >>.cit/allowed_signers", "cit")
            node.sh(f"echo '{who}@sun namespaces=\"cit-job\" {' '.join(key)}' >.cit/allowed_signers", who)
        node.sh("cit config run-as ada@sun=ada,bob@sun=bob,eve@sun=eve; cit config run-as-program /opt/cit/bin/cit-run", "cit")
        yield node
    finally:
        network.close()


def pushed(moon: lans.Node, who: str, options: str, command: str) -> Answer:
    """A job that somebody signed with their own key, run by the builder of the account cit: what `cit-wait` of it says."""
    founder = moon.text("cit config --queue @main founder", "cit")
    said = f"cit config --queue @main founder {founder}; cit config --queue @main person {who}@sun"
    job = moon.text(f"{said}; cit-trigger --no-source {options} -- {command}", who)
    moon.put("job", job + "\n", "cit")
    return moon.sh("cit-queue -q --to @main <job >ticket.$$ && cit-wait $(sed -n 's/^@cit 1 \\([^ ]*\\) .*/\\1/p' ticket.$$)", "cit", status=None)


def test_does_each_job_run_as_its_author(moon: lans.Node) -> None:
    for who in ("ada", "bob"):
        ended = pushed(moon, who, f"--name as-{who}", "sh -c 'id -un; echo $HOME; pwd; env | grep SECRET; exit 3'")
        assert ended.returncode == 3, ended
        job = moon.text(f"ls -d .cit/work/*-as-{who}.log", "cit")
        log = moon.text(f"cat {job}", "cit").splitlines()
        assert log[0] == who and log[1] == f"/home/{who}" and log[2].startswith(f"/home/{who}/.cit/work/"), log


def test_is_a_cancelled_job_gone_with_all_that_it_started(moon: lans.Node) -> None:
    job = moon.text("cit-trigger --no-source --name long -- sh -c 'setsid sleep 4711 & sleep 4711'", "ada")
    moon.put("job", job + "\n", "cit")
    identity = moon.text("cit-queue -q --to @main <job", "cit").split()[2]
    deadline = time.monotonic() + 20
    while moon.text("pgrep -u ada -fx 'sleep 4711' | wc -l", "root") != "2":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wish = moon.sh(f"cit-cancel {identity}", "cit", status=None)
    assert wish.returncode == 0, wish
    ended = moon.sh(f"timeout 20 cit-wait {identity}", "cit", status=None)
    assert ended.returncode not in (0, 124), ended
    assert moon.text("pgrep -u ada -fx 'sleep 4711'", "root", status=None) == ""


@pytest.mark.parametrize(
    "command",
    [
        "sudo -n -u root -- /opt/cit/bin/cit-run --represent",
        "sudo -n -u eve -- /opt/cit/bin/cit-run --represent",
        "sudo -n -u ada -- /opt/cit/bin/cit-run",
        "sudo -n -u ada -- /opt/cit/bin/cit-run --represent --from inbox",
        "sudo -n -u ada -- /opt/cit/bin/cit-run --represent -vv",
        "sudo -n -u ada -- /opt/cit/bin/cit-queue --represent",
        "sudo -n -u ada -- /bin/sh",
        "sudo -n -u ada CIT_HOME=/tmp/x -- /opt/cit/bin/cit-run --represent",
        "sudo -n -E -u ada -- /opt/cit/bin/cit-run --represent",
        "sudo -n -s -u ada",
        "sudo -n -u ada -D /tmp -- /opt/cit/bin/cit-run --represent",
    ],
)
def test_does_the_rule_allow_nothing_else(moon: lans.Node, command: str) -> None:
    refused = moon.sh(f"{command} </dev/null", "cit", status=None)
    assert refused.returncode == 1 and b"sudo" in refused.stderr, refused


def test_can_the_representative_not_make_up_change_or_repeat_a_job(moon: lans.Node) -> None:
    job = moon.text("cit-trigger --no-source --name once -- sh -c 'echo ran >>$HOME/ran'", "ada")
    forged = moon.text("cit-trigger --no-source --name forged -- sh -c 'echo forged >>$HOME/ran'", "cit")
    bobs = moon.text("cit-trigger --no-source --name bobs -- sh -c 'echo bob >>$HOME/ran'", "bob")
    start = "sudo -n -H -u ada -- /opt/cit/bin/cit-run --represent"
    for number, (text, status) in enumerate(
        [(job, 0), (job, 77), (job.replace("echo ran", "echo bad"), 77), (forged, 77), (bobs, 77), (job[:-9], 65)]
    ):
        raw = (text + "\n").encode()
        moon.put(f"handed{number}", b"%d\n%s" % (len(raw), raw), "cit")
        ended = moon.sh(f"(cat handed{number}; sleep 2) | {start}", "cit", status=None)
        assert ended.returncode == status, (number, ended)
    cut = moon.sh(f"head -c 100 handed0 | {start}", "cit", status=None)
    assert cut.returncode == 77, cut
    assert moon.text("cat ran", "ada") == "ran"


def test_does_nobody_elses_job_run_here(moon: lans.Node) -> None:
    """Not the representative's own either: the account that holds the keys runs no job."""
    job = moon.text("cit-trigger --no-source --name own -- touch /tmp/own", "cit")
    moon.put("job", job + "\n", "cit")
    moon.sh("cit-queue -q --to @main <job; sleep 1.5", "cit")
    refused = moon.sh("grep -l 'no account here runs jobs' .cit/refused/*own.cit .cit/queues/main/refused/*own.cit", "cit", status=None)
    assert refused.stdout.strip(), refused
    assert not moon.path("/tmp/own").exists()


def test_is_a_secret_for_both_accounts_handed_on_and_one_for_the_representative_alone_not(moon: lans.Node) -> None:
    moon.sh("install -m 644 /home/cit/.cit/seal.pub /tmp/cit.pub; install -m 644 /home/ada/.cit/seal.pub /tmp/ada.pub", "root")
    moon.put("token", "canary-5511ae", "ada")
    script = "sh -c 'id -un; wc -c <$CIT_SECRETS/TOKEN; cat $CIT_SECRETS/TOKEN'"
    both = pushed(moon, "ada", "--name both --secret TOKEN=@token --seal-to /tmp/cit.pub --seal-to /tmp/ada.pub", script)
    *said, hidden = moon.text("cat .cit/work/*-both.log", "cit").split()
    assert (both.returncode, said, set(hidden)) == (0, ["ada", "13"], {"*"})
    alone = pushed(moon, "ada", "--name alone --secret TOKEN=@token --seal-to /tmp/cit.pub", script)
    assert alone.returncode == 77 and "is sealed to others" in moon.text("cat .cit/work/*-alone.log", "cit")
    assert moon.text("grep -rl canary-5511ae /home/ada/.cit /home/cit/.cit /dev/shm /tmp", "root", status=None) == ""
