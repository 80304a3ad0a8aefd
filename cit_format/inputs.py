"""FILE... or stdin as documents, for programs that look at each: one bad document does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Optional

import typer

from . import frame, messages
from .document import Document
from .errors import NOT_FOUND, OK, CitError, worst
from .reader import Faulty, documents

Read = Callable[[int], bytes]
Files = Optional[list[str]]
FILES = typer.Argument(None, metavar="[FILE]...", help="cit files; stdin without any, or for -")


@contextmanager
def opened(name: str) -> Iterator[Read]:
    """A `read` of the file, or of stdin for `-`; 66 where there is no such file. What is framed is checked first."""
    if name == "-":
        yield frame.unframed(lambda size: os.read(0, size), acts=False)
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open(name, "rb", buffering=0))
        except FileNotFoundError:
            raise CitError(NOT_FOUND, "no such file", "is the name right? stdin is -", name) from None
        yield frame.unframed(stream.read, acts=False)


def each_file(files: Files, act: Callable[[str, Read], int]) -> int:
    """Run `act(place, read)` over the files, or over stdin without any; place is empty for stdin. The worst status."""
    status = OK
    for name in files or ["-"]:
        place = name if name != "-" else ""
        try:
            with opened(name) as read:
                status = worst(status, act(place, read))
        except CitError as error:
            status = worst(status, messages.complain(error, place))
    return status


def each_document(files: Files, act: Callable[[Document], Optional[int]]) -> int:
    """Run `act` over every document of the files; faulty ones, and those that `act` refuses, are told. The worst status."""

    def over(place: str, read: Read) -> int:
        status = OK
        for item in documents(read):
            try:
                if isinstance(item, Faulty):
                    raise item.error
                status = worst(status, act(item) or OK)
            except CitError as error:
                status = worst(status, messages.complain(error, place))
        return status

    return each_file(files, over)
