"""cit-run as a filter: each job of a stream is run in order and written, with its result, to stdout (docs/stages/run.md).

Reads: jobs assigned to this builder, or signed by its own account. A job may be run again: each time has a record of its own.
On a terminal the job's output is shown as it comes, then one line on how it ended; the document lies in the job's record.
A job ends with us: ^C, TERM and HUP cancel it, and so does our death. Exits: as the one job did; of several 1 if one failed.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import sys
import threading
from pathlib import Path

from . import attempt, calls, conditions, cores, environment, finishing, flood, limits, processes, record, recovery, run_as, secrets, slots, workspace
from .attempt import Attempt
from .cit_format import arrays, clock, frame, home, masks, messages, names, reader, trust
from .cit_format.document import Document
from .cit_format.errors import DATA, DENIED, IO, NO, OK, CitError, worst
from .cit_format.reader import Faulty
from .finishing import End
from .shim import Ending, Order, Shim
from .workspace import Place

LOOK = 0.05  # seconds between two looks at a log that is shown


# --- decisions ------------------------------------------------------------------------------------------------------


def believed(job: Document, account: home.Account, now: int) -> Attempt:
    """The attempt that a document is, if it is assigned to this builder or signed by its own account; else 65 or 77."""
    if trust.assignment(job) is None:
        if arrays.of(job) is not None:
            raise CitError(DATA, "an array, which a queue deals out task by task", "queue it: cit push --array", job.label)
        speech = trust.submission(job, account.signers, now)
        if speech.principal != home.person():
            raise CitError(DENIED, f"a job of {speech.principal}", "without an assignment only jobs of your own run here", job.label)
    else:
        trust.assigned(job, account.signers, account.signer.public.fingerprint, now)
    given = trust.assignment(job)
    name = names.FileName(job.id, job.name, "", given.task if given else None, given.attempt if given else None)
    found = attempt.attempt_of(str(name), job, now)
    secrets.check(account, job)
    attempt.checked(found)
    _callable(account, job)
    return found


def _callable(account: home.Account, job: Document) -> None:
    """65, 66 or 78 where a job calls an interface that it does not fit, or that is not offered here."""
    error = calls.objection(account, job)
    if error is not None:
        raise error


def together(said: list[tuple[int, bool]]) -> int:
    """The status of a run from those of its documents, each a job's own or (False) an error's: of one its own; of several the worst
    error, else 1 where a job failed."""
    if len(said) == 1:
        return said[0][0]
    status = OK
    for own, is_job in said:
        status = worst(status, (NO if own else OK) if is_job else own)
    return status


def unused(work: Path, own: str) -> str:
    """A name in work/ for one more run of a job: its own, then with ~2, ~3."""
    number, name = 1, own
    while os.path.lexists(work / f"{name}.run"):
        number += 1
        name = f"{own}~{number}"
    return name


# --- one document ---------------------------------------------------------------------------------------------------


class Interrupt:
    """Notes ^C, TERM and HUP from here on: `number` is the signal that came, 0 while none has; `fd` is readable then."""

    def __init__(self) -> None:
        self.number = 0
        self.fd, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.came)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a shim that a job has stopped is to go on

    def came(self, number: int, _: object) -> None:
        self.number = number


class Show:
    """Shows a growing log without the job's secrets: on a terminal without what terminals obey, else (`raw`) byte for byte."""

    def __init__(self, place: Place, raw: bool = False) -> None:
        self.log = place.log
        self.raw = raw
        self.mask = masks.Mask(masks.values(masks.contents(place.private).values()) if place.private else [])
        self.fd = -1
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.more()  # a log that is sealed at the end is there already, and open from now on

    def more(self, last: bool = False) -> None:
        """What has come since the last look."""
        if self.fd < 0:
            try:
                self.fd = os.open(self.log, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        size = os.fstat(self.fd).st_size
        if size < os.lseek(self.fd, 0, os.SEEK_CUR):  # the middle was cut out of it (flood.py)
            os.lseek(self.fd, max(0, size - 2 * flood.TAIL), os.SEEK_SET)
        while piece := os.read(self.fd, 65536):
            self.show(self.mask(piece))
        if last:
            self.show(self.mask(b"", last=True))
        sys.stdout.flush()

    def show(self, piece: bytes) -> None:
        if self.raw:
            sys.stdout.buffer.write(piece)
        else:
            sys.stdout.write(messages.clean(self.decoder.decode(piece)))


def attended(shim: Shim, mine: Attempt, place: Place, interrupt: Interrupt, show: Show | None) -> Ending:
    """Wait for a job's end; an interrupt cancels it. 74 where it could not begin."""
    told = False
    while True:
        hurried = show is not None or (interrupt.number and not told)
        listening = [shim.socket.fileno()] if told else [shim.socket.fileno(), interrupt.fd]
        found, _, _ = select.select(listening, [], [], LOOK if hurried else None)
        if shim.socket.fileno() in found:
            break
        if interrupt.fd in found:
            os.read(interrupt.fd, 512)
        if processes.state(shim.pid) == "T":
            processes.told(shim.pid, signal.SIGCONT)
        if interrupt.number and not told:
            told = slots.signalled(place, signal.SIGTERM)
        if show:
            show.more()
    ending = shim.ended()
    if show:
        show.more(last=True)
    if ending is None or ending.why == "lost":
        stands = recovery.standing(place.record)
        ending = stands if isinstance(stands, Ending) else recovery.lost(mine, place)
    if ending.why == "unready":
        raise CitError(IO, f"{place.record} cannot be written", "is the disk full?", mine.job.label)
    return ending


def waited(mine: Attempt, account: home.Account, interrupt: Interrupt) -> None:
    """Wait until a job may begin: the machine is idle enough, and has the disk that it asks for; or it is too late, or somebody interrupts."""
    told = ""
    while (why := conditions.now(mine, account)) and not interrupt.number:
        if told != (told := why.partition(" ")[0]):
            messages.tell("note", f"waits: {why}", mine.job.label)
        deadline = mine.integer("deadline")
        left = (deadline - clock.now()) / clock.SECOND if deadline else conditions.LOOK
        if left <= 0:
            return
        select.select([interrupt.fd], [], [], min(conditions.LOOK, left))


def limited(mine: Attempt, order: Order, account: home.Account) -> Order:
    """The order with its limits: as in a pass, of which nothing else is known here."""
    own = cores.chosen(mine.integer("cpus"), sorted(os.sched_getaffinity(0)), [])
    return limits.limited(order, mine, account.settings, own, limits.group_of(account.settings))


# --- the loop -------------------------------------------------------------------------------------------------------


def filtered(account: home.Account) -> int:
    """Run each job of stdin in order and write it, with its result, to stdout."""
    base = {**environment.of_account(account.settings), "PATH": os.environ.get("PATH", environment.PATH)}
    is_shown = sys.stdout.isatty()
    rlimits = limits.rlimits(account.settings)
    shim, interrupt = Shim(rlimits), Interrupt()
    said: list[tuple[int, bool]] = []
    for item in reader.documents(frame.unframed(lambda size: os.read(0, size))):
        try:
            if isinstance(item, Faulty):
                raise item.error
            mine = believed(item, account, clock.now())
            waited(mine, account, interrupt)
            if interrupt.number:
                return 128 + interrupt.number
            said.append((record.status(ran(mine, account, base, shim, interrupt, is_shown)), True))
        except CitError as error:
            said.append((messages.complain(error), False))
        if interrupt.number:
            return 128 + interrupt.number
    shim.dismiss()
    return together(said)


def cancelled_at_end() -> None:
    """Wait until stdin ends: whoever wanted the job is gone."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def represented(account: home.Account) -> int:
    """Run one job for the account that holds the keys, which started us by way of sudo (run_as.py); its output to stdout; its own status.

    It is believed by this account's own list, as its author signed it, and begun no more often than it allows.
    """
    now = clock.now()
    job = reader.parse(run_as.received(0))
    trust.submission(job, account.signers, now)
    said = job.table("job")
    if isinstance(said["expires"], int) and now > said["expires"]:
        raise CitError(DENIED, f"expired at {clock.iso(said['expires'])}", "make it anew: cit requeue", job.label)
    starts = sum(name.startswith(job.id) and name.endswith(".run") for name in os.listdir(account / "work"))
    allowed = said.get("attempts", 1)
    if starts >= (allowed if isinstance(allowed, int) else 1):
        raise CitError(DENIED, f"started {starts} times already", "its author says how often: cit push --attempts", job.label)
    mine = attempt.attempt_of(str(names.FileName(job.id, job.name)), job, now)
    secrets.check(account, job)
    attempt.checked(mine)
    _callable(account, job)
    interrupt, shim = Interrupt(), Shim(limits.rlimits(account.settings))
    threading.Thread(target=cancelled_at_end, daemon=True).start()
    waited(mine, account, interrupt)
    base = environment.of_account(account.settings)
    place, before = attempt.laid_out(mine, account, 1, unused(account / "work", mine.own))
    account.note([(mine.own, "started", f"{workspace.short(place)}, for {os.environ.get('SUDO_USER', 'another account')}")], "run")
    shim.give(limited(mine, attempt.order(mine, place, base, before, account.path, bound=True), account))
    ending = attended(shim, mine, place, interrupt, Show(place, raw=True))
    shim.dismiss()
    end = End(mine, place, ending)
    workspace.written(f"{place.record}/job.cit", finishing.document_of(end, account, base).raw)
    account.note([finishing.move_of(end)], "run")
    return record.status(ending)


def ran(mine: Attempt, account: home.Account, base: dict[str, str], shim: Shim, interrupt: Interrupt, is_shown: bool) -> Ending:
    """Run one job; its document goes to stdout and into its record, or on a terminal into its record alone."""
    own = unused(account / "work", mine.own)
    place, before = attempt.laid_out(mine, account, 1, own)
    account.note([(mine.own, "started", f"{workspace.short(place)}, by hand")], "run")
    shim.give(limited(mine, attempt.order(mine, place, base, before, account.path, bound=True), account))
    ending = attended(shim, mine, place, interrupt, Show(place) if is_shown else None)
    end = End(mine, place, ending)
    document = finishing.document_of(end, account, base)
    workspace.written(f"{place.record}/job.cit", document.raw)
    account.note([finishing.move_of(end)], "run")
    if is_shown:
        sys.stdout.write(f"{mine.job.label}: {finishing.move_of(end)[2]}; all of it: {place.record}/job.cit\n")
    else:
        sys.stdout.buffer.write(document.raw)
    sys.stdout.flush()
    return ending
