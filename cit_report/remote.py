"""What is heard of jobs in queues that lie elsewhere, by way of their doors; and kept, so that it is known without asking (docs/stages/report.md).

    queues/NAME/waiting held sent refused done/DAY   documents as they were heard last, in the states that they tell
    queues/NAME/builders/.load/BUILDER.cit           how its builders were, with their jobs
    queues/NAME/log/DAY.tsv                          what the documents tell of ends
    queues/NAME/.heard                               touched when the queue answered last

So whatever looks around in a home sees a queue elsewhere as a part of itself, a little late. Who does not answer is told of once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from . import places, relog, story, tally
from .cit_format import arrays, ask, attempts, body, clock, frame, glance, home, messages, names, reader, same, spool, trust
from .cit_format.document import Document
from .cit_format.errors import DENIED, NOT_FOUND, CitError
from .places import Copy, Home

ACTIVE = ("waiting", "held", "assigned", "sent")
AT_ONCE = 16  # questions at a time
MOST = 1000  # IDs in one question
NEWEST = 10  # jobs of a name that are asked for

_told: set[Path] = set()  # queues of which this run has said that they cannot be had

Answer = TypeVar("Answer")
Word = TypeVar("Word")


# --- decisions ------------------------------------------------------------------------------------------------------


def place(document: Document, now: int) -> tuple[str, names.FileName]:
    """The state in which a document lies at its queue, as it tells itself, and its name without KEY."""
    given, told = trust.assignment(document), str(story.told(document)["state"])
    name = names.FileName(document.id, document.name, "", given.task if given else None, given.attempt if given else None, rest(document))
    if told == "REFUSED":
        return "refused", name
    if given and attempts.again(document, now):
        return "waiting", name._replace(attempt=given.attempt + 1)
    if attempts.ending(document) or told in story.FINAL:
        return f"done/{clock.id_day(document.id)}", name
    return ("sent" if given else "held" if told == "HELD" else "waiting"), name


def rest(document: Document) -> tuple[int, int] | None:
    """From which to which task of an array a document is the end of those that were never dealt out; None where it is none, or of all."""
    array, said = tally.of_document(document), str(story.last_result(document).get("tasks", ""))
    if array is None or not arrays.PATTERN.fullmatch(said):
        return None
    ended = arrays.parse(said).tasks
    return (ended[0], ended[-1]) if len(ended) < len(array.tasks) else None


def is_settled(copies: Iterable[Copy]) -> bool:
    """Whether nothing new is to be expected of a job: it has ended or was refused, or was never sent."""
    best = places.best(copies)
    return best.place in ("done", "refused") or (best.place == "outbox" and not best.directory.endswith("/sent"))


# --- asking ---------------------------------------------------------------------------------------------------------


class Asker:
    """Asks doors in this run; a queue that does not answer is told of once, and not asked again unless `patient`."""

    def __init__(self, seconds: float = ask.PATIENCE, patient: bool = False) -> None:
        self.seconds = seconds
        self.patient = patient
        self.away: dict[Path, CitError] = {}
        self.wrong: dict[str, CitError] = {}  # by ID: what was told of a job and cannot be

    def ask(self, queue: home.Queue, *words: str, seconds: float = 0.0) -> bytes | None:
        """The answer to a verb; None where the queue does not answer. 66 as the door says it."""
        if queue.path in self.away and not self.patient:
            return None
        try:
            answer = ask.ask(ask.place_of(queue), *words, seconds=seconds or self.seconds)
        except CitError as error:
            if error.status == NOT_FOUND:
                raise
            if queue.path not in _told:
                _told.add(queue.path)
                hint = "this is what was heard before" if heard_at(queue) else "nothing was heard of it yet"
                messages.tell("warning", f"queue @{queue.path.name} cannot be had: {error.what}", hint=hint)
            self.away[queue.path] = error
            return None
        self.away.pop(queue.path, None)
        with contextlib.suppress(OSError):
            (queue / ".heard").touch()
        return answer

    def job(self, queue: home.Queue, identity: str) -> list[Document]:
        """The documents of an ID, kept here as well; none where the queue does not answer, or does not know (or show) it."""
        try:
            answer = self.ask(queue, "get", identity)
        except CitError:
            return []
        return self.kept(queue, {identity: [] if answer is None else documents(answer)}).get(identity, [])

    def ended(self, queue: home.Queue, identities: Sequence[str], wait: float = 0.0) -> None:
        """Hear of those of these jobs that have ended or were refused; where none has, the queue's door waits for one, `wait` seconds at most."""
        for at in range(0, len(identities), MOST):
            some = identities[at : at + MOST]
            answer = self.ask(queue, "ended", f"{int(wait)}s", *some, seconds=self.seconds + wait)
            found: dict[str, list[Document]] = {}
            for document in [] if answer is None else documents(answer):
                found.setdefault(document.id if document.id in {each[:26] for each in some} else some[0][:26], []).append(document)
            self.kept(queue, found, all_of_it=False)

    def kept(self, queue: home.Queue, answers: Mapping[str, list[Document]], all_of_it: bool = True) -> dict[str, list[Document]]:
        """Of what a queue answers about jobs, by ID, what can be (heard.py), kept here; what cannot is told, and not used."""
        from . import heard

        good: dict[str, list[Document]] = {}
        for identity, answer in answers.items():
            for document in answer:
                error = heard.wrong(document, identity, queue) or self.unanswered(document, queue)
                if error is None:
                    good.setdefault(identity, []).append(document)
                elif identity not in self.wrong:
                    self.wrong[identity] = error
                    messages.complain(error)
        for identity, found in good.items():
            keep(queue, identity, found, clock.now(), all_of_it)
        return good

    def unanswered(self, document: Document, queue: home.Queue) -> CitError | None:
        """What is wrong with a job that the queue says another one's run answers; that run is heard of, and kept, too."""
        from . import answers

        given = same.answer(document) if document.kind == "job" else None
        if given is None or given.job == document.id:
            return None
        why = answers.wrong(document, self.job(queue, given.job))
        what = f"what queue @{queue.path.name} tells of it cannot be: {why}"
        return CitError(DENIED, what, "it is not used; ask the queue's owner", document.label) if why else None

    def listing(self, queue: home.Queue) -> list[Copy] | None:
        """Every copy that the queue shows of what is on its way or refused; None where it does not answer."""
        answer = self.ask(queue, "ls")
        if answer is None:
            return None
        rows = [row for row in body.rows(answer) if len(row) == 3]
        known = [(state, parts) for state, name, _ in rows for parts in [names.parse(name)] if parts]
        return [Copy(parts, f"@{queue.path.name}/{state}", state, str(queue.path)) for state, parts in known]

    def builders(self, queue: home.Queue) -> None:
        """Hear how its builders are, where it answers."""
        answer = self.ask(queue, "builders")
        if answer:
            keep_builders(queue, documents(answer))


