"""Who may touch what: another account of the host, another person at the door, another builder (PROMISE 20); and what cit itself
touches: own directories, no socket, no process, no right that it does not have (PROMISE 27).
"""

from __future__ import annotations

from cit_format import body, clock, document, frame, home, reader, spool
from cit_format.body import Time
from cit_format.document import Document
from tests.cluster.cluster import Cluster, Member
from tests.cluster.lan import Lan
from tests.cluster.machine import Account, within

CANARY = "canary-7d20aa"


def cluster_of(machines: Lan, **settings: object) -> Cluster:
    builders = [machines[name].account("build") for name in ("moon", "star") if name in machines.nodes]
    return Cluster(machines["sun"].account("ada"), machines["hub"].account("cit"), builders, **settings)


def test_another_account_of_the_host_touches_nothing(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit", "eve"], "moon": ["build"]})
    cluster = cluster_of(machines, **{"on-arrival": ""})
    queue, eve, place = cluster.host, machines["hub"].account("eve"), "/home/cit/.cit/queues/main"
    cluster.person.sh(f"cit push -q -J secret -- echo {CANARY}")
    queue.sh("chmod 755 ~; chmod 711 .cit .cit/queues .cit/queues/main; chmod 1733 .cit/queues/main/incoming")  # the drop box is open
    name = spool.listing(cluster.queue_path("waiting"))[0]
    job = f"{place}/waiting/{name}"
    tries = [f"cat {job}", f"echo x >{job}", f"echo x >>{job}", f"mv {job} /tmp", f"rm -f {job}", f"ln {job} /tmp/link", f"chmod 777 {place}"]
    tries += [f"ls {place}/{part}" for part in ("", "waiting", "incoming")] + [f"cat {place}/{part}" for part in ("key", "queue.toml", "../../key")]
    tries += [f"cp /etc/hostname {place}/waiting/x.cit", f"touch {place}/.wake", f"mkdir {place}/waiting/.claim/x"]
    for each in tries:
        answer = eve.sh(each, status=None)
        assert answer.returncode and CANARY.encode() not in answer.stdout, each

    # What she may do is drop files. Of links, fifos and what she still holds open nothing gets in.
    eve.sh(f"cd {place}/incoming; ln -s {job} link.cit; ln -s {place}/key key.cit; mkfifo fifo.cit; mkdir d.cit")
    eve.put("job", cluster.lying("waiting")[0].raw.replace(CANARY.encode(), b"changed"))
    held = eve.start_sh(f"exec 9>>{place}/incoming/held.cit; cat job >&9; chmod 644 {place}/incoming/held.cit; sleep 7; cat job >&9")
    eve.sh("sleep 5.5")
    answer = queue.sh("cit-queue --incoming --queue @main", status=None, timeout=30)
    assert answer.returncode in (65, 77), answer.stderr
    kept = cluster.lying("refused")
    assert [each.name for each in cluster.lying("waiting")] == ["secret"] and not any(CANARY.encode() in each.raw for each in kept)
    assert not any(b"OPENSSH PRIVATE KEY" in each.raw for each in kept)
    size = sum(len(each.raw) for each in kept)
    eve.sh("sleep 2")
    assert sum(len(each.raw) for each in cluster.lying("refused")) == size  # her open descriptor reaches nothing
    held.communicate(timeout=10)


def test_a_person_sees_and_changes_own_jobs_only_and_a_builder_reports_its_own(lan) -> None:
    machines = lan({"sun": ["ada", "ben"], "hub": ["cit"], "moon": ["build"], "star": ["build"]})
    cluster = cluster_of(machines, **{"on-arrival": ""})
    queue, ada, ben = cluster.host, cluster.person, machines["sun"].account("ben")
    ben.sh("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cit-format init")
    his = Member(ben, "ben", ".ssh/id_ed25519")
    ben.put(".cit/queues/team/queue.toml", cluster.way(person="ben@sun"))
    ben.put(".cit/config.toml", 'queues = ["@team"]\n')
    ben.put(".cit/known_hosts", queue.known)
    line = his.let_in(f'{queue.program("cit-queue")} --door=\\"$SSH_ORIGINAL_COMMAND\\" --role person --for ben@sun --to @main')
    queue.sh("cat >>.ssh/authorized_keys", stdin=line.encode())
    queue.sh("cat >>.cit/queues/main/allowed_signers", stdin=his.listed("cit-job").encode())

    ada.sh(f"cit push -q -J hers -w moon -- echo {CANARY}")
    ben.sh("cit push -q -J his -w moon -- true")
    hers, mine = cluster.lying("waiting")
    listed = ben.text("cit ls @team --all --tsv")
    assert "his" in listed and "hers" not in listed
    for verb in (f"get {hers.id}", f"have {hers.id}"):
        answer = ben.sh(f"cit-deliver --ask @team {verb}", status=None)
        assert answer.returncode and CANARY.encode() not in answer.stdout and b"waiting" not in answer.stdout
    ben.sh(f"cit cancel {hers.id}", status=66)  # he is told of no such job; and by hand:
    said: dict[str, object] = {
        "action": "cancel",
        "target": hers.id,
        "submitter": "ben@sun",
        "key": his.signer.public.fingerprint,
        "queue": cluster.name,
    }
    said.update(created=Time(clock.now()), expires=Time(clock.now() + clock.HOUR))
    unsigned = document.new("cancel", document.section("control", "toml", body.toml(said)))
    wish = home.signed(unsigned, his.signer, "ben@sun", "cit-control")
    assert b"is another's job" in ben.sh("cit-queue --to @team", stdin=wish.raw, status=77).stderr
    stolen = reader.parse(hers.raw.replace(CANARY.encode(), b"changed"))
    assert ben.sh("cit-queue --to @team", stdin=stolen.raw, status=77)
    assert [each.raw for each in cluster.lying("waiting")] == [hers.raw, mine.raw] and spool.listing(cluster.queue_path("control")) == []

    # A builder that does not list ben does not run his job; and what moon says of hers, star cannot bring.
    carry = "cit-schedule -q --from waiting --to assigned --queue @main; cit-deliver -q --from assigned --to sent --queue @main"
    assert b"is not in /home/build/.cit/allowed_signers" in queue.sh(carry, status=77).stderr
    within(10, cluster.story, lambda: cluster.ends().get("hers"))
    ended = next(each for each in cluster.lying("done") if each.name == "hers")
    queue.sh("mkdir aside; mv .cit/queues/main/done/2*/*hers* aside")
    answer = reported(cluster.builders["star"], cluster, ended)
    assert [str(each.table("ticket")["state"]) for each in answer] == ["refused"] and "hers" not in cluster.ends()


def reported(builder: Account, cluster: Cluster, ended: Document) -> list[Document]:
    """The tickets that a builder gets for a result that is not its own."""
    ssh = "ssh -F none -i .cit/key -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=.cit/known_hosts"
    answer = builder.sh(f"{ssh} cit@{cluster.host.address} put-done", frame.framed(ended.raw, 1), status=None)
    return [each for each in reader.documents(frame.unframed(reader.reader_of(answer.stdout), strict=True)) if isinstance(each, Document)]


def test_least_privilege_shows(lan) -> None:
    machines = lan({"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    for node in machines.nodes.values():
        node.sh("touch /tmp/before", "root")
    cluster = cluster_of(machines)
    cluster.person.sh("seq 5 | cit push -q --each - -- sh -c 'echo {} >>~/marks'")
    cluster.wait_done(5)
    cluster.person.sh("cit ls @team; cit log last; cit report", status=None)
    cluster.tick()
    for name, node in machines.nodes.items():
        user = node.accounts[0]
        processes = f"ps -o args= -u {user}"
        within(25, f"{user}'s last process ends", lambda node=node, line=processes: node.text(line, "root", status=None) == "")
        assert node.text("ss -Hltun | grep -v :22", "root", status=None) == "", "something listens"
        assert node.text(f"ss -Hlx | grep -e cit -e {user}", "root", status=None) == ""
        changed = machines.sh(f"cd /mnt/{name}/up && find . -newer etc/ssh/node ! -path './home/{user}*' ! -type d").stdout.decode().split()
        assert [path for path in changed if not path.startswith(("./etc/", "./var/log/"))] == [], "written outside its own directories"
        assert machines.sh(f"cd /mnt/{name}/up && find . -newer etc/ssh/node -path './etc/*' ! -type d").stdout == b""
        assert node.text(f"find /tmp /dev/shm /run /var/tmp -user {user}", "root", status=None) == ""
        own = f"/home/{user}"
        assert node.text(f"find {own} -perm /6000 -o -perm /022 ! -type l -o ! -user {user} | grep -v '/\\.ssh/.*pub$'", "root", status=None) == ""
        assert node.text(f"stat -c %a {own}/.cit", "root") == "700"


def test_maintainers_see_workspaces_as_far_as_the_owner_lets_them(lan) -> None:
    """D6: members of the account's own group read, or change, what lies in workspaces, and nothing else of the account."""
    machine = lan({"moon": ["build", "mia", "eve"]})["moon"]
    build, mia, eve = (machine.account(name) for name in ("build", "mia", "eve"))
    machine.sh("usermod -aG build mia", "root")
    build.sh("chmod 755 ~")
    place = "/home/build/.cit/work/lib/0"

    def may(account: Account, command: str) -> bool:
        return account.sh(command, status=None).returncode == 0

    push = "cit push -q --wait -J lib -- sh -c 'echo code >made; mkdir -p d'"
    build.sh(push)
    assert not may(mia, f"cat {place}/made")
    build.sh(f"cit config workspace-group r; {push}")
    assert may(mia, f"cat {place}/made") and not may(mia, f"echo x >{place}/made") and not may(mia, f"touch {place}/new")
    build.sh(f"cit config workspace-group rw; {push}")
    assert may(mia, f"cat {place}/made && echo mended >{place}/made && echo new >{place}/d/new")
    home = "/home/build/.cit"
    private = [f"ls {home}", f"ls {home}/work", f"cat {home}/key", f"cat {place}/.cit/status", f"cat {home}/work/*lib.log"]
    assert not any(may(mia, command) for command in private)
    assert not may(eve, f"ls {place}") and not may(mia, f"mv {home}/work/lib {home}/work/gone")
    build.sh(f"cit config workspace-group none; {push}")
    assert not may(mia, f"ls {place}")
    build.sh("cit config workspace-group all", status=2)
