"""Jobs in a queue elsewhere, as their author sees them: over real ssh, asked, remembered, and while nobody answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cit_format import clock, names, reader
from cit_format.document import Document
from cit_report import remote
from tests.cluster import loopback
from tests.cluster.cluster import Cluster
from tests.cluster.machine import Account, within


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[loopback.Loopback]:
    """ada sits at sun; hub has the queue, moon builds."""
    if loopback.obstacle():
        pytest.skip(f"no sshd on loopback: {loopback.obstacle()}")
    made = loopback.Loopback(tmp_path_factory.mktemp("remote"), {"sun": ["ada"], "hub": ["cit"], "moon": ["build"]})
    yield made
    made.close()


@pytest.fixture(scope="module")
def cluster(machines: loopback.Loopback) -> Cluster:
    ada, cit, build = (machine.account(machine.user) for machine in machines.machines.values())
    made = Cluster(ada, cit, [build])
    ada.put(".cit/queues/team/queue.toml", made.way(person=made.ada.identity))
    return made


@pytest.fixture(scope="module")
def ada(cluster: Cluster) -> Account:
    """Three jobs of hers: one that ended badly, one that runs until it is told not to, one that is held."""
    cluster.person.sh("cit push -J bad -- sh -c 'echo it goes wrong; exit 3'")
    cluster.person.sh("cit wait -q bad", status=3)
    cluster.person.sh(f"cit push -J long -- sh -c 'echo begun; while [ ! -e {cluster.host.home}/enough ]; do sleep 0.1; done; echo over'")
    cluster.person.sh("cit push -J kept --hold -- true")
    within(20, cluster.story, lambda: list(cluster.members["moon"].account.path(".cit/work").glob("*-long.run/status")))
    return cluster.person


def rows(account: Account, line: str) -> dict[str, dict[str, str]]:
    """The rows of a TSV table, by name."""
    head, *lines = account.text(line).split("\n")
    found = [dict(zip(head.split("\t"), each.split("\t"))) for each in lines]
    return {row["name"]: row for row in found}


def shown(account: Account, line: str) -> dict[str, str]:
    """The keys that cit show tells."""
    return dict(each.split("\t", 1) for each in account.text(line).split("\n"))


def off(machines: loopback.Loopback, name: str) -> None:
    machines[name].close()


# --- decisions ----------------------------------------------------------------------------------------------------------


def test_where_a_document_lies_follows_from_what_it_says(cluster: Cluster, ada: Account) -> None:
    now = clock.now()

    def state(account: Account, job: str) -> str:
        return remote.place(reader.parse(account.sh(f"cit show --raw {job}").stdout), now)[0]

    bad = reader.parse(ada.sh("cit show --raw bad").stdout)
    assert remote.place(bad, now) == (f"done/{clock.id_day(bad.id)}", names.FileName(bad.id, "bad", "", None, 1))
    assert (state(ada, "long"), state(ada, "kept")) == ("sent", "held")
    job = Document(bad.id, bad.name, bad.submitted, bad.sections[: len(reader.parse(bad.submitted).sections)])
    assert remote.place(job, now)[0] == "waiting"


# --- what is known, and what is asked -------------------------------------------------------------------------------------


def test_ls_asks_nobody_until_a_queue_is_named(cluster: Cluster, ada: Account) -> None:
    ada.path(".cit/queues/team/.heard").unlink(missing_ok=True)
    known = rows(ada, "cit ls")
    assert (known["bad"]["state"], known["bad"]["queue"], known["bad"]["submitter"]) == ("FAILED", "team", cluster.ada.identity)
    assert not ada.path(".cit/queues/team/.heard").exists()
    cluster.host.sh("cit-sync -q --queue @main", status=None)  # as cit-tick does it there: what the builders say of their load and jobs
    asked = rows(ada, "cit ls @team")
    assert {name: row["state"] for name, row in asked.items()} == {"bad": "FAILED", "long": "RUNNING", "kept": "HELD"}
    assert asked["long"]["builder"] == "moon" and int(asked["long"]["elapsed-ms"]) > 0
    assert ada.path(".cit/queues/team/.heard").exists()
    again = rows(ada, "cit ls")
    assert {name: row["state"] for name, row in again.items()} == {"bad": "FAILED", "long": "RUNNING", "kept": "HELD"}, "what was heard is known"
    assert rows(ada, "cit ls --mine --all").keys() == asked.keys()
    assert rows(ada, "cit ls @main --all") == {}, "and is no business of a queue that is here"


def test_one_job_is_asked_for_where_it_is(cluster: Cluster, ada: Account) -> None:
    long = shown(ada, "cit show long")
    assert (long["state"], long["builder"], long["queue"]) == ("RUNNING", "moon", "main")
    assert reader.parse(Path(ada.text("cit show --path long")).read_bytes()).id == long["id"]
    assert "it runs on moon" in ada.text("cit why -q long")
    assert "held until somebody releases it" in ada.text("cit why -q kept")
    assert "status 3 on moon" in ada.text("cit why -q bad")
    assert ada.text("cit log bad") == "it goes wrong" and ada.text("cit log long") == "begun"
    assert shown(ada, f"cit show {long['id'].upper()}")["name"] == "long"
    assert ada.text("cit report --tsv bad | cut -f 2,4,5").split("\n")[1] == "bad\tFAILED\t3"


def test_a_job_that_was_pushed_elsewhere_is_found_by_its_id_and_in_its_queue(cluster: Cluster, ada: Account) -> None:
    """ada's second machine: the same key, and nothing known."""
    second = ada.path("second")
    second.mkdir(mode=0o700)
    (second / "queues/team").mkdir(parents=True)
    for name in ("known_hosts", "config.toml", "queues/team/queue.toml"):
        (second / name).write_bytes(ada.path(f".cit/{name}").read_bytes())
    here = f"CIT_HOME={second}"
    bad = ada.text("cit show --id bad")
    assert ada.sh(f"{here} cit show bad", status=66)
    assert shown(ada, f"{here} cit show {bad}")["state"] == "FAILED"
    assert f"{bad}" in ada.text(f"{here} cit show --id bad"), "from now on it is known by name"
    assert shown(ada, f"{here} cit show --queue @team kept")["state"] == "HELD"
    assert rows(ada, f"{here} cit ls @team")["long"]["path"].startswith("@team/sent/"), "what is not here is told by its name alone"
    assert not list((second / "queues/team/sent").glob("*.cit"))


