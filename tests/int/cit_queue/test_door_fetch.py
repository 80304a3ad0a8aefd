"""What a queue fetches from a build account, and what readers get there: finished, put-tickets, load, log, file, builders, alive."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Optional

from cit_format import clock, control, frame, heartbeat, home, reader, spool, ticket
from cit_format.document import Document, section
from tests.int.cit_queue.house import House, statuses, tickets

OTHER = "other@SHA256:" + "q" * 43


def asked(house: House, command: str, *documents: Document, role: str = "", who: str = "", to: str = "") -> subprocess.CompletedProcess[bytes]:
    """One connection to the door of the build account (or with `to` of queues), as this role."""
    words = [*(["--role", role] if role else []), *(["--for", who] if who else []), *(["--to", to] if to else [])]
    stream = frame.framed(b"".join(each.raw for each in documents), len(documents)) if documents else b""
    return house.run(f"--door={command}", *words, stdin=stream)


def within(stream: bytes) -> list[Document]:
    """The documents of a framed answer."""
    return tickets(frame.unframed(reader.reader_of(stream), strict=True)(1 << 30))


def ended(house: House, name: str, queue: Optional[str] = None, **changes: object) -> tuple[Document, Path]:
    """An ended job in `finished`, of this home's queue or another, with a record and a log; and its file."""
    job = house.job(name, queue=queue or house.queue.full_name, **changes)
    done = house.ended(house.assigned(job, state=""))
    path = house.account / "finished" / f"1000-{clock.now():016d}.{job.id}.a1-{name}.cit"
    path.write_bytes(done.raw)
    record = house.account / "work" / f"{job.id}.a1-{name}.run"
    record.mkdir()
    (house.account / "work" / f"{job.id}.a1-{name}.log").write_bytes(b"hello\nworld\n")
    return done, path


def proof(document: Document, state: str = "accepted", received: Optional[bytes] = None, attempt: int = 1, **more: object) -> Document:
    return ticket.ticket(document.id, document.name, document.raw if received is None else received, state, attempt=attempt, **more)


# --- finished and put-tickets ---------------------------------------------------------------------------------------


def test_a_queue_fetches_its_own_ends_and_nothing_else(house: House) -> None:
    mine, _ = ended(house, "mine")
    other, _ = ended(house, "other", OTHER)
    assert [each.raw for each in within(asked(house, "finished").stdout)] == [mine.raw, other.raw]
    assert [each.raw for each in within(asked(house, "finished", role="queue", who=house.queue.full_name).stdout)] == [mine.raw]
    assert [each.raw for each in within(asked(house, "finished", role="queue", who=OTHER).stdout)] == [other.raw]


def test_it_fetches_a_group_at_most(house: House) -> None:
    done, _ = ended(house, "big")
    for number in range(3):
        longer = done.extended(section("note", "text", b"x" * (3 << 20) + b"\n"))
        (house.account / "finished" / f"1000-{number:016d}.{clock.new_id()}.a1-big.cit").write_bytes(longer.raw)
    assert len(within(asked(house, "finished").stdout)) == 2


def test_a_ticket_lets_go_exactly_what_it_proves(house: House) -> None:
    done, path = ended(house, "zlib")
    wish = house.control("cancel", done.id)
    control.keep(house.account / "control", wish, control.wish(wish))
    wrong = [
        proof(done, received=done.raw + b"x"),
        proof(done, attempt=2),
        proof(done, task=1),
        proof(done, state="kept"),
        ticket.ticket(done.id, "other", done.raw, "accepted", attempt=1),
        ticket.ticket(clock.new_id(), done.name, done.raw, "accepted", attempt=1),
        done,
    ]
    answer = asked(house, "put-tickets", *wrong)
    assert statuses(b"".join(each.raw for each in within(answer.stdout))) == [77, "duplicate", "duplicate", 75, "duplicate", "duplicate", 65]
    assert path.read_bytes() == done.raw and control.targets(house.account / "control")
    assert statuses(b"".join(e.raw for e in within(asked(house, "put-tickets", proof(done), role="queue", who=OTHER).stdout))) == [77]
    good = proof(done)
    answer = asked(house, "put-tickets", good, good, role="queue", who=house.queue.full_name)
    assert statuses(b"".join(each.raw for each in within(answer.stdout))) == ["accepted", "duplicate"] and answer.returncode == 0
    assert not path.exists() and not control.targets(house.account / "control"), "its wishes end with it"
    kept = house.account / "work" / f"{done.id}.a1-zlib.run" / "job.cit"
    assert kept.read_bytes() == done.raw, "who reads its log is judged by it"
    log = next((house.account / "log").glob("*.tsv")).read_text()
    assert f"{done.id}.a1-zlib\t" in log and "\tdelivered\t" in log