def side_by_side(act: Callable[[Word], Answer], words: Sequence[Word]) -> list[Answer]:
    """`act` on each, some at a time; the answers in order."""
    if len(words) < 2:
        return [act(word) for word in words]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(act, words))


def documents(answer: bytes) -> list[Document]:
    """The documents of a framed answer; what does not parse is left out. 65 where it was cut."""
    whole = frame.unframed(reader.reader_of(answer), acts=False, strict=True)
    return [each for each in reader.documents(whole) if isinstance(each, Document)]


def heard_at(queue: home.Queue) -> int | None:
    """When the queue answered last, microseconds; None: never."""
    try:
        return os.stat(queue / ".heard").st_mtime_ns // 1000
    except FileNotFoundError:
        return None


# --- keeping --------------------------------------------------------------------------------------------------------


def keep(queue: home.Queue, identity: str, found: Sequence[Document], now: int, all_of_it: bool = True) -> None:
    """Let these be the documents that are known of an ID, each in the state that it tells; not `all_of_it`: of the tasks that these are."""
    where = [(document, *place(document, now)) for document in found]
    wanted = {str(queue.path / state / str(name)): document for document, state, name in where}
    tasks = {name.task for _, _, name in where if name.task is not None}
    others = not all_of_it and any(name.task is not None or name.span for _, _, name in where)
    before = {copy.path for copy in places.copies_of(identity, Home([queue.path], None)) if not others or copy.file.task in tasks}
    for path, document in wanted.items():
        if path not in before or Path(path).read_bytes() != document.raw:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            home.write_new(Path(path), document.raw)
            if "/done/" in path:
                _log(queue, document)
    for path in before - set(wanted):
        Path(path).unlink(missing_ok=True)


def _log(queue: home.Queue, document: Document) -> None:
    """The lines that an ended document tells, in the logs of their days."""
    (queue / "log").mkdir(mode=0o700, exist_ok=True)
    for moment, line in relog.told(document, f"{place(document, 0)[1].copy}-{document.name}", ended=True):
        with open(queue / "log" / f"{moment[:10]}.tsv", "ab") as log:
            log.write(line)


def keep_builders(queue: home.Queue, heard: Iterable[Document]) -> None:
    """Keep how builders are: of each name the last document, which is its heartbeat where there is one."""
    directory = queue / "builders" / ".load"
    os.makedirs(directory, 0o700, exist_ok=True)
    found = {
        f"{name}.cit": document for document in heard for name in [document.table("builder").get("name")] if names.parse(f"{'0' * 26}-{name}.cit")
    }
    spool.replace_contents({directory / name: document.raw for name, document in found.items()})
    for name in set(spool.listing(directory)) - set(found):
        (directory / name).unlink(missing_ok=True)


# --- what a view wants ----------------------------------------------------------------------------------------------


def queues(there: Home) -> list[home.Queue]:
    """Those of these queues that lie elsewhere."""
    return [queue for queue in map(home.Queue, there.queues) if queue.remote]


