"""inbox -> running: documents are believed or refused, and moved in groups (docs/stages/run.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from . import attempt, run_as, secrets
from .attempt import Attempt
from .cit_format import clock, control, heartbeat, home, messages, names, reader, refuse, spool, trust
from .cit_format.document import Document
from .cit_format.errors import CONFIG, DATA, OK, CitError, worst
from .cit_format.reader import Faulty

# Known in version 1.
NEEDED = frozenset(
    ["assignment", "bundle", "call", "change", "env", "files", "job", "keep", "needs", "reply", "script", "secret", "signature", "source"]
)

CLOSED = ".closed"  # in the inbox: the queues that this builder leaves


class Taken(NamedTuple):
    """What became of a group: attempts that lie in `running` now, names that stay in `inbox`, and the worst status."""

    attempts: list[Attempt]
    back: list[str]
    status: int


# --- decisions ------------------------------------------------------------------------------------------------------


def is_beyond(job: Document) -> bool:
    """Whether a job has a section in a version that this program does not know: a newer one may, so it stays where it is."""
    return any(section.kind in NEEDED and section.version != "1" for section in job.sections)


def arrival(raw: bytes) -> Document | Faulty:
    """The one document that a file holds, or why it is none."""
    found = list(reader.documents(reader.reader_of(raw)))
    if len(found) == 1:
        return found[0]
    error = CitError(DATA, f"{len(found)} documents where one is expected", "a document's file holds it alone")
    return Faulty(error, raw[: reader.KEPT], len(raw), hashlib.sha256(raw).hexdigest())


def believed(account: home.Account, name: str, job: Document, now: int) -> Attempt:
    """The attempt that a document is, once it is seen to be ours and in order; else 65 or 77."""
    trust.assigned(job, account.signers, account.signer.public.fingerprint, now)
    heartbeat.meant_here(account, job)
    found = attempt.attempt_of(name, job, now)
    secrets.check(account, job)
    attempt.checked(found)
    if run_as.account_of(account.settings, job) and "check" in found.said:
        raise CitError(DATA, "a check is not possible where jobs run as other accounts", "have the job itself exit 75, with --retry-on 75", job.label)
    return found


def leaving(account: home.Account) -> frozenset[str]:
    """The queues (NAME@FINGERPRINT) that this builder leaves now: what it has of them and has not begun goes back (cit remove --now)."""
    try:
        return frozenset((account / "inbox" / CLOSED).read_text().split())
    except FileNotFoundError:
        return frozenset()


def verdict(mine: Attempt, standing: control.Standing, now: int, left: frozenset[str]) -> str:
    """What is to be done with a job that has not begun (attempt.verdict), where the queues `left` are being left."""
    found = attempt.verdict(mine, standing, now)
    return attempt.VOID if found in (attempt.START, attempt.HOLD) and mine.said.get("queue") in left else found


def due(account: home.Account, name: str, left: frozenset[str] = frozenset()) -> int:
    """When a job in the inbox has to be taken although no slot is free, to be given back or ended (microseconds); NEVER if it need not."""
    try:
        found = attempt.attempt_of(name, reader.parse((account / "inbox" / name).read_bytes()), clock.now())
        if found.said.get("queue") in left:
            return 0
        within, deadline = found.duration("start-within"), found.integer("deadline")
    except (CitError, FileNotFoundError):
        return names.NEVER
    return min(found.received + within if within else names.NEVER, deadline or names.NEVER)


# --- the loop -------------------------------------------------------------------------------------------------------


def take(account: home.Account, found: list[str], meanwhile: Callable[[], None], rests: Callable[[Attempt], bool] = lambda _: False) -> Taken:
    """Take these documents: they move to `running`, synced together; what is refused goes to `refused` with why, held ones stay, and those that
    must not begin now. Between any two `meanwhile` keeps the slots at work."""
    attempts: list[Attempt] = []
    back: list[str] = []
    status, now = OK, clock.now()
    refused: list[tuple[str, Document | Faulty, CitError]] = []
    wishes, left = control.targets(account / "control"), leaving(account)
    with spool.Claim(account / "inbox") as claim:
        for name in found:
            raw = claim.take(name)
            if raw is None:
                continue
            meanwhile()
            item = arrival(raw)
            try:
                if isinstance(item, Faulty):
                    raise item.error
                if is_beyond(item):
                    raise CitError(DATA, "a section in a version that this program does not know", "it stays in the inbox for a newer cit-run")
                mine = believed(account, name, item, now)
                standing = control.Standing()
                if item.id in wishes:
                    standing = control.look(account / "control", item, mine.task, mine.number, account.signers, now)
            except CitError as error:
                status = worst(status, messages.complain(error, name))
                if isinstance(item, Document) and (is_beyond(item) or error.status == CONFIG):  # the job is not to blame
                    claim.back(name)
                    back.append(name)
                else:
                    refused.append((name, item, error))
                continue
            what = verdict(mine, standing, now, left)
            if what == attempt.HOLD or (what == attempt.START and rests(mine)):
                claim.back(name)
                back.append(name)
            else:
                attempts.append(mine)
                claim.move(name, account / "running")
        if refused:
            refuse.keep_all(account / "refused", [(item, error) for _, item, error in refused], "run")
            for name, _, _ in refused:
                claim.drop(name)
        claim.settle()
    account.note([(attempt.own_name(name), "refused", error.what) for name, _, error in refused], "run")
    return Taken(attempts, back, status)