def test_queues_are_asked_how_they_are(cluster: Cluster, ada: Account) -> None:
    found = rows(ada, "cit queues")
    assert (found["team"]["state"], found["team"]["held"], found["team"]["done-today"], found["team"]["door"]) == ("active", "1", "1", cluster.door)
    cluster.host.sh("cit pause --freeze @main")
    assert rows(ada, "cit queues")["team"]["state"] == "frozen"
    cluster.host.sh("cit resume @main")


def test_trace_proves_it_with_the_keys_that_the_hosts_document_has(cluster: Cluster, ada: Account) -> None:
    """Without a list of queues and builders here, and under another name there than here."""
    cluster.host.sh(f"cit config @main door {cluster.door}")
    made = cluster.host.sh("cit join --make -q --host-key .ssh/host_key.pub").stdout
    mine = ada.path(".cit/allowed_signers").read_text()
    ada.put(".cit/allowed_signers", cluster.ada.listed("cit-job,cit-control").replace(cluster.ada.identity, "ada@home"))
    try:
        assert b"is not in" in ada.sh("CIT_USER=ada CIT_HOST=home cit trace bad", status=77).stderr
        from cit_format import hosts, sshsig

        [manager] = [row for row in hosts.said(reader.parse(made)).rows if row.kind == "manager"]
        ada.sh(f"cit join - {sshsig.fingerprint(manager.key.blob)} --as {cluster.ada.identity}", stdin=made)
        said = ada.sh("CIT_HOST=home cit trace --table bad").stdout.decode()
        assert "all 4 signatures hold; keys of hosts serial 1, sha256:" in said
        proven = {row["by"]: row["hosts"] for row in map(dict, table(ada, "CIT_HOST=home cit trace --tsv bad"))}
        assert proven[cluster.ada.identity] == "" and proven["queue@hub"] == proven["builder@moon"] == hosts_of(ada)
    finally:
        ada.put(".cit/allowed_signers", mine)


def hosts_of(account: Account) -> str:
    from cit_format import hosts

    found = hosts.newest(account.path(".cit/hosts"))
    return f"hosts serial 1, {found.digest}" if found else ""


def table(account: Account, line: str) -> list[list[tuple[str, str]]]:
    head, *lines = account.text(line).split("\n")
    return [list(zip(head.split("\t"), each.split("\t"))) for each in lines]


def test_fsck_has_nothing_to_say_of_what_was_heard(cluster: Cluster, ada: Account) -> None:
    ada.sh("cit-report fsck")


# --- until it ends --------------------------------------------------------------------------------------------------------


