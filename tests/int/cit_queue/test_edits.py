"""Only what was signed: every edit that the promise lists, in one stream through the program, each refused with its own words (PROMISE 18)."""

from __future__ import annotations

import re
from collections.abc import Callable

from cit_format import clock, home, reader
from cit_format.body import Time
from cit_format.document import Document
from tests.int.cit_queue.house import House, tickets


def parts(job: Document) -> tuple[bytes, bytes, bytes, bytes]:
    """A job's first line, job section, script, and signature."""
    job_, script, signature = (job.raw[each.start : each.end] for each in job.sections)
    return job.raw[: job.sections[0].start], job_, script, signature


def unsigned(job: Document) -> Document:
    return reader.parse(b"".join(parts(job)[:3]))


def replayed(house: House) -> bytes:
    """The ID of a job that the queue has, with other bytes, rightly signed."""
    first = house.job("twin")
    house.push(first)
    return house.job("twin", identity=first.id, cpus=2).raw


def prepended(house: House) -> bytes:
    head, job, script, signature = parts(house.job())
    return head + parts(house.job(cpus=9))[1] + job + script + signature


SECOND = "a second job section"
SAME = r"the signature by \S+ does not match the bytes"  # nobody can say which bytes there were
EDITS: dict[str, tuple[Callable[[House], bytes], int, str]] = {
    "flipped byte": (lambda h: h.job().raw.replace(b"echo hi", b"echo hj"), 77, SAME),
    "trailing space": (lambda h: h.job().raw.replace(b"@begin script 1 sh\n", b"@begin script 1 sh \n"), 65, "malformed @begin line"),
    "trailing space in what is run": (lambda h: h.job().raw.replace(b"echo hi\n", b"echo hi \n"), 77, SAME),
    "CRLF": (lambda h: h.job().raw.replace(b"\n", b"\r\n"), 65, "carriage return|CR"),
    "second job": (lambda h: h.job().raw + parts(h.job(cpus=9))[1], 65, SECOND),
    "job prepended": (prepended, 65, SECOND),
    "parameters inserted": (lambda h: h.job().raw.replace(b"@end job", b"cpus = 9\n@end job"), 77, SAME),
    "re-signed by another": (lambda h: home.signed(unsigned(h.job()), h.key("ben"), "ben@sun", "cit-job").raw, 77, "names key .* signed it"),
    "signature moved": (lambda h: b"".join((*parts(h.job())[:3], parts(h.job("other"))[3])), 77, SAME),
    "wrong namespace": (lambda h: home.signed(unsigned(h.job()), h.key("ada"), "ada@sun", "cit-control").raw, 77, "is for 'cit-control'"),
    "other queue": (lambda h: h.job(queue="main@SHA256:other").raw, 77, "the job is for queue main@SHA256:other"),
    "expired": (lambda h: h.job(created=Time(clock.now() - clock.DAY), expires=Time(clock.now() - clock.SECOND)).raw, 77, "expired at"),
    "replayed": (replayed, 77, "was here before with other bytes"),
    "unsigned": (lambda h: unsigned(h.job()).raw, 77, "no signature"),
    "torn tail": (lambda h: h.job().raw[:-30], 65, "not closed|newline"),
}


def test_every_edit_of_the_promise_is_refused_with_its_own_words(house: House) -> None:
    stream = [make(house) for make, _, _ in EDITS.values()]
    ended = house.run("--to", "@main", stdin=b"".join(stream))
    said = [each.table("ticket") for each in tickets(ended.stdout)]
    assert [each["state"] for each in said] == ["refused"] * len(EDITS) and ended.returncode == 77
    words: dict[str, str] = {}
    for (name, (_, status, pattern)), ticket in zip(EDITS.items(), said):
        assert ticket["status"] == status and re.search(pattern, str(ticket["why"])), (name, ticket)
        words[name] = re.sub(r"SHA256:\S+", "KEY", str(ticket["why"]))
    assert len(set(words.values())) == len({pattern for _, _, pattern in EDITS.values()}), words
    assert [reader.parse(raw).name for raw in house.lying("waiting")] == ["twin"]
    assert len(house.refused()) == len(EDITS)
