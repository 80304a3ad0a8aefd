"""Options become keys and sections as they were meant, or are refused with what to write instead."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from cit_trigger import options
from cit_trigger.cit_format import body, clock
from tests.int.cit_trigger.desk import NASTY, Desk, rows, verified

NOW = clock.parse("2026-11-23T20:26:11Z")


def test_each_option_is_a_key_of_the_job(desk: Desk) -> None:
    argv = "-t 1-02:03:04 -c 2 --mem 512M --tmp 4G -C debian-12,gcc -C x86_64&fast -w sun -b now+2h --deadline 2026-11-24T20:00:00Z -H --priority -5"
    argv += " --attempts 3 --retry-on lost --retry-on 75 --start-within 90s --stall 5m"
    more = "--same mine --latest zlib-main --latest-running --workspace incremental --builddir a/b -a 0-99%4 --group board --nice 5"
    more += " --load-limit 1.5 --hold-on-failure 1h --tty"
    said_so = ["--check", "make deps", "--environment", "make env"]
    parent = "01kax0m2ht8f0v3q6s9y2c4e7g"
    job = desk.one(*argv.split(), *more.split(), *said_so, "--parent", parent, "--expires", "7d", "--", "true", CIT_NOW="2026-11-23T20:26:11Z")
    said = {key: value for key, value in job.table("job").items() if key not in ("key", "queue")}
    assert said == {
        "submitter": "ada@sun",
        "created": NOW,
        "expires": NOW + 7 * clock.DAY,
        "cpus": 2,
        "time": "1-02:03:04",
        "mem": "512M",
        "tmp": "4G",
        "constraint": ["debian-12", "gcc", "x86_64", "fast"],
        "builder": "sun",
        "begin": NOW + 2 * clock.HOUR,
        "deadline": clock.parse("2026-11-24T20:00:00Z"),
        "hold": True,
        "priority": -5,
        "attempts": 3,
        "retry-on": ["lost", "75"],
        "start-within": "90s",
        "stall": "5m",
        "same": "mine",
        "latest": "zlib-main",
        "latest-running": True,
        "array": "0-99%4",
        "group": "board",
        "nice": 5,
        "load-limit": "1.5",
        "check": "make deps",
        "environment": "make env",
        "hold-on-failure": "1h",
        "tty": True,
        "workspace": "incremental",
        "builddir": "a/b",
        "parent": parent,
    }


def test_nothing_is_said_that_was_not_asked_for(desk: Desk) -> None:
    job = desk.one("--", "true")
    assert list(job.table("job")) == ["submitter", "key", "queue", "created", "expires"]
    assert [section.kind for section in job.sections] == ["job", "script", "signature"]


@pytest.mark.parametrize(
    ("given", "what", "hint"),
    [
        ({"time": "30"}, "--time: 30 of what?", "30m"),
        ({"stall": "5"}, "--stall: 5 of what?", "5m"),
        ({"start-within": "5"}, "--start-within: 5 of what?", "5m"),
        ({"mem": "512"}, "--mem: 512 of what?", "512M"),
        ({"tmp": "4"}, "--tmp: 4 of what?", "4G"),
        ({"mem": "4g"}, "'4g' is no size", "4G"),
        ({"begin": "30"}, "--begin: '30' is no UTC time", "now+30m"),
        ({"begin": "now+30"}, "--begin: 30 of what?", "now+2h"),
        ({"deadline": "2026-02-30T00:00:00Z"}, "--deadline", "2026-11-23T20:26:11Z"),
        ({"deadline": "2026-11-23T20:26:11Z"}, "is over before the job can begin", "now+2h"),
        ({"begin": "now+3h", "deadline": "now+2h"}, "is over before the job can begin", "now+2h"),
        ({"builder": "Sun shine"}, "--builder is no name", "builder"),
        ({"parent": "c4e7g"}, "--parent is no id", "job"),
        ({"same": "theirs"}, "--same is 'theirs', not one of mine, anyone", "Equal"),
        ({"workspace": "dirty"}, "--workspace is 'dirty', not one of clean, incremental", ""),
        ({"builddir": "../x"}, "--builddir is no path", ""),
        ({"retry-on": ["boredom"], "attempts": 2}, "--retry-on has 'boredom'", ""),
        ({"latest-running": True}, "--latest-running without --latest", "--latest WORD"),
        ({"array": "1..3"}, "--array is no indices", "1-20"),
        ({"array": "1-3%0"}, "--array is no indices", "%4"),
        ({"load-limit": "high"}, "--load-limit is no load", "batch(1)"),
        ({"hold-on-failure": "1"}, "--hold-on-failure: 1 of what?", "1m"),
        ({"retry-on": ["lost"]}, "--retry-on without --attempts", "--attempts 2"),
    ],
)
def test_value_that_does_not_fit_is_refused_with_a_hint(given: dict[str, object], what: str, hint: str) -> None:
    with pytest.raises(options.CitError) as refused:
        options.job_keys(given, NOW)
    assert (refused.value.status, what in refused.value.what, hint in refused.value.hint) == (2, True, True), refused.value.what


@pytest.mark.parametrize("text", ["31d", "0s", "7", "soon"])
def test_lifetime_is_within_what_a_queue_takes(text: str) -> None:
    with pytest.raises(options.CitError) as refused:
        options.lifetime(text)
    assert refused.value.status == 2


def test_source_alone_means_here_and_only_before_the_command() -> None:
    assert options.spelt_out(["--source", "-n", "--", "--source"]) == ["--source=.", "-n", "--", "--source"]
    assert options.spelt_out(["--source=x", "--source"]) == ["--source=x", "--source=."]


def test_bytes_that_are_no_text_are_refused_by_name(desk: Desk) -> None:
    for argv in (["--latest", "\udcff"], ["--export", "A=\udcff"], ["--config", "a=\udcff"], ["--keep", "\udcff"], ["--name", "\udcff"]):
        assert "no UTF-8" in desk.refused(*argv, "--", "true", status=2)[0]
    ended = desk.run("cit-trigger", "--export", "A", "--", "true", status=2, A="\udcff")
    assert b"no UTF-8" in ended.stderr


# --- env, config, keep ----------------------------------------------------------------------------------------------


def test_variables_go_as_given_or_as_they_are_here(desk: Desk) -> None:
    texts = [text for text in NASTY if "\udcff" not in text]
    given = [word for number, text in enumerate(texts) for word in ("--export", f"V{number}={text}")]
    job = desk.one(*given, "--export", "HERE", "--export", "V0=later wins", "--", "true", HERE="x=y\nz")
    wanted = [[f"V{number}", text] for number, text in enumerate(texts)]
    assert rows(job, "env") == [["V0", "later wins"], *wanted[1:], ["HERE", "x=y\nz"]]
    for item in ("1A=x", "A-B=x", "=x", "NOT_SET_HERE", "$(x)=1"):
        assert "--export" in desk.refused("--export", item, "--", "true", status=2)[0]


def test_settings_come_from_pairs_and_files(desk: Desk) -> None:
    (desk.here / "base").write_text("# the usual\n\nprefix=/opt/zlib\nflags=-O2 -DX='a=b'\n")
    job = desk.one("--config", "base", "--config", "prefix=/usr", "--config", "x y=ä\t1", "--", "true")
    assert rows(job, "config") == [["prefix", "/usr"], ["flags", "-O2 -DX='a=b'"], ["x y", "ä\t1"]]
    (desk.here / "bad").write_text("just words\n")
    assert "is no setting" in desk.refused("--config", "bad", "--", "true", status=65)[0]


def test_kept_files_are_named_below_the_workspace(desk: Desk) -> None:
    assert rows(desk.one("--keep", "*.deb", "--keep", "build/test-*.xml", "--", "true"), "keep") == [["*.deb"], ["build/test-*.xml"]]
    for glob in ("/etc/*", "../x", "a/../../b", ""):
        desk.refused("--keep", glob, "--", "true", status=2)


# --- files ----------------------------------------------------------------------------------------------------------


def members(raw: bytes) -> list[tuple[str, bytes, bool]]:
    """Path, content and whether it is a program, of each entry of a tar; directories end with a slash."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = []
        for entry in archive:
            stream = archive.extractfile(entry) if entry.isreg() else None
            found.append((entry.name + "/" * entry.isdir(), stream.read() if stream else b"", bool(entry.mode & 0o100) and entry.isreg()))
            assert (entry.uid, entry.uname) == (0, "")
    return found


