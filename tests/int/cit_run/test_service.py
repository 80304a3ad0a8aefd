"""A module as a service: only listed keys are served, with nothing but sealed portions; an equal request gets the same answer without a build."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from cit_run import referred, store_clean
from cit_run.cit_format import body, document, keys, service, store
from cit_run.cit_format.document import Document
from cit_run.cit_format.errors import CONFIG, CitError
from tests.int.cit_run.kit import Bench

INTERFACE = """#!/bin/sh
case ${1-} in
--describe)
  printf '%s\\t%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n' \\
    - interface - - - - 'Builds zlib.' \\
    version string 1..20 - 1 - 'Which version.' \\
    --same view - - - - 'The commit of its sources.'
  exit ;;
--same) cat "$HOME/commit"; exit ;;
esac
echo built >>"$HOME/builds"
mkdir -p lib src; echo "private" >src/zlib.c; echo "$1 $(cat "$HOME/commit")" >lib/libz.a; ! grep -q fail "$HOME/commit"
"""


class Desk:
    """A build account that offers the interface zlib, and the keys of whom it serves."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.file = bench.account / "interfaces" / "zlib"
        self.file.write_text(INTERFACE)
        self.file.chmod(0o700)
        self.commit("c0ffee")
        self.own = " ".join(bench.person.public.line.split()[:2])
        subprocess.run(["age-keygen", "-o", bench.home / "age.key"], check=True, capture_output=True)
        self.age = subprocess.run(["age-keygen", "-y", bench.home / "age.key"], check=True, capture_output=True, text=True).stdout.strip()
        self.serve(self.own, self.age)

    def serve(self, *lines: str) -> None:
        (self.bench.account / "interfaces" / "zlib.users").write_text("# whom\n" + "".join(f"{line}\n" for line in lines))

    def commit(self, name: str) -> None:
        (self.bench.home / "commit").write_text(f"{name}\n")

    @property
    def builds(self) -> int:
        file = self.bench.home / "builds"
        return file.read_text().count("built") if file.exists() else 0

    def ask(self, version: str = "1.3", *sections: bytes, keep: str = "lib", to: str = "", glob: str = "", **said: object) -> Document:
        """A request, as it has ended."""
        made = self.request(version, *sections, keep=keep, to=to, glob=glob, **said)
        self.bench.give(made)
        self.bench.run()
        return self.bench.finished(made)

    def request(self, version: str = "1.3", *sections: bytes, keep: str = "lib", to: str = "", glob: str = "", **said: object) -> Document:
        wanted = (document.section("keep", "tsv", body.tsv([[keep]])), document.section("reply", "tsv", body.tsv([[glob or keep, to or self.own]])))
        call = document.section("call", "toml", body.toml({"interface": "zlib", "version": version}))
        job = self.bench.job("", *wanted, *filter(None, sections), name="zlib", **said)
        raw = job.raw[: job.find("script").start] + call  # type: ignore[union-attr]
        from cit_run.cit_format import home, reader

        return self.bench.assigned(home.signed(reader.parse(raw), self.bench.person, home.person(), "cit-job"))


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return Desk(bench)


def portions(done: Document) -> dict[str, str]:
    """Kept files of a job by their names."""
    rows = [row for section in done.all("artefact") for row in section.rows()]
    return {row[2].partition("/")[2].partition("/")[2]: row[0] for row in rows if row[2].count("/") > 1}


def test_equal_request_is_answered_without_a_build_until_its_sources_change(desk: Desk) -> None:
    first, again = desk.ask(), desk.ask()
    assert first.table("result")["exit"] == again.table("result")["exit"] == 0
    assert desk.builds == 1 and portions(first) == portions(again) and list(portions(first)) == ["lib/libz.a.age"]
    answered = [row for section in again.all("environment") for row in section.rows() if row[0] == "answered"]
    assert answered and "answered from the store: 1 files" in desk.bench.log(again)
    sealed = desk.bench.account / "store" / portions(again)["lib/libz.a.age"]
    assert hashlib.sha256(sealed.read_bytes()).hexdigest() == sealed.name
    opened = subprocess.run(["age", "-d", "-i", desk.bench.home / ".cit/id_ed25519", sealed], capture_output=True, text=True)
    assert opened.stdout == "--version=1.3 c0ffee\n"
    desk.commit("decade")
    newer = desk.ask()
    assert desk.builds == 2 and portions(newer) != portions(first)
    for other in (desk.ask("1.2"), desk.ask(to=desk.age), desk.ask(keep="lib/*.a")):
        assert other.table("result")["exit"] == 0
    assert desk.builds == 5, "another parameter, another key, other portions"


def test_failed_build_is_no_answer_and_bytes_that_are_gone_are_built_again(desk: Desk) -> None:
    desk.commit("fail")
    assert [desk.ask().table("result")["exit"] for _ in range(2)] == [1, 1] and desk.builds == 2
    desk.commit("good")
    first = desk.ask()
    (desk.bench.account / "store" / portions(first)["lib/libz.a.age"]).unlink()
    assert desk.ask().table("result")["exit"] == 0 and desk.builds == 4