def of_job(copies: Iterable[Copy], there: Home) -> home.Queue | None:
    """The queue elsewhere that a job went to, as its copies here tell; None where it is in none."""
    elsewhere = queues(there)
    for copy in copies if elsewhere else ():
        if copy.queue:
            return next((queue for queue in elsewhere if str(queue.path) == copy.queue), None)
        if copy.place == "outbox":
            with contextlib.suppress(FileNotFoundError, CitError):
                with open(copy.path, "rb") as stream:
                    named = str(reader.parse(stream.read()).table("job").get("queue", ""))
                return next((queue for queue in elsewhere if queue.full_name == named), None)
    return None


def freshen(jobs: Mapping[str, list[Copy]], there: Home, asker: Asker) -> bool:
    """Hear anew of those of these jobs that are elsewhere and may have gone on; whether anything was heard."""
    wanted = {job.partition("_")[0]: copies for job, copies in jobs.items() if not is_settled(copies)}
    found = [(queue, identity) for identity, copies in wanted.items() for queue in [of_job(copies, there)] if queue]
    return any(asker.job(queue, identity) for queue, identity in found)


def search(wanted: str, there: Home, asker: Asker) -> bool:
    """Ask the queues elsewhere for a job that is not known here: by its whole ID all of them, by anything else the one that `--queue` names."""
    elsewhere = queues(there)
    identity = wanted.partition("_")[0].lower()
    if names.parse(f"{identity}-x.cit"):
        return any(asker.job(queue, identity) for queue in elsewhere)
    if len(there.queues) == 1 and elsewhere:
        from .lookup import fit

        [queue] = elsewhere
        fitting = [copy.file.id for copy in asker.listing(queue) or [] if fit(wanted.lower(), copy)]
        return any(asker.job(queue, identity) for identity in list(dict.fromkeys(fitting))[:NEWEST])
    return False


def listed(queue: home.Queue, there: Home, asker: Asker) -> list[Copy]:
    """Hear what a queue shows now: copies of jobs that were never here, by their names alone.

    What is known here is moved to the state that it is in now; what has ended is fetched; what the queue does not have any more is told.
    """
    found, _ = side_by_side(lambda act: act(queue), [asker.listing, asker.builders])
    if found is None:
        return []
    now = {copy.file.id: copy for copy in found}
    sent = {copy.file.id: copy for copy in sent_from(queue, there)}
    known = {copy.file.id: copy for copy in active(queue)}
    for identity, copy in {**sent, **known}.items():
        if identity in now and (identity not in known or now[identity].place != copy.place):
            moved(copy, queue / now[identity].place / str(copy.file._replace(key=now[identity].file.key)), keep=identity not in known)
    gone = sorted({*sent, *known} - set(now), reverse=True)
    unknown = [identity for identity in gone if not any(places.done(Home([queue.path], None), clock.id_day(identity), identity))]
    missing = unheard(queue, unknown, asker)
    if missing:
        again = asker.listing(queue)  # one that was just being moved is in no state of a listing
        missing = [] if again is None else [identity for identity in missing if identity not in {copy.file.id for copy in again}]
    if missing:
        which = ", ".join(identity[-6:] for identity in missing[:NEWEST])
        what = f"queue @{queue.path.name} has no more of {len(missing)} jobs that it had from here: {which}{', ...' if missing[NEWEST:] else ''}"
        messages.tell("note", what, hint="they are shown as they were heard of last; whoever owns the queue may have removed what ended")
    return [copy for copy in found if copy.file.id not in sent and copy.file.id not in known]


def unheard(queue: home.Queue, identities: Sequence[str], asker: Asker) -> list[str]:
    """Hear of the ends of these jobs, the first ones first, as many at a time as fit into an answer; those of which the queue tells none."""
    left, missing = list(identities), list[str]()
    while left and queue.path not in asker.away:
        some, left = left[:MOST], left[MOST:]
        asker.ended(queue, some)
        silent = [identity for identity in some if not any(is_settled([copy]) for copy in places.copies_of(identity, Home([queue.path], None)))]
        if len(silent) == len(some):
            missing += silent
        else:
            left = silent + left
    return missing if queue.path not in asker.away else []


def moved(copy: Copy, to: Path, keep: bool) -> None:
    """Let a document that is known here lie where its queue says that it is; `keep`: what was sent from here stays in the outbox as well."""
    os.makedirs(to.parent, 0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        (os.link if keep else os.rename)(copy.path, to)


def sent_from(queue: home.Queue, there: Home) -> Iterator[Copy]:
    """The jobs that were sent to a queue from here."""
    for copy in places.copies(f"{there.account}/outbox/sent", "outbox", None) if there.account else ():
        with contextlib.suppress(FileNotFoundError):
            said = glance.at(copy.path)
            if said.kind == "job" and said.text("queue") == queue.full_name:
                yield copy


def active(queue: home.Queue) -> Iterator[Copy]:
    """The copies that were heard of what is on its way."""
    for state in ACTIVE:
        yield from places.copies(str(queue / state), state, str(queue.path))