def test_files_are_packed_under_the_names_they_were_given(desk: Desk) -> None:
    (desk.here / "d/e").mkdir(parents=True)
    (desk.here / "d/e/ä $(x)\n.txt").write_bytes(b"\0\xff")
    (desk.here / "d/run").write_text("#!/bin/sh\n")
    (desk.here / "d/run").chmod(0o755)
    os.link(desk.here / "d/run", desk.here / "d/same")  # twice the same file is packed twice
    job = desk.one("--files", "d", "--files", "d/run", "--", "true")
    section = job.find("files")
    assert section and section.attributes == {"enc": "base64"}
    run = (b"#!/bin/sh\n", True)
    assert members(section.body()) == [
        ("d/", b"", False),
        ("d/e/", b"", False),
        ("d/e/ä $(x)\n.txt", b"\0\xff", False),
        ("d/run", *run),
        ("d/same", *run),
        ("d/run", *run),
    ]


def test_tar_goes_as_it_is(desk: Desk) -> None:
    (desk.here / "x").write_text("x")
    desk.run("tar", "cf", "x.tar", "x")
    raw = (desk.here / "x.tar").read_bytes()
    for job in (desk.one("--files", "x.tar", "--", "true"), desk.one("--files", "-", "--", "true", stdin=raw)):
        section = job.find("files")
        assert section and section.body() == raw