def test_interface_without_a_version_builds_each_time(desk: Desk) -> None:
    desk.file.write_text(
        INTERFACE.replace("    --same view - - - - 'The commit of its sources.'\n", "").replace("'Which version.' \\", "'Which version.'")
    )
    assert [desk.ask().table("result")["exit"] for _ in range(2)] == [0, 0] and desk.builds == 2


def test_version_that_cannot_be_told_ends_the_request(desk: Desk) -> None:
    (desk.bench.home / "commit").unlink()
    done = desk.ask()
    assert done.table("result")["exit"] == 125 and "--same ended with status 1" in str(done.table("result")["why"]) and desk.builds == 0


def test_only_what_the_owner_gives_is_given(desk: Desk) -> None:
    desk.serve(desk.own, "portions lib/*.a,include")
    done = desk.ask(keep=".", glob=".")
    assert done.table("result")["exit"] == 0 and list(portions(done)) == ["lib/libz.a.age"]
    assert not portions(desk.ask(keep="src"))


def test_stranger_is_refused_and_so_is_one_to_whom_is_sealed(desk: Desk) -> None:
    keys.generate(desk.bench.home / "ben", "ben@moon")
    ben = " ".join(keys.load(desk.bench.home / "ben").public.line.split()[:2])
    for_ben = desk.ask(to=ben)
    assert for_ben.table("result")["exit"] == 77 and "zlib serves no key SHA256:" in str(for_ben.table("result")["why"])
    desk.serve(ben, desk.age)
    refused = desk.ask(to=desk.age)
    assert refused.table("result")["exit"] == 77 and refused.table("result")["state"] == "FAILED"
    desk.serve(keys.load(desk.bench.home / ".cit/id_ed25519").public.fingerprint, ben)
    assert desk.ask(to=ben).table("result")["exit"] == 0, "a fingerprint will do"
    assert desk.builds == 1


@pytest.mark.parametrize(
    ("section", "said", "status"),
    [
        (document.section("env", "tsv", body.tsv([["LD_PRELOAD", "./evil.so"]])), {}, 77),
        (document.section("needs", "tsv", body.tsv([["0" * 64, "1", "x"]])), {}, 77),
        (document.section("config", "tsv", body.tsv([["a", "b"]])), {}, 77),
        (b"", {"check": "touch ~/evil"}, 77),
        (b"", {"environment": "touch ~/evil"}, 77),
        (b"", {"workspace": "incremental"}, 77),
        (b"", {"builddir": "src"}, 77),
    ],
    ids=["env", "needs", "config", "check", "environment", "workspace", "builddir"],
)
def test_request_is_a_call_and_nothing_else(desk: Desk, section: bytes, said: dict[str, object], status: int) -> None:
    done = desk.ask("1.3", section, **said)
    assert done.table("result")["exit"] == status and desk.builds == 0
    assert not (desk.bench.home / "evil").exists()


def test_what_is_not_sealed_is_not_given(desk: Desk) -> None:
    done = desk.ask(keep="lib", glob="other")
    assert done.table("result")["exit"] == 65 and "has to be sealed" in str(done.table("result")["why"]) and desk.builds == 0


@pytest.mark.parametrize("line", ["ssh-ed25519 AAAA", "age2x", "portions ../x", "nonsense"])
def test_list_that_is_wrong_serves_nobody(desk: Desk, line: str) -> None:
    desk.serve(desk.own, line)
    with pytest.raises(CitError) as wrong:
        service.users(Path(desk.bench.account.path), "zlib")
    assert wrong.value.status == CONFIG and "line 3" in wrong.value.what or line.startswith("age2")
    done = desk.ask()
    assert done.find("result") is None and desk.builds == 0, "it goes back: another builder may have it right"


def test_url_says_where_scp_finds_it(desk: Desk) -> None:
    account = desk.bench.account

    def at(done: Document) -> str:
        return str(done.find("artefact").attributes.get("at", ""))  # type: ignore[union-attr]

    assert at(desk.ask()) == "", "nobody has said how this account is reached"
    desk.bench.set(on_end="", address="build@moon:2222")
    assert at(desk.ask()) == "scp://build@moon:2222/.cit/store/"
    assert account.path == desk.bench.home / ".cit"
    plain = desk.bench.send("#!/bin/sh\necho 1\n")
    kept = desk.bench.send("#!/bin/sh\necho 1 >a\n", document.section("keep", "tsv", body.tsv([["a"]])))
    desk.bench.run()
    assert at(desk.bench.finished(plain)) == "" and at(desk.bench.finished(kept)) == "scp://build@moon:2222/.cit/store/"


def test_answers_keep_their_bytes_until_nobody_asks_any_more(desk: Desk) -> None:
    import os
    import shutil

    account = str(desk.bench.account.path)
    digest = portions(desk.ask())["lib/libz.a.age"]
    shutil.rmtree(desk.bench.account / "work")
    for file in (desk.bench.account / "finished").glob("*.cit"):
        file.unlink()
    (desk.bench.account / "work").mkdir()
    os.utime(desk.bench.account / "store" / digest, (1, 1))
    assert "answer zlib@" in referred.reasons(account)[digest]
    assert not list(store_clean.clean(account))
    [answer] = (desk.bench.account / "store" / store.ANSWERS).iterdir()
    os.utime(answer, (1, 1))
    assert [each.digest for each in store_clean.clean(account)] == [digest] and not answer.exists()