def test_what_its_queue_refused_for_good_is_set_aside(house: House) -> None:
    done, path = ended(house, "zlib")
    assert asked(house, "put-tickets", proof(done, "refused", status=74, why="disk")).returncode == 75 and path.exists()
    assert asked(house, "put-tickets", proof(done, "refused", status=77, why="another end is here")).returncode == 0
    (name,) = spool.listing(house.account / "refused")
    kept = (house.account / "refused" / name).read_bytes()
    assert not path.exists() and kept.startswith(done.raw) and b"another end is here" in kept


def test_what_was_fetched_comes_into_done_once_and_is_forgotten_then(house: House) -> None:
    """The whole errand of a queue whose builders cannot reach it, twice: as if the first one's answer had been lost."""
    sent = house.assigned(house.job("zlib"))
    done = house.ended(sent)
    (house.account / "finished" / f"1000-{clock.now():016d}.{done.id}.a1-zlib.cit").write_bytes(done.raw)
    for states in (["accepted"], ["duplicate"]):
        fetched = within(asked(house, "finished", role="queue", who=house.queue.full_name).stdout)
        answers = within(asked(house, "put-done", *fetched, to="@main").stdout)
        assert statuses(b"".join(each.raw for each in answers)) == states
    assert asked(house, "put-tickets", *answers, role="queue", who=house.queue.full_name).returncode == 0
    assert spool.listing(house.account / "finished") == [] and [path.read_bytes() for path in (house.queue / "done").glob("*/*.cit")] == [done.raw]


# --- load, builders, alive ------------------------------------------------------------------------------------------


def test_load_is_signed_and_names_the_asking_queues_jobs_alone(house: House) -> None:
    mine, _ = ended(house, "mine")
    ended(house, "other", OTHER)
    key = house.account.signer.public.fingerprint
    for role, who, count in (("", "", 2), ("queue", house.queue.full_name, 1), ("queue", "third" + OTHER[5:], 0)):
        (answer,) = within(asked(house, "load", role=role, who=who).stdout)
        heard = heartbeat.believed(answer, key, clock.now())
        assert len(heard.jobs) == count and (count != 1 or heard.jobs[0].copy == f"{mine.id}.a1-mine")


def test_builders_come_with_their_last_load_and_of_its_jobs_those_that_one_may_see(house: House) -> None:
    for who in ("ada", "ben"):
        given = house.assigned(house.job(who, who=who))
        (house.account / "inbox" / f"1000-{clock.now():016d}.{given.id}.a1-{who}.cit").write_bytes(given.raw)
    heard = heartbeat.heartbeat(house.account, clock.now())
    assert asked(house, "put-done", heard, to="@main").returncode == 0
    (own,) = [(house.queue / "builders" / name).read_bytes() for name in spool.listing(house.queue / "builders")]
    assert [each.raw for each in within(asked(house, "builders", to="@main").stdout)] == [own, heard.raw]
    described, load = within(asked(house, "builders", role="person", who="ben@sun", to="@main").stdout)
    assert described.raw == own and [each.kind for each in load.sections] == ["builder", "signature", "load", "jobs"]
    assert heard.raw.startswith(load.raw[: load.sections[2].end])
    assert [row[0].rpartition("-")[2] for row in load.sections[3].rows()] == ["ben"], "whose jobs run there is not everybody's business"


def test_alive_says_who_is_asking(house: House) -> None:
    for role, who, to in (("", "", ""), ("person", "ada@sun", "@main"), ("queue", house.queue.full_name, ""), ("", "me", "")):
        row = asked(house, "alive", role=role, who=who, to=to).stdout.decode().rstrip("\n").split("\t")
        assert len(row) == 5 and row[4] == (who or "-") and row[0] == (house.queue.full_name if to else house.account.identity)


# --- log and file ---------------------------------------------------------------------------------------------------


def kept_file(house: House, document: Document, content: bytes) -> str:
    """Let the job in `finished` have kept a file: its digest."""
    digest = hashlib.sha256(content).hexdigest()
    (house.account / "store" / digest).write_bytes(content)
    row = f"{digest}\t{len(content)}\twork/x\n".encode()
    longer = home.signed(document.extended(section("artefact", "tsv", row)), house.account.signer, "builder@sun", "cit-result")
    (path,) = (house.account / "finished").glob(f"*{document.id}*")
    path.write_bytes(longer.raw)
    return digest


def test_a_log_and_a_file_from_an_offset_on_to_whom_the_job_lets(house: House) -> None:
    signers = (house.account / "allowed_signers").read_text()
    more = "".join(
        f'{who}@sun namespaces="{roles}" {house.key(who).public.line}\n' for who, roles in (("ben", "cit-job"), ("eve", "cit-job,cit-read"))
    )
    (house.account / "allowed_signers").write_text(signers + more)
    may = {"me": ["ben"], "readers": ["ben", "eve"], "all": ["ben", "eve", "cid"]}
    with open(house.account / "allowed_signers", "a") as file:
        file.write(f'cid@sun namespaces="cit-read" {home.Queue(house.queue.path).signer.public.line}\n'.replace("cit-read", "cit-job"))
    for watch, whom in may.items():
        done, path = ended(house, watch, who="ben", watch=watch)
        digest = kept_file(house, done, f"kept by {watch}".encode())
        own = f"{done.id}.a1-{watch}"
        for gone in (False, True):
            if gone:
                assert asked(house, "put-tickets", proof(done, received=path.read_bytes())).returncode == 0 and not path.exists()
            for who in ("ben", "eve", "cid"):
                answers = [
                    asked(house, f"{words}", role="reader", who=f"{who}@sun")
                    for words in (f"log {own} 6", f"file {digest} 5", f"file {digest} 5 {own}")
                ]
                wanted = [b"world\n", f"by {watch}".encode(), f"by {watch}".encode()] if who in whom else [b"", b"", b""]
                assert [each.stdout for each in answers] == wanted, (watch, who, gone, [each.stderr for each in answers])
                assert {each.returncode for each in answers} == {0 if who in whom else 66}


