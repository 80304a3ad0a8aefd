"""A cluster made as people make it, by `cit add`, `cit allow` and `cit join` alone; then from one person's push to their report."""

from __future__ import annotations

import re

from tests.cluster.machine import Account, within


def test_a_cluster_made_by_verbs(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    ada, hub, moon = (machines[name].account(user) for name, user in (("sun", "ada"), ("hub", "cit"), ("moon", "build")))

    # The manager's account has a queue and may log in at the build account, which has sshd and python3 and nothing else.
    hub.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cit init; rm .cit/queues/main/builders/*")
    hub.put(".ssh/known_hosts", moon.known)
    hub.sh(f"cit config @main door {hub.place}/@main")
    ada.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
    public = ada.sh("cat .ssh/id_ed25519.pub").stdout
    hub.sh("cit allow --door ada@sun - @main", public)
    machines["moon"].sh("umount -l /opt/cit", "root")
    moon.put(".ssh/authorized_keys", hub.sh("cat .ssh/id_ed25519.pub").stdout)
    hub.sh(f"cit add build@{moon.address} --slots 2 --users ada@sun")
    moon.sh("PATH=~/.cit/bin:$PATH cit allow --door ada@sun -", public)  # she may read there, too
    made = hub.sh("cit join --make >cluster.cit")
    fingerprint = re.search(rb"SHA256:\S+", made.stderr)
    assert fingerprint, made.stderr
    ada.put("cluster.cit", hub.sh("cat cluster.cit").stdout)
    said = ada.sh(f"cit join cluster.cit {fingerprint[0].decode()} --as ada@sun").stderr.decode()
    named = re.search(r"@main-\S+", said)
    assert named, said
    ada.sh(f"cit config queues {named[0]}")

    ada.sh("cit push --wait -q -J hello -- sh -c 'hostname; exit 3'", status=3)
    assert ada.text("cit log hello") == "moon" and "\tFAILED\t3\t" in ada.text("cit report --tsv hello")
    assert ada.text("cit trace --tsv hello").count("\tgood\t") >= 6
    tree = "git init -q tree && cd tree && echo bad >in && git add -A && git -c user.name=A -c user.email=a@b commit -q -m it"
    ada.sh(f"{tree}; cit push --wait -q -J tree --export 'MODE=a b' -- grep good in", status=1)
    strict_whatever_is_set(ada, moon, hub)
    watched_there(ada, moon)
    restarted_there(ada)
    within(10, "nothing runs any more on moon", lambda: machines["moon"].text("ps -o args= -u build", "root", status=None) == "")


def strict_whatever_is_set(ada: Account, moon: Account, hub: Account) -> None:
    """Verbs that go there with the person's own ssh know the keys that cit knows, and refuse others, without a question (PROMISE 24)."""
    ada.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/login")
    moon.sh("cat >>.ssh/authorized_keys", stdin=ada.sh("cat .ssh/login.pub").stdout)
    ada.put(".ssh/config", "Host *\n IdentityFile ~/.ssh/login\n IdentitiesOnly yes\n StrictHostKeyChecking no\n")
    verbs = {"cit shell hello -- id -un": "build", "cit rsync --log hello got; cat got": "moon", "cit restart -n tree": "+good"}
    ours = ".cit/hosts/known_hosts"
    known, other = ada.path(ours).read_text(), " ".join(hub.path(".cit/queues/main/seal.pub").read_text().split()[:2])
    ada.sh("cit shell tree -- sh -c 'echo good >in'")
    for verb, said in verbs.items():
        ada.put(ours, known)
        assert ada.text(verb).splitlines()[-1] == said
        ada.sh("rm got", status=None)
        for hosts in ("", f"{moon.address} {other}\n"):
            ada.put(ours, hosts)
            answer = ada.sh(verb, status=None)
            assert answer.returncode and b"Host key verification failed" in answer.stderr and said.encode() not in answer.stdout, answer
        assert not ada.path(".ssh/known_hosts").exists(), "nothing is learned"
    ada.put(ours, known)
    hub.put(".ssh/config", "Host *\n StrictHostKeyChecking no\n")
    refused = hub.sh(f"cit replicate -n @main ada@{ada.machine.address}", status=69)
    assert b"Host key verification failed" in refused.stderr


TYPES = """chdir glob "~/.cit/work/*-term.run"; socket my $s, AF_UNIX, SOCK_STREAM, 0; connect $s, pack_sockaddr_un "tty" or die;
syswrite $s, "keys\\nit\\n"; sleep 1 until !sysread $s, my $seen, 4096;
"""


def watched_there(ada: Account, moon: Account) -> None:
    """A terminal on the builder, shown by ssh until its job ends; what the job says of itself, while it runs, by the read door."""
    ada.sh("cit push -q -J term --tty -- sh -c 'echo said it >$CIT_EVENTS; echo shown; read word; echo got $word'")
    within(30, "the terminal", lambda: list(moon.path(".cit/work").glob("*-term.run/tty")))
    assert ada.text("cit log --events term").splitlines()[1:] == ["\tsaid\tit"]
    watching = ada.start_sh("cit attach term >seen 2>told")
    within(30, "what is shown", lambda: ada.path("seen").exists() and "shown" in ada.path("seen").read_text())
    moon.put("typed", TYPES)
    moon.sh("perl -MSocket typed")
    watching.communicate(timeout=60)
    seen, told = ada.path("seen").read_text(), ada.path("told").read_text()
    assert watching.returncode == 0 and "got it" in seen and "your keys go in" in told, (seen, told)
    assert ada.text("cit play term").splitlines()[-1] == "got it"


def restarted_there(ada: Account) -> None:
    """A shell as the job ran, and the change that was made in it as a job, on the machine that has the workspace."""
    assert ada.text("cit shell tree -- sh -c 'echo $MODE, $CIT_JOB_NAME; pwd'").splitlines()[-2:] == ["a b, tree", "/home/build/.cit/work/tree/0"]
    ada.sh("cit restart --wait tree")
    shown = ada.text("cit show --table last")
    assert shown.startswith("changed    1 file, 2 lines upon ") and "COMPLETED" in shown and "moon" in shown
    assert "restart: in that of " in shown
