"""cit-format check: what is wrong beyond the grammar, in documents and in the files that people keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from cit_format import body, dictionary, document, grammar, remarks
from cit_format.document import Document, section
from tests.int.cit_format.jobs import ID, SCRIPT, Yard, job_like
from tests.int.cit_format.test_program import run, said

EVENT = section("event", "tsv", b"2026-11-23T20:30:00.000Z\tqueue\taccepted\tsun\tcit\t\n")


def found(checked: Document) -> list[tuple[int, str]]:
    return [(remark.status, remark.what) for remark in remarks.remarks(checked)]


def one(kind: str, form: str, text: bytes, version: int = 1, **attributes: str) -> Document:
    return document.new("a", section(kind, form, text, version, **attributes), identity=ID)


def test_a_whole_story_is_without_remark(yard: Yard) -> None:
    accepted = yard.signed(yard.job(cpus=2, time="30m").extended(EVENT), "queue@sun", "cit-queue")
    assert found(yard.assigned(accepted)) == []


def test_a_job_that_is_not_signed_yet_passes_with_a_warning(yard: Yard) -> None:
    assert found(document.new("a", yard.head(), SCRIPT)) == [(0, "not signed yet")]
    assert found(document.new("a", yard.head())) == [(0, "not signed yet"), (65, "0 scripts and 0 calls")]


@pytest.mark.parametrize(
    "checked, remark",
    [
        (one("control", "toml", b'action = "stop"\n'), (65, "action is 'stop', not one of cancel, hold, release, priority, note")),
        (one("control", "toml", b'action = "hold"\n'), (65, "target is missing")),
        (one("control", "toml", b"action = 1\n"), (65, "action is no string")),
        (one("control", "toml", b'queue = "main"\n'), (65, "queue is no queue: 'main'")),
        (one("control", "toml", b'colour = "red"\n'), (0, "unknown key colour")),
        (one("control", "toml", b"x\n"), (65, "line 1 of the section: it is no cit TOML")),
        (one("control", "toml", b"", 2), (0, "version 2 is not known here")),
        (one("control", "text", b""), (65, "its format is text, not toml")),
        (one("result", "toml", b"exit = 256\n"), (65, "exit is 256, more than 255")),
        (one("result", "toml", b"wall-ms = -1\n"), (65, "wall-ms is -1, less than 0")),
        (one("result", "toml", b'state = "GREEN"\n'), (65, "state is no state: 'GREEN'")),
        (one("result", "toml", b"exit = true\n"), (65, "exit is no integer")),
        (one("result", "toml", b'started = "2026-11-23T20:26:11Z"\n'), (65, "started is no UTC time")),
        (one("assignment", "toml", b"weighed = [1]\n"), (65, "weighed is no list of strings")),
        (one("builder", "toml", b'mem = "16"\n'), (65, "mem is wrong: 16 of what?")),
        (one("builder", "toml", b'name = "Sun"\n'), (65, "name is no name: 'Sun'")),
        (one("job", "toml", b'retry-on = ["fail", "boredom"]\n'), (65, "retry-on has 'boredom', which is none of fail|lost|75")),
        (one("job", "toml", b'builddir = "../.."\n'), (65, "builddir is no path: '../..'")),
        (one("job", "toml", b"priority = 1000\n"), (65, "priority is 1000, more than 999")),
        (one("job", "toml", b"hold = 1\n"), (65, "hold is neither true nor false")),
        (one("env", "tsv", b"A\tb\nC\n"), (65, "row 2 has 1 columns, not 2")),
        (one("env", "tsv", b"A\t\\x\n"), (65, "unknown escape \\x in TSV")),
        (one("keep", "tsv", b"/etc/passwd\n"), (65, "row 1: glob is no glob: '/etc/passwd'")),
        (one("event", "tsv", b"yesterday\ta\tb\tc\td\te\n"), (65, "row 1: time is wrong: 'yesterday' is no UTC time")),
        (one("artefact", "tsv", b"00\t1x\tlog\n"), (65, "row 1: bytes is no integer: '1x'")),
        (one("bundle", "git-bundle", b""), (65, "attribute path is missing")),
        (one("change", "diff", b"", path=".", base="x"), (65, "attribute base is no commit: 'x'")),
        (one("change", "diff", b"", path=".", who="me"), (0, "unknown attribute who")),
        (one("secret", "text", b"", name="T", enc="age", to="SHA256:x"), (65, "attribute to is no fingerprint: 'SHA256:x'")),
        (one("weather", "toml", b"[table]\n"), (65, "line 1 of the section: it is no cit TOML")),
        (one("weather", "json", b'{"a": 1, "a": 2}\n'), (65, "it is no JSON: a key is given twice in one object")),
        (one("weather", "json", b"[NaN]\n"), (65, "it is no JSON: NaN is no JSON")),
        (one("weather", "json", b"[" * 100_000 + b"\n"), (65, "its JSON is nested too deeply")),
        (one("weather", "xml", b"<a><b></a>\n"), (65, "it is no XML: mismatched tag: line 1, column 8")),
        (one("weather", "xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>\n'), (65, "a document type (DOCTYPE) in XML")),
        (one("weather", "yaml", b"a: 1\n"), (0, "YAML is not looked into")),
        (document.new("a", identity=ID), (0, "a document without sections")),
    ],
)
def test_each_remark(checked: Document, remark: tuple[int, str]) -> None:
    assert remark in found(checked)


@pytest.mark.parametrize(
    "checked",
    [
        one("weather", "json", b'{"a": [1, 2.5, null]}\n'),
        one("weather", "xml", "<a><b>ä</b></a>\n".encode()),
        one("weather", "sh", b"anything { goes\n"),
        one("weather", "toml", b"", 9, colour="red"),
        one("call", "toml", b'interface = "make"\ntarget = "check"\n'),
        one("note", "text", b"hello\n"),
    ],
)
def test_what_is_well_or_unknown_is_without_remark(checked: Document) -> None:
    assert found(checked) == []


def test_a_section_that_its_signer_may_not_write(yard: Yard) -> None:
    job = yard.job().extended(section("assignment", "toml", b"attempt = 1\n"))
    forged = found(yard.signed(job, "builder@sun", "cit-result"))
    assert (77, "the signature that speaks for it is for cit-result; only queue may write it") in forged
    unknown = found(yard.signed(yard.job().extended(EVENT), "queue@sun", "cit-weather"))
    assert unknown == [(0, "the signature after it is for cit-weather, which has no power here")]


# the dictionary


def test_the_dictionary_is_whole() -> None:
    """Every row has a type that check knows, a unit that fits it, writers, and a reason."""
    plain = {"string", "any", "time", "bool", "array", "int", *dictionary._PATTERNS, *dictionary._READERS}
    roles = set().union(*dictionary.ROLES.values()) | {"door"}
    for table in (dictionary.SECTIONS, dictionary.SETTINGS):
        for (name, version), entry in dictionary.read(table).items():
            assert version == "1" and entry.writers <= roles, name
            for key in [*entry.keys.values(), *entry.attributes.values()]:
                assert key.type in plain or "|" in key.type, f"{name} {key.name}: {key.type}"
                assert key.writers <= roles and key.why and grammar.NAME.fullmatch(key.name.replace("*", "a")), f"{name} {key.name}"


# the program


def test_silent_when_all_is_well_and_ok_with_v(tmp_path: Path, yard: Yard) -> None:
    (tmp_path / "a.cit").write_bytes(yard.job().raw + yard.assigned(yard.job()).raw)
    quiet = run("check", tmp_path / "a.cit")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")
    assert run("check", "-v", tmp_path / "a.cit").stdout == b"ok\t2c4e7g-zlib\n" * 2


def test_places_and_the_worst_status(tmp_path: Path, yard: Yard) -> None:
    (tmp_path / "a.cit").write_bytes(yard.job(cpus=0).raw + b"@cit 1 x y\n" + job_like(1).raw)
    done = run("check", tmp_path / "a.cit")
    assert done.returncode == 65
    assert said(done)[0] == f"{tmp_path}/a.cit: 2c4e7g-zlib: line 2: section job: error: cpus is 0, less than 1"
    assert said(done)[2] == f"{tmp_path}/a.cit: line 22: error: malformed @cit line"
    warned = run("check", stdin=document.new("a", section("note", "text", b"", 1, x="1")).raw)
    assert warned.returncode == 0 and "warning: unknown attribute x" in said(warned)[0]
    assert run("check", "-q", stdin=document.new("a", section("note", "text", b"", 1, x="1")).raw).stderr == b""


GOOD_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKMjbGTLVeHZmVjbWMHDbNCvXNDTkEr9bQAEKCWt3n0L"
BARE = [
    ("queue.toml", 'name = "main"\nactive = true\non-arrival = "cit-schedule"\n', 0, ""),
    ("queue.toml", 'active = "yes"\n', 78, "active is neither true nor false"),
    ("queue.toml", "[limits]\n", 78, "line 1 of the section: it is no cit TOML"),
    ("queue.toml", "colour = 1\n", 0, "unknown key colour"),
    ("config.toml", 'queues = ["@main"]\n', 0, ""),
    ("config.toml", "queues = 1\n", 78, "queues is no list of strings"),
    ("allowed_signers", f'ada@sun namespaces="cit-job" {GOOD_KEY}\n', 0, ""),
    ("allowed_signers", f"ada@sun {GOOD_KEY}\n", 78, "the line has no namespaces="),
    ("allowed_signers", f'* namespaces="cit-job" {GOOD_KEY}\n', 78, "the name '*' is not plain"),
    ("revoked_keys", f"{GOOD_KEY} ada\n", 0, ""),
    ("revoked_keys", "ssh-ed25519 nonsense\n", 78, "this is not a public key that can be used"),
    ("builder.toml", 'name = "Sun"\n', 65, "name is no name: 'Sun'"),
    ("sun.toml", "slots = 0\n", 65, "slots is 0, less than 1"),
    ("other.toml", "a = 1\n", 0, ""),
    ("other.toml", "a = \n", 65, "line 1 of the section: it is no cit TOML"),
    ("keep.tsv", "*.log\n", 0, ""),
    ("keep.tsv", "../x\n", 65, "row 1: glob is no glob: '../x'"),
    ("night.triggers", "time 0 3 * * * => -J a -- make check\n# off 'quote\n\n", 0, ""),
    ("night.triggers", "time 0 3 * * * => -J a -- echo 'quote\n", 65, "line 1: error: the words of the line cannot be told apart"),
    ("night.triggers", "\nevery 90 => -- true\n", 65, "line 2: error: every: 90 of what?"),
    ("interface.tsv", "-\tinterface\t-\t-\t-\t-\tx\nv\tint\t1..5\t-\t0..1\t5\tx\n", 0, ""),
    ("interface.tsv", "-\tinterface\t-\t-\t-\t-\tx\nv\tint\t1..5\t-\t0..1\t6\tx\n", 65, "row 2, v: is 6, not in 1..5"),
    ("interface.tsv", "-\tinterface\t-\t-\t-\t-\tx\nv\tfloat\t-\t-\t1\t-\tx\n", 65, "row 2: type is 'float'"),
    ("readme.txt", "hello\n", 65, "a line that begins no document"),
]


@pytest.mark.parametrize("name, content, status, what", BARE)
def test_files_that_are_no_documents(tmp_path: Path, name: str, content: str, status: int, what: str) -> None:
    (tmp_path / name).write_text(content)
    done = run("check", tmp_path / name)
    assert done.returncode == status, done.stderr
    assert what in "\n".join(said(done)) and bool(what) == bool(done.stderr), done.stderr


def test_a_document_is_checked_as_one_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "queue.toml").write_bytes(job_like(1).raw)
    assert run("check", "-v", tmp_path / "queue.toml").stdout.decode() == f"ok\t{job_like(1).label}\n"


def checker(directory: Path, script: str) -> str:
    """A PATH with a program cit-check-weather."""
    path = directory / "bin/cit-check-weather"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{path.parent}:/usr/bin:/bin"


def test_a_program_of_ones_own_judges_its_section(tmp_path: Path) -> None:
    """The body comes decoded on stdin, nothing of it in the arguments; status and words are taken over, without control bytes."""
    path = checker(tmp_path, f"echo \"$#\" > {tmp_path}/words; cat > {tmp_path}/body; printf 'too \\033[31mcold\\n' >&2; exit 3")
    done = run("check", stdin=one("weather", "yaml", b"-5\n@end\n").raw, PATH=path)
    assert done.returncode == 3
    assert said(done)[0].endswith("section weather: error: cit-check-weather: too \\x1b[31mcold")
    assert (tmp_path / "body").read_bytes() == b"-5\n@end\n" and (tmp_path / "words").read_text() == "0\n"


def test_a_program_that_reads_nothing_or_warns(tmp_path: Path) -> None:
    path = checker(tmp_path, "echo windy >&2")
    done = run("check", stdin=one("weather", "text", b"x\n" * 200_000).raw, PATH=path)
    assert done.returncode == 0 and said(done)[0].endswith("warning: cit-check-weather: windy")


def test_values_that_are_shown_are_short() -> None:
    key = dictionary.read()["control", "1"].keys["action"]
    assert len(dictionary.objection(key, "x" * 10_000)) < 200
    assert body.table(b"") == {}
