"""What builders are to know before they get jobs: wishes about jobs that they have, and that a queue was handed over (docs/stages/deliver.md).

`.carried` of control/ says what was carried, TSV: FILE NAME  BUILDER  STATE OF THE TICKET
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from . import equal, transport, wishes
from .builders import brief
from .carry import Ways
from .cit_format import body, control, handover, home, reader, spool
from .cit_format.document import Document
from .cit_format.errors import CitError
from .round import Round

OUT = ("assigned", "sent")  # states of jobs that a builder may have


class Errand(NamedTuple):
    """What is to be carried: its mark in `.carried`, and the document."""

    mark: str
    document: Document


class Errands:
    """The errands of one round over a queue."""

    def __init__(self, queue: home.Queue, round_: Round, ways: Ways) -> None:
        self.queue = queue
        self.round = round_
        self.ways = ways
        self.before = _read(queue / "control")
        self.carried = dict(self.before)
        self.seen: list[str] = []  # file names in control/
        self.out: set[tuple[str, str]] = set()  # mark and builder of what is on its way

    @property
    def news(self) -> bool:
        """Whether control/ is another than when it was looked at."""
        return spool.listing(self.queue / "control") != self.seen

    def set_out(self, fresh: bool = True) -> None:
        """Have everything carried that its builder does not know yet; the round knows which doors rest. Not `fresh`: if control/ has changed."""
        if not fresh and not self.news:
            return
        self.seen = spool.listing(self.queue / "control")
        wanted, known = self._wishes()
        news = self._handover()
        if news:
            known.add(news.mark)
            for builder in self._builders():
                if (news.mark, builder) not in self.carried:
                    wanted.setdefault(builder, []).insert(0, news)
        self.carried = {(mark, builder): state for (mark, builder), state in self.carried.items() if mark in known}
        for builder, errands in wanted.items():
            place = self.ways.builders[builder]
            errands = [errand for errand in errands if (errand.mark, builder) not in self.out]
            if errands and not self.round.rests(place):
                self.out.update((errand.mark, builder) for errand in errands)
                self._hand_over(builder, place, errands)

    def keep(self) -> None:
        """Write down what was carried."""
        if self.carried != self.before:
            beside = self.queue / "control" / f".carried.{os.getpid()}"
            beside.write_bytes(body.tsv((*key, state) for key, state in sorted(self.carried.items())))
            os.rename(beside, self.queue / "control" / ".carried")

    def _hand_over(self, builder: str, place: str, errands: list[Errand]) -> None:
        def answered(tickets: list[Document]) -> None:
            for errand, ticket in zip(errands, tickets):
                state = transport.state(ticket)
                if state != "kept":
                    self.carried[errand.mark, builder] = state
                    word, why = ("refused", f": {ticket.table('ticket').get('why')}") if state == "refused" else ("carried", "")
                    self.round.moves.append((f"{errand.document.id}-{errand.document.name}", word, builder + why))

        self.round.hand_over(place, "put-control", [errand.document for errand in errands], answered)

    def _wishes(self) -> tuple[dict[str, list[Errand]], set[str]]:
        """The wishes in control/ that their job's builder does not have yet, by builder; and the file names of all of them. A run for which
        others wait is not cancelled."""
        asked = control.targets(self.queue / "control")
        wanted: dict[str, dict[str, None]] = {}
        for target, copies in wishes.copies(self.queue, set(asked)).items() if asked else ():
            for copy in copies:
                with contextlib.suppress(FileNotFoundError):
                    builder = brief(self.queue / copy.state / copy.name)[0] if copy.state in OUT else ""
                    if builder in self.ways.builders:
                        names = [name for name in asked[target] if (name, builder) not in self.carried]
                        wanted.setdefault(builder, {}).update(dict.fromkeys(names))
        shared = equal.waited_for(self.queue) if wanted else set()
        found = {
            builder: [
                Errand(name, document)
                for name in names
                for document in control.read(self.queue / "control", [name])
                if not (name[:26] in shared and document.table("control").get("action", "cancel") == "cancel")
            ]
            for builder, names in wanted.items()
        }
        return found, {name for file_names in asked.values() for name in file_names}

    def _handover(self) -> Errand | None:
        """That this queue speaks with a key of its own since it was handed over; None where it was not, or not to us."""
        for full_name, said in handover.known(self.queue / "hosts").items():
            if full_name == self.queue.full_name and said.public.fingerprint == self.queue.signer.public.fingerprint:
                return Errand(f"{said.file_name}~{said.epoch}", reader.parse((self.queue / "hosts" / said.file_name).read_bytes()))
        return None

    def _builders(self) -> set[str]:
        """The builders that jobs are on the way to."""
        found = set()
        for path in (self.queue / "assigned").glob("[!.]*.cit"):
            with contextlib.suppress(FileNotFoundError):
                found.add(brief(path)[0])
        return found & self.ways.builders.keys()


def _read(directory: Path) -> dict[tuple[str, str], str]:
    with contextlib.suppress(FileNotFoundError, CitError, ValueError):  # torn: carried once more, which is harmless
        return {(mark, builder): state for mark, builder, state in body.rows((directory / ".carried").read_bytes())}
    return {}
