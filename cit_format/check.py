"""`cit-format check`: every remark about documents and bare files, told; `ok` lines for people (docs/stages/format.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from . import bare, messages, remarks
from .errors import OK, CitError, worst
from .inputs import Files, Read, each_file
from .reader import LIMITS, Faulty, documents
from .remarks import Remark


def files(names: Files) -> int:
    """Check them, or stdin: the worst status."""
    return each_file(names, _file)


def _file(place: str, read: Read) -> int:
    first = read(1 << 16)
    kind = bare.kind(os.path.basename(place), first) if place else ""
    if kind:
        content = first + b"".join(iter(lambda: read(LIMITS.section), b""))
        return _told(bare.remarks(kind, place, content), place, place)
    status = OK
    rest = [first]
    for item in documents(lambda size: rest.pop() if rest else read(size)):
        if isinstance(item, Faulty):
            status = worst(status, messages.complain(item.error, place))
        else:
            status = worst(status, _told(remarks.remarks(item), item.label, place))
    return status


def _told(found: Iterable[Remark], label: str, place: str) -> int:
    status = OK
    for remark in found:
        where = ": ".join(filter(None, (label, remark.where if remark.where != label else "")))
        if remark.status == OK:
            messages.tell("warning", remark.what, where if place in where else f"{place}: {where}", remark.hint)
        else:
            status = worst(status, messages.complain(CitError(remark.status, remark.what, remark.hint, where), place))
    if status == OK and (messages.verbosity > 0 or (sys.stdout.isatty() and messages.verbosity == 0)):
        sys.stdout.write(f"ok\t{messages.clean(label)}\n")
    return status
