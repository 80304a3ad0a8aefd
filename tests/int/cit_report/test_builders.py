"""cit builders: what is known of each builder, and why one gets nothing; cit why: how builders were weighed (docs/stages/report.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cit_report.cit_format import body, clock, document, heartbeat, home, keys, reader
from cit_report.cit_format.document import Document, section
from cit_report.cit_format.keys import Signer
from tests.int.cit_report.lived import Lived, plain

SECOND = clock.SECOND


class Place:
    """A home whose queue has builders by these names; nothing starts by itself."""

    def __init__(self, lived: Lived) -> None:
        self.lived = lived
        lived.run("cit-trigger", "--", "true")
        for path in (lived.queue / "builders").iterdir():
            path.unlink()
        with open(lived.queue / "queue.toml", "a") as stream:
            stream.write('on-arrival = ""\n')
        self.queue = home.Queue(lived.queue)
        self.owner = keys.load(lived.path / "id_ed25519")
        self.keys: dict[str, Signer] = {}

    def builder(self, name: str, **changes: Any) -> Document:
        """A builder elsewhere, with a key of its own; signed by ada."""
        self.keys[name] = keys.generate(self.lived.directory / f"{name}.key", f"builder@{name}")
        said = {
            "name": name,
            "account": f"cit@{name}",
            "host": name,
            "key": self.keys[name].public.fingerprint,
            "door": f"ssh://cit@{name}",
            "slots": 2,
            "cpus": 4,
            "mem": "8G",
            "tmp": "100G",
            "state": "up",
            "created": body.Time(clock.now()),
            **{key.replace("_", "-"): value for key, value in changes.items()},
        }
        unsigned = document.new(name, section("builder", "toml", body.toml({key: value for key, value in said.items() if value is not None})))
        described = home.signed(unsigned, self.owner, "ada@sun", "cit-builder")
        (self.queue / "builders" / f"{described.id}-{name}.cit").write_bytes(described.raw)
        return described

    def heard(self, described: Document, ago: int = 0, jobs: bytes = b"", **said: Any) -> None:
        """The builder said this of itself so many microseconds ago."""
        table = {
            "time": body.Time(clock.now() - ago),
            "load": "0.25",
            "running": 0,
            "waiting": 0,
            **{key.replace("_", "-"): value for key, value in said.items()},
        }
        longer = described.extended(section("load", "toml", body.toml(table)), section("jobs", "tsv", jobs))
        answer = home.signed(longer, self.keys[described.name], f"builder@{described.name}", "cit-builder")
        assert heartbeat.keep(self.queue, answer, clock.now()) == "accepted"

    def give(self, name: str, *options: str, state: str = "sent") -> str:
        """A job that is on its way to this builder; its COPY-NAME."""
        job = self.lived.push("zlib", "#!/bin/sh\ntrue\n", "-w", name, *options)
        self.lived.run("cit-schedule", "-q", "--from", "waiting", "--to", "assigned", "--queue", "@main")
        (file,) = (self.queue / "assigned").glob(f"*{job}*")
        file.rename(self.queue / state / file.name)
        return file.name[22:-4]

    def rows(self) -> dict[str, dict[str, str]]:
        return {row["name"]: row for row in self.lived.rows("cit-builders")}


@pytest.fixture
def place(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in lived.environment.items():
        monkeypatch.setenv(name, value)
    return Place(lived)


def test_states_and_why_one_gets_nothing(place: Place) -> None:
    up, busy, loaded, full = (place.builder(name, load_limit="4.5") for name in ("up", "busy", "loaded", "full"))
    place.builder("drained", state="drain")
    place.builder("night", hours="00:00-00:01,00:02-00:03")
    place.builder("hot")
    place.builder("gone")
    place.builder("quiet")
    place.heard(up, ago=20 * SECOND, load="1.50", mem_free="3G", tmp_free="50G")
    place.heard(loaded, load="7.25")
    place.heard(full, tmp_free="12M")
    place.heard(busy, running=2)
    place.give("quiet")
    place.lived.run("cit-pause", "hot", "-m", "new fan")
    (place.queue / "builders" / ".asked").write_bytes(body.row("gone", "2026-11-23T20:26:11.000Z", "3", "no answer within 3 s"))
    noon = clock.day(clock.now()) + "T"
    rows = place.rows()
    if clock.iso(clock.now())[11:15] != "00:0":
        assert (rows["night"]["state"], rows["night"]["why"]) == ("closed", "begins jobs 00:00-00:01,00:02-00:03 UTC only")
    assert {name: (row["state"], row["why"]) for name, row in rows.items() if name not in ("hot", "night")} == {
        "up": ("up", ""),
        "busy": ("up", "full: 2 jobs for 2 slots and 0 ahead"),
        "loaded": ("up", "load 7.25, its limit is 4.5"),
        "full": ("up", "12M of disk left"),
        "drained": ("drain", "takes no new jobs (drain)"),
        "gone": ("unreached", "not reached at 2026-11-23T20:26:11Z: no answer within 3 s"),
        "quiet": ("stale", "has jobs and has said nothing yet"),
    }
    assert rows["hot"]["state"] == "paused" and re.fullmatch(r"paused by ada@sun at \S+Z: new fan", rows["hot"]["why"])
    said = rows["up"]
    assert (said["load"], said["mem-free"], said["tmp-free"], said["jobs"], said["slots"]) == ("1.50", "3072M", "51200M", "0", "2")
    assert said["seen"].startswith(noon[:8]) and rows["gone"]["seen"] == "" and said["path"].endswith("-up.cit")
    assert list(rows) == sorted(rows)


def test_a_box_is_counted_over_its_accounts(place: Place) -> None:
    moon = place.builder("moon", host="box", cpus=8, slots=3)
    place.builder("star", host="box")
    ours = place.give("moon", "-c", "3", "--mem", "2G")
    place.give("star", "-c", "2", "--mem", "1G")
    ended = place.give("moon")
    place.heard(
        moon, jobs=b"".join(body.row(copy, state, clock.iso_ms(clock.now())) for copy, state in ((ended, "ENDED"), (ours, "RUNNING"))), running=2
    )
    rows = place.rows()
    keys_ = ("jobs", "cpus-taken", "mem-taken", "box-accounts", "box-jobs", "box-slots", "box-cpus", "box-cpus-taken", "box-mem-taken")
    assert [rows["moon"][key] for key in keys_] == ["2", "4", "2048M", "2", "3", "3", "8", "6", "3072M"], (
        "one runs, one has ended, one is another queue's"
    )
    assert [rows["star"][key] for key in keys_] == ["1", "2", "1024M", "2", "3", "3", "8", "6", "3072M"]


def test_documents_that_do_not_count(place: Place) -> None:
    place.builder("moon")
    forged = place.builder("eve")
    path = place.queue / "builders" / f"{forged.id}-eve.cit"
    path.write_bytes(forged.raw.replace(b"slots = 2", b"slots = 9"))
    (place.queue / "builders" / "torn.cit").write_bytes(b"@cit 1 oops\n")
    done = place.lived.completed("cit-builders", "--tsv")
    assert done.returncode == 65 and b"torn.cit" in done.stderr
    head, *lines = (line.split("\t") for line in done.stdout.decode().splitlines())
    rows = {line[0]: dict(zip(head, line)) for line in lines}
    assert rows["eve"]["state"] == "refused" and "does not match the bytes" in rows["eve"]["why"] and rows["moon"]["state"] == "up"


def test_it_fits_a_terminal_and_is_json_too(place: Place) -> None:
    moon = place.builder("moon")
    place.heard(moon, load="7.25")
    place.lived.run("cit-pause", "moon", "-m", "a reason that takes more room than there is in a table of eighty columns")
    place.builder("sun-with-a-long-name-of-a-builder")
    lines = plain(place.lived.on_terminal("cit-builders")).splitlines()
    assert all(len(line) <= 80 for line in lines) and re.match(r"NAME +STATE +QUEUE +JOBS +CPUS +MEMORY +DISK +LOAD +SEEN +WHY", lines[0]), lines
    assert re.match(r"moon +paused +main +0/2 +0/4 +0/8\.0G +100G +7\.25 +\d\d:\d\d:\d\dZ +paused by", lines[1]), lines
    objects = {str(each["name"]): each for each in place.lived.objects("cit-builders")}
    assert objects["moon"]["state"] == "paused" and objects["moon"]["slots"] == 2 and "why" not in objects["sun-with-a-long-name-of-a-builder"]


# --- cit why ----------------------------------------------------------------------------------------------------------


def test_why_explains_every_builder_of_a_job_that_waits(place: Place) -> None:
    place.builder("moon", tags=["gpu"])
    place.builder("star")
    place.lived.push("zlib", "#!/bin/sh\ntrue\n", "-C", "gpu", "-c", "9")
    said = place.lived.run("cit-why", "zlib")
    assert "it waits for a builder, and none that there is can ever take it." in said
    assert "  | moon: never: 9 cpus wanted, has 4\n  | star: never: has no tag gpu\n" in said


def test_why_tells_from_the_document_alone_how_builders_were_weighed(place: Place, tmp_path: Path) -> None:
    place.builder("moon")
    place.builder("star", tags=["gpu"])
    copy = place.give("star", "-C", "gpu", state="assigned")
    (place.queue / "assigned" / ".doors").write_bytes(body.row("ssh://cit@star", "2", "2033-05-18T03:33:20Z", "no route to host"))
    said = place.lived.run("cit-why", "zlib")
    assert "not handed over yet: no route to host; tried again at 2033-05-18T03:33:20Z." in said
    lines = r"  \| moon: never: the job wants builder star\n  \| star: chosen: 0 of 2 slots busy\n"
    assert re.search(rf"^attempt 1 was given to star at 20\S+Z:\n{lines}next:", said, re.M), said
    (file,) = (place.queue / "assigned").glob(f"*{copy}*")
    job = reader.parse(file.read_bytes())
    lost = section("result", "toml", body.toml({"state": "NODE_FAIL", "attempt": 1, "exit": 0, "signal": 0, "why": "no word"}))
    again = section("assignment", "toml", body.toml({"attempt": 2, "builder": "moon", "assigned": body.Time(1), "weighed": ["moon: chosen: x"]}))
    ended = section("result", "toml", body.toml({"state": "FAILED", "attempt": 2, "exit": 3, "signal": 0}))
    alone = tmp_path / "job.cit"
    alone.write_bytes(job.extended(lost, again, ended).raw)
    said = place.lived.run("cit-why", alone, HOME=str(tmp_path / "nowhere"))
    assert re.search(
        rf"^attempt 1 was given to star at 20\S+Z \(NODE_FAIL\):\n{lines}attempt 2 was given to moon at 1970-\S+Z:\n  \| moon: chosen: x\n",
        said,
        re.M,
    ), said
    assert place.lived.objects("cit-why", alone)[0]["weighed"][-1] == "attempt 2: moon: chosen: x"  # type: ignore[index]


def test_of_one_builder_and_one_attempt_nothing_is_told(place: Place) -> None:
    place.builder("moon")
    place.give("moon")
    assert "attempt" not in place.lived.run("cit-why", "zlib")
