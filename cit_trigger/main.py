"""cit-trigger: a wish becomes a signed job.

Reads: a command, script, call (--call), one job a line (--each), a git tree (--source), a repository (--repo), unsigned jobs (--sign), secrets.
  With --list a trigger list and what it looks at (lists.py).
Writes: job documents to stdout, each as soon as it is made; what was sent of a git tree, and what not, to stderr.
Exits: 0; 2 usage; 65 does not fit a job; 66 no such queue, file, tree or ref; 69 a repository that does not answer; 77 the key does not sign.
How: sections job, script, env, source, ... are written, then signed with the person's ssh key. Nothing else happens: no file (but for the
  memory of a list), no queue.
Pages: docs/stages/trigger.md, docs/howto/push-a-git-tree.md, docs/format/job.md, docs/format/source.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

import typer

from . import inside, options, wish
from .author import author, queue_for
from .cit_format import clock, command, messages, names
from .cit_format.errors import OK, USAGE, CitError
from .wish import Form

if TYPE_CHECKING:
    from .after import Following
    from .author import Author
    from .cit_format import home
    from .cit_format.keys import Signer
    from .cit_format.sshsig import PublicKey
    from .secrets import Seal
    from .source import Gathered

READS = {"call": "1", "job": "1", "script": "1"}
WRITES = {
    "after": "1",
    "bundle": "1",
    "call": "1",
    "change": "1",
    "config": "1",
    "env": "1",
    "files": "1",
    "grant": "1",
    "job": "1",
    "keep": "1",
    "needs": "1",
    "reply": "1",
    "script": "1",
    "secret": "1",
    "signature": "1",
    "source": "1",
}


# --- what is asked for ----------------------------------------------------------------------------------------------


def check_wishes(words: list[str], script: str | None, each: str | None, sign: bool, stdin: list[str | None], free: bool) -> None:
    """2 where the command line asks for two things at once, or for nothing; `free`: its words are no command, or stand after --."""
    if words and not free:
        raise CitError(USAGE, "a command without -- before it", f"cit-trigger [OPTIONS] -- {' '.join(words)[:60]}")
    if sum(given == "-" for given in stdin) > 1:
        raise CitError(USAGE, "stdin can be read by one option only", "name a file instead of -")
    if script is not None and (words or each is not None):
        raise CitError(USAGE, f"a script and {'a command' if words else '--each'}", "a job has one of them; a script has no arguments")
    if sign and (script is not None or each is not None):
        raise CitError(USAGE, "--sign and something to run", "--sign takes whole documents, from files or stdin")
    if not sign and script is None and (words or each is None):
        wish.check_command(words)


def check_call(call: str | None, interface: str | None, others: list[object]) -> None:
    """2 where a call is asked for beside something else to run."""
    if call is not None or interface is not None:
        from .call import check_wish

        check_wish(call, interface, others)


def made_of(
    words: list[str], name: str | None, script: str | None, each: str | None, called: tuple[str, str | None, home.Queue, str | None] | None
) -> Iterator[list[tuple[str, bytes]]]:
    """Name and script of each job, or its call: the interface, the file that describes it, the queue, the builder that is wanted."""
    if called is None:
        return wish.scripts(words, name, script, each)
    from .call import sections

    return wish.calls(called[0], name, each, sections(called[0], words, *called[1:]))


def fire_list(file: str, words: list[str], queue: str | None, key: str | None, dry: bool) -> int:
    """One pass over a trigger list; 2 where more is asked for: what its jobs are, its lines say."""
    from pathlib import Path

    asked = [word for word in sys.argv[1:] if word.startswith("--")]
    may = ("--list", "--queue", "--key", "--dry-run", "--quiet", "--verbose")
    more = next((word for word in words or asked if word.split("=")[0] not in may), None)
    if more is not None:
        raise CitError(USAGE, f"--list and {more[:40]}", "with --list go --queue, --key, -n, -q and -v; other options stand in its lines")
    from .lists import fired

    return fired(Path(file), queue, key, dry)


def sources(source: str | None, no_source: bool, repo: str | None, ref: str | None, dirty: bool) -> Gathered | None:
    """The git tree or repository that goes with the job; None where none was asked for."""
    tree = None if no_source else source
    if repo is not None and (tree is not None or dirty):
        raise CitError(USAGE, f"--repo and {'--source' if tree is not None else '--dirty'}", "a job is built from one of them")
    if ref is not None and repo is None:
        raise CitError(USAGE, "--ref without --repo", "--repo URL --ref REF; of a tree that is here, HEAD is sent")
    if dirty and tree is None:
        raise CitError(USAGE, "--dirty without --source", "--dirty sends the changes of a git tree that is here")
    if repo is not None:
        from .repository import at_ref

        return at_ref(repo, ref)
    if tree is None:
        return None
    from .source import gathered

    return gathered(tree, dirty)


def sealing(asked: options.Secrecy, queue: home.Queue, own: Signer) -> Seal | None:
    """What is to be sealed to whom; None where nothing of it is asked for."""
    if not asked.is_meant:
        return None
    from .secrets import wanted

    return wanted(asked, queue, own)


def replies(asked: list[str], own: PublicKey | None, key: str | None, keep: list[str]) -> list[bytes]:
    """The section that says for whom results are; `own` is the author's key, where all is for it."""
    if not asked and own is None:
        return []
    from .replies import sections

    return sections(asked, own, key, keep)


