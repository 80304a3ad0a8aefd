"""Documents that were written by hand: what they leave out is filled in, what no queue would take is refused, then they are signed."""

from __future__ import annotations

import pytest

from tests.int.cit_trigger.desk import Desk, documents, verified

ID = "01kax0m2ht8f0v3q6s9y2c4e7g"
BY_HAND = f"""@cit 1 {ID} zlib
@begin job 1 toml
# what it needs
cpus = 2 # make -j2
@end job
@begin call 1 toml
interface = "build-zlib"
@end call
@begin unheard-of 3 text
kept as it is
@end unheard-of
""".encode()


def test_what_is_left_out_is_filled_in_and_the_rest_stays(desk: Desk) -> None:
    job = desk.one("--sign", stdin=BY_HAND, CIT_NOW="2026-11-23T20:26:11Z")
    said = job.table("job")
    assert (job.id, said["submitter"], str(said["created"]), str(said["expires"]), said["cpus"]) == (
        ID,
        "ada@sun",
        "2026-11-23T20:26:11Z",
        "2026-12-23T20:26:11Z",
        2,
    )
    assert b"\n# what it needs\ncpus = 2 # make -j2\nsubmitter = " in job.raw
    assert BY_HAND.partition(b"@end job\n")[2] in job.raw
    assert verified(job, desk.home / ".cit/allowed_signers")


def test_dry_run_can_be_edited_and_signed(desk: Desk) -> None:
    unsigned = desk.run("cit-trigger", "-n", "-t", "30m", "--", "make").stdout
    edited = unsigned.replace(b'"30m"', b'"45m"').replace(b"exec make", b"exec make check")
    (desk.here / "job.cit").write_bytes(edited)
    job = desk.one("--sign", "job.cit")
    assert job.raw.startswith(edited) and job.table("job")["time"] == "45m"
    assert verified(job, desk.home / ".cit/allowed_signers")


@pytest.mark.parametrize(
    ("old", "new", "status", "said"),
    [
        (b"cpus = 2", b"cpus = 0", 65, b"cpus is 0, less than 1"),
        (b"cpus = 2", b'time = "30"', 65, b"time is wrong: 30 of what?"),
        (b"cpus = 2", b"cpus two", 65, b"it is no cit TOML"),
        (b"cpus = 2", b'submitter = "ben@sun"', 77, b"its submitter is ben@sun, yours is ada@sun"),
        (b"cpus = 2", b'key = "SHA256:x"', 77, b"its key is SHA256:x, yours is SHA256:"),
        (b"@begin call", b"@begin job 1 toml\n@end job\n@begin call", 65, b"job"),
        (b"@begin call", b"@begin script 1 sh\ntrue\n@end script\n@begin call", 65, b"script"),
        (b"@begin job 1 toml", b"@begin note 1 text\n@end note\n@begin job 1 toml", 65, b"a document that begins with note is no job"),
        (b" zlib\n", b" Zlib\n", 65, b"malformed @cit line"),
    ],
)
def test_bad_one_does_not_stop_a_good_one(desk: Desk, old: bytes, new: bytes, status: int, said: bytes) -> None:
    ended = desk.run("cit-trigger", "--sign", stdin=BY_HAND.replace(old, new, 1) + BY_HAND, status=status)
    assert said in ended.stderr
    assert [job.id for job in documents(ended.stdout)] == [ID]


def test_signed_one_is_not_signed_again(desk: Desk) -> None:
    signed = desk.run("cit-trigger", "--", "true").stdout
    ended = desk.run("cit-trigger", "--sign", stdin=signed, status=65)
    assert b"it is signed already" in ended.stderr and ended.stdout == b""


def test_key_that_is_misspelt_is_a_warning(desk: Desk) -> None:
    ended = desk.run("cit-trigger", "--sign", stdin=BY_HAND.replace(b"cpus", b"cpu"))
    assert b"warning: unknown key cpu" in ended.stderr and documents(ended.stdout)


def test_nothing_to_sign_is_nothing(desk: Desk) -> None:
    assert desk.made("--sign", stdin=b"") == []
    assert b"no such file" in desk.run("cit-trigger", "--sign", "gone", status=66).stderr
