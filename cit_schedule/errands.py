"""Wishes about jobs that a builder has are carried to it; `.carried` of control/ says which were, TSV (docs/stages/deliver.md).

FILE NAME  BUILDER  STATE OF THE TICKET
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from . import transport, wishes
from .builders import brief
from .carry import Carrier
from .cit_format import body, control, home
from .cit_format.errors import CitError

OUT = ("assigned", "sent")  # states of jobs that a builder may have


def carry(queue: home.Queue, carrier: Carrier) -> None:
    """Carry the wishes in control/ that their job's builder does not have yet; the carrier knows which doors rest."""
    asked = control.targets(queue / "control")
    if not asked:
        return
    carried = _read(queue / "control")
    wanted: dict[str, list[str]] = {}
    for target, copies in wishes.copies(queue, set(asked)).items():
        for copy in copies:
            with contextlib.suppress(FileNotFoundError):
                builder = brief(queue / copy.state / copy.name)[0] if copy.state in OUT else ""
                if builder in carrier.ways.builders:
                    wanted.setdefault(builder, []).extend(name for name in asked[target] if (name, builder) not in carried)
    for builder, file_names in wanted.items():
        place = carrier.ways.builders[builder]
        documents = {name: found[0] for name in dict.fromkeys(file_names) for found in [control.read(queue / "control", [name])] if found}
        if not documents or carrier.rests(place):
            continue
        try:
            tickets = transport.at(place)("put-control", list(documents.values()))
        except CitError as error:
            carrier.failed(place, error)
            continue
        for (name, document), ticket in zip(documents.items(), tickets):
            state = transport.state(ticket)
            if state != "kept":
                carried[name, builder] = state
                word, why = ("refused", f": {ticket.table('ticket').get('why')}") if state == "refused" else ("carried", "")
                carrier.moves.append((f"{document.id}-{document.name}", word, builder + why))
    _keep(queue / "control", {(name, builder): state for (name, builder), state in carried.items() if name in _flat(asked)})


def _flat(asked: dict[str, list[str]]) -> set[str]:
    return {name for file_names in asked.values() for name in file_names}


def _read(directory: Path) -> dict[tuple[str, str], str]:
    with contextlib.suppress(FileNotFoundError, CitError, ValueError):  # torn: carried once more, which is harmless
        return {(name, builder): state for name, builder, state in body.rows((directory / ".carried").read_bytes())}
    return {}


def _keep(directory: Path, carried: dict[tuple[str, str], str]) -> None:
    if carried != _read(directory):
        beside = directory / f".carried.{os.getpid()}"
        beside.write_bytes(body.tsv((*key, state) for key, state in sorted(carried.items())))
        os.rename(beside, directory / ".carried")
