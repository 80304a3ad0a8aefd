"""cit log: what a job printed, its secrets as ***; -f follows it and ends when the job does.

Reads: work/COPY-NAME.log of this account; else what the read door of the job's builder gives of it. A sealed log, COPY-NAME.log.age, is opened.
Writes: the log, uncut byte for byte in a pipe; on a terminal without what terminals obey. --since, --grep, --times: the lines that are wanted.
Exits: 0; 66 no such job, or no log; 69 its builder cannot be had; 77 it is sealed to others (docs/messages.md).
How: what each line's time is, `times` in the job's record tells. Colours are taken out, a CR before a newline too.
Pages: docs/stages/report.md, docs/howto/logs-and-parts.md
"""

from __future__ import annotations

import os
from typing import Optional

import typer

from . import answers, far, folding, following, lend, look, opening, own_words, picking, pieces, places, remote, screen
from .cit_format import body, clock, messages
from .cit_format.errors import NOT_FOUND, OK, CitError
from .look import Seen
from .picking import Wish
from .places import Home
from .writer import Writer

EVENTS = (screen.Column("time", "TIME"), screen.Column("word", "WORD"), screen.Column("detail", "DETAIL", yields=True))

# --- the log as it is -----------------------------------------------------------------------------------------------


def written(wanted: Seen, key: str | None, wish: Wish) -> None:
    """Write a job's log up to its present end, from wherever it lies. 66, 69, 77."""
    if not wanted.work(".log") and opening.is_for_some(wanted):
        following.opened(wanted, key, wish)
        return
    away = None if wanted.work(".log") else far.place(wanted)
    if away:
        writer = Writer(None, wish, None if wish.is_plain else far.index(wanted))
        far.copied(wanted, away, writer.begin(), writer.write)
        writer.write(b"", last=True)
        return
    log = look.log_of(wanted)
    writer = Writer(log, wish, following.index_of(log))
    try:
        fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CitError(NOT_FOUND, "its log is gone", "cit clean, or a later build in its place, removed it", wanted.document.label) from None
    os.lseek(fd, writer.begin(), os.SEEK_SET)
    following.copied(fd, writer)
    writer.write(b"", last=True)
    os.close(fd)


def followed(wanted: Seen, there: Home, key: str | None, wish: Wish) -> None:
    """Follow a job to its end; one that another's run answers meanwhile prints nothing of its own: then what that run printed."""
    try:
        following.followed(wanted, there, key, wish)
    except CitError as error:
        asker = remote.Asker()
        again = look.one(wanted.document.id, there, clock.now(), asker)
        if error.status != NOT_FOUND or not answers.is_answered(again):
            raise
        written(answers.ran(again, asker), key, wish)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    job: Optional[str] = typer.Argument(None, metavar="[JOB]", help="A piece of an ID, a name, or `last`; without any, last"),
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on as it grows, until the job has ended"),
    since: Optional[str] = typer.Option(None, "--since", metavar="10m|TIME", help="Only what was printed since then; UTC"),
    grep: Optional[str] = typer.Option(None, "--grep", metavar="RE", help="Only lines that this regular expression fits"),
    times: bool = typer.Option(False, "--times", help="The time before each line"),
    part: Optional[str] = typer.Option(None, "--part", metavar="NAME", help="Only what this part printed"),
    listed: bool = typer.Option(False, "--parts", help="Its parts, as a tree, with states and times"),
    events: bool = typer.Option(False, "--events", help="What the job itself says happened"),
    fold: bool = typer.Option(False, "--fold", help="Folded by the marks in it: of GitHub, GitLab, Buildkite, make; open is where something failed"),
    tree: bool = typer.Option(False, "--tree", help="Only the headings of these marks, with lines, times and tests (TAP)"),
    path: bool = typer.Option(False, "--path", help="Only where the log lies"),
    key: Optional[str] = typer.Option(None, "-i", "--key", metavar="FILE", help="The private key that opens a sealed log; else your own"),
    queue: Optional[str] = typer.Option(None, "--queue", metavar="QUEUE", help="Where it is looked up: @NAME or a directory"),
    tsv: bool = typer.Option(False, "--tsv", help="With --parts, --events or --tree: TSV with a header line, as in a pipe"),
    json: bool = typer.Option(False, "--json", help="With --parts, --events or --tree: one JSON object a line"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
) -> int:
    """What a job printed."""
    messages.set_up("cit-log", quiet)
    now = clock.now()
    wish = Wish(picking.moment_of(since, now) if since else None, picking.pattern(grep) if grep else None, times)
    there = places.here(queue)
    asker = None if path else remote.Asker()
    wanted = answers.ran(look.one(job or "last", there, now, asker), asker)
    if wanted.tally and follow:
        messages.tell("note", "it is an array: each task has a log of its own", wanted.document.label, f"cit log -f {wanted.short}_TASK")
    elif path or wanted.tally:
        print(look.log_of(wanted))
    elif fold or tree:
        folding.shown(wanted, key, tree, screen.form(False, tsv, json))
    elif listed:
        pieces.listed(wanted, screen.form(False, tsv, json))
    elif events:
        rows = [{"time": each.moment and body.Time(each.moment), "word": each.word, "detail": each.detail} for each in own_words.events(wanted)]
        screen.show(EVENTS, rows, screen.form(False, tsv, json))
    elif part and follow:
        pieces.followed(wanted, there, part, wish, following.has_ended)
    elif part:
        pieces.written(wanted, part, wish)
    elif follow and not following.has_ended(wanted):
        with lend.Loan(there.account, os.environ) as loan:
            loan.begin()
            followed(wanted, there, key, wish)
    else:
        written(wanted, key, wish)
    return OK