def test_a_log_is_followed_and_a_job_waited_for_to_its_end(cluster: Cluster, ada: Account) -> None:
    following = ada.start_sh("cit log -f long")
    waiting = ada.start_sh("cit wait -q long bad")
    time.sleep(1)
    cluster.host.put("enough", "")
    out, said = following.communicate(timeout=30)
    assert (following.returncode, out, said) == (0, b"begun\nover\n", b"")
    assert waiting.wait(timeout=30) == 3 and waiting.communicate() == (b"", b"")
    assert rows(ada, "cit ls")["long"]["state"] == "COMPLETED"
    ada.sh("cit outbox send")
    assert [path.name.rpartition("-")[2] for path in ada.path(".cit/outbox/sent").glob("*.cit")] == ["kept.cit"], "what is seen done is forgotten"


def test_parts_times_and_a_recording_come_by_the_door(cluster: Cluster, ada: Account) -> None:
    ada.sh("""cit push -J shown --tty -- sh -c 'echo on a terminal'; cit wait -q shown""")
    ada.sh("""cit push -J parts -- sh -c 'cit-part one -- echo first; cit-part --apart two -- sh -c "echo second; exit 3"; exit 3'""")
    ada.sh("cit wait -q parts", status=3)
    assert ada.text("cit play shown") == "on a terminal"
    assert sorted(path.rpartition(".")[2] for path in ada.text("cit fetch shown .log got").split("\n")) == ["cast", "log"]
    assert [line.split("\t")[:3] for line in ada.text("cit log --parts parts").split("\n")[1:]] == [["one", "COMPLETED", "0"], ["two", "FAILED", "3"]]
    assert (ada.text("cit log --part one parts"), ada.text("cit log -f --part two parts")) == ("first", "second")
    times = [line.split("\t") for line in ada.text("cit log --times parts").split("\n")]
    assert [line for _, line in times] == ["first", "second"] and all(time.endswith("Z") for time, _ in times)
    assert "parts that failed:\n  | two: exit 3" in ada.text("cit why parts")


def test_a_wish_about_a_job_elsewhere_goes_there(cluster: Cluster, ada: Account) -> None:
    ada.sh("cit cancel kept")
    ada.sh("cit wait -q kept", status=143)
    assert "cancel" not in rows(ada, "cit ls --all"), "a wish is no job"


def test_why_a_job_waits_elsewhere_the_scheduler_there_says(cluster: Cluster, ada: Account) -> None:
    ada.sh("cit push -q -J picky -C no-such-tag -- true")
    told = ada.text("cit why picky")
    assert "it waits for a builder in queue @team" in told and "what the scheduler there says:" in told and "moon: never: " in told, told
    ada.sh("cit cancel picky; cit wait -q picky", status=143)


def test_every_end_is_known_at_once_however_many_there_are(cluster: Cluster, ada: Account) -> None:
    ada.sh("seq 25 | cit push -q -J swarm --each - -- true")
    cluster.host.sh(f"until [ $(ls {cluster.queue_path('done')}/2*/*-swarm.cit | wc -l) = 25 ]; do sleep 0.1; done")
    first = [line.split("\t") for line in ada.text("cit ls @team --all --tsv").split("\n")]
    states = [row[first[0].index("state")] for row in first[1:] if row[first[0].index("name")] == "swarm"]
    assert states == ["COMPLETED"] * 25
    ada.sh("cit push -q -J gone -- true")
    gone = ada.text("cit show --id gone")
    cluster.host.sh(f"until rm {cluster.queue_path('done')}/2*/{gone}*; do sleep 0.1; done")
    said = ada.sh("cit ls @team").stderr
    assert b"queue @team has no more of 1 jobs that it had from here: " + gone[-6:].encode() in said


def test_what_its_queue_refused_after_all_is_listed_as_refused(cluster: Cluster, ada: Account) -> None:
    """Accepted, and then its builder, whose word it is, would not believe it."""
    member = cluster.members["moon"].account
    listed = member.path(".cit/allowed_signers").read_text()
    member.put(".cit/allowed_signers", listed.replace(cluster.ada.identity, "ben@sun"))
    try:
        ada.sh("cit push -q -J unwanted -- true")
        ada.sh("cit wait -q --timeout 40s unwanted", status=125)
        assert rows(ada, "cit ls")["unwanted"]["state"] == rows(ada, "cit ls @team")["unwanted"]["state"] == "REFUSED"
    finally:
        member.put(".cit/allowed_signers", listed)


def test_again_is_in_the_same_queue_and_under_the_same_name(cluster: Cluster, ada: Account) -> None:
    """Though @main is a queue of this home, too, and this home calls its person otherwise."""
    before = ada.text("cit show --id bad")
    ada.sh("CIT_HOST=home cit requeue bad")
    again = shown(ada, "cit show last")
    assert (again["asked"], again["submitter"], again["name"]) == (f"parent={before}", cluster.ada.identity, "bad")
    ada.sh("cit wait -q last", status=3)
    ada.sh("CIT_HOST=home cit push -J other --hold -- true && CIT_HOST=home cit cancel other && cit wait -q other", status=143)


