"""Two hundred nasty strings as a job's name, as a host, as a branch: no shell and no option parser ever sees one (PROMISES 22).

As words and lines of a command: tests/int/cit_trigger/test_words.py; variables: test_options.py there; parameters of a call: cit_run/test_calls.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cit_format import address, reader
from cit_format.errors import CitError
from cit_format.grammar import NAME
from cit_format.reader import Faulty
from cit_schedule import over_ssh
from cit_schedule.cit_format import address as places
from cit_schedule.wire import Identity
from cit_trigger import repository
from cit_trigger.cit_format.errors import CitError as TriggerError
from tests.int.cit_trigger.desk import NASTY, Desk

AROUND = [("", ""), ("a", ""), ("", "b"), ("x/", ""), ("-", ""), ("--", "=1")]
STRINGS = list(dict.fromkeys(f"{start}{text}{end}" for start, end in AROUND for text in NASTY))
SAYS = '#!/bin/sh\nfor word; do printf \'%s\\n\' "$word" >>"$CALLED"; done\nexit 255\n'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def harmless(text: str) -> bool:
    """Whether a string is a plain name after all."""
    return NAME.fullmatch(text) is not None


def test_there_are_enough() -> None:
    assert len(STRINGS) >= 200 and sum(map(harmless, STRINGS)) < 10


def test_as_a_name(desk: Desk) -> None:
    """Refused where it is made, and where somebody has made it all the same."""
    for text in STRINGS:
        raw = f"@cit 1 01kax0m2ht8f0v3q6s9y2c4e7g {text}\n".encode("utf-8", "surrogateescape")
        found = list(reader.documents(reader.reader_of(raw)))
        assert harmless(text) or all(isinstance(each, Faulty) for each in found), text
    for text in ("", "$(touch gone)", "-n", "a b", "../x", "two\nlines", "\x1b[31mred", "; touch gone"):
        desk.refused(f"--name={text}", "--", "true", status=2)
    assert not list(desk.home.rglob("gone"))


def test_as_a_host(desk: Desk, tmp_path: Path) -> None:
    """No door has such a part; what is one is given to ssh as words of their own, the host behind --."""
    shapes = ("ssh://{}", "ssh://cit@{}", "ssh://{}@moon", "ssh://cit@moon:{}", "ssh://cit@moon/{}", "ssh://cit@moon/@{}")
    doors = []
    for text in STRINGS:
        for shape in shapes:
            try:
                door = places.parse(shape.format(text))
            except Exception as error:
                assert type(error).__name__ == "CitError" and getattr(error, "status", 0) == 65, (text, error)
                continue
            doors.append(door)
            assert not door.host.startswith("-") and not door.user.startswith("-"), text
            assert not set(f"{door.user}{door.host}{door.queue}") & set(" \t\n'\"\\$`;&|<>*?[]{}()!#~%"), text
    for door in doors:
        words = over_ssh.arguments(door, Identity([], False), [], "/tmp/x", False)
        assert words[-2:] == ["--", door.host] and words[words.index("-l") + 1] == door.user
    with pytest.raises(CitError):
        address.parse("ssh://-oProxyCommand=touch gone@moon")
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("ssh", "scp", "sftp"):
        (place / name).write_text(SAYS)
        (place / name).chmod(0o755)
    more = {"PATH": f"{place}:{desk.environment['PATH']}", "CALLED": str(tmp_path / "called")}
    for text in ("-oProxyCommand=touch gone", "cit@-oProxyCommand=touch gone", "$(touch gone)@moon", "cit@moon;touch gone", "cit@moon:-p", "a b@c"):
        for command in (["cit-add", text], ["cit-add", "--", text], ["cit-queue", "--to", f"ssh://{text}/@main"]):
            ended = subprocess.run(command, cwd=desk.here, env={**desk.environment, **more}, input=b"", capture_output=True, timeout=60)
            assert ended.returncode not in (0, 70) and b"Traceback" not in ended.stderr, (command, ended.stderr)
    called = (tmp_path / "called").read_text() if (tmp_path / "called").exists() else ""
    assert "gone" not in called and not list(tmp_path.rglob("gone"))


def test_as_a_branch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that git itself takes are found by their very name, all others are refused before git is asked."""
    tree = desk.here / "tree"
    tree.mkdir()
    desk.git("init", "-q", str(tree))
    for key, value in (("user.name", "Ada"), ("user.email", "ada@sun")):
        desk.git("config", key, value, at=tree)
    commit = desk.commit(tree, **{"a.c": "int a;\n"})
    taken = []
    for text in STRINGS:
        if "\n" not in text and "\0" not in text and "\udcff" not in text and len(text) < 200:
            made = subprocess.run(["git", "update-ref", f"refs/heads/{text}", commit], cwd=tree, capture_output=True)
            taken += [text] if made.returncode == 0 else []
    assert len(taken) > 40, taken
    monkeypatch.chdir(desk.here)
    monkeypatch.setenv("HOME", str(desk.home))
    found = refused = 0
    for text in STRINGS:
        try:
            gathered = repository.at_ref(str(tree), text)
        except TriggerError as error:
            assert error.status in (2, 66), (text, error)
            assert text not in taken or text.startswith("-"), text
            refused += 1
            continue
        assert text in taken and gathered.rows[0][2:4] == [text, commit], text
        found += 1
    assert found > 40 and refused > 100
    assert not list(desk.home.rglob("gone")) and not os.path.exists("gone")
