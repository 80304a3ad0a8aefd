"""Commands of cit-format by which cit add, cit add-builder and cit remove do their work (docs/howto/add-a-builder.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from .errors import NOT_FOUND, OK, USAGE, CitError
from .output import write

if TYPE_CHECKING:
    from .body import Value
    from .enlist import Told
    from .home import Queue
    from .keys import Signer
    from .permission import Place

QUEUES = typer.Argument(None, metavar="[@QUEUE]...", help="Queues of this home; without any, the first of config.toml")
INFO = typer.Argument(..., metavar="FILE", help="A builder document, or a bare file with its keys; - for stdin")


def describe() -> int:
    """This account as a builder: a document signed by its own key."""
    from . import home

    return write(home.describe_builder(home.own_account()).raw)


def introduce(
    queues: Optional[list[str]] = QUEUES,
    info: Optional[str] = typer.Option(None, "--to", metavar="FILE", help="The builder's description of itself"),
    users: Optional[str] = typer.Option(None, "--users", metavar="USER@HOST,...|all", help="Who else may push to it"),
    parting: bool = typer.Option(False, "--parting", help="Only what a builder forgets that leaves these queues"),
) -> int:
    """What a builder of these queues has to know, for admit there."""
    from . import addition, enlist, home, introduction
    from .addition import Row

    rows: list[Row] = []
    mine = _mine()
    told = _told(info) if info else enlist.Told({})
    for queue in _queues(queues):
        enlist.here(queue)
        if parting:
            rows += introduction.parting(queue)
        else:
            people = enlist.users_of(queue, told, _chosen({"users": users}), mine).get("users", [])
            rows += introduction.letter(queue, [str(each) for each in people] if isinstance(people, list) else [], mine, home.path())
    return write(addition.written(dict.fromkeys(rows)))


def admit(queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Into the lists of this queue; else the account's")) -> int:
    """Know whom an introduction on stdin names: lists, door, host keys, queues."""
    from . import addition, home, introduction

    introduction.admit(_place(queue), addition.rows(sys.stdin.buffer.read()), home.path())
    return OK


def dismiss(queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="From the lists of this queue; else the account's")) -> int:
    """Know them no longer: admit taken back. What they signed before stays provable."""
    from . import addition, clock, home, introduction

    introduction.dismiss(_place(queue), addition.rows(sys.stdin.buffer.read()), home.path(), clock.now())
    return OK


def enlist(
    info: str = INFO,
    queues: Optional[list[str]] = QUEUES,
    name: Optional[str] = typer.Option(None, "--name", metavar="NAME", help="What people and assignments call it"),
    door: Optional[str] = typer.Option(None, "--at", metavar="DOOR", help="Where it is reached: ssh://USER@HOST[:PORT], or a directory"),
    slots: Optional[str] = typer.Option(None, "--slots", metavar="N", help="Jobs at once"),
    ahead: Optional[str] = typer.Option(None, "--ahead", metavar="N", help="Jobs that may wait there beyond the slots"),
    tags: Optional[str] = typer.Option(None, "--tags", metavar="TAG,...", help="What constraints of jobs are matched with"),
    users: Optional[str] = typer.Option(None, "--users", metavar="USER@HOST,...|all", help="Whose jobs it takes, beside yours"),
    hours: Optional[str] = typer.Option(None, "--hours", metavar="HH:MM-HH:MM", help="When it begins jobs, UTC"),
    load_limit: Optional[str] = typer.Option(None, "--load-limit", metavar="LOAD", help="Nothing new above this load"),
    can_build: Optional[str] = typer.Option(None, "--can-build", metavar="NAME,...", help="About which jobs its programs are asked"),
    kind: Optional[str] = typer.Option(None, "--kind", metavar="cit|slurm", help="What runs the jobs there"),
    public: Optional[Path] = typer.Option(None, "--key", metavar="FILE", help="The builder's public key, where the file does not prove it"),
) -> int:
    """Take a builder into queues; its signed document goes to stdout. An option that is empty takes the key out."""
    from . import enlist as act
    from . import home, sshsig

    told, mine = _told(info), _mine()
    given = sshsig.parse_public_key(public.read_text()) if public else None
    said = {"name": name, "door": door, "slots": slots, "ahead": ahead, "tags": tags, "users": users, "hours": hours, "load-limit": load_limit}
    chosen = _chosen({**said, "can-build": can_build, "kind": kind})
    made = [act.enlist(queue, told, chosen, mine, home.path(), given) for queue in _queues(queues)]
    return write(made[0].raw)


def delist(
    name: str = typer.Argument(..., metavar="BUILDER", help="Its name"),
    queues: Optional[list[str]] = QUEUES,
    drain: bool = typer.Option(False, "--drain", help="Only say that it takes no new jobs"),
) -> int:
    """Take a builder out of queues, or say that it drains; its document goes to stdout."""
    from . import enlist as act
    from . import home

    left = [act.drain(queue, name, _mine()) if drain else act.delist(queue, name, home.path()) for queue in _queues(queues)]
    return write(left[0].raw)


def bundle(
    facts: Optional[Path] = typer.Argument(None, metavar="[FACTS]", help="What there.py said of the machine that it is for"),
    there: bool = typer.Option(False, "--there", help="Print the path of there.py, the program that looks and unpacks on the far side"),
) -> int:
    """Make a bundle of cit for a machine: its digest and path, TSV."""
    from . import body
    from . import bundle as bundles

    if there or facts is None:
        return write(str(Path(__file__).resolve().with_name("there.py")).encode() + b"\n")
    said = {row[0]: row[1] for row in body.rows(facts.read_bytes()) if len(row) == 2}
    made = bundles.made(bundles.target(said), bundles.cache_folder())
    return write(body.row(made.digest, str(made.path)))


ACTS = (describe, introduce, admit, dismiss, enlist, delist, bundle)


def _mine() -> Signer:
    from . import sign

    return sign.signer(None)


def _queues(names: list[str] | None) -> list[Queue]:
    from . import home

    return [home.find_queue(name) for name in names] if names else [home.find_queue(None)]


def _told(info: str) -> Told:
    from . import enlist as act

    try:
        content = sys.stdin.buffer.read() if info == "-" else Path(info).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise CitError(NOT_FOUND, f"no file {info}", "a builder is a file, or USER@HOST[:PORT] for cit add") from None
    return act.told(content, Path(info).name)


def _place(queue: str | None) -> Place:
    from . import home

    return home.find_queue(queue) if queue else home.own_account()


def _chosen(words: dict[str, str | None]) -> dict[str, Value]:
    """What options say, as values of the builder section; 2 where one cannot be."""
    from . import configure, dictionary

    keys = dictionary.read()["builder", "1"].keys
    found: dict[str, Value] = {}
    for key, text in words.items():
        if text is not None:
            found[key] = "" if text == "" else ["all"] if (key, text) == ("users", "all") else configure.meant(keys[key], [text])
    if "hours" in found and found["hours"]:
        from . import builder

        try:
            builder.spans(str(found["hours"]))
        except ValueError as why:
            raise CitError(USAGE, f"--hours: {why}", "18:00-08:00, a comma between several") from None
    return found