# --- answered by another's run ------------------------------------------------------------------------------------------


def test_an_answer_from_elsewhere_is_looked_at_before_it_is_believed(cluster: Cluster, ada: Account) -> None:
    """The run that it names is fetched too; where that is another, the job has not ended for who waits."""
    ada.sh("cit push -q --same mine -J built -- echo made; cit wait built; cit push -q --same mine -J again -- echo made; cit wait again")
    assert "answered" in shown(ada, "cit show --tsv again") and ada.text("cit log again") == "made"
    ada.sh("cit trace again")
    (run,) = cluster.host.path(".").glob(".cit/queues/*/done/*/*-built.cit")
    run.write_bytes(run.read_bytes() + b"@begin note 1 text\nhi\n@end note\n")
    ada.sh("rm -rf .cit/queues/team/done/*/*-again.cit .cit/queues/team/done/*/*-built.cit")
    told = ada.sh("cit wait --timeout 5s again", status=77)
    assert b"another than the answer names" in told.stderr


# --- arrays -------------------------------------------------------------------------------------------------------------


def test_an_array_in_a_queue_elsewhere_is_one(cluster: Cluster, ada: Account) -> None:
    """Pushed, waited for, looked at, one task cancelled and one followed up, by somebody who has no account at the queue."""
    ada.sh("cit push -q -a 1-4%2 -J many -- sh -c 'echo task $CIT_TASK; test $CIT_TASK != 3'")
    ada.sh("cit wait -q many", status=1)
    row = rows(ada, "cit ls")["many"]
    assert (row["state"], row["tasks"]) == ("FAILED", "4 of 4")
    assert ada.text("cit log many_2") == "task 2" and "3 COMPLETED, 1 FAILED" in ada.text("cit why many")
    ada.sh("cit requeue --failed many")
    ada.sh("cit wait -q last", status=1)
    assert ada.text("cit show --id last") + "_3" == ada.text("cit show --id last_3")
    ada.sh("cit push -q -a 1-3 -J idle -w nobody -- true")
    ada.sh("cit cancel idle_2")
    ada.sh("cit wait -q --timeout 30s idle_2", status=143)
    assert "1 CANCELLED, 2 PENDING" in ada.text("cit why idle")
    ada.sh("cit cancel idle")
    ada.sh("cit wait -q --timeout 30s idle", status=143)


def test_a_newer_job_ends_an_older_one_that_runs_on_a_builder_elsewhere(cluster: Cluster, ada: Account) -> None:
    """Over two doors: to the queue as a job, to the builder as the reason, which believes the author and not the queue."""
    ada.sh("cit push -q --latest w -J older -- sh -c 'touch ~/older-runs; sleep 600'")
    builder = cluster.members["moon"].account
    within(30, cluster.story, builder.path("older-runs").exists)
    ada.sh("cit push -q --latest w --latest-running -J newer -- true")
    newer = ada.text("cit show --id newer")
    ada.sh("cit wait -q --timeout 50s older", status=143)
    assert shown(ada, "cit show older")["why"] == f"superseded by {newer[-6:]}-newer"
    ada.sh("cit wait -q --timeout 50s newer")


# --- nobody answers: the last of all, as the queue's machine does not come back ------------------------------------------------


def test_out_of_reach_is_one_line_and_what_is_known(machines: loopback.Loopback, cluster: Cluster, ada: Account) -> None:
    ada.sh("cit push -J lost --hold -- true")
    off(machines, "hub")
    began = time.monotonic()
    asked = ada.sh("cit ls @team --all --tsv")
    assert (
        asked.stderr.count(b"\n") == 2
        and b"warning: queue @team cannot be had: " in asked.stderr
        and b"hint: this is what was heard before" in asked.stderr
    )
    assert {"bad", "long", "kept", "lost"} <= {line.split(b"\t")[1].decode() for line in asked.stdout.split(b"\n")[1:-1]}
    assert rows(ada, "cit queues")["team"]["state"] == "unreachable"
    assert ada.sh("cit show lost").stderr.count(b"cannot be had") == 1
    assert b"nothing was heard of it since" in ada.sh("cit why lost").stdout
    assert ada.text("cit log bad") == "it goes wrong", "its builder has it, and answers"
    ada.sh("cit wait --timeout 1s lost", status=75)
    ended = ada.sh("cit push -J later -- true", status=75)
    assert b"queue @team cannot be had" in ended.stderr and rows(ada, "cit ls")["later"]["state"] == "PENDING"
    off(machines, "moon")
    away = ada.sh("cit log bad", status=69)
    assert b"its log is on moon, at ssh://" in away.stderr and b"hint: cit log " in away.stderr
    assert time.monotonic() - began < 30
