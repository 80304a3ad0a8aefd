"""Calls of build interfaces: --call NAME with its parameters, checked against what the interface says of itself (docs/howto/interfaces.md).

Where the description comes from, the first that is there: --interface FILE; this account's own interfaces/, where the queue lies here;
what builders of the queue said last; the door of a queue elsewhere. None: the call is signed unchecked, and the builder decides.
Fails: 2 usage; 65 a parameter that does not fit; 66 no such file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from .cit_format import body, description, document, home, messages, offers, reader
from .cit_format.description import Description
from .cit_format.document import Document
from .cit_format.errors import DATA, USAGE, CitError
from .wish import read

CALL = "call"


def check_wish(call: str | None, interface: str | None, others: Sequence[object]) -> None:
    """2 where a call is asked for beside something else to run."""
    if interface is not None and call is None:
        raise CitError(USAGE, "--interface without --call", "--call NAME --interface FILE PARAMETER=VALUE...")
    if call is not None and any(others):
        raise CitError(USAGE, "--call and something else to run", "--call NAME PARAMETER=VALUE...; the interface is what runs")
    if call is not None and not offers.is_name(call):
        raise CitError(USAGE, f"{call[:64]!r} is no name of an interface", "cit interfaces lists them")


def sections(call: str, words: Sequence[str], interface: str | None, queue: home.Queue, builder: str | None) -> Callable[[str | None], bytes]:
    """A function that makes the `call` section for a line of --each, or without one; 65 where a parameter fits none of the descriptions that
    can be had. `{}` in a value is the line; without any `{}` the line is one parameter more."""
    found = [_of_file(call, interface)] if interface is not None else list(_known(call, queue, builder))
    if not found:
        hint = f"the builder that gets it decides; @{queue.name} has none that offers it, as far as is known here: cit interfaces"
        messages.tell("note", f"no description of {call} can be had: its parameters are not checked here", hint=hint)
    filled = any("{}" in word for word in words)

    def section(line: str | None) -> bytes:
        if line is not None and any("\ud800" <= letter <= "\udfff" for letter in line):
            raise CitError(DATA, "a line of bytes that are no UTF-8", "parameters are text")
        given = words if line is None else [word.replace("{}", line) for word in words] if filled else [*words, line]
        return document.section(CALL, "toml", body.toml({"interface": call, **_fitting(given, found)}))

    return section


def _fitting(words: Sequence[str], found: list[Description]) -> dict[str, body.Value]:
    """The parameters, typed by the first description that they fit; else what the first one says against them."""
    errors = []
    for each in found:
        try:
            return description.typed(each, words)
        except CitError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return description.typed(None, words)


def _of_file(call: str, file: str) -> Description:
    """The description in a file: what `NAME --describe` printed, or documents with it."""
    raw = read(file, "--interface")
    if not raw.startswith(b"@cit"):
        return description.parse(call, raw)
    found = next(_described(call, _documents(raw)), None)
    if found is None:
        raise CitError(DATA, f"{file}: no description of {call}", "as `NAME --describe` prints it, or a builder's heartbeat")
    return found


def _known(call: str, queue: home.Queue, builder: str | None) -> Iterator[Description]:
    """The descriptions of an interface that can be had, each once."""
    if not queue.remote and builder in (None, home.builder_name()):
        with contextlib.suppress(CitError):
            yield offers.described(home.path(), call)
    heard = [path.read_bytes() for path in sorted((queue / "builders" / ".load").glob("[!.]*.cit"))]
    found = list(_described(call, _documents(b"".join(heard)), builder))
    if not found and queue.remote:
        with contextlib.suppress(CitError):
            found = list(_described(call, _documents(_asked(queue)), builder))
    yield from found


def _asked(queue: home.Queue) -> bytes:
    """The builder documents of a queue elsewhere, as its door tells them."""
    from .cit_format import ask, frame

    inner = frame.unframed(reader.reader_of(ask.ask(ask.place_of(queue), "builders", seconds=ask.SHORT)), strict=True)
    return b"".join(iter(lambda: inner(1 << 20), b""))


def _documents(raw: bytes) -> list[Document]:
    return [each for each in reader.documents(reader.reader_of(raw)) if isinstance(each, Document)]


def _described(call: str, among: list[Document], builder: str | None = None) -> Iterator[Description]:
    for each in among:
        if builder in (None, each.name):
            for known in each.all("interface"):
                if known.attributes.get("name") == call:
                    with contextlib.suppress(CitError):  # by another version of cit: the builder decides
                        yield description.of_section(known)