def follow_up(asked: list[str], author: Author, lifetime: int, several: bool) -> Following | None:
    """What is to follow the jobs; None where nothing is."""
    if not asked:
        return None
    from .after import read

    return read(asked, author, lifetime, several)


def needs(asked: list[str]) -> list[bytes]:
    """The sections of what the job needs of others."""
    if not asked:
        return []
    from .needs import sections

    return sections(asked)


def sign_documents(files: list[str], author: Author, lifetime: int, dry: bool, seal: Seal | None) -> int:
    """Complete and sign documents that others wrote; one that cannot be does not stop the others."""
    from .cit_format import inputs
    from .cit_format.document import Document
    from .sign import completed

    def act(unsigned: Document) -> None:
        raw = completed(unsigned, {**author.who, **inside.family(os.environ)}, lifetime, seal.written(unsigned.id) if seal else b"")
        sys.stdout.buffer.write(raw if dry else wish.signed(raw, author.signer, author.person))
        sys.stdout.buffer.flush()

    return inputs.each_document(files, act)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    words: Optional[list[str]] = typer.Argument(None, metavar="[-- COMMAND...]", help="What to run; {} stands for a line of --each"),
    script: Optional[str] = typer.Option(None, "--script", metavar="FILE|-", help="A script to run instead of a command"),
    each: Optional[str] = typer.Option(None, "--each", metavar="FILE|-", help="One job a line; without a command the line is one"),
    call: Optional[str] = typer.Option(None, "--call", metavar="NAME", help="Call a build interface; the words are its PARAMETER=VALUE"),
    interface: Optional[str] = typer.Option(None, "--interface", metavar="FILE", help="What it says of itself, as NAME --describe prints it"),
    listed: Optional[str] = typer.Option(None, "--list", metavar="FILE", help="Jobs for what changed, as a trigger list has it"),
    sign: bool = typer.Option(False, "--sign", help="Sign unsigned jobs, from files or stdin"),
    source: Optional[str] = typer.Option(
        None, "--source", metavar="[=DIR]", help="With the git tree around DIR (.): HEAD, and what its remote lacks"
    ),
    no_source: bool = typer.Option(False, "--no-source", help="Without a git tree"),
    dirty: bool = typer.Option(False, "--dirty", help="With changes of the git tree that are not committed"),
    repo: Optional[str] = typer.Option(None, "--repo", metavar="URL", help="With a repository that is elsewhere"),
    ref: Optional[str] = typer.Option(None, "--ref", metavar="REF", help="Its branch, tag or commit; else its HEAD"),
    files: Optional[list[str]] = typer.Option(None, "--files", metavar="PATH|FILE.tar|-", help="Files to lay into the workspace"),
    config: Optional[list[str]] = typer.Option(None, "--config", metavar="NAME=VALUE|FILE", help="A setting of the build, or a file of such lines"),
    export: Optional[list[str]] = typer.Option(None, "--export", metavar="NAME[=VALUE]", help="A variable of the job's environment"),
    keep: Optional[list[str]] = typer.Option(None, "--keep", metavar="GLOB", help="Files of the workspace to keep"),
    need: Optional[list[str]] = typer.Option(
        None, "--need", metavar="JOB:FILE|NAME[=PATH]", help="Another job's file, or what is stashed, at PATH first"
    ),
    secret: Optional[list[str]] = typer.Option(None, "--secret", metavar="NAME=@FILE|@-", help="Something for the builder's eyes only, from a file"),
    seal_to: Optional[list[str]] = typer.Option(
        None, "--seal-to", metavar="KEYFILE|BUILDER|@QUEUE[:TAG]", help="Who can open it; else all builders that you trust"
    ),
    seal_script: bool = typer.Option(False, "--seal-script", help="Seal the script too: the queue cannot read it"),
    secrets_of: Optional[str] = typer.Option(None, "--secrets-of", metavar="FILE", help="With the secrets of this old job of yours"),
    reply: Optional[list[str]] = typer.Option(None, "--reply", metavar="GLOB=KEYFILE|KEY", help="Encrypt kept files (.log: the log) for this key"),
    seal_results: bool = typer.Option(False, "--seal-results", help="Encrypt all that the job leaves for your own key"),
    grant: Optional[list[str]] = typer.Option(None, "--grant", metavar="FILE", help="A permission that the builder's owner signed: cit grant"),
    after: Optional[list[str]] = typer.Option(
        None, "--after", metavar="success|failure|always=FILE|-", help="Jobs that the queue accepts when this one has ended so"
    ),
    name: Optional[str] = typer.Option(None, "-J", "--name", help="Name of the job; else the command's"),
    queue: Optional[str] = typer.Option(None, "--queue", help="@NAME or a directory; else the first of `queues` that is active, or @main"),
    time: Optional[str] = typer.Option(None, "-t", "--time", help="Time limit: 90s, 30m, 2h30m, 1-02:03:04"),
    cpus: Optional[int] = typer.Option(None, "-c", "--cpus", min=1, help="Processors"),
    mem: Optional[str] = typer.Option(None, "--mem", help="Memory: 512M, 4G"),
    tmp: Optional[str] = typer.Option(None, "--tmp", help="Disk space of the workspace: 10G"),
    constraint: Optional[list[str]] = typer.Option(None, "-C", "--constraint", metavar="TAG[,TAG]", help="Tags that the builder must have"),
    builder: Optional[str] = typer.Option(None, "-w", "--builder", help="The only builder that may run it"),
    begin: Optional[str] = typer.Option(None, "-b", "--begin", help="Not before: a UTC time, or now+2h"),
    deadline: Optional[str] = typer.Option(None, "--deadline", help="Ended by then: a UTC time, or now+2h"),
    hold: bool = typer.Option(False, "-H", "--hold", help="Wait until it is released"),
    priority: Optional[int] = typer.Option(None, "--priority", min=names.LOWEST, max=names.HIGHEST, help="Greater is sooner"),
    attempts: Optional[int] = typer.Option(None, "--attempts", min=1, help="The most starts"),
    retry_on: Optional[list[str]] = typer.Option(None, "--retry-on", metavar="fail|lost|75", help="An end after which it is started again"),
    start_within: Optional[str] = typer.Option(None, "--start-within", metavar="DURATION", help="Else the builder gives it back"),
    stall: Optional[str] = typer.Option(None, "--stall", metavar="DURATION", help="End it when its log has been silent for so long"),
    workspace: Optional[str] = typer.Option(None, "--workspace", metavar="clean|incremental", help="Build upon the build before"),
    builddir: Optional[str] = typer.Option(
        None, "--builddir", metavar="DIR", help="Where in the workspace it starts; else where you are in the tree"
    ),
    watch: Optional[str] = typer.Option(None, "--watch", metavar="me|readers|all", help="Who else may see the job and its log"),
    same: Optional[str] = typer.Option(None, "--same", metavar="mine|anyone|no", help="One run may answer equal jobs; mine with --repo"),
    fresh: bool = typer.Option(False, "--fresh", help="With --same: run though an equal job has run"),
    latest: Optional[str] = typer.Option(None, "--latest", metavar="WORD", help="Of your jobs with this word only the newest is wanted"),
    latest_running: bool = typer.Option(False, "--latest-running", help="With --latest: older ones that run are cancelled too"),
    array: Optional[str] = typer.Option(None, "-a", "--array", metavar="INDICES", help="Tasks of one job: 1-20, 1,3,9, 0-99%4 (four at a time)"),
    group: Optional[str] = typer.Option(None, "--group", metavar="WORD", help="Of the jobs with this word one runs at a time; others wait"),
    nice: Optional[int] = typer.Option(None, "--nice", min=0, max=19, help="Stand back behind other processes of the machine"),
    load_limit: Optional[str] = typer.Option(None, "--load-limit", metavar="LOAD", help="Not begun while the machine's load is above this"),
    check: Optional[str] = typer.Option(None, "--check", metavar="COMMAND", help="Run there first; while it fails the job waits"),
    environment: Optional[str] = typer.Option(None, "--environment", metavar="COMMAND", help="Prints what the job is built with: make env"),
    hold_on_failure: Optional[str] = typer.Option(None, "--hold-on-failure", metavar="DURATION", help="A failed workspace stays for so long"),
    tty: bool = typer.Option(False, "--tty", help="With a terminal, recorded: cit attach, cit play"),
    tty_size: Optional[str] = typer.Option(None, "--tty-size", metavar="COLUMNSxROWS", help="The same, of this size; else 80x24"),
    parent: Optional[str] = typer.Option(None, "--parent", metavar="ID", help="The job that this one repeats or came from"),
    expires: str = typer.Option("30d", "--expires", metavar="DURATION", help="How long the job may be accepted"),
    key: Optional[str] = typer.Option(None, "--key", metavar="FILE", help="The ssh key that signs; else your own"),
    dry: bool = typer.Option(False, "-n", "--dry-run", help="Write the documents unsigned"),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Errors only"),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Say more; -vv with tracebacks"),
) -> int:
    """Make signed jobs and write them to stdout."""
    messages.set_up("cit-trigger", quiet, verbose)
    run, now = list(words or []), clock.now()
    options.check_text(sys.argv[: len(sys.argv) - len(options.after_dashes(sys.argv))], "an option")
    stdin = [script, each, *(files or []), *(item.partition("=@")[2] for item in secret or []), *(item.partition("=")[2] for item in after or [])]
    if listed is not None:
        return fire_list(listed, run, queue, key, dry)
    check_call(call, interface, [script, sign, seal_script])
    is_free = sign or call is not None or run == options.after_dashes(sys.argv)
    check_wishes(run, script, each if call is None else None, sign or call is not None, stdin, is_free)
    if sign and seal_script:
        raise CitError(USAGE, "--sign and --seal-script", "a document's script is sealed when it is made: cit-trigger -n --seal-script")
    if sign and (reply or seal_results):
        raise CitError(USAGE, "--sign and --reply", "a document says it in its section reply: cit-trigger -n --reply")
    if sign and after:
        raise CitError(USAGE, "--sign and --after", "a document says it in its section after")
    lifetime = options.lifetime(expires)
    place = queue_for(queue or inside.queue(os.environ))
    mine = author(place, key)
    secrecy = options.Secrecy(secret or [], seal_to or [], seal_script, secrets_of, key, builder, options.tags(constraint or []))
    seal = sealing(secrecy, place, mine.signer)
    if sign:
        return sign_documents(run, mine, lifetime, dry, seal)
    sent = sources(source, no_source, repo, ref, dirty)
    for told in sent.told if sent else []:
        messages.tell(*told._replace(hint=""), hint=told.hint)
    asked = {
        "cpus": cpus,
        "time": time,
        "mem": mem,
        "tmp": tmp,
        "constraint": options.tags(constraint or []),
        "builder": builder,
        "begin": begin,
        "deadline": deadline,
        "hold": hold,
        "priority": priority,
        "attempts": attempts,
        "retry-on": retry_on,
        "start-within": start_within,
        "stall": stall,
        "same": None if same == "no" else same or ("mine" if repo is not None or call is not None else None),
        "fresh": fresh,
        "latest": latest,
        "latest-running": latest_running,
        "array": array,
        "group": group,
        "nice": nice,
        "load-limit": load_limit,
        "check": check,
        "environment": environment,
        "hold-on-failure": hold_on_failure,
        "tty": tty or tty_size is not None,
        "tty-size": tty_size,
        **inside.family(os.environ),
        **({"parent": parent} if parent else {}),
        "watch": watch,
        "workspace": workspace,
        "builddir": builddir or (sent.prefix if sent and sent.prefix != "." else None),
    }
    sections = [
        *(sent.written() if sent else []),
        *options.sections(export or [], config or [], keep or [], files or []),
        *needs(need or []),
        *options.grants(grant or []),
        *replies(reply or [], mine.signer.public if seal_results else None, key, keep or []),
    ]
    keys, follow = options.job_keys(asked, now), follow_up(after or [], mine, lifetime, each is not None)
    maker = wish.Maker(Form(mine.who, keys, lifetime, b"".join(sections), seal, call is not None, follow))
    out = sys.stdout.buffer
    called = None if call is None else (call, interface, place, builder)
    for made in made_of(run, "sealed" if name is None and seal_script else name, script, each, called):
        for named, text in made:
            unsigned = maker.unsigned(named, text)
            out.write(unsigned if dry else wish.signed(unsigned, mine.signer, mine.person))
        out.flush()
    return OK


def run() -> None:
    """The program cit-trigger."""
    sys.argv[1:] = options.spelt_out(sys.argv[1:])
    command.start("cit-trigger", main, lambda: command.speaks(READS, WRITES))