def test_what_a_builder_would_refuse_is_refused_here(desk: Desk) -> None:
    (desk.here / "x").write_text("x")
    (desk.here / "link").symlink_to("x")
    (desk.here / "d").mkdir()
    (desk.here / "d/link").symlink_to("../x")
    os.mkfifo(desk.here / "fifo")
    desk.run("tar", "cf", "links.tar", "link")
    desk.run("tar", "cPf", "root.tar", str(desk.here / "x"))
    desk.run("tar", "czf", "packed.tar", "x")
    for name in ("link", "d", "fifo", "links.tar", "root.tar", "packed.tar"):
        desk.refused("--files", name, "--", "true", status=65)
    for name in (str(desk.here / "x"), "../here/x"):
        desk.refused("--files", name, "--", "true", status=2)


def test_files_over_what_a_section_holds_are_refused_with_their_size(desk: Desk) -> None:
    (desk.here / "large").write_bytes(os.urandom(13 << 20))
    what, _ = desk.refused("--files", "large", "--", "true", status=65)
    assert "what --files names is 18M as a section, a section holds 16M" in what


# --- who and where --------------------------------------------------------------------------------------------------


def key_line(path: Path) -> str:
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def test_first_job_of_all_makes_a_key_and_says_so_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    said = [desk.run("cit-trigger", "--", "true").stderr.decode().count("made a key of your own") for _ in range(2)]
    assert said == [1, 0]
    assert (tmp_path / ".cit/id_ed25519").stat().st_mode & 0o777 == 0o600


def test_own_ssh_key_signs_and_the_queue_knows_its_owner(desk: Desk) -> None:
    """The name is the queue's for this key, whatever the account here is called; only lines with the key are read."""
    (desk.home / ".cit/id_ed25519").unlink()  # as in a home whose person had a key of theirs from the start
    (desk.home / ".ssh").mkdir(mode=0o700)
    for name in ("id_ed25519", "other"):
        desk.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(desk.home / ".ssh" / name))
    allowed = desk.home / ".cit/queues/main/allowed_signers"
    here = allowed.read_text()
    assert desk.one("--", "true").table("job")["submitter"] == "ada@sun"
    allowed.write_text(here + f'faulty line\nada.l@university namespaces="cit-job" {key_line(desk.home / ".ssh/id_ed25519")}\n')
    job = desk.one("--", "true")
    signature = job.find("signature")
    assert signature and (job.table("job")["submitter"], signature.attributes["by"]) == ("ada.l@university", "ada.l@university")
    line = f'ada.l@university namespaces="cit-job" {key_line(desk.home / ".ssh/id_ed25519")}\n'
    (desk.home / "list").write_text(line)
    assert verified(job, desk.home / "list", by="ada.l@university")
    other = desk.one("--key", str(desk.home / ".ssh/other"), "--", "true")
    assert other.table("job")["submitter"] == "ada@sun" != job.table("job")["key"]


def test_queue_that_is_not_there(desk: Desk) -> None:
    assert "no queue @lab" in desk.refused("--queue", "@lab", "--", "true", status=66)[0]


def test_of_several_queues_the_first_active_one_is_meant(desk: Desk) -> None:
    for name in ("far", "near"):
        desk.run("cit-init", f"@{name}")
    (desk.home / ".cit/config.toml").write_text('queues = ["@gone", "@far", "@near"]\n')
    assert str(desk.one("--", "true").table("job")["queue"]).startswith("far@SHA256:")
    settings = desk.home / ".cit/queues/far/queue.toml"
    settings.write_text(settings.read_text().replace("active = true", "active = false"))
    ended = desk.run("cit-trigger", "--", "true")
    assert b"this goes to @near" in ended.stderr and b'queue = "near@SHA256:' in ended.stdout


def test_time_of_whole_seconds_is_what_is_written() -> None:
    keys = options.job_keys({"begin": "now+90s"}, NOW + 999_999)
    assert body.toml(keys) == b"begin = 2026-11-23T20:27:41Z\n"