def test_outsiders_get_what_an_interface_shows_and_nothing_else(house: House) -> None:
    """Who sees a job by its `watch` alone; its submitter and who manages the place see all. Before its end there is no view."""
    more = "".join(f'{who}@sun namespaces="{roles}" {house.key(who).public.line}\n' for who, roles in (("ben", "cit-job"), ("eve", "cit-job")))
    with open(house.account / "allowed_signers", "a") as file:
        file.write(more)
    done, path = ended(house, "viewed", who="ben", watch="all")
    digest, own = kept_file(house, done, b"kept by ben"), f"{done.id}.a1-viewed"
    (house.account / "work" / f"{own}.run" / "public").write_text("zlib\t--public\n")

    def got(who: str) -> list[bytes]:
        words = (f"log {own} 0", f"log {own} 2", f"file {digest} 0", f"file {digest} 0 {own}")
        return [asked(house, each, role="reader", who=f"{who}@sun").stdout for each in words]

    for gone in (False, True):
        if gone:
            assert asked(house, "put-tickets", proof(done, received=path.read_bytes())).returncode == 0 and not path.exists()
        for view in (b"", b"fine\n"):
            shown = house.account / "work" / f"{own}.public"
            shown.unlink(missing_ok=True)
            if view:
                shown.write_bytes(view)
            assert got("eve") == [view, view[2:], b"", b""]
            for who in ("ben", "ada"):
                assert got(who) == [b"hello\nworld\n", b"llo\nworld\n", b"kept by ben", b"kept by ben"], who
    assert asked(house, f"log {own} 0", role="reader", who="eve@sun").returncode == 0


def test_what_is_no_log_and_no_file_is_not_found(house: House) -> None:
    done, _ = ended(house, "zlib")
    log = house.account / "work" / f"{done.id}.a1-zlib.log"
    (house.account / "store" / ("0" * 64)).symlink_to(house.account / "key")
    for command, status in (
        (f"log {done.id}.a1-zlib 100", 0),
        (f"log {done.id}.a2-zlib 0", 66),
        (f"log {done.id}.a1-zlib -1", 2),
        (f"log {done.id}.a1-zlib 07", 2),
        ("log key 0", 66),
        (f"file {'0' * 64} 0", 66),
        (f"file {'1' * 64} 0", 66),
        ("file nonsense 0", 65),
    ):
        answer = asked(house, command)
        assert (answer.returncode, answer.stdout) == (status, b""), command
    log.unlink()
    log.symlink_to(house.account / "key")
    assert asked(house, f"log {done.id}.a1-zlib 0").returncode == 66


def test_what_lies_beside_a_log_is_given_out_like_it(house: House) -> None:
    """Times, the list of parts and their own logs: to whom the log is shown, and nothing else of the record."""
    done, _ = ended(house, "parts")
    own, record = f"{done.id}.a1-parts", house.account / "work" / f"{done.id}.a1-parts.run"
    (record / "parts" / "a").mkdir(parents=True)
    (record / "parts" / "a" / "b.log").write_bytes(b"part\n")
    (record / "times").write_bytes(b"2026-11-24T02:08:51.000Z\t4\n")
    listed = b"1\tclock\t2026-11-24T02:08:53.000Z\n2\tbegan\t1\ta/b\tfrom 0\tfile a/b.log\n3\tbegan\t2\tc\tfrom 0\tfile d/c.log\n"
    (record / "parts.tsv").write_bytes(listed)
    (record / "parts" / "d").symlink_to("/")
    said = {
        what: asked(house, f"log {own} 0 {what}") for what in ("times", "parts", "part-1", "part-2", "part-3", "part-0", "status", "part-", "script")
    }
    assert said["times"].stdout.endswith(b"\t4\n") and said["parts"].stdout == listed and said["part-1"].stdout == b"part\n"
    assert {what for what, answer in said.items() if answer.returncode == 66} == {"part-2", "part-3", "part-0", "status", "part-", "script"}
    assert asked(house, f"log {own} 2 part-1").stdout == b"rt\n"
    stranger = asked(house, f"log {own} 0 parts", role="reader", who="eve@moon")
    assert stranger.returncode and not stranger.stdout
