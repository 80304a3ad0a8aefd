"""Making a replica the queue: its owner's signed word, then this key speaks for it (docs/howto/replicate-a-queue.md).

Reads: a queue directory that is not active: a replica (cit replicate) or what a backup held (cit restore).
Writes: a handover document into hosts/, queue.toml (active, epoch, door), seen/ where the copy lacks it, its key into allowed_signers.
How: each step may be repeated; a kill between two leaves a replica that can be activated again, with the next epoch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime, timezone

from . import mend
from .cit_format import arrays, clock, configure, document, handover, home, keys, messages, names, reader, sign, spool
from .cit_format.document import Document
from .cit_format.errors import DENIED, NO, CitError
from .cit_format.keys import Signer
from .cit_format.put import ACCEPTED, DUPLICATE

LIVE = ("waiting", "held", "assigned", "sent")
UNDEALT = ("waiting", "held")  # where what is left of an array lies


# --- decisions ------------------------------------------------------------------------------------------------------


def next_epoch(queue: home.Queue) -> int:
    """The epoch of the next handover: above the queue's own and any that was shown here."""
    latest = handover.known(queue / "hosts").get(queue.full_name)
    return max(queue.epoch, latest.epoch if latest else 0) + 1


def earlier(found: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """(state, file name) of copies that a later state has too, as a copy made while jobs moved on may hold them."""
    last: dict[str, str] = {}
    for state in (*LIVE, "done"):
        for name in found.get(state, []):
            parts = names.parse(name)
            if parts:
                last[_mark(parts)] = state
    for state in LIVE:
        for name in found.get(state, []):
            parts = names.parse(name)
            if parts and last.get(_mark(parts)) != state:
                yield state, name


def _mark(parts: names.FileName) -> str:
    """What the copies of one attempt have in common; a job that was not assigned yet is attempt 1. Parts of an array are none of each other."""
    return f"{parts.id}_{parts.span or parts.task}.a{parts.attempt or 1}"


def overlapping(found: dict[str, list[str]]) -> dict[tuple[str, str], set[int]]:
    """By (state, file name) of what is left of arrays: the tasks that have a document of their own in any state. So a copy may hold it that was
    made while they were dealt out."""
    files = [(state, name, parts) for state, names_in in found.items() for name, parts in ((name, names.parse(name)) for name in names_in) if parts]
    dealt: dict[str, set[int]] = {}
    for _, _, parts in files:
        if parts.task is not None:
            dealt.setdefault(parts.id, set()).add(parts.task)
    return {
        (state, name): {task for task in dealt[parts.id] if parts.concerns(task)}
        for state, name, parts in files
        if state in UNDEALT and parts.task is None and parts.id in dealt
    }


def steps(queue: home.Queue, door: str) -> list[str]:
    """What activating this queue does, a line each."""
    return [
        f"finish what was being moved in {queue.path} when it was copied; of two copies of a job the later state stays",
        f"sign the handover of {queue.name}: epoch {next_epoch(queue)}, spoken for by the key {queue.path}/key" + (f", at {door}" if door else ""),
        "set active = true and the epoch in queue.toml",
        "tell its builders (cit-deliver does, before it brings them jobs), and the queue as it was: that one takes nothing more",
        "start a pass",
    ]


# --- one step each --------------------------------------------------------------------------------------------------


def mended(queue: home.Queue) -> None:
    """Finish moves, keep the later of two copies, and see to it that every job here counts as seen."""
    for state in LIVE:  # the processes that had these claims are of the other machine
        for claim in (queue / state / ".claim").glob("*~*"):
            for name in spool.listing(claim):
                spool.give_back(claim / name, queue / state)
    mend.whole(queue)
    days = [path for path in (queue / "done").glob("*") if path.is_dir() and path.name[0] != "."]
    found = {state: spool.listing(queue / state) for state in LIVE}
    found["done"] = [name for day in days for name in spool.listing(day)]
    for state, name in list(earlier(found)):
        (queue / state / name).unlink(missing_ok=True)
    for (state, name), dealt in overlapping(found).items():
        without(queue, state, name, dealt)
    for place in [*(queue / state for state in LIVE), *days]:
        for name in spool.listing(place):
            job = reader.parse((place / name).read_bytes())
            seen(queue, job, job.id, job.digest)
            if place.name == "waiting":
                item = mend.described(queue, job)
                seen(queue, job, item.mark, item.digest)


def without(queue: home.Queue, state: str, name: str, dealt: set[int]) -> None:
    """Leave of what is left of an array only tasks that were not dealt out."""
    parts, path = names.parse(name), queue / state / name
    array = arrays.of(reader.parse(path.read_bytes())) if path.exists() else None
    if parts is None or array is None:
        return
    left = arrays.runs(set(array.left(parts)) - dealt, array.tasks)
    with spool.Claim(queue / state) as claim:
        raw = claim.take(name)
        if raw is None:
            return
        for several in left[1:]:
            claim.add(str(arrays.spanned(parts, several, array.tasks)), queue / state, raw)
        if left:
            claim.move(name, queue / state, str(arrays.spanned(parts, left[0], array.tasks)))
            claim.settle()
        else:
            claim.drop(name)


def seen(queue: home.Queue, job: Document, mark: str, digest: str) -> None:
    """The link that says that this was accepted here, where the copy lacks it."""
    directory = queue / "seen" / clock.id_day(job.id)
    if not os.path.lexists(directory / mark):
        spool.make_directory(directory)
        os.symlink(f"{names.key(0, clock.now())}~{digest}", directory / mark)
        spool.sync_directory(directory)


def owners(queue: home.Queue, file: str | None, moment: datetime) -> Signer:
    """The key in `file`, else of those that are at hand the one that the queue lists for cit-hosts. 77 says whose that would be."""
    mine = [sign.signer(file)] if file else [sign.signer(None), *keys.at_hand(home.path())]
    for each in mine:
        with contextlib.suppress(CitError):
            queue.signers.principal(each.public, handover.NAMESPACE, moment)
            return each
    listed = [entry for several in queue.signers.allowed.values() for entry in several if handover.NAMESPACE in entry.namespaces]
    which = ", ".join(f"{entry.principal} ({entry.key.fingerprint})" for entry in listed) or "nobody's"
    hint = "bring it along by ssh -A, or name its file: cit activate --key FILE"
    raise CitError(DENIED, f"no key here may hand {queue.name} over; listed for {handover.NAMESPACE} is {which}", hint)


def announced(queue: home.Queue, door: str, file: str | None) -> handover.Handover:
    """Write the signed handover into hosts/. 66 without a key; 77 where this queue does not list it for cit-hosts."""
    now = clock.now()
    moment = datetime.fromtimestamp(now / clock.SECOND, timezone.utc)
    signer = owners(queue, file, moment)
    who = queue.signers.principal(signer.public, handover.NAMESPACE, moment)
    body = handover.made(queue.full_name, next_epoch(queue), queue.signer.public, queue.identity, door, now)
    made = home.signed(document.new(queue.name, document.section("handover", "toml", body)), signer, who, handover.NAMESPACE)
    found = handover.verified(made, queue.signers, now)
    handover.keep(queue / "hosts", made, found)
    return found


# --- the commands ---------------------------------------------------------------------------------------------------


def activated(queue: home.Queue, door: str | None, file: str | None, dry: bool) -> int:
    """Make this replica the queue. 1 where it is active already."""
    place = queue.door if door is None else door
    if queue.active:
        raise CitError(NO, f"queue {queue.name} in {queue.path} is active", "a replica is activated where it lies; `cit queues` tells")
    if dry:
        print("\n".join(f"{number}. {line}" for number, line in enumerate(steps(queue, place), 1)))
        return 0
    home.make_queue(queue.path)  # its key, where this is the first time
    mended(queue)
    found = announced(queue, place, file)
    believe(queue, found)
    if place:
        configure.change(queue / "queue.toml", "door", [place])
    configure.change(queue / "queue.toml", "epoch", [str(found.epoch)])
    configure.change(queue / "queue.toml", "active", ["true"])
    queue.note([("-", "activated", f"epoch {found.epoch}")], "queue")
    messages.tell("note", f"queue {queue.name} is active here, epoch {found.epoch}", hint=f"the handover: {queue / 'hosts' / found.file_name}")
    return 0


def believe(queue: home.Queue, found: handover.Handover) -> None:
    """The queue's own key in its list, so that what it signs here can be traced here."""
    line = f'{queue.identity} namespaces="cit-queue" {found.public.line}\n'
    file = queue / "allowed_signers"
    if found.public.line.split()[1] not in file.read_text():
        home.write_new(file, file.read_bytes() + line.encode())


def handed_over(queue: home.Queue, arrival: Document) -> str:
    """What a handover document, given to the queue as it was, does: it takes nothing more. accepted or duplicate; else 65 or 77."""
    found = handover.verified(arrival, queue.signers, clock.now())
    if found.queue != queue.full_name:
        raise CitError(NO, f"a handover of {found.queue}, this is {queue.full_name}", "it goes to the queue that it names", arrival.label)
    news = handover.keep(queue / "hosts", arrival, found)
    if found.public.fingerprint != queue.signer.public.fingerprint and queue.active:
        configure.change(queue / "queue.toml", "active", ["false"])
        queue.note([("-", "frozen", f"handed over to {found.identity}, epoch {found.epoch}")], "queue")
    return ACCEPTED if news else DUPLICATE
