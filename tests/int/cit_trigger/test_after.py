"""--after, and jobs that are made inside a job: parent and chain are signed with them (docs/format/after.md)."""

from __future__ import annotations

from cit_format import after, reader
from cit_format.document import Document
from cit_trigger import inside
from tests.int.cit_trigger.desk import Desk

OUTER, ROOT = "01kax0m2ht8f0v3q6s9y2c4e7g", "01kax0m2ht8f0v3q6s9y2c4e7f"
INSIDE = {"CIT_JOB_ID": OUTER, "CIT_CHAIN": ROOT}


def followers(job: Document) -> dict[str, list[Document]]:
    return {section.attributes["on"]: list(after.jobs(section)) for section in after.sections(job)}


def test_unsigned_jobs_are_signed_with_their_parent_and_signed_ones_stay(desk: Desk) -> None:
    unsigned, signed = desk.made("-n", "-J", "next", "--", "true")[0], desk.one("-J", "last", "--", "true")
    (desk.here / "next.cit").write_bytes(unsigned.raw)
    job = desk.one("--after", "success=next.cit", "--after", "always=-", "--", "true", stdin=signed.raw)
    found = followers(job)
    (one,), (other,) = found["success"], found["always"]
    assert (one.id, one.name, one.table("job")["parent"], one.table("job")["chain"]) == (unsigned.id, "next", job.id, [job.id])
    assert one.find("signature") and other.raw == signed.raw
    after.check(job)


def test_each_of_several_jobs_has_followers_of_its_own(desk: Desk) -> None:
    unsigned = desk.made("-n", "-J", "next", "--", "true")[0]
    (desk.here / "next.cit").write_bytes(unsigned.raw)
    jobs = desk.made("--after", "success=next.cit", "--each", "-", "--", "echo", stdin=b"a\nb\n")
    found = [followers(job)["success"][0] for job in jobs]
    assert len({each.id for each in found} | {unsigned.id}) == 3
    assert [each.table("job")["parent"] for each in found] == [job.id for job in jobs]


def test_what_does_not_fit(desk: Desk) -> None:
    for words in ("maybe=x", "success", "success="):
        assert "--after" in desk.refused("--after", words, "--", "true", status=2)[0]
    assert "nothere" in desk.refused("--after", "always=nothere", "--", "true", status=66)[0]
    (desk.here / "empty").write_text("")
    assert "no job in it" in desk.refused("--after", "always=empty", "--", "true", status=65)[0]
    assert "stdin" in desk.refused("--after", "always=-", "--script", "-", status=2)[0]


def test_a_job_that_is_made_in_a_job_says_so(desk: Desk) -> None:
    job = desk.one("--", "true", **INSIDE)
    assert (job.table("job")["parent"], job.table("job")["chain"]) == (OUTER, [ROOT, OUTER])
    again = desk.one("--parent", ROOT, "--", "true", **INSIDE)
    assert (again.table("job")["parent"], again.table("job")["chain"]) == (ROOT, [ROOT, OUTER])
    unsigned = desk.made("-n", "--", "true")[0]
    assert "chain" not in unsigned.table("job")
    by_hand = reader.parse(desk.run("cit-trigger", "--sign", stdin=unsigned.raw, **INSIDE).stdout)
    assert by_hand.table("job")["chain"] == [ROOT, OUTER]
    (desk.here / "next.cit").write_bytes(unsigned.raw)
    (following,) = followers(desk.one("--after", "always=next.cit", "--", "true", **INSIDE))["always"]
    chain = following.table("job")["chain"]
    assert isinstance(chain, list) and chain[:2] == [ROOT, OUTER] and len(chain) == 3


def test_its_queue_is_that_of_the_job_around_it(desk: Desk) -> None:
    desk.run("cit-init", "@lab")
    lab = desk.one("--queue", "@lab", "--", "true").table("job")["queue"]
    assert desk.one("--", "true", **INSIDE, CIT_QUEUE=str(lab)).table("job")["queue"] == lab
    assert desk.one("--", "true", CIT_QUEUE=str(lab)).table("job")["queue"] != lab, "outside of jobs it means nothing"
    gone = "gone@SHA256:" + "A" * 43
    assert "gone" in "".join(desk.run("cit-trigger", "--", "true", status=66, **INSIDE, CIT_QUEUE=gone).stderr.decode())


def test_what_is_no_id_is_no_family() -> None:
    assert inside.family({"CIT_JOB_ID": "x", "CIT_CHAIN": ROOT}) == {}
    assert inside.family({"CIT_JOB_ID": OUTER, "CIT_CHAIN": f"x {ROOT} "})["chain"] == [ROOT, OUTER]
