"""cit interfaces: what can be called, at which builders, with which parameters; and what one interface says of itself.

Reads: what builders of this home's queues said last (builders/.load); interfaces/ of this account; with @QUEUE its door, where it is elsewhere.
Writes: a table on a terminal, TSV, JSON lines; of interfaces that are named a row a parameter.
Exits: 0; 66 nothing of that name, no such queue; 69 out of reach (docs/messages.md).
Pages: docs/howto/interfaces.md, docs/format/interface.md, docs/stages/report.md
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import typer

from . import places, screen
from .cit_format import builder, clock, description, heartbeat, home, messages, offers, reader
from .cit_format import builders as known
from .cit_format.description import Description, Parameter
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, OK, CitError

COLUMNS = (
    screen.Column("interface", "INTERFACE"),
    screen.Column("builder", "BUILDER", yields=True),
    screen.Column("queue", "QUEUE", yields=True),
    screen.Column("parameters", "PARAMETERS", yields=True),
    screen.Column("help", "WHAT", yields=True),
    screen.Column("view"),
    screen.Column("why"),
)
PARAMETERS = (
    screen.Column("interface"),
    screen.Column("builder"),
    screen.Column("parameter", "PARAMETER"),
    screen.Column("type", "TYPE"),
    screen.Column("range", "RANGE"),
    screen.Column("pattern", "PATTERN"),
    screen.Column("times", "TIMES"),
    screen.Column("default", "DEFAULT", yields=True),
    screen.Column("help", "WHAT", yields=True),
)


class Offer(NamedTuple):
    """An interface at a builder of a queue (empty: of none here); what it says of itself, or why it is not offered."""

    name: str
    builder: str
    queue: str
    said: Description | CitError


# --- decisions ------------------------------------------------------------------------------------------------------


def usage(each: Parameter) -> str:
    """A parameter in short: `version`, `[tests=true]`, `target...`."""
    word = each.name + (f"={each.default}" if each.default is not None else "") + ("..." if each.is_list else "")
    return word if each.is_needed else f"[{word}]"


def row(offer: Offer) -> dict[str, screen.Value]:
    """An offer in one line; alike at several builders it is one row."""
    said = offer.said
    found: dict[str, screen.Value] = {"interface": offer.name, "builder": offer.builder, "queue": offer.queue or None}
    if isinstance(said, CitError):
        return {**found, "help": f"not offered: {said.what}", "why": said.what}
    return {**found, "parameters": " ".join(map(usage, said.parameters.values())), "help": said.help, "view": said.view or None}


def parameters(offer: Offer) -> Iterator[dict[str, screen.Value]]:
    """What an interface says, a row a parameter."""
    said = offer.said
    for each in said.parameters.values() if isinstance(said, Description) else ():
        yield {
            "interface": offer.name,
            "builder": offer.builder,
            "parameter": each.name,
            "type": each.type,
            "range": each.range or None,
            "pattern": each.pattern or None,
            "times": each.times,
            "default": each.default,
            "help": each.help,
        }


def meant(found: list[Offer], words: Iterable[str]) -> list[Offer]:
    """The offers that these words mean, each the name of an interface or a builder; 66 where one means none."""
    chosen: list[Offer] = []
    for word in words:
        mine = [each for each in found if word in (each.name, each.builder)]
        if not mine:
            raise CitError(NOT_FOUND, f"no interface or builder {word[:64]}", "cit interfaces lists what is known here, cit interfaces @QUEUE asks")
        chosen += [each for each in mine if each not in chosen]
    return chosen


# --- looking --------------------------------------------------------------------------------------------------------


def of_queue(place: Path, asks: bool, now: int) -> Iterator[Offer]:
    """What the builders of a queue offer: of this account as it is now, of others as they said last; a queue elsewhere is asked where it `asks`."""
    queue = home.Queue(place)
    if queue.remote:
        yield from told(_asked(queue) if asks else _kept(place), queue.name)
        return
    documents, _ = known.newest(queue, sorted((place / "builders").glob("[!.]*.cit")), now)
    for each in map(builder.builder, documents):
        if each.door == str(home.path().absolute()):
            yield from own(each.name, queue.name)
        elif heartbeat.kept(queue, each.name, each.key, now) is not None:
            yield from told([reader.parse((place / "builders" / heartbeat.CACHE / f"{each.name}.cit").read_bytes())], queue.name)


def own(name: str, queue: str) -> Iterator[Offer]:
    """What this account offers, and why it does not."""
    for interface, said in offers.offered(home.path()).items():
        yield Offer(interface, name, queue, said)


def told(documents: Iterable[Document], queue: str) -> Iterator[Offer]:
    """What builder documents say."""
    for each in documents:
        for section in each.all("interface"):
            with contextlib.suppress(CitError):  # of a later version
                said = description.of_section(section)
                yield Offer(said.name, each.name, queue, said)


def _kept(place: Path) -> Iterator[Document]:
    for path in sorted((place / "builders" / heartbeat.CACHE).glob("[!.]*.cit")):
        with contextlib.suppress(FileNotFoundError, CitError):
            yield reader.parse(path.read_bytes())


def _asked(queue: home.Queue) -> list[Document]:
    from .cit_format import ask, frame

    said = ask.ask(ask.place_of(queue), "builders", seconds=ask.SHORT)
    return [each for each in reader.documents(frame.unframed(reader.reader_of(said), strict=True)) if isinstance(each, Document)]


# --- the command ----------------------------------------------------------------------------------------------------


def described(found: list[Offer], form: str) -> None:
    """What these interfaces say of themselves; on a terminal with a line before each."""
    if form != screen.TABLE:
        screen.show(PARAMETERS, [line for each in found for line in parameters(each)], form)
        return
    for each in found:
        said = each.said
        if isinstance(said, CitError):
            sys.stdout.write(screen.line(f"{each.name} at {each.builder} is not offered: {said.what}") + "\n")
            continue
        sys.stdout.write(screen.line(f"{each.name} at {each.builder}: {said.help}") + "\n")
        if said.view:
            sys.stdout.write(screen.line(f"others see: {said.view}") + "\n")
        if said.parameters:
            screen.show(PARAMETERS, list(parameters(each)), form)


def main(
    words: Optional[list[str]] = typer.Argument(None, metavar="[@QUEUE|BUILDER|NAME]...", help="Of a queue or builder; or all that these say"),
    only_own: bool = typer.Option(False, "--own", help="Of this account alone"),
    table: bool = typer.Option(False, "--table", help="A table, as on a terminal"),
    tsv: bool = typer.Option(False, "--tsv", help="TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="One JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """What can be called, at which builders, with which parameters."""
    messages.set_up("cit-interfaces", quiet)
    form, now = screen.form(table, tsv, json), clock.now()
    queues = [word for word in words or [] if word.startswith("@")]
    names = [word for word in words or [] if not word.startswith("@")]
    listed = [place for queue in queues for place in places.here(queue).queues] if queues else places.here().queues
    found = [] if only_own else [each for place in listed for each in of_queue(place, bool(queues), now)]
    if not queues and not any(each.builder == home.builder_name() for each in found):
        found += own(home.builder_name(), "")
    found = meant(found, names) if names else found
    if not found and form == screen.TABLE:
        messages.tell("note", "no interfaces", hint="an executable in interfaces/ of a build account is one: docs/howto/interfaces.md")
    elif any(each.name in names for each in found):
        described([each for each in found if each.name in names], form)
    else:
        screen.show(COLUMNS, list(map(row, found)), form)
    return OK
